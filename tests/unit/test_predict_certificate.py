"""Certificates: what they say, when they apply, what is refused as one, and how they are made."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from penjing.cli.zh import in_chinese
from penjing.core.artifact import MANIFEST, file_sha256, open_artifact, size_bytes
from penjing.core.cpu import Cpu, read_cpu
from penjing.core.errors import ArtifactError, CapabilityError, MissingExtraError
from penjing.core.events import Notice, Progress
from penjing.core.runtime import usable_threads
from penjing.predict import certificate as module
from penjing.predict import choose_setup as search
from penjing.predict.certificate import Certificate, Trial, applies, installed_version
from penjing.predict.certificate_file import (
    cache_path,
    certificates_of,
    keep_certificate,
    read_certificate,
    write_certificate,
)
from penjing.predict.choose_setup import choose_setup, compare_answers
from penjing.predict.load import decide, load, predictor_for
from penjing.predict.measure import measure
from penjing.predict.setup import Setup
from penjing.predict.task_file import CERTIFICATE_FILE, predict_files, read_task

TEXTS = ["Where is my parcel?", "退款多久到账？", "The tea tastes wonderful.", "Broken after a day."]
LATIN = re.compile("[A-Za-z]{3,}")
CHOSEN = Setup("openvino", None, batch_tokens=1024, batch_rows=128)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    return Path(shutil.copytree(tiny_artifact("text-classification").path, tmp_path / "copy"))


@pytest.fixture
def made(copy):
    """A certificate of this machine."""
    return Certificate(
        model_sha256=file_sha256(copy / "model.onnx"),
        cpu=read_cpu(),
        threads=usable_threads(),
        libraries={name: installed_version(name) for name in ("onnxruntime", "openvino")},
        goal="balanced",
        concurrency=1,
        num_inputs=4,
        tolerance=0.01,
        chosen=CHOSEN,
        trials=(Trial(Setup(), 1.5, 700.0, 0.0, 0, True), Trial(CHOSEN, 1.0, 900.5, 1e-6, 0, True)),
        created="2026-11-26T20:00:00+00:00",
    )


def elsewhere(certificate, **changes):
    return replace(certificate, cpu=replace(certificate.cpu, **(changes or {"name": "Some Xeon"})))


def put_in(certificate, directory):
    """As a pipeline would: written before the artifact is sealed."""
    write_certificate(certificate, directory)
    manifest = json.loads((directory / MANIFEST).read_text())
    path = directory / CERTIFICATE_FILE
    manifest["files"][CERTIFICATE_FILE] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    manifest["capabilities"]["predict_files"] = predict_files(read_task(directory), directory)
    (directory / MANIFEST).write_text(json.dumps(manifest))


# what it says


def test_a_certificate_survives_the_disk(made, tmp_path):
    write_certificate(made, tmp_path)
    assert read_certificate(tmp_path / CERTIFICATE_FILE) == made
    assert applies(made) is None


def test_a_certificate_is_one_of_the_files_that_predict(made, copy):
    before = size_bytes(open_artifact(copy))
    put_in(made, copy)
    artifact = open_artifact(copy)
    assert CERTIFICATE_FILE in artifact.manifest["capabilities"]["predict_files"]
    assert size_bytes(artifact) == before + (copy / CERTIFICATE_FILE).stat().st_size
    assert certificates_of(artifact) == [made]
    (copy / CERTIFICATE_FILE).write_text((copy / CERTIFICATE_FILE).read_text().replace("1024", "2048"))
    with pytest.raises(ArtifactError, match=r"'certificate\.json' is damaged or was changed"):
        load(copy)


# when it applies


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: elsewhere(c), r"made on Some Xeon.*, this is .+"),
        (lambda c: elsewhere(c, family="6/143"), r"made on .+ \(6/143\), this is .+"),
        (lambda c: elsewhere(c, flags=("AVX2", "AMX")), "made with the instructions AVX2, AMX, this processor has .+"),
        (lambda c: elsewhere(c, flags=()), "made with the instructions none, this processor has .+"),
        (lambda c: replace(c, threads=c.threads + 6), r"made for \d threads, here are \d"),
        (
            lambda c: replace(c, libraries={"openvino": "2025.0.0"}),
            r"made with openvino 2025\.0\.0, this is openvino .+",
        ),
        (lambda c: replace(c, chosen=Setup("rocket")), "there is no backend 'rocket' here"),
    ],
)
def test_why_a_certificate_does_not_apply(made, change, reason):
    found = applies(change(made))
    assert re.fullmatch(reason, found)
    notice = in_chinese(
        f"the measured setup is not used ({found}); onnxruntime runs the model as by default; to measure on this "
        "machine: penjing bench runs/x --certify"
    )
    said = notice.replace("penjing bench runs/x --certify", "").replace("onnxruntime", "")
    assert not re.search(r"\b(made|this|is|here|with|the|setup)\b", said), said


def test_a_library_that_is_absent_is_named(made, monkeypatch):
    monkeypatch.setattr(module, "installed_version", lambda name: None if name == "openvino" else "1")
    assert applies(made) == "openvino is not installed here"


def test_versions_of_libraries_that_were_not_chosen_do_not_matter(made):
    assert applies(replace(made, libraries={**made.libraries, "onnxruntime": "1.0", "torch": "1.0"})) is None


# what is refused as one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, r"format version 2 is newer than this release reads \(1\).*upgrade penjing"),
        ({"format_version": "1"}, "is damaged .*whole number"),
        ({"chosen": {"backend": "onnxruntime", "threads": 0}}, "is damaged .*threads: is 0. Expected a whole number"),
        ({"chosen": {"rm": "-rf"}}, "is damaged .*is no setup"),
        ({"chosen": "openvino"}, "is damaged .*is no setup"),
        ({"cpu": {"name": "x", "family": ""}}, "is damaged .*an object with name, family, flags"),
        ({"cpu": {"name": "x" * 501, "family": "", "flags": []}}, "is damaged .*a text of at most 500 characters"),
        ({"trials": {}}, "is damaged .*a list of at most 1000 entries"),
        ({"trials": [1]}, "is damaged .*an object with setup, p50_ms"),
        ({"trials": [{}] * 1001}, "is damaged .*a list of at most 1000 entries"),
        ({"tolerance": -1}, "is damaged .*a number that is not negative"),
        ({"tolerance": float("nan")}, "is damaged .*a number that is not negative"),
        ({"concurrency": 1.5}, "is damaged .*a whole number"),
        ({"threads": True}, "is damaged .*a whole number"),
        ({"goal": "world peace"}, "is damaged .*one of latency, throughput, balanced"),
        ({"goal": []}, "is damaged .*one of latency"),
        ({"created": "yesterday"}, "is damaged .*Invalid isoformat"),
        ({"libraries": []}, "is damaged .*versions of libraries"),
        ({"libraries": {"openvino": 3}}, "is damaged .*a text"),
        ({"extra": 1}, "is damaged .*an object with model_sha256"),
    ],
)
def test_a_changed_certificate_is_refused(made, tmp_path, change, message):
    write_certificate(made, tmp_path)
    path = tmp_path / CERTIFICATE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=rf"certificate\.json: {message}"):
        read_certificate(path)


def test_a_trial_is_checked_too(made, tmp_path):
    write_certificate(made, tmp_path)
    path = tmp_path / CERTIFICATE_FILE
    values = json.loads(path.read_text())
    values["trials"][1]["accepted"] = "yes"
    path.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match="expected true or false"):
        read_certificate(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b"7"])
def test_what_is_no_certificate_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.json: is damaged"):
        read_certificate(tmp_path / "a.json")


def test_a_large_file_is_not_read(tmp_path):
    (tmp_path / "a.json").write_text(" " * 1_000_001)
    with pytest.raises(ArtifactError, match="larger than 1,000,000 bytes"):
        read_certificate(tmp_path / "a.json")


def test_a_certificate_of_another_model_is_refused(made, copy):
    put_in(replace(made, model_sha256="0" * 64), copy)
    with pytest.raises(ArtifactError, match=r"certificate\.json: the certificate is of another model"):
        load(copy)


def test_a_damaged_one_in_the_cache_is_named_and_may_be_deleted(made, copy):
    artifact = open_artifact(copy)
    keep_certificate(made, artifact).write_text("{}")
    with pytest.raises(ArtifactError, match=r"certificates.*is damaged.*Next: delete it, and measure again"):
        load(copy)
    cache_path(artifact).unlink()
    assert load(copy).setup == Setup()


# what load makes of it


def test_without_a_certificate_the_default_runs_and_nobody_is_told(copy):
    events = []
    predictor = load(copy, listener=events.append)
    assert (predictor.setup, events) == (Setup(), [])
    assert load(copy, threads=1).setup == Setup(threads=1)


def test_what_is_certified_here_is_done(made, copy):
    put_in(made, copy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = load(copy)
    assert predictor.setup == CHOSEN
    assert type(predictor.backend).__name__ == "OpenVinoBackend"
    assert load(copy, threads=1).setup == replace(CHOSEN, threads=1)
    assert load(copy, "onnxruntime").setup == Setup()
    assert predictor_for(open_artifact(copy), print).setup == CHOSEN


def test_another_machines_certificate_is_not_used_and_the_user_is_told(made, copy):
    put_in(elsewhere(made), copy)
    events = []
    predictor = load(copy, threads=1, listener=events.append)
    assert predictor.setup == Setup(threads=1)
    (notice,) = events
    assert isinstance(notice, Notice) and (notice.stage, notice.level) == ("predict", "warning")
    assert "made on Some Xeon" in notice.text
    assert notice.text.endswith(f"penjing bench {copy} --certify")
    assert "未采用测得的运行方式" in in_chinese(notice.text)


def test_a_python_program_is_warned_where_it_loads(made, copy):
    put_in(elsewhere(made), copy)
    with pytest.warns(UserWarning, match="the measured setup is not used") as caught:
        load(copy)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_backend_that_is_asked_for_needs_no_certificate(made, copy):
    put_in(elsewhere(made), copy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(copy, "openvino", 1).setup == Setup("openvino", 1, length_step=8)


def test_one_made_on_this_machine_comes_before_the_artifacts_own(made, copy):
    put_in(elsewhere(made), copy)
    artifact = open_artifact(copy)
    mine = replace(made, chosen=Setup("openvino", 1))
    path = keep_certificate(mine, artifact)
    assert path == cache_path(artifact) and path.name == f"{artifact.digest}.json"
    assert decide(artifact) == (Setup("openvino", 1), None)
    # and the artifact's own still counts where the cache, a shared home directory's perhaps, is of another machine
    put_in(made, copy)
    artifact = open_artifact(copy)
    keep_certificate(elsewhere(mine), artifact)
    assert decide(artifact) == (CHOSEN, None)
    keep_certificate(mine, artifact)
    assert decide(artifact)[0] == Setup("openvino", 1)
    assert decide(artifact, cached=False)[0] == CHOSEN


def test_nothing_falls_back_once_a_certificate_applies(made, copy, monkeypatch):
    """A library that is there by its version but cannot be imported is an error, not a reason for another backend."""
    put_in(made, copy)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingExtraError):
        load(copy)


def test_measuring_uses_what_is_certified(made, copy):
    put_in(replace(made, chosen=Setup("openvino", 1)), copy)
    found = measure(open_artifact(copy), TEXTS, seconds=0.02, num_processes=1)
    assert found.setup == Setup("openvino", 1)
    assert found.to_json()["setup"]["backend"] == "openvino"


def test_measuring_tells_of_another_machines_certificate(made, copy):
    put_in(elsewhere(made), copy)
    events = []
    found = measure(open_artifact(copy), TEXTS, seconds=0.02, num_processes=1, listener=events.append)
    assert found.setup == Setup()
    assert [event.level for event in events if isinstance(event, Notice)] == ["warning"]


def test_a_setup_that_cannot_run_is_an_error_of_the_process_that_asks(copy):
    with pytest.raises(CapabilityError, match="the backend torch takes no hint to compute in bf16"):
        measure(open_artifact(copy), TEXTS, setup=Setup("torch", precision="bf16"), seconds=0.02, num_processes=1)


# how it is made


def test_choosing_measures_every_setup_worth_trying(tiny_artifact):
    artifact = tiny_artifact("text-classification")
    events = []
    found = choose_setup(artifact, TEXTS, budget_seconds=90, goal="throughput", listener=events.append)
    tried = [trial.setup for trial in found.trials]
    assert tried[0] == Setup()
    assert {setup.backend for setup in tried} == {"onnxruntime", "openvino"}
    assert len(set(tried)) == len(tried) >= 2
    assert found.chosen in tried
    whole = [trial for trial in found.trials if trial.setup.precision == "fp32"]
    assert all(trial.accepted and trial.difference < 1e-4 and trial.num_flipped == 0 for trial in whole)
    # On processors that multiply 16 bits; whether that is near enough is judged row by row.
    assert all(1e-4 < trial.difference < 0.1 for trial in found.trials if trial.setup.precision == "bf16")
    assert all(trial.p50_ms > 0 and trial.rows_per_s > 0 for trial in found.trials)
    assert (found.num_inputs, found.goal, found.concurrency) == (4, "throughput", 1)
    assert set(found.libraries) == {"onnxruntime", "openvino"}
    assert applies(found) is None
    notes = [event.note for event in events if isinstance(event, Progress)]
    assert notes == [str(setup) for setup in tried]
    assert not [note for note in notes if "批" not in in_chinese(note)]
    path = keep_certificate(found, artifact)
    assert read_certificate(path) == found
    assert load(artifact.path).setup == found.chosen


@pytest.fixture
def pretend(tiny_artifact, monkeypatch):
    """A machine of two threads with bf16, where setups take as long as a table says."""
    monkeypatch.setattr(search, "usable_threads", lambda: 2)
    monkeypatch.setattr(search, "read_cpu", lambda: Cpu("Some Xeon", "", ("BF16",)))
    artifact = tiny_artifact("text-classification")

    def choose(figures, *, probs=None, events=None, **options):
        def in_fresh_process(artifact, job):
            setup = Setup.from_json(job["setup"])
            p50_ms, rows_per_s = figures(setup)
            shift = (probs or (lambda setup: 0.0))(setup)
            answers = [{"value": "a", "confidence": 0.6, "probs": [0.6 + shift, 0.4 - shift]} for _ in TEXTS]
            figures_of_process = {"p50_ms": p50_ms, "p95_ms": 2 * p50_ms, "peak_ram_mb": 100.0 * setup.workers}
            return {**figures_of_process, "rows_per_s": rows_per_s, "answers": answers}

        monkeypatch.setattr(search, "in_fresh_process", in_fresh_process)
        listener = (events if events is not None else []).append
        return choose_setup(artifact, TEXTS, listener=listener, **options)

    return choose


def _figures(setup):
    """OpenVINO is better for many rows, onnxruntime for one; bf16 doubles both; 1,024 tokens are best."""
    p50_ms, rows_per_s = (1.0, 100.0) if setup.backend == "onnxruntime" else (1.2, 300.0)
    factor = 2.0 if setup.precision == "bf16" else 1.0
    batch = {256: 0.8, 512: 1.0, 1024: 1.3, 2048: 1.2, 4096: 0.9}[setup.batch_tokens]
    return p50_ms / factor, rows_per_s * factor * batch * (0.6 if setup.threads == 1 else 1.0)


def test_the_goal_decides(pretend):
    assert pretend(_figures, goal="throughput").chosen == Setup("openvino", None, "bf16", 1024, 128, length_step=8)
    # What is measured of single rows does not depend on batches, but rows a second still choose their size.
    assert pretend(_figures, goal="latency").chosen.precision == "bf16"
    two = pretend(lambda s: (1.0, 200.0) if s.backend == "onnxruntime" else (0.4, 100.0), goal="latency")
    assert two.chosen.backend == "openvino"
    two = pretend(lambda s: (1.0, 200.0) if s.backend == "onnxruntime" else (0.4, 100.0), goal="throughput")
    assert two.chosen == Setup()
    two = pretend(lambda s: (1.0, 200.0) if s.backend == "onnxruntime" else (0.4, 100.0), goal="balanced")
    assert two.chosen.backend == "openvino"


def test_every_stage_is_tried_once(pretend):
    tried = [trial.setup for trial in pretend(_figures, goal="throughput").trials]
    assert len(tried) == len(set(tried)) == 2 + 5 + 3 + 4
    # Padded to the longest of a batch OpenVINO's answers would move with it.
    assert {s.length_step for s in tried if s.backend == "openvino"} == {8}
    assert {s.length_step for s in tried if s.backend == "onnxruntime"} == {0, 8}


def test_a_default_in_16_bits_is_compared_with_32(pretend):
    default = Setup.of_backend("openvino", precision="bf16")
    tried = [trial.setup for trial in pretend(_figures, goal="throughput", default=default).trials]
    assert len(tried) == len(set(tried))
    assert {s.precision for s in tried if s.backend == "openvino"} == {"fp32", "bf16"}


def test_several_runs_at_the_same_time_are_chosen_where_they_do_more(pretend):
    found = pretend(lambda setup: (1.0, 100.0 * setup.workers / (setup.threads or 1.5)), goal="throughput")
    assert (found.chosen.backend, found.chosen.threads, found.chosen.workers) == ("onnxruntime", 1, 2)


def test_a_default_of_several_workers_is_compared_with_one(pretend):
    workers = Setup(threads=1, workers=2)
    found = pretend(lambda setup: (1.0, 100.0 / setup.workers), goal="throughput", default=workers)
    tried = [trial.setup for trial in found.trials]
    assert tried[0] == workers and {Setup(), Setup(threads=1)} <= {*tried} and len(tried) == len({*tried})
    assert found.chosen.workers == 1


def test_many_threads_are_shared_by_workers_of_two(pretend, monkeypatch):
    monkeypatch.setattr(search, "usable_threads", lambda: 16)
    found = pretend(lambda setup: (1.0, 100.0 if (setup.threads, setup.workers) == (2, 8) else 50.0))
    assert (found.chosen.threads, found.chosen.workers) == (2, 8)


def test_what_exceeds_a_limit_is_measured_but_not_chosen(pretend):
    def figures(setup):
        return 1.0, 100.0 * setup.workers / (setup.threads or 1.5)

    within = pretend(figures, goal="throughput", limits={"peak_ram_mb": 150.0, "p95_ms": 2.5})
    assert (within.chosen.threads, within.chosen.workers) == (1, 1)
    assert any(trial.setup.workers == 2 and trial.accepted for trial in within.trials)
    # Where the default exceeds it too, nothing is better for the budget, and the default stays.
    assert pretend(figures, goal="throughput", limits={"p95_ms": 1.0}).chosen == Setup()


def test_what_answers_otherwise_is_measured_but_not_chosen(pretend):
    found = pretend(_figures, goal="throughput", probs=lambda setup: 0.02 if setup.precision == "bf16" else 0.005)
    assert found.chosen == Setup("openvino", None, "fp32", 1024, 128, length_step=8)
    refused = [trial for trial in found.trials if not trial.accepted]
    assert {trial.setup.precision for trial in refused} == {"bf16"}
    assert all(trial.difference == pytest.approx(0.015) for trial in refused)
    lenient = pretend(
        _figures, goal="throughput", tolerance=0.05, probs=lambda setup: 0.02 if setup.precision == "bf16" else 0.0
    )
    assert lenient.chosen.precision == "bf16"


def test_the_default_stays_where_nothing_is_clearly_better(pretend):
    found = pretend(lambda setup: (1.0, 100.0 if setup == Setup() else 103.0))
    assert found.chosen == Setup()


def test_when_time_is_up_only_the_default_was_tried_and_it_is_said(pretend, monkeypatch):
    events = []
    clock = iter(range(0, 100_000, 50))
    monkeypatch.setattr(search.time, "monotonic", lambda: float(next(clock)))
    found = pretend(_figures, budget_seconds=60.0, events=events)
    assert [trial.setup for trial in found.trials] == [Setup()]
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert re.fullmatch(r"the time was up before \d+ setups were tried", notice.text)
    assert "时间已到" in in_chinese(notice.text)


def test_a_backend_that_cannot_run_it_is_left_out_and_named(tiny_artifact, monkeypatch):
    events = []
    monkeypatch.setattr(search, "BATCHES", ())
    found = choose_setup(
        tiny_artifact("tabular-classification"),
        [{"income": 1000, "age": 30, "housing": "own"}],
        backends=("torch",),
        budget_seconds=20,
        listener=events.append,
    )
    assert found.chosen.backend == "onnxruntime"
    (notice,) = [event for event in events if isinstance(event, Notice) and "left out" in event.text]
    assert notice.text.startswith("torch in fp32 is left out: ")
    assert notice.text.endswith("a tabular-classification model has no layers.")
    assert "略过 torch（fp32）：" in in_chinese(notice.text)


def _answers(values, probs=None):
    probs = probs or [None] * len(values)
    return [{"value": value, "confidence": None, "probs": p} for value, p in zip(values, probs, strict=True)]


def test_answers_are_compared_as_their_kind_wants():
    assert compare_answers(
        _answers(["a", "b"], [[0.7, 0.3], [0.4, 0.6]]), _answers(["a", "a"], [[0.7, 0.3], [0.6, 0.4]])
    ) == (
        pytest.approx(0.2),
        1,
    )
    assert compare_answers(_answers([1.0, 11.0]), _answers([1.0, 10.0])) == (pytest.approx(0.1), 0)
    assert compare_answers(_answers([0.5, 0.5]), _answers([0.5, 0.25])) == (pytest.approx(0.25), 0)
    spans = [[{"start": 0, "end": 3, "label": "x"}], [], [], []]
    assert compare_answers(_answers(spans), _answers([[], *spans[1:]])) == (0.25, 1)
    assert compare_answers(_answers(["a"], [[0.5]]), _answers(["a"], [[float("nan")]]))[0] == 1e9
    assert compare_answers(_answers([1.0, 2.0]), _answers([1.0, float("inf")]))[0] == 1e9
