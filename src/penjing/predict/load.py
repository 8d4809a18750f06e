"""From a path to something that predicts."""

from __future__ import annotations

from pathlib import Path

from penjing.core.artifact import open_artifact
from penjing.predict.predictor import Predictor


def load(path: Path | str, backend: str = "onnxruntime", threads: int | None = None) -> Predictor:
    """Open an artifact, check every file of it, and load its model.

    Args:
        path: the artifact's directory.
        backend: a registered backend.
        threads: threads of one run; None: one a physical core this process may use.

    Raises:
        ArtifactError: missing, damaged, tampered with or too new; the message names the file.
        RecipeError: no such backend.
    """
    predictor = Predictor(open_artifact(path), backend, threads)
    predictor.open()
    return predictor
