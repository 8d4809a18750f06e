"""The safetensors format, read and written with numpy alone.

The base install has no `safetensors` package, and that package writes from memory only; here a model of several
hundred megabytes is written tensor by tensor. Format: a little-endian u64 with the length of a JSON header, the
header (name → dtype, shape, byte range), then the tensors (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core.errors import ArtifactError

MAX_HEADER_BYTES = 50_000_000
_ALIGNMENT = 8
_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
_NUMPY: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
        "BOOL": "?",
        "BF16": "<i2",  # numpy has no such type: its bits
    }.items()
}  # fmt: skip


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors file says of one tensor.

    Args:
        dtype: as the format names it (F32, F16, BF16, ...).
        shape: its dimensions.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TensorSource:
    """A tensor to be written.

    Args:
        header: dtype and shape.
        chunks: makes its values in order, in pieces of any shape.
    """

    header: TensorHeader
    chunks: Callable[[], Iterable[np.ndarray]]


def write_safetensors(
    path: Path, tensors: Mapping[str, TensorSource], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors one after the other, never holding more than one piece in memory.

    Args:
        path: the file.
        tensors: name → tensor; written in this order.
        metadata: further texts for the header.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.header.size * _ITEM_BYTES[tensor.header.dtype]
        header[name] = {
            "dtype": tensor.header.dtype, "shape": list(tensor.header.shape), "data_offsets": [begin, end],
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            written = 0
            for chunk in tensor.chunks():
                values = chunk.astype(_NUMPY[tensor.header.dtype], copy=False)
                handle.write(np.ascontiguousarray(values).reshape(-1).data)
                written += chunk.size
            assert written == tensor.header.size, f"{name}: {written} values for shape {tensor.header.shape}"


def read_safetensors_header(path: Path) -> dict[str, TensorHeader]:
    """Name → dtype and shape of every tensor, checked against the file's size.

    Raises:
        ArtifactError: not a safetensors file, or truncated.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ArtifactError("not a safetensors file, or cut off", where=str(path), next_step="copy it again")
        text = handle.read(length)
    try:
        entries = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        headers = {name: TensorHeader(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
        ranges = sorted(tuple(entry["data_offsets"]) for entry in entries.values())
        consistent = all(
            header.size * _ITEM_BYTES[header.dtype]
            == entries[name]["data_offsets"][1] - entries[name]["data_offsets"][0]
            for name, header in headers.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(f"damaged safetensors header ({error!r})", where=str(path)) from None
    if not consistent or not _contiguous(ranges, size - 8 - length):
        raise ArtifactError(
            "the safetensors header and the file's size disagree", where=str(path), next_step="copy it again"
        )
    return headers


def _contiguous(ranges: Sequence[tuple[int, ...]], total: int) -> bool:
    """Whether the byte ranges follow each other without holes from 0 to `total`."""
    end = 0
    for begin, stop in ranges:
        if begin != end:
            return False
        end = stop
    return end == total
