"""A Hugging Face directory on disk: checked, and described as a `Pretrained`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.core.errors import ArtifactError, CapabilityError
from penjing.models.pretrained import Pretrained
from penjing.models.safetensors_io import TensorHeader, read_safetensors_header

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
REQUIRED_FILES = (CONFIG, WEIGHTS, TOKENIZER)
MAX_CONFIG_BYTES = 1_000_000
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# RoBERTa's positions start behind its padding id, so the first two rows of the table are never used for text.
_RESERVED_POSITIONS = {"roberta": 2, "xlm-roberta": 2, "camembert": 2}


@dataclass(frozen=True)
class Facts:
    """What the files themselves do not say of a model."""

    languages: tuple[str, ...] = ()
    prefix: str = ""
    licence: str = ""


def read_local(name: str, directory: Path, facts: Facts | None = None) -> Pretrained:
    """Check a directory and describe it.

    Args:
        name: as the user gave it.
        directory: holds `config.json`, `model.safetensors` and `tokenizer.json`.
        facts: what is known beside; languages () mean unknown.

    Raises:
        ArtifactError: a file is missing, damaged, or of another model than its neighbours.
        CapabilityError: weights in a format this release does not read (pickled, or in several files).
    """
    known = facts or Facts()
    _require_files(directory)
    config = _read_config(directory / CONFIG)
    headers = read_safetensors_header(directory / WEIGHTS)
    hidden, vocabulary, positions = (config[key] for key in ("hidden_size", "vocab_size", "max_position_embeddings"))
    # ALBERT's and small ELECTRA's tables are narrower than their layers.
    width = config.get("embedding_size", hidden)
    if not any(header.shape == (vocabulary, width) for header in headers.values()):
        raise ArtifactError(
            f"{WEIGHTS} holds no [{vocabulary}, {width}] embedding, which {CONFIG} promises",
            where=str(directory),
            next_step="put the files of one model into the directory",
        )
    return Pretrained(
        name=name,
        directory=directory,
        dimension=hidden,
        parameters=_num_parameters(headers),
        languages=known.languages,
        max_length=positions - _RESERVED_POSITIONS.get(config.get("model_type", ""), 0),
        prefix=known.prefix,
        licence=known.licence,
    )


_ALIASES = {"hidden_size": "dim"}  # what DistilBERT calls it


def _require_files(directory: Path) -> None:
    missing = [name for name in REQUIRED_FILES if not (directory / name).is_file()]
    if not missing:
        return
    if WEIGHTS in missing:
        if (directory / f"{WEIGHTS}.index.json").is_file():
            raise CapabilityError("the weights are split over several files", where=str(directory), expected=WEIGHTS)
        pickled = sorted(path.name for pattern in _PICKLED for path in directory.glob(pattern))
        if pickled:
            raise CapabilityError(
                f"the weights are pickled ({pickled[0]}), and opening a pickle can run any code",
                where=str(directory),
                expected=WEIGHTS,
                next_step="save them as safetensors where you trust them: model.save_pretrained(directory)",
            )
    hint = "save a fast tokenizer there: AutoTokenizer.from_pretrained(directory).save_pretrained(directory)"
    raise ArtifactError(
        f"not a model directory: {', '.join(missing)} is missing"
        if len(missing) == 1
        else f"not a model directory: {', '.join(missing)} are missing",
        where=str(directory),
        expected=", ".join(REQUIRED_FILES),
        next_step=hint if missing == [TOKENIZER] else "check the path",
    )


def _read_config(path: Path) -> dict[str, Any]:
    """The sizes every encoder has, as integers of at least 1."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ArtifactError(f"larger than {MAX_CONFIG_BYTES} bytes", where=str(path))
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"not JSON ({error})", where=str(path)) from None
    if not isinstance(config, dict):
        raise ArtifactError("not a JSON object", where=str(path))
    for key, alias in _ALIASES.items():
        config.setdefault(key, config.get(alias))
    for key in ("hidden_size", "vocab_size", "max_position_embeddings"):
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArtifactError(
                f"{key} is {value!r}", where=str(path), expected="a positive integer, as text encoders have"
            )
    return config


def _num_parameters(headers: dict[str, TensorHeader]) -> int:
    """Values that can be learned: integer tensors (position ids) are buffers."""
    return sum(header.size for header in headers.values() if "F" in header.dtype)
