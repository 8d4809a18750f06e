"""The ONNX graph of our own encoder with mean pooling and a linear head, for texts or pairs, written node by node.

Tracing the same model takes the exporter of torch seconds, most of a short run; writing it down takes milliseconds. The
operators are standard ones, in the shapes that onnxruntime's optimizer fuses at load (LayerNormalization with its
residual, Gelu with its bias, transposed products). The parity check compares it with torch's outputs like any export.
"""

from __future__ import annotations

from pathlib import Path

import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional

from penjing.core.task import Signature
from penjing.export.graph_writer import Graph
from penjing.export.phrase_graph import phrases_of_ids, phrases_of_vectors, write_phrases
from penjing.export.span_graph import write_spans
from penjing.export.static_graph import has_static_vectors, is_static, static_vectors, write_static
from penjing.models.dropout import PooledDropout
from penjing.models.encoder import Encoder, Layer, WordEmbedding
from penjing.models.factored import Factored, FactoredWords
from penjing.models.ngrams import FACTOR, LEAST_SQUARE, PRIME, NgramScores
from penjing.models.padding import MASKED
from penjing.models.phrases import Phrases
from penjing.train.gradient.sequence import PairModel, SequenceModel
from penjing.train.gradient.tokens import SpanHead, TokenModel

_KNOWN = {
    SequenceModel,
    PairModel,
    TokenModel,
    SpanHead,
    Encoder,
    Layer,
    PooledDropout,
    nn.ModuleList,
    nn.Linear,
    nn.LayerNorm,
    nn.Embedding,
    WordEmbedding,
    Factored,
    FactoredWords,
    NgramScores,
    Phrases,
}


def can_write(model: nn.Module) -> bool:
    """Whether a model is what this module writes: our encoder, without adapters, under a head of ours."""
    return (
        isinstance(model, SequenceModel | TokenModel)
        and isinstance(model.encoder, Encoder)
        and all(type(module) in _KNOWN for module in model.modules())
    )


def write_bert(model: SequenceModel | TokenModel, signature: Signature, path: Path, *, opset: int) -> None:
    """Write the model as one ONNX file.

    Args:
        model: one that `can_write`, on the CPU and in 32 bits; its vocabulary may have 16.
        signature: names and shapes of inputs and outputs.
        path: where to write; weights are inside the one file.
        opset: ONNX operator set, 18 or later.
    """
    graph = Graph()
    if is_static(model):
        write_static(graph, model, signature)
        graph.save(signature, path, opset=opset)
        return
    ids, mask = "input_ids", "attention_mask"
    pairs = isinstance(model, PairModel)
    if pairs:  # [B, 2, L] → [2B, L]
        length = graph.add("Shape", ids, start=2, end=3)
        texts = graph.add("Concat", graph.ints(-1), length, axis=0)
        ids, mask = (graph.add("Reshape", name, texts) for name in (ids, mask))
    static = has_static_vectors(model.encoder)
    if static:
        # Its last row is what padding and the places beyond a text's ends look up.
        table = graph.tensor(functional.pad(static_vectors(model.encoder), (0, 0, 0, 1)))
        hidden = graph.add("Gather", table, ids)
    else:
        hidden = _embeddings(graph, model.encoder, ids, "texts" if pairs else "batch")
    mask = graph.add("Cast", mask, to=TensorProto.FLOAT)
    hidden_mask = graph.add("Unsqueeze", mask, graph.ints(1))  # [B, 1, L]
    missing = graph.add("Sub", graph.scalar(1.0), graph.add("Unsqueeze", hidden_mask, graph.ints(1)))
    bias = graph.add("Mul", missing, graph.scalar(MASKED))  # [B, 1, 1, L]
    for layer in model.encoder.layers:
        hidden = _layer(graph, layer, hidden, bias)
    if isinstance(model, TokenModel):
        write_spans(graph, model.head, hidden, ids)
        graph.save(signature, path, opset=opset)
        return
    # A product with the mask sums the vectors of real tokens without a masked copy of all.
    total = graph.add("Squeeze", graph.add("MatMul", hidden_mask, hidden), graph.ints(1))
    count = graph.add("ReduceSum", mask, graph.ints(1), keepdims=1)
    pooled = graph.add("Div", total, count)
    if model.phrases is not None:
        if static:
            found = phrases_of_ids(graph, model.phrases, table, ids, mask, model.encoder.config.vocab_size)
        else:
            found = phrases_of_vectors(graph, model.phrases, hidden, mask)
        pooled = graph.add("Add", pooled, write_phrases(graph, model.phrases, found, mask, count))
    if pairs:
        pooled = _compared(graph, pooled, model.encoder.hidden_size)
    output = signature.outputs[0]
    head = (graph.tensor(model.head.weight), graph.tensor(model.head.bias))
    if model.ngrams is None:
        graph.add("Gemm", pooled, *head, output=output.name, transB=1)
    else:
        logits = graph.add("Gemm", pooled, *head, transB=1)
        graph.add("Add", logits, _ngram_scores(graph, model.ngrams, "input_ids", mask), output=output.name)
    graph.save(signature, path, opset=opset)


def _compared(graph: Graph, pooled: str, width: int) -> str:
    """[2B, H] → [B, 4H], as `PairModel.pool`."""
    both = graph.add("Reshape", pooled, graph.ints(-1, 2, width))
    first, second = (
        graph.add("Squeeze", graph.add("Gather", both, graph.ints(i), axis=1), graph.ints(1)) for i in (0, 1)
    )
    distance = graph.add("Abs", graph.add("Sub", first, second))
    return graph.add("Concat", first, second, distance, graph.add("Mul", first, second), axis=1)


