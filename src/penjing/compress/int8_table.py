"""Tables of vectors in 8 bits with one scale a row: those that an input's numbers are looked up in, such as a
vocabulary, and those of which the first are taken, such as the vectors of places.

A row of a large table is looked up as bytes and multiplied by its scale, so that neither the file nor the memory ever
holds the table in 32 bits: nothing there is constant, and onnxruntime folds only what is. A small one is multiplied as
a whole, which is folded at load and spares every row that is looked up its conversion. So are matrices from which
others are worked out at load.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from penjing.compress.graph_file import FLOATS, Graph, attributes, reads

_MOST = 127  # looked up and never added up in 16 bits, so that all 8 bits can be used
_LEAST_ROWS, _LEAST_WIDTH = 256, 8
_LEAST_NUMBERS = 1024
_SMALL_BYTES = 4_000_000  # in 32 bits
_WORKING_OUT = {"MatMul", "Gemm", "Concat"}
_STEP = 4096  # rows converted at once: a table of 250,000 rows takes 384 MB in 32 bits
# What leaves the numbers of an input as they are. Those of n-grams are computed, and many of their rows are added up.
_SAME_NUMBERS = {"Reshape", "Unsqueeze", "Squeeze", "Cast", "Identity", "Flatten", "Slice", "Pad", "Concat", "Where"}
_CHOICE = "Where"  # whose numbers come second


def quantize_tables(graph: Graph) -> list[str]:
    """Store as int8 every table whose rows an input's numbers look up, that is cut off, or whose product is a table.

    Returns:
        Names of the tables.
    """
    worked_out = _worked_out_at_load(graph)
    looked_up = _lookups(graph, worked_out)
    if not _is_of_a_vocabulary(graph, worked_out, looked_up):  # some other constants, which are nobody's table
        worked_out = set()
        looked_up = _lookups(graph, worked_out)
    cut = _cut_tables(graph)
    made = graph.made_by()
    narrow = {name for name, table in looked_up.items() if _precision(made[name], table, graph) != TensorProto.FLOAT}
    tables = list(dict.fromkeys([*looked_up.values(), *cut, *worked_out]))
    for table in tables:
        rows, scales = _in_int8(numpy_helper.to_array(graph.constants[table]))
        graph.add_constant(f"{table}_int8", rows)
        graph.add_constant(f"{table}_scales", scales)
    small = [table for table in tables if _num_bytes(graph, table) <= _SMALL_BYTES]

    def change(node: NodeProto) -> Iterator[NodeProto]:
        if node.op_type == "Gather" and node.output[0] in looked_up:
            table = looked_up[node.output[0]]
            yield from _lookup(node, table, graph, small=table in small)
        elif node.op_type == "Slice" and node.input[0] in cut:
            node.input[0] = f"{node.input[0]}_rows"
            yield node
        elif node.op_type in _WORKING_OUT and worked_out & set(node.input):
            node.input[:] = [f"{name}_rows" if name in worked_out else name for name in node.input]
            yield node
        elif node.op_type == "Cast" and node.input[0] in narrow and attributes(node)["to"] == TensorProto.FLOAT:
            yield helper.make_node("Identity", [f"{node.input[0]}_rows"], list(node.output), name=node.name)
        else:
            yield node

    graph.rewrite(change)
    whole = [table for table in tables if table in small or table in worked_out]
    nodes = [*(node for table in whole for node in _whole(table)), *graph.body.node]
    del graph.body.node[:]
    graph.body.node.extend(nodes)
    return tables


def _num_bytes(graph: Graph, table: str) -> int:
    """Of a table in 32 bits."""
    return 4 * int(np.prod(graph.constants[table].dims))


def _whole(table: str) -> Iterator[NodeProto]:
    """A table in 32 bits; onnxruntime does this once, at load."""
    yield helper.make_node("Cast", [f"{table}_int8"], [f"{table}_whole"], to=TensorProto.FLOAT)
    yield helper.make_node("Mul", [f"{table}_whole", f"{table}_scales"], [f"{table}_rows"])


def _worked_out_at_load(graph: Graph) -> set[str]:
    """Matrices of 32 bits from which others are worked out when the model is loaded, used in no other way but to look
    rows up.
    """
    varying = graph.varying()
    found: set[str] = set()
    others: set[str] = set()
    for node in graph.body.node:
        names = reads(node) & graph.constants.keys()
        if node.op_type in _WORKING_OUT and not varying.intersection(node.output):
            found |= {name for name in names if _is_matrix(graph, name)}
        elif node.op_type != "Gather":
            others |= names
    return found - others


def _is_of_a_vocabulary(graph: Graph, worked_out: set[str], looked_up: Mapping[str, str]) -> bool:
    """Whether all that is looked up among these is looked up by an input's numbers, and something is."""
    gathered = {
        node.output[0] for node in graph.body.node if node.op_type == "Gather" and worked_out.intersection(node.input)
    }
    return bool(gathered) and gathered <= looked_up.keys()


