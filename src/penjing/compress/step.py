"""One step of compressing: a model in, a smaller one out. `chain.py` puts steps behind one another.

There are four kinds. A *torch* step changes the trained model, before it is exported: its layers, its vocabulary, its
weights. A *graph* step rewrites the exported ONNX file, whatever architecture it came from. A *wrap* step adds files to
an artifact and leaves those that are there. A *store* step stores an artifact otherwise, whatever it holds, and comes
last. No torch step follows one of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from penjing.core.artifact import Artifact
from penjing.core.events import Event
from penjing.core.runtime import Runtime
from penjing.core.task import Row, Splits, Task

if TYPE_CHECKING:
    from torch import nn

    from penjing.compress.lessons import Lessons
    from penjing.models.encoder import EncoderConfig
    from penjing.train.gradient.objective import Objective


class StepConfig(BaseModel):
    """Settings of a step; each method's own Config adds `method`, a Literal of its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str


@dataclass(frozen=True)
class Material:
    """What a step works with beside the model.

    Args:
        task: encodes with the model's present tokenizer.
        splits: train and valid; the test rows stay sealed.
        unlabelled: rows with a text and nothing else.
        read_lessons: yields progress and returns what the teacher says of many texts, as tokens of the given task.
        objective: the loss of the labels.
        runtime: this process.
        seed: of order and choices.
        work: this step's directory for checkpoints; what is in it survives a kill.
        identity: digest of all that shapes the result; a checkpoint of another is refused.
        max_minutes: wall time allowed; None: as long as it takes.
        make_of_teacher: yields progress and returns the artifact that further steps make of the teacher; of a chain.
    """

    task: Task
    splits: Splits
    unlabelled: Sequence[Row]
    read_lessons: Callable[[Task], Generator[Event, None, Lessons]]
    objective: Objective
    runtime: Runtime
    seed: int
    work: Path
    identity: str
    max_minutes: float | None = None
    make_of_teacher: Callable[[Sequence[StepConfig]], Generator[Event, None, Artifact]] | None = None


@dataclass(frozen=True)
class Changed:
    """What a torch step gave.

    Args:
        model: in 32 bits, in evaluation mode.
        task: the material's, or one with another tokenizer.
        facts: JSON-able figures of what was done, for the artifact's manifest.
    """

    model: nn.Module
    task: Task
    facts: dict[str, Any]


TorchStep = Callable[[Any, "nn.Module", Material], Generator[Event, None, Changed]]
WrapStep = Callable[[Any, Artifact, Path, Material], Generator[Event, None, dict[str, Any]]]
StoreStep = Callable[[Any, Artifact, Path], dict[str, Any]]
GraphStep = Callable[[Any, Path, Path, Material], Generator[Event, None, dict[str, Any]]]


@dataclass(frozen=True)
class Method:
    """A row of the registry's table `compressors`.

    Args:
        config: its settings.
        supports: None where it can be applied to a task, else the reason why not, for the user.
        torch: (config, model, material) → the changed model; the model that is given may be changed in place.
        graph: (config, source, target, material) → facts; reads one ONNX file and writes another.
        wrap: (config, parent, stage, material) → facts; the parent's files are in the stage already.
        store: (config, parent, stage) → facts; puts all that predicting needs into the stage.
        refuse: (config, task, sizes of the encoder that it is applied to) → CapabilityError where that cannot be done,
            before anything is read or learned.
    """

    config: type[StepConfig]
    supports: Callable[[Task], str | None]
    torch: TorchStep | None = None
    graph: GraphStep | None = None
    wrap: WrapStep | None = None
    store: StoreStep | None = None
    refuse: Callable[[Any, Task, EncoderConfig], None] | None = None


def needs_layers(task: Task) -> str | None:
    """For methods that change an encoder: what learns directly (trees, linear models) has none."""
    from penjing.core import registry

    trainer = registry.load(task.trainer)
    return None if hasattr(trainer, "assemble") else f"a {task.kind} model has no layers"
