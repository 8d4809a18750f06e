"""`penjing predict` with artifacts that read texts: arguments, lines, files whose columns are called otherwise."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main
from penjing.core.artifact import MANIFEST, seal
from penjing.core.recipe import parse_recipe
from penjing.core.task import TextSettings
from penjing.data.config import DataConfig
from penjing.data.prepare import prepare
from penjing.models.pretrained import Pretrained
from penjing.pipeline.labelled import labelled_rows
from penjing.pipeline.run import RECIPE
from tiny_artifacts import make_artifact, make_task

Made = dict[str, Path]


@pytest.fixture(scope="module")
def artifacts(
    tmp_path_factory: pytest.TempPathFactory,
    task_rows: Callable[[str], Any],
    text_settings: TextSettings,
    tiny_pretrained: Pretrained,
) -> Made:
    """Task kind → artifact; random weights, which is all that reading and writing need."""
    directory = tmp_path_factory.mktemp("artifacts")
    made = {}
    for kind in ("text-classification", "text-pair"):
        rows, roles = task_rows(kind)
        made[kind] = directory / kind
        make_artifact(make_task(kind, rows, roles, text_settings), rows, tiny_pretrained, made[kind])
    return made


def predictions(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main([*words, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]


def test_a_file_written_otherwise_than_the_training_rows(artifacts, tmp_path, capsys):
    path = tmp_path / "rows.csv"
    words = ["predict", str(artifacts["text-classification"]), str(path)]
    for delimiter in ("|", "\t", "#"):
        path.write_text("text|note\nWhere is it, please?|a\n我要退款|b\n".replace("|", delimiter))
        found = predictions([*words, "--set", f"data.format.delimiter={delimiter}"], capsys)
        assert [entry["input"]["text"] for entry in found] == ["Where is it, please?", "我要退款"]
    assert main([*words, "--set", "train.epochs=3"]) == 2
    assert "train.epochs cannot be changed when predicting" in capsys.readouterr().err


def test_what_is_predicted_is_not_replaced_by_its_predictions(artifacts, tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text("text\nWhere is it?\n")
    words = ["predict", str(artifacts["text-classification"]), str(path), "--out", str(path), "--overwrite"]
    assert main(words) == 2
    assert "is what is predicted from. Next: give another --out" in capsys.readouterr().err
    assert path.read_text() == "text\nWhere is it?\n"


def test_texts_lines_and_files_agree(artifacts, tmp_path, capsys, monkeypatch):
    artifact = str(artifacts["text-classification"])
    texts = ["Where is my parcel?", "我要退款", "x" * 300]
    given = predictions(["predict", artifact, "--input", *texts], capsys)
    assert [entry["input"] for entry in given] == [{"text": text} for text in texts]

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\r\n".join(texts).encode())))
    lines = predictions(["predict", artifact, "-"], capsys)
    assert lines == given

    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"id": i, "review": text}) + "\n" for i, text in enumerate(texts)))
    renamed = predictions(["predict", artifact, str(data), "--text", "review"], capsys)
    assert [entry["prediction"] for entry in renamed] == [entry["prediction"] for entry in given]
    assert [entry["input"]["id"] for entry in renamed] == [0, 1, 2]


def test_delimited_rows_of_standard_input(artifacts, capsys, monkeypatch):
    def piped(text: str, *more: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return ["predict", str(artifacts["text-classification"]), "-", "--stdin-format", "csv", *more]

    texts = ['Where is "my" parcel?', "我要退款，现在", "two\nlines, one text"]
    rows = "id,review\r\n" + "".join(f'{i},"{text.replace(chr(34), chr(34) * 2)}"\n' for i, text in enumerate(texts))
    found = predictions(piped(rows, "--text", "review"), capsys)
    assert [entry["input"] for entry in found] == [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    given = predictions(["predict", str(artifacts["text-classification"]), "--input", *texts], capsys)
    assert [entry["prediction"] for entry in found] == [entry["prediction"] for entry in given]
    # What Excel writes, and a title of two lines; the first line may be blank.
    marked = predictions(piped('\ufeff\n"a title, of\r\ntwo lines",text\r\n"1\r\n2",good\r\n'), capsys)
    assert [entry["input"] for entry in marked] == [{"a title, of\r\ntwo lines": "1\r\n2", "text": "good"}]
    for mark in "\t;|":
        other = predictions(piped(f"id{mark}text\n1{mark}good, and cheap\n"), capsys)
        assert [entry["input"] for entry in other] == [{"id": "1", "text": "good, and cheap"}]
    for text, words in {
        "text,id\ngood,1\nbad\n": "standard input:3: the row has 1 field",
        "id;review\n1,good\n": "standard input:2: the row has 1 field",
        "text\rgood\n": "standard input:1: the row that starts here cannot be parsed",
        "text,text\ngood,bad\n": "duplicate column names",
        'text\n"good\nbad\n': "standard input:2: the row that starts here cannot be parsed",
        "": "no rows",
        "\n": "no rows",
    }.items():
        assert main(piped(text)) == 2
        assert words.lower() in capsys.readouterr().err.lower()


def test_what_looks_like_a_mistake_is_said(artifacts, tmp_path, capsys, monkeypatch):
    artifact, data = str(artifacts["text-classification"]), tmp_path / "rows.csv"
    data.write_text("date\n2024-01-05\n")
    assert main(["predict", artifact, str(data)]) == 0
    assert "column 'date' is read as the text, because it is the only one" in capsys.readouterr().err
    assert main(["predict", artifact, str(data), "--text", "date"]) == 0
    assert "only one" not in capsys.readouterr().err
    for text, headed in (("text\nWhere is it?\n", True), ("id,text\n1,a\n", True), ("Where is the text?\n", False)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert main(["predict", artifact, "-", "--lang", "zh"]) == 0
        assert ("若它是表头，请加 --stdin-format csv" in capsys.readouterr().err) == headed


def test_a_column_that_is_missing(artifacts, tmp_path, capsys):
    data = tmp_path / "rows.csv"
    data.write_text("id,review\n1,good\n2,bad\n")
    assert main(["predict", str(artifacts["text-classification"]), str(data)]) == 2
    err = capsys.readouterr().err
    assert "column 'text' missing" in err and "there are 'id', 'review'" in err and "Next: name the column" in err
    assert main(["predict", str(artifacts["text-classification"]), str(data), "--text", "reviews"]) == 2
    assert "column 'reviews' missing" in capsys.readouterr().err


def test_pairs(artifacts, capsys, monkeypatch):
    artifact = str(artifacts["text-pair"])
    found = predictions(["predict", artifact, "--input", "a b", "c d", "e f", "g h"], capsys)
    assert [entry["input"] for entry in found] == [{"left": "a b", "right": "c d"}, {"left": "e f", "right": "g h"}]
    assert main(["predict", artifact, "--input", "a b"]) == 2
    assert "1 texts for pairs" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\n")))
    assert main(["predict", artifact, "-"]) == 2
    assert "Next: give JSON objects or CSV: --stdin-format jsonl" in capsys.readouterr().err


def test_the_row_that_cannot_be_used_is_named(artifacts, tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [{"text": f"text number {i}"} for i in range(30)]
    rows[17] = {"text": {"nested": True}}
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = tmp_path / "out.csv"
    assert main(["predict", str(artifacts["text-classification"]), str(data), "--out", str(target), "--quiet"]) == 2
    assert "rows.jsonl:18" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_a_text_that_was_taken_for_a_file(artifacts, capsys):
    assert main(["predict", str(artifacts["text-classification"]), "where is my parcel"]) == 2
    assert "Next: to predict a text, give it with --input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--input", "x", "--out", "rows.doc"], "unknown output format '.doc'"),
        (["--input", "x", "--threads", "0"], "--threads is 0"),
        (["--input", "x", "--backend", "onnx"], "did you mean 'onnxruntime'?"),
        (["rows.csv", "--input", "x"], "both a data source and --input"),
    ],
)
def test_mistakes(artifacts, words, said, capsys):
    assert main(["predict", str(artifacts["text-classification"]), *words]) == 2
    assert said in capsys.readouterr().err


def test_csv_on_standard_output(artifacts, capsys):
    assert main(["predict", str(artifacts["text-classification"]), "--input", "=1+1", "--format", "csv"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.startswith('"text","predicted_label"')
    assert row.startswith('"\'=1+1"')


def test_a_file_is_read_as_the_artifacts_own_data_was(artifacts, tmp_path, capsys, monkeypatch):
    """Names of columns and the delimiter come from the artifact's recipe."""
    directory = tmp_path / "artifact"
    made = artifacts["text-classification"]
    shutil.copytree(made, directory)
    recipe = parse_recipe({"data": {"source": "old.csv", "format": {"delimiter": "^", "header": ["number", "text"]}}})
    (directory / RECIPE).write_text(recipe.to_yaml(), encoding="utf-8")
    manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    (directory / MANIFEST).unlink()
    seal(directory, kind=manifest["kind"], capabilities=manifest["capabilities"], batch_invariant=True)
    data = tmp_path / "rows.csv"
    data.write_text("1^good, and quick\n2^bad, and late\n", encoding="utf-8")
    found = predictions(["predict", str(directory), str(data)], capsys)
    assert [entry["input"]["text"] for entry in found] == ["good, and quick", "bad, and late"]


