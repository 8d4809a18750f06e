"""A product that is computed in one of two ways, as an input of the model says: what trials of precision run on."""

from __future__ import annotations

from onnx import NodeProto, TensorProto, helper

from penjing.compress.graph_file import Graph


def switch(product: str) -> str:
    """Name of the input that says whether a product keeps the higher precision."""
    return f"{product}_in_32_bits"


def either(graph: Graph, node: NodeProto, quantized: list[NodeProto]) -> NodeProto:
    """One node that computes a product as it was, or as it is quantized, by its switch, which becomes an input.

    Args:
        graph: gets the input.
        node: as it was.
        quantized: the nodes in its place, the last of which makes its output.
    """
    plain = NodeProto()
    plain.CopyFrom(node)
    branches = {}
    for branch, nodes in (("then_branch", [plain]), ("else_branch", quantized)):
        output = f"{node.output[0]}_{branch}"
        nodes[-1].output[0] = output
        given = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        branches[branch] = helper.make_graph(nodes, f"{node.name}_{branch}", [], given)
    graph.body.input.append(helper.make_tensor_value_info(switch(node.name), TensorProto.BOOL, []))
    return helper.make_node("If", [switch(node.name)], list(node.output), name=node.name, **branches)
