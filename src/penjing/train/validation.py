"""How good a model in training is: predictions of the torch model, scored by the task."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from penjing.core.task import Batch, Outputs, Prediction, Table, Task
from penjing.train.batching import cut
from penjing.train.loop import to_tensors


def evaluate_model(model: nn.Module, task: Task, table: Table, device: str) -> dict[str, float]:
    """Every metric of the task on a table."""
    predictions = predict_model(model, task, table, device)
    return task.aggregate(task.score(table.rows, predictions))


@torch.no_grad()
def predict_model(model: nn.Module, task: Task, table: Table, device: str) -> list[Prediction]:
    """One prediction a row, in the rows' order."""
    was_training = model.training
    model.eval()
    lengths = task.lengths(table.rows)
    batches = cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=64, batch_tokens=8192)
    predictions: list[Prediction | None] = [None] * len(table)
    for positions in batches:
        batch = task.encode([table.rows[i] for i in positions])
        for position, prediction in zip(positions, task.predict(runner(model, device), batch), strict=True):
            predictions[position] = prediction
    model.train(was_training)
    return [prediction for prediction in predictions if prediction is not None]


def runner(model: nn.Module, device: str):  # noqa: ANN201 - Run, a callable alias
    """The model as the `Run` a task predicts with: numpy in, float32 numpy out."""

    def run(batch: Batch) -> Outputs:
        outputs = model(to_tensors(batch, device))
        return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}

    return run
