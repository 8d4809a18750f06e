"""An ONNX file that is being rewritten: what its names stand for, and which of its products have weights.

The quantizers that come with onnxruntime write files beside the input, print to standard output, install a handler on
the root logger when imported, and keep every activation of a calibration in memory. What they do to a graph is a few
nodes a product, so it is done here; the tests hold it against theirs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from penjing.core.errors import ArtifactError, CapabilityError

_SAME_VALUES = {"Cast", "Identity", "Transpose"}
QUANTIZED = {"DequantizeLinear", "MatMulInteger", "MatMulNBits"}
LAST_SHARE = 0.05
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16}


@dataclass(frozen=True)
class Product:
    """A product of activations with weights.

    Args:
        name: of its node, unique in the graph.
        activations: tensor it takes.
        weight: tensor of the weights, [K, N] unless transposed.
        transposed: whether it is [N, K], as Gemms may have it.
    """

    name: str
    activations: str
    weight: str
    transposed: bool


class Graph:
    """A model in memory, every node named, every constant an initializer.

    Args:
        model: changed in place.
    """

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.body = model.graph
        self.index_constants()
        self.rewrite(self._lifted)
        self._name_nodes()

    @classmethod
    def read(cls, path: Path) -> Graph:
        """Load a file.

        Raises:
            ArtifactError: not an ONNX file.
            CapabilityError: its weights are in other files.
        """
        try:
            model = onnx.load(path, load_external_data=False)
        except DecodeError as error:
            raise ArtifactError("is not an ONNX file", where=str(path)) from error
        if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
            raise CapabilityError(
                "the model's weights are in other files",
                where=str(path),
                expected="one ONNX file with its weights inside",
                next_step="save it with onnx.save(model, path), which puts them inside",
            )
        return cls(model)

    def write(self, path: Path) -> None:
        """Save, without what nothing uses, and without the exporter's notes on its own work (paths, stack traces)."""
        self._drop_unused()
        for node in self.body.node:
            del node.metadata_props[:]
            node.doc_string = ""
        onnx.save(self.model, path)

    def rewrite(self, change: Callable[[NodeProto], Iterable[NodeProto]]) -> None:
        """Put in each node's place the nodes that `change` makes of it."""
        nodes = [made for node in self.body.node for made in change(node)]
        del self.body.node[:]
        self.body.node.extend(nodes)

    def add_constant(self, name: str, values: np.ndarray) -> str:
        """Add an initializer, where there is none of the name yet, and return its name."""
        if name not in self.constants:
            self.add_tensor(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def index_constants(self) -> None:
        """Know the initializers by their names."""
        self.constants = {tensor.name: tensor for tensor in self.body.initializer}

    def add_tensor(self, tensor: TensorProto) -> None:
        """Add an initializer."""
        self.body.initializer.append(tensor)
        self.constants[tensor.name] = self.body.initializer[-1]

    def remove_constant(self, name: str) -> None:
        """Take an initializer out."""
        self.body.initializer.remove(self.constants.pop(name))

    def value(self, name: str) -> np.ndarray | None:
        """What a tensor always is, in 32 bits where it is a number; None: it depends on the inputs."""
        if name in self.constants:
            tensor = self.constants[name]
            found = numpy_helper.to_array(tensor)
            return found.astype(np.float32) if tensor.data_type in FLOATS else found
        node = self.made_by().get(name)
        if node is None or node.op_type not in _SAME_VALUES:
            return None
        found = self.value(node.input[0])
        if found is None or node.op_type != "Transpose":
            return found
        return found.transpose(attributes(node).get("perm"))

    def weight(self, product: Product) -> np.ndarray:
        """[K, N] float32."""
        found = self.value(product.weight)
        assert found is not None, "a product has weights"
        return found.T if product.transposed else found

    def made_by(self) -> dict[str, NodeProto]:
        """Which node makes a tensor."""
        return {name: node for node in self.body.node for name in node.output}

    def varying(self) -> set[str]:
        """Tensors that depend on the inputs; backends work the others out when they load the model."""
        found = {entry.name for entry in self.body.input} - self.constants.keys()
        for node in self.body.node:
            if reads(node) & found:
                found.update(node.output)
        return found

    def products(self) -> list[Product]:
        """Every MatMul, and every plain Gemm, of activations with a matrix of weights; no scores of attention."""
        made, varying = self.made_by(), self.varying()
        found = []
        for node in self.body.node:
            given = attributes(node)
            plain = node.op_type == "MatMul" or (node.op_type == "Gemm" and self._is_plain(node, given))
            is_product = plain and node.domain == "" and node.input[0] in varying
            if is_product and self._is_matrix(node.input[1], made):
                found.append(Product(node.name, node.input[0], node.input[1], bool(given.get("transB", 0))))
        return found

    def inner_products(self) -> list[Product]:
        """The products without the last ones before the outputs, where those are small.

        Their error would reach the outputs undamped, and they are few of the bytes and less of the time. Of a Banking77
        model (384 x 77 in the last) 8 bits in the last product alone changed 181 of 600 answers, in all others 1.
        None where weights are quantized already.
        """
        if any(node.op_type in QUANTIZED for node in self.body.node):
            return []
        products = self.products()
        made = self.made_by()
        names = {product.name for product in products}
        last: set[str] = set()
        waiting = [output.name for output in self.body.output]
        seen: set[str] = set()
        while waiting:
            node = made.get(waiting.pop())
            if node is not None and node.name not in seen:
                seen.add(node.name)
                if node.name in names:
                    last.add(node.name)
                else:
                    waiting.extend(node.input)
        size = {product.name: math.prod(self._behind(product.weight, made).dims) for product in products}
        small = sum(size[name] for name in last) <= LAST_SHARE * sum(size.values())
        return [product for product in products if not (small and product.name in last)]

    def split_gemms(self) -> None:
        """Every plain Gemm with weights becomes a MatMul of the same name and an Add."""
        wanted = {product.name: product for product in self.products()}

        def split(node: NodeProto) -> Iterator[NodeProto]:
            if node.op_type != "Gemm" or node.name not in wanted:
                yield node
                return
            weight = node.input[1]
            if wanted[node.name].transposed:
                weight = self.add_constant(f"{weight}_transposed", self.weight(wanted[node.name]))
            bias = list(node.input[2:3])
            product = f"{node.output[0]}_product" if bias else node.output[0]
            yield helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name)
            if product != node.output[0]:
                yield helper.make_node("Add", [product, *bias], list(node.output), name=f"{node.name}_bias")

        self.rewrite(split)

    def _name_nodes(self) -> None:
        """Steps tell nodes by their names, which need not be there, nor differ."""
        times = Counter(node.name for node in self.body.node)
        for node in self.body.node:
            if not node.name or times[node.name] > 1:
                node.name = f"to_{node.output[0]}"

    def _is_plain(self, node: NodeProto, given: dict[str, Any]) -> bool:
        """Whether a Gemm is a product and a constant bias, and nothing else."""
        factors = {given.get(name, 1.0) for name in ("alpha", "beta")}
        bias = list(node.input[2:3])
        return factors == {1.0} and not given.get("transA", 0) and all(name in self.constants for name in bias)

    def _is_matrix(self, name: str, made: dict[str, NodeProto]) -> bool:
        tensor = self._behind(name, made)
        return tensor is not None and len(tensor.dims) == 2 and tensor.data_type in FLOATS

    def _behind(self, name: str, made: dict[str, NodeProto]) -> TensorProto | None:
        """The constant that a tensor is, but for precision and order."""
        while name not in self.constants:
            node = made.get(name)
            if node is None or node.op_type not in _SAME_VALUES:
                return None
            name = node.input[0]
        return self.constants[name]

    def _lifted(self, node: NodeProto) -> list[NodeProto]:
        """Nothing, where the node is a constant: it becomes an initializer."""
        given = attributes(node)
        if node.op_type != "Constant" or "value" not in given:
            return [node]
        given["value"].name = node.output[0]
        self.add_tensor(given["value"])
        return []

    def _drop_unused(self) -> None:
        used = {output.name for output in self.body.output}
        nodes = []
        for node in reversed(self.body.node):
            if used & set(node.output):
                nodes.append(node)
                used |= reads(node)
        unused = [tensor for tensor in self.body.initializer if tensor.name not in used]
        for tensor in unused:
            self.remove_constant(tensor.name)
        del self.body.node[:]
        self.body.node.extend(reversed(nodes))
        known = [info for info in self.body.value_info if info.name in used]
        del self.body.value_info[:]
        self.body.value_info.extend(known)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Name → value."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def reads(node: NodeProto) -> set[str]:
    """What a node takes, and what the graphs inside it take from around them."""
    graphs: list[GraphProto] = []
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            graphs.append(attribute.g)
        elif attribute.type == AttributeProto.GRAPHS:
            graphs.extend(attribute.graphs)
    inner = {name for graph in graphs for part in graph.node for name in reads(part)}
    return set(node.input) | inner | {output.name for graph in graphs for output in graph.output}
