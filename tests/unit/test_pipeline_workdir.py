"""Where a run works: claimed by one process, resumed by the same run only, and never deleted by mistake."""

import errno
import json
import multiprocessing
import os
import signal

import pytest

from penjing.core.artifact import MANIFEST, file_sha256
from penjing.core.errors import ArtifactError, DataError, Left, PenjingError, left_by
from penjing.core.task import Table
from penjing.data.sealed import write_sealed
from penjing.pipeline.workdir import IDENTITY, disk_errors, interruptions_noted, open_workdir, refuse_occupied


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "model"


def partial_of(out):
    return out.with_name(out.name + ".partial")


def interrupted(out, identity="one", saved=True):
    """What a killed run leaves: no `__exit__`, so only the lock is let go."""
    work = open_workdir(out, identity, overwrite=False)
    if saved:
        work.training.mkdir(exist_ok=True)
        (work.training / "checkpoint.safetensors").write_bytes(b"weights")
    work.lock.close()
    return work


def finished(out, text="first", overwrite=False, identity="one"):
    with open_workdir(out, identity, overwrite=overwrite) as work:
        stage = work.fresh_stage()
        (stage / "model.onnx").write_text(text)
        test = work.partial / work.sealed_test.name
        test.write_text(f"{text} rows")
        (stage / MANIFEST).write_text(json.dumps({"test": {"sha256": file_sha256(test)}}))
        work.finish(overwrite)


def test_finished_in_one_move(out):
    finished(out)
    assert (out / "model.onnx").read_text() == "first"
    assert out.with_name("model.test.jsonl").read_text() == "first rows"
    assert not partial_of(out).exists()
    assert sorted(path.name for path in out.parent.iterdir()) == ["model", "model.test.jsonl"]


def test_the_same_run_resumes(out):
    interrupted(out)
    with open_workdir(out, "one", overwrite=False) as work:
        assert work.resumed
        assert (work.training / "checkpoint.safetensors").read_bytes() == b"weights"
        (work.stage / "half").mkdir(parents=True)
        assert list(work.fresh_stage().iterdir()) == []


def test_another_run_does_not_take_over(out):
    interrupted(out)
    with pytest.raises(ArtifactError, match="interrupted run with other settings"):
        open_workdir(out, "two", overwrite=False)
    with open_workdir(out, "two", overwrite=True) as work:
        assert not work.resumed and not work.training.exists()
        assert json.loads((work.partial / IDENTITY).read_text())["identity"] == "two"


def test_a_run_that_had_saved_nothing_is_no_obstacle(out):
    interrupted(out, saved=False)
    with open_workdir(out, "two", overwrite=False) as work:
        assert not work.resumed


def test_an_error_leaves_what_can_be_resumed_and_nothing_else(out):
    with pytest.raises(DataError), open_workdir(out, "one", overwrite=False):
        raise DataError("wrong")
    assert not partial_of(out).exists()
    with pytest.raises(KeyboardInterrupt), open_workdir(out, "one", overwrite=False) as work:
        work.training.mkdir()
        (work.training / "checkpoint.safetensors").write_bytes(b"weights")
        raise KeyboardInterrupt
    with open_workdir(out, "one", overwrite=False) as work:
        assert work.resumed


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, RuntimeError, OSError])
def test_whatever_ends_a_run_before_a_checkpoint_leaves_nothing_and_after_it_all(out, kind):
    with pytest.raises(kind) as caught, open_workdir(out, "one", overwrite=False) as work:
        (work.fresh_stage() / "model.onnx").write_text("half")
        (work.partial / "quote.json").write_text("a minute's work")
        raise kind
    assert left_by(caught.value) == Left(str(out), "nothing half-made is left", resumes=False)
    assert not out.parent.exists()
    with pytest.raises(kind) as caught, open_workdir(out, "one", overwrite=False) as work:
        work.training.mkdir()
        (work.training / "checkpoint.safetensors").write_bytes(b"weights")
        raise kind
    assert left_by(caught.value) == Left(str(partial_of(out)), "what was trained so far is kept there", resumes=True)
    assert (partial_of(out) / "training" / "checkpoint.safetensors").is_file()


def test_a_run_killed_before_a_checkpoint_and_then_interrupted_leaves_nothing(out):
    interrupted(out, saved=False)
    with pytest.raises(KeyboardInterrupt), open_workdir(out, "one", overwrite=False) as work:
        assert work.resumed
        raise KeyboardInterrupt
    assert list(out.parent.iterdir()) == []


