"""How a task is learned: by gradient descent in our loop, or directly by a library of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from penjing.core.task import Batch, Outputs, Task

if TYPE_CHECKING:
    import torch

    from penjing.models.pretrained import Pretrained


class GradientTrainer(Protocol):
    """Builds a torch model and its loss; the loop does the rest.

    `loss` returns a **sum and a weight**, never a mean, so that accumulation, ragged batches and several processes
    give the gradient of one big batch. `batch_coupled` says that rows of a batch influence each other's loss.

    Optional: `features(model, batch)` returns [B, H] inputs of `model.head`, which a linear probe then starts;
    `observe(task, table)` sees the training rows once, after `build_model` (to count classes, say); `honours(task)`
    names the settings of `train.honours.OPTIONAL` that the trainer takes into account for this task, the others are
    refused when changed; `complete(model, task, splits, seed, dtype)` yields events and adds to the trained model what
    gradients do not learn; `foresee(model, task, rows, num_rows)` adds as much that is empty, to be measured.
    """

    batch_coupled: bool

    def build_model(self, task: Task, pretrained: Pretrained, config: Any, seed: int) -> torch.nn.Module:
        """A fresh model whose `forward(batch)` returns tensors named as the task's signature outputs."""
        ...

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum of losses over the rows, weight of the rows), both scalars; targets are in `batch`."""
        ...


class DirectModel(Protocol):
    """A fitted model that is not a torch module."""

    def run(self, batch: Batch) -> Outputs:
        """Arrays in, arrays out, as the task's signature says."""
        ...

    def save(self, directory: Path) -> list[str]:
        """Write the model in a text format of its own library; return the file names. Never pickle."""
        ...

    def export_onnx(self, path: Path) -> None:
        """Write the same function as ONNX, named as the task's signature says."""
        ...
