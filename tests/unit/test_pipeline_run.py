"""A whole run on the tiny encoder: killed and resumed, its directories, its recipes, its events."""

import csv
import dataclasses
import errno
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from penjing.core.artifact import MANIFEST, file_sha256, open_artifact
from penjing.core.errors import ArtifactError, CapabilityError, DataError, PenjingError, RecipeError
from penjing.core.events import Notice, Progress
from penjing.data.config import DataConfig
from penjing.data.prepare import prepare
from penjing.pipeline.plan import resolve
from penjing.pipeline.run import default_out, run, train
from penjing.pipeline.training import build_task
from penjing.predict.load import load

QUICK = {
    "train.epochs": 3,
    "train.batch_rows": 8,
    "train.learning_rate": 1e-3,
    "train.precision": "fp32",
    "train.dropout": 0.1,
    "train.checkpoint_seconds": 0,
    "evaluate.calibrate": True,
}
WEIGHTS = ("weights.safetensors", "model.onnx", "task.json")


def one_thread(put=setattr):
    """Threads that wait for each other make seconds into minutes where other work has the cores."""
    from penjing.core import runtime

    put(runtime, "physical_cores", lambda: 1)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    one_thread(monkeypatch.setattr)


@pytest.fixture
def messages(tmp_path, task_rows) -> Path:
    """The messages twice over, the second time with another ending, as a CSV file."""
    path = tmp_path / "messages.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for ending in ("", " Please answer."):
            writer.writerows((row["text"] + ending, row["label"]) for row in task_rows("text-classification")[0])
    return path


@pytest.fixture
def overrides(tiny_pretrained):
    return {**QUICK, "model": str(tiny_pretrained.directory)}


def _killed_run(source, out, overrides, moment):
    stage, when = moment
    one_thread()

    def watch(event):
        if event.stage == stage and (when is None or (isinstance(event, Progress) and event.done == when)):
            os.kill(os.getpid(), signal.SIGKILL)

    train(source, out=out, overrides=overrides, listener=watch)


def kill_at(source, out, overrides, moment):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["penjing.train.fit", "penjing.export.onnx", "penjing.pipeline.run"])
    process = context.Process(target=_killed_run, args=(source, out, overrides, moment))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("pretraining", [0, 2])
def test_killed_and_run_again_ends_with_the_same_files(messages, tmp_path, overrides, pretraining):
    overrides = {**overrides, "train.pretrain.epochs": pretraining}
    train(messages, out=tmp_path / "whole", overrides=overrides)
    out, partial = tmp_path / "again", tmp_path / "again.partial"
    moments = [("pretrain", 3), ("export", None)] if pretraining else [("train", 4), ("evaluate", None)]
    for moment in moments:
        kill_at(messages, out, overrides, moment)
        assert not out.exists() and partial.is_dir()
        assert not list(tmp_path.glob("again.test.jsonl"))
    events: list = []
    artifact = train(messages, out=out, overrides=overrides, listener=events.append)
    assert any("going on with the interrupted run" in getattr(event, "text", "") for event in events)
    assert artifact.path == out and not partial.exists()
    for name in WEIGHTS:
        assert file_sha256(out / name) == file_sha256(tmp_path / "whole" / name), name
    assert open_artifact(out).manifest["test"] == {
        **open_artifact(tmp_path / "whole").manifest["test"], "file": "again.test.jsonl",
    }  # fmt: skip
    assert (tmp_path / "again.test.jsonl").is_file()


def test_the_artifact_predicts_and_says_how_it_was_made(messages, tmp_path, overrides):
    events: list = []
    artifact = train(messages, out=tmp_path / "out", overrides=overrides, listener=events.append)
    facts = artifact.manifest["training"]
    assert (
        facts["method"] == "full + n-grams" and facts["parity"]["max_difference"] < 1e-3 and facts["parity"]["rows"] > 0
    )
    assert facts["peak_mb"] > 50 and facts["minutes"] > 0
    assert facts["train"]["epochs"] == 3 and facts["train"]["learning_rate"] == 1e-3
    assert load(tmp_path / "out").predict([{"text": "Where is my parcel?"}])[0].value in {
        "delivery",
        "refund",
        "product",
    }
    stages = [event.stage for event in events]
    assert {"probe", "train", "export", "evaluate"} <= set(stages)
    steps = [event for event in events if isinstance(event, Progress) and event.stage == "train"]
    assert [event.done for event in steps] == list(range(int(steps[-1].total) + 1))
    assert all(event.unit == "steps" and event.values["samples_per_s"] >= 0 for event in steps)
    assert "valid_macro_f1" in steps[-1].values or "valid_accuracy" in steps[-1].values
    written = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8"))
    assert written["task"] == "text-classification" and written["train"]["batch_rows"] == 8


