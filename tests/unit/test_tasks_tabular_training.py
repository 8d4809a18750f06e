"""Boosted trees and linear models on real tables, and the same function as ONNX."""

import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from sklearn import datasets
from sklearn.metrics import log_loss

from penjing.core.errors import DataError
from penjing.core.events import Notice, Progress, ignore
from penjing.core.task import Roles, Table
from penjing.data.catalog import demo_rows
from penjing.data.config import LimitsConfig
from penjing.tasks.tabular import TabularClassification, TabularRegression
from penjing.train.direct import boosting
from penjing.train.direct.blend import fit_blend, row_losses, spread
from penjing.train.direct.boosting import BoostingTrainer
from penjing.train.direct.config import DirectConfig
from penjing.train.direct.folds import plan_folds, stratified_folds
from penjing.train.direct.linear import LinearModel, fit_linear
from penjing.train.direct.model import TabularModel
from penjing.train.direct.onnx_graph import round_down

QUICK = DirectConfig(trials=2, num_seeds=2, max_rounds=150, folds=3, threads=1)
EMPTY = Table([], [])


def _table(bunch, gaps=0.0, names=None):
    """A scikit-learn data set as rows of text, some cells emptied."""
    rng = np.random.default_rng(0)
    features = [str(name) for name in bunch.feature_names]
    rows = []
    for values, target in zip(bunch.data, bunch.target, strict=True):
        row = {name: "" if rng.random() < gaps else str(v) for name, v in zip(features, values, strict=True)}
        rows.append({**row, "y": names[target] if names else float(target)})
    order = rng.permutation(len(rows))
    table = Table(rows, [str(i) for i in range(len(rows))], "table.csv")
    cut = len(rows) * 3 // 4
    return table.take(order[:cut]), table.take(order[cut:]), Roles(label="y", features=tuple(features))


def _fit(kind, train, roles, valid=EMPTY, config=QUICK, listener=ignore):
    task = kind.from_rows(train.rows, roles, None)
    return task, BoostingTrainer().fit(task, train, valid, config, seed=3, listener=listener)


def _metrics(task, model, table):
    predictions = task.predict(model.run, task.encode(table.rows))
    return task.aggregate(task.score(table.rows, predictions))


@pytest.fixture(scope="module")
def cancer():
    train, test, roles = _table(datasets.load_breast_cancer(), gaps=0.1, names=["malignant", "benign"])
    return (*_fit(TabularClassification, train, roles), train, test)


@pytest.fixture(scope="module")
def wine():
    train, test, roles = _table(datasets.load_wine(), names=["a", "b", "c"])
    return (*_fit(TabularClassification, train, roles), train, test)


@pytest.fixture(scope="module")
def diabetes():
    train, test, roles = _table(datasets.load_diabetes(), gaps=0.05)
    return (*_fit(TabularRegression, train, roles), train, test)


def test_two_classes_with_gaps(cancer):
    task, model, _, test = cancer
    values = _metrics(task, model, test)
    assert values["auc"] > 0.97
    assert values["log_loss"] < 0.25
    assert model.run(task.encode(test.rows))["logits"][:, 0].tolist() == [0.0] * len(test)


def test_three_classes(wine):
    task, model, _, test = wine
    assert _metrics(task, model, test)["accuracy"] > 0.9


def test_numbers(diabetes):
    task, model, _, test = diabetes
    assert _metrics(task, model, test)["r2"] > 0.3


@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes"])
def test_onnx_and_saved_files_are_the_same_function(name, request, tmp_path):
    task, model, train, _ = request.getfixturevalue(name)
    rng = np.random.default_rng(1)
    real = task.encode(train.rows)["features"]
    # Cells shuffled within their columns keep every threshold's neighbourhood; 5% gaps, also where training had none.
    mixed = np.stack([rng.choice(column, 3000) for column in real.T], axis=1)
    low, high = np.nanmin(real, axis=0), np.nanmax(real, axis=0)
    wild = rng.uniform(low, high, size=(1000, real.shape[1])).astype(np.float32)
    features = np.concatenate([mixed, wild, np.zeros((1, real.shape[1]), np.float32)])
    features[rng.random(features.shape) < 0.05] = np.nan
    expected = model.run({"features": features})["logits"]

    model.export_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (found,) = session.run(["logits"], {"features": features})
    assert found.dtype == np.float32
    assert list(found.shape) == [len(features), task.signature.outputs[0].shape[1]]
    # float32 sums cancel: the error is relative to a row's largest logit.
    scale_N1 = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
    np.testing.assert_allclose(found / scale_N1, expected / scale_N1, rtol=0, atol=1e-5)

    assert all((tmp_path / file).is_file() for file in model.save(tmp_path))
    again = TabularModel.load(tmp_path).run({"features": features})["logits"]
    assert np.array_equal(again, expected)


