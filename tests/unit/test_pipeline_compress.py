"""An artifact and a budget, to the artifact that fits: searched for or by a chain, interrupted, refused, proven."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from unit_compress import messages_csv

from conftest import rows_for
from penjing.cli import main
from penjing.cli.failure import explain
from penjing.compress import measured
from penjing.compress.measured import way_name
from penjing.core.artifact import open_artifact
from penjing.core.budget import Budget
from penjing.core.cpu import Cpu, read_cpu
from penjing.core.errors import ArtifactError, BudgetError, CapabilityError, DataError, Left, RecipeError, note_left
from penjing.core.events import Notice, Progress
from penjing.core.report import REPORT, read_report
from penjing.evaluate.verify import verify
from penjing.pipeline import benching, compressing, parity, proof
from penjing.pipeline import run as run_module
from penjing.pipeline.benching import bench, export
from penjing.pipeline.compressing import compress
from penjing.pipeline.run import run, train
from penjing.predict.cascade import CascadeRule, confidence
from penjing.predict.certificate_file import certificates_of
from penjing.predict.load import load
from penjing.predict.measure import measure
from penjing.predict.onnx_backend import OnnxBackend
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup
from penjing.predict.task_file import read_task

QUICK = {
    "train.epochs": 6,
    "train.batch_rows": 8,
    "train.learning_rate": 1e-3,
    "train.precision": "fp32",
    "evaluate.resamples": 200,
}
CHAIN = [
    "vocabulary",
    {"method": "distil", "layers": 1, "epochs": 2},
    {"method": "static-int8", "rows": 32, "keep_at_most": 0},
    {"method": "cascade", "epochs": 2},
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    import torch

    from penjing.core import runtime

    torch.set_num_threads(1)
    patch = pytest.MonkeyPatch()
    patch.setattr(runtime, "physical_cores", lambda: 1)
    patch.setattr(proof, "CERTIFY_SECONDS", 0.5)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_pretrained):
    """A run on the messages, several times over with other endings."""
    directory = tmp_path_factory.mktemp("trained")
    source = messages_csv(directory / "messages.csv")
    return train(source, out=directory / "run", overrides={**QUICK, "model": str(tiny_pretrained.directory)}).path


@pytest.fixture(scope="module")
def chained(trained):
    """The run after a chain of four steps."""
    heard = []
    made = compress(
        trained,
        out=trained.with_name("chained"),
        overrides={"compress.chain": CHAIN, "compress.goal": "throughput", "budget.drop": 100, "budget.size_mb": 50},
        listener=heard.append,
    )
    return made, heard


@pytest.fixture(scope="module")
def shrunk(trained):
    """The run after a chain that keeps weights."""
    return compress(trained, out=trained.with_name("shrunk"), overrides={"compress.chain": CHAIN[:2]}).out


def test_what_was_compressed_is_compressed_further(trained, shrunk):
    made = compress(shrunk, out=trained.with_name("further"), overrides={"compress.chain": [CHAIN[2]]})
    steps = ["vocabulary", "distil", "static-int8"]
    assert [step.partition(" ")[0] for step in made.report.compression.steps] == steps
    assert made.report.model.method.split(" > ")[1:] == steps
    checked = verify(made.out, timings=False, parent=shrunk)
    assert checked.ok, [figure for figure in checked.figures if figure.ok is False]


def test_two_stages_are_not_compressed(trained, chained):
    with pytest.raises(CapabilityError, match="first stage answers part of its rows"):
        compress(chained[0].out, out=trained.with_name("again"), overrides={"compress.chain": ["half"]})


def test_a_packed_model_is_proven_run_and_unpacked_for_other_programs(trained, tmp_path):
    out = tmp_path / "packed"
    compress(trained, out=out, overrides={"compress.chain": ["half", "pack"], "budget.drop": 100})
    artifact = open_artifact(out)
    assert {"model.onnx.gz", "tokenizer.json.gz", "certificate.json"} <= {*artifact.manifest["files"]}
    assert not {"model.onnx", "tokenizer.json"} & {*artifact.manifest["files"]}
    assert verify(out, timings=False, parent=trained).ok
    answer = load(out).predict(["Where is my parcel?"])[0]
    for to in ("onnx", "openvino"):
        found = export(out, to, tmp_path / to)
        assert "tokenizer.json" in found.files and not any(name.endswith(".gz") for name in found.files)
        assert found.num_flipped == 0 and found.max_difference < 1e-3
    backend = OnnxBackend.open_file(tmp_path / "onnx" / "model.onnx", load(out).task.signature, 1)
    task = read_task(tmp_path / "onnx")
    exported = task.predict(backend.run, task.encode([{task.input.text: "Where is my parcel?"}]))[0]
    np.testing.assert_allclose(exported.probs, answer.probs, atol=1e-6)
    with pytest.raises(CapabilityError, match="its files are packed"):
        compress(out, out=tmp_path / "again", overrides={"compress.chain": ["half"]})


def test_a_chain_gives_a_proven_artifact(trained, chained):
    made, _ = chained
    artifact = open_artifact(made.out)
    assert artifact.manifest["parent"] == open_artifact(trained).digest
    assert [step["method"] for step in artifact.manifest["steps"]] == ["vocabulary", "distil", "static-int8", "cascade"]
    assert {"first.onnx", "cascade.json", "certificate.json"} <= set(artifact.manifest["capabilities"]["predict_files"])
    assert json.loads((made.out / "certificate.json").read_text())["goal"] == "throughput"
    assert not made.out.with_name("chained.partial").exists()
    assert load(made.out).predict(["Where is my parcel?"])[0].value in {"delivery", "refund", "product"}
    report = read_report(made.out / REPORT)
    assert report.comparison is not None and report.compression is not None
    assert report.compression.parent_digest == artifact.manifest["parent"]
    assert 0 <= report.compression.early <= 1
    assert {verdict.constraint: verdict.state for verdict in report.verdicts}["size_mb"] == "PASS"
    assert made.feasible and any(tried.chosen for tried in report.compression.tried)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_goes_the_same_way_alone_and_among_others(chained, workers):
    artifact = open_artifact(chained[0].out)
    predictor = Predictor(artifact, setup=Setup(threads=1, batch_rows=4, workers=workers))
    texts = [f"Where is my {thing} of {day}?" for thing in ("parcel", "refund", "lamp") for day in range(14)]
    cascade = predictor.backend
    batch = predictor.task.encode([predictor._as_row(text, 0) for text in texts])
    sure = confidence(cascade.first.run(batch)["logits"], "softmax")
    threshold = float(np.median(sure))
    cascade.rule = CascadeRule(calibration="softmax", threshold=threshold)
    unmixed = predictor.predict(texts)
    cascade.rule = CascadeRule(calibration="softmax", threshold=threshold, share=0.4)
    alone = [predictor.predict([text])[0] for text in texts]
    first, rest = (part.run(batch)["logits"] for part in (cascade.first, cascade.rest))
    counted = []
    run = cascade.rest.run
    cascade.rest.run = lambda batch: counted.append(len(batch["input_ids"])) or run(batch)
    together = predictor.predict(texts)
    assert [one.value for one in together] == [one.value for one in alone]
    assert max(np.abs(one.probs - other.probs).max() for one, other in zip(alone, together, strict=True)) < 1e-5
    early = sure >= threshold
    assert [bool(np.allclose(a.probs, b.probs)) for a, b in zip(unmixed, together, strict=True)] == early.tolist()
    mixed = predictor.task.predict(lambda _: {"logits": 0.4 * first + 0.6 * rest}, batch)
    for i in np.flatnonzero(~early):
        np.testing.assert_allclose(together[i].probs, mixed[i].probs, atol=1e-4)
    assert 0 < sum(counted) < len(texts) and max(counted) <= 4 and counted.count(4) >= len(counted) - 1


def test_its_report_comes_out_again(trained, chained):
    made, _ = chained
    for parent in (None, trained):
        checked = verify(made.out, timings=False, parent=parent)
        assert checked.ok, [figure for figure in checked.figures if figure.ok is False]
    assert next(figure for figure in checked.figures if figure.name == "comparison").ok


def test_what_was_made_is_found_again_after_an_interruption(trained):
    out = trained.with_name("interrupted")
    overrides = {"compress.chain": CHAIN, "budget.drop": 100}

    def stop(event):
        if isinstance(event, Notice) and event.text.startswith("static-int8"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(trained, out=out, overrides=overrides, listener=stop)
    assert not out.exists() and out.with_name("interrupted.partial").is_dir()
    heard = []
    compress(trained, out=out, overrides=overrides, listener=heard.append)
    told = [event.text for event in heard if isinstance(event, Notice)]
    assert any("going on with the interrupted search" in text for text in told)
    assert [text for text in told if text.endswith(": made")] == ["distil: made", "cascade: made"]  # the bag of words


@pytest.mark.slow
def test_a_search_finds_what_fits(trained):
    heard = []
    made = compress(
        trained,
        out=trained.with_name("searched"),
        overrides={"compress.minutes": 0.8, "budget.size_mb": 0.2, "compress.backends": ["onnxruntime"]},
        listener=heard.append,
    )
    report = made.report
    assert made.feasible and report.cost.size_mb <= 0.2
    assert len(report.compression.tried) >= 3
    chosen = next(tried for tried in report.compression.tried if tried.chosen)
    assert chosen.fits and chosen.judged == min(tried.judged for tried in report.compression.tried if tried.fits)
    assert any(isinstance(event, Progress) and event.stage == "train" for event in heard)


def test_what_nothing_can_fit_is_said_before_anything_is_taught(trained, capsys):
    heard = []
    with pytest.raises(BudgetError, match=r"nothing can fit: .* size_mb .* Expected limits that can be reached"):
        compress(trained, out=trained.with_name("none"), overrides={"budget.size_mb": 0.001}, listener=heard.append)
    assert not any(isinstance(event, Progress) and event.stage in {"train", "distil"} for event in heard)
    assert not trained.with_name("none").exists() and not trained.with_name("none.partial").exists()
    words = ["compress", str(trained), "--budget", "size_mb=0.001", "--out", str(trained.with_name("none")), "--quiet"]
    assert main(words) == 3
    assert "nothing can fit" in capsys.readouterr().err


def test_a_chain_that_cannot_fit_is_not_taught(trained):
    heard = []
    overrides = {"compress.chain": CHAIN, "budget.size_mb": 0.001}
    with pytest.raises(BudgetError, match=r"nothing can fit: .* size_mb"):
        compress(trained, out=trained.with_name("none"), overrides=overrides, listener=heard.append)
    assert not any(isinstance(event, Progress) and event.stage in {"train", "distil"} for event in heard)


def test_a_chain_that_no_backend_runs_is_refused_with_the_reason(trained):
    overrides = {"compress.chain": ["half"], "compress.backends": ["torch"], "budget.drop": 100}
    with pytest.raises(
        CapabilityError, match=r"none of the backends that were asked for can run it: torch .* keeps no"
    ):
        compress(trained, out=trained.with_name("none"), overrides=overrides)


def test_a_chain_whose_answers_depend_on_the_rows_beside_them_is_what_was_asked_for(trained, tmp_path):
    overrides = {"compress.chain": ["dynamic-int8"], "budget.drop": 100}
    made = compress(trained, out=tmp_path / "dynamic", overrides=overrides)
    assert made.feasible and not made.artifact.manifest["batch_invariant"]
    assert made.report.compression.relax == []


def test_a_model_is_compared_with_the_torch_model_it_was_made_from(trained, chained, shrunk, monkeypatch):
    rounded = chained[0].report.compression.parity
    assert rounded.rows > 4 and 1e-4 < rounded.mean <= rounded.max < 0.5
    exact = read_report(shrunk / REPORT).compression.parity
    assert exact.rows == rounded.rows and exact.flipped == 0 and exact.max < 1e-4
    monkeypatch.setattr(parity, "FAR", rounded.mean / 10)
    with pytest.raises(ArtifactError, match=r"answers are .* from those of the torch model"):
        compress(trained, out=trained.with_name("far"), overrides={"compress.chain": CHAIN, "budget.drop": 100})
    assert not trained.with_name("far").exists()


def test_a_damaged_link_is_made_again(trained):
    out = trained.with_name("damaged")
    overrides = {"compress.chain": CHAIN[:3], "budget.drop": 100}

    def stop(event):
        if isinstance(event, Notice) and event.text.startswith("static-int8"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(trained, out=out, overrides=overrides, listener=stop)
    links = sorted(out.with_name("damaged.partial").rglob("links/*/model.onnx"))
    assert links
    for link in links:
        link.write_bytes(link.read_bytes()[:-1])
    heard = []
    compress(trained, out=out, overrides=overrides, listener=heard.append)
    made = {event.text for event in heard if isinstance(event, Notice) and event.text.endswith(": made")}
    assert made == {"vocabulary: made", "distil: made", "static-int8: made"}


def test_a_run_says_before_it_trains_that_nothing_can_fit(trained, tmp_path, tiny_pretrained):
    heard = []
    overrides = {**QUICK, "model": str(tiny_pretrained.directory), "select.quote_seconds": 10, "budget.size_mb": 0.001}
    with pytest.raises(BudgetError, match=r"nothing can fit: .* size_mb"):
        run(trained.parent / "messages.csv", out=tmp_path / "run", overrides=overrides, listener=heard.append)
    assert not any(isinstance(event, Progress) and event.stage == "train" for event in heard)
    assert not (tmp_path / "run").exists()


def test_a_run_interrupted_while_it_compresses_says_how_to_go_on(trained, monkeypatch):
    def stopped(*_, **__):
        error = KeyboardInterrupt()
        note_left(error, Left(str(trained) + "-small.partial", "a search", resumes=True))
        raise error

    monkeypatch.setattr(run_module, "_run", lambda *_, **__: SimpleNamespace(out=trained))
    monkeypatch.setattr(run_module, "asks_to_compress", lambda _: True)
    monkeypatch.setattr("penjing.pipeline.compressing.compress", stopped)
    with pytest.raises(KeyboardInterrupt) as caught:
        run("messages.csv")
    said = explain(caught.value)
    assert said is not None and f"run penjing compress {trained} --out {trained}-small" in said.message


def test_a_compressed_model_is_not_compressed_by_the_chain_that_made_it(trained, shrunk, monkeypatch):
    asked = []

    def noted(root, recipe, listener):
        asked.append(recipe.stage("compress").chain)
        raise DataError("enough")

    monkeypatch.setattr("penjing.pipeline.compressing.rows_of", noted)
    for source, overrides in ((shrunk, {}), (shrunk, {"compress.chain": ["half"]}), (trained, {})):
        with pytest.raises(DataError, match="enough"):
            compress(source, out=trained.with_name("again"), overrides={"budget.size_mb": 1, **overrides})
    assert asked == [None, ({"method": "half"},), None]


@pytest.mark.slow
def test_nothing_fits_and_the_nearest_is_kept(trained):
    overrides = {"compress.chain": ["half"], "budget.size_mb": 0.2}
    made = compress(trained, out=trained.with_name("nearest"), overrides=overrides)
    assert not made.feasible
    relax = {one.constraint: one for one in made.report.compression.relax}
    assert relax["size_mb"].limit == 0.2 and relax["size_mb"].reached > 0.2


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        ({"budget.size": 3}, RecipeError, "size"),
        ({"budget.size_mb": "10MB"}, RecipeError, "size_mb"),
        ({"budget.drop": -1}, RecipeError, "drop"),
        ({"compress.chain": ["destil"]}, RecipeError, "did you mean 'distil'"),
        ({"compress.backends": ["openvin"]}, RecipeError, "did you mean 'openvino'"),
        ({"compress.chain": [{"method": "distil", "layer": 2}]}, RecipeError, "layer"),
        ({"compress.chain": [{"method": "distil", "layers": 99}]}, RecipeError, "layers"),
        ({"compress.chain": ["half", "distil"]}, CapabilityError, "put distil before half"),
        ({"compress.methods": ["prune"]}, RecipeError, "prune"),
        ({"compress.chain": []}, RecipeError, "chain"),
        ({"compress.chain": [{"method": "distil", "layers": 40}]}, CapabilityError, "layers 40 of a teacher with"),
        ({"compress.chain": [{"method": "cascade", "hidden": 4000}]}, CapabilityError, "hidden 4000 of a teacher with"),
        ({"budget.size_mb": float("inf")}, RecipeError, "size_mb"),
        ({"budget.metric": float("nan")}, RecipeError, "metric"),
        ({"budget.metric": 101}, BudgetError, "is at most 100"),
    ],
)
def test_mistakes_are_refused_before_the_data_are_read(trained, overrides, error, said):
    heard = []
    with pytest.raises(error, match=said):
        compress(trained, out=trained.with_name("refused"), overrides=overrides, listener=heard.append)
    assert not any(isinstance(event, Notice) and event.stage == "data" for event in heard)
    assert not trained.with_name("refused").exists() and not trained.with_name("refused.partial").exists()


def test_other_rows_than_then_are_refused(trained, tmp_path):
    rows = (trained.parent / "messages.csv").read_text(encoding="utf-8").splitlines()
    other = tmp_path / "messages.csv"
    other.write_text("\n".join(rows[:-5]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="not those that the artifact was made from"):
        compress(trained, out=tmp_path / "x", overrides={"data.source": str(other), "budget.drop": 1})
    with pytest.raises(DataError, match="no such file"):
        compress(trained, out=tmp_path / "x", overrides={"data.source": str(tmp_path / "gone.csv"), "budget.drop": 1})


@pytest.mark.slow
def test_a_run_with_a_budget_compresses(trained, tmp_path, tiny_pretrained, capsys):
    words = ["run", str(trained.parent / "messages.csv"), "--out", str(tmp_path / "run"), "--json", "--quiet"]
    words += ["--model", str(tiny_pretrained.directory), "--budget", "size_mb=0.2"]
    for key, value in {
        **QUICK,
        "select.quote_seconds": 10,
        "compress.chain": '[{"method": "static-int8", "rows": 32}]',
    }.items():
        words += ["--set", f"{key}={value}"]
    code = main(words)
    said = json.loads(capsys.readouterr().out)
    assert said["compressed"]["out"] == str(tmp_path / "run-small")
    assert open_artifact(tmp_path / "run-small").manifest["parent"] == said["digest"]
    assert code == (3 if said["verdict"] == "FAIL" or not said["compressed"]["feasible"] else 0)


def test_measuring_again_is_for_what_the_first_choice_was_for(chained, monkeypatch):
    monkeypatch.setattr(benching, "choose_setup", partial(benching.choose_setup, budget_seconds=0.5))
    artifact = open_artifact(chained[0].out)
    before = len(list(certificates_of(artifact)))
    bench([chained[0].out], turns=1, certify=True)
    found = list(certificates_of(artifact))
    assert len(found) == before + 1 and {one.goal for one in found} == {"throughput"}


def test_artifacts_side_by_side(trained, chained, capsys):
    found = bench([trained, chained[0].out], turns=1)
    assert [one.artifact for one in found] == [str(trained), str(chained[0].out)]
    assert found[1].cost.size_mb < found[0].cost.size_mb
    assert main(["bench", str(trained), str(chained[0].out), "--turns", "1", "--quiet"]) == 0
    assert "onnxruntime" in capsys.readouterr().out
    with pytest.raises(RecipeError, match="turns"):
        bench([trained], turns=0)


def test_measuring_and_exporting_need_no_labels(trained, tmp_path):
    """Elsewhere there are no test rows beside an artifact, and new rows have no labels."""
    copy, rows = tmp_path / "copy", tmp_path / "rows.csv"
    shutil.copytree(trained, copy)
    with pytest.raises(DataError, match="sealed test file is missing") as missing:
        bench([copy], turns=1)
    assert "--data" in str(missing.value.next_step)
    rows.write_text("text\nWhere is my parcel?\nI want my money back\n", encoding="utf-8")
    assert bench([copy], rows, turns=1)[0].cost.rows_per_s > 0
    assert export(copy, "onnx", tmp_path / "onnx", data=rows).rows == 2
    rows.write_text("message\nWhere is my parcel?\n", encoding="utf-8")
    with pytest.raises(DataError, match="column 'text' does not exist, and the model reads it"):
        bench([copy], rows, turns=1)


@pytest.mark.parametrize(
    ("budget", "failed", "asks"),
    [
        (Budget(drop=0.5), [], True),
        (Budget(p95_ms=5), [], False),
        (Budget(p95_ms=5), ["p95_ms"], True),
        (Budget(ram_mb=5, metric=90), ["metric"], False),  # a smaller model will not be better
        (Budget(size_mb=5), ["size_mb"], True),
    ],
)
def test_a_run_compresses_where_its_budget_asks_for_it(trained, monkeypatch, budget, failed, asks):
    monkeypatch.setattr(run_module, "read_recipe", lambda _: SimpleNamespace(budget=budget))
    verdicts = [SimpleNamespace(constraint=name, state="FAIL") for name in failed]
    verdicts.append(SimpleNamespace(constraint="rows_per_s", state="PASS"))
    result = SimpleNamespace(out=trained, artifact=open_artifact(trained), report=SimpleNamespace(verdicts=verdicts))
    assert run_module.asks_to_compress(result) is asks


def test_what_was_measured_here_is_not_measured_again(trained, tmp_path, monkeypatch):
    times = []
    monkeypatch.setattr(measured, "measure", lambda *given, **more: times.append(1) or measure(*given, **more))
    artifact = open_artifact(trained)
    inputs = [{"text": "where is my parcel"}, {"text": "refund"}]
    first = measured.Measurer(inputs, 1, tmp_path / "kept", seconds=0.1).cost(artifact, Setup(threads=1))
    again = measured.Measurer(inputs, 1, tmp_path / "kept", seconds=0.1)  # another attempt at the same search
    assert again.cost(artifact, Setup(threads=1)) == first and len(times) == 1
    assert again.cost(artifact, Setup(threads=2)) != first and len(times) == 2
    monkeypatch.setattr(measured, "read_cpu", lambda: dataclasses.replace(read_cpu(), name="another"))
    again.cost(artifact, Setup(threads=1))
    assert len(times) == 3


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_exports_are_compared_row_by_row(trained, chained, tmp_path, to):
    found = export(trained, to, tmp_path / to)
    assert found.reference == "the torch model"
    assert 0 < found.max_difference < 1e-3 and found.num_flipped == 0
    assert found.rows > 0
    assert json.loads((tmp_path / to / "parity.json").read_text())["rows"] == found.rows
    assert {"tokenizer.json", "task.json"} <= set(found.files)
    two_stages = export(chained[0].out, to, tmp_path / f"{to}-chained", tolerance=10)
    assert any(name.startswith("first.") for name in two_stages.files)
    of_themselves = two_stages.reference == "the file that it is a copy of"
    assert of_themselves == (to == "onnx"), "without weights there is nothing else to compare with"
    with pytest.raises(DataError, match="exists already"):
        export(trained, to, tmp_path / to)
    with pytest.raises(ArtifactError, match="differs from the torch model by"):
        export(trained, to, tmp_path / "far", tolerance=1e-12)
    assert not list(tmp_path.glob("far*"))


@pytest.mark.slow
def test_an_artifact_without_its_rows_asks_for_them(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    source = trained.parent / "messages.csv"
    moved = tmp_path / "moved.csv"
    source.rename(moved)
    try:
        with pytest.raises(DataError, match="no such file"):
            compress(copy, out=tmp_path / "x", overrides={"budget.drop": 1})
        made = compress(
            copy,
            out=tmp_path / "x",
            overrides={"budget.drop": 100, "data.source": str(moved), "compress.chain": ["half"]},
        )
        assert made.artifact.digest
    finally:
        moved.rename(source)


@pytest.mark.slow
def test_trees_are_certified_and_nothing_else(tmp_path):
    rows, _ = rows_for("tabular-classification")
    source = tmp_path / "loans.csv"
    with source.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    quick = {"train.direct.trials": 1, "train.direct.folds": 2, "train.direct.num_seeds": 1, "evaluate.resamples": 200}
    overrides = {**quick, "task": "tabular-classification", "data.columns.label": "approved"}
    trained = train(source, out=tmp_path / "loans", overrides=overrides).path
    made = compress(trained, out=tmp_path / "small", overrides={"budget.drop": 5, "budget.size_mb": 50})
    assert made.feasible and made.artifact.manifest["steps"] == []
    assert "certificate.json" in made.artifact.manifest["capabilities"]["predict_files"]
    assert made.report.comparison.metrics[made.report.comparison.primary].difference == 0
    with pytest.raises(CapabilityError, match="distil cannot be applied"):
        compress(trained, out=tmp_path / "x", overrides={"compress.chain": ["distil"]})
    sides = bench([trained, made.out], turns=1)
    assert all(side.cost.rows_per_s > 0 and side.cost.size_mb > 0 for side in sides)
    exported = export(trained, "onnx", tmp_path / "exported")
    assert exported.num_flipped == 0 and "model.onnx" in exported.files
    # What it is told to fit it has to fit as it is: there is no smaller one to be made of it.
    found = run(source, out=tmp_path / "run", overrides={**overrides, "budget.size_mb": 0.001})
    assert found.compressed is None
    assert [one.state for one in found.report.verdicts if one.constraint == "size_mb"] == ["FAIL"]


@pytest.mark.parametrize(
    ("goal", "threads", "flags", "ways"),
    [
        ("throughput", 4, ("BF16",), [("onnxruntime", "fp32", 4), ("openvino", "fp32", 4), ("openvino", "bf16", 4)]),
        ("throughput", 1, (), [("onnxruntime", "fp32", 1), ("openvino", "fp32", 1)]),
        ("latency", 4, (), [("onnxruntime", "fp32", 1), ("openvino", "fp32", 1)]),
    ],
)
def test_a_search_measures_candidates_in_16_bits_too_where_the_processor_multiplies_them(
    monkeypatch, goal, threads, flags, ways
):
    monkeypatch.setattr("penjing.predict.choose_setup.read_cpu", lambda: Cpu("Some Xeon", "", flags))
    monkeypatch.setattr(compressing, "usable_threads", lambda: threads)
    found = compressing._setups(["onnxruntime", "openvino"], goal)
    assert [(one.backend, one.precision, one.workers) for one in found] == ways
    assert [way_name(one) for one in found][2:] == ["openvino bf16"][: len(ways) - 2]
    assert all((one.length_step > 0) is (one.backend == "openvino") for one in found)
