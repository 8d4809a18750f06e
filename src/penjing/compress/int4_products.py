"""Products with weights of 4 bits, or of 8, as onnxruntime's operator MatMulNBits stores them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from onnx import NodeProto, helper

from penjing.compress.graph_file import Graph, Product
from penjing.compress.switches import either

DOMAIN = "com.microsoft"
_LEAST = -8  # of 4 signed bits; the greatest is 7
# Shares of a block's greatest weight that become its outermost level. Most weights gain where the greatest are cut.
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)


def insert_int4(
    graph: Graph,
    products: Sequence[Product],
    block: int,
    accuracy_level: int,
    *,
    in_8_bits: Collection[str] = (),
    switches: bool = False,
) -> None:
    """Store the weights of products in 4 bits.

    Args:
        graph: changed in place; its Gemms are split.
        products: which.
        block: weights of a column that share a scale.
        accuracy_level: the operator's attribute.
        in_8_bits: names of products whose weights have 8.
        switches: give the model an input for each product, see `switches.switch`, that says whether it has 8 bits.
    """
    wanted = {product.name: product for product in products}
    _import_domain(graph)

    def change(node: NodeProto) -> Iterator[NodeProto]:
        if node.name not in wanted:
            yield node
            return
        product = wanted[node.name]
        if switches:  # between what is written: 8 bits where a product is kept, not what it was
            four, eight = (_in_bits(graph, node, product, bits, block, accuracy_level) for bits in (4, 8))
            yield either(graph, eight, [four])
            return
        bits = 8 if node.name in in_8_bits else 4
        yield _in_bits(graph, node, product, bits, block, accuracy_level)

    graph.rewrite(change)


def _in_bits(graph: Graph, node: NodeProto, product: Product, bits: int, block: int, accuracy_level: int) -> NodeProto:
    """The operator in a product's place, its weights stored in so many bits."""
    names = (f"{product.weight}_int{bits}", f"{product.weight}_scales{bits}")
    weight_KN = graph.weight(product)
    if names[0] not in graph.constants:
        stored = in_int8(weight_KN, block) if bits == 8 else in_int4(weight_KN, block)
        for name, values in zip(names, stored, strict=True):
            graph.add_constant(name, values)
    # Weights of 8 bits are multiplied in 8: in 32 onnxruntime takes 30 times as long for one row (1.32).
    level = 4 if bits == 8 else accuracy_level
    return helper.make_node(
        "MatMulNBits",
        [product.activations, *names],
        list(node.output),
        name=node.name,
        domain=DOMAIN,
        K=weight_KN.shape[0],
        N=weight_KN.shape[1],
        bits=bits,
        block_size=block,
        **({"accuracy_level": level} if level else {}),
    )


def in_int8(weight_KN: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """[N, blocks, block] bytes, of which 128 stands for zero, and [N, blocks] float32 scales."""
    blocks_NBS = _blocks(weight_KN, block)
    scale_NB1 = np.abs(blocks_NBS).max(-1, keepdims=True) / 127
    inverse = np.divide(1, scale_NB1, out=np.zeros_like(scale_NB1), where=scale_NB1 != 0)
    return (np.round(blocks_NBS * inverse) + 128).astype(np.uint8), scale_NB1[..., 0]


def in_int4(weight_KN: np.ndarray, block: int, shares: Sequence[float] = _SHARES) -> tuple[np.ndarray, np.ndarray]:
    """[N, blocks, block / 2] bytes of two weights, the earlier in the lower half, and [N, blocks] float32 scales.

    The level of -8 has no opposite: it is given to the sign of the block's greatest weight. Of several scales the one
    with the least square error is taken.
    """
    blocks_NBS = _blocks(weight_KN, block)
    place = np.abs(blocks_NBS).argmax(-1, keepdims=True)
    most_NB1 = np.take_along_axis(blocks_NBS, place, -1)
    best_error = np.full(most_NB1.shape, np.inf, np.float32)
    best_scale = np.zeros_like(most_NB1)
    for share in shares:
        scale = most_NB1 * np.float32(share) / _LEAST
        error = np.square(_levels(blocks_NBS, scale) * scale - blocks_NBS).sum(-1, keepdims=True)
        better = error < best_error
        best_error, best_scale = np.where(better, error, best_error), np.where(better, scale, best_scale)
    levels = (_levels(blocks_NBS, best_scale) - _LEAST).astype(np.uint8)
    return levels[..., 0::2] | levels[..., 1::2] << 4, best_scale[..., 0]


def _blocks(weight_KN: np.ndarray, block: int) -> np.ndarray:
    """[N, blocks, block], with zeros after the last weight."""
    rows, columns = weight_KN.shape
    padded = np.zeros((columns, -(-rows // block) * block), np.float32)
    padded[:, :rows] = weight_KN.T
    return padded.reshape(columns, -1, block)


def _levels(blocks_NBS: np.ndarray, scale_NB1: np.ndarray) -> np.ndarray:
    """Whole numbers of 4 signed bits."""
    inverse = np.divide(1, scale_NB1, out=np.zeros_like(scale_NB1), where=scale_NB1 != 0)
    return np.clip(np.round(blocks_NBS * inverse), _LEAST, _LEAST + 15)


def _import_domain(graph: Graph) -> None:
    if DOMAIN not in {entry.domain for entry in graph.model.opset_import}:
        graph.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