def test_ctrl_c_before_the_directory_is_claimed(out):
    with pytest.raises(KeyboardInterrupt) as caught, interruptions_noted(out):
        raise KeyboardInterrupt
    assert left_by(caught.value) == Left(str(out), "nothing was written yet", resumes=False)
    with pytest.raises(DataError) as refused, interruptions_noted(out):
        raise DataError("wrong")
    assert left_by(refused.value) is None
    with pytest.raises(KeyboardInterrupt) as caught, interruptions_noted(out), open_workdir(out, "1", overwrite=False):
        raise KeyboardInterrupt
    assert left_by(caught.value) == Left(str(out), "nothing half-made is left", resumes=False)


def test_a_second_ctrl_c_while_clearing_up_leaves_what_the_next_run_knows(out, monkeypatch):
    def impatient(path, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", impatient)
    with pytest.raises(KeyboardInterrupt), open_workdir(out, "one", overwrite=False) as work:
        for name in ("artifact", "a", "z"):
            (work.partial / name).mkdir()
        raise KeyboardInterrupt
    monkeypatch.undo()
    finished(out, identity="another")
    assert not partial_of(out).exists()


def test_ctrl_c_while_one_run_replaces_another_leaves_the_old_one(out, monkeypatch):
    finished(out)
    replace = type(out).replace

    def interrupted_there(path, target):
        if target == out:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(type(out), "replace", interrupted_there)
    with pytest.raises(KeyboardInterrupt):
        finished(out, "second", overwrite=True, identity="two")
    assert (out / "model.onnx").read_text() == "first"
    assert out.with_name("model.test.jsonl").read_text() == "first rows"
    assert not partial_of(out).exists()


@pytest.mark.parametrize("identity", ["two", "three"])
def test_killed_while_one_run_replaces_another_the_old_one_is_put_back(out, monkeypatch, identity):
    finished(out)

    def killed(path, target):
        if target == out:
            work.lock.close()
            raise SystemExit
        os.replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(type(out), "replace", killed)
        work = open_workdir(out, "two", overwrite=True)
        (work.fresh_stage() / "model.onnx").write_text("second")
        (work.partial / work.sealed_test.name).write_text("second rows")
        with pytest.raises(SystemExit):
            work.finish(overwrite=True)
    assert not out.exists()
    with pytest.raises(ArtifactError, match="already holds a finished run"):
        open_workdir(out, identity, overwrite=False)
    assert (out / "model.onnx").read_text() == "first"
    assert out.with_name("model.test.jsonl").read_text() == "first rows"
    finished(out, "third", overwrite=True, identity=identity)
    assert (out / "model.onnx").read_text() == "third"


def test_what_was_made_from_another_model_is_no_part_of_the_run(out):
    """The files of a local model may change while the recipe stays the same."""
    with open_workdir(out, "one", overwrite=False) as work:
        work.started_from({"config.json": "old"}, overwrite=False)
        work.training.mkdir()
        (work.training / "checkpoint.safetensors").write_bytes(b"weights")
        (work.partial / "quote.json").write_text("of the old one")
    with open_workdir(out, "one", overwrite=False) as work:
        work.started_from({"config.json": "old"}, overwrite=False)
        assert (work.training / "checkpoint.safetensors").is_file()
        with pytest.raises(ArtifactError, match=r"model files.*--overwrite to discard it"):
            work.started_from({"config.json": "new"}, overwrite=False)
        assert (work.training / "checkpoint.safetensors").is_file()
        work.started_from({"config.json": "new"}, overwrite=True)
        assert not work.training.exists() and not (work.partial / "quote.json").exists()
    with open_workdir(out, "one", overwrite=False) as work:
        work.started_from({"config.json": "new"}, overwrite=False)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing_half_made(out, monkeypatch):
    with pytest.raises(PenjingError, match="the disk is full"), disk_errors(out), open_workdir(
        out, "one", overwrite=False
    ) as work:  # fmt: skip
        (work.fresh_stage() / "model.onnx").write_text("half")
        full_disk()
    assert not out.parent.exists()
    monkeypatch.setattr("penjing.pipeline.workdir.write_atomic", full_disk)
    with (
        pytest.raises(PenjingError, match=r"the disk is full\. Next: free some space and run the same command\.$"),
        disk_errors(out),
    ):
        open_workdir(out, "one", overwrite=False)
    assert not out.parent.exists()


def test_a_full_disk_leaves_what_can_be_resumed(out, monkeypatch):
    interrupted(out)
    with pytest.raises(OSError, match="No space left"), open_workdir(out, "one", overwrite=False):
        full_disk()
    monkeypatch.setattr("penjing.pipeline.workdir.write_atomic", full_disk)
    with pytest.raises(PenjingError, match=r"run the same command: it resumes\.$"), disk_errors(out):
        open_workdir(out, "one", overwrite=False)
    monkeypatch.undo()
    with open_workdir(out, "one", overwrite=False) as work:
        assert work.resumed and (work.training / "checkpoint.safetensors").is_file()


def test_directories_made_for_a_refused_run_go_with_it(tmp_path):
    with pytest.raises(DataError), open_workdir(tmp_path / "runs" / "deep" / "x", "one", overwrite=False):
        raise DataError("wrong")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError), open_workdir(tmp_path / "runs" / "deep" / "x", "one", overwrite=False):
        (tmp_path / "runs" / "of another run").mkdir()
        raise DataError("wrong")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["of another run"]


