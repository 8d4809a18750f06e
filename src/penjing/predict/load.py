"""From a path to something that predicts."""

from __future__ import annotations

from pathlib import Path

from penjing.core.artifact import open_artifact
from penjing.predict.predictor import Predictor


def load(
    path: Path | str,
    backend: str = "onnxruntime",
    threads: int | None = None,
    *,
    public_key: Path | str | None = None,
) -> Predictor:
    """Open an artifact, check every file of it, and load its model.

    Args:
        path: the artifact's directory.
        backend: a registered backend.
        threads: threads of one run; None: one a physical core this process may use.
        public_key: PEM file of the key whose holder has to have signed the artifact; None: no matter who made it.

    Raises:
        ArtifactError: missing, damaged, tampered with, too new or not signed as asked; the message names the file.
        RecipeError: no such backend, or no such key.
    """
    predictor = Predictor(open_artifact(path, public_key), backend, threads)
    predictor.open()
    return predictor