def _ngram_scores(graph: Graph, ngrams: NgramScores, ids: str, mask: str) -> str:
    """[B, C], as `NgramScores.forward`; the mask is float."""
    mask = graph.add("Cast", mask, to=TensorProto.INT32)
    if ngrams.old_ids is not None:
        ids = graph.add("Gather", graph.tensor(ngrams.old_ids), ids)
    start, end, one, axis = (graph.ints(i) for i in (0, 2**31, 1, 1))
    factor, prime = graph.ints(FACTOR), graph.ints(PRIME)
    slots, learned = graph.tensor(ngrams.slots), graph.tensor(ngrams.hashes)

    def first(name: str) -> str:
        return graph.add("Slice", name, start, one, axis)

    def but_last(name: str) -> str:
        return graph.add("Slice", name, start, graph.ints(-1), axis)

    def but_first(name: str) -> str:
        return graph.add("Slice", name, one, end, axis)

    def whole(condition: str) -> str:
        return graph.add("Cast", condition, to=TensorProto.INT32)

    single = graph.add("Mod", graph.add("Add", graph.add("Mul", ids, factor), one), prime)
    second = graph.add("Add", but_first(ids), graph.ints(2))
    pair = graph.add("Mod", graph.add("Add", graph.add("Mul", but_last(single), factor), second), prime)
    found = []
    for hashes, real in ((single, mask), (pair, but_first(mask))):
        features = graph.add("Gather", slots, graph.add("Mod", hashes, graph.ints(len(ngrams.slots))))
        is_it = graph.add("Equal", graph.add("Gather", learned, features), hashes)
        features = graph.add("Mul", graph.add("Mul", features, whole(is_it)), real)
        new = graph.add("Not", graph.add("Equal", but_first(hashes), but_last(hashes)))
        found += [first(features), graph.add("Mul", but_first(features), whole(new))]
    rows = graph.add("Gather", graph.tensor(ngrams.table), graph.add("Concat", *found, axis=1))
    total = graph.add("ReduceSum", graph.add("Cast", rows, to=TensorProto.FLOAT), axis, keepdims=0)
    square = graph.add("Slice", total, graph.ints(-1), end, axis)
    length = graph.add("Sqrt", graph.add("Max", square, graph.scalar(LEAST_SQUARE)))
    return graph.add("Add", graph.add("Div", but_last(total), length), graph.tensor(ngrams.bias))


def _embeddings(graph: Graph, encoder: Encoder, ids: str, rows: str) -> str:
    """[B, L, H], as `Encoder.embed`; `rows` names the first dimension."""
    words = graph.add("Gather", graph.tensor(encoder.table.weight), ids)
    if encoder.table.weight.dtype != torch.float32:
        words = graph.add("Cast", words, to=TensorProto.FLOAT)
    if isinstance(encoder.words, FactoredWords):
        words = graph.product(words, encoder.words.widen.weight)
    shape = graph.add("Shape", ids, start=1, end=2)
    places = graph.tensor(encoder.positions.weight + encoder.types.weight[0])
    total = graph.add("Add", words, graph.add("Slice", places, graph.ints(0), shape, graph.ints(0)))
    # Said, because it does not follow from a slice, and residuals are fused only where both sides are known alike.
    graph.known_shapes.append(
        helper.make_tensor_value_info(total, TensorProto.FLOAT, (rows, "length", encoder.hidden_size))
    )
    return graph.norm(total, encoder.embedding_norm)


def _layer(graph: Graph, layer: Layer, hidden: str, bias: str) -> str:
    """[B, L, H] → [B, L, H], as `Layer.forward`; the scale of the scores is folded into the query's weights."""
    width = layer.attention_out.in_features
    size = width // layer.num_heads
    heads, flat = graph.ints(0, 0, layer.num_heads, size), graph.ints(0, 0, width)
    orders = {"query": (0, 2, 1, 3), "key": (0, 2, 3, 1), "value": (0, 2, 1, 3)}
    parts = {}
    entering, qkv = graph.last(hidden, layer.qkv)  # of two factors the first is computed once for all three
    for name, weight, offset in zip(orders, qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True):
        scale = size**-0.5 if name == "query" else 1.0
        split = graph.add("Reshape", graph.affine(entering, weight * scale, offset * scale), heads)
        parts[name] = graph.add("Transpose", split, perm=orders[name])
    scores = graph.add("Add", graph.add("MatMul", parts["query"], parts["key"]), bias)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), parts["value"])
    joined = graph.add("Reshape", graph.add("Transpose", mixed, perm=(0, 2, 1, 3)), flat)
    attended = graph.linear(joined, layer.attention_out)
    hidden = graph.norm(graph.add("Add", attended, hidden), layer.attention_norm)
    lifted = _gelu(graph, graph.linear(hidden, layer.up))
    transformed = graph.linear(lifted, layer.down)
    return graph.norm(graph.add("Add", transformed, hidden), layer.output_norm)


def _gelu(graph: Graph, hidden: str) -> str:
    """Half of x · (1 + erf(x / √2)), in the form the optimizer knows (Hendrycks & Gimpel 2016)."""
    curve = graph.add("Erf", graph.add("Div", hidden, graph.scalar(2**0.5)))
    risen = graph.add("Mul", hidden, graph.add("Add", curve, graph.scalar(1.0)))
    return graph.add("Mul", risen, graph.scalar(0.5))
