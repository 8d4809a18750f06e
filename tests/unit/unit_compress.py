"""What the tests of compressing steps share: a trained model, the material of a step, and running one to its end."""

from __future__ import annotations

import copy
import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

from unit_training import SEED, split, train_tiny

from penjing.core.artifact import Artifact, seal
from penjing.core.events import Event, Progress
from penjing.core.memory import existing_objects_kept
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Task
from penjing.models.pretrained import Pretrained
from penjing.predict.task_file import write_task
from penjing.tasks.text_classification import TextClassification


def messages_csv(path: Path) -> Path:
    """Customers' messages with their intents, each four times with another ending, so that there are rows enough."""
    from conftest import rows_for

    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for ending in ("", " Please answer.", " Thanks!", "！"):
            writer.writerows((row["text"] + ending, row["label"]) for row in rows_for("text-classification")[0])
    return path


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model that knows its training rows, with its n-grams.

    Args:
        teacher: never changed; `model` gives copies.
        task: three intents.
        splits: 24 rows to learn from and to choose by.
    """

    teacher: Any
    task: Task
    splits: Splits

    def model(self) -> Any:
        return copy.deepcopy(self.teacher)

    def material(self, work: Path, **changed: Any) -> Any:
        """What a step works with; its teacher reads the training rows and as many altered ones."""
        from penjing.compress.step import Material
        from penjing.train.gradient.objective import Objective

        known = {
            "task": self.task,
            "splits": self.splits,
            "unlabelled": (),
            "read_lessons": self._read,
            "objective": Objective("cross_entropy", 0.1),
            "runtime": Runtime(),
            "seed": SEED,
            "work": work,
            "identity": "step",
        }
        return Material(**{**known, **changed})

    def _read(self, task: Task) -> Any:
        import torch

        from penjing.compress.lessons import Lessons, read_lessons

        rows = self.splits.train.rows
        for event in read_lessons(
            self.teacher, task, rows, (), altered=1, seed=SEED, device="cpu", dtype=torch.float32
        ):
            if isinstance(event, Lessons):
                return event
            yield event
        raise AssertionError("the last thing yielded is the lessons")

    def said(self, model: Any) -> Any:
        """[24, 3] logits of the training rows."""
        return outputs(model, self.task, self.splits.train.rows)


def trained_intents(task_rows: Any, text_settings: Any, pretrained: Pretrained, out: Path) -> Trained:
    """Fine-tune the tiny encoder, its layers made to say more: fresh ones hardly change what they are given."""
    from safetensors.torch import load_file, save_file

    from penjing.train.config import TrainConfig

    shutil.copytree(pretrained.directory, out / "model")
    state = load_file(out / "model" / "model.safetensors")
    for name, value in state.items():
        if value.ndim == 2 and ".layer." in name:
            value *= 4
    save_file(state, out / "model" / "model.safetensors", {"format": "pt"})
    rows, roles = task_rows("text-classification")
    task, splits = TextClassification.from_rows(rows, roles, text_settings), split(rows, roles)
    # Six rows held out would choose by chance among what a training came by.
    splits = dataclasses.replace(splits, valid=splits.train)
    config = TrainConfig(epochs=30, batch_rows=8, learning_rate=1e-3, precision="fp32", dropout=0.0, ngrams=False)
    changed = dataclasses.replace(pretrained, directory=out / "model")
    return Trained(train_tiny(task, splits, changed, config, out).model.eval(), task, splits)


def finish(step: Any, *, events: list[Event] | None = None, stop_at: int | None = None) -> Any:
    """Run a step to its end and return what it does; or stop it after so many training steps and return None."""
    trained = 0
    with existing_objects_kept():
        while True:
            try:
                event = next(step)
            except StopIteration as stop:
                return stop.value
            if events is not None:
                events.append(event)
            trained += isinstance(event, Progress) and event.stage == "train" and event.done > 0
            if trained == stop_at:
                step.close()
                return None


def outputs(model: Any, task: Task, rows: list[dict[str, Any]]) -> Any:
    """Logits of all rows in one batch."""
    import torch

    from penjing.train.loop import to_tensors

    with torch.no_grad():
        return model.eval()(to_tensors(task.encode(rows), "cpu"))["logits"]


def artifact_of(model: Any, task: Task, directory: Path) -> Artifact:
    """A sealed artifact, but for the export."""
    from penjing.train.fit import WEIGHTS
    from penjing.train.restore import write_config
    from penjing.train.weights_file import save_tensors

    directory.mkdir()
    save_tensors(directory / WEIGHTS, model.state_dict())
    write_config(model.encoder, directory)
    write_task(task, directory)
    return seal(directory, kind=task.kind, capabilities={"predict_files": []}, batch_invariant=True)