def test_the_recipe_in_the_artifact_has_every_choice_and_repeats_the_run(messages, tmp_path, overrides):
    keys = {**overrides, "train.precision": "auto", "train.learning_rate": None}
    train(messages, out=tmp_path / "first", overrides=keys)
    made = tmp_path / "first" / "recipe.yaml"
    written = yaml.safe_load(made.read_text(encoding="utf-8"))
    columns = written["data"]["columns"]
    assert (columns["text"], columns["label"], written["language"]) == ("text", "label", "zh")
    assert written["data"]["split"]["strategy"] == "stratified"
    assert written["train"]["learning_rate"] == 2e-4 and written["train"]["precision"] in {"bf16", "fp32"}
    train(made, out=tmp_path / "second")
    assert (tmp_path / "second" / "recipe.yaml").read_text(encoding="utf-8") == made.read_text(encoding="utf-8")
    for name in WEIGHTS:
        assert file_sha256(tmp_path / "first" / name) == file_sha256(tmp_path / "second" / name), name


def test_a_run_does_not_replace_another(messages, tmp_path, overrides):
    out = tmp_path / "out"
    first = train(messages, out=out, overrides=overrides).digest
    with pytest.raises(ArtifactError, match="already holds a finished run"):
        train(messages, out=out, overrides=overrides)
    with pytest.raises(PenjingError):  # refused while it is under way: what was there stays
        train(messages, out=out, overrides={**overrides, "train.loss": "mse"}, overwrite=True)
    assert open_artifact(out).digest == first
    assert not (tmp_path / "out.partial").exists()
    second = train(messages, out=out, overrides={**overrides, "seed": 7}, overwrite=True)
    assert open_artifact(out).digest == second.digest != first


def test_a_disk_that_is_full_at_the_first_checkpoint_leaves_nothing(messages, tmp_path, overrides, monkeypatch):
    def fail(path, *_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("penjing.train.checkpoint.save_tensors", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PenjingError, match="the disk is full"):
        train(messages, out=tmp_path / "runs" / "out", overrides=overrides)
    assert sorted(tmp_path.iterdir()) == before


class Stopped(Exception):
    """The run was left in the middle."""


@pytest.mark.parametrize("changed", ["release", "unlabelled", "model"])
def test_overwriting_discards_an_interrupted_run_that_cannot_be_gone_on_with(
    messages, tmp_path, overrides, tiny_pretrained, monkeypatch, changed
):
    """What the message advises has to work, whatever of the run's beginnings has changed."""
    model, more = tmp_path / "model", tmp_path / "more.txt"
    shutil.copytree(tiny_pretrained.directory, model)
    more.write_text("Is the shop open on Sundays?\nCan I pay by card?\n", encoding="utf-8")
    overrides = {**overrides, "train.epochs": 1, "model": str(model), "data.unlabelled": str(more)}
    overrides["train.pretrain.epochs"] = 1
    stage = "pretrain" if changed == "unlabelled" else "train"

    def stop(event):
        if isinstance(event, Progress) and event.stage == stage and event.done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train(messages, out=tmp_path / "out", overrides=overrides, listener=stop)
    if changed == "release":
        monkeypatch.setattr("penjing.train.fit.version", lambda name: "99.0")
        monkeypatch.setattr("penjing.train.pretrain.version", lambda name: "99.0")
        monkeypatch.setattr("penjing.pipeline.run.library_versions", lambda: {"penjing": "99.0"})
    elif changed == "unlabelled":
        more.write_text(more.read_text(encoding="utf-8") + "Do you sell gift cards?\n", encoding="utf-8")
    else:
        (model / "config.json").write_text((model / "config.json").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="--overwrite to discard it"):
        train(messages, out=tmp_path / "out", overrides=overrides)
    assert train(messages, out=tmp_path / "out", overrides=overrides, overwrite=True).path == tmp_path / "out"


def test_an_occupied_directory_is_refused_before_the_source_is_read(tmp_path, overrides):
    for occupied, said in (("finished", "a finished run"), ("files", "files that are not a run")):
        (tmp_path / occupied).mkdir()
        (tmp_path / occupied / (MANIFEST if occupied == "finished" else "notes.txt")).write_text("{}")
        with pytest.raises(ArtifactError, match=f"holds {said}"):
            train(tmp_path / "no-such-source.csv", out=tmp_path / occupied, overrides=overrides)
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"x\.partial: holds files that are not a run"):
        train(tmp_path / "no-such-source.csv", out=tmp_path / "x", overrides=overrides)


def test_minutes_of_the_budget_reach_training(messages, tmp_path, overrides):
    events: list = []
    limited = {**overrides, "train.epochs": 1000, "budget.train_minutes": 0.02}
    train(messages, out=tmp_path / "out", overrides=limited, listener=events.append)
    assert any("minutes of training allow" in event.text for event in events if isinstance(event, Notice))
    steps = [event for event in events if isinstance(event, Progress) and event.stage == "train"]
    assert steps[-1].done == steps[-1].total < steps[0].total


def test_pretraining_is_part_of_the_minutes(monkeypatch, messages, tmp_path, overrides):
    from penjing.train import pretrain

    genuine, asked = pretrain.pretrain_encoder, []

    def slow(*arguments, **more):
        asked.append(more["max_minutes"])
        adapted = yield from genuine(*arguments, **more)
        return dataclasses.replace(adapted, seconds=120.0)

    monkeypatch.setattr(pretrain, "pretrain_encoder", slow)
    keys = {**overrides, "train.epochs": 1, "train.pretrain.epochs": 1, "budget.train_minutes": 60}
    artifact = train(messages, out=tmp_path / "out", overrides=keys)
    assert asked == [30.0]
    assert 2 < artifact.manifest["training"]["minutes"] < 3


