"""The step that puts a far smaller model in front: it answers the rows that it is sure of, the one behind it the rest.

The first stage is a student without layers, taught like any other: static vectors of tokens, as model2vec's, but
learned for this task, and what phrases of three of them say. From which confidence on its answers stand is chosen on
the validation rows.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from penjing.compress.answers import answers, settled
from penjing.compress.judging import expected_loss
from penjing.compress.step import Material, Method, StepConfig, needs_layers
from penjing.compress.teach import DistilConfig, phrase_step
from penjing.compress.teach import refuse as refuse_student
from penjing.core.artifact import Artifact, write_atomic
from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Notice
from penjing.core.task import Prediction, Row, Task
from penjing.evaluate.calibration import Kind, doubtful_nll, fit_temperature, from_logits, rescale
from penjing.evaluate.evaluate import raw_logits, targets_of
from penjing.models.encoder import EncoderConfig
from penjing.predict.cascade import CASCADE_FILE, FIRST_FILE, CascadeRule, confidence
from penjing.predict.onnx_backend import OnnxBackend
from penjing.predict.predictor import Predictor
from penjing.predict.task_file import MODEL_FILE

_BATCH_ROWS = 64
_MOST_ROWS = 10_000  # validation rows that a threshold is chosen on: of more it would be the same, after minutes
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # beyond a half the second model would be the first's helper
_SHARE_SPREAD = 0.25  # of the normal prior around 0
# Of what labels say, within which they contradict nothing: of few rows that would be everything, so points bound it.
_STANDARD_ERRORS, _MOST_POINTS = 2.0, 1.0
# Thresholds that are looked at; the last lets nothing through.
_THRESHOLDS = np.unique(np.concatenate([np.linspace(0.3, 0.95, 27), 1 - np.geomspace(0.05, 1e-4, 28), [1.0]]))


class CascadeConfig(StepConfig):
    """The first stage, and what its answers may cost."""

    method: Literal["cascade"] = "cascade"
    hidden: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Width of a token's vector; None: 128, or what comes nearest; the teacher's, of a bag of words.",
    )
    phrases: int = Field(
        256, ge=0, le=16384, description="Features of three neighbouring tokens; 0: a bag of words, which costs half."
    )
    epochs: float | None = Field(
        None, gt=0, le=1000, description="Passes over the lessons; None: as many as make some thousand steps."
    )
    loss: float = Field(
        0.1,
        ge=0,
        le=100,
        description="Points of the primary metric that may be lost, as the model behind expects it; the labels of the "
        "validation rows have a say where they contradict that by more than a point, or than two standard errors.",
    )


def refuse(config: CascadeConfig, task: Task, sizes: EncoderConfig) -> None:
    """See `Method.refuse`: what no first stage of such a teacher can be."""
    refuse_student(_first_step(config), task, sizes)


def _first_step(config: CascadeConfig) -> DistilConfig:
    return phrase_step(config.hidden, config.phrases, config.epochs)


def supports(task: Task) -> str | None:
    """Classes of a text, or of a pair, with probabilities to be sure of."""
    if needs_layers(task):
        return needs_layers(task)
    if task.calibration is None:
        return f"a {task.kind} model has no probability of an answer, by which a first stage could be sure of it"
    return None


def apply(
    config: CascadeConfig, parent: Artifact, stage: Path, material: Material
) -> Generator[Event, None, dict[str, Any]]:
    """Teach the first stage, and choose its threshold.

    Yields:
        Progress and notices.

    Returns:
        Facts: threshold; the first model's share in what goes on; share of the validation rows answered early; what
        that cost there; what the first model reaches alone.

    Raises:
        CapabilityError: no validation rows to choose a threshold by.
    """
    task, valid = material.task, material.splits.valid
    if len(valid) > _MOST_ROWS:
        valid = valid.take(np.linspace(0, len(valid) - 1, _MOST_ROWS).astype(int))
    if not len(valid):
        raise CapabilityError(
            "a cascade's threshold is chosen on validation rows, and there are none", where="compress"
        )
    assert material.make_of_teacher is not None, "a cascade is a step of a chain"
    made = yield from material.make_of_teacher([_first_step(config)])  # one for all models behind it
    shutil.copyfile(made.file(MODEL_FILE), stage / FIRST_FILE)
    _narrowed(stage / FIRST_FILE)
    rest = Predictor(parent).predict(valid.rows)
    first_NC = _first_logits(task, stage, valid.rows)
    rest_NC = raw_logits(task, rest)
    targets = targets_of(task, task.score(valid.rows, rest))
    assert targets is not None, "a task with `calibration` says which class a row has"
    share = choose_share(first_NC, rest_NC, targets, task.calibration)  # type: ignore[arg-type]
    rule = CascadeRule(calibration=task.calibration, threshold=1.0, share=share)  # type: ignore[arg-type]
    _, rest = settled(task, valid, rest_NC)
    whole, mixed = settled(task, valid, rule.mixed(first_NC, rest_NC))
    first = answers(whole, valid.rows, first_NC)
    sure = confidence(first_NC, rule.calibration)
    threshold, early, lost = choose_threshold(task, valid.rows, first, mixed, sure, config.loss)
    lost += _points_lost(task, valid.rows, rest, mixed)  # what having a share costs, or gains
    rule = rule.model_copy(update={"threshold": threshold})
    write_atomic(stage / CASCADE_FILE, rule.model_dump_json(indent=1) + "\n")
    yield Notice("compress", f"cascade: {early:.0%} of the validation rows answered early, {lost:+.2f} lost")
    alone = task.aggregate(task.score(valid.rows, first))[task.primary]
    return {"threshold": threshold, "share": share, "early": early, "lost": lost, "alone": alone}


def _narrowed(path: Path) -> None:
    """Vectors in 8 bits and what they are multiplied by in 16, as good; the threshold is chosen after this."""
    from penjing.compress.graph_file import Graph
    from penjing.compress.half_weights import halve
    from penjing.compress.int8_table import quantize_tables

    graph = Graph.read(path)
    quantize_tables(graph)
    halve(graph, "fp16")
    graph.write(path)


def _first_logits(task: Task, stage: Path, rows: list[Row]) -> np.ndarray:
    """[N, C]: what the first stage says of each row."""
    backend = OnnxBackend.open_file(stage / FIRST_FILE, task.signature, 1)
    starts = range(0, len(rows), _BATCH_ROWS)
    return np.concatenate([backend.run(task.encode(rows[at : at + _BATCH_ROWS]))["logits"] for at in starts])


def choose_share(first_NC: np.ndarray, rest_NC: np.ndarray, targets: np.ndarray, kind: Kind) -> float:
    """The first model's share in answers of the second that is the most probable, given rows that neither learned from.

    Each mixture is judged at its own best temperature, for one that is only less sure of itself needs no second model.
    Few rows are outweighed by the prior, under which the second model answers alone. It is chosen on all rows: those
    that will go on are a few of them, and not known before the threshold, which is chosen for the mixture.

    Args:
        first_NC: logits of the first model.
        rest_NC: of the second.
        targets: [N] classes, -1 for what no model knows, or [N, C] of 0 and 1.
        kind: how logits become probabilities.
    """
    known = targets >= 0 if kind == "softmax" else np.ones(len(targets), bool)
    if not known.any():
        return 0.0
    first_NC, rest_NC, targets = first_NC[known], rest_NC[known], targets[known]

    def loss(share: float) -> float:
        probs_NC = from_logits((1 - share) * rest_NC + share * first_NC, kind)
        best_NC = rescale(probs_NC, fit_temperature(probs_NC, targets, kind), kind)
        return doubtful_nll(best_NC, targets, kind) + (share / _SHARE_SPREAD) ** 2 / (2 * len(targets))

    return min(_SHARES, key=loss)


def choose_threshold(
    task: Task, rows: list[Row], first: list[Prediction], rest: list[Prediction], sure: np.ndarray, loss: float
) -> tuple[float, float, float]:
    """The lowest threshold whose cascade is not worse than one that passes all rows on by more than what may be lost.

    As the second model, with the first one's share, expects it, within what labels leave open: of the few rows on which
    the two differ they tell too little to choose by, and a threshold is lowered until the first of them is unlucky. But
    they know better where the second model is wrong more often than it thinks. Where nothing can be expected, labels
    choose.

    Args:
        task: scores.
        rows: validation rows.
        first: what the first stage says of them.
        rest: what is answered to those that go on.
        sure: [N] confidence of the first stage.
        loss: greatest loss of the primary metric, in percent where it is a share.

    Returns:
        (threshold, share of rows answered early, loss of the primary metric).
    """
    best = (1.0, 0.0, 0.0)
    for threshold in _THRESHOLDS[::-1]:
        early = sure >= threshold
        mixed = [a if is_early else b for a, b, is_early in zip(first, rest, early, strict=True)]
        lost = _points_lost(task, rows, rest, mixed)
        expected = expected_loss(task, rest, mixed)
        differing = sum(a.value != b.value for a, b in zip(rest, mixed, strict=True))
        # Of an F1 of rare classes a few rows tell next to nothing, and how little is not known in closed form.
        error = 100 * math.sqrt(differing) / len(rows) if task.primary == "accuracy" else math.inf
        if _judged(lost, expected, error) > loss:
            break
        best = (float(threshold), float(early.mean()), float(lost))
    return best


def _points_lost(task: Task, rows: list[Row], before: list[Prediction], after: list[Prediction]) -> float:
    """Of the primary metric, by the labels."""
    metric = task.metrics[task.primary]
    scale = (100 if metric.percent else 1) * (1 if metric.higher_is_better else -1)
    values = [task.aggregate(task.score(rows, predictions))[task.primary] for predictions in (before, after)]
    return float(scale * (values[0] - values[1]))


def _judged(lost: float, expected: float | None, error: float) -> float:
    """What is expected, as far as it is within what labels leave open.

    Args:
        lost: by the labels.
        expected: by the second model; None: unknown.
        error: standard error of what the labels say.
    """
    if expected is None:
        return lost
    slack = min(_STANDARD_ERRORS * error, _MOST_POINTS)
    return min(max(expected, lost - slack), lost + slack)


METHOD = Method(CascadeConfig, supports, wrap=apply, refuse=refuse)
