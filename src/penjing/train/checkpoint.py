"""One file that holds everything a killed run needs to go on and end with the same weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from penjing.core.errors import ArtifactError
from penjing.train.optim import Ema, Masters
from penjing.train.weights_file import save_tensors

FILE = "checkpoint.safetensors"


WARMING_STEPS = 3


@dataclass
class Position:
    """How far a run has come. JSON-able.

    Args:
        step: optimizer steps done.
        total: optimizer steps in all.
        scale: loss scale (fp16).
        calm: steps since the last overflow (fp16).
        best: best validation metric so far, None before the first evaluation.
        stale: evaluations since then.
        seconds: wall time spent in steps so far.
        warming_seconds: of it, in the first steps, which also set up threads and memory.
        other_seconds: wall time spent before the first step (pretraining, the head's start) and on evaluations so far.
        evaluation_seconds: what the last evaluation took.
        rows: rows seen so far.
        precision: of the passes, as chosen when the run began; measuring again might choose another.
        kept_lower: whether the states of frozen layers were kept; computing them anew rounds differently.
        threads: of each process when the run began; another number rounds differently.
        history: one entry an evaluation.
    """

    step: int = 0
    total: int = 0
    scale: float = 1.0
    calm: int = 0
    best: float | None = None
    stale: int = 0
    seconds: float = 0.0
    warming_seconds: float = 0.0
    other_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    rows: int = 0
    precision: str = ""
    kept_lower: bool = False
    threads: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def resumed_otherwise(kept: Position | None, threads: int) -> str | None:
    """Why a run that goes on will not end with the weights of one never stopped, or None.

    Args:
        kept: what was saved; None: nothing.
        threads: of this process.
    """
    if kept is None or kept.threads == threads:
        return None
    return (
        f"the run began with {kept.threads} threads and goes on with {threads}: sums are rounded otherwise, so the "
        "weights will differ a little from those of a run never stopped"
    )


def save(
    directory: Path,
    *,
    identity: str,
    position: Position,
    masters: Masters,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    best: list[Tensor] | None,
) -> None:
    """Write the checkpoint beside the old one, then put it in its place."""
    tensors = {f"master.{i}": m.detach() for i, m in enumerate(masters.full)}
    if ema is not None:
        tensors |= {f"ema.{i}": value for i, value in enumerate(ema.values)}
    if best is not None:
        tensors |= {f"best.{i}": value for i, value in enumerate(best)}
    plain: dict[str, Any] = {}
    for i, master in enumerate(masters.full):
        for name, value in optimizer.state.get(master, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{i}.{name}"] = value
            else:
                plain[f"{i}.{name}"] = value
    groups = [{k: v for k, v in group.items() if isinstance(v, int | float | bool)} for group in optimizer.param_groups]
    facts = {"identity": identity, "position": vars(position), "plain": plain, "groups": groups}
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / (FILE + ".part")
    save_tensors(part, tensors, {"state": json.dumps(facts)})
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    part.replace(directory / FILE)


def read_position(directory: Path, identity: str | None = None) -> Position | None:
    """How far the checkpoint of a directory has come; None where there is none.

    Raises:
        ArtifactError: the checkpoint is damaged, or belongs to a run of another identity.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    facts, _ = _read(path, names=())
    if identity is not None:
        _require_same(facts, identity, path)
    return _position(facts, path)


def _require_same(facts: dict[str, Any], identity: str, path: Path) -> None:
    if facts["identity"] != identity:
        raise ArtifactError(
            "the checkpoint belongs to a run with other settings, data or number of processes",
            where=str(path),
            next_step="delete it to train from the start",
        )


def restore(
    directory: Path, *, identity: str, masters: Masters, optimizer: torch.optim.Optimizer, ema: Ema | None
) -> tuple[Position, list[Tensor] | None] | None:
    """Load the checkpoint of the same run into place.

    Args:
        directory: where `save` wrote.
        identity: digest of everything that shapes the weights; a checkpoint of another run is refused.
        masters: overwritten.
        optimizer: its state is overwritten.
        ema: overwritten, where there is one.

    Returns:
        The position and the best weights, or None when there is no checkpoint.

    Raises:
        ArtifactError: the checkpoint is damaged or belongs to another run.
    """
    path = directory / FILE
    if not path.is_file():
        return None
    facts, tensors = _read(path)
    _require_same(facts, identity, path)
    with torch.no_grad():
        for i, master in enumerate(masters.full):
            master.copy_(tensors[f"master.{i}"])
        for i, value in enumerate(ema.values if ema is not None else []):
            value.copy_(tensors[f"ema.{i}"])
    _restore_optimizer(optimizer, masters, facts, tensors)
    best = [tensors[f"best.{i}"] for i in range(len(masters.full))] if "best.0" in tensors else None
    return _position(facts, path), best


def _position(facts: dict[str, Any], path: Path) -> Position:
    try:
        return Position(**facts["position"])
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"the checkpoint was written by another release ({error})",
            where=str(path),
            next_step="delete it to train from the start",
        ) from None


def _read(path: Path, names: Iterable[str] | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as handle:
            facts: dict[str, Any] = json.loads(handle.metadata()["state"])
            wanted = handle.keys() if names is None else names
            return facts, {name: handle.get_tensor(name) for name in wanted}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"the checkpoint is damaged ({error})", where=str(path), next_step="delete it to train from the start"
        ) from None


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, masters: Masters, facts: dict[str, Any], tensors: dict[str, Tensor]
) -> None:
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            master = masters.full[int(index)]
            optimizer.state[master][key] = tensor.to(master.device)
    for name, value in facts["plain"].items():
        index, key = name.split(".", 1)
        optimizer.state[masters.full[int(index)]][key] = value
    for group, saved in zip(optimizer.param_groups, facts["groups"], strict=True):
        group.update(saved)
