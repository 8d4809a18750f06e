"""`penjing compare` on labelled rows: an old model against one made from more rows, and rows that will not do."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import penjing
from penjing.cli import main
from penjing.core.task import Roles, TextSettings
from penjing.models.pretrained import Pretrained
from tiny_artifacts import make_artifact, make_task

QUICK = ["train.direct.trials=2", "train.direct.folds=2", "train.direct.num_seeds=1", "train.direct.max_rounds=20"]
Row = dict[str, Any]


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def loans(numbers: range) -> list[Row]:
    """Applications with an answer that follows from two numbers, but for one in nine."""
    rows = []
    for i in numbers:
        income, age = 1000 + (i * 377) % 4000, 20 + (i * 13) % 45
        yes = (income + 20 * age > 3600) != (i % 9 == 0)
        rows.append({"income": income, "age": age, "approved": "yes" if yes else "no"})
    return rows


def renamed(rows: list[Row], **names: str) -> list[Row]:
    return [{names.get(name, name): cell for name, cell in row.items()} for row in rows]


def train(source: Path, out: Path, label: str = "approved") -> str:
    words = ["train", str(source), "--out", str(out), "--label", label, "--quiet", "--json"]
    assert main([*words, *(word for pair in QUICK for word in ("--set", pair))]) == 0
    return str(out)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an old model, one from more rows, one whose file called the answer otherwise, and later rows."""
    here = tmp_path_factory.mktemp("loans")
    write_csv(here / "later.csv", loans(range(200, 260)))
    train(write_csv(here / "few.csv", loans(range(50))), here / "old")
    train(write_csv(here / "more.csv", loans(range(120))), here / "new")
    train(write_csv(here / "other.csv", renamed(loans(range(120)), approved="decision")), here / "other", "decision")
    return here


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(place)
    capsys.readouterr()  # what making the models said
    return place


