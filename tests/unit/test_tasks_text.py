"""Text tasks: what they learn from rows, how they score, and that scoring agrees with scikit-learn."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from penjing.core.errors import ArtifactError, CapabilityError, DataError
from penjing.core.task import Prediction, Roles, Task
from penjing.models.tokenizer import TextEncoder
from penjing.tasks.text_classification import TextClassification
from penjing.tasks.text_labels import label_list, label_text, sort_labels
from penjing.tasks.text_multi_label import MultiLabel, best_thresholds, sigmoid
from penjing.tasks.text_pair import TextPair
from penjing.tasks.text_regression import TextRegression
from penjing.tasks.text_single_label import SingleLabel, is_balanced, softmax

ROLES = Roles(text="text", label="label")


def _task(kind, task_rows, text_settings):
    rows, roles = task_rows(kind)
    cls = {"text-pair": TextPair, "text-regression": TextRegression}.get(kind, TextClassification)
    return cls.from_rows(rows, roles, text_settings), rows


def _logits(seed, rows, classes):
    return np.random.default_rng(seed).normal(size=(rows, classes)).astype(np.float32) * 2


@pytest.mark.parametrize(
    ("value", "name"), [(1, "1"), (1.0, "1"), ("1", "1"), (" 1 ", "1"), (0.5, "0.5"), ("好评", "好评"), (True, "True")]
)
def test_a_label_is_the_same_class_however_it_is_written(value, name):
    assert label_text(value, "row 0") == name


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), ["a"], {"a": 1}, "x" * 301])
def test_a_cell_that_is_no_label_is_refused_with_its_place(value):
    with pytest.raises(DataError, match="row 7"):
        label_text(value, "row 7")


def test_labels_are_sorted_by_value_when_all_are_numbers():
    assert sort_labels(["10", "2", "1", "2"]) == ("1", "2", "10")
    assert sort_labels(["10", "b", "2"]) == ("10", "2", "b")
    assert label_list(["b", "a", "b"], "row 0") == ["a", "b"]
    assert label_list(None, "row 0") == label_list("", "row 0") == []


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], "the same label 'x'"),
        ([{"text": " ", "label": "x"}, {"text": None, "label": "y"}], "every text in column 'text' is empty"),
        ([{"text": "a", "label": []}, {"text": "b", "label": []}], "no labels"),
    ],
)
def test_rows_that_cannot_be_learned_are_refused_with_the_reason(rows, reason, text_settings):
    assert reason in TextClassification.supports(rows, ROLES)
    with pytest.raises(CapabilityError, match=reason):
        TextClassification.from_rows(rows, ROLES, text_settings)


def test_a_role_nobody_plays_is_a_reason():
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    assert "'label'" in TextClassification.supports(rows, Roles(text="text"))
    assert "'text_pair'" in TextPair.supports(rows, ROLES)
    assert "'label'" in TextRegression.supports(rows, Roles(text="text"))
    assert "a number" in TextRegression.supports(rows, ROLES)
    assert "the same number" in TextRegression.supports([{"text": "a", "label": 1}] * 3, ROLES)


@pytest.mark.parametrize(
    "kind", ["text-classification", "text-classification/multi-label", "text-pair", "text-regression"]
)
def test_every_text_task_is_a_task(kind, task_rows, text_settings):
    task, _ = _task(kind, task_rows, text_settings)
    assert isinstance(task, Task)
    assert task.primary in task.metrics


@pytest.mark.parametrize(
    ("cell", "message"),
    [(["a"], "holds a list"), ({"a": 1}, "holds a dict"), ("x" * 10_000_001, "10,000,001 characters")],
)
def test_a_cell_that_is_no_text_is_refused(cell, message, task_rows, text_settings):
    task, _ = _task("text-classification", task_rows, text_settings)
    with pytest.raises(DataError, match=message):
        task.encode([{"text": "fine"}, {"text": cell}])


def test_a_missing_text_is_empty_and_a_missing_column_is_an_error(task_rows, text_settings):
    task, _ = _task("text-classification", task_rows, text_settings)
    batch = task.encode([{"text": None}, {"text": ""}, {"text": 12}])
    assert np.array_equal(batch["input_ids"][0], batch["input_ids"][1])
    assert batch["attention_mask"][2].sum() > 2
    with pytest.raises(DataError, match="row 1: has no column 'text'"):
        task.encode([{"text": "a"}, {"body": "b"}])


@pytest.mark.parametrize("kind", ["text-classification", "text-pair"])
def test_rows_that_come_again_are_not_tokenized_again(kind, task_rows, text_settings, monkeypatch):
    task, rows = _task(kind, task_rows, text_settings)
    plain = task.encode(rows)
    task.encode(rows[:3], training=True)
    once = task.encode([*rows, rows[0]], training=True)
    monkeypatch.setattr(TextEncoder, "tokens", None)
    again = task.encode(rows, training=True)
    for name, array in plain.items():
        assert np.array_equal(array, again[name]) and np.array_equal(once[name], array[[*range(len(rows)), 0]])


def test_the_texts_of_a_pair_are_encoded_each_by_itself(task_rows, text_settings):
    pair, rows = _task("text-pair", task_rows, text_settings)
    batch = pair.encode(rows[:3])
    encoder = TextEncoder(text_settings)
    names = (pair.roles.text, pair.roles.text_pair)
    for i, row in enumerate(rows[:3]):
        for j, name in enumerate(names):
            size = int(batch["attention_mask"][i, j].sum())
            assert batch["input_ids"][i, j, :size].tolist() == encoder.tokens([row[name]])[0].tolist()
    sizes = [encoder.lengths([row[name] for row in rows]) for name in names]
    assert pair.lengths(rows).tolist() == (2 * np.maximum(*sizes)).tolist()
    assert batch["input_ids"].shape == (3, 2, pair.lengths(rows[:3]).max() // 2)
    assert pair.encode([])["input_ids"].shape == (0, 2, 0)


def test_targets(task_rows, text_settings):
    single, rows = _task("text-classification", task_rows, text_settings)
    targets = single.encode(rows, training=True)["targets"]
    assert targets.dtype == np.int64
    assert [single.labels[k] for k in targets] == [row["label"] for row in rows]
    multi, rows = _task("text-classification/multi-label", task_rows, text_settings)
    targets = multi.encode(rows, training=True)["targets"]
    assert targets.dtype == np.float32
    assert [[multi.labels[k] for k in np.flatnonzero(t)] for t in targets] == [sorted(r["labels"]) for r in rows]
    number, rows = _task("text-regression", task_rows, text_settings)
    targets = number.encode(rows, training=True)["targets"]
    assert targets.dtype == np.float32
    assert targets.mean() == pytest.approx(0, abs=1e-6)
    assert targets.std() == pytest.approx(1, abs=1e-6)
    back = number.predict(lambda batch: {"logits": targets[:, None]}, {})
    assert [p.value for p in back] == pytest.approx([row["stars"] for row in rows], abs=1e-6)


def test_training_on_a_label_the_schema_lacks_is_refused(task_rows, text_settings):
    for kind in ("text-classification", "text-classification/multi-label"):
        task, rows = _task(kind, task_rows, text_settings)
        column = task.label_column
        with pytest.raises(DataError, match="'new' was not among"):
            task.encode([{**rows[0], column: "new"}], training=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_single_label_metrics_agree_with_scikit_learn(classes):
    sk = pytest.importorskip("sklearn.metrics")
    labels = tuple("abcde"[:classes])
    decision = SingleLabel(labels, balanced=True, temperature=1.7)
    rng = np.random.default_rng(3)
    logits = _logits(1, 400, classes).round(1)  # rounded: ties must count half in the AUC
    rows = [{"y": labels[k]} for k in rng.integers(0, classes, 400)]
    predictions = decision.decode(logits)
    found = decision.aggregate(decision.score(rows, "y", predictions))
    true, given = [row["y"] for row in rows], [p.value for p in predictions]
    probs = np.stack([p.probs for p in predictions])
    assert set(found) == set(decision.metrics)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, given))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, given, average="macro"))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(true, given))
    assert found["log_loss"] == pytest.approx(sk.log_loss(true, probs, labels=list(labels)))
    of_class = [sk.log_loss([k] * true.count(k), probs[np.array(true) == k], labels=list(labels)) for k in labels]
    assert found["macro_log_loss"] == pytest.approx(np.mean(of_class))
    if classes == 2:
        positive = np.array(true) == "b"
        assert found["auc"] == pytest.approx(sk.roc_auc_score(positive, probs[:, 1]))
        assert found["precision"] == pytest.approx(sk.precision_score(true, given, pos_label="b"))
        assert found["recall"] == pytest.approx(sk.recall_score(true, given, pos_label="b"))
        assert found["f1"] == pytest.approx(sk.f1_score(true, given, pos_label="b"))


def test_unseen_labels_count_as_errors(task_rows, text_settings):
    sk = pytest.importorskip("sklearn.metrics")
    task, rows = _task("text-classification", task_rows, text_settings)
    changed = [
        {**row, "label": ("new" if i % 5 == 0 else "odd" if i % 7 == 0 else row["label"])} for i, row in enumerate(rows)
    ]
    predictions = task.decision.decode(_logits(2, len(rows), 3))
    stats = task.score(changed, predictions)
    found = task.aggregate(stats)
    true, given = [row["label"] for row in changed], [p.value for p in predictions]
    assert (stats.columns["true"] == -1).sum() == 10
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, given))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, given, average="macro", zero_division=0))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(true, given))
    assert found["log_loss"] > 10 / 30 * 16


@pytest.mark.parametrize("at_least_one", [False, True])
def test_multi_label_metrics_agree_with_scikit_learn(at_least_one):
    sk = pytest.importorskip("sklearn.metrics")
    labels = tuple("abcdef")
    decision = MultiLabel(labels, (0.4, 0.5, 0.6, 0.7, 0.5, 0.5), at_least_one)
    logits = _logits(4, 500, 6) - 1.5
    true = np.random.default_rng(5).random((500, 6)) < 0.3
    rows = [{"y": [labels[k] for k in np.flatnonzero(row)]} for row in true]
    predictions = decision.decode(logits)
    found = decision.aggregate(decision.score(rows, "y", predictions))
    given = sigmoid(logits, 1.0) >= np.array(decision.thresholds)
    empty = ~given.any(axis=1)
    assert empty.any()
    if at_least_one:
        given[empty, (sigmoid(logits, 1.0) - np.array(decision.thresholds))[empty].argmax(axis=1)] = True
    assert [p.value for p in predictions] == [[labels[k] for k in np.flatnonzero(row)] for row in given]
    assert set(found) == set(decision.metrics)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, given, average="macro", zero_division=np.nan))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(true, given, average="micro"))
    assert found["samples_f1"] == pytest.approx(sk.f1_score(true, given, average="samples", zero_division=1.0))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(true, given))
    of_label = [sk.log_loss(true[:, k], sigmoid(logits, 1.0)[:, k]) for k in range(6)]
    assert found["log_loss"] == pytest.approx(np.mean(of_label))


def test_an_unseen_label_lowers_every_multi_label_f1():
    decision = MultiLabel(("a", "b"), (0.5, 0.5), at_least_one=False)
    predictions = decision.decode(np.array([[3.0, -3.0], [-3.0, 3.0]]))
    right = decision.aggregate(decision.score([{"y": ["a"]}, {"y": ["b"]}], "y", predictions))
    found = decision.aggregate(decision.score([{"y": ["a", "new"]}, {"y": ["b"]}], "y", predictions))
    assert right["macro_f1"] == right["micro_f1"] == right["samples_f1"] == right["subset_accuracy"] == 1
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["micro_f1"] == pytest.approx(4 / 5)
    assert found["samples_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["subset_accuracy"] == 0.5


def test_regression_metrics_agree_with_scikit_learn_and_scipy(task_rows, text_settings):
    sk, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    task, rows = _task("text-regression", task_rows, text_settings)
    predictions = task.predict(lambda batch: {"logits": _logits(6, len(rows), 1).round(1)}, {})
    found = task.aggregate(task.score(rows, predictions))
    true, given = [row["stars"] for row in rows], [p.value for p in predictions]
    assert set(found) == set(task.metrics)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(true, given))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(true, given))
    assert found["r2"] == pytest.approx(sk.r2_score(true, given))
    assert found["spearman"] == pytest.approx(stats.spearmanr(true, given).statistic)


def test_a_label_that_is_no_number_is_refused_with_its_row(task_rows, text_settings):
    task, rows = _task("text-regression", task_rows, text_settings)
    for bad in ("good", None, float("inf"), [1]):
        with pytest.raises(DataError, match="row 1"):
            task.encode([rows[0], {**rows[1], "stars": bad}], training=True)


def test_a_number_is_read_as_spreadsheets_write_it(task_rows, text_settings):
    task, rows = _task("text-regression", task_rows, text_settings)
    written = [{**rows[0], "stars": cell} for cell in (1200, "1200", " 1,200.0 ", "120000%")]
    assert task.score(written, [Prediction(0.0)] * 4).columns["target"].tolist() == [1200.0] * 4


@pytest.mark.parametrize("kind", ["text-classification/binary", "text-classification/multi-label", "text-regression"])
def test_metrics_that_units_leave_undefined_are_nan_not_errors(kind, task_rows, text_settings):
    task, rows = _task(kind, task_rows, text_settings)
    width = len(task.labels) or 1
    stats = task.score(rows, task.predict(lambda batch: {"logits": _logits(7, len(rows), width)}, {}))
    nothing, one = task.aggregate(stats.take(np.array([], int))), task.aggregate(stats.take(np.array([0])))
    assert set(nothing) == set(one) == set(task.metrics)
    assert all(np.isnan(value) for value in nothing.values())
    if kind == "text-classification/binary":
        assert np.isnan(one["auc"])
        assert one["accuracy"] in {0.0, 1.0}


def test_temperature_softens_probabilities_and_keeps_labels(task_rows, text_settings):
    for kind in ("text-classification", "text-classification/multi-label"):
        task, _ = _task(kind, task_rows, text_settings)
        if task.calibration == "sigmoid":
            task = task.with_thresholds([0.2, 0.5, 0.7, 0.4, 0.6])
        outputs = {"logits": _logits(8, 200, len(task.labels))}
        sharp, soft = (t.predict(lambda b, o=outputs: o, {}) for t in (task, task.with_temperature(3.0)))
        assert [p.value for p in sharp] == [p.value for p in soft]
        assert max(p.probs.max() for p in soft) < max(p.probs.max() for p in sharp)
        assert task.with_temperature(3.0).temperature == 3.0
    number, _ = _task("text-regression", task_rows, text_settings)
    with pytest.raises(CapabilityError):
        number.with_temperature(2.0)


def test_thresholds_are_checked(task_rows, text_settings):
    multi, _ = _task("text-classification/multi-label", task_rows, text_settings)
    for wrong in ([0.5], [0.5] * 4 + [1.0], [0.5] * 4 + [float("nan")]):
        with pytest.raises(CapabilityError, match="thresholds"):
            multi.with_thresholds(wrong)
    single, _ = _task("text-classification", task_rows, text_settings)
    with pytest.raises(CapabilityError, match="several labels"):
        single.with_thresholds([0.5] * 3)


def test_best_thresholds_reach_the_best_f1_of_every_possible_cut():
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(9)
    true = (rng.random((300, 3)) < [0.1, 0.4, 0.0]).astype(int)
    probs = np.clip(true * 0.2 + rng.random((300, 3)) * 0.7, 0, 1).round(2)
    best = best_thresholds(probs, true)
    for k in range(2):
        cuts = [sk.f1_score(true[:, k], probs[:, k] >= cut, zero_division=0) for cut in np.unique(probs[:, k])]
        assert sk.f1_score(true[:, k], probs[:, k] >= best[k]) == pytest.approx(max(cuts))
    assert best[2] == 0.5  # no validation row has this label


def test_labels_too_rare_to_tune_keep_their_threshold():
    true = np.zeros((100, 1), int)
    true[:9] = 1
    probs = true * 0.1 + 0.1
    assert best_thresholds(probs, true).tolist() == [0.5]
    true[9] = 1
    assert best_thresholds(probs, true).tolist() == pytest.approx([0.15])


def test_fitting_the_decision_raises_macro_f1_where_probabilities_are_too_low(task_rows, text_settings):
    task, rows = _task("text-classification/multi-label", task_rows, text_settings)
    many = rows * 20
    true = task.encode(many, training=True)["targets"]
    logits = true * 2 - 3 + _logits(13, len(many), len(task.labels)) * 0.3
    predict = lambda t: t.predict(lambda batch: {"logits": logits}, {})  # noqa: E731
    before = task.aggregate(task.score(many, predict(task)))["macro_f1"]
    fitted = task.fit_decision(many, predict(task))
    assert task.aggregate(task.score(many, predict(fitted)))["macro_f1"] > before + 0.2
    single, rows = _task("text-classification", task_rows, text_settings)
    assert single.fit_decision(rows, []) is single


def test_evenness_decides_the_primary_metric():
    assert is_balanced([100] * 77)
    assert is_balanced([35, 187, 100, 120, 90])
    assert is_balanced([31, 69])
    assert not is_balanced([20, 80])
    assert not is_balanced([594, 281, 125])  # PhraseBank's classes
    assert SingleLabel(("a", "b"), balanced=False).primary == "macro_f1"


def test_softmax_and_sigmoid_do_not_overflow():
    logits = np.array([[1e4, -1e4], [0.0, 0.0]], np.float32)
    assert softmax(logits, 1.0).tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert sigmoid(logits, 1.0).tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(
    "damage",
    [
        {"labels": ["a"]},
        {"labels": ["a", "a", "b"]},
        {"labels": []},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"thresholds": [0.5]},
        {"extra": 1},
        {"input": {"text": "text", "max_length": 0}},
        {"input": {"text": "text", "text_pair": "other", "max_length": 9}},
    ],
)
def test_a_damaged_state_is_refused(damage, task_rows, text_settings, tmp_path):
    task, _ = _task("text-classification", task_rows, text_settings)
    with pytest.raises(ArtifactError, match="state is damaged"):
        TextClassification.from_state({**task.to_state(), **damage}, tmp_path)


@pytest.mark.parametrize("several", [False, True])
def test_a_thousand_bootstraps_of_3000_rows_and_77_classes_take_under_two_seconds(several):
    labels = tuple(f"intent {k:02d}" for k in range(77))
    rng = np.random.default_rng(10)
    logits = _logits(11, 3000, 77)
    if several:
        decision = MultiLabel(labels, (0.5,) * 77, at_least_one=True)
        rows = [{"y": [labels[k] for k in rng.choice(77, 2, replace=False)]} for _ in range(3000)]
    else:
        decision = SingleLabel(labels, balanced=True)
        rows = [{"y": labels[k]} for k in rng.integers(0, 77, 3000)]
    stats = decision.score(rows, "y", decision.decode(logits))
    begin = time.process_time()
    for _ in range(1000):
        decision.aggregate(stats.take(rng.integers(0, 3000, 3000)))
    spent = time.process_time() - begin
    print(f"several={several}: {spent:.2f} s of CPU time for 1,000 bootstraps")
    assert spent < 2.0


def test_render_is_short_and_json_able(task_rows, text_settings):
    for kind in ("text-classification", "text-classification/multi-label", "text-regression"):
        task, _ = _task(kind, task_rows, text_settings)
        width = len(task.labels) or 1
        shown = [task.render(p) for p in task.predict(lambda b, w=width: {"logits": _logits(12, 5, w)}, {})]
        assert json.loads(json.dumps(shown)) == shown
