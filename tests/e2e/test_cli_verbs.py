"""Every verb on real parts: one small table is run once, and the other verbs use what it made."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.cli import main
from penjing.cli.run import BUDGET_NOT_MET
from penjing.core.artifact import open_artifact
from penjing.data.config import DataConfig
from penjing.pipeline.labelled import same_rows

QUICK = ["train.direct.trials=2", "train.direct.folds=2", "train.direct.num_seeds=1", "train.direct.max_rounds=20"]
QUICK_OPTIONS = [word for pair in [*QUICK, "evaluate.resamples=100"] for word in ("--set", pair)]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory, task_rows: Callable[[str], Any]) -> Path:
    """Sixty loan applications as CSV."""
    return write_csv(tmp_path_factory.mktemp("loans") / "loans.csv", task_rows("tabular-classification")[0])


@pytest.fixture(scope="module")
def finished(loans: Path) -> tuple[Path, dict[str, Any]]:
    """(artifact, the JSON document of the run that made it)."""
    out = loans.parent / "artifact"
    shown = io.StringIO()
    before, sys.stdout = sys.stdout, shown
    try:
        code = main(["run", str(loans), "--out", str(out), "--label", "approved", "--json", "--quiet", *QUICK_OPTIONS])
    finally:
        sys.stdout = before
    assert code == 0
    return out, json.loads(shown.getvalue())


def test_run_gives_one_json_document(finished):
    out, document = finished
    assert document["out"] == str(out)
    assert document["verdict"] is None
    assert document["report"]["task"] == "tabular-classification"
    assert document["report"]["quote"], "the quote stands beside what came true"
    assert (out / "report.html").is_file() and (out / "recipe.yaml").is_file()
    assert not out.with_name("artifact.partial").exists()


def test_a_finished_run_is_not_overwritten_by_accident(finished, loans, capsys):
    out, _ = finished
    before = (out / "manifest.json").read_bytes()
    assert main(["run", str(loans), "--out", str(out), *QUICK_OPTIONS]) == 2
    assert "already holds a finished run" in capsys.readouterr().err
    assert (out / "manifest.json").read_bytes() == before


def test_predict_a_file_to_a_file(finished, loans, tmp_path, capsys):
    out, _ = finished
    target = tmp_path / "out.csv"
    assert main(["predict", str(out), str(loans), "--out", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 60, "out": str(target)}
    with target.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 60
    assert {row["predicted_label"] for row in rows} <= {"yes", "no"}
    assert main(["predict", str(out), str(loans), "--out", str(target)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_predict_standard_input_equals_the_file(finished, loans, task_rows, capsys, monkeypatch):
    out, _ = finished
    rows = task_rows("tabular-classification")[0]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["predict", str(out), "-", "--stdin-format", "jsonl"]) == 0
    streamed = [json.loads(line)["prediction"] for line in capsys.readouterr().out.splitlines()]
    assert main(["predict", str(out), str(loans), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["prediction"] for entry in document["predictions"]] == streamed
    assert len(streamed) == 60


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b'{"income": 1, "age": 2, "housing": "own"}\n[1]\n', "standard input, line 2: a JSON list"),
        (b'{"income": 1, "age": 2, "housing": "own"}\n{"inc', "standard input, line 2: not JSON"),
        (b'{"income": 1, "age": 2, "housing": "\xff"}\n', "standard input, line 1: not UTF-8"),
        (b'{"income": 1, "age": 2}\n', "standard input: column 'housing' missing"),
        (b"", "standard input: no rows"),
    ],
)
def test_bad_standard_input(finished, lines, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["predict", str(finished[0]), "-", "--stdin-format", "jsonl"]) == 2
    assert said in capsys.readouterr().err


def test_a_text_is_not_what_a_table_artifact_predicts(finished, capsys):
    assert main(["predict", str(finished[0]), "--input", "hello"]) == 2
    assert "predicts from columns, not from a text" in capsys.readouterr().err


def test_verify_reproduces_every_figure(finished, capsys):
    assert main(["verify", str(finished[0]), "--no-timings", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"]
    judged = {figure["name"] for figure in document["figures"] if figure["ok"]}
    assert {"accuracy", "auc.low", "classes", "confusion", "model digest"} <= judged


def test_verify_finds_a_figure_that_was_changed(finished, tmp_path, capsys):
    """A report with a better accuracy, sealed again by somebody who wants it believed."""
    import shutil

    from penjing.core.artifact import MANIFEST, open_artifact, seal

    out, _ = finished
    forged = tmp_path / "artifact"
    shutil.copytree(out, forged)
    test = f"{out.name}.test.jsonl"
    shutil.copy(out.with_name(test), tmp_path / test)
    manifest = open_artifact(forged).manifest
    report = json.loads((forged / "report.json").read_text(encoding="utf-8"))
    report["evaluation"]["metrics"]["accuracy"]["value"] = 0.4242
    (forged / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert main(["verify", str(forged), "--no-timings"]) == 2
    assert "'report.json' is damaged or was changed" in capsys.readouterr().err
    (forged / MANIFEST).unlink()
    seal(forged, kind=manifest["kind"], capabilities=manifest["capabilities"], batch_invariant=True,
         extra={key: manifest[key] for key in ("test", "data_fingerprint", "training")})  # fmt: skip
    assert main(["verify", str(forged), "--no-timings", "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert [figure["name"] for figure in document["figures"] if figure["ok"] is False] == ["accuracy"]


def test_evaluate_on_the_sealed_rows_agrees_with_the_report(finished, tmp_path, capsys):
    out, document = finished
    target = tmp_path / "again"
    assert main(["evaluate", str(out), "--no-timings", "--json", "--out", str(target)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["evaluation"]["metrics"] == document["report"]["evaluation"]["metrics"]
    assert again["artifact_digest"] == document["report"]["artifact_digest"]
    assert (target / "report.html").is_file()


def test_evaluate_on_other_rows(finished, loans, tmp_path, task_rows, capsys):
    original = task_rows("tabular-classification")[0]
    rows = [{("decision" if name == "approved" else name): cell for name, cell in row.items()} for row in original]
    renamed = write_csv(tmp_path / "renamed.csv", rows)
    assert main(["evaluate", str(finished[0]), str(renamed), "--no-timings", "--json"]) == 2
    assert "approved" in json.loads(capsys.readouterr().out)["message"]
    assert main(["evaluate", str(finished[0]), str(renamed), "--label", "decision", "--no-timings", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["data"]["rows"] == {"test": 60}
    assert main(["evaluate", str(finished[0]), str(loans), "--no-timings", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluation"]["metrics"] == report["evaluation"]["metrics"]


@pytest.mark.parametrize(("language", "words"), [("en", "made from these rows"), ("zh", "正是用这些数据训练")])
def test_evaluate_warns_of_rows_the_model_was_made_from(finished, loans, tmp_path, capsys, language, words):
    assert main(["evaluate", str(finished[0]), str(loans), "--no-timings", "--quiet", "--lang", language]) == 0
    assert words in capsys.readouterr().err
    assert main(["evaluate", str(finished[0]), str(loans), "--no-timings", "--json"]) == 0
    assert "made from these rows" in json.loads(capsys.readouterr().out)["data"]["warnings"][0]
    likewise = ["--set", "data.format.kind=csv"]  # said in other words, the same rows
    assert main(["evaluate", str(finished[0]), str(loans), "--no-timings", "--json", *likewise]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["warnings"]
    elsewhere = tmp_path / "later.csv"
    elsewhere.write_bytes(loans.read_bytes())
    assert main(["evaluate", str(finished[0]), str(elsewhere), "--no-timings", "--lang", language]) == 0
    assert words not in capsys.readouterr().err


def test_which_sources_are_the_rows_a_model_was_made_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "deep").mkdir()
    url = "postgresql://reader@db/shop?options=" + "x" * 300  # longer than any file's name may be

    def same(given, made_from, **more):
        return same_rows(DataConfig(source=given, **more), DataConfig(source=made_from))

    assert same("a.csv", "deep/../a.csv") and same(str(tmp_path / "a.csv"), "a.csv")
    assert same("demo:german-credit", "german-credit") and same(url, url)
    assert not same(url, url, query="SELECT * FROM later") and not same("a.csv", "a.csv", format={"sheet": "later"})
    monkeypatch.chdir(tmp_path / "deep")
    assert not same(str(tmp_path / "a.csv"), "a.csv"), "here, that name is no file"


def test_evaluate_takes_keys_of_the_recipe(finished, capsys):
    settings = ["--set", "evaluate.resamples=120", "--set", "budget.train_minutes=1e-9"]
    assert main(["evaluate", str(finished[0]), "--no-timings", "--json", *settings]) == BUDGET_NOT_MET
    report = json.loads(capsys.readouterr().out)
    assert report["evaluation"]["resamples"] == 120 and report["verdicts"][0]["state"] == "FAIL"
    assert main(["evaluate", str(finished[0]), "--json", "--set", "evaluate.resample=120"]) == 2
    assert "did you mean 'resamples'" in capsys.readouterr().out


def test_compare_with_itself_finds_no_difference(finished, capsys):
    out = str(finished[0])
    assert main(["compare", out, out, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["accuracy"]["difference"] == 0
    assert main(["compare", out, out]) == 0
    shown = capsys.readouterr().out
    accuracy = document["metrics"]["accuracy"]["a"]
    assert "accuracy" in shown and f"{100 * accuracy:.1f}%" in shown and "points" in shown


@pytest.mark.parametrize("language", ["en", "zh"])
def test_people_read_the_same_figures(finished, capsys, language):
    out, document = finished
    assert main(["evaluate", str(out), "--no-timings", "--lang", language]) == 0
    shown = capsys.readouterr().out
    accuracy = document["report"]["evaluation"]["metrics"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f}%" in shown
    assert ("准确率" in shown) == (language == "zh")


def test_a_damaged_artifact_is_refused_by_name(finished, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    model = copy / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    assert main(["predict", str(copy), "--input", "x"]) == 2
    assert "'model.onnx' is damaged or was changed" in capsys.readouterr().err


def test_a_budget_that_is_not_met_exits_with_3(loans, tmp_path, capsys):
    words = ["run", str(loans), "--out", str(tmp_path / "x"), "--budget", "size_mb=0.0001", "--quiet", *QUICK_OPTIONS]
    assert main(words) == 3
    assert "does not" in capsys.readouterr().out.lower()
    assert (tmp_path / "x" / "manifest.json").is_file(), "the artifact is there all the same, with its verdict"


def test_check_shows_findings(tmp_path, capsys):
    rows = [{"text": f"where is parcel number {i}?", "label": "delivery"} for i in range(20)]
    rows += [{"text": f"please refund order {i}", "label": "refund"} for i in range(20)]
    rows += [{"text": "where is parcel number 3?", "label": "refund"}]
    path = write_csv(tmp_path / "rows.csv", rows)
    assert main(["check", str(path), "--json", "--quiet"]) in (0, 2)
    document = json.loads(capsys.readouterr().out)
    assert any("different labels" in finding["message"] for finding in document["findings"])
    main(["check", str(path), "--quiet"])
    assert "where is parcel number 3?" in capsys.readouterr().out


def test_train_leaves_out_the_test_figures(loans, tmp_path, capsys):
    out = tmp_path / "trained"
    assert main(["train", str(loans), "--out", str(out), "--json", "--quiet", *QUICK_OPTIONS]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["training"]["valid"]
    assert not (out / "report.json").exists()
    assert out.with_name("trained.test.jsonl").is_file()


def test_a_figure_that_does_not_exist_stops_no_training(task_rows, tmp_path, capsys):
    """Validation rows of one class have no AUC; the row of the other class is in the training rows alone."""
    pytest.importorskip("cryptography")
    from penjing.core.signing import new_key

    rows = task_rows("tabular-classification")[0]
    rows = [
        {**row, "split": "valid" if i % 5 == 0 and row["approved"] == "yes" else ("train", "test")[i % 8 == 1]}
        for i, row in enumerate(rows)
    ]
    source, out = write_csv(tmp_path / "loans.csv", rows), tmp_path / "out"
    key = tmp_path / "key.pem"
    public = new_key(key)
    words = [str(source), "--out", str(out), "--overwrite", "--label", "approved", "--sign-key", str(key), "--quiet"]
    words += ["--set", "data.columns.split=split", *QUICK_OPTIONS]

    assert main(["train", *words]) == 0
    assert "auc" in capsys.readouterr().out
    assert main(["train", *words, "--json"]) == 0
    valid = json.loads(capsys.readouterr().out)["training"]["valid"]
    assert valid["accuracy"] is not None and valid["auc"] is None
    manifest = json.loads((out / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert manifest["training"]["valid"]["auc"] is None
    assert open_artifact(out, public).manifest == manifest


@pytest.mark.slow
def test_select_and_quote_of_a_table(loans, capsys):
    """No pretrained model is needed, which is an answer; the quote is made all the same."""
    assert main(["select", str(loans), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["chosen"] is None
    assert main(["quote", str(loans), "--json", "--quiet", *QUICK_OPTIONS]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["score"]["low"] <= document["score"]["expected"] <= document["score"]["high"]
    assert document["seconds"] <= 60
