"""The ONNX graph of our own encoder with mean pooling and a linear head, for texts or pairs, written node by node.

Tracing the same model takes the exporter of torch seconds, most of a short run; writing it down takes milliseconds. The
operators are standard ones, in the shapes that onnxruntime's optimizer fuses at load (LayerNormalization with its
residual, Gelu with its bias, transposed products). The parity check compares it with torch's outputs like any export.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from penjing.core.task import Signature
from penjing.models.dropout import PooledDropout
from penjing.models.encoder import Encoder, Layer, WordEmbedding
from penjing.models.factored import Factored, FactoredWords
from penjing.models.ngrams import FACTOR, LEAST_SQUARE, PRIME, NgramScores
from penjing.train.gradient.sequence import PairModel, SequenceModel

_MASKED = -30000.0  # as `penjing.models.encoder.attention_bias`
_IR_VERSION = {23: 11}  # what an operator set needs at least; 10 otherwise
_KNOWN = {
    SequenceModel,
    PairModel,
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
}
_TYPES = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}


def can_write(model: nn.Module) -> bool:
    """Whether a model is what this module writes: our encoder, without adapters, under a linear head."""
    return (
        isinstance(model, SequenceModel)
        and isinstance(model.encoder, Encoder)
        and all(type(module) in _KNOWN for module in model.modules())
    )


def write_bert(model: SequenceModel, signature: Signature, path: Path, *, opset: int) -> None:
    """Write the model as one ONNX file.

    Args:
        model: one that `can_write`, on the CPU and in 32 bits; its vocabulary may have 16.
        signature: names and shapes of inputs and outputs.
        path: where to write; weights are inside the one file.
        opset: ONNX operator set, 18 or later.
    """
    graph = _Graph()
    ids, mask = "input_ids", "attention_mask"
    pairs = isinstance(model, PairModel)
    if pairs:  # [B, 2, L] → [2B, L]
        length = graph.add("Shape", ids, start=2, end=3)
        texts = graph.add("Concat", graph.ints(-1), length, axis=0)
        ids, mask = (graph.add("Reshape", name, texts) for name in (ids, mask))
    hidden = _embeddings(graph, model.encoder, ids, "texts" if pairs else "batch")
    mask = graph.add("Cast", mask, to=TensorProto.FLOAT)
    hidden_mask = graph.add("Unsqueeze", mask, graph.ints(1))  # [B, 1, L]
    missing = graph.add("Sub", graph.scalar(1.0), graph.add("Unsqueeze", hidden_mask, graph.ints(1)))
    bias = graph.add("Mul", missing, graph.scalar(_MASKED))  # [B, 1, 1, L]
    for layer in model.encoder.layers:
        hidden = _layer(graph, layer, hidden, bias)
    # A product with the mask sums the vectors of real tokens without a masked copy of all.
    total = graph.add("Squeeze", graph.add("MatMul", hidden_mask, hidden), graph.ints(1))
    count = graph.add("ReduceSum", mask, graph.ints(1), keepdims=1)
    pooled = graph.add("Div", total, count)
    if pairs:
        pooled = _compared(graph, pooled, model.encoder.hidden_size)
    output = signature.outputs[0]
    head = (graph.tensor(model.head.weight), graph.tensor(model.head.bias))
    if model.ngrams is None:
        graph.add("Gemm", pooled, *head, output=output.name, transB=1)
    else:
        logits = graph.add("Gemm", pooled, *head, transB=1)
        graph.add("Add", logits, _ngram_scores(graph, model.ngrams, "input_ids", mask), output=output.name)
    built = helper.make_graph(
        graph.nodes,
        "penjing",
        [helper.make_tensor_value_info(s.name, _TYPES[s.dtype], s.shape) for s in signature.inputs],
        [helper.make_tensor_value_info(output.name, _TYPES[output.dtype], output.shape)],
        graph.initializers,
        value_info=graph.known_shapes,
    )
    made = helper.make_model(
        built,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=_IR_VERSION.get(opset, 10),
        producer_name="penjing",
    )
    with path.open("wb") as handle:
        handle.write(made.SerializeToString())
        for name, values in graph.weights.items():
            for piece in _fragment(name, values):
                handle.write(piece)


def _fragment(name: str, values: np.ndarray) -> Iterator[bytes | memoryview]:
    """A weight as a model of its own, which protobuf merges with what stands before it in the file.

    ("If the same field occurs more than once, embedded messages are merged", says the encoding.) Building the message
    in memory would hold every weight five times, and a vocabulary of 250,000 has 384 MB.
    """
    head = onnx.TensorProto(
        dims=values.shape, data_type=helper.np_dtype_to_tensor_dtype(values.dtype), name=name
    ).SerializeToString() + _key("TensorProto", "raw_data", values.nbytes)
    initializer = _key("GraphProto", "initializer", len(head) + values.nbytes)
    yield _key("ModelProto", "graph", len(initializer) + len(head) + values.nbytes) + initializer + head
    yield np.ascontiguousarray(values).reshape(-1).data


def _key(message: str, field: str, length: int) -> bytes:
    """The key of a field that is stored with its length, and the length, both as varints."""
    number = getattr(onnx, message).DESCRIPTOR.fields_by_name[field].number
    found = bytearray([number << 3 | 2])
    while length >= 0x80:
        found.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*found, length])


class _Graph:
    """Nodes, constants and weights, each named once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.known_shapes: list[onnx.ValueInfoProto] = []
        self._known: dict[tuple[int, ...] | float, str] = {}

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        """Append a node with one output and return the output's name."""
        name = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"node_{len(self.nodes)}", **attributes)
        )
        return name

    def array(self, values: np.ndarray) -> str:
        """A constant."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def tensor(self, values: Tensor) -> str:
        """Weights, in the precision they have; they are only looked at when they are written."""
        name = f"weight_{len(self.weights)}"
        self.weights[name] = values.detach().numpy()
        return name

    def ints(self, *values: int) -> str:
        """[n] int64, shared by all who ask for the same."""
        if values not in self._known:
            self._known[values] = self.array(np.array(values, np.int64))
        return self._known[values]

    def scalar(self, value: float) -> str:
        """A float32 number, shared likewise."""
        if value not in self._known:
            self._known[value] = self.array(np.array(value, np.float32))
        return self._known[value]

    def product(self, hidden: str, weight: Tensor) -> str:
        """A product with the transposed weight."""
        return self.add("MatMul", hidden, self.tensor(weight.T))

    def affine(self, hidden: str, weight: Tensor, bias: Tensor) -> str:
        """A product with the transposed weight, and the bias."""
        return self.add("Add", self.product(hidden, weight), self.tensor(bias))

    def linear(self, hidden: str, module: nn.Linear | Factored) -> str:
        """What the module computes."""
        hidden, last = self.last(hidden, module)
        return self.affine(hidden, last.weight, last.bias)

    def last(self, hidden: str, module: nn.Linear | Factored) -> tuple[str, nn.Linear]:
        """What goes into the last product of a module, and that product."""
        if isinstance(module, Factored):
            return self.product(hidden, module.first.weight), module.second
        return hidden, module

    def norm(self, hidden: str, norm: nn.LayerNorm) -> str:
        """Layer normalisation over the last axis."""
        weights = (self.tensor(norm.weight), self.tensor(norm.bias))
        return self.add("LayerNormalization", hidden, *weights, axis=-1, epsilon=norm.eps)


def _compared(graph: _Graph, pooled: str, width: int) -> str:
    """[2B, H] → [B, 4H], as `PairModel.pool`."""
    both = graph.add("Reshape", pooled, graph.ints(-1, 2, width))
    first, second = (
        graph.add("Squeeze", graph.add("Gather", both, graph.ints(i), axis=1), graph.ints(1)) for i in (0, 1)
    )
    distance = graph.add("Abs", graph.add("Sub", first, second))
    return graph.add("Concat", first, second, distance, graph.add("Mul", first, second), axis=1)


def _ngram_scores(graph: _Graph, ngrams: NgramScores, ids: str, mask: str) -> str:
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


def _embeddings(graph: _Graph, encoder: Encoder, ids: str, rows: str) -> str:
    """[B, L, H], as `Encoder.embed`; `rows` names the first dimension."""
    factored = isinstance(encoder.words, FactoredWords)
    table = encoder.words.table.weight if factored else encoder.words.weight
    words = graph.add("Gather", graph.tensor(table), ids)
    if table.dtype != torch.float32:
        words = graph.add("Cast", words, to=TensorProto.FLOAT)
    if factored:
        words = graph.product(words, encoder.words.widen.weight)
    shape = graph.add("Shape", ids, start=1, end=2)
    places = graph.tensor(encoder.positions.weight + encoder.types.weight[0])
    total = graph.add("Add", words, graph.add("Slice", places, graph.ints(0), shape, graph.ints(0)))
    # Said, because it does not follow from a slice, and residuals are fused only where both sides are known alike.
    graph.known_shapes.append(
        helper.make_tensor_value_info(total, TensorProto.FLOAT, (rows, "length", encoder.hidden_size))
    )
    return graph.norm(total, encoder.embedding_norm)


def _layer(graph: _Graph, layer: Layer, hidden: str, bias: str) -> str:
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


def _gelu(graph: _Graph, hidden: str) -> str:
    """Half of x · (1 + erf(x / √2)), in the form the optimizer knows (Hendrycks & Gimpel 2016)."""
    curve = graph.add("Erf", graph.add("Div", hidden, graph.scalar(2**0.5)))
    risen = graph.add("Mul", hidden, graph.add("Add", curve, graph.scalar(1.0)))
    return graph.add("Mul", risen, graph.scalar(0.5))
