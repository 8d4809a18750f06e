"""Learns one vector of logits a text (or pair): classification, multi-label, regression, pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Notice
from penjing.core.task import Row, Splits, Table, Task
from penjing.models.encoder import load_encoder
from penjing.models.ngrams import NgramScores, blank_ngrams
from penjing.models.phrases import Phrases
from penjing.models.pretrained import Pretrained
from penjing.train.batching import cut
from penjing.train.config import TrainConfig
from penjing.train.gradient.masked import MaskToken
from penjing.train.gradient.ngrams import (
    MAX_VALID_ROWS,
    Shares,
    affordable_rows,
    expected_ngrams,
    fit_ngrams,
    fit_shares,
    known_rows,
)
from penjing.train.gradient.objective import Objective, balanced_positive_weights, balanced_weights
from penjing.train.loop import to_tensors

# By the task's calibration; the first is what "auto" means.
_LOSSES = {"softmax": ("cross_entropy", "focal"), "sigmoid": ("bce", "focal"), None: ("mse",)}
_COUNTED_ROWS = 1024  # rows encoded at a time, only to count their classes
_Mix = tuple[float, Tensor]


class SequenceModel(nn.Module):
    """Encoder → mean over tokens, with what its phrases add in small students → linear head.

    Mean pooling is what the sentence encoders of the catalog were pretrained with, so a linear probe already works.
    """

    def __init__(self, encoder: nn.Module, num_outputs: int, width: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width or encoder.hidden_size, num_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.ngrams: NgramScores | None = None
        self.phrases: Phrases | None = None

    def pool(self, batch: dict[str, Tensor]) -> Tensor:
        """[B, H]: mean of the token vectors that are not padding, and what phrases add."""
        mask = batch.get("attention_mask")
        known = {"lower_BLH": batch["lower"]} if "lower" in batch else {}
        hidden_BLH = self.encoder(batch["input_ids"], mask, **known)
        if mask is None:
            mask_BL1, pooled_BH = None, hidden_BLH.mean(1)
        else:
            mask_BL1 = mask.unsqueeze(-1).to(hidden_BLH.dtype)
            pooled_BH = (hidden_BLH * mask_BL1).sum(1) / mask_BL1.sum(1)
        return pooled_BH if self.phrases is None else pooled_BH + self.phrases(hidden_BLH, mask_BL1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"logits": [B, C]}."""
        logits_BC = self.head(self.pool(batch))
        if self.ngrams is not None:
            logits_BC = logits_BC + self.ngrams(batch["input_ids"], batch.get("attention_mask"))
        return {"logits": logits_BC}

    @torch.no_grad()
    def mix(self, ngrams: NgramScores, shares: Shares) -> None:
        """From now on logits are the head's and the linear model's, in these shares."""
        for tensor in (self.head.weight, self.head.bias):
            tensor.mul_(shares.deep)
        ngrams.table[:, :-1] *= shares.wide
        ngrams.bias *= shares.wide
        self.ngrams = ngrams.to(self.head.weight.device)


class PairModel(SequenceModel):
    """Encoder → mean over the tokens of each text → what is in either, where they differ and agree → linear head."""

    def __init__(self, encoder: nn.Module, num_outputs: int) -> None:
        super().__init__(encoder, num_outputs, width=4 * encoder.hidden_size)

    def pool(self, batch: dict[str, Tensor]) -> Tensor:
        """[B, 4H]: first, second, |first - second|, first · second (Conneau et al. 2017), from inputs [B, 2, L]."""
        texts = {name: batch[name].flatten(0, 1) for name in ("input_ids", "attention_mask") if name in batch}
        pooled_B2H = super().pool(texts).unflatten(0, (-1, 2))
        first_BH, second_BH = pooled_B2H[:, 0], pooled_B2H[:, 1]
        return torch.cat([first_BH, second_BH, (first_BH - second_BH).abs(), first_BH * second_BH], 1)