def _is_matrix(graph: Graph, name: str) -> bool:
    tensor = graph.constants[name]
    large = len(tensor.dims) == 2 and min(tensor.dims) >= _LEAST_WIDTH and np.prod(tensor.dims) >= _LEAST_NUMBERS
    is_float = tensor.data_type == TensorProto.FLOAT
    return bool(large) and is_float and bool(np.isfinite(graph.value(name)).all())


def _cut_tables(graph: Graph) -> set[str]:
    """Small tables of 32 bits of which nothing but the first rows is used, as many as a text is long."""
    users: dict[str, list[NodeProto]] = {}
    for node in graph.body.node:
        for name in reads(node) & graph.constants.keys():
            users.setdefault(name, []).append(node)
    found = set()
    for name, nodes in users.items():
        tensor = graph.constants[name]
        wide = tensor.data_type == TensorProto.FLOAT and _is_table(tensor) and _num_bytes(graph, name) <= _SMALL_BYTES
        if wide and all(_takes_the_first(node, name, graph) for node in nodes) and np.isfinite(graph.value(name)).all():
            found.add(name)
    return found


def _takes_the_first(node: NodeProto, name: str, graph: Graph) -> bool:
    """Whether a node takes rows from the first on, and nothing else."""
    if node.op_type != "Slice" or node.input[0] != name or len(node.input) < 4:
        return False
    start, axes = graph.value(node.input[1]), graph.value(node.input[3])
    return start is not None and axes is not None and start.tolist() == [0] and axes.tolist() == [0]


def _lookups(graph: Graph, worked_out: Collection[str]) -> dict[str, str]:
    """Output of a Gather → the table of floats it looks rows up in, for tables that nothing else uses.

    Args:
        graph: where.
        worked_out: tables from which something is worked out at load besides.
    """
    made = graph.made_by()
    inputs = {entry.name for entry in graph.body.input} - graph.constants.keys()
    found, others = {}, set()
    for node in graph.body.node:
        for place, name in enumerate(node.input):
            table = _source(name, made)
            if table not in graph.constants:
                continue
            if node.op_type == "Gather" and place == 0 and _is_vocabulary(node, graph, table, made, inputs):
                found[node.output[0]] = table
            elif node.op_type != "Cast" and table not in worked_out:
                others.add(table)
        others.update(reads(node) - set(node.input))  # in graphs inside a node
    return {output: table for output, table in found.items() if table not in others}


def _source(name: str, made: dict[str, NodeProto]) -> str:
    """What is behind conversions, for a table in 16 bits may be converted before its rows are looked up."""
    while name in made and made[name].op_type == "Cast":
        name = made[name].input[0]
    return name


def _is_vocabulary(node: NodeProto, graph: Graph, table: str, made: dict[str, NodeProto], inputs: set[str]) -> bool:
    numbers = node.input[1]
    while numbers in made and made[numbers].op_type in _SAME_NUMBERS:
        numbers = made[numbers].input[1 if made[numbers].op_type == _CHOICE else 0]
    tensor = graph.constants[table]
    is_vocabulary = tensor.data_type in FLOATS and _is_table(tensor) and numbers in inputs
    return is_vocabulary and attributes(node).get("axis", 0) == 0


def _is_table(tensor: TensorProto) -> bool:
    return len(tensor.dims) == 2 and tensor.dims[0] >= _LEAST_ROWS and tensor.dims[1] >= _LEAST_WIDTH


def _lookup(node: NodeProto, table: str, graph: Graph, *, small: bool) -> Iterator[NodeProto]:
    """Rows, as bytes times their scales where the table is not small; in the precision they had, which is dropped again
    where nothing wants it.
    """
    ids, found = node.input[1], node.output[0]
    precision = _precision(node, table, graph)
    rows = found if precision == TensorProto.FLOAT else f"{found}_rows"
    if small:
        yield helper.make_node("Gather", [f"{table}_rows", ids], [rows], name=node.name)
    else:
        yield helper.make_node("Gather", [f"{table}_int8", ids], [f"{found}_int8"], name=node.name)
        yield helper.make_node("Cast", [f"{found}_int8"], [f"{found}_whole"], to=TensorProto.FLOAT)
        yield helper.make_node("Gather", [f"{table}_scales", ids], [f"{found}_scales"])
        yield helper.make_node("Mul", [f"{found}_whole", f"{found}_scales"], [rows])
    if rows != found:
        yield helper.make_node("Cast", [rows], [found], to=precision)


def _precision(node: NodeProto, table: str, graph: Graph) -> int:
    """Of what a Gather gives."""
    if node.input[0] == table:
        return graph.constants[table].data_type
    return int(attributes(graph.made_by()[node.input[0]])["to"])


def _in_int8(table_VH: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[V, H] int8 and [V, 1] float32 scales."""
    rows_VH = np.empty(table_VH.shape, np.int8)
    scale_V1 = np.empty((len(table_VH), 1), np.float32)
    for start in range(0, len(table_VH), _STEP):
        piece = slice(start, start + _STEP)
        values = table_VH[piece].astype(np.float32)
        most = np.abs(values).max(axis=1, keepdims=True) / _MOST
        scale_V1[piece] = np.where(most > 0, most, 1)
        rows_VH[piece] = np.round(values / scale_V1[piece])
    return rows_VH, scale_V1
