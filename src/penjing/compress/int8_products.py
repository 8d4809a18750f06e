"""Products in 8 bits: unsigned activations with one scale, signed weights with one scale a column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper

from penjing.compress.graph_file import Graph, Product
from penjing.compress.switches import either

# 7 bits of the 8. CPUs without VNNI add two products of an unsigned and a signed byte in 16 bits, and
# 2 * 255 * 127 does not fit: the sum saturates, and the file answers differently on another CPU (onnxruntime issues
# 5849, 6004 and 14642). 2 * 255 * 64 fits.
_MOST = 64
_LEVELS = 255  # of an activation


def insert_static(
    graph: Graph,
    products: Sequence[Product],
    ranges: Mapping[str, tuple[float, float]],
    *,
    switches: bool = False,
) -> None:
    """Put a QuantizeLinear and a DequantizeLinear before each product, which backends fuse with it.

    What comes out of a product stays in 32 bits: it is about to be added to and normalised.

    Args:
        graph: changed in place.
        products: which.
        ranges: least and greatest value of each tensor of activations.
        switches: give the model an input for each product, see `switch`, that says whether it stays in 32 bits.
    """
    wanted = {product.name: product for product in products}
    done: set[str] = set()

    def change(node: NodeProto) -> Iterator[NodeProto]:
        if node.name not in wanted:
            yield node
            return
        product = wanted[node.name]
        if product.activations not in done:  # query, key and value take the same
            yield _quantize(graph, product.activations, *ranges[product.activations])
        done.add(product.activations)
        quantized = list(_quantized(graph, product, node))
        yield from [either(graph, node, quantized)] if switches else quantized

    graph.rewrite(change)


def insert_dynamic(graph: Graph, products: Sequence[Product], *, switches: bool = False) -> None:
    """Quantize the activations of each product as they come.

    Args:
        graph: changed in place; its Gemms are split.
        products: which.
        switches: as of `insert_static`.
    """
    wanted = {product.name: product for product in products}
    done: set[str] = set()

    def change(node: NodeProto) -> Iterator[NodeProto]:
        if node.name not in wanted:
            yield node
            return
        product, output = wanted[node.name], node.output[0]
        given = [f"{product.activations}_{part}" for part in ("quantized", "scale", "zero")]
        if given[0] not in done:
            yield helper.make_node("DynamicQuantizeLinear", [product.activations], given)
        done.add(given[0])
        weight, scale, zero = _constants(graph, product)
        quantized = [
            helper.make_node("MatMulInteger", [given[0], weight, given[2], zero], [f"{output}_sum"], name=node.name),
            helper.make_node("Cast", [f"{output}_sum"], [f"{output}_whole"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [given[1], scale], [f"{output}_scale"]),
            helper.make_node("Mul", [f"{output}_whole", f"{output}_scale"], [output]),
        ]
        yield from [either(graph, node, quantized)] if switches else quantized

    graph.rewrite(change)


def _quantize(graph: Graph, name: str, low: float, high: float) -> NodeProto:
    """Zero is always a value that can be represented, or padding and biases would be off."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / _LEVELS or 1.0
    graph.add_constant(f"{name}_scale", np.array(scale, np.float32))
    graph.add_constant(f"{name}_zero", np.array(round(-low / scale), np.uint8))
    return helper.make_node("QuantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_quantized"])


def _quantized(graph: Graph, product: Product, node: NodeProto) -> Iterator[NodeProto]:
    """The product of what is turned back into 32 bits; its own copies, for backends fuse what nothing else uses."""
    given = [f"{product.name}_activations", f"{product.name}_weight"]
    parts = [f"{product.activations}_{part}" for part in ("quantized", "scale", "zero")]
    yield helper.make_node("DequantizeLinear", parts, given[:1])
    axis = 0 if product.transposed else 1
    yield helper.make_node("DequantizeLinear", list(_constants(graph, product)), given[1:], axis=axis)
    if len(node.input) > 2:
        given.append(f"{product.name}_bias")
        yield _bias(graph, product, node.input[2], given[-1])
    changed = helper.make_node(node.op_type, given, list(node.output), name=node.name)
    changed.attribute.extend(node.attribute)
    yield changed


def _bias(graph: Graph, product: Product, name: str, output: str) -> NodeProto:
    """A Gemm's bias in the units of its sums: onnxruntime has none with 8-bit inputs and a bias in 32 bits."""
    scale_N = graph.value(f"{product.activations}_scale") * graph.value(f"{product.weight}_scale")
    whole_N = np.broadcast_to(np.round(graph.value(name).astype(np.float64) / scale_N), scale_N.shape)
    if np.abs(whole_N).max() >= 2**31:
        return helper.make_node("Identity", [name], [output])
    parts = [
        graph.add_constant(f"{product.name}_bias_int32", whole_N.astype(np.int32)),
        graph.add_constant(f"{product.name}_bias_scale", scale_N),
    ]
    return helper.make_node("DequantizeLinear", parts, [output], axis=0)


def _constants(graph: Graph, product: Product) -> tuple[str, str, str]:
    """Names of a product's weights in int8, [K, N] or transposed, their scales [N] and zero points [N]."""
    names = (f"{product.weight}_int8", f"{product.weight}_scale", f"{product.weight}_zero")
    if names[0] not in graph.constants:
        weight_KN = graph.weight(product)
        scale_N = np.abs(weight_KN).max(axis=0) / _MOST
        scale_N = np.where(scale_N > 0, scale_N, 1).astype(np.float32)
        whole_KN = np.round(weight_KN / scale_N).astype(np.int8)
        values = (whole_KN.T if product.transposed else whole_KN, scale_N, np.zeros(len(scale_N), np.int8))
        for name, value in zip(names, values, strict=True):
            graph.add_constant(name, value)
    return names
