"""Fine-tuning from rows to weights: the one function that the command line, `torchrun` and a scheduler call.

It builds the model, starts its head from a probe, turns the loop, evaluates, checkpoints, stops, and leaves
`weights.safetensors` in `out`. Killed at any moment and called again with the same arguments, it goes on from its last
checkpoint and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from penjing.core import registry
from penjing.core.events import Event, Notice, Progress
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Task
from penjing.models.pretrained import Pretrained
from penjing.train import checkpoint
from penjing.train.checkpoint import Position
from penjing.train.config import TrainConfig
from penjing.train.defaults import resolve_train
from penjing.train.head_start import extract_features, fit_probe
from penjing.train.loop import Loop, Step
from penjing.train.method import apply_method, merge_adapters
from penjing.train.optim import Ema, Masters, build_optimizer, group_parameters
from penjing.train.precision import LossScale, choose_dtype
from penjing.train.validation import evaluate_model

WEIGHTS = "weights.safetensors"
_WARM_STEPS = 8  # steps before the estimate of the whole run is trusted


@dataclass(frozen=True)
class FitResult:
    """What training gave.

    Args:
        model: the final model in 32 bits, adapters merged, in evaluation mode.
        metrics: of the validation rows.
        minutes: wall time of training, all attempts of a resumed run together.
        samples_per_s: rows trained on a second, evaluation not counted.
        history: one entry an evaluation: step, epoch, loss, learning_rate, the metrics.
        config: the settings with every default resolved.
    """

    model: nn.Module = field(repr=False)
    metrics: dict[str, float]
    minutes: float
    samples_per_s: float
    history: list[dict[str, float]]
    config: TrainConfig


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

    Yields:
        Progress and notices.

    Returns:
        The model and what is known of it.
    """
    config = resolve_train(config, num_rows=len(splits.train), width=pretrained.dimension)
    identity = _identity(task, splits, pretrained, config, seed, encoder_state)
    torch.manual_seed(seed)
    trainer = registry.load(task.trainer)()
    model = trainer.build_model(task, pretrained, config, seed)
    if encoder_state is not None:
        model.encoder.load_state_dict(load_file(encoder_state))
    apply_method(model, config)
    model.to(runtime.device)
    resuming = (out / checkpoint.FILE).is_file()
    probes = hasattr(trainer, "features") and (config.head_start == "probe" or config.method == "probe")
    if probes and not resuming:
        yield from _start_head(trainer, model, task, splits, runtime)
    dtype = choose_dtype(config.precision, runtime.device)
    model.to(dtype)
    run = _Run.build(task, splits, trainer, model, config, runtime, dtype, seed)
    run.loop.position.total = run.loop.total_steps(0 if config.method == "probe" else config.epochs or 0)
    if resuming:
        restored = checkpoint.restore(
            out, identity=identity, masters=run.masters, optimizer=run.loop.optimizer, ema=run.ema
        )
        assert restored is not None
        run.adopt(*restored)
        yield Notice("train", f"resumed at step {run.loop.position.step} of {run.loop.position.total}")
    yield from run.train(out, identity)
    return run.finish(out)