def test_a_header_is_known_by_the_column_the_artifact_or_the_user_names(
    task_rows, text_settings, tiny_pretrained, tmp_path, capsys
):
    rows, roles = task_rows("text-classification")
    renamed = [{"phrase": row["text"], "label": row["label"]} for row in rows]
    artifact = tmp_path / "artifact"
    task = make_task("text-classification", renamed, replace(roles, text="phrase"), text_settings)
    make_artifact(task, renamed, tiny_pretrained, artifact)
    data = tmp_path / "rows.csv"
    data.write_text("phrase\ngood morning\nwhere is it\n", encoding="utf-8")
    found = predictions(["predict", str(artifact), str(data)], capsys)
    assert [entry["input"] for entry in found] == [{"phrase": "good morning"}, {"phrase": "where is it"}]
    data.write_text("what,who\ngood morning,Ann\nwhere is it,Bo\n", encoding="utf-8")
    found = predictions(["predict", str(artifact), str(data), "--text", "what"], capsys)
    assert [entry["input"]["phrase"] for entry in found] == ["good morning", "where is it"]


def test_labels_are_separated_as_the_artifacts_own_were(task_rows, text_settings, tmp_path):
    rows, roles = task_rows("text-classification/multi-label")
    task = make_task("text-classification/multi-label", rows, roles, text_settings)
    data = tmp_path / "rows.csv"
    data.write_text("text,labels\ngood,pleased#refund\nbad,angry\n", encoding="utf-8")
    settings = parse_recipe({"data": {"columns": {"label_separator": "#"}}}).stage("data")
    assert [row["labels"] for row in labelled_rows(task, str(data), {}, settings).rows] == [
        ["pleased", "refund"],
        ["angry"],
    ]


