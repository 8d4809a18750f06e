"""A pretrained model that lies on disk, ready to be fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penjing.core.artifact import file_sha256

_FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class Pretrained:
    """A Hugging Face directory (`config.json`, `model.safetensors`, `tokenizer.json`) and what is known of it.

    Args:
        name: catalog name, hub id or path, as the user gave it.
        directory: where the files lie.
        dimension: width of a token's vector.
        parameters: number of parameters.
        languages: ISO 639-1 codes, or ("multi",).
        max_length: tokens the position table allows, special tokens included.
        prefix: text put before every input ("query: " for E5).
        licence: SPDX identifier, or the name of its terms.
    """

    name: str
    directory: Path
    dimension: int
    parameters: int
    languages: tuple[str, ...]
    max_length: int = 512
    prefix: str = ""
    licence: str = ""

    def digests(self) -> dict[str, str]:
        """File → sha256, of the files that training starts from."""
        paths = (self.directory / name for name in _FILES)
        return {path.name: file_sha256(path) for path in paths if path.is_file()}
