"""The step that leaves out the pieces of a vocabulary that a company's texts do not use.

Where the texts use kept pieces alone, the model answers as before, to the bit: it comes first in a chain, and what it
gives is the teacher of the steps behind it. Of the pieces left out, those whose vector lies near that of a kept one are
read as that one (`VocabularyConfig.near`); the rest are spelled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from penjing.compress.lessons import IDS, MASK
from penjing.compress.step import Changed, Material, Method, StepConfig, needs_layers
from penjing.compress.vocabulary import Pruned, prune_vocabulary
from penjing.core.artifact import write_atomic
from penjing.core.budget import Budget
from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Progress
from penjing.core.task import Row, Task
from penjing.models.encoder import Encoder

_ROWS = 512
_PIECES_AT_ONCE = 4096
NEAR_SHARE = 0.04  # of the megabytes allowed, for names of pieces that share a vector
NEAR_BYTES = 15  # of such a name and its number
# So that a search that goes on for a little more or less room finds what it made before.
NEAR_STEPS = (0, 1_000, 3_000, 10_000, 30_000)


class VocabularyConfig(StepConfig):
    """Which pieces stay, beside special ones and single characters of the scripts met."""

    method: Literal["vocabulary"] = "vocabulary"
    least: int = Field(1, ge=1, le=1000, description="Times that a piece occurs in the training and unlabelled rows.")
    near: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Cosine from which on a piece left out is read as the nearest kept; WordPiece alone. 1: never.",
    )
    most_near: int = Field(30_000, ge=0, le=1_000_000, description="Pieces that are read as others; the commonest.")


def vocabulary_step(budget: Budget, goal: str) -> VocabularyConfig:
    """As a search prunes: limited bytes limit the names of pieces without a vector; for `size` there are none."""
    room = math.inf if budget.size_mb is None else budget.size_mb * 1e6 * NEAR_SHARE / NEAR_BYTES
    return VocabularyConfig(most_near=0 if goal == "size" else max(step for step in NEAR_STEPS if step <= room))


def apply(config: VocabularyConfig, model: nn.Module, material: Material) -> Generator[Event, None, Changed]:
    """Count, prune, and slice the vectors.

    Yields:
        Progress.

    Returns:
        The model with fewer vectors, and the task with the smaller tokenizer.

    Raises:
        CapabilityError: not one of our encoders, or a tokenizer of another kind.
    """
    encoder, task = model.encoder, material.task
    if not isinstance(encoder, Encoder):
        raise CapabilityError("only the vocabulary of a BERT encoder can be pruned", where="compress.vocabulary")
    counts = np.zeros(encoder.config.vocab_size, np.int64)
    rows = [*material.splits.train.rows, *material.unlabelled]
    for done, ids in _token_ids(task, rows):
        counts += np.bincount(ids, minlength=len(counts))
        yield Progress("compress", done, len(rows), "rows", "counting the pieces in use")
    before = task.files()["tokenizer.json"]
    pruned = prune_vocabulary(before, np.flatnonzero(counts >= config.least).tolist())
    if int(pruned.kept.max()) >= encoder.config.vocab_size:
        raise CapabilityError(
            f"the tokenizer has pieces up to {int(pruned.kept.max())}, the model {encoder.config.vocab_size} vectors",
            where="compress.vocabulary",
        )
    near = _near(config, pruned, counts >= config.least, encoder.table.weight.detach())
    pruned = pruned.lending(near)
    material.work.mkdir(parents=True, exist_ok=True)
    target = material.work / "tokenizer.json"
    write_atomic(target, json.dumps(pruned.values, ensure_ascii=False, separators=(",", ":")))
    kept = torch.from_numpy(pruned.kept)
    table = encoder.table
    table.weight = nn.Parameter(table.weight.detach()[kept].clone())
    table.num_embeddings = len(kept)
    encoder.config = replace(encoder.config, vocab_size=len(kept))
    _cut_positions(encoder, task.input.settings.max_length)  # type: ignore[attr-defined]
    ngrams = getattr(model, "ngrams", None)
    if ngrams is not None:
        ngrams.old_ids = kept if ngrams.old_ids is None else ngrams.old_ids[kept]
    facts = {
        "pieces": len(kept),
        "pieces_before": len(counts),
        "pieces_read_as_others": len(near),
        "tokenizer_bytes": target.stat().st_size,
        "tokenizer_bytes_before": before.stat().st_size,
    }
    return Changed(model, replace(task, input=task.input.with_tokenizer(target)), facts)  # type: ignore[attr-defined,type-var]


def _near(config: VocabularyConfig, pruned: Pruned, met_V: np.ndarray, vectors_VD: torch.Tensor) -> dict[int, int]:
    """Old id of a piece left out → old id of the piece that was met and whose vector is nearest by cosine.

    The mean of all vectors is taken away first, and pieces that are no letters and digits lend to nobody. A vocabulary
    is numbered from the commonest piece on.
    """
    left = [i for i in sorted(pruned.lendable) if i < len(vectors_VD)]
    lenders = np.flatnonzero(met_V & np.isin(np.arange(len(met_V)), list(pruned.lenders)))
    if config.near >= 1 or not config.most_near or not left or not len(lenders):
        return {}
    vectors_VD = vectors_VD.float()
    unit_VD = torch.nn.functional.normalize(vectors_VD - vectors_VD.mean(0), dim=1)
    kept_K = torch.from_numpy(lenders)
    found: dict[int, int] = {}
    for start in range(0, len(left), _PIECES_AT_ONCE):
        part = left[start : start + _PIECES_AT_ONCE]
        best, place = (unit_VD[part] @ unit_VD[kept_K].T).max(1)
        near = zip(part, best.tolist(), kept_K[place].tolist(), strict=True)
        found |= {i: other for i, cosine, other in near if cosine >= config.near}
    return dict(list(found.items())[: config.most_near])


def _cut_positions(encoder: Encoder, longest: int) -> None:
    """Leave out the vectors of places that no text reaches."""
    places = encoder.positions
    if longest < places.num_embeddings:
        places.weight = nn.Parameter(places.weight.detach()[:longest].clone())
        places.num_embeddings = longest
        encoder.config = replace(encoder.config, max_position_embeddings=longest)


def _token_ids(task: Task, rows: list[Row]) -> Iterable[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), _ROWS):
        batch = task.encode(rows[start : start + _ROWS])
        yield min(start + _ROWS, len(rows)), batch[IDS][batch[MASK] > 0]


METHOD = Method(VocabularyConfig, needs_layers, torch=apply)
