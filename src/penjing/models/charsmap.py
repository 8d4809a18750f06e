"""A SentencePiece character map, built from a table of code points.

`tokenizers` normalizes with SentencePiece's compiled form of such a map: a double-array trie over the UTF-8 bytes of
what is replaced, followed by the replacements, each ended by a zero byte. Layout of a trie unit (32 bits, as in the
Darts-clone library): label in bits 0-7, has-leaf in bit 8, offset in bits 10-30; a leaf has bit 31 set and the
position of its replacement in bits 0-30. A child for byte b lies at (parent's position XOR offset) XOR b.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_LEAF = 1 << 31
_HAS_LEAF = 1 << 8
_OFFSET_SHIFT = 10
_MAX_OFFSET = 1 << 21
_BLOCK = 256


def compile_charsmap(replacements: Mapping[str, str]) -> bytes:
    """The compiled map.

    Args:
        replacements: one character → what takes its place (nothing, to delete it). The zero character is neither.

    Returns:
        What `tokenizers.normalizers.Precompiled` takes.
    """
    texts = b""
    positions: dict[str, int] = {}
    keys: dict[bytes, int] = {}
    for source, target in sorted(replacements.items()):
        assert len(source) == 1 and source != "\0" and "\0" not in target, f"cannot be mapped: {source!r}"
        if target not in positions:
            positions[target] = len(texts)
            texts += target.encode() + b"\0"
        keys[source.encode()] = positions[target]
    trie = _DoubleArray()
    if keys:
        trie.place(0, keys)
    units = trie.units()
    return np.uint32(units.nbytes).tobytes() + units.tobytes() + texts


class _DoubleArray:
    """Grows a double-array trie; a position is free until a unit lies there."""

    def __init__(self) -> None:
        self._units: dict[int, int] = {0: 0}
        self._offset_bases: set[int] = {0}
        self._starts: dict[int, int] = {}

    def place(self, position: int, keys: Mapping[bytes, int]) -> None:
        """Lay out the children of the node at `position`, whose remaining keys are given, and all below them."""
        children: dict[int, dict[bytes, int]] = {}
        for key, value in keys.items():
            children.setdefault(key[0] if key else 0, {})[key[1:]] = value
        base = self._free_base(position, list(children))
        self._units[position] |= (position ^ base) << _OFFSET_SHIFT
        for label in children:
            self._units[base ^ label] = label
        for label, below in children.items():
            if label == 0:
                self._units[base] = _LEAF | below[b""]
                self._units[position] |= _HAS_LEAF
            else:
                self.place(base ^ label, below)

    def units(self) -> np.ndarray:
        """[U] uint32, a whole number of blocks, so that no lookup leaves the array."""
        size = (max(self._units) // _BLOCK + 1) * _BLOCK
        array = np.zeros(size, np.dtype("<u4"))
        array[list(self._units)] = list(self._units.values())
        return array

    def _free_base(self, position: int, labels: list[int]) -> int:
        """A base no other node has, at which every label finds a free position."""
        slot = self._starts.get(labels[0], 1)
        rejected_for_good = True
        while True:
            base = slot ^ labels[0]
            taken = slot in self._units or base in self._offset_bases
            if not taken and all(base ^ label not in self._units for label in labels):
                assert position ^ base < _MAX_OFFSET, "the map is too large for plain offsets"
                self._offset_bases.add(base)
                return base
            # What is taken stays taken: without this, each node would walk over the same positions again.
            rejected_for_good = rejected_for_good and taken
            slot += 1
            if rejected_for_good:
                self._starts[labels[0]] = slot
