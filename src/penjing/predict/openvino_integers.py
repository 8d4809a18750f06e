"""Hashes of n-grams in the integers of 32 bits that OpenVINO computes in on a processor, whatever a model says.

A polynomial hash modulo a prime of 31 bits wants products of 51 bits; OpenVINO would cut them without a word, and its
remainders and quotients go through floating point. So products are put together from pieces of 26 bits, remainders
modulo 2^31 - 1 from rotations, and quotients are mended by one where they were rounded up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PRIME = 2**31 - 1  # of which a product with a power of two is a rotation of 31 bits
_WIDE = ("i64", "u64")
_MOST_FACTOR = 2**20  # whose two halves have 10 bits


def narrow_hashes(model: Any, openvino: Any) -> bool:
    """Rewrite, in place, remainders of wide integers so that 32 bits are enough.

    Args:
        model: an `openvino.Model`.
        openvino: the library, see `openvino_backend.import_openvino`.

    Returns:
        Whether all of them could be: sums and products of ids with factors below 2^20, modulo 2^31 - 1, and hashes
        modulo a power of two.
    """
    write = _Writer(openvino)
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        if kind in {"Mod", "FloorMod"} and _is_wide(op):
            divisor = _constant(op.input_value(1))
            if divisor == PRIME:
                found = write.residue(op.input_value(0))
            elif divisor is not None and divisor & (divisor - 1) == 0 and 0 < divisor <= 2**24:
                found = write.parted(write.narrow(op.input_value(0)), divisor.bit_length() - 1)[1]
            else:
                found = None
            if found is None:
                return False
            op.output(0).replace(write.wide(found))
        elif kind == "Equal" and op.get_input_element_type(0).to_string() in _WIDE:
            one, other = (write.narrow(op.input_value(i)) for i in (0, 1))
            op.output(0).replace(write.same(one, other).output(0))
    return True


def _is_wide(op: Any) -> bool:
    return op.get_output_element_type(0).to_string() in _WIDE


def _constant(output: Any) -> int | None:
    """The one number of a constant; None for anything else."""
    node = output.get_node()
    if node.get_type_name() != "Constant":
        return None
    values = np.asarray(node.get_data()).ravel()
    return int(values[0]) if len(values) == 1 else None


class _Writer:
    """Writes operators of 32-bit integers; every value lies in [0, 2^31 - 1), differences aside."""

    def __init__(self, openvino: Any) -> None:
        self.ops = openvino.opset13

    def number(self, value: int) -> Any:
        return self.ops.constant(value, np.int32)

    def same(self, one: Any, other: Any) -> Any:
        """One = other; as floats neighbours would be equal."""
        return self.ops.equal(self.ops.subtract(one, other), self.number(0))

    def narrow(self, output: Any) -> Any:
        return self.ops.convert(output, "i32")

    def wide(self, node: Any) -> Any:
        return self.ops.convert(node, "i64").output(0)

    def residue(self, output: Any) -> Any | None:
        """What an expression leaves modulo the prime; None where it is of another kind."""
        node = output.get_node()
        kind, known = node.get_type_name(), _constant(output)
        if known is not None:
            return self.number(known % PRIME)
        if kind not in {"Add", "Multiply"}:
            return self.narrow(output)  # ids and remainders, which are below it
        if kind == "Add":
            one, other = (self.residue(node.input_value(i)) for i in (0, 1))
            return None if one is None or other is None else self.sum(one, other)
        factors = [(_constant(node.input_value(i)), node.input_value(1 - i)) for i in (0, 1)]
        for factor, rest in factors:
            if factor is not None and 0 < factor < _MOST_FACTOR:
                value = self.residue(rest)
                return None if value is None else self.product(value, factor)
        return None

    def sum(self, one: Any, other: Any) -> Any:
        """(one + other) mod prime, without reaching 2^31."""
        return self._not_below_zero(self.ops.subtract(one, self.ops.subtract(self.number(PRIME), other)), PRIME)[0]

    def product(self, value: Any, factor: int) -> Any:
        """(value · factor) mod prime."""
        low_bits, half = 16, 10
        high, low = self.parted(value, low_bits)
        found = None
        for part, shift in ((high, low_bits), (low, 0)):
            for piece, more in ((factor >> half, half), (factor % 2**half, 0)):
                term = self.rotated(self.ops.multiply(part, self.number(piece)), shift + more)
                found = term if found is None else self.sum(found, term)
        return found

    def rotated(self, value: Any, bits: int) -> Any:
        """(value · 2^bits) mod prime."""
        if bits == 0:
            return value
        high, low = self.parted(value, 31 - bits)
        return self.ops.add(self.ops.multiply(low, self.number(2**bits)), high)

    def parted(self, value: Any, bits: int) -> tuple[Any, Any]:
        """(value // 2^bits, value mod 2^bits)."""
        quotient = self.ops.divide(value, self.number(2**bits))
        rest = self.ops.subtract(value, self.ops.multiply(quotient, self.number(2**bits)))
        rest, too_much = self._not_below_zero(rest, 2**bits)
        return self.ops.subtract(quotient, too_much), rest

    def _not_below_zero(self, value: Any, period: int) -> tuple[Any, Any]:
        """(value, one period more where it is below zero; 1 there and 0 elsewhere)."""
        below = self.ops.convert(self.ops.less(value, self.number(0)), "i32")
        return self.ops.add(value, self.ops.multiply(below, self.number(period))), below
