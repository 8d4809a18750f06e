"""What every registered task must do, with every registered backend. A new kind adds its rows in `conftest.ROWS`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from contract_rows import strange_rows

from conftest import ROWS
from penjing.core import registry
from penjing.core.errors import CapabilityError
from penjing.core.task import Prediction, Roles, Task
from penjing.predict.load import load
from penjing.predict.task_file import read_task, write_task
from tiny_artifacts import make_task

KINDS = sorted(ROWS)
BACKENDS = sorted(registry.table("backends"))
# Pairs that cannot be, each with what is said of it; every other pair of a kind and a backend runs.
REFUSED = {
    ("tabular-classification", "torch"): "a tabular-classification model has no layers",
    ("tabular-regression", "torch"): "a tabular-regression model has no layers",
}
CELLS = [(kind, backend) for kind in KINDS for backend in BACKENDS if (kind, backend) not in REFUSED]
# Padding moves sums of 32-bit numbers in the last places, no further.
TOLERANCE = 2e-5

every_kind = pytest.mark.parametrize("kind", KINDS)
every_cell = pytest.mark.parametrize(("kind", "backend"), CELLS)


@pytest.fixture(scope="session")
def loaded(tiny_artifact):
    """(kind, backend) → a predictor with one thread, loaded once."""
    made = {}

    def predictor(kind, backend):
        if (kind, backend) not in made:
            made[kind, backend] = load(tiny_artifact(kind).path, backend, threads=1)
        return made[kind, backend]

    return predictor


def _task(kind, text_settings):
    rows, roles = ROWS[kind]()
    return make_task(kind, rows, roles, text_settings), rows


def _unlabelled(rows, task):
    hidden = {task.roles.label, task.roles.spans}
    return [{name: value for name, value in row.items() if name not in hidden} for row in rows]


def _same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        if isinstance(one.value, float):
            assert one.value == pytest.approx(other.value, rel=1e-4, abs=1e-3)
        else:
            assert one.value == other.value
        if one.probs is not None:
            np.testing.assert_allclose(one.probs, other.probs, atol=TOLERANCE)


def _identical(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.value == other.value
        assert one.confidence == other.confidence
        assert np.array_equal(one.probs, other.probs) if one.probs is not None else other.probs is None


def test_every_registered_task_has_rows_here():
    assert {kind.partition("/")[0] for kind in KINDS} == set(registry.table("tasks"))
    assert len(KINDS) >= 8
    assert set(BACKENDS) >= {"onnxruntime", "openvino", "torch"}
    assert len(CELLS) + len(REFUSED) == len(KINDS) * len(BACKENDS)


@pytest.mark.parametrize(("kind", "backend"), REFUSED)
def test_a_backend_that_cannot_run_a_kind_says_so(kind, backend, tiny_artifact):
    with pytest.raises(CapabilityError, match=REFUSED[kind, backend]):
        load(tiny_artifact(kind).path, backend, threads=1)


@every_cell
def test_every_backend_predicts_what_onnxruntime_predicts(kind, backend, loaded):
    predictor, reference = loaded(kind, backend), loaded(kind, "onnxruntime")
    rows = [*_unlabelled(ROWS[kind]()[0], predictor.task), *strange_rows(predictor.task, ROWS[kind]()[0])]
    _same(predictor.predict(rows), reference.predict(rows))


@every_kind
def test_a_task_keeps_the_protocol(kind, text_settings):
    task, rows = _task(kind, text_settings)
    assert isinstance(task, Task)
    assert task.kind == kind.partition("/")[0]
    assert task.primary in task.metrics
    assert task.supports(rows, task.roles) is None
    assert isinstance(task.supports(rows, Roles()), str)
    assert registry.load(task.trainer) is not None
    if task.calibration is not None:
        assert len(task.labels) >= 1


@every_kind
def test_learning_the_schema_does_not_depend_on_row_order(kind, text_settings):
    task, rows = _task(kind, text_settings)
    again = make_task(kind, rows[::-1], task.roles, text_settings)
    assert again.labels == task.labels
    assert len(set(task.labels)) == len(task.labels)
    assert again.signature == task.signature


@every_kind
def test_encode_gives_the_arrays_of_the_signature(kind, text_settings):
    task, rows = _task(kind, text_settings)
    batch = task.encode(_unlabelled(rows, task)[:7])
    sizes = {}
    for spec in task.signature.inputs:
        array = batch[spec.name]
        assert array.dtype == spec.dtype
        assert array.ndim == len(spec.shape)
        for have, want in zip(array.shape, spec.shape, strict=True):
            assert have == (want if isinstance(want, int) else sizes.setdefault(want, have))
    assert sizes["batch"] == 7
    assert [len(task.lengths(rows)), task.lengths(rows).ndim] == [len(rows), 1]
    for name, array in task.encode(rows[:7], training=True).items():
        assert len(array) == 7, name


@every_kind
def test_encode_is_deterministic_and_padding_is_all_that_batch_mates_change(kind, text_settings):
    task, rows = _task(kind, text_settings)
    first, again, alone = task.encode(rows), task.encode(rows), task.encode(rows[3:4])
    for spec in task.signature.inputs:
        assert np.array_equal(first[spec.name], again[spec.name], equal_nan=first[spec.name].dtype.kind == "f")
        row = first[spec.name][3]
        if "length" in spec.shape:
            width = alone[spec.name].shape[spec.shape.index("length")]
            row = row.take(range(width), axis=spec.shape.index("length") - 1)
        np.testing.assert_array_equal(row, alone[spec.name][0])


@every_cell
def test_batch_equals_single(kind, backend, loaded):
    predictor = loaded(kind, backend)
    rows = _unlabelled(ROWS[kind]()[0], predictor.task)
    together = predictor.predict(rows)
    _same(together, [predictor.predict([row])[0] for row in rows])
    _same(together[::-1], predictor.predict(rows[::-1]))
    small = [prediction for _, prediction in predictor.stream(rows, window_rows=5, batch_tokens=64)]
    _same(together, small)


@every_cell
def test_predicting_is_deterministic_to_the_bit(kind, backend, loaded, tiny_artifact):
    predictor = loaded(kind, backend)
    rows = _unlabelled(ROWS[kind]()[0], predictor.task)
    first = predictor.predict(rows)
    _identical(first, predictor.predict(rows))
    _identical(first, load(tiny_artifact(kind).path, backend, threads=1).predict(rows))


@every_cell
def test_predictions_are_well_formed(kind, backend, loaded):
    predictor = loaded(kind, backend)
    task = predictor.task
    rows = _unlabelled(ROWS[kind]()[0], task)
    predictions = predictor.predict(rows)
    assert len({json.dumps(task.render(p)) for p in predictions}) > 1, "the fixture's model says the same of every row"
    for prediction in predictions:
        assert isinstance(prediction, Prediction)
        rendered = task.render(prediction)
        assert json.loads(json.dumps(rendered, allow_nan=False)) == rendered
        if prediction.confidence is not None:
            assert 0 <= prediction.confidence <= 1
        if prediction.probs is not None:
            assert prediction.probs.shape == (len(task.labels),)
            assert ((prediction.probs >= 0) & (prediction.probs <= 1)).all()
            if task.calibration == "softmax":
                assert prediction.probs.sum() == pytest.approx(1)
                assert prediction.value == task.labels[int(prediction.probs.argmax())]


@every_cell
def test_strange_inputs_are_predicted_and_alike_alone_and_together(kind, backend, loaded):
    predictor = loaded(kind, backend)
    rows = strange_rows(predictor.task, ROWS[kind]()[0])
    together = predictor.predict(rows)
    assert len(together) == len(rows)
    _same(together, [predictor.predict([row])[0] for row in rows])


@every_kind
def test_state_survives_json_and_a_move(kind, text_settings, tmp_path):
    task, rows = _task(kind, text_settings)
    (tmp_path / "made").mkdir()
    write_task(task, tmp_path / "made")
    shutil.move(tmp_path / "made", tmp_path / "moved")
    again = read_task(tmp_path / "moved")
    assert type(again) is type(task)
    assert again.to_state() == task.to_state() == json.loads(json.dumps(task.to_state(), allow_nan=False))
    assert again.labels == task.labels
    assert again.signature == task.signature
    assert again.roles == task.roles
    for name, array in task.encode(rows).items():
        np.testing.assert_array_equal(array, again.encode(rows)[name])


@every_kind
def test_temperature_is_kept_and_changes_no_answer(kind, text_settings, tmp_path, tiny_artifact):
    task, rows = _task(kind, text_settings)
    if task.calibration is None:
        pytest.skip("this kind has no probabilities")
    predictor = load(tiny_artifact(kind).path, threads=1)
    warm = task.with_temperature(2.5)
    write_task(warm, tmp_path)
    assert read_task(tmp_path).temperature == warm.temperature == 2.5
    batch = task.encode(rows)
    cold = predictor.task.predict(predictor.backend.run, batch)
    soft = read_task(tmp_path).predict(predictor.backend.run, batch)
    assert [p.value for p in cold] == [p.value for p in soft]
    if cold[0].probs is not None:
        assert any(not np.allclose(a.probs, b.probs, atol=1e-3) for a, b in zip(cold, soft, strict=True))


@every_kind
def test_score_and_aggregate(kind, loaded):
    predictor = loaded(kind, "onnxruntime")
    task, rows = predictor.task, ROWS[kind]()[0]
    stats = task.score(rows, predictor.predict(rows))
    assert len(stats) == len(rows)
    assert all(len(column) == len(rows) for column in stats.columns.values())
    metrics = task.aggregate(stats)
    assert set(metrics) == set(task.metrics)
    assert all(isinstance(value, float) for value in metrics.values())
    assert np.isfinite(metrics[task.primary])
    for name, value in metrics.items():
        if task.metrics[name].percent:
            assert 0 <= value <= 1, name
    shuffled = task.aggregate(stats.take(np.random.default_rng(0).permutation(len(rows))))
    twice = task.aggregate(stats.take(np.tile(np.arange(len(rows)), 2)))
    for name, value in metrics.items():
        assert shuffled[name] == pytest.approx(value, nan_ok=True), name
        assert twice[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
    assert set(task.aggregate(stats.take(np.array([0])))) == set(task.metrics)


@every_kind
def test_a_right_answer_scores_no_worse_than_a_wrong_one(kind, loaded):
    """Rows whose labels are what was predicted must score at the top of every metric that counts hits."""
    predictor = loaded(kind, "onnxruntime")
    task, rows = predictor.task, ROWS[kind]()[0]
    predictions = predictor.predict(rows)
    column = task.roles.spans or task.roles.label
    agreeing = [{**row, column: _as_label(p.value)} for row, p in zip(rows, predictions, strict=True)]
    perfect, real = task.aggregate(task.score(agreeing, predictions)), task.aggregate(task.score(rows, predictions))
    metric = task.metrics[task.primary]
    assert perfect[task.primary] == pytest.approx(1 if metric.higher_is_better else 0)
    sign = 1 if metric.higher_is_better else -1
    assert sign * perfect[task.primary] >= sign * real[task.primary]


def _as_label(value):
    if isinstance(value, list):
        return [{f.name: getattr(v, f.name) for f in fields(v)} if hasattr(v, "start") else v for v in value]
    return value


def test_tasks_and_prediction_import_without_the_training_stack(tiny_artifact, tmp_path):
    """In a process where torch and its kin cannot be imported, every task loads and every artifact predicts."""
    program = tmp_path / "blocked.py"
    program.write_text(_BLOCKED, encoding="utf-8")
    paths = {kind: str(tiny_artifact(kind).path) for kind in KINDS}
    rows = {kind: ROWS[kind]()[0][:3] for kind in KINDS}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        input=json.dumps([paths, rows]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(KINDS, 3)


_BLOCKED = """
import importlib, json, pkgutil, sys
BLOCKED = {"torch", "transformers", "pandas", "scipy", "sklearn", "lightgbm", "pyarrow", "onnx", "safetensors"}
BLOCKED |= {"openvino", "openvino_telemetry"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
import penjing.predict, penjing.tasks
for package in (penjing.predict, penjing.tasks):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
from penjing.core import registry
from penjing.predict.load import load

for kind in registry.table("tasks"):
    registry.resolve("tasks", kind)
paths, rows = json.load(sys.stdin)
found = {kind: len(load(path, threads=1).predict(rows[kind])) for kind, path in paths.items()}
assert not BLOCKED & set(sys.modules), BLOCKED & set(sys.modules)
print(json.dumps(found))
"""