@dataclass
class _Run:
    """One training run: the loop, and what stands around it."""

    task: Task
    splits: Splits
    model: nn.Module
    config: TrainConfig
    runtime: Runtime
    masters: Masters
    ema: Ema | None
    loop: Loop
    best: list[Tensor] | None = None

    @classmethod
    def build(
        cls,
        task: Task,
        splits: Splits,
        trainer: object,
        model: nn.Module,
        config: TrainConfig,
        runtime: Runtime,
        dtype: torch.dtype,
        seed: int,
    ) -> _Run:
        groups = group_parameters(model, head_multiplier=config.head_multiplier, layer_decay=config.layer_decay)
        masters = Masters(groups)
        assert config.learning_rate is not None
        optimizer = build_optimizer(groups, masters, config, config.learning_rate)
        ema = Ema(masters, config.ema) if config.ema and config.optimizer != "schedule-free" else None
        loop = Loop(
            task, trainer, model, splits.train, config, runtime, optimizer, masters, ema,
            LossScale(dtype), Position(), seed,
        )  # fmt: skip
        return cls(task, splits, model, config, runtime, masters, ema, loop)

    def adopt(self, position: Position, best: list[Tensor] | None) -> None:
        """Go on from a checkpoint."""
        self.loop.position, self.best = position, best
        self.loop.scale.value, self.loop.scale.calm = position.scale, position.calm
        self.masters.publish()

    def train(self, out: Path, identity: str) -> Iterator[Event]:
        """Turn the loop; evaluate, checkpoint and stop as configured."""
        position = self.loop.position
        if position.step == 0:
            self._record(Step(0, float("nan"), 0, 0.0, 0.0, True))
            yield self._progress(None)
        if self._exhausted():
            return
        saved, started_rows, started_seconds = time.monotonic(), position.rows, position.seconds
        for step in self.loop.steps():
            if step.evaluate:
                self._record(step)
            yield self._progress(step)
            done_now = position.rows - started_rows
            if step.step == _WARM_STEPS:
                left = (position.total - step.step) * (position.seconds - started_seconds) / _WARM_STEPS
                yield Notice("train", f"about {max(1, round(left / 60))} min of training ahead, by the first steps")
            exhausted = self._exhausted()
            due = time.monotonic() - saved >= self.config.checkpoint_seconds and done_now
            if self.runtime.rank == 0 and (due or exhausted or step.step == position.total):
                checkpoint.save(
                    out, identity=identity, position=position, masters=self.masters,
                    optimizer=self.loop.optimizer, ema=self.ema, best=self.best,
                )  # fmt: skip
                saved = time.monotonic()
            if exhausted:
                yield Notice("train", f"stopped early at step {step.step}: no gain in {position.stale} evaluations")
                return

    def _exhausted(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and self.loop.position.stale >= patience

    def _record(self, step: Step) -> None:
        """Evaluate the weights that would be kept, and keep them if they are the best."""
        position = self.loop.position
        with self._kept_weights() as values:
            metrics = evaluate_model(self.model, self.task, self.splits.valid, self.runtime.device)
            primary = self.task.primary
            sign = 1.0 if self.task.metrics[primary].higher_is_better else -1.0
            if position.best is None or sign * metrics[primary] >= sign * position.best:
                # Ties go to the later weights: they have seen more.
                position.best, position.stale = metrics[primary], 0
                self.best = [value.detach().clone() for value in values]
            else:
                position.stale += 1
        epoch = position.rows / max(1, len(self.splits.train))
        position.history.append(
            {
                "step": float(step.step),
                "epoch": round(epoch, 3),
                "loss": step.loss,
                "learning_rate": step.learning_rate,
                "samples_per_s": position.rows / position.seconds if position.seconds else 0.0,
                **{f"valid_{name}": value for name, value in metrics.items()},
            }
        )

    @contextlib.contextmanager
    def _kept_weights(self) -> Iterator[list[Tensor]]:
        """Inside, the model holds the averaged weights; after, those in training again."""
        schedule_free = self.config.optimizer == "schedule-free"
        if schedule_free:
            self.loop.optimizer.eval()  # type: ignore[attr-defined]
        values = self.ema.values if self.ema is not None else list(self.masters.full)
        training = [master.detach().clone() for master in self.masters.full]
        self.masters.publish(values)
        try:
            yield values
        finally:
            if schedule_free:
                self.loop.optimizer.train()  # type: ignore[attr-defined]
                training = [master.detach().clone() for master in self.masters.full]
            self.masters.publish(training)

    def _progress(self, step: Step | None) -> Progress:
        position = self.loop.position
        values = {"samples_per_s": position.rows / position.seconds if position.seconds else 0.0}
        if step is not None:
            values |= {"loss": step.loss, "learning_rate": step.learning_rate, "norm": step.norm}
        if position.best is not None:
            values[f"valid_{self.task.primary}"] = position.history[-1][f"valid_{self.task.primary}"]
        return Progress("train", position.step, position.total, "steps", values=values)

    def finish(self, out: Path) -> FitResult:
        """Put the kept weights into the model, widen it to 32 bits and write it."""
        position = self.loop.position
        assert self.best is not None
        self.model.to(torch.promote_types(self.masters.full[0].dtype, torch.float32))
        with torch.no_grad():
            for low, value in zip(self.masters.low, self.best, strict=True):
                low.copy_(value)
        merge_adapters(self.model)
        self.model.float().eval()
        if self.runtime.rank == 0:
            part = out / (WEIGHTS + ".part")
            out.mkdir(parents=True, exist_ok=True)
            save_file({k: v.contiguous().clone() for k, v in self.model.state_dict().items()}, part)
            part.replace(out / WEIGHTS)
        metrics = evaluate_model(self.model, self.task, self.splits.valid, self.runtime.device)
        rate = position.rows / position.seconds if position.seconds else 0.0
        return FitResult(self.model, metrics, position.seconds / 60, rate, position.history, self.config)


def _start_head(trainer: object, model: nn.Module, task: Task, splits: Splits, runtime: Runtime) -> Iterator[Event]:
    found: tuple[Tensor, Tensor] | None = None
    for event in extract_features(trainer, model, task, splits.train, runtime.device):
        if isinstance(event, Progress):
            yield event
        else:
            found = event
    assert found is not None
    weight, bias = fit_probe(*found, model.head.out_features, trainer.objective)  # type: ignore[attr-defined]
    with torch.no_grad():
        model.head.weight.copy_(weight)
        model.head.bias.copy_(bias)


def _identity(
    task: Task, splits: Splits, pretrained: Pretrained, config: TrainConfig, seed: int, encoder_state: Path | None
) -> str:
    facts = {
        "kind": task.kind,
        "data": splits.fingerprint,
        "model": pretrained.name,
        "config": config.model_dump(mode="json", exclude={"checkpoint_seconds"}),
        "seed": seed,
        "pretrained_here": encoder_state is not None,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
