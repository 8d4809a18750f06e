"""A fitted tabular model: the mean of boosted trees, a linear model, and their mix."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.core.errors import MissingExtraError
from penjing.core.task import Batch, Outputs
from penjing.train.direct.linear import LinearModel
from penjing.train.direct.trees import import_lightgbm, raw_scores

if TYPE_CHECKING:
    import lightgbm

BLEND_FILE = "blend.json"
OPSET = 17


@dataclass(frozen=True)
class TabularModel:
    """`features` [N, F] → `logits` [N, C] (two classes: [0, z]; regression: [N, 1]).

    Args:
        boosters: LightGBM models that are averaged; may be empty.
        linear: the linear model, or None.
        trees_weight: weight of the trees' mean score.
        linear_weight: weight of the linear score.
        num_classes: 0 for regression.
        num_features: F.
    """

    boosters: list[lightgbm.Booster]
    linear: LinearModel | None
    trees_weight: float
    linear_weight: float
    num_classes: int
    num_features: int

    def run(self, batch: Batch) -> Outputs:
        """Arrays in, arrays out, as the task's signature says."""
        features = batch["features"]
        num_outputs = self.num_classes if self.num_classes > 2 else 1
        scores = np.zeros((len(features), num_outputs))
        for booster in self.boosters:
            scores += self.trees_weight / len(self.boosters) * raw_scores(booster, features)
        if self.linear is not None:
            scores += self.linear_weight * self.linear.predict(features)
        if self.num_classes == 2:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        return {"logits": scores.astype(np.float32)}

    def save(self, directory: Path) -> list[str]:
        """Write the boosters in LightGBM's text format and the rest as JSON."""
        names = []
        for i, booster in enumerate(self.boosters):
            names.append(f"trees_{i}.lgb")
            (directory / names[-1]).write_text(booster.model_to_string(num_iteration=-1), encoding="utf-8")
        state = {
            "num_boosters": len(self.boosters),
            "linear": self.linear.to_state() if self.linear is not None else None,
            "trees_weight": self.trees_weight,
            "linear_weight": self.linear_weight,
            "num_classes": self.num_classes,
            "num_features": self.num_features,
        }
        (directory / BLEND_FILE).write_text(json.dumps(state), encoding="utf-8")
        return [*names, BLEND_FILE]

    @classmethod
    def load(cls, directory: Path) -> TabularModel:
        """Inverse of `save`."""
        lgb = import_lightgbm()
        state: dict[str, Any] = json.loads((directory / BLEND_FILE).read_text(encoding="utf-8"))
        texts = [(directory / f"trees_{i}.lgb").read_text(encoding="utf-8") for i in range(state["num_boosters"])]
        return cls(
            [lgb.Booster(model_str=text) for text in texts],
            LinearModel.from_state(state["linear"]) if state["linear"] is not None else None,
            state["trees_weight"],
            state["linear_weight"],
            state["num_classes"],
            state["num_features"],
        )

    def export_onnx(self, path: Path) -> None:
        """Write the same function as ONNX.

        Raises:
            MissingExtraError: the onnx package is not installed.
        """
        try:
            import onnx
        except ImportError:
            raise MissingExtraError("onnx", "train") from None
        from penjing.train.direct.onnx_graph import build_graph

        onnx.save_model(build_graph(self), str(path))
