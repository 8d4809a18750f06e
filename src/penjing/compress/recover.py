"""What the steps that change a trained encoder share: the rows they look at, and the training that follows."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from penjing.compress.distil import TAUGHT_SHARE, DistilSettings, distil
from penjing.compress.lessons import Lessons
from penjing.compress.step import Material, StepConfig
from penjing.core.errors import CapabilityError
from penjing.core.events import Event
from penjing.models.encoder import Encoder, WordEmbedding
from penjing.train.batching import cut
from penjing.train.loop import to_tensors


class RecoveringConfig(StepConfig):
    """What the methods have in common that take something away and teach the rest to do without."""

    epochs: float = Field(3.0, ge=0, le=1000, description="Passes over the lessons, all rounds together; 0: none.")
    learning_rate: float = Field(1e-4, gt=0, le=1, description="Peak learning rate of that training.")


def own_encoder(model: nn.Module, method: str) -> Encoder:
    """The encoder of a model, where it is ours and has layers.

    Raises:
        CapabilityError: another architecture, or a bag of words.
    """
    where = f"compress.{method}"
    if not isinstance(model.encoder, Encoder):
        raise CapabilityError(
            "layers of other architectures than BERT cannot be changed",
            where=where,
            next_step="leave this step out of the chain",
        )
    if not len(model.encoder.layers):
        raise CapabilityError(
            "this model has no layers to change", where=where, next_step="leave this step out of the chain"
        )
    return model.encoder


def sample_batches(material: Material, num_rows: int) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Some of the training rows, as the material's seed draws them, with targets and in batches of like length.

    Args:
        material: gives task, rows and device.
        num_rows: how many, at most.

    Yields:
        (rows so far, batch).
    """
    rows = material.splits.train.rows
    drawn = np.random.default_rng(material.seed).permutation(len(rows))[:num_rows]
    lengths = material.task.lengths([rows[i] for i in drawn])
    done = 0
    for places in cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=32, batch_tokens=4096):
        done += len(places)
        encoded = material.task.encode([rows[drawn[i]] for i in places], training=True)
        yield done, to_tensors(encoded, material.runtime.device)


def decided(path: Path, identity: str, decide: Generator[Event, None, Any]) -> Generator[Event, None, Any]:
    """What was decided before the run was killed, else what is decided now, kept for the next time.

    Numbers summed by another number of threads are rounded otherwise, and a choice between near equals may turn over:
    the checkpoint of the training that follows would then be of a model of another shape.

    Args:
        path: where it is kept.
        identity: of all that shapes the decision.
        decide: yields progress and returns something JSON-able.

    Returns:
        The decision.
    """
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["identity"] == identity:
            return kept["decision"]
    decision = yield from decide
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"identity": identity, "decision": decision}), encoding="utf-8")
    part.replace(path)
    return decision


def read_if_needed(material: Material, epochs: float) -> Generator[Event, None, Lessons | None]:
    """What the teacher says, unless nothing is to be learned.

    Args:
        material: reads.
        epochs: passes over the lessons; 0: none.

    Returns:
        The lessons.
    """
    if not epochs:
        return None
    return (yield from material.read_lessons(material.task))


def recover(
    model: nn.Module,
    material: Material,
    lessons: Lessons | None,
    facts: dict[str, Any],
    *,
    epochs: float,
    learning_rate: float,
    hard_share: float = DistilSettings.hard_share,
    precision: Literal["auto", "fp32"] = DistilSettings.precision,
    part: int = 0,
    parts: int = 1,
) -> Generator[Event, None, nn.Module]:
    """Let a changed model learn again to say what it said; it goes on from a checkpoint.

    The vocabulary's vectors stay as they are: rows of tokens that the lessons lack would not follow the others.

    Args:
        model: changed.
        material: of the step.
        lessons: None: nothing is learned.
        facts: of the step; `minutes` and whether they were too few (`cut_short`) are put in, of all parts together, and
            of this one `samples_per_s` and `lessons`, which are as many as samples of one pass.
        epochs: passes over the lessons in all parts together.
        learning_rate: peak.
        hard_share: weight of the labels beside the teacher.
        precision: of the passes.
        part: which of several trainings of one step this is, from 0.
        parts: how many there are.

    Returns:
        The model, on the CPU, in 32 bits and in evaluation mode.
    """
    if lessons is None:
        return model.cpu().eval()
    tables = [module.weight for module in model.modules() if isinstance(module, WordEmbedding)]
    for table in tables:
        table.requires_grad_(False)
    result = yield from distil(
        material.task,
        material.splits,
        model,
        lessons,
        material.objective,
        DistilSettings(epochs / parts, learning_rate, hard_share=hard_share, precision=precision),
        material.work / f"part-{part}",
        material.runtime,
        identity=f"{material.identity} {part} of {parts}",
        seed=material.seed,
        max_minutes=None if material.max_minutes is None else material.max_minutes / parts,
    )
    for table in tables:
        table.requires_grad_(True)
    short = result.history[-1]["epoch"] < TAUGHT_SHARE * epochs / parts
    facts["minutes"] = round(facts.get("minutes", 0.0) + result.minutes, 3)
    facts |= {"samples_per_s": round(result.samples_per_s, 1), "lessons": len(lessons)}
    facts["cut_short"] = facts.get("cut_short", False) or short
    return result.model.cpu().eval()
