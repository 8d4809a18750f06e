"""Fine-tuning from rows to weights: the one function that the command line, `torchrun` and a scheduler call.

It builds the model, starts its head from a probe, turns the loop, evaluates, checkpoints, stops, and leaves
`weights.safetensors` in `out`. Killed at any moment and called again with the same arguments, it goes on from its last
checkpoint and ends with the same weights.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from penjing.core import registry
from penjing.core.artifact import file_sha256
from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Notice, Progress
from penjing.core.memory import release_freed
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Task
from penjing.models.pretrained import Pretrained
from penjing.predict.task_file import WEIGHTS
from penjing.train import checkpoint
from penjing.train.attempt import Attempt
from penjing.train.checkpoint import Position
from penjing.train.config import TrainConfig
from penjing.train.head_start import choose_penalty, extract_features, fit_probe, start_rows
from penjing.train.honours import idle_settings, refuse_ignored, without_ignored
from penjing.train.loop import Loop
from penjing.train.lower_states import LowerStates, can_keep, compute_lower_states
from penjing.train.memory import least_bytes, peak_rss_mb, require_memory
from penjing.train.method import apply_method, merge_adapters
from penjing.train.optim import Ema, Masters, build_optimizer, group_parameters
from penjing.train.precision import DTYPES, LossScale, agree_dtype, dtype_name
from penjing.train.protocol import GradientTrainer
from penjing.train.random_weights import resolve_for
from penjing.train.time_limit import TimeLimit
from penjing.train.weights_file import save_tensors


@dataclass(frozen=True)
class FitResult:
    """What training gave.

    Args:
        model: the final model in 32 bits (a frozen vocabulary as its file has it), adapters merged, in evaluation mode;
            only the first process's is completed by the trainer.
        minutes: wall time of training, with continued pretraining, evaluations and the head's start, all attempts of a
            resumed run together.
        samples_per_s: rows trained on a second, evaluation not counted.
        history: one entry an evaluation: step, epoch, loss, learning_rate, the metrics.
        config: the settings with every default resolved.
        trainable: parameters that were learned.
        peak_mb: greatest resident memory of this process so far, in MB (10^6 bytes).
    """

    model: nn.Module = field(repr=False)
    minutes: float
    samples_per_s: float
    history: list[dict[str, float]]
    config: TrainConfig
    trainable: int
    peak_mb: float


def fit(
    task: Task,
    splits: Splits,
    pretrained: Pretrained,
    config: TrainConfig,
    out: Path,
    runtime: Runtime,
    *,
    seed: int = 42,
    encoder_state: Path | None = None,
    spent_seconds: float = 0.0,
    max_minutes: float | None = None,
) -> Generator[Event, None, FitResult]:
    """Fine-tune `pretrained` on `splits.train`, choosing by `splits.valid`.

    Args:
        task: what is learned.
        splits: the sealed test rows are never touched.
        pretrained: the model to start from.
        config: settings; None in a field means the default for this data and model.
        out: directory for the checkpoint and the weights.
        runtime: this process among those of the run.
        seed: of initialisation, order and dropout.
        encoder_state: encoder weights of a continued pretraining, to start from instead.
        spent_seconds: wall time that continued pretraining took, which counts as training.
        max_minutes: wall time allowed, with `spent_seconds`; where the first steps foresee more, fewer steps are
            planned, and a notice says so.

    Yields:
        Progress and notices.

    Returns:
        The model and what is known of it.

    Raises:
        CapabilityError: a setting does not fit the task or the machine, or training diverged.
        ArtifactError: `out` holds a damaged checkpoint, or that of another run.
    """
    for sentence in idle_settings(config):
        yield Notice("train", sentence, "warning")
    config = resolve_for(config, task, pretrained, num_rows=len(splits.train))
    identity = _identity(task, splits, pretrained, config, seed, encoder_state, runtime.world)
    torch.manual_seed(seed)
    trainer = registry.load(task.trainer)()
    refuse_ignored(trainer, task, config)
    config = without_ignored(trainer, task, config)
    refuse_impossible(trainer, config, runtime.world)
    model = trainer.build_model(task, pretrained, config, seed)
    if hasattr(trainer, "observe"):
        trainer.observe(task, splits.train)
    if encoder_state is not None:
        model.encoder.load_state_dict(load_file(encoder_state), assign=True)
    return (
        yield from fit_model(
            task,
            splits,
            trainer,
            model,
            config,
            out,
            runtime,
            identity=identity,
            seed=seed,
            spent_seconds=spent_seconds,
            max_minutes=max_minutes,
        )
    )


def fit_model(
    task: Task,
    splits: Splits,
    trainer: GradientTrainer,
    model: nn.Module,
    config: TrainConfig,
    out: Path,
    runtime: Runtime,
    *,
    identity: str,
    seed: int,
    spent_seconds: float = 0.0,
    max_minutes: float | None = None,
) -> Generator[Event, None, FitResult]:
    """Train a model that is built already: what `fit` does once it has one; arguments as there.

    Args:
        task: what is learned.
        splits: train and valid.
        trainer: gives the loss.
        model: with an `encoder` and a head, in 32 bits.
        config: settings, every default resolved.
        out: directory for the checkpoint and the weights.
        runtime: this process.
        identity: digest of all that shapes the weights; a checkpoint of another is refused.
        seed: of order and dropout.
        spent_seconds: wall time that counts as training.
        max_minutes: wall time allowed.

    Yields:
        Progress and notices.

    Returns:
        The model and what is known of it.
    """
    apply_method(model, config)
    kept = checkpoint.read_position(out, identity)
    otherwise = checkpoint.resumed_otherwise(kept, runtime.threads)
    if otherwise is not None:
        yield Notice("train", otherwise, "warning")
    dtype = DTYPES[kept.precision] if kept else agree_dtype(config.precision, runtime)
    require_memory(least_bytes(model, dtype, optimizer=config.optimizer, averaged=config.ema > 0))
    model.to(runtime.device).to(dtype)
    begun = time.perf_counter()
    lower = yield from _lower_states(trainer, model, task, splits, runtime, keep=kept.kept_lower if kept else None)
    if kept is None and hasattr(trainer, "features") and (config.head_start == "probe" or config.method == "probe"):
        # A probe that is all there will be learns from every row.
        rows = None if config.method == "probe" else start_rows(len(splits.train), seed)
        yield from _start_head(trainer, model, task, splits, runtime, lower, rows)
    start_seconds = time.perf_counter() - begun
    position = Position(
        precision=dtype_name(dtype),
        kept_lower=lower is not None,
        threads=runtime.threads,
        other_seconds=spent_seconds + start_seconds,
    )
    release_freed()  # what the head's start took
    attempt = _prepare(task, splits, trainer, model, config, runtime, LossScale(dtype), position, seed)
    attempt.loop.lower = lower
    del lower  # `_finish` frees it
    attempt.limit.max_minutes = max_minutes
    attempt.limit.recall(out, identity)
    if kept is not None:
        restored = checkpoint.restore(
            out, identity=identity, masters=attempt.masters, optimizer=attempt.loop.optimizer, ema=attempt.ema
        )
        assert restored is not None
        attempt.adopt(*restored)
        attempt.loop.position.other_seconds += start_seconds  # frozen layers' states were computed again
        yield Notice("train", f"resumed at step {attempt.loop.position.step} of {attempt.loop.position.total}")
    yield from attempt.train(out, identity)
    return (yield from _finish(attempt, trainer, out, seed))


def refuse_impossible(trainer: object, config: TrainConfig, world: int) -> None:
    """Refuse settings under which the task's trainer would learn something else, or nothing.

    Raises:
        CapabilityError: the message names the setting.
    """
    name = type(trainer).__name__
    if config.method == "probe" and not hasattr(trainer, "features"):
        raise CapabilityError(
            f"this task's trainer ({name}) has no linear head to fit",
            where="train.method",
            expected="full, last-k, lora, dora or ia3",
        )
    if getattr(trainer, "batch_coupled", False) and config.accumulation * world > 1:
        raise CapabilityError(
            f"the loss of this task's trainer ({name}) couples the rows of a batch, which must not be divided",
            where="train.accumulation",
            expected="1, in a single process",
        )


def _prepare(
    task: Task,
    splits: Splits,
    trainer: GradientTrainer,
    model: nn.Module,
    config: TrainConfig,
    runtime: Runtime,
    scale: LossScale,
    position: Position,
    seed: int,
) -> Attempt:
    groups = group_parameters(model, head_multiplier=config.head_multiplier, layer_decay=config.layer_decay)
    masters = Masters(groups)
    assert config.learning_rate is not None
    optimizer = build_optimizer(groups, masters, config, config.learning_rate)
    ema = Ema(masters, config.ema) if config.ema and config.optimizer != "schedule-free" else None
    loop = Loop(
        task, trainer, model, splits.train, config, runtime, optimizer, masters, ema, scale, position, seed
    )  # fmt: skip
    position.total = loop.total_steps(0 if config.method == "probe" else config.epochs or 0)
    if config.optimizer == "schedule-free":
        for group in optimizer.param_groups:  # it warms up by itself, once it knows for how long
            group["warmup_steps"] = round(config.warmup * position.total)
    return Attempt(task, splits, model, config, runtime, masters, ema, loop, TimeLimit(None))


def _finish(attempt: Attempt, trainer: object, out: Path, seed: int) -> Generator[Event, None, FitResult]:
    """Put the kept weights into the model, widen it to 32 bits, let the trainer complete it, and write it."""
    position, model, masters = attempt.loop.position, attempt.model, attempt.masters
    assert attempt.best is not None
    attempt.loop.lower = attempt.ema = attempt.loop.ema = None  # steps alone need them, and what follows needs memory
    attempt.loop.optimizer.state.clear()
    release_freed()
    model.to(torch.promote_types(masters.full[0].dtype, torch.float32))
    with torch.no_grad():
        for low, value in zip(masters.low, attempt.best, strict=True):
            low.copy_(value)
    trainable = sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )  # before adapters become one with the rest
    merge_adapters(model)
    model.float().eval()
    if hasattr(trainer, "complete") and attempt.runtime.rank == 0:  # whose model is written
        begun = time.perf_counter()
        yield from trainer.complete(model, attempt.task, attempt.splits, seed, DTYPES[position.precision])
        position.other_seconds += time.perf_counter() - begun
    if attempt.runtime.rank == 0:
        part = out / (WEIGHTS + ".part")
        out.mkdir(parents=True, exist_ok=True)
        save_tensors(part, model.state_dict())
        part.replace(out / WEIGHTS)
    rate = position.rows / position.seconds if position.seconds else 0.0
    minutes = (position.seconds + position.other_seconds) / 60
    config = attempt.config.model_copy(update={"precision": position.precision})
    return FitResult(model, minutes, rate, position.history, config, trainable, peak_rss_mb())


def _lower_states(
    trainer: object, model: nn.Module, task: Task, splits: Splits, runtime: Runtime, *, keep: bool | None
) -> Generator[Event, None, LowerStates | None]:
    """The frozen layers' states of the training rows, where they stay the same and fit the memory.

    `keep` is what the run began with; None: decide by the memory that is free now.
    """
    encoder = model.encoder
    if not getattr(trainer, "keeps_lower_states", False) or not getattr(encoder, "num_frozen", 0):
        return None
    if keep is None:
        num_tokens = int(task.lengths(splits.train.rows).sum())
        keep = can_keep(num_tokens, encoder.hidden_size, next(encoder.parameters()).element_size())
    if not keep:
        return None
    for event in compute_lower_states(model, task, splits.train, runtime.device):
        if isinstance(event, LowerStates):
            return event
        yield event
    raise AssertionError("the last thing yielded is the states")


def _start_head(
    trainer: object,
    model: nn.Module,
    task: Task,
    splits: Splits,
    runtime: Runtime,
    lower: LowerStates | None,
    rows: np.ndarray | None,
) -> Iterator[Event]:
    found: tuple[Tensor, Tensor] | None = None
    for event in extract_features(trainer, model, task, splits.train, runtime.device, lower, rows):
        if isinstance(event, Progress):
            yield event
        else:
            found = event
    assert found is not None
    wanted = (*found, model.head.out_features, trainer.objective)  # type: ignore[attr-defined]
    # The first process chooses for all: rounded otherwise, another might find the next penalty better.
    penalty = torch.tensor(choose_penalty(*wanted) if runtime.rank == 0 else 0.0, device=runtime.device)
    runtime.sum_over_ranks([penalty])
    weight, bias = fit_probe(*wanted, l2=float(penalty))
    with torch.no_grad():
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)


def _identity(
    task: Task,
    splits: Splits,
    pretrained: Pretrained,
    config: TrainConfig,
    seed: int,
    encoder_state: Path | None,
    world: int,
) -> str:
    facts = {
        "kind": task.kind,
        "data": splits.fingerprint,
        "model": [pretrained.name, pretrained.digests()],
        "config": config.model_dump(mode="json", exclude={"checkpoint_seconds"}),
        "seed": seed,
        "processes": world,  # they share out each step's batches
        "pretrained_here": None if encoder_state is None else file_sha256(encoder_state),
        "torch": torch.__version__,
        "penjing": version("penjing"),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