def test_a_finished_run_is_kept_unless_told(out):
    finished(out)
    with pytest.raises(ArtifactError, match="already holds a finished run"):
        open_workdir(out, "one", overwrite=False)
    finished(out, "second", overwrite=True, identity="two")
    assert (out / "model.onnx").read_text() == "second"
    assert out.with_name("model.test.jsonl").read_text() == "second rows"
    assert not partial_of(out).exists()


def test_a_finished_run_stays_while_its_successor_is_made(out):
    finished(out)
    with pytest.raises(DataError), open_workdir(out, "two", overwrite=True) as work:
        work.fresh_stage()
        (work.partial / work.sealed_test.name).write_text("half")
        raise DataError("wrong")
    assert (out / "model.onnx").read_text() == "first"
    assert out.with_name("model.test.jsonl").read_text() == "first rows"


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_something_else_are_never_deleted(out, overwrite):
    for place in (out, partial_of(out)):
        place.mkdir(parents=True)
        (place / "thesis.docx").write_text("years of work")
        with pytest.raises(ArtifactError, match="not a run of penjing"):
            open_workdir(out, "one", overwrite=overwrite)
        assert (place / "thesis.docx").read_text() == "years of work"
        (place / "thesis.docx").unlink()
        place.rmdir()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_with_nothing_in_it_is_free(out, overwrite):
    out.mkdir(parents=True)
    finished(out, overwrite=overwrite)
    assert (out / "model.onnx").read_text() == "first"


def test_a_mount_point_is_refused_at_once(out, monkeypatch):
    out.mkdir(parents=True)
    monkeypatch.setattr("os.path.ismount", lambda path: path == out)
    with pytest.raises(ArtifactError, match=r"is a mount point.*give a directory inside it"):
        refuse_occupied(out, overwrite=True)


def _hold(out, ready, finish):
    with open_workdir(out, "one", overwrite=False):
        ready.set()
        finish.wait(60)


def test_two_runs_do_not_share_a_directory(out):
    context = multiprocessing.get_context("spawn")
    ready, finish = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(out, ready, finish))
    process.start()
    assert ready.wait(120)
    for overwrite in (False, True):
        with pytest.raises(ArtifactError, match="another run is at work"):
            open_workdir(out, "one", overwrite=overwrite)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with open_workdir(out, "one", overwrite=False) as work:  # a dead process holds nothing
        assert work.resumed


def test_a_users_own_file_where_the_test_rows_would_go_is_refused(tmp_path):
    own = tmp_path / "x.test.jsonl"
    own.write_text("my labels\n")
    with pytest.raises(ArtifactError, match=r"x\.test\.jsonl.*not the test file of a run"):
        open_workdir(tmp_path / "x", "identity", overwrite=True)
    assert own.read_text() == "my labels\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.test.jsonl"]


def test_a_path_through_a_file_is_refused_at_once(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes: is a file, so nothing can be made in it"):
        refuse_occupied(tmp_path / "notes" / "x" / "y", overwrite=True)


def test_test_rows_of_a_deleted_run_are_replaced_when_asked(tmp_path):
    left = tmp_path / "x.test.jsonl"
    write_sealed(Table([{"text": "a", "label": "b"}], ["a.csv:2"]), left)
    with pytest.raises(ArtifactError, match=r"no longer beside it\. Next: delete it, or replace it with --overwrite"):
        open_workdir(tmp_path / "x", "identity", overwrite=False)
    with open_workdir(tmp_path / "x", "identity", overwrite=True):
        assert left.is_file()


def test_an_interrupted_overwriting_run_resumes(tmp_path):
    with open_workdir(tmp_path / "x", "identity", overwrite=True) as first:
        first.training.mkdir()
        (first.training / "checkpoint.safetensors").write_bytes(b"hours of work")
    with open_workdir(tmp_path / "x", "identity", overwrite=True) as second:
        assert second.resumed
        assert (second.training / "checkpoint.safetensors").read_bytes() == b"hours of work"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("inside", ["", "model.partial/training/x", "model/x", "model.test.jsonl", ".."])
def test_an_error_of_the_disk_names_out_only_where_it_lies_there(out, code, inside):
    for path, where in ((out.parent / inside if inside else None, out), (out.parent / "model2" / "x",) * 2):
        with pytest.raises(PenjingError) as caught, disk_errors(out):
            raise OSError(code, os.strerror(code), *([str(path)] if path else []))
        assert caught.value.where == str(where)
