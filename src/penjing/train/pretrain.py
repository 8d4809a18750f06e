"""Continued pretraining on unlabelled rows before fine-tuning (Gururangan et al. 2020)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import nn

from penjing.core.artifact import write_atomic
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Event, Notice, Progress
from penjing.core.runtime import Runtime
from penjing.core.task import Batch, Row, Table, Task
from penjing.models.encoder import load_encoder
from penjing.models.pretrained import Pretrained
from penjing.train import checkpoint
from penjing.train.checkpoint import Position
from penjing.train.config import TrainConfig
from penjing.train.gradient.masked import MaskedModel, MaskedTrainer, MaskToken
from penjing.train.loop import Loop
from penjing.train.optim import Masters, build_optimizer, group_parameters
from penjing.train.precision import DTYPES, LossScale, agree_dtype, dtype_name
from penjing.train.random_weights import starts_at_random
from penjing.train.time_limit import TimeLimit
from penjing.train.weights_file import save_tensors

ENCODER = "pretrained_encoder.safetensors"
CHECKPOINTS = "pretraining"  # the directory of the checkpoint, inside `out`
SECONDS = "seconds.json"  # beside the checkpoint; not in the encoder's file, whose digest must not depend on the clock


@dataclass(frozen=True)
class Adapted:
    """What continued pretraining gave.

    Args:
        path: the adapted encoder's weights.
        seconds: wall time, all attempts of a resumed run together.
    """

    path: Path
    seconds: float


class _Texts:
    """The part of a task that the loop needs, with labels left out."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] tokens a row."""
        return self.task.lengths(rows)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Inputs alone: what is hidden is drawn by the trainer."""
        return self.task.encode(rows, training=False)


def pretrain_encoder(
    task: Task,
    rows: Sequence[Row],
    pretrained: Pretrained,
    config: TrainConfig,
    out: Path,
    runtime: Runtime,
    *,
    seed: int,
    max_minutes: float | None = None,
) -> Generator[Event, None, Adapted]:
    """Adapt the encoder to the texts of `rows`; labels are not read.

    Args:
        task: encodes the rows.
        rows: training rows and unlabelled rows.
        pretrained: where the encoder starts from.
        config: the train stage; its `pretrain` part is what counts here.
        out: directory for the checkpoint and the encoder.
        runtime: this process.
        seed: of order and masking.
        max_minutes: wall time allowed; where the first steps foresee more, fewer steps are planned, and a notice says
            so.

    Yields:
        Progress and notices.

    Returns:
        The adapted encoder and the time it took. When it exists already (a resumed run), nothing is done.

    Raises:
        CapabilityError: the tokenizer has no mask token.
        ArtifactError: `out` holds an encoder or a checkpoint of another run.
    """
    begun = time.perf_counter()
    target, settings = out / ENCODER, config.pretrain
    identity = _identity(rows, pretrained, config, seed)
    if target.is_file():
        _require_same(target, identity)
        return Adapted(target, _read_seconds(out / CHECKPOINTS / SECONDS))
    trainer = MaskedTrainer(_mask_token(pretrained), settings.mask_probability)
    torch.manual_seed(seed)
    encoder = load_encoder(pretrained, dropout=config.dropout, checkpointing=config.activation_checkpointing)
    words = _word_embeddings(encoder)
    words.requires_grad_(starts_at_random(pretrained))
    kept = checkpoint.read_position(out / CHECKPOINTS, identity)
    otherwise = checkpoint.resumed_otherwise(kept, runtime.threads)
    if otherwise is not None:
        yield Notice("pretrain", otherwise, "warning")
    dtype = DTYPES[kept.precision] if kept else agree_dtype(config.precision, runtime)
    words.weight.data = words.weight.data.to(dtype)  # all of it is in every product with the scores
    model = MaskedModel(encoder, words).to(runtime.device).to(dtype)
    table = Table(list(map(dict, rows)), [str(i) for i in range(len(rows))], "unlabelled")
    loop = _loop(task, trainer, model, table, config, runtime, LossScale(dtype), seed)
    loop.position.precision, loop.position.threads = dtype_name(dtype), runtime.threads
    yield Notice("pretrain", f"masked language modelling on {len(rows)} texts, {settings.epochs} passes")
    limit = TimeLimit(max_minutes, what="pretraining")
    yield from _turn(loop, limit, out / CHECKPOINTS, identity, config.checkpoint_seconds, begun)
    seconds = loop.position.seconds + loop.position.other_seconds
    if runtime.rank == 0:
        (out / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_atomic(out / CHECKPOINTS / SECONDS, json.dumps(seconds) + "\n")  # first: an encoder has its time
        part = target.with_name(target.name + ".part")
        save_tensors(part, {k: v.float() for k, v in encoder.state_dict().items()}, {"identity": identity})
        part.replace(target)
    runtime.sum_over_ranks([torch.zeros(1, device=runtime.device)])  # the others read what the first has written
    return Adapted(target, seconds)


def _loop(
    task: Task,
    trainer: MaskedTrainer,
    model: MaskedModel,
    table: Table,
    config: TrainConfig,
    runtime: Runtime,
    scale: LossScale,
    seed: int,
) -> Loop:
    settings = config.pretrain
    loop_config = TrainConfig(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        batch_rows=config.batch_rows,
        batch_tokens=config.batch_tokens,
        accumulation=config.accumulation,
        precision=config.precision,
        head_multiplier=1.0,
        ema=0.0,
    )
    groups = group_parameters(model, head_multiplier=1.0, layer_decay=1.0)
    masters = Masters(groups)
    optimizer = build_optimizer(groups, masters, loop_config, settings.learning_rate)
    loop = Loop(
        _Texts(task), trainer, model, table, loop_config, runtime, optimizer, masters, None, scale, Position(), seed
    )  # fmt: skip
    loop.position.total = loop.total_steps(settings.epochs)
    return loop


def _turn(
    loop: Loop, limit: TimeLimit, out: Path, identity: str, checkpoint_seconds: float, begun: float
) -> Generator[Event, None, None]:
    limit.recall(out, identity)
    found = checkpoint.restore(out, identity=identity, masters=loop.masters, optimizer=loop.optimizer, ema=None)
    if found is not None:
        loop.position = found[0]
        loop.scale.value, loop.scale.calm = loop.position.scale, loop.position.calm
        loop.masters.publish()
        yield Notice("pretrain", f"resumed at step {loop.position.step} of {loop.position.total}")
    loop.position.other_seconds += time.perf_counter() - begun
    saved = time.monotonic()
    for step in loop.steps():
        yield Progress("pretrain", step.step, loop.position.total, "steps", values={"loss": step.loss})
        decisions = len(limit.decided)
        notice = limit.check(loop)
        if len(limit.decided) > decisions and loop.runtime.rank == 0:
            limit.record(out, identity)
        if notice is not None:
            yield notice
        due = limit.just_changed or time.monotonic() - saved >= checkpoint_seconds
        if loop.runtime.rank == 0 and due:
            checkpoint.save(
                out, identity=identity, position=loop.position, masters=loop.masters,
                optimizer=loop.optimizer, ema=None, best=None,
            )  # fmt: skip
            saved = time.monotonic()


def _identity(rows: Sequence[Row], pretrained: Pretrained, config: TrainConfig, seed: int) -> str:
    shaping = {"pretrain", "batch_rows", "batch_tokens", "accumulation", "precision", "dropout"}
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=str, ensure_ascii=False).encode("utf-8", "replace"))
    start = [pretrained.name, pretrained.digests()]
    facts = [start, config.model_dump(mode="json", include=shaping), digest.hexdigest(), seed]
    return hashlib.sha256(json.dumps([*facts, torch.__version__, version("penjing")]).encode()).hexdigest()


def _read_seconds(path: Path) -> float:
    try:
        return float(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"the time of the pretraining cannot be read ({error})",
            where=str(path),
            next_step=f"delete {ENCODER} in the directory above to pretrain again",
        ) from None


def _require_same(target: Path, identity: str) -> None:
    with safe_open(target, framework="pt") as handle:
        found = (handle.metadata() or {}).get("identity")
    if found != identity:
        raise ArtifactError(
            "was pretrained on other texts or with other settings",
            where=str(target),
            next_step="delete it to pretrain from the start",
        )


def _mask_token(pretrained: Pretrained) -> MaskToken:
    found = MaskToken.of(pretrained.directory / "tokenizer.json")
    if found is None:
        raise CapabilityError(
            "its tokenizer has no mask token, which masked language modelling needs",
            where=pretrained.name,
            next_step="set train.pretrain.epochs to 0",
        )
    return found


def _word_embeddings(encoder: nn.Module) -> nn.Embedding:
    """The largest embedding table is the vocabulary's."""
    return max((m for m in encoder.modules() if isinstance(m, nn.Embedding)), key=lambda m: m.num_embeddings)