def test_a_file_with_one_combination_of_labels_is_read_as_the_task_learned_them(task_rows, text_settings, tmp_path):
    several = tmp_path / "several.csv"
    combined = ("pleased|refund", "angry|refund", "pleased|angry", "pleased", "angry", "refund", "")
    cells = [f"message number {i},{combined[i % 7]}" for i in range(70)]
    several.write_text("\n".join(["text,labels", *cells]), encoding="utf-8")
    prepared = prepare(DataConfig(source=str(several)))
    assert prepared.config.columns.label_separator == "|" and len(prepared.unlabelled) == 10
    again = prepare(prepared.config)
    assert (again.config, len(again.unlabelled)) == (prepared.config, 10)
    task = make_task(
        "text-classification/multi-label", prepared.splits.train.rows, prepared.splits.roles, text_settings
    )
    few = tmp_path / "few.csv"
    few.write_text("text,labels\nThank you,pleased|refund\nThanks again,pleased|refund\n", encoding="utf-8")
    assert [row["labels"] for row in labelled_rows(task, str(few), {}, prepared.config).rows] == [
        ["pleased", "refund"]
    ] * 2


def test_labels_of_a_task_of_one_label_stay_whole(task_rows, text_settings, tmp_path):
    rows, roles = task_rows("text-classification")
    task = make_task("text-classification", rows, roles, text_settings)
    data = tmp_path / "rows.csv"
    data.write_text("text,label\nBack,refund/product\nWhere,product/refund\nSo,refund\nIt,product\n", encoding="utf-8")
    found = labelled_rows(task, str(data), {}, DataConfig())
    assert [row["label"] for row in found.rows] == ["refund/product", "product/refund", "refund", "product"]


def test_nan_in_json_lines_is_refused_at_its_line(artifacts, capsys, monkeypatch):
    rows = b'{"text": "good", "n": 1}\n{"text": "bad", "n": NaN}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows)))
    assert main(["predict", str(artifacts["text-classification"]), "-", "--stdin-format", "jsonl", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert error["where"] == "standard input, line 2" and "NaN is no JSON number" in error["what"]
