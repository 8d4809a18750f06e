"""The trained torch model of an artifact, for whoever makes another model from it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from penjing.core import registry
from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError, CapabilityError, MissingExtraError
from penjing.core.task import Task
from penjing.models.encoder import Encoder, EncoderConfig, HubEncoder, is_bert
from penjing.models.ngrams import NgramScores
from penjing.models.phrases import Phrases
from penjing.predict.task_file import ENCODER_CONFIG, WEIGHTS

_NGRAMS, _PHRASES = "ngrams.", "phrases."


def restore_model(artifact: Artifact, task: Task) -> nn.Module:
    """Build the model that the artifact's ONNX file was exported from, in evaluation mode.

    Args:
        artifact: one that gradient descent made.
        task: the artifact's.

    Raises:
        CapabilityError: it was learned directly (trees), or its architecture is not known here.
        ArtifactError: it keeps no weights to go on from, or they do not fit its configuration.
        MissingExtraError: transformers is needed and absent.
    """
    trainer = registry.load(task.trainer)()
    if not hasattr(trainer, "assemble"):
        raise CapabilityError(f"a {task.kind} model has no layers", where=str(artifact.path))
    values = json.loads(artifact.file(ENCODER_CONFIG).read_text(encoding="utf-8"))
    state = load_file(artifact.file(WEIGHTS))
    try:
        with torch.device("meta" if is_bert(values) else "cpu"):  # no memory for weights that are about to be replaced
            encoder = Encoder(EncoderConfig.from_dict(values)) if is_bert(values) else _hub_encoder(values)
            model: nn.Module = trainer.assemble(task, encoder)
            model.phrases = _phrases(state)
        model.ngrams = _ngrams(state)
        model.load_state_dict(state, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(
            f"{WEIGHTS} does not fit {ENCODER_CONFIG}: {' '.join(str(error).split())[:300]}",
            where=str(artifact.path),
            next_step="restore the artifact from a good copy",
        ) from None
    return model.eval()


def _ngrams(state: dict[str, Tensor]) -> NgramScores | None:
    parts = {name.removeprefix(_NGRAMS): tensor for name, tensor in state.items() if name.startswith(_NGRAMS)}
    return NgramScores(**parts) if parts else None


def _phrases(state: dict[str, Tensor]) -> Phrases | None:
    window_FW = state.get(f"{_PHRASES}window.weight")
    return None if window_FW is None else Phrases(window_FW.shape[1] // 3, window_FW.shape[0])


def _hub_encoder(values: dict[str, object]) -> HubEncoder:
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError:
        raise MissingExtraError("transformers", "train") from None
    config = AutoConfig.for_model(**values)
    model = AutoModel.from_config(config, attn_implementation="eager")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return HubEncoder(model)


def config_of(encoder: nn.Module) -> dict[str, object]:
    """What `encoder.json` of an artifact says of an encoder of ours."""
    assert isinstance(encoder, Encoder)
    return {"model_type": "bert", **{name: value for name, value in vars(encoder.config).items() if value is not None}}


def write_config(encoder: nn.Module, directory: Path) -> None:
    """Write `encoder.json`."""
    text = json.dumps(config_of(encoder), indent=1)
    (directory / ENCODER_CONFIG).write_text(text + "\n", encoding="utf-8")