def test_onnx_takes_the_same_branch_exactly_on_every_threshold(cancer, tmp_path):
    task, model, train, _ = cancer
    assert model.boosters
    only_trees = TabularModel(model.boosters[:1], None, 1.0, 0.0, model.num_classes, model.num_features)
    base = np.nan_to_num(task.encode(train.rows[:1])["features"])
    rows = []
    for tree in model.boosters[0].trees_to_dataframe().query("threshold.abs() < 1e30").itertuples():
        feature = int(tree.split_feature.removeprefix("Column_"))
        near = np.float32(tree.threshold)
        for value in (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))):
            row = base.copy()
            row[0, feature] = value
            rows.append(row)
    features = np.concatenate(rows)
    assert len(features) > 100
    only_trees.export_onnx(tmp_path / "m.onnx")
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "m.onnx")).run(None, {"features": features})
    expected = only_trees.run({"features": features})["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rounding_down_never_passes_the_threshold():
    for threshold in (0.1, -0.1, 1 / 3, 16777217.0, 1e-50, -1e-50, 1e300, -1e300, 0.5):
        rounded = round_down(threshold)
        assert np.float32(rounded) == rounded
        assert rounded <= threshold


def test_fitting_twice_gives_the_same_model(wine):
    task, model, train, test = wine
    again = BoostingTrainer().fit(task, train, EMPTY, QUICK, seed=3, listener=ignore)
    batch = task.encode(test.rows)
    assert np.array_equal(again.run(batch)["logits"], model.run(batch)["logits"])


def test_valid_rows_choose_settings_but_are_not_fitted_on():
    train, rest, roles = _table(datasets.load_breast_cancer(), names=["m", "b"])
    task = TabularClassification.from_rows(train.rows, roles, None)
    # Were these wrong labels fitted on, the rows' true order would come out reversed.
    swapped = Table([{**row, "y": "b" if row["y"] == "m" else "m"} for row in rest.rows], rest.row_ids)
    few = QUICK.model_copy(update={"small_rows": 0})
    told = []
    model = BoostingTrainer().fit(task, train, rest, few, seed=3, listener=told.append)
    assert _metrics(task, model, rest)["auc"] > 0.97
    assert any(isinstance(event, Progress) for event in told)
    assert any(isinstance(event, Notice) and f"on {len(rest)} judged rows" in event.text for event in told)
    misled = BoostingTrainer().fit(task, train, swapped, few, seed=3, listener=ignore)
    assert _metrics(task, misled, rest)["auc"] > 0.7


def test_a_small_table_with_a_class_of_one_row_and_too_few_rows():
    rows = [{"x": i, "y": "abc"[i % 2] if i < 11 else "c"} for i in range(12)]
    table = Table(rows, [str(i) for i in range(12)], "tiny.csv")
    task, model = _fit(TabularClassification, table, Roles(label="y", features=("x",)))
    assert model.run(task.encode(rows))["logits"].shape == (12, 3)
    with pytest.raises(DataError, match=r"tiny.csv: 5 training rows. Expected at least 10"):
        BoostingTrainer().fit(task, table.take(range(5)), EMPTY, QUICK, seed=1, listener=ignore)


def test_time_limit_stops_the_search_and_says_so(wine):
    task, _, train, _ = wine
    told = []
    hasty = QUICK.model_copy(update={"trials": 50, "seconds": 1e-9})
    BoostingTrainer().fit(task, train, EMPTY, hasty, seed=3, listener=told.append)
    stops = [event.text for event in told if isinstance(event, Notice) and "stopped after 1 of" in event.text]
    assert len(stops) == 2 and "settings" in stops[0] and "linear settings" in stops[1]


def test_folds_judge_each_row_once_and_keep_classes_even():
    target = np.repeat([0, 1, 2], [50, 7, 1])
    folds = stratified_folds(target, 3, 5, seed=0)
    judged = np.concatenate([fold.judge for fold in folds])
    assert sorted(judged.tolist()) == list(range(57))  # the lone row of class 2 is never judged
    for fold in folds:
        assert not set(fold.fit) & set(fold.judge)
        assert set(target[fold.fit]) == {0, 1, 2}
        assert 1 <= (target[fold.judge] == 1).sum() <= 2
    numbers = stratified_folds(np.arange(100.0), 0, 5, seed=0)
    assert [abs(float(fold.judge.mean()) - 49.5) < 5 for fold in numbers] == [True] * 5


def plan(rows, roles, *, num_train=None, num_classes=2, **settings):
    table = Table(rows, [str(i) for i in range(len(rows))])
    target = np.array([row["y"] for row in rows])
    num_train = len(rows) if num_train is None else num_train
    config = DirectConfig(folds=5, **settings)
    return plan_folds(table, roles, target, num_classes, num_train=num_train, config=config, seed=0)


@pytest.mark.parametrize("small_rows", [1000, 10])
@pytest.mark.parametrize("num_classes", [2, 0])
def test_rows_of_a_group_and_copies_are_judged_by_models_that_have_not_seen_them(small_rows, num_classes):
    rows = [{"x": i, "who": i % 40, "y": (i % 40) // 30} for i in range(120)]
    grouped = plan(rows, Roles(label="y", features=("x",), group="who"), num_classes=num_classes, small_rows=small_rows)
    rows = [{"x": i if i < 100 else i - 100, "y": i % 2} for i in range(120)]
    copied = plan(rows, Roles(label="y", features=("x",)), num_classes=num_classes, small_rows=small_rows)
    for folds, period in ((grouped, 40), (copied, 100)):
        assert len(folds) == (5 if small_rows == 1000 else 1)
        for fold in folds:
            assert not set(fold.fit % period) & set(fold.judge % period)
            assert len(fold.judge) and len(fold.fit) + len(fold.judge) == 120
    if num_classes:
        judged = [rows_of.judge for rows_of in grouped]
        assert all(0 < np.mean((rows % 40) // 30) < 0.5 for rows in judged)


def test_classes_that_live_in_one_group_are_known_to_every_model_where_that_is_possible():
    roles = Roles(label="y", features=("x",), group="who")
    rows = [{"x": i, "who": i % 12, "y": 2 if i == 5 else i % 2} for i in range(60)]
    folds = plan(rows, roles, num_classes=3)
    assert all(5 in fold.fit for fold in folds) and len(folds) == 5
    folds = plan([{"x": i, "who": i % 2, "y": i % 2} for i in range(20)], roles)
    assert [len(fold.fit) for fold in folds] == [len(fold.judge) for fold in folds] == [10, 10]
    alone = plan([{"x": i, "who": 1, "y": i % 2} for i in range(20)], roles)
    assert len(alone) == 5, "a single group is dealt row by row"


def test_the_past_is_never_judged_by_the_future():
    roles = Roles(label="y", features=("x",), time="when")
    days = np.random.default_rng(0).permutation(50)
    rows = [{"x": i, "y": i % 2, "when": f"2026-01-01T{day // 60:02}:{day % 60:02}"} for i, day in enumerate(days)]
    (fold,) = plan(rows, roles)
    assert len(fold.judge) == 10 and days[fold.fit].max() < days[fold.judge].min()
    (fold,) = plan(rows, roles, num_train=35)
    assert fold.judge.tolist() == list(range(35, 50))


def test_blend_leaves_half_only_for_what_is_clearly_better_and_rescales():
    rng = np.random.default_rng(0)
    z = rng.logistic(size=(2000, 1))
    target = (z[:, 0] + rng.logistic(size=2000) > 0).astype(int)  # P(1 | z) = sigmoid(z)
    noise = rng.normal(size=(2000, 1))
    blend = fit_blend(0.25 * z, noise, target, 2)
    assert blend.linear == pytest.approx(0.0, abs=0.1)
    assert blend.trees == pytest.approx(4.0, rel=0.2)
    assert blend.loss < row_losses(0.25 * z, target, 2).mean()
    mirrored = fit_blend(noise, 0.25 * z, target, 2)
    assert mirrored.trees == pytest.approx(0.0, abs=0.1)
    alike = [5 * z + rng.normal(size=z.shape), 0.1 * z + 0.02 * rng.normal(size=z.shape)]
    even = fit_blend(*alike, target, 2)
    assert even.trees * spread(alike[0], 2) == pytest.approx(even.linear * spread(alike[1], 2))


def test_row_losses_are_cross_entropies():
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert row_losses(scores, target, 3).mean() == pytest.approx(log_loss(target, probs, labels=[0, 1, 2]))
    two = 1 / (1 + np.exp(-scores[:, 0]))
    assert row_losses(scores[:, :1], target % 2, 2).mean() == pytest.approx(log_loss(target % 2, two))
    assert row_losses(scores[:, :1], scores[:, 1], 0).mean() == pytest.approx(
        ((scores[:, 0] - scores[:, 1]) ** 2).mean()
    )


def test_linear_model_survives_json_and_uses_steps():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2)).astype(np.float32)
    x[::9, 1] = np.nan
    target = (np.abs(x[:, 0]) > 0.7).astype(int)  # no straight line can tell
    straight = fit_linear(x, target, num_classes=2, strength=1.0, num_steps=0)
    stepped = fit_linear(x, target, num_classes=2, strength=1.0)
    assert ((straight.predict(x)[:, 0] > 0) == target).mean() < 0.7
    assert ((stepped.predict(x)[:, 0] > 0) == target).mean() > 0.9
    again = LinearModel.from_state(stepped.to_state())
    assert np.array_equal(again.predict(x), stepped.predict(x))


def test_predicting_needs_neither_lightgbm_nor_scikit_learn_nor_torch(cancer, tmp_path):
    task, model, _, test = cancer
    model.export_onnx(tmp_path / "model.onnx")
    expected = model.run(task.encode(test.rows[:1]))["logits"][0, 1]
    program = f"""
import sys
for name in ("torch", "lightgbm", "sklearn", "onnx", "scipy", "pandas"):
    sys.modules[name] = None
from pathlib import Path
import onnxruntime
from penjing.data.catalog import demo_rows
from penjing.data.config import LimitsConfig
from penjing.tasks.tabular import TabularClassification
task = TabularClassification.from_state({task.to_state()!r}, Path())
session = onnxruntime.InferenceSession({str(tmp_path / "model.onnx")!r})
run = lambda batch: {{"logits": session.run(["logits"], batch)[0]}}
print(run(task.encode([{test.rows[0]!r}]))["logits"][0, 1])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(expected, abs=1e-5)


@pytest.mark.network
def test_german_credit_from_the_catalog():
    rows = [row for _, row in demo_rows("german-credit", LimitsConfig())]
    table = Table(rows, [str(i) for i in range(len(rows))], "german-credit")
    order = np.random.default_rng(0).permutation(len(rows))
    roles = Roles(label="creditability", features=tuple(name for name in rows[0] if name != "creditability"))
    task, model = _fit(TabularClassification, table.take(order[:800]), roles)
    assert task.labels == ("bad", "good")
    values = _metrics(task, model, table.take(order[800:]))
    assert values["auc"] > 0.7
    assert values["log_loss"] < 0.6


@pytest.mark.parametrize(("num_classes", "seen"), [(2, (1,)), (2, (0,)), (3, (2,)), (3, (0, 2)), (4, (1, 2, 3))])
def test_a_class_without_rows_has_a_column_and_is_improbable(num_classes, seen):
    rng = np.random.default_rng(0)
    target = np.resize(seen, 60)
    features = (rng.normal(size=(60, 2)) + target[:, None]).astype(np.float32)
    scores = fit_linear(features, target, num_classes=num_classes, strength=1.0).predict(features)
    if num_classes == 2:
        scores = np.hstack([np.zeros_like(scores), scores])
    assert scores.shape == (60, num_classes)
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.delete(probs, seen, axis=1).mean() < 0.05
    assert (probs.argmax(axis=1) == target).mean() > 0.6


def test_a_sample_of_rows_keeps_rare_classes(monkeypatch):
    monkeypatch.setattr(boosting, "MAX_LINEAR_ROWS", 100)
    rows = np.arange(10, 1010)
    target = np.zeros(1000, np.int64)
    target[[3, 500]] = 1
    kept = boosting._sample(rows, target, seed=0)
    assert len(kept) == 101 and target[kept - 10].sum() == 1 and len(set(kept.tolist())) == 101


def test_validation_rows_with_an_unseen_label_are_left_out_and_it_is_said():
    rows = [{"x": i % 7 + (i % 2), "y": "ab"[i % 2]} for i in range(60)]
    train = Table(rows, [str(i) for i in range(60)], "train")
    valid = Table([*rows[:9], {"x": 3, "y": "c"}], [f"v{i}" for i in range(10)], "valid")
    heard = []
    _fit(TabularClassification, train, Roles(label="y", features=("x",)), valid, listener=heard.append)
    texts = [event.text for event in heard if isinstance(event, Notice)]
    assert any("left out 1 validation row" in text and "'c'" in text for text in texts)


@pytest.mark.parametrize(("asked", "threads"), [(0, 3), (2, 2)])
def test_boosting_takes_the_threads_that_may_be_used(monkeypatch, asked, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr("penjing.core.runtime.physical_cores", lambda: 3)
    train, _, roles = _table(datasets.load_wine(), names=["a", "b", "c"])
    taken = []

    class Asked(Exception):
        pass

    def fitter(*arguments):
        taken.append(arguments[4])
        raise Asked

    monkeypatch.setattr(boosting, "TreeFitter", fitter)
    with pytest.raises(Asked):
        _fit(TabularClassification, train, roles, config=QUICK.model_copy(update={"threads": asked}))
    assert taken == [threads]
