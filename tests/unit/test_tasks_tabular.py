"""Tabular tasks: columns to features, labels, metrics, state."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from penjing.core.errors import ArtifactError, CapabilityError, DataError
from penjing.core.task import Prediction, Roles, Task
from penjing.data.numbers import parse_number
from penjing.tasks.tabular import TabularClassification, TabularRegression
from penjing.tasks.tabular_metrics import kolmogorov_smirnov, squared_errors
from penjing.tasks.tabular_schema import learn_schema, parse_day

ROWS = [
    {
        "amount": f"{1000 + 37 * i:,}",
        "rate": None if i % 7 == 0 else f"{i}%",
        "job": ["clerk", "driver", "none"][i % 3],
        "opened": f"2024-0{1 + i % 9}-1{i % 9}",
        "constant": "x",
        "id": f"customer-{i}",
        "bad": i % 4 == 0,
    }
    for i in range(40)
]
NAMES = ("amount", "rate", "job", "opened", "constant", "id")
ROLES = Roles(label="bad", features=NAMES)


def test_learns_the_kind_of_each_column_and_leaves_out_what_carries_nothing():
    schema = learn_schema(ROWS, NAMES)
    assert [(c.name, c.kind) for c in schema.columns] == [
        ("amount", "numeric"),
        ("rate", "numeric"),
        ("job", "categorical"),
        ("opened", "date"),
    ]
    assert schema.columns[2].categories == ("clerk", "driver", "none")
    assert schema.columns[1].missing
    assert not schema.columns[0].missing


def test_encodes_numbers_gaps_categories_and_dates():
    schema = learn_schema(ROWS, NAMES)
    encoded = schema.matrix(ROWS)
    assert encoded.dtype == np.float32
    assert encoded.shape == (40, len(schema.features))
    column = dict(zip(schema.features, encoded.T, strict=True))
    assert column["amount"][2] == 1074
    assert np.isnan(column["rate"][7])
    assert column["rate"][5] == np.float32(0.05)
    assert column["job=driver"].tolist() == [float(i % 3 == 1) for i in range(40)]
    assert column["opened.month"][3] == 4
    assert column["opened.weekday"][0] == 2  # 2024-01-10 was a Wednesday


def test_clips_to_the_training_range_and_maps_unseen_categories_to_nothing():
    schema = learn_schema(ROWS, NAMES)
    row = {**ROWS[1], "amount": "1e300", "job": "astronaut"}
    column = dict(zip(schema.features, schema.matrix([row])[0], strict=True))
    assert column["amount"] == 1000 + 37 * 39
    assert column["job=clerk"] == column["job=driver"] == column["job=none"] == 0


def test_rare_categories_share_a_feature_that_unseen_ones_use():
    rows = [{"city": city} for city in ["a"] * 9 + ["b"] * 9 + ["c", "d"]]
    schema = learn_schema(rows, ["city"])
    assert schema.features == ("city=a", "city=b", "city=other")
    assert schema.matrix([{"city": "zzz"}, {"city": "d"}]).tolist() == [[0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"amount": "many"}, ("row 0", "'amount'", "'many'", "number")),
        ({"opened": "yesterday"}, ("row 0", "'opened'", "date")),
        ({"job": "x" * 500}, ("'job'", "500 characters")),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(change, words):
    schema = learn_schema(ROWS, NAMES)
    with pytest.raises(DataError) as caught:
        schema.matrix([{**ROWS[1], **change}])
    assert all(word in str(caught.value) for word in words)


def test_an_absent_column_is_refused():
    schema = learn_schema(ROWS, NAMES)
    with pytest.raises(DataError, match="row 1: column 'job' is absent"):
        schema.matrix([ROWS[0], {k: v for k, v in ROWS[1].items() if k != "job"}])


def test_no_varying_column_is_refused():
    with pytest.raises(DataError, match="no feature column has two different values"):
        learn_schema(ROWS, ["constant", "id"])


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,234.5", 1234.5), ("-3", -3), ("12%", 0.12), ("¥300", 300), (True, 1), (".5", 0.5), ("1e3", 1000)],
)
def test_reads_numbers(text, number):
    assert parse_number(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "e5", "1,23", "nan", "inf", "0x10", "1_000", ".", "1e999", "034,101", "١٢" * 30])
def test_refuses_what_is_no_number(text):
    assert parse_number(text) is None


def test_a_moment_is_the_same_day_as_text_and_as_datetime():
    text = "2024-05-01T01:00:00+08:00"
    assert parse_day(text) == parse_day(datetime.fromisoformat(text)) == parse_day("2024-04-30")


@given(st.text(max_size=60))
def test_parsing_never_raises(text):
    number, day = parse_number(text), parse_day(text)
    assert number is None or np.isfinite(number)
    assert day is None or np.isfinite(day)


def test_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500)
    score = np.round(rng.normal(size=500) + label, 1)  # rounded: ties
    probs = np.stack([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))], 1)
    fpr, tpr, _ = reference.roc_curve(label, score, drop_intermediate=False)
    assert kolmogorov_smirnov(label == 1, score) == pytest.approx(np.abs(tpr - fpr).max())
    brier = squared_errors(label, probs).mean()
    assert brier == pytest.approx(reference.brier_score_loss(label, probs[:, 1]))
    many, soft = rng.integers(0, 4, 300), rng.dirichlet(np.ones(4), 300)
    brier = squared_errors(many, soft).mean()
    assert brier == pytest.approx(reference.brier_score_loss(many, soft, scale_by_half=False, labels=range(4)))
    assert squared_errors(np.array([-1]), np.array([[0.5, 0.5]])) == pytest.approx(0.75)


def test_metrics_of_one_class_are_undefined_not_wrong():
    task = TabularClassification.from_rows(ROWS, ROLES, None)
    good = [row for row in ROWS if not row["bad"]]
    values = task.aggregate(task.score(good, [_prediction(task, 0.1)] * len(good)))
    assert np.isnan(values["auc"])
    assert np.isnan(values["ks"])
    assert values["accuracy"] == 1.0


def _prediction(task, p):
    return Prediction(task.labels[int(p > 0.5)], max(p, 1 - p), np.array([1 - p, p]))


def test_both_tasks_fulfil_the_protocol_and_survive_json():
    classification = TabularClassification.from_rows(ROWS, ROLES, None).with_temperature(1.5)
    regression = TabularRegression.from_rows(ROWS, Roles(label="amount", features=("job", "rate")), None)
    for task in (classification, regression):
        assert isinstance(task, Task)
        again = type(task).from_state(json.loads(json.dumps(task.to_state())), Path())
        assert again == task
        batch = again.encode(ROWS, training=True)
        assert batch["features"].shape[1] == task.signature.inputs[0].shape[1]
        assert len(batch["targets"]) == len(ROWS)


def test_labels_are_compared_by_name():
    rows = [{"x": i, "y": value} for i, value in enumerate([1, 1.0, "1", " 1 ", 0, 0.0, "0", "0 "])]
    task = TabularClassification.from_rows(rows, Roles(label="y", features=("x",)), None)
    assert task.labels == ("0", "1")


def test_temperature_softens_and_never_changes_the_label():
    task = TabularClassification.from_rows(ROWS, ROLES, None)
    batch = task.encode(ROWS[:2])
    run = lambda _: {"logits": np.array([[0, 2.0], [0, -1.0]], np.float32)}  # noqa: E731
    sharp, soft = task.predict(run, batch), task.with_temperature(4.0).predict(run, batch)
    assert [p.value for p in sharp] == [p.value for p in soft] == ["True", "False"]
    assert sharp[0].confidence == pytest.approx(1 / (1 + np.exp(-2)))
    assert soft[0].confidence == pytest.approx(1 / (1 + np.exp(-0.5)))


def test_regression_metrics_agree_with_scikit_learn():
    task = TabularRegression.from_rows(ROWS, Roles(label="amount", features=("job", "rate")), None)
    target = np.array([1000.0 + 37 * i for i in range(40)])
    guess = target + np.random.default_rng(0).normal(size=40) * 100
    values = task.aggregate(task.score(ROWS, [Prediction(float(g)) for g in guess]))
    assert values["rmse"] == pytest.approx(reference.root_mean_squared_error(target, guess))
    assert values["mae"] == pytest.approx(reference.mean_absolute_error(target, guess))
    assert values["r2"] == pytest.approx(reference.r2_score(target, guess))


@pytest.mark.parametrize(
    ("rows", "roles", "reason"),
    [
        ([], ROLES, "no rows"),
        (ROWS, Roles(features=NAMES), "role 'label'"),
        (ROWS, Roles(label="bad"), "role 'features'"),
        (ROWS, Roles(label="constant", features=NAMES), "the same label 'x'"),
        (ROWS * 2, Roles(label="rate", features=NAMES), "row 0: has no label"),
        ([{"x": i, "y": i} for i in range(300)], Roles(label="y", features=("x",)), "300 different labels"),
    ],
)
def test_says_why_rows_cannot_be_learned(rows, roles, reason):
    assert reason in TabularClassification.supports(rows, roles)
    with pytest.raises(CapabilityError, match="tabular-classification cannot be learned"):
        TabularClassification.from_rows(rows, roles, None)
    assert TabularClassification.supports(ROWS, ROLES) is None


def test_regression_says_why_rows_cannot_be_learned():
    assert "a number" in TabularRegression.supports(ROWS, Roles(label="job", features=NAMES))
    assert "same number" in TabularRegression.supports([{"x": 1, "y": 2}] * 3, Roles(label="y", features=("x",)))
    assert TabularRegression.supports(ROWS, Roles(label="amount", features=NAMES)) is None


def test_a_missing_or_unknown_label_is_refused_with_its_place():
    task = TabularClassification.from_rows(ROWS, ROLES, None)
    with pytest.raises(DataError, match="row 0: has no label"):
        task.encode([{**ROWS[0], "bad": ""}], training=True)
    with pytest.raises(DataError, match="label 'perhaps' was not among the training rows"):
        task.encode([{**ROWS[0], "bad": "perhaps"}], training=True)
    assert "targets" not in task.encode([{**ROWS[0], "bad": ""}])


@pytest.mark.parametrize("change", [{"temperature": 0}, {"labels": ["a"]}, {"columns": []}, {"more": 1}])
def test_a_damaged_state_is_refused(change):
    state = TabularClassification.from_rows(ROWS, ROLES, None).to_state()
    with pytest.raises(ArtifactError, match="the task's state is damaged"):
        TabularClassification.from_state({**state, **change}, Path())


def test_an_unseen_test_label_counts_as_an_error():
    task = TabularClassification.from_rows(ROWS, ROLES, None)
    rows = [{**ROWS[0], "bad": "perhaps"}, ROWS[0]]
    stats = task.score(rows, [_prediction(task, 0.9)] * 2)
    assert stats.columns["true"].tolist() == [-1, 1]
    assert task.aggregate(stats)["accuracy"] == 0.5
