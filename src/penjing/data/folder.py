"""A folder per class: ``reviews/good/1.txt``, ``reviews/bad/7.txt``, perhaps below ``train/`` and ``test/``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError
from penjing.data.columnar import check_row
from penjing.data.config import LimitsConfig
from penjing.data.encoding import detect_encoding
from penjing.data.naming import SPLIT_VALUES
from penjing.data.textlines import text_pieces

_MAX_BYTES_PER_CHAR = 4


def read_folder(root: Path, encoding: str | None, limits: LimitsConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (path inside the folder, {"text", "label"}); "split" too when the first level says train or test.

    Raises:
        DataError: no class folders, fewer than two of them, or files that are not text.
    """
    parts = {
        folder: SPLIT_VALUES[folder.name.lower()] for folder in _folders(root) if folder.name.lower() in SPLIT_VALUES
    }
    if parts and len(parts) == len(_folders(root)):
        for folder, split in parts.items():
            for row_id, row in _classes(folder, root, encoding, limits):
                yield row_id, {**row, "split": split}
        return
    yield from _classes(root, root, encoding, limits)


def _classes(
    folder: Path, root: Path, encoding: str | None, limits: LimitsConfig
) -> Iterator[tuple[str, dict[str, Any]]]:
    classes = _folders(folder)
    if len(classes) < 2:
        raise DataError(
            f"{len(classes)} folder(s) in it",
            where=str(folder),
            expected="a folder per class, each with .txt files, or the path of one data file",
        )
    for named in classes:
        for path in sorted(named.rglob("*.txt")):
            yield path.relative_to(root).as_posix(), _one_text(path, named.name, encoding, limits)


def _one_text(path: Path, label: str, encoding: str | None, limits: LimitsConfig) -> dict[str, Any]:
    if path.stat().st_size > limits.max_cell_chars * _MAX_BYTES_PER_CHAR:
        raise DataError(
            f"{path.stat().st_size:,} bytes in one text",
            where=str(path),
            expected=f"at most {limits.max_cell_chars:,} characters",
            next_step="shorten or remove the file, or raise data.limits.max_cell_chars",
        )
    if not path.read_bytes().strip():
        return {"text": None, "label": label}
    text = "".join(text_pieces(path, encoding or detect_encoding(path)))
    return check_row({"text": text.strip() or None, "label": label}, str(path), limits)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
