"""What neighbouring tokens say together (`models/phrases.py`), as nodes of an ONNX graph.

Where vectors are static, the product of three neighbours with a matrix is a sum of three products, each of one token's
vector with a third of the matrix, and there are no more of those than the vocabulary has pieces. So they are worked out
once, when the model is loaded (backends fold what is constant), and a text looks them up. The file holds none of it.
"""

from __future__ import annotations

from onnx import TensorProto

from penjing.export.graph_writer import Graph
from penjing.models.padding import MASKED
from penjing.models.phrases import Phrases

_MOST_BYTES = 16_000_000  # of products worked out at load: beyond, memory costs more than products do
_FLOAT = 4


def worked_out_at_load(features: int, vocabulary: int) -> bool:
    """Whether what phrases say of each piece of a vocabulary is worked out when a model is loaded."""
    return 3 * features * vocabulary * _FLOAT <= _MOST_BYTES


def phrases_of_vectors(graph: Graph, phrases: Phrases, hidden: str, mask: str) -> str:
    """Features of each three neighbours, zero where there is padding.

    Args:
        graph: where to.
        phrases: has the weights.
        hidden: [B, L, H].
        mask: [B, L] of floats.

    Returns:
        [B, L, F].
    """
    real = graph.add("Unsqueeze", mask, graph.ints(2))
    wide = graph.add("Pad", graph.add("Mul", hidden, real), graph.ints(0, 1, 0, 0, 1, 0))
    three = graph.add("Concat", *_shifted(graph, wide), axis=2)
    return graph.add("Mul", graph.add("Relu", graph.linear(three, phrases.window)), real)


def phrases_of_ids(graph: Graph, phrases: Phrases, table: str, ids: str, mask: str, vocabulary: int) -> str:
    """The same where vectors are looked up.

    Args:
        graph: where to.
        phrases: has the weights.
        table: [V + 1, H], the vectors, and zeros in the last row.
        ids: [B, L].
        mask: [B, L] of floats.
        vocabulary: V.

    Returns:
        [B, L, F].
    """
    known = graph.add("Where", graph.add("Cast", mask, to=TensorProto.BOOL), ids, graph.whole(vocabulary))
    places = _shifted(graph, graph.add("Pad", known, graph.ints(0, 1, 0, 1), graph.whole(vocabulary)))
    features, width = phrases.window.out_features, phrases.back.out_features
    if not worked_out_at_load(features, vocabulary):
        three = graph.add("Concat", *(graph.add("Unsqueeze", place, graph.ints(2)) for place in places), axis=2)
        three = graph.add("Reshape", graph.add("Gather", table, three), graph.ints(0, 0, 3 * width))
        real = graph.add("Unsqueeze", mask, graph.ints(2))
        return graph.add("Mul", graph.add("Relu", graph.linear(three, phrases.window)), real)
    before, middle, behind = (graph.tensor(part.T) for part in phrases.window.weight.split(width, dim=1))
    products = [graph.add("MatMul", table, before), "", graph.add("MatMul", table, behind)]
    # Of padding itself nothing shall be left, whatever stands beside it: one more number says what is padding. (To
    # change the last row of a product would hold the product once more while it is worked out.)
    is_padding = graph.add("Pad", _filled(graph, 0.0, vocabulary, 1), graph.ints(0, 0, 1, 0), graph.scalar(1.0))
    longer = graph.add("Concat", table, is_padding, axis=1)
    middle = graph.add("Concat", middle, _filled(graph, MASKED, 1, features), axis=0)
    products[1] = graph.add("Gemm", longer, middle, graph.tensor(phrases.window.bias))
    found = [graph.add("Gather", *pair) for pair in zip(products, places, strict=True)]
    return graph.add("Relu", graph.add("Add", graph.add("Add", *found[:2]), found[2]))


def write_phrases(graph: Graph, phrases: Phrases, found: str, mask: str, count: str) -> str:
    """[B, L, F], zero where there is padding, a mask as [B, L] and its sums [B, 1] → [B, H], as `Phrases.forward`."""
    row = graph.add("Unsqueeze", mask, graph.ints(1))
    total = graph.add("Squeeze", graph.add("MatMul", row, found), graph.ints(1))
    # No feature is below zero, so that padding is never the greatest.
    most = graph.add("ReduceMax", found, graph.ints(1), keepdims=0)
    return graph.linear(graph.add("Concat", graph.add("Div", total, count), most, axis=1), phrases.back)


def _filled(graph: Graph, value: float, *sizes: int) -> str:
    return graph.add("Expand", graph.scalar(value), graph.ints(*sizes))


def _shifted(graph: Graph, wide: str) -> list[str]:
    """[B, L + 2, ...] → three times [B, L, ...]: the first, those in the middle and the last."""
    ends = ((0, -2), (1, -1), (2, 2**31))
    return [graph.add("Slice", wide, graph.ints(a), graph.ints(b), graph.ints(1)) for a, b in ends]
