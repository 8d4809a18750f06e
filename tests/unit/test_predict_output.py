"""Prediction files: what they hold, that they are complete or absent, and that no spreadsheet runs them."""

from __future__ import annotations

import csv
import io
import json
import resource
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.core.errors import CapabilityError, DataError
from penjing.core.task import Prediction
from penjing.predict.load import load
from penjing.predict.output import print_predictions, write_predictions
from penjing.predict.output_formats import safe_cell
from penjing.predict.task_file import read_task

ROWS = [
    {"id": 1, "text": "Where is my parcel?", "label": "delivery"},
    {"id": 2, "text": '退款多久到账？, "急"\n第二行', "label": None},
    {"id": 3, "text": '=HYPERLINK("http://example.org")', "label": "+1"},
]


@pytest.fixture(scope="module")
def predictor(tiny_artifact):
    return load(tiny_artifact("text-classification").path, threads=1)


@pytest.fixture(scope="module")
def task(tiny_artifact):
    return read_task(tiny_artifact("text-classification").path)


@pytest.fixture
def pairs(task):
    probs = np.array([0.1, 0.2, 0.7])
    return [(row, Prediction(task.labels[2], 0.7, probs)) for row in ROWS]


def _write(pairs, path, task, **options):
    assert write_predictions(iter(pairs), path, task, **options) == len(pairs)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path


def test_csv_holds_rows_and_predictions(pairs, task, tmp_path):
    path = _write(pairs, tmp_path / "out.csv", task)
    with path.open(encoding="utf-8-sig", newline="") as handle:
        found = list(csv.DictReader(handle))
    assert list(found[0]) == ["id", "text", "label", "predicted_label", "predicted_confidence", "predicted_top"]
    assert [row["text"] for row in found[:2]] == [row["text"] for row in ROWS[:2]]
    assert [row["predicted_label"] for row in found] == [task.labels[2]] * 3
    assert float(found[0]["predicted_confidence"]) == 0.7
    assert json.loads(found[0]["predicted_top"])[task.labels[2]] == 0.7
    assert found[2]["text"] == "'" + ROWS[2]["text"]
    assert found[2]["label"] == "+1"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")


def test_jsonl_holds_rows_unchanged(pairs, task, tmp_path):
    path = _write(pairs, tmp_path / "out.jsonl", task)
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [{name: row[name] for name in ROWS[0]} for row in found] == ROWS
    assert found[0]["prediction"]["label"] == task.labels[2]


def test_parquet_holds_types(pairs, task, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = _write(pairs * 2000, tmp_path / "out.parquet", task)
    table = parquet.read_table(path)
    assert table.num_rows == 6000
    assert [str(field.type) for field in table.schema] == ["int64", "string", "string", "string", "double", "string"]
    assert table.slice(0, 3).select(["id", "text", "label"]).to_pylist() == ROWS


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_no_rows_give_an_empty_but_whole_file(name, task, tmp_path):
    _write([], tmp_path / name, task)


def test_several_labels_and_spans_fit_a_csv_cell(tiny_artifact, tmp_path):
    task = read_task(tiny_artifact("text-classification/multi-label").path)
    probs = np.linspace(0.1, 0.9, len(task.labels))
    pairs = [("a text", Prediction(list(task.labels[-2:]), 0.5, probs))]
    path = _write(pairs, tmp_path / "out.csv", task)
    row = next(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    assert row["text"] == "a text"
    assert row["predicted_labels"] == "|".join(task.labels[-2:])


def test_a_second_prediction_beside_the_first_gets_a_column_of_its_own(pairs, task, tmp_path):
    again = [({**row, "predicted_label": "old", "prediction": "old"}, p) for row, p in pairs]
    header = _write(again, tmp_path / "out.csv", task).read_text(encoding="utf-8-sig").splitlines()[0]
    assert '"predicted_label","prediction","predicted_label_2"' in header
    (tmp_path / "out.csv").unlink()
    first = json.loads(_write(again, tmp_path / "out.jsonl", task).read_text(encoding="utf-8").splitlines()[0])
    assert first["prediction"] == "old"
    assert first["prediction_2"]["label"] == task.labels[2]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠", "  =", "\ufeff="])
def test_formulas_are_defused(start):
    assert safe_cell(f"{start}cmd|'/c calc'!A1") == f"'{start}cmd|'/c calc'!A1"


@pytest.mark.parametrize("value", ["-3.5", "+1", "-.5e-7", "plain", "", "a=b", 3, -2.5, None, "'quoted"])
def test_numbers_and_plain_texts_stay(value):
    assert safe_cell(value) == value


@given(st.text())
def test_no_text_begins_like_a_formula_after_all(text):
    cell = safe_cell(text)
    assert cell in {text, "'" + text}
    if cell == text and cell.strip(" \ufeff")[:1] in set("=+-@\t\r＝＋－＠") - {""}:
        float(cell)


@given(st.text(), st.floats(), st.integers())
def test_whatever_a_row_holds_is_written_and_read_back(text, number, whole):
    class AnyTask:
        roles = None

        def render(self, prediction):
            return {"value": prediction.value}

    row = {"t": text, "f": number, "i": whole}
    for form in ("csv", "jsonl"):
        handle = io.StringIO(newline="")
        print_predictions([(row, Prediction(1.5))], handle, AnyTask(), format=form)
        written = handle.getvalue()
        if form == "jsonl":
            finite = np.isfinite(number)
            assert json.loads(written) == {**row, "f": number if finite else None, "prediction": {"value": 1.5}}
        else:
            found = list(csv.reader(io.StringIO(written, newline="")))
            assert found[0] == ["t", "f", "i", "predicted_value"]
            assert found[1][0] in {text, "'" + text}
            assert int(found[1][2]) == whole


def test_half_a_surrogate_pair_does_not_break_a_file(task, pairs, tmp_path):
    bad = [({"text": "a\ud800b"}, pairs[0][1])]
    line = _write(bad, tmp_path / "out.jsonl", task).read_text(encoding="utf-8")
    assert json.loads(line)["text"] == "a\ud800b"
    (tmp_path / "out.jsonl").unlink()
    assert "a\\ud800b" in _write(bad, tmp_path / "out.csv", task).read_text(encoding="utf-8-sig")
    (tmp_path / "out.csv").unlink()
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(_write(bad, tmp_path / "out.parquet", task))["text"].to_pylist() == ["a\ufffdb"]


def test_rows_that_do_not_fit_a_flat_file_are_refused(task, pairs, tmp_path):
    uneven = [*pairs, ({"text": "a", "more": 1}, pairs[0][1])]
    for name in ("out.csv", "out.parquet"):
        with pytest.raises(DataError, match=r"row 3: has columns \['more'\]"):
            write_predictions(uneven, tmp_path / name, task)
    assert list(tmp_path.iterdir()) == []
    assert len(_write(uneven, tmp_path / "out.jsonl", task).read_text().splitlines()) == 4


def test_a_column_that_changes_its_type_is_refused_by_parquet(task, pairs, tmp_path):
    pytest.importorskip("pyarrow")
    mixed = [*(pairs * 2000), ({**ROWS[0], "id": "four"}, pairs[0][1])]
    with pytest.raises(DataError, match="changes its type"):
        write_predictions(mixed, tmp_path / "out.parquet", task)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("a bad row")])
