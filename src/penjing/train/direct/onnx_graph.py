"""Write a tabular model as an ONNX graph by hand: tree ensemble, linear part, weighted sum.

The trees become one `TreeEnsembleRegressor` (ai.onnx.ml). Two things make it agree with LightGBM on every input: a
double threshold is rounded *down* to float32, which leaves `x <= threshold` unchanged for every float32 x; and where
LightGBM saw no gap in training it reads NaN as 0, so the branch that 0 takes is written as the branch of NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from penjing.core.errors import CapabilityError

if TYPE_CHECKING:
    from penjing.train.direct.linear import LinearModel
    from penjing.train.direct.model import TabularModel

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8


@dataclass
class Ensemble:
    """Attributes of a `TreeEnsembleRegressor`, filled tree by tree."""

    tree: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    mode: list[str] = field(default_factory=list)
    on_true: list[int] = field(default_factory=list)
    on_false: list[int] = field(default_factory=list)
    nan_is_true: list[int] = field(default_factory=list)
    leaf_tree: list[int] = field(default_factory=list)
    leaf_node: list[int] = field(default_factory=list)
    leaf_output: list[int] = field(default_factory=list)
    leaf_value: list[float] = field(default_factory=list)

    def add(self, root: dict[str, Any], tree: int, output: int, weight: float) -> None:
        """Append one tree of LightGBM's JSON dump; nodes are numbered in depth-first order."""
        pending: list[tuple[dict[str, Any], int, bool]] = [(root, -1, False)]
        first = len(self.node)
        while pending:
            source, parent, is_true = pending.pop()
            index = len(self.node) - first
            if parent >= 0:
                (self.on_true if is_true else self.on_false)[first + parent] = index
            self.tree.append(tree)
            self.node.append(index)
            self.on_true.append(0)
            self.on_false.append(0)
            if "split_feature" not in source:
                self._leaf(tree, index, output, weight * source["leaf_value"])
                continue
            self._branch(source)
            pending.append((source["right_child"], index, False))
            pending.append((source["left_child"], index, True))

    def _leaf(self, tree: int, index: int, output: int, value: float) -> None:
        self.feature.append(0)
        self.threshold.append(0.0)
        self.mode.append("LEAF")
        self.nan_is_true.append(0)
        self.leaf_tree.append(tree)
        self.leaf_node.append(index)
        self.leaf_output.append(output)
        self.leaf_value.append(value)

    def _branch(self, source: dict[str, Any]) -> None:
        if source["decision_type"] != "<=" or source["missing_type"] not in {"None", "NaN"}:
            raise CapabilityError(
                f"a split of type {source['decision_type']!r} with missing {source['missing_type']!r}",
                expected="numeric splits, as the trainer makes them",
            )
        threshold = float(source["threshold"])
        nan_left = source["default_left"] if source["missing_type"] == "NaN" else threshold >= 0.0
        self.feature.append(int(source["split_feature"]))
        self.threshold.append(round_down(threshold))
        self.mode.append("BRANCH_LEQ")
        self.nan_is_true.append(int(nan_left))

    def node_proto(self, num_outputs: int) -> NodeProto:
        """The operator."""
        return helper.make_node(
            "TreeEnsembleRegressor",
            ["features"],
            ["trees"],
            domain="ai.onnx.ml",
            n_targets=num_outputs,
            aggregate_function="SUM",
            post_transform="NONE",
            nodes_treeids=self.tree,
            nodes_nodeids=self.node,
            nodes_featureids=self.feature,
            nodes_values=self.threshold,
            nodes_modes=self.mode,
            nodes_truenodeids=self.on_true,
            nodes_falsenodeids=self.on_false,
            nodes_missing_value_tracks_true=self.nan_is_true,
            target_treeids=self.leaf_tree,
            target_nodeids=self.leaf_node,
            target_ids=self.leaf_output,
            target_weights=self.leaf_value,
        )


def round_down(threshold: float) -> float:
    """The greatest float32 not above a double, minus infinity where there is none."""
    limit = float(np.finfo(np.float32).max)
    if abs(threshold) > limit:
        return limit if threshold > 0 else -np.inf
    rounded = np.float32(threshold)
    return float(np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded)


def build_graph(model: TabularModel) -> ModelProto:
    """`features` [batch, F] float32 → `logits` [batch, C] float32."""
    num_outputs = model.num_classes if model.num_classes > 2 else 1
    nodes: list[NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    parts = []
    if model.boosters:
        nodes.append(_ensemble(model, num_outputs).node_proto(num_outputs))
        parts.append("trees")
    if model.linear is not None:
        nodes += _linear_nodes(model.linear, model.linear_weight, constants)
        parts.append("linear")
    nodes.append(helper.make_node("Sum", parts, ["scores"]))
    # Two classes: the log-odds z become the logits [0, z].
    spread = np.array([[0.0, 1.0]]) if model.num_classes == 2 else np.eye(num_outputs)
    constants["spread"] = spread.astype(np.float32)
    nodes.append(helper.make_node("MatMul", ["scores", "spread"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "tabular",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", model.num_features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", spread.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="penjing")
    checker.check_model(proto)
    return proto


def _ensemble(model: TabularModel, num_outputs: int) -> Ensemble:
    ensemble = Ensemble()
    weight = model.trees_weight / len(model.boosters)
    tree = 0
    for booster in model.boosters:
        for position, info in enumerate(booster.dump_model(num_iteration=-1)["tree_info"]):
            ensemble.add(info["tree_structure"], tree, position % num_outputs, weight)
            tree += 1
    return ensemble


def _linear_nodes(linear: LinearModel, weight: float, constants: dict[str, np.ndarray]) -> list[NodeProto]:
    """The expansion and the product of `LinearModel.predict`, times the mix's weight."""
    expansion = linear.expansion
    num_features = len(expansion.mean)
    scaled = (linear.weights.astype(np.float64) * weight).astype(np.float32)
    constants |= {
        "mean": expansion.mean,
        "scale": expansion.scale,
        "number_weights": scaled[:num_features],
        "missing_weights": scaled[num_features : 2 * num_features],
        "bias": (linear.bias.astype(np.float64) * weight).astype(np.float32),
    }
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "mean", "features"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["standardised"]),
        helper.make_node("MatMul", ["standardised", "number_weights"], ["number_scores"]),
        helper.make_node("Cast", ["missing"], ["missing_flags"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["missing_flags", "missing_weights"], ["missing_scores"]),
    ]
    parts = ["number_scores", "missing_scores", "bias"]
    if len(expansion.step_at):
        constants |= {
            "step_feature": expansion.step_feature,
            "step_at": expansion.step_at,
            "step_weights": scaled[2 * num_features :],
        }
        nodes += [
            helper.make_node("Gather", ["filled", "step_feature"], ["step_inputs"], axis=1),
            helper.make_node("Greater", ["step_inputs", "step_at"], ["passed"]),
            helper.make_node("Cast", ["passed"], ["steps"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["steps", "step_weights"], ["step_scores"]),
        ]
        parts.append("step_scores")
    return [*nodes, helper.make_node("Sum", parts, ["linear"])]
