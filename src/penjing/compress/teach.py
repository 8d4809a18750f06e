"""The step that teaches a smaller student what the chain's teacher says."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.compress.distil import TAUGHT_SHARE, DistilSettings, distil
from penjing.compress.guide import Guide
from penjing.compress.lessons import IDS, MASK, Lessons, says_of_tokens, stacked
from penjing.compress.moments import Moments
from penjing.compress.shapes import near_width
from penjing.compress.step import Changed, Material, Method, StepConfig, needs_layers
from penjing.compress.student import Shape, components, keep_ngrams, make_student, require_fit
from penjing.core.errors import CapabilityError
from penjing.core.events import Event
from penjing.core.task import Task
from penjing.models.encoder import EncoderConfig
from penjing.train.loop import to_tensors

_BASIS_TEXTS = 2_000  # by whose tokens the components of hidden states are found
_AT_ONCE = 64
STEPS = 3_000  # unless told otherwise
PHRASE_STEPS, PHRASE_ROWS, PHRASE_WIDTH = 4_000, 128, 128  # of students without layers
MOST_EPOCHS = 60.0  # of few texts, which are known by heart then


def epochs_of(steps: int, texts: int, batch_rows: int = 64) -> float:
    """Passes over so many texts that make about so many steps: of few texts more, and never less than one."""
    return round(min(MOST_EPOCHS, max(1.0, steps * batch_rows / max(1, texts))), 1)


class DistilConfig(StepConfig):
    """The student, and how it is taught."""

    method: Literal["distil"] = "distil"
    layers: int = Field(2, ge=0, le=48, description="Transformer blocks; 0: a bag of words, or of phrases.")
    hidden: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Width of a token's vector; None: the teacher's, or 128 of a student with phrases and no layers.",
    )
    feed_forward: int | None = Field(None, ge=1, le=16384, description="Inner width of a block; None: the teacher's.")
    heads: int | None = Field(None, ge=1, le=256, description="Of attention in a block; None: as the width has them.")
    phrases: int = Field(
        0, ge=0, le=16384, description="Features of three neighbouring tokens that are pooled beside their mean."
    )
    ngrams: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Features of the teacher's linear model over n-grams that stay beside the student, the strongest.",
    )
    epochs: float | None = Field(
        None,
        ge=0,
        le=1000,
        description="Passes over the lessons; None: as many as make some thousand steps; 0: not taught at all, to see "
        "what the shape costs.",
    )
    learning_rate: float = Field(4e-4, gt=0, le=1, description="Peak.")
    batch_rows: int = Field(64, ge=1, le=4096, description="Texts of one step.")
    temperature: float = Field(2.0, gt=0, le=100, description="Softens what teacher and student say.")
    hard_share: float = Field(0.1, ge=0, le=1, description="Weight of the label, where there is one.")
    hidden_weight: float = Field(0.0, ge=0, le=1000, description="Weight of the distance between hidden states.")
    relation_weight: float = Field(0.0, ge=0, le=1000, description="Weight of the distance between token relations.")

    def settings(self, texts: int) -> DistilSettings:
        """How it is taught so many texts."""
        steps = STEPS if self.layers else PHRASE_STEPS
        epochs = epochs_of(steps, texts, self.batch_rows) if self.epochs is None else self.epochs
        return DistilSettings(epochs, self.learning_rate, self.batch_rows, self.temperature, self.hard_share)


def _width(config: DistilConfig, sizes: EncoderConfig) -> int:
    """Of a token's vector, where none was asked for."""
    narrow = config.phrases and not config.layers
    return near_width(sizes, PHRASE_WIDTH) if narrow else sizes.hidden_size


def _shape(config: DistilConfig, sizes: EncoderConfig) -> Shape:
    feed_forward = config.feed_forward or sizes.intermediate_size
    return Shape(config.layers, config.hidden or _width(config, sizes), feed_forward, config.heads, config.phrases)


