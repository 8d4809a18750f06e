"""A linear probe: the head fitted on the frozen encoder's features, in one go.

Fine-tuning that starts from it keeps the pretrained features that a random head would first destroy (LP-FT, Kumar et
al. 2022). It is also the cheapest model there is, and the yardstick of `select`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from penjing.core.events import Progress
from penjing.core.task import Table, Task
from penjing.train.batching import cut
from penjing.train.gradient.objective import Objective
from penjing.train.loop import to_tensors
from penjing.train.lower_states import LowerStates

MAX_START_ROWS = 2_048
"""Rows a head starts from, at most. From 9,503 rows of Banking77 the head starts at 90.2% of the validation rows, from
4,096 of them at 89.4%, and after the first pass nothing is left of the difference; 2,048 save two seconds more."""
PENALTIES = (1e5, 1e4, 1e3, 1e2, 10.0, 1.0)
_CROSSED_ROWS = 1_024  # fewer are judged in four parts, each in turn; of more, a quarter is enough
_COPY_DISTANCE = 0.05  # over that of rows drawn at random; a text padded otherwise lies within 0.02 in bf16
_MAX_ITERATIONS = 100


def start_rows(num_rows: int, seed: int) -> np.ndarray:
    """Positions of the rows that a head starts from, ascending: all of them, or `MAX_START_ROWS` drawn at random."""
    if num_rows <= MAX_START_ROWS:
        return np.arange(num_rows)
    return np.sort(np.random.default_rng([seed, num_rows]).choice(num_rows, MAX_START_ROWS, replace=False))


def extract_features(
    trainer: object,
    model: nn.Module,
    task: Task,
    table: Table,
    device: str,
    lower: LowerStates | None = None,
    rows: np.ndarray | None = None,
) -> Iterator[Progress | tuple[Tensor, Tensor]]:
    """Yield progress, and last ([N, H] features, targets as the task encodes them).

    Args:
        trainer: has `features`.
        model: in the precision of the passes.
        task: encodes the rows.
        table: the rows.
        device: where the model is.
        lower: states of the frozen layers, where they are kept.
        rows: [N] positions in the table; None: all.
    """
    chosen = np.arange(len(table)) if rows is None else rows
    lengths = task.lengths([table.rows[i] for i in chosen])
    features: list[Tensor] = [torch.empty(0)] * len(chosen)
    targets: list[Tensor] = [torch.empty(0)] * len(chosen)
    done = 0
    model.eval()
    for places in cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=64, batch_tokens=8192):
        positions = chosen[places]
        batch = to_tensors(task.encode([table.rows[i] for i in positions], training=True), device)
        if lower is not None:
            batch["lower"] = lower.batch(positions, batch["input_ids"].shape[1])
        with torch.no_grad():
            pooled = trainer.features(model, batch).float()  # type: ignore[attr-defined]
        for row, place in enumerate(places):
            features[place], targets[place] = pooled[row], batch["targets"][row]
        done += len(places)
        yield Progress("probe", done, len(chosen), "rows", note="encoding for the head's start")
    model.train()
    yield torch.stack(features), torch.stack(targets)


def choose_penalty(features_NH: Tensor, targets: Tensor, num_outputs: int, objective: Objective) -> float:
    """The L2 penalty, of `PENALTIES`, under which a probe does best on rows it has not seen.

    Judged on at most `MAX_START_ROWS` rows; what looks like a judged row, a copy of it, is not learned from. All are
    tried, for with many classes and few rows the loss rises and falls again from strong to weak.

    Too weak a penalty is worse than no probe at all: it learns 2,048 pairs of questions by heart, and the head then
    starts with logits of ten and more, mostly wrong (docs/decisions/0016-penalty-of-the-probe.md).

    Args:
        features_NH: [N, H].
        targets: as the objective takes them.
        num_outputs: C.
        objective: the loss of the fine-tuning itself.
    """
    order = torch.randperm(len(features_NH), generator=torch.Generator().manual_seed(len(features_NH)))[:MAX_START_ROWS]
    features_NH, targets = features_NH[order].float(), targets[order]
    rows = torch.arange(len(order))
    parts = [part for part in rows.tensor_split(4) if len(part)]
    if len(parts) < 2:
        return PENALTIES[0]
    splits = [
        (_without_copies(features_NH, rows[torch.isin(rows, part, invert=True)], part), part)
        for part in parts[: 1 if len(rows) >= _CROSSED_ROWS else None]
    ]
    losses: list[float] = []
    for l2 in PENALTIES:
        loss = 0.0
        for learned, judged in splits:
            weight_CH, bias_C = fit_probe(features_NH[learned], targets[learned], num_outputs, objective, l2=l2)
            loss += float(objective.per_row(features_NH[judged] @ weight_CH.T + bias_C, targets[judged]).sum())
        losses.append(loss)
    return PENALTIES[losses.index(min(losses))]


def _without_copies(features_NH: Tensor, learned: Tensor, judged: Tensor) -> Tensor:
    """Positions of the learned rows that are not about where a judged row is; all of them, if none would be left."""
    centred_NH = features_NH - features_NH.mean(0)
    distances = torch.cdist(centred_NH[learned], centred_NH[judged]).amin(1)
    typical = centred_NH.square().sum(1).mean().mul(2).sqrt()  # between two rows drawn at random
    kept = learned[(distances > _COPY_DISTANCE * typical).cpu()]
    return kept if len(kept) else learned


def fit_probe(
    features_NH: Tensor, targets: Tensor, num_outputs: int, objective: Objective, *, l2: float
) -> tuple[Tensor, Tensor]:
    """Minimise the objective plus an L2 penalty by L-BFGS, which is exact enough to be free of settings.

    Args:
        features_NH: [N, H]; each is centred and scaled here to unit variance, so that `l2` means the same for every
            encoder, and for products and distances of its vectors.
        targets: as the objective takes them.
        num_outputs: C.
        objective: the loss of the fine-tuning itself.
        l2: inverse strength as in scikit-learn's `C = 10 / l2`.

    Returns:
        ([C, H] weight, [C] bias) for the unscaled features.
    """
    # Sentence encoders put all texts into a narrow cone: what tells them apart is small beside what they share.
    center_H = features_NH.float().mean(0)
    centred_NH = features_NH.float() - center_H
    # What hardly varies beside its mean is rounding, and would get weights that amplify it.
    spread_H = torch.maximum(centred_NH.square().mean(0).sqrt(), 1e-4 * center_H.abs())
    scale_H = 1.0 / spread_H.clamp(min=1e-6)
    inputs_NH = centred_NH * scale_H
    weight_CH = torch.zeros(num_outputs, inputs_NH.shape[1], device=inputs_NH.device, requires_grad=True)
    bias_C = torch.zeros(num_outputs, device=inputs_NH.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight_CH, bias_C], max_iter=_MAX_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )
    penalty = l2 / (20 * len(inputs_NH))

    def closure() -> Tensor:
        solver.zero_grad()
        loss = objective.per_row(inputs_NH @ weight_CH.T + bias_C, targets).mean() + penalty * weight_CH.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    weight_CH = weight_CH.detach() * scale_H
    return weight_CH, bias_C.detach() - weight_CH @ center_H
