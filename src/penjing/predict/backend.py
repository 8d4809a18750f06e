"""What a predictor asks of whatever runs the model."""

from __future__ import annotations

from typing import Protocol, Self

from penjing.core.artifact import Artifact
from penjing.core.task import Batch, Outputs, Signature


class Backend(Protocol):
    """Runs the model of an artifact. Safe to call from several threads at once."""

    num_threads: int

    @classmethod
    def open(cls, artifact: Artifact, signature: Signature, threads: int | None) -> Self:
        """Load the model.

        Args:
            artifact: a verified artifact.
            signature: names, shapes and dtypes the task expects; checked against the model.
            threads: threads of one run; None: one a physical core this process may use.

        Raises:
            ArtifactError: the artifact has no such model, or one that does not fit the task.
        """
        ...

    def run(self, batch: Batch) -> Outputs:
        """Arrays in, arrays out, named as the signature's."""
        ...