def refuse(config: DistilConfig, task: Task, sizes: EncoderConfig) -> None:
    """See `Method.refuse`.

    Raises:
        CapabilityError: no student of such a teacher can have this shape, or learn what is asked for.
    """
    require_fit(_shape(config, sizes), sizes, of_texts=not says_of_tokens(task))
    if not config.layers and (config.hidden_weight or config.relation_weight):
        raise CapabilityError(
            "a student without layers has no inner states to be near to its teacher's",
            where="compress.distil.layers",
            expected="at least 1, where hidden_weight or relation_weight is not 0",
        )


def phrase_step(hidden: int | None, phrases: int, epochs: float | None) -> DistilConfig:
    """The step that teaches a student without layers: as many texts a step as make use of so small a model.

    Args:
        hidden: width of a token's vector; None: see `DistilConfig`.
        phrases: features of three neighbours; 0: a bag of words.
        epochs: passes over the lessons; None: as many as are enough.
    """
    return DistilConfig(
        layers=0,
        hidden=hidden,
        feed_forward=1,
        heads=1,
        phrases=phrases,
        epochs=epochs,
        learning_rate=2e-3,
        batch_rows=PHRASE_ROWS,
    )


def apply(config: DistilConfig, model: nn.Module, material: Material) -> Generator[Event, None, Changed]:
    """Begin a student from the model and teach it.

    Returns:
        Progress and notices on the way; last the taught student.

    Raises:
        CapabilityError: the shape does not fit the model.
    """
    sizes = model.encoder.config
    shape = _shape(config, sizes)
    if config.epochs == 0:
        untaught = make_student(model, shape, torch.eye(sizes.hidden_size)[:, : shape.hidden])
        keep_ngrams(untaught, model, config.ngrams)
        return Changed(untaught.eval(), material.task, {"shape": vars(shape)})
    lessons = yield from material.read_lessons(material.task)
    basis_HK = None
    if shape.hidden < sizes.hidden_size:
        basis_HK = components(hidden_moments(model, lessons).covariance(), shape.hidden)
    student = make_student(model, shape, basis_HK)
    keep_ngrams(student, model, config.ngrams)
    guide = None
    if config.hidden_weight or config.relation_weight:
        guide = Guide(model.to(material.runtime.device), basis_HK, config.hidden_weight, config.relation_weight)
    settings = config.settings(len(lessons))
    result = yield from distil(
        material.task,
        material.splits,
        student,
        lessons,
        material.objective,
        settings,
        material.work,
        material.runtime,
        identity=material.identity,
        seed=material.seed,
        max_minutes=material.max_minutes,
        guide=guide,
    )
    facts = {
        "shape": vars(shape),
        "texts": len(lessons),
        "minutes": round(result.minutes, 3),
        "samples_per_s": round(result.samples_per_s, 1),
        "cut_short": result.history[-1]["epoch"] < TAUGHT_SHARE * settings.epochs,
    }
    return Changed(result.model, material.task, facts)


@torch.no_grad()
def hidden_moments(model: nn.Module, lessons: Lessons) -> Moments:
    """Of the [H] states of the tokens of some texts, below the first layer and above each."""
    step = -(-len(lessons) // _BASIS_TEXTS)
    chosen = lessons.inputs[::step]
    # Summed in 64 bits, as a difference of large sums is taken; the states themselves would be gigabytes.
    moments = Moments.of_width(model.encoder.config.hidden_size, torch.double)

    def note(*parts: Tensor) -> None:
        moments.add(parts[-1].flatten(0, 1)[real].double())

    hooks = [part.register_forward_hook(note) for part in (model.encoder.embedding_norm, *model.encoder.layers)]
    try:
        for start in range(0, len(chosen), _AT_ONCE):
            batch = to_tensors(stacked(chosen[start : start + _AT_ONCE]), "cpu")
            ids = batch[IDS].flatten(0, -2)  # the two texts of a pair
            mask = batch.get(MASK, torch.ones_like(batch[IDS])).flatten(0, -2)  # texts of one length come without
            real = mask.flatten() > 0
            model.encoder(ids, mask)
    finally:
        for hook in hooks:
            hook.remove()
    return moments


METHOD = Method(DistilConfig, needs_layers, torch=apply, refuse=refuse)