def test_an_interrupted_writer_leaves_nothing(name, error, task, pairs, tmp_path):
    def broken():
        yield from pairs
        raise error

    with pytest.raises(type(error) if isinstance(error, DataError) else error):
        write_predictions(broken(), tmp_path / name, task)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_no_room_is_one_line_and_leaves_nothing(name, task, pairs, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    endless = (({**row, "id": hash((i, row["id"]))}, found) for i in range(10_000) for row, found in pairs)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # a full disk, for this process alone
    try:
        with pytest.raises(CapabilityError, match=rf"{name}: cannot be written: File too large"):
            write_predictions(endless, tmp_path / name, task)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_absent_is_named(task, pairs, tmp_path):
    with pytest.raises(CapabilityError, match="No such file or directory"):
        write_predictions(pairs, tmp_path / "absent" / "out.csv", task)


def test_a_file_that_is_there_is_kept_unless_told_otherwise(task, pairs, tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("precious")
    with pytest.raises(DataError, match="exists already"):
        write_predictions(pairs, path, task)
    assert path.read_text() == "precious"
    _write(pairs, path, task, overwrite=True)
    assert "precious" not in path.read_text()


def test_a_users_file_called_like_a_part_is_kept(task, pairs, tmp_path):
    mine = tmp_path / "out.csv.part"
    mine.write_text("precious")
    write_predictions(pairs, tmp_path / "out.csv", task)
    assert mine.read_text() == "precious" and len(list(tmp_path.iterdir())) == 2


def test_the_format_comes_from_the_name_or_is_given(task, pairs, tmp_path):
    with pytest.raises(DataError, match=r"unknown output format '\.xls'"):
        write_predictions(pairs, tmp_path / "out.xls", task)
    _write(pairs, tmp_path / "out.txt", task, format="jsonl")
    with pytest.raises(DataError, match="cannot go to a stream"):
        print_predictions(pairs, io.StringIO(), task, format="parquet")


def test_memory_stays_constant_however_many_rows(predictor, tmp_path):
    """Five thousand rows of 12 kB (60 MB) go through prediction and writer in a few MB of Python memory."""
    rows = ({"id": i, "text": f"{i % 97} " + "包裹" * (i % 3), "note": f"{i:07d}" * 1714} for i in range(5_000))
    peak = 0

    def watched():
        nonlocal peak
        for i, pair in enumerate(predictor.stream(rows, window_rows=64)):
            yield pair
            if i % 100 == 99:
                peak = max(peak, tracemalloc.get_traced_memory()[1])

    tracemalloc.start()
    try:
        assert write_predictions(watched(), tmp_path / "out.jsonl", predictor.task) == 5_000
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out.jsonl").stat().st_size > 60e6
    assert peak < 12e6
