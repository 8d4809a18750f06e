"""Makes an artifact of any registered task kind, with the task's own trainer and the project's own export.

Gradient trainers give a model that is built but not trained: its weights are random, so that logits differ between
rows, which is all that prediction is tested for. Direct trainers fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.core import registry
from penjing.core.artifact import Artifact, seal
from penjing.core.events import ignore
from penjing.core.task import Roles, Table, Task, TextSettings
from penjing.models.pretrained import Pretrained
from penjing.predict.task_file import MODEL_FILE, predict_files, write_task


def make_task(kind: str, rows: list[dict[str, Any]], roles: Roles, settings: TextSettings) -> Task:
    """The task of a kind ("text-classification/binary" is a variant of "text-classification")."""
    return registry.resolve("tasks", kind.partition("/")[0]).from_rows(rows, roles, settings)


def make_artifact(task: Task, rows: list[dict[str, Any]], pretrained: Pretrained, directory: Path) -> Artifact:
    """Build or fit, export, write the task, seal."""
    directory.mkdir(parents=True)
    trainer = registry.load(task.trainer)()
    if hasattr(trainer, "fit"):
        _fit(trainer, task, rows).export_onnx(directory / MODEL_FILE)
    else:
        from penjing.export.onnx import export_onnx

        model = _random_model(trainer, task, pretrained)
        export_onnx(model, task, rows, directory / MODEL_FILE)
        _keep_weights(model, directory)
    write_task(task, directory)
    return seal(directory, kind=task.kind, capabilities={"predict_files": predict_files(task)}, batch_invariant=True)


def _fit(trainer: Any, task: Task, rows: list[dict[str, Any]]) -> Any:
    from penjing.train.direct.config import DirectConfig

    table = Table(rows, [str(i) for i in range(len(rows))], "tiny rows")
    config = DirectConfig(trials=1, folds=2, num_seeds=1, max_rounds=20, threads=1)
    return trainer.fit(task, table, table.take([]), config, seed=1, listener=ignore)


def _keep_weights(model: Any, directory: Path) -> None:
    """What torch restores the model from."""
    from penjing.train.fit import WEIGHTS
    from penjing.train.restore import write_config
    from penjing.train.weights_file import save_tensors

    save_tensors(directory / WEIGHTS, model.state_dict())
    write_config(model.encoder, directory)


def _random_model(trainer: Any, task: Task, pretrained: Pretrained) -> Any:
    import torch

    from penjing.train.config import TrainConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = trainer.build_model(task, pretrained, TrainConfig(), seed=7).eval()
        for name, parameter in model.named_parameters():
            if not name.startswith("encoder."):
                # Heads start at zero, and would give every row the same answer; so would they with logits of twenty.
                torch.nn.init.normal_(parameter, std=0.3)
    return model
