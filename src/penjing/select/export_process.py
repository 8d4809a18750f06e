"""A process that exports a model with a fresh head and ends: a job (JSON) on standard input, an artifact on the disk.

The exporter traces for some seconds and cannot be interrupted, so it runs where it can be killed when time is up.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from penjing.core.errors import PenjingError

# By name, as every stage is found: this stage and the export stage do not import each other.
EXPORTER = "penjing.export.onnx:export_onnx"


def main() -> None:
    """Read the job, write the model; a mistake of the user's is the last line of standard error, with its exit code."""
    try:
        run(json.load(sys.stdin))
    except PenjingError as error:
        sys.stderr.write(f"\n{error.finding}\n")
        sys.exit(error.exit_code)


def run(job: dict[str, Any]) -> None:
    """Build the untrained model and write `model.onnx` beside its task.

    Args:
        job: kind; directory (holds the task); pretrained (its fields); train (its settings); rows (two or more);
            num_rows (of the training part).
    """
    import torch

    from penjing.core import registry
    from penjing.models.pretrained import Pretrained
    from penjing.predict.task_file import MODEL_FILE, read_task
    from penjing.train.config import TrainConfig

    torch.set_num_threads(int(job["threads"]))
    directory = Path(job["directory"])
    task = read_task(directory)
    values = job["pretrained"]
    pretrained = Pretrained(
        **{**values, "directory": Path(values["directory"]), "languages": tuple(values["languages"])}
    )
    trainer = registry.load(task.trainer)()
    model = trainer.build_model(task, pretrained, TrainConfig.model_validate(job["train"]), 0).eval()
    if hasattr(trainer, "foresee"):
        trainer.foresee(model, task, job["rows"], int(job["num_rows"]))
    registry.load(EXPORTER)(model, task, job["rows"], directory / MODEL_FILE)


if __name__ == "__main__":
    main()
