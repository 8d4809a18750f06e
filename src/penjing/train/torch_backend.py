"""Torch on the CPU: the trained model itself, for comparison with what was exported from it.

It lies here and not in `penjing.predict`, which knows nothing of how models are built; the registry has its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from penjing.core import registry
from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError, MissingExtraError
from penjing.core.runtime import usable_threads
from penjing.core.task import Batch, Outputs, Signature
from penjing.predict.backend import require_fp32
from penjing.predict.setup import Precision
from penjing.predict.task_file import read_task

if TYPE_CHECKING:
    from torch import nn


class TorchBackend:
    """A model restored from the weights that an artifact keeps.

    Args:
        model: in evaluation mode.
        signature: names of what it takes and gives.
        num_threads: threads of one run.
    """

    def __init__(self, model: nn.Module, signature: Signature, num_threads: int) -> None:
        self.model = model
        self.inputs = [spec.name for spec in signature.inputs]
        self.outputs = [spec.name for spec in signature.outputs]
        self.num_threads = num_threads

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        signature: Signature,
        threads: int | None,
        precision: Precision = "fp32",
        workers: int = 1,
    ) -> Self:
        """Restore the model from `weights.safetensors` and `encoder.json`.

        Raises:
            ArtifactError: the weights do not fit their configuration.
            CapabilityError: the artifact keeps no weights, its model was not learned by gradient descent, or another
                precision than fp32 is asked for.
            MissingExtraError: torch, or what else restores the model, is not installed.
        """
        require_fp32("torch", precision)
        try:
            import torch  # noqa: F401 - only whether it is there
        except ImportError:
            raise MissingExtraError("torch", "train") from None
        from penjing.train.fit import WEIGHTS
        from penjing.train.restore import ENCODER_CONFIG, restore_model

        num_threads = threads or usable_threads()
        task = read_task(artifact.path)
        missing = [name for name in (ENCODER_CONFIG, WEIGHTS) if name not in artifact.manifest["files"]]
        if missing and hasattr(registry.load(task.trainer), "assemble"):
            raise CapabilityError(
                f"keeps no {missing[0]}, from which torch could restore the model",
                where=str(artifact.path),
                next_step="use the backend onnxruntime",
            )
        with _threads(num_threads):
            return cls(restore_model(artifact, task), signature, num_threads)

    def run(self, batch: Batch) -> Outputs:
        """One batch through the model; arrays the model does not take are left out."""
        import torch

        from penjing.train.validation import runner

        with torch.inference_mode(), _threads(self.num_threads):
            found = runner(self.model, "cpu")({name: batch[name] for name in self.inputs})
        return {name: found[name] for name in self.outputs}


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    """Torch has one number of threads a process, which may be training meanwhile: it gets its own back."""
    import torch

    before = torch.get_num_threads()
    if before == wanted:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
