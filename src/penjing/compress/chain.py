"""Chains of steps: each link is an artifact made from the one before, kept by what it was made of.

A link that was made once is found again, by a search that goes on after a kill or by one that comes by it on another
way. Links are complete artifacts, which predict and are measured like any other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from penjing.compress.lessons import Lessons, read_lessons, says_of_tokens
from penjing.compress.order import require_order
from penjing.compress.step import Material, Method, StepConfig
from penjing.core import registry
from penjing.core.artifact import MANIFEST, Artifact, library_versions, open_artifact, seal, write_atomic
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Event, Notice
from penjing.core.memory import release_freed
from penjing.core.packed import stored
from penjing.core.runtime import Runtime
from penjing.core.task import Row, Splits, Task
from penjing.export.config import ExportConfig
from penjing.export.onnx import check_parity, export_onnx
from penjing.predict.cascade import CASCADE_FILE, FIRST_FILE
from penjing.predict.task_file import MODEL_FILE, predict_files, read_task, write_task
from penjing.train.fit import WEIGHTS
from penjing.train.gradient.objective import Objective
from penjing.train.precision import agree_dtype
from penjing.train.restore import restore_model, write_config
from penjing.train.weights_file import save_tensors

LINKS = "links"
ALLOWED = "allowed.json"  # minutes, beside the checkpoint of a step
# Steps that only some models have something for: the 8 bits of a bag of three classes have nothing to round.
DISPENSABLE = {"vocabulary", "static-int8"}
MORE_TIME = 1.5  # times what a step that was cut short took, from which on it is worth making again
_LOSSES = {"softmax": "cross_entropy", "sigmoid": "bce", None: "mse"}


@dataclass
class Workshop:
    """What all chains from one artifact share.

    Args:
        root: the artifact to be compressed, with its weights.
        splits: train and valid are used.
        unlabelled: rows with a text and no label.
        directory: where links are made and kept.
        runtime: this process.
        seed: of everything random.
        altered: made-up versions of each training row that students learn from.
        export: how torch models become files.
    """

    root: Artifact
    splits: Splits
    unlabelled: Sequence[Row]
    directory: Path
    runtime: Runtime
    seed: int
    altered: int = 3
    export: ExportConfig = field(default_factory=ExportConfig)
    _unlabelled: str | None = field(default=None, repr=False)
    _lessons: dict[str, Lessons] = field(default_factory=dict, repr=False)

    def make(self, chain: Sequence[StepConfig], max_minutes: float | None = None) -> Generator[Event, None, Artifact]:
        """The artifact at the end of a chain, made as far as it is not there.

        Args:
            chain: steps, in order.
            max_minutes: wall time allowed for each step that learns.

        Returns:
            Progress and notices on the way; last a sealed artifact; it lies among the links and is not to be changed.

        Raises:
            CapabilityError: a step does not fit the task, the model or the step before it.
        """
        require_order(chain, self.root)
        return (yield from self._onward(self.root, self.root, chain, max_minutes))

    def make_as_far_as_possible(self, chain: Sequence[StepConfig]) -> Generator[Event, None, Artifact]:
        """As `make`, but a tokenizer that cannot be cut stays whole, and what has nothing to round is not rounded."""
        made = self.root
        possible: list[StepConfig] = []
        for step in chain:
            try:
                made = yield from self.make([*possible, step])
            except CapabilityError:
                if step.method not in DISPENSABLE:
                    raise
                continue
            possible.append(step)
        return made

    def _onward(
        self,
        current: Artifact,
        teacher: Artifact,
        steps: Sequence[StepConfig],
        max_minutes: float | None,
        *,
        again: bool = True,
    ) -> Generator[Event, None, Artifact]:
        """Take further steps; the teacher is the root as the present tokenizer reads.

        Args:
            current: what the first of them is made of.
            teacher: of those that learn.
            steps: in order.
            max_minutes: wall time allowed for each step that learns.
            again: whether the last one, cut short when it was made, is made again where there is much more time.
        """
        for place, step in enumerate(steps, 1):
            made = self.kept(current, step)
            # The time is the last step's: with what is left for int8 a student that had its share is not taught again.
            if made is not None and again and place == len(steps) and _was_cut_short(made, max_minutes):
                made = None  # it stays until there is a better one
            if made is None:
                made = yield from self._link(current, teacher, step, max_minutes)
            if step.method == "vocabulary":
                teacher = made
            current = made
        return current

    def take_unlabelled(self, most: int) -> None:
        """Use so many of the unlabelled rows, evenly spread: to read all of a million takes longer than there is."""
        if most < len(self.unlabelled):
            step = len(self.unlabelled) / max(1, most)
            self.unlabelled = [self.unlabelled[int(i * step)] for i in range(most)]
            self._unlabelled = None

    def with_few_rows(self, most: int) -> Workshop:
        """The same with at most so many training rows, evenly spread, and without others: of fewer words, so that what
        learns nothing is no larger.
        """
        train = self.splits.train
        few = train.take(np.linspace(0, len(train) - 1, min(len(train), most)).astype(int))
        fingerprint = f"{self.splits.fingerprint} of {len(few)}"
        splits = replace(self.splits, train=few, fingerprint=fingerprint)
        return replace(self, splits=splits, unlabelled=[], _unlabelled=None, _lessons={})

    @property
    def num_lessons(self) -> int:
        """Texts that students learn from, but for what windows long ones are cut into."""
        return len(self.splits.train) * (1 + self.altered) + len(self.unlabelled)

    def kept(self, parent: Artifact, step: StepConfig) -> Artifact | None:
        """The link that this step makes of an artifact, where it was made already; a damaged one is thrown away."""
        place = self._place(parent, step)
        try:
            return open_artifact(place) if (place / MANIFEST).is_file() else None
        except ArtifactError:
            shutil.rmtree(place)
            return None

    def _place(self, parent: Artifact, step: StepConfig) -> Path:
        return self.directory / LINKS / self._identity(parent, step)[:24]

    def _identity(self, parent: Artifact, step: StepConfig) -> str:
        if self._unlabelled is None:
            texts = json.dumps([dict(row) for row in self.unlabelled], sort_keys=True, default=str)
            self._unlabelled = hashlib.sha256(texts.encode()).hexdigest()
        data = [self.splits.fingerprint, self._unlabelled, self.altered, self.seed]
        facts = [parent.digest, step.model_dump(mode="json"), data, self.export.model_dump(), library_versions()]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _link(
        self, parent: Artifact, teacher: Artifact, step: StepConfig, max_minutes: float | None
    ) -> Generator[Event, None, Artifact]:
        method: Method = registry.resolve("compressors", step.method)
        place = self._place(parent, step)
        stage, work = place.with_suffix(".stage"), place.with_suffix(".work")
        if stage.exists():
            shutil.rmtree(stage)
        stage.mkdir(parents=True)
        task = read_task(parent.path)
        max_minutes = _allowed(work / ALLOWED, max_minutes)
        material = Material(
            task=task,
            splits=self.splits,
            unlabelled=self.unlabelled,
            make_of_teacher=lambda steps: self._onward(teacher, teacher, steps, max_minutes, again=False),
            read_lessons=lambda asked: self._read_lessons(teacher, asked),
            objective=Objective(_LOSSES[task.calibration]),
            runtime=self.runtime,
            seed=self.seed,
            work=work,
            identity=self._identity(parent, step),
            max_minutes=max_minutes,
        )
        if method.torch is not None:
            changed = yield from method.torch(step, restore_model(parent, task), material)
            rows = (self.splits.valid.rows or self.splits.train.rows)[: self.export.parity_rows]
            facts = changed.facts | write_model(changed.model, changed.task, rows, self.export, stage)
            task = changed.task
            del changed
            release_freed()
        elif method.store is not None:
            facts = method.store(step, parent, stage)
            task = read_task(stage)
        elif method.graph is not None:
            facts = yield from method.graph(step, parent.file(MODEL_FILE), stage / MODEL_FILE, material)
        else:
            assert method.wrap is not None
            shutil.copyfile(parent.file(MODEL_FILE), stage / MODEL_FILE)
            facts = yield from method.wrap(step, parent, stage, material)
        artifact = _seal(stage, task, parent, step, facts)
        _put(stage, place)
        shutil.rmtree(work, ignore_errors=True)
        yield Notice("compress", f"{step.method}: made")
        return Artifact(place, artifact.manifest)

    def _read_lessons(self, teacher: Artifact, task: Task) -> Generator[Event, None, Lessons]:
        """What the teacher says, read once for all steps that learn from it.

        Of whole texts it is the root that says it, with its own tokenizer: it knows the words that are pruned.
        """
        if teacher.digest not in self._lessons:
            self._lessons.clear()  # one teacher's are enough of the memory
            reader = task if says_of_tokens(task) else read_task(self.root.path)
            model = restore_model(teacher if reader is task else self.root, reader).to(self.runtime.device)
            work = read_lessons(
                model,
                task,
                self.splits.train.rows,
                self.unlabelled,
                altered=self.altered,
                seed=self.seed,
                device=self.runtime.device,
                dtype=agree_dtype("auto", self.runtime),
                reader=reader,
            )
            for event in work:
                if isinstance(event, Lessons):
                    self._lessons[teacher.digest] = event
                else:
                    yield event
            release_freed()
        return self._lessons[teacher.digest]


def write_model(model: nn.Module, task: Task, rows: Sequence[Row], export: ExportConfig, stage: Path) -> dict[str, Any]:
    """Export, compare, and keep the weights for a step to come.

    Args:
        model: in evaluation mode.
        task: its task.
        rows: to compare on.
        export: how.
        stage: the directory.

    Returns:
        Number of parameters, and how near the export is.
    """
    export_onnx(model, task, rows, stage / MODEL_FILE, opset=export.opset)
    parity = check_parity(model, task, rows, stage / MODEL_FILE, export.tolerance)
    save_tensors(stage / WEIGHTS, model.state_dict())
    write_config(model.encoder, stage)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "parameters": parameters,
        "parity": {"rows": parity.rows, "max_difference": parity.max_difference},
    }


def _put(stage: Path, place: Path) -> None:
    """Put a complete link where it belongs, instead of one that was cut short; killed between, it is made again."""
    before = place.with_suffix(".before")
    if before.exists():
        shutil.rmtree(before)
    if place.exists():
        place.rename(before)
    stage.replace(place)
    shutil.rmtree(before, ignore_errors=True)


def _allowed(path: Path, max_minutes: float | None) -> float | None:
    """The minutes that a step may take, as it began with them: those that an attempt before this took count in them."""
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))["minutes"]
        return None if found is None else float(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({"minutes": max_minutes}) + "\n")
    return max_minutes


def _was_cut_short(link: Artifact, max_minutes: float | None) -> bool:
    """Whether a student was taught less than asked for because its time was up, and there is much more of it now."""
    facts = link.manifest["steps"][-1]["facts"]
    return facts.get("cut_short", False) and (max_minutes is None or max_minutes > MORE_TIME * facts["minutes"])


def _seal(stage: Path, task: Task, parent: Artifact, step: StepConfig, facts: dict[str, Any]) -> Artifact:
    """A complete artifact that knows how it was made; only its parent's figures are not its own."""
    write_task(task, stage)
    files = predict_files(task, stage)
    files += [path.name for name in (CASCADE_FILE, FIRST_FILE) if (path := stored(stage / name)).is_file()]
    inherited = parent.manifest["capabilities"]
    capabilities = {
        "predict_files": sorted(files),
        "precision": facts.pop("precision", inherited.get("precision", "fp32")),
    }
    steps = [*parent.manifest.get("steps", []), {**step.model_dump(mode="json"), "facts": facts}]
    carried = {name: parent.manifest[name] for name in ("test", "data_fingerprint") if name in parent.manifest}
    return seal(
        stage,
        kind=task.kind,
        capabilities=capabilities,
        batch_invariant=False,  # until it is measured, where the chain ends
        parent=parent.digest,
        extra={**carried, "steps": steps},
    )
