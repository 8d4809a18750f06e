"""What a predictor asks of whatever runs the model."""

from __future__ import annotations

from typing import Protocol, Self

from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError
from penjing.core.task import Batch, Outputs, Signature
from penjing.predict.setup import Precision


class Runner(Protocol):
    """Runs a model that is loaded. Safe to call from several threads at once."""

    num_threads: int

    def run(self, batch: Batch) -> Outputs:
        """Arrays in, arrays out, named as the signature's; the caller may keep what comes out."""
        ...


class Backend(Runner, Protocol):
    """Loads the model of an artifact, and runs it."""

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        signature: Signature,
        threads: int | None,
        precision: Precision = "fp32",
        workers: int = 1,
    ) -> Self:
        """Load the model.

        Args:
            artifact: a verified artifact.
            signature: names, shapes and dtypes the task expects; checked against the model.
            threads: threads of one run; None: one a physical core this process may use.
            precision: in which a model of 32 bits may be computed.
            workers: callers at the same time, for which a library may have to be prepared.

        Raises:
            ArtifactError: the artifact has no such model, or one that does not fit the task.
            CapabilityError: this backend, or this processor, does not compute in the precision, or cannot run a model
                of this kind.
            MissingExtraError: what it needs is not installed.
        """
        ...


def require_fp32(backend: str, precision: Precision) -> None:
    """For backends that compute a model as it was stored and nothing else.

    Raises:
        CapabilityError: another precision is asked for.
    """
    if precision != "fp32":
        raise CapabilityError(
            f"the backend {backend} takes no hint to compute in {precision}",
            expected="fp32, or the backend openvino",
        )
