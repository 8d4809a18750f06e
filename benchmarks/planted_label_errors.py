"""What `penjing check` finds of labels made wrong on purpose, in tables; and what a model of pairs would find.

    python benchmarks/planted_label_errors.py              # about a minute on one core
    python benchmarks/planted_label_errors.py --seeds 0

5% of the labels are swapped for another one. Printed are means over the seeds, per data set: how many swapped rows are
among the tenth of the rows whose label is believed least, and how many rows the check suspects, with the swapped ones
among them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import datasets
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from evaluation_data import afqmc
from penjing.data.catalog import demo_rows
from penjing.data.check.label_errors import rank_label_issues, suspected_rows
from penjing.data.check.out_of_fold import FOLDS, encode, table_probs
from penjing.data.config import LimitsConfig
from tfidf import pair_features

SHARE, PAIRS = 0.05, 6_000
Table = tuple[str, list[dict[str, Any]], list[str], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    print("rows, swapped | in the first tenth | suspected, swapped ones among them | suspected where none is swapped")
    for name, rows, features, truth in tables():
        show(name, [in_table(rows, features, truth, seed) for seed in arguments.seeds])
    if (arguments.data / "afqmc").is_dir():
        show("afqmc", [in_pairs(afqmc(arguments.data)["train"], seed) for seed in arguments.seeds])


def tables() -> Iterator[Table]:
    """A noisy table, and clean ones."""
    credit = [row for _, row in demo_rows("german-credit", LimitsConfig())]
    label = "creditability"
    yield "german-credit", credit, [name for name in credit[0] if name != label], numbered([r[label] for r in credit])
    for load in (datasets.load_breast_cancer, datasets.load_wine, datasets.load_digits):
        found = load()
        names = list(map(str, found.feature_names))
        yield load.__name__[5:], [dict(zip(names, map(float, x), strict=True)) for x in found.data], names, found.target


def in_table(rows: list[dict[str, Any]], features: list[str], truth: np.ndarray, seed: int) -> list[float]:
    given, swapped = swap(truth, seed)
    probs = table_probs(*encode(rows, features), given, len(set(truth)), seed)
    suspected = [i for i, _ in suspected_rows(rows, features, given.tolist(), seed)]
    unswapped = suspected_rows(rows, features, truth.tolist(), seed)
    return [*counted(given, swapped, probs, suspected), len(unswapped)]


def in_pairs(rows: list[dict[str, Any]], seed: int) -> list[float]:
    """The linear model sees where the two texts' weights agree and differ, and measures of their overlap."""
    rows = [rows[i] for i in np.random.default_rng(seed).choice(len(rows), PAIRS, replace=False)]
    given, swapped = swap(numbered([row["label"] for row in rows]), seed)
    pairs = [(row["text"], row["text_pair"]) for row in rows]
    inputs = sparse.csr_matrix(pair_features((1, 1), pairs, pairs)[0]["both"])
    model = SGDClassifier(loss="log_loss", alpha=3e-4, max_iter=6, tol=None, average=True, random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    probs = cross_val_predict(model, inputs, given, cv=folds, method="predict_proba")
    rare = given == np.bincount(given).argmin()
    print(f"  afqmc: a tenth drawn from the rarer class alone has {swapped[rare].mean() * PAIRS / 10:.0f} swapped ones")
    return [*counted(given, swapped, probs, rank_label_issues(given, probs).tolist()), float("nan")]


def numbered(labels: list[Any]) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]


def swap(truth: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The labels with some made wrong, and which."""
    rng = np.random.default_rng(seed)
    swapped = np.zeros(len(truth), bool)
    swapped[rng.choice(len(truth), round(SHARE * len(truth)), replace=False)] = True
    classes = int(truth.max()) + 1
    given = np.where(swapped, (truth + rng.integers(1, classes, len(truth))) % classes, truth)
    return given, swapped


def counted(given: np.ndarray, swapped: np.ndarray, probs: np.ndarray, suspected: list[int]) -> list[float]:
    first = np.argsort(probs[np.arange(len(given)), given], kind="stable")[: len(given) // 10]
    return [len(given), swapped.sum(), swapped[first].sum(), len(suspected), swapped[suspected].sum()]


def show(name: str, found: list[list[float]]) -> None:
    rows, swapped, first, suspected, right, unswapped = np.mean(found, axis=0)
    print(
        f"{name}: {rows:.0f}, {swapped:.0f} | {first:.1f} ({first / swapped:.0%}) | {suspected:.1f}, {right:.1f} "
        f"({right / suspected:.0%}) | {unswapped:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
