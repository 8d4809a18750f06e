"""Initializers in 16 bits, with conversions behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import ml_dtypes
import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from penjing.compress.graph_file import QUANTIZED, Graph

_LEAST_SIZE = 1024
_TYPES = {"fp16": (np.float16, TensorProto.FLOAT16), "bf16": (ml_dtypes.bfloat16, TensorProto.BFLOAT16)}


def halve(graph: Graph, dtype: Literal["fp16", "bf16"]) -> tuple[int, list[str]]:
    """Store every large matrix of 32 bits in 16, but for the scales of quantized ones.

    Returns:
        How many; and the names of those that have values beyond 16 bits, and are left.
    """
    kind, precision = _TYPES[dtype]
    halved: dict[str, str] = {}
    left = []
    scales = {name for node in graph.body.node if node.op_type in QUANTIZED for name in node.input}
    for tensor in list(graph.body.initializer):
        is_matrix = len(tensor.dims) > 1 and tensor.dims[-1] > 1 and math.prod(tensor.dims) >= _LEAST_SIZE
        if tensor.data_type != TensorProto.FLOAT or not is_matrix or tensor.name in scales:
            continue
        values = numpy_helper.to_array(tensor)
        if max(values.max(), -values.min()) > float(ml_dtypes.finfo(kind).max):  # without a copy, as `abs` makes
            left.append(tensor.name)
            continue
        halved[tensor.name] = f"{tensor.name}_half"
        # Written in place: a message that is appended is copied, and a vocabulary has hundreds of MB.
        added = graph.body.initializer.add(name=halved[tensor.name], dims=tensor.dims, data_type=precision)
        added.raw_data = values.astype(kind).tobytes()
    graph.rewrite(lambda node: _widened(node, halved))
    rest = {name for node in graph.body.node for name in node.input} & halved.keys()
    casts = [_cast(halved[name], name) for name in sorted(rest)]
    nodes = [*casts, *graph.body.node]
    del graph.body.node[:]
    graph.body.node.extend(nodes)
    for name in halved:
        graph.remove_constant(name)
    graph.index_constants()
    return len(halved), left


def _widened(node: NodeProto, halved: dict[str, str]) -> Iterator[NodeProto]:
    """Rows are looked up in 16 bits, and only those looked up are converted."""
    if node.op_type != "Gather" or node.input[0] not in halved:
        yield node
        return
    rows = f"{node.output[0]}_half"
    lookup = helper.make_node("Gather", [halved[node.input[0]], node.input[1]], [rows], name=node.name)
    lookup.attribute.extend(node.attribute)
    yield lookup
    yield _cast(rows, node.output[0])


def _cast(name: str, output: str) -> NodeProto:
    return helper.make_node("Cast", [name], [output], to=TensorProto.FLOAT)