@pytest.mark.parametrize(("minutes", "seconds"), [(None, 120.0), (0.5, 15.0), (60.0, 120.0)])
def test_minutes_of_the_budget_reach_table_tasks(monkeypatch, tmp_path, minutes, seconds):
    from penjing.pipeline.training import train_direct
    from penjing.train.direct.boosting import BoostingTrainer

    class Asked(Exception):
        pass

    def fit(self, task, train, valid, config, **more):
        raise Asked(config.seconds)

    monkeypatch.setattr(BoostingTrainer, "fit", fit)
    recipe = resolve("table.csv", {"budget.train_minutes": minutes})
    task = SimpleNamespace(kind="tabular-classification", trainer="penjing.train.direct.boosting:BoostingTrainer")
    splits = SimpleNamespace(train=None, valid=None)
    with pytest.raises(Asked, match=f"^{seconds}$"):
        train_direct(recipe, SimpleNamespace(splits=splits), task, tmp_path, print)


def test_a_cell_that_is_no_number_is_refused_before_training(tmp_path):
    rows = [f"{20 + i},{i % 7},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("age,visits,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "t.csv").write_text("age,visits,label\n30,1,a\nold,2,b\n", encoding="utf-8")
    prepared = prepare(DataConfig(source=str(tmp_path / "a.csv"), test=str(tmp_path / "t.csv")))
    with pytest.raises(DataError, match=r"^t\.csv:3: 'old' in column 'age' is not a number\."):
        build_task(prepared, None, None)


@pytest.mark.parametrize("key", ["evaluate.slices", "evaluate.group"])
def test_columns_of_the_evaluation_are_checked_before_training(messages, tmp_path, overrides, key):
    value = ["chanel"] if key == "evaluate.slices" else "chanel"
    with pytest.raises(DataError, match=rf"no column 'chanel', which {key} names"):
        run(messages, out=tmp_path / "out", overrides={**overrides, key: value})
    assert not list(tmp_path.glob("out*"))


def test_a_table_refuses_what_its_trainer_ignores(tmp_path, task_rows):
    path = tmp_path / "loans.json"
    path.write_text(json.dumps(task_rows("tabular-classification")[0]), encoding="utf-8")
    keys = {"train.epochs": 3, "train.method": "lora", "train.adapter.rank": 4, "model": "minilm-l6-en"}
    told = "model = minilm-l6-en, train.method = lora, train.adapter.rank = 4, train.epochs = 3.0 have no meaning"
    with pytest.raises(CapabilityError, match=f"^tabular-classification: {told}"):
        run(path, out=tmp_path / "out", overrides=keys)
    assert not list(tmp_path.glob("out*"))


def test_a_run_signs_what_it_made(messages, tmp_path, overrides):
    pytest.importorskip("cryptography")
    from penjing.core.signing import new_key

    key = tmp_path / "key.pem"
    public = new_key(key)
    with pytest.raises(RecipeError, match="no such private key"):  # before anything is read or learned
        train(messages, out=tmp_path / "out", overrides=overrides, sign_key=tmp_path / "none")
    assert not list(tmp_path.glob("out*"))
    made = train(messages, out=tmp_path / "out", overrides={**overrides, "train.epochs": 1}, sign_key=key)
    assert open_artifact(tmp_path / "out", public).digest == made.digest


def test_files_beside_a_recipe_are_found_from_anywhere(messages, tmp_path, overrides, monkeypatch, tiny_pretrained):
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    shutil.copy(messages, folder / "messages.csv")
    shutil.copytree(tiny_pretrained.directory, folder / "model")
    keys = {"data": {"source": "messages.csv"}, "model": "model", "train": {"epochs": 1, "precision": "fp32"}}
    (folder / "support.yaml").write_text(yaml.safe_dump(keys))
    monkeypatch.chdir(elsewhere)
    recipe = resolve(Path("../project/support.yaml"))
    assert Path(recipe.stage("data").source).resolve() == folder / "messages.csv"
    assert Path(recipe.model).resolve() == folder / "model"
    assert default_out(Path("../project/support.yaml"), recipe) == Path("runs/support")
    assert default_out("shop/reviews.csv?x=1", resolve("shop/reviews.csv")) == Path("runs/reviews")
    train(Path("../project/support.yaml"))
    assert (elsewhere / "runs" / "support" / MANIFEST).is_file()


@pytest.mark.slow  # quotes, measures latency and memory in fresh processes
def test_a_whole_run_is_proven(messages, tmp_path, overrides):
    result = run(messages, out=tmp_path / "out", overrides=overrides)
    assert result.report is not None and result.report.data.rows["test"] == 12
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out", "out.test.jsonl"]
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert written["artifact_digest"] == result.report.artifact_digest
    assert result.report.curves[0].step == 0
    assert result.report.cost.train_minutes is not None