def document(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main([*words, "--json", "--quiet"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1), err
    assert err.startswith("error: ") and [part for part in said if part not in err] == [], err


def test_models_reported_on_different_rows_are_told_how_to_compare(here, capsys):
    said = ["new: sealed test rows", "of old", "Next: give labelled rows that are new to both as the third argument"]
    refused(["compare", "old", "new"], said, capsys)


def test_both_are_scored_on_the_rows_as_evaluate_scores_each(here, capsys):
    found = document(["compare", "old", "new", "later.csv", "--set", "evaluate.resamples=200"], capsys)
    assert (found["a"], found["b"], found["n"], found["warnings"]) == ("old", "new", 60, [])
    for side, model in (("a", "old"), ("b", "new")):
        alone = document(["evaluate", model, "later.csv", "--no-timings"], capsys)["evaluation"]["metrics"]
        assert {name: change[side] for name, change in found["metrics"].items()} == {
            name: pytest.approx(metric["value"]) for name, metric in alone.items()
        }
    accuracy, test = found["metrics"]["accuracy"], found["mcnemar"]
    assert accuracy["a"] != accuracy["b"], "two different models"
    assert (test["only_b_right"] - test["only_a_right"]) / 60 == pytest.approx(accuracy["difference"])
    assert accuracy["low"] <= accuracy["difference"] <= accuracy["high"]
    share = accuracy["p_value"] * 201 / 2  # a count, and one more, over the draws and one: the setting was heard
    assert accuracy["p_value"] < 1 and share == pytest.approx(round(share))
    from_python = penjing.compare("old", "new", "later.csv", overrides={"evaluate.resamples": 200})
    assert from_python.model_dump(mode="json") == found


@pytest.mark.parametrize(("language", "words"), [("en", "have to be new to both models"), ("zh", "两个模型都没见过")])
def test_it_says_that_the_rows_have_to_be_new(here, capsys, language, words):
    assert main(["compare", "old", "new", "later.csv", "--lang", language]) == 0
    shown, said = capsys.readouterr()
    assert words in said and "warning" not in said
    assert ("accuracy" in shown) == (language == "en")
    assert main(["compare", "old", "old", "--lang", language]) == 0
    assert words not in capsys.readouterr().err, "sealed rows are new to both"


@pytest.mark.parametrize(("language", "words"), [("en", "made from these rows"), ("zh", "正是用这些数据训练")])
def test_it_warns_of_rows_that_one_was_made_from(here, capsys, language, words):
    assert main(["compare", "old", "new", "more.csv", "--quiet", "--lang", language]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "new" in line and "old" not in line and words in line
    (warning,) = document(["compare", "old", "new", "more.csv"], capsys)["warnings"]
    assert warning.startswith("new was made from these rows")


def test_columns_that_are_called_otherwise(here, tmp_path, capsys):
    source = str(write_csv(tmp_path / "rows.csv", renamed(loans(range(200, 260)), approved="outcome")))
    refused(["compare", "old", "new", source], ["rows.csv", "'approved' (label)", "--label COLUMN"], capsys)
    refused(
        ["compare", "old", "new", source, "--label", "outcom"], ["'outcom' (label)", "did you mean 'outcome'?"], capsys
    )
    same = document(["compare", "old", "new", source, "--label", "outcome"], capsys)
    assert same == document(["compare", "old", "new", "later.csv"], capsys)


def test_models_whose_own_columns_are_called_otherwise(here, tmp_path, capsys):
    refused(["compare", "new", "other", "later.csv"], ["'decision' (label) does not exist (as other reads it)"], capsys)
    found = document(["compare", "new", "other", "later.csv", "--label", "approved"], capsys)
    assert found["n"] == 60 and found["metrics"]["accuracy"]["difference"] == 0, "the same model but for the name"
    rows = loans(range(200, 260))
    both = [{**row, "decision": row["approved"]} for row in rows]
    assert document(["compare", "new", "other", str(write_csv(tmp_path / "both.csv", both))], capsys)["n"] == 60
    both[3]["decision"] = {"yes": "no", "no": "yes"}[rows[3]["approved"]]
    said = ["differ.csv:5", "new would be judged by 'approved', other by 'decision'", "--label COLUMN"]
    refused(["compare", "new", "other", str(write_csv(tmp_path / "differ.csv", both))], said, capsys)
    both[3]["decision"] = ""
    said = ["gap.csv:5", "1 rows can be used by one of the two models only"]
    refused(["compare", "new", "other", str(write_csv(tmp_path / "gap.csv", both))], said, capsys)


def test_rows_without_labels(here, tmp_path, capsys):
    bare = [{name: cell for name, cell in row.items() if name != "approved"} for row in loans(range(9))]
    refused(["compare", "old", "new", str(write_csv(tmp_path / "bare.csv", bare))], ["bare.csv", "'approved'"], capsys)
    empty = [{**row, "approved": ""} for row in bare]
    said = ["empty.csv", "the label column 'approved' is empty", "Next: fill it"]
    refused(["compare", "old", "new", str(write_csv(tmp_path / "empty.csv", empty))], said, capsys)
    refused(["compare", "old", "new", "latr.csv"], ["latr.csv: no such file", "did you mean 'later.csv'?"], capsys)


def test_a_class_that_only_the_new_model_knows(here, tmp_path, text_settings, tiny_pretrained, capsys):
    """Two classes are judged by AUC, three have none; what both have decides, and no sealed rows are needed."""
    rows, roles = loans(range(60)), Roles(features=("income", "age"), label="approved")
    wider = [{**row, "approved": "later"} if row["age"] > 50 else row for row in rows]
    for name, made_from in (("two", rows), ("three", wider)):
        task = make_task("tabular-classification", made_from, roles, text_settings)
        make_artifact(task, made_from, tiny_pretrained, tmp_path / name)
    words = ["compare", str(tmp_path / "two"), str(tmp_path / "three"), str(write_csv(tmp_path / "rows.csv", wider))]
    found = document(words, capsys)
    assert "auc" not in found["metrics"] and found["primary"] in found["metrics"]
    assert found["metrics"]["accuracy"]["b"] > found["metrics"]["accuracy"]["a"]
    assert main([*words, "--quiet"]) == 0
    assert "*" in capsys.readouterr().out


def test_models_of_two_kinds_are_refused_before_a_row_is_read(
    here, tiny_artifact: Callable[[str], Any], text_settings: TextSettings, tiny_pretrained: Pretrained, capsys
):
    other = str(tiny_artifact("text-classification").path)
    refused(["compare", "old", other, "missing.csv"], ["tabular-classification", "text-classification"], capsys)