class SequenceTrainer:
    """A `GradientTrainer`; see `train/protocol.py`."""

    batch_coupled = False

    def honours(self, task: Task) -> frozenset[str]:
        """The optional settings that the loss takes into account; numbers have no classes to smooth or to weigh."""
        always = {"loss", "token_dropout", "rdrop", "mixup"}
        classes = {"focal_gamma", "class_weights", "label_smoothing"}
        ngrams = {"ngrams"} if mixes_ngrams(task, TrainConfig()) else set()
        return frozenset(always | ngrams if task.calibration is None else always | ngrams | classes)

    def build_model(self, task: Task, pretrained: Pretrained, config: TrainConfig, seed: int) -> nn.Module:
        """A pretrained encoder and a zero head.

        Raises:
            CapabilityError: the configured loss is not one for these targets, or hiding tokens needs a mask token.
        """
        self.config = config
        self.several = task.calibration == "sigmoid"
        self.objective = Objective(
            loss=_loss_name(task, config.loss),
            label_smoothing=config.label_smoothing,
            focal_gamma=config.focal_gamma,
        )
        self.mask_token = _mask_token(pretrained) if config.token_dropout else None
        encoder = load_encoder(pretrained, dropout=config.dropout, checkpointing=config.activation_checkpointing)
        return self.assemble(task, encoder)

    def assemble(self, task: Task, encoder: nn.Module) -> SequenceModel:
        """An encoder under a zero head of the task's size."""
        self.pairs = "length" in task.signature.inputs[0].shape[2:]
        return (PairModel if self.pairs else SequenceModel)(encoder, max(1, len(task.labels)))

    @property
    def keeps_lower_states(self) -> bool:
        """Whether a row reaches the encoder as one text, the same in every epoch: frozen layers then run only once."""
        return self.mask_token is None and not self.pairs

    def observe(self, task: Task, table: Table) -> None:
        """Count the classes of the training rows, where the configuration weighs them."""
        if self.config.class_weights == "none":
            return
        counts = np.zeros(len(task.labels), np.int64)
        for start in range(0, len(table), _COUNTED_ROWS):
            targets = task.encode(table.rows[start : start + _COUNTED_ROWS], training=True)["targets"]
            counts += targets.astype(np.int64).sum(0) if self.several else np.bincount(targets, minlength=len(counts))
        weights = balanced_positive_weights(counts.tolist(), len(table)) if self.several else balanced_weights(counts)
        self.objective = replace(self.objective, class_weights=weights)

    def complete(self, model: nn.Module, task: Task, splits: Splits, seed: int, dtype: torch.dtype) -> Iterator[Event]:
        """Mix a linear model over n-grams into the trained one, in the shares that suit the validation rows.

        `dtype` is what training found fastest here: the model has 32 bits by now, but to choose a share fewer will do.
        """
        every = -(-len(splits.valid) // MAX_VALID_ROWS) or 1
        judged = list(known_rows(task, splits.valid.rows[::every]))
        if not self.config.ngrams or not mixes_ngrams(task, self.config) or not judged:
            return
        rows = affordable_rows(task, splits.train.rows, seed)
        ngrams = yield from fit_ngrams(task, rows, balanced=self.config.class_weights == "balanced", seed=seed)
        plain = "bce" if self.several else "cross_entropy"
        objective = replace(self.objective, loss=plain, label_smoothing=0.0)
        shares = fit_shares(*_judged(model, ngrams, task, judged, dtype), objective)
        known = f"n-grams: {len(ngrams.table) - 1:,} learned from {len(rows):,} of {len(splits.train):,} rows"
        if shares.wide:
            model.mix(ngrams, shares)
            yield Notice("train", f"{known}; logits are {shares.deep:.2f} × encoder + {shares.wide:.2f} × linear model")
        else:
            yield Notice("train", f"{known}, and left out: they do not help on the validation rows")

    def foresee(self, model: nn.Module, task: Task, rows: list[Row], num_rows: int) -> None:
        """Put into an untrained model what `complete` will add, empty, so that it costs what the trained one will."""
        if self.config.ngrams and mixes_ngrams(task, self.config):
            model.ngrams = blank_ngrams(expected_ngrams(task, rows, num_rows), len(task.labels))

    def features(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """[B, H], or [B, 4H] of pairs: inputs of the head, for a linear probe."""
        return model.pool(batch)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum over the rows and their number, with token dropout, mixup and R-Drop where configured."""
        targets = batch["targets"]
        mix = self._draw_mix(len(targets)) if self.config.mixup else None
        views = [self._view(model, batch, mix) for _ in range(2 if self.config.rdrop else 1)]
        losses_B = sum(self._losses(logits_BC, targets, mix) for logits_BC in views) / len(views)
        if self.config.rdrop:
            losses_B = losses_B + self.config.rdrop * self.objective.divergence(*views, several=self.several)
        return losses_B.sum(), torch.tensor(float(len(targets)), device=targets.device)

    def _view(self, model: nn.Module, batch: dict[str, Tensor], mix: _Mix | None) -> Tensor:
        """[B, C] logits of one pass, with its own dropout and its own hidden tokens."""
        if self.mask_token is not None:
            ids_BL = self.mask_token.hide(batch["input_ids"], batch.get("attention_mask"), self.config.token_dropout)
            batch = {**batch, "input_ids": ids_BL}
        pooled_BH = model.pool(batch)
        if mix is not None:
            share, other = mix
            pooled_BH = share * pooled_BH + (1 - share) * pooled_BH[other]
        return model.head(pooled_BH)

    def _losses(self, logits_BC: Tensor, targets: Tensor, mix: _Mix | None) -> Tensor:
        own_B = self.objective.per_row(logits_BC, targets)
        if mix is None:
            return own_B
        share, other = mix
        return share * own_B + (1 - share) * self.objective.per_row(logits_BC, targets[other])

    def _draw_mix(self, num_rows: int) -> _Mix:
        """Each row's partner and the row's own share: embeddings and losses mix alike (Zhang et al. 2018)."""
        share = float(torch.distributions.Beta(self.config.mixup, self.config.mixup).sample())
        return max(share, 1 - share), torch.randperm(num_rows)


def mixes_ngrams(task: Task, config: TrainConfig) -> bool:
    """Whether n-grams can tell anything: of classes, and of one text (of two, what they share matters).

    A linear probe is asked for by itself.
    """
    return task.calibration is not None and task.roles.text_pair is None and config.method != "probe"


@torch.no_grad()
def _judged(
    model: nn.Module, ngrams: NgramScores, task: Task, rows: list[Row], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """[N, C] logits of the model, [N, C] scores of the linear model, and the targets, in an order of their own."""
    device = next(model.parameters()).device
    narrow = dtype in (torch.bfloat16, torch.float16)
    lengths = task.lengths(rows)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for places in cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=64, batch_tokens=8192):
        batch = to_tensors(task.encode([rows[i] for i in places], training=True), "cpu")
        inputs = {name: tensor.to(device) for name, tensor in batch.items() if name != "targets"}
        with torch.autocast(device.type, dtype=dtype, enabled=narrow):
            deep_BC = model(inputs)["logits"].float().cpu()
        wide_BC = ngrams(batch["input_ids"], batch.get("attention_mask"))
        found.append((deep_BC, wide_BC, batch["targets"]))
    deep_NC, wide_NC, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    return deep_NC, wide_NC, targets


def _loss_name(task: Task, configured: str) -> str:
    accepted = _LOSSES[task.calibration]
    if configured == "auto":
        return accepted[0]
    if configured not in accepted:
        raise CapabilityError(
            f"the loss {configured!r} does not fit the targets of {task.kind}",
            where="train.loss",
            expected=" or ".join(("auto", *accepted)),
        )
    return configured


def _mask_token(pretrained: Pretrained) -> MaskToken:
    found = MaskToken.of(pretrained.directory / "tokenizer.json")
    if found is None:
        raise CapabilityError(
            f"the tokenizer of {pretrained.name} has no mask token to hide tokens with",
            where="train.token_dropout",
            expected="0",
        )
    return found


def describe(model: nn.Module) -> dict[str, Any]:
    """Size for the report, and how many n-grams are known."""
    ngrams = getattr(model, "ngrams", None)
    features = 0 if ngrams is None else len(ngrams.table) - 1
    return {
        "parameters": sum(p.numel() for p in model.parameters())
        + (0 if ngrams is None else (features + 1) * len(ngrams.bias)),
        "ngrams": features,
    }
