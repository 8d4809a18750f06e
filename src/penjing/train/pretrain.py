"""Continued pretraining on unlabelled rows before fine-tuning (Gururangan et al. 2020)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Notice, Progress
from penjing.core.runtime import Runtime
from penjing.core.task import Batch, Row, Table, Task
from penjing.models.encoder import load_encoder
from penjing.models.pretrained import Pretrained
from penjing.models.tokenizer import load_tokenizer
from penjing.train import checkpoint
from penjing.train.checkpoint import Position
from penjing.train.config import TrainConfig
from penjing.train.gradient.masked import MASK_TOKENS, MaskedModel, MaskedTrainer
from penjing.train.loop import Loop
from penjing.train.optim import Masters, build_optimizer, group_parameters
from penjing.train.precision import LossScale, choose_dtype

ENCODER = "pretrained_encoder.safetensors"


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
) -> Generator[Event, None, Path]:
    """Adapt the encoder to the texts of `rows`; labels are not read.

    Args:
        task: encodes the rows.
        rows: training rows and unlabelled rows.
        pretrained: where the encoder starts from.
        config: the train stage; its `pretrain` part is what counts here.
        out: directory for the checkpoint and the encoder.
        runtime: this process.
        seed: of order and masking.

    Returns:
        Path of the adapted encoder's weights. When it exists already (a resumed run), nothing is done.

    Raises:
        CapabilityError: the tokenizer has no mask token.
    """
    target = out / ENCODER
    if target.is_file():
        return target
    settings = config.pretrain
    loop_config = TrainConfig(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        batch_rows=config.batch_rows,
        batch_tokens=config.batch_tokens,
        precision=config.precision,
        head_multiplier=1.0,
        ema=0.0,
    )
    trainer = _trainer(pretrained, settings.mask_probability)
    torch.manual_seed(seed)
    encoder = load_encoder(pretrained, dropout=config.dropout)
    words = _word_embeddings(encoder)
    words.requires_grad_(False)
    dtype = choose_dtype(config.precision, runtime.device)
    model = MaskedModel(encoder, words).to(runtime.device).to(dtype)
    groups = group_parameters(model, head_multiplier=1.0, layer_decay=1.0)
    masters = Masters(groups)
    optimizer = build_optimizer(groups, masters, loop_config, settings.learning_rate)
    table = Table(list(map(dict, rows)), [str(i) for i in range(len(rows))], "unlabelled")
    loop = Loop(
        _Texts(task), trainer, model, table, loop_config, runtime, optimizer, masters, None,
        LossScale(dtype), Position(), seed,
    )  # fmt: skip
    loop.position.total = loop.total_steps(settings.epochs)
    yield Notice("pretrain", f"masked language modelling on {len(rows)} texts, {settings.epochs} passes")
    yield from _turn(loop, out / "pretraining", optimizer, masters, config, pretrained, seed)
    if runtime.rank == 0:
        part = target.with_name(target.name + ".part")
        out.mkdir(parents=True, exist_ok=True)
        state = {k: v.float().contiguous().clone() for k, v in encoder.state_dict().items()}
        save_file(state, part)
        part.replace(target)
    return target


def _turn(
    loop: Loop,
    out: Path,
    optimizer: torch.optim.Optimizer,
    masters: Masters,
    config: TrainConfig,
    pretrained: Pretrained,
    seed: int,
) -> Generator[Event, None, None]:
    import time

    facts = [pretrained.name, config.pretrain.model_dump(mode="json"), len(loop.table), seed, torch.__version__]
    identity = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    found = checkpoint.restore(out, identity=identity, masters=masters, optimizer=optimizer, ema=None)
    if found is not None:
        loop.position = found[0]
        masters.publish()
    saved = time.monotonic()
    for step in loop.steps():
        yield Progress("pretrain", step.step, loop.position.total, "steps", values={"loss": step.loss})
        if loop.runtime.rank == 0 and time.monotonic() - saved >= config.checkpoint_seconds:
            checkpoint.save(
                out,
                identity=identity,
                position=loop.position,
                masters=masters,
                optimizer=optimizer,
                ema=None,
                best=None,
            )
            saved = time.monotonic()


def _trainer(pretrained: Pretrained, probability: float) -> MaskedTrainer:
    tokenizer = load_tokenizer(pretrained.directory / "tokenizer.json")
    mask_id = next((i for t in MASK_TOKENS if (i := tokenizer.token_to_id(t)) is not None), None)
    if mask_id is None:
        raise CapabilityError(
            "its tokenizer has no mask token, which masked language modelling needs",
            where=pretrained.name,
            next_step="set train.pretrain.epochs to 0",
        )
    specials = [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    return MaskedTrainer(mask_id, specials, probability)


def _word_embeddings(encoder: nn.Module) -> nn.Embedding:
    """The largest embedding table is the vocabulary's."""
    return max((m for m in encoder.modules() if isinstance(m, nn.Embedding)), key=lambda m: m.num_embeddings)
