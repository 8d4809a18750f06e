"""The head that scores spans, as nodes of an ONNX graph; as `SpanHead.forward`."""

from __future__ import annotations

from penjing.export.graph_writer import Graph
from penjing.train.gradient.tokens import NEVER, PAIR_WIDTH, SpanHead


def write_spans(graph: Graph, head: SpanHead, hidden: str, ids: str) -> None:
    """[B, L, H] → the outputs `logits` [B, L, C, 2] and `pairs` [B, L, L].

    Args:
        graph: where to.
        head: on the CPU and in 32 bits.
        hidden: name of the token vectors.
        ids: name of the token ids, whose second dimension is L.
    """
    borders = graph.linear(hidden, head.borders)
    graph.add("Reshape", borders, graph.ints(0, 0, head.num_labels, 2), output="logits")
    query, key = graph.linear(hidden, head.query), graph.linear(hidden, head.key)
    products = graph.add("MatMul", query, graph.add("Transpose", key, perm=(0, 2, 1)))
    scores = graph.add("Mul", products, graph.scalar(PAIR_WIDTH**-0.5))
    axis, zero, longest = graph.ints(0), graph.ints(0), graph.ints(head.max_span_tokens)
    length = graph.add("Squeeze", graph.add("Shape", ids, start=1, end=2), axis)
    places = graph.add("Range", graph.whole(0), length, graph.whole(1))
    ends, starts = graph.add("Unsqueeze", places, axis), graph.add("Unsqueeze", places, graph.ints(1))
    distance = graph.add("Sub", ends, starts)
    known = graph.add("And", graph.add("GreaterOrEqual", distance, zero), graph.add("Less", distance, longest))
    last = graph.whole(head.max_span_tokens - 1)
    bias = graph.add("Gather", graph.tensor(head.by_length), graph.add("Clip", distance, graph.whole(0), last))
    graph.add("Add", scores, graph.add("Where", known, bias, graph.scalar(NEVER)), output="pairs")
