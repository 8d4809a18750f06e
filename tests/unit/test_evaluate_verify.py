"""Verification and comparison of artifacts: a real model, its report, its sealed rows, and what may go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from penjing.api import compare
from penjing.cli import main
from penjing.core.artifact import Artifact, file_sha256, open_artifact, seal, size_bytes
from penjing.core.errors import ArtifactError, DataError
from penjing.core.recipe import RECIPE, parse_recipe
from penjing.core.report import Comparison, Compression, Cost, DataSummary, ModelSummary, QuotedFigure, Report
from penjing.core.task import Table
from penjing.evaluate.assemble import cost_of, files_digest, write_report_files
from penjing.evaluate.compare import Contender, compare_predictions
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.sealed_test import write_test
from penjing.evaluate.verdict import verdicts
from penjing.evaluate.verify import verify
from penjing.predict.measure import measure
from penjing.predict.predictor import Predictor


def _quoted(evaluation) -> QuotedFigure:
    actual = evaluation.metrics[evaluation.primary].value
    return QuotedFigure(name=evaluation.primary, low=actual - 1, expected=actual, high=actual, actual=actual, held=True)


def with_report(
    model: Artifact,
    rows,
    directory: Path,
    *,
    measured: bool = False,
    changed=None,
    budget=None,
    parent: Path | None = None,
) -> Path:
    """An artifact of the same model with report and sealed test rows, as a run leaves it, or as made from a parent."""
    directory.mkdir(parents=True)
    names = model.manifest["capabilities"]["predict_files"]
    for name in names:
        shutil.copyfile(model.path / name, directory / name)
    table = Table(rows, [f"rows:{i}" for i in range(len(rows))], "rows")
    entry = write_test(table, directory)
    task = Predictor(model).task
    evaluation = evaluate(task, table, Predictor(model).predict(rows), EvaluateConfig(resamples=100))
    cost = cost_of(
        measure(model, rows, seconds=0.2, num_processes=1) if measured else None,
        train_minutes=1.5 if measured else None,
    )
    recipe = parse_recipe({"budget": budget or {}})
    (directory / RECIPE).write_text(recipe.to_yaml(), encoding="utf-8")
    comparison, compression = (None, None) if parent is None else _made_from(parent, table, directory.name)
    report = Report(
        name=directory.name,
        task=task.kind,
        created="2026-01-01T00:00:00Z",
        artifact_digest=files_digest(directory, names),
        model=ModelSummary(name="tiny"),
        data=DataSummary(
            fingerprint="0" * 64,
            rows={"test": len(rows)},
            num_labels=len(task.labels),
            test_sha256=entry["sha256"],
        ),
        evaluation=evaluation,
        cost=cost,
        hardware=describe_hardware(),
        quote=[_quoted(evaluation)],
        verdicts=verdicts(recipe.budget, evaluation, cost, comparison),
        comparison=comparison,
        compression=compression,
    )
    if changed:
        report = Report.model_validate(changed(report.model_dump()))
    write_report_files(report, directory)
    seal(
        directory,
        kind=task.kind,
        capabilities=model.manifest["capabilities"],
        batch_invariant=True,
        parent=None if parent is None else open_artifact(parent).digest,
        extra={"test": entry, "data_fingerprint": "0" * 64, "steps": [] if parent is None else [{"method": "half"}]},
    )
    return directory


def _made_from(parent: Path, table: Table, name: str) -> tuple[Comparison, Compression]:
    """As if a step had left every answer as it was."""
    artifact = open_artifact(parent)
    before = Predictor(artifact)
    answers = before.predict(table.rows)
    sides = [Contender(parent.name, before.task, answers), Contender(name, before.task, answers)]
    compression = Compression(
        parent=parent.name,
        parent_digest=artifact.digest,
        parent_cost=Cost(size_mb=size_bytes(artifact) / 1e6, p50_ms=1e6),
        parent_setup=before.setup.to_json(),
        steps=["half"],
        minutes=1,
    )
    return compare_predictions(table, *sides, EvaluateConfig(resamples=100)), compression


@pytest.fixture
def texts(tiny_artifact, task_rows):
    return tiny_artifact("text-classification"), task_rows("text-classification")[0]


def test_an_honest_report_verifies_figure_by_figure(texts, tmp_path):
    found = verify(with_report(*texts, tmp_path / "model"), timings=False)
    assert found.ok and found.rows == 30
    by_name = {figure.name: figure for figure in found.figures}
    assert by_name["accuracy"].reported == by_name["accuracy"].found
    assert {
        "accuracy.low",
        "macro_f1.high",
        "classes",
        "confusion",
        "slices",
        "mistakes",
        "model digest",
    } <= by_name.keys()
    assert all(figure.ok for figure in found.figures if figure.rule == "equal")
    assert json.loads(json.dumps(found.to_json()))["ok"] is True


@pytest.mark.parametrize(
    "kind",
    ["tabular-classification", "tabular-regression", "text-classification/multi-label", "token-classification"],
)
def test_every_kind_of_answer_verifies(tiny_artifact, task_rows, tmp_path, kind):
    assert verify(with_report(tiny_artifact(kind), task_rows(kind)[0], tmp_path / "model"), timings=False).ok


def test_costs_are_measured_again_within_their_ratios(tiny_artifact, task_rows, tmp_path):
    kind = "tabular-classification"
    path = with_report(tiny_artifact(kind), task_rows(kind)[0], tmp_path / "model", measured=True)
    by_name = {figure.name: figure for figure in verify(path, seconds=0.2).figures}
    assert {"p50_ms", "p95_ms", "rows_per_s", "load_ms", "ram_mb", "size_mb", "train_minutes"} <= by_name.keys()
    assert by_name["size_mb"].ok and by_name["size_mb"].found == by_name["size_mb"].reported
    assert by_name["ram_mb"].ok and by_name["ram_mb"].found > 10
    assert (by_name["train_minutes"].found, by_name["train_minutes"].ok) == (None, None)
    assert all(by_name[name].found > 0 for name in ("p50_ms", "p95_ms", "rows_per_s", "load_ms"))


def change(*keys, value):
    def changed(report):
        place = report
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value(place[keys[-1]]) if callable(value) else value
        return report

    return changed


@pytest.mark.parametrize(
    ("changed", "figure"),
    [
        (change("evaluation", "metrics", "accuracy", "value", value=lambda v: v + 1 / 30), "accuracy"),
        (change("evaluation", "metrics", "macro_f1", "low", value=lambda v: v + 1e-6), "macro_f1.low"),
        (change("evaluation", "classes", 0, "recall", value=0.999), "classes"),
        (change("evaluation", "confusion", "cells", value=lambda cells: cells[1:]), "confusion"),
        (change("evaluation", "calibration", "ece_after", value=0.0), "calibration.ece_after"),
        (change("evaluation", "mistakes", value=[]), "mistakes"),
        (change("artifact_digest", value="f" * 64), "model digest"),
        (change("cost", "size_mb", value=0.001), "size_mb"),
        (change("evaluation", "level", value=0.99), "evaluation"),
        (change("evaluation", "resamples", value=100_000), "evaluation"),
        (change("evaluation", "metrics", "accuracy", "n", value=30_000), "evaluation"),
        (change("evaluation", "calibration", "bins_after", value=[]), "evaluation"),
        (change("data", "rows", "test", value=30_000), "data"),
        (change("model", "parameters", value=7), "model"),
        (change("task", value="text-regression"), "task"),
        (change("verdicts", 0, "state", value="PASS"), "verdicts"),
        (change("verdicts", value=[]), "verdicts"),
        (change("quote", 0, "held", value=False), "what came true of the quote"),
        (change("quote", 0, "low", value=2.0), "what came true of the quote"),
    ],
)
def test_a_report_that_claims_something_else_is_caught(texts, tmp_path, changed, figure):
    path = with_report(*texts, tmp_path / "model", changed=changed, budget={"metric": 99.9})
    found = verify(path, timings=False)
    assert not found.ok
    assert [f.name for f in found.figures if f.ok is False] == [figure]


def test_a_metric_left_out_of_a_report_is_caught(texts, tmp_path):
    path = with_report(*texts, tmp_path / "model", changed=change("evaluation", "metrics", value=without("macro_f1")))
    failed = [figure for figure in verify(path, timings=False).figures if figure.ok is False]
    assert [figure.name for figure in failed] == ["macro_f1", "macro_f1.low", "macro_f1.high", "evaluation"]
    assert failed[0].reported is None and failed[0].found is not None


def without(name):
    return lambda values: {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize("name", ["report.html", "report.zh.html", "model_card.md"])
def test_a_page_that_says_something_else_is_caught(texts, tmp_path, name):
    path = with_report(*texts, tmp_path / "model")
    manifest = json.loads((path / "manifest.json").read_text())
    text = (path / name).read_text(encoding="utf-8")
    (path / name).write_text(text.replace("30", "99"), encoding="utf-8")
    manifest["files"][name] = {"sha256": file_sha256(path / name), "bytes": (path / name).stat().st_size}
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert [figure.name for figure in verify(path, timings=False).figures if figure.ok is False] == [name]
    (path / name).unlink()
    del manifest["files"][name]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert [figure.name for figure in verify(path, timings=False).figures if figure.ok is False] == [name]


def test_pages_of_another_release_are_shown_but_not_judged(texts, tmp_path):
    path = with_report(*texts, tmp_path / "model", changed=change("hardware", "libraries", "penjing", value="0.0.1"))
    by_name = {figure.name: figure for figure in verify(path, timings=False).figures}
    assert by_name["report.html"].ok is None and by_name["report.html"].rule == "another release of penjing"


def test_another_machine_is_shown_but_not_judged(tiny_artifact, task_rows, tmp_path):
    kind = "tabular-classification"

    def changed(report):
        report["hardware"]["cpu"] = "a processor nobody has"
        report["cost"]["p95_ms"] = 1e-6  # no machine is that fast
        for metric in report["evaluation"]["metrics"].values():
            metric["value"] += 1e-6  # other instructions round otherwise
        return report

    path = with_report(tiny_artifact(kind), task_rows(kind)[0], tmp_path / "model", measured=True, changed=changed)
    found = verify(path, seconds=0.2)
    by_name = {figure.name: figure for figure in found.figures}
    assert not found.same_machine
    assert by_name["p95_ms"].ok is None and by_name["p95_ms"].found > 1e-6
    assert found.ok
    wrong = change("evaluation", "metrics", "auc", "value", value=lambda v: v + 1e-3)
    path = with_report(
        tiny_artifact(kind), task_rows(kind)[0], tmp_path / "wrong", changed=lambda report: wrong(changed(report)),
        measured=True,
    )  # fmt: skip
    assert "auc" in {figure.name for figure in verify(path, timings=False).figures if figure.ok is False}


def test_other_rows_are_refused(texts, tmp_path):
    path = with_report(*texts, tmp_path / "model")
    sealed = tmp_path / "model.test.jsonl"
    other = tmp_path / "other.jsonl"
    other.write_bytes(sealed.read_bytes().replace(b"delivery", b"refund", 1))
    with pytest.raises(DataError, match="not the sealed test file"):
        verify(path, other, timings=False)
    kept = tmp_path / "elsewhere.jsonl"
    sealed.rename(kept)
    with pytest.raises(DataError, match=r"sealed test file is missing.*put it beside"):
        verify(path, timings=False)
    assert verify(path, kept, timings=False).ok


def test_damage_is_refused_with_the_name_of_the_file(texts, tmp_path):
    path = with_report(*texts, tmp_path / "model")
    report = path / "report.json"
    report.write_text(report.read_text().replace('"value": 0.', '"value": 1.', 1))
    with pytest.raises(ArtifactError, match=r"report\.json"):
        verify(path, timings=False)


def test_an_artifact_without_test_rows_cannot_be_verified(texts, tmp_path):
    path = with_report(*texts, tmp_path / "model")
    manifest = json.loads((path / "manifest.json").read_text())
    for entry, message in (
        (None, "made without test rows"),
        ({"file": "../x", "sha256": "0" * 64}, "outside its place"),
    ):
        (path / "manifest.json").write_text(json.dumps(manifest | {"test": entry}))
        with pytest.raises(ArtifactError, match=message):
            verify(path, timings=False)


def test_two_artifacts_are_compared_on_the_rows_they_share(texts, tmp_path):
    a, b = (with_report(*texts, tmp_path / name) for name in ("a", "b"))
    quick = {"evaluate.resamples": 100}
    found = compare(a, b, overrides=quick)
    assert found.n == 30 and found.metrics["accuracy"].difference == 0
    (tmp_path / "a.test.jsonl").unlink()  # the other's copy serves as well
    assert compare(a, b, overrides=quick).n == 30
    elsewhere = (tmp_path / "b.test.jsonl").rename(tmp_path / "elsewhere.jsonl")
    assert compare(a, b, test=elsewhere, overrides=quick) == found


def test_artifacts_reported_on_different_rows_are_not_compared(texts, tmp_path):
    model, rows = texts
    a, b = with_report(model, rows, tmp_path / "a"), with_report(model, rows[:20], tmp_path / "b")
    with pytest.raises(DataError, match=r"differ from.*new to both as the third argument.*same splits"):
        compare(a, b)


def test_the_report_files_are_part_of_the_artifact(texts, tmp_path):
    path = with_report(*texts, tmp_path / "model")
    names = open_artifact(path).manifest["files"].keys()
    assert {"report.json", "report.html", "report.zh.html", "model_card.md"} <= names
    assert 'href="report.zh.html"' in (path / "report.html").read_text()
    assert 'href="report.html"' in (path / "report.zh.html").read_text()


@pytest.fixture
def made(texts, tmp_path):
    """A model with a report, and how to make one from it."""
    before = with_report(*texts, tmp_path / "before")

    def after(name="after", **rest):
        return with_report(*texts, tmp_path / name, parent=before, budget={"drop": 1, "metric": 1}, **rest)

    return before, after


def test_a_compressed_artifact_is_judged_by_its_comparison(made):
    _, after = made
    found = verify(after(), timings=False)
    by_name = {figure.name: figure for figure in found.figures}
    assert found.ok and by_name["verdicts"].ok
    assert {"parent's digest", "steps", "answered early", "its side of the comparison"} <= by_name.keys()
    for name in ("comparison", "what was tried", "what the parent costs"):
        assert (by_name[name].found, by_name[name].ok) == (None, None), name
    assert "parent.size_mb" not in by_name


def test_the_comparison_comes_out_again_beside_the_model_it_was_made_from(made, tmp_path):
    before, after = made
    elsewhere = tmp_path / "moved" / "elsewhere"
    elsewhere.parent.mkdir()
    shutil.copytree(before, elsewhere)
    found = verify(after(), parent=elsewhere, timings=False)
    by_name = {figure.name: figure for figure in found.figures}
    assert found.ok and by_name["comparison"].ok and by_name["comparison"].found.endswith(" equal")
    assert by_name["parent.size_mb"].ok and by_name["parent.p50_ms"].rule == "not measured"
    measured = verify(after("measured", measured=True), parent=before, seconds=0.1)
    by_name = {figure.name: figure for figure in measured.figures}
    assert by_name["parent.p50_ms"].ok and 0 < by_name["parent.p50_ms"].found < 1e6


@pytest.mark.parametrize(
    ("changed", "alone", "beside"),
    [
        (change("comparison", "metrics", "accuracy", "low", value=-0.5), ["verdicts"], ["comparison"]),
        (change("comparison", "metrics", "accuracy", "a", value=0.999), [], ["comparison"]),
        (change("comparison", "metrics", "accuracy", "b", value=0.999), ["its side of the comparison"], None),
        (change("comparison", value=None), ["verdicts"], ["comparison"]),
        (change("compression", "steps", value=["half", "int4"]), ["steps"], ["steps"]),
        (change("compression", "early", value=0.5), ["answered early"], ["answered early"]),
        (change("compression", "parent_cost", "size_mb", value=1e3), [], ["parent.size_mb"]),
        (change("compression", value=None), ["verdicts"], None),
    ],
)
def test_a_report_that_claims_another_compression_is_caught(made, changed, alone, beside):
    before, after = made
    path = after(changed=changed)
    assert [figure.name for figure in verify(path, timings=False).figures if figure.ok is False] == alone
    if beside is not None:
        found = verify(path, parent=before, timings=False)
        assert [figure.name for figure in found.figures if figure.ok is False] == beside


def test_another_parent_is_refused(made, texts, tmp_path, capsys):
    before, after = made
    other = with_report(texts[0], texts[1][:20], tmp_path / "other")
    with pytest.raises(ArtifactError, match=r"is not the model that .*after was made from.*with the digest"):
        verify(after(), parent=other, timings=False)
    with pytest.raises(ArtifactError, match="made from no other model"):
        verify(before, parent=other, timings=False)
    capsys.readouterr()
    words = ["verify", str(tmp_path / "after"), "--no-timings", "--quiet", "--lang", "zh", "--parent"]
    assert main([*words, str(before)]) == 0
    assert "与压缩前的对比" in capsys.readouterr().out
    assert main([*words, str(other)]) == 2
    assert "压缩前的模型" in capsys.readouterr().err
