"""What an artifact keeps of its encoder."""

from __future__ import annotations

import json

from safetensors import safe_open

from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError
from penjing.models.encoder import EncoderConfig, is_bert
from penjing.predict.task_file import ENCODER_CONFIG, WEIGHTS


def encoder_config(artifact: Artifact) -> EncoderConfig:
    """Sizes of the encoder of an artifact.

    Raises:
        CapabilityError: an architecture that is not ours.
    """
    values = json.loads(artifact.file(ENCODER_CONFIG).read_text(encoding="utf-8"))
    if not is_bert(values):
        raise CapabilityError(
            f"only BERT encoders can be made smaller, and this is a {values.get('model_type')!r}",
            where=str(artifact.path),
            next_step="allow methods that leave layers as they are: --set compress.methods=[static-int8,half]",
        )
    return EncoderConfig.from_dict(values)


def has_ngrams(artifact: Artifact) -> bool:
    """Whether a linear model over n-grams stands beside the encoder of an artifact."""
    if WEIGHTS not in artifact.manifest["files"]:
        return False
    with safe_open(artifact.file(WEIGHTS), framework="pt") as file:
        return any(name.startswith("ngrams.") for name in file.keys())  # noqa: SIM118 - not a mapping


def has_layers(artifact: Artifact) -> bool:
    """Whether an artifact keeps trained layers of ours, from which students can be made."""
    files = artifact.manifest["files"]
    if WEIGHTS not in files or ENCODER_CONFIG not in files:
        return False
    return is_bert(json.loads(artifact.file(ENCODER_CONFIG).read_text(encoding="utf-8")))
