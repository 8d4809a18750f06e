"""An ONNX graph in the making: nodes, constants and weights, each named once, and the file they become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from penjing.core.task import Signature
from penjing.models.factored import Factored

_IR_VERSION = {23: 11}  # what an operator set needs at least; 10 otherwise
_TYPES = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}


class Graph:
    """Nodes, constants and weights, each named once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.known_shapes: list[onnx.ValueInfoProto] = []
        self._known: dict[tuple[object, ...] | float, str] = {}

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

    def whole(self, value: int) -> str:
        """An int64 number without a dimension, shared likewise."""
        key = ("whole", value)
        if key not in self._known:
            self._known[key] = self.array(np.array(value, np.int64))
        return self._known[key]

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

    def save(self, signature: Signature, path: Path, *, opset: int) -> None:
        """Write everything as one ONNX file.

        Args:
            signature: names and shapes of inputs and outputs.
            path: where to write; weights are inside the one file.
            opset: ONNX operator set.
        """
        built = helper.make_graph(
            self.nodes,
            "penjing",
            [helper.make_tensor_value_info(s.name, _TYPES[s.dtype], s.shape) for s in signature.inputs],
            [helper.make_tensor_value_info(s.name, _TYPES[s.dtype], s.shape) for s in signature.outputs],
            self.initializers,
            value_info=self.known_shapes,
        )
        made = helper.make_model(
            built,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=_IR_VERSION.get(opset, 10),
            producer_name="penjing",
        )
        with path.open("wb") as handle:
            handle.write(made.SerializeToString())
            for name, values in self.weights.items():
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
