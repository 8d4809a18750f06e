"""Killed at any moment and run again, a run ends with the very weights of one that was never killed."""

import signal

import pytest
import torch
from safetensors.torch import load_file
from training_case import Case, Killed, exit_code, in_process, quiet_case, run_fit

from penjing.core.artifact import file_sha256
from penjing.core.errors import ArtifactError
from penjing.core.events import Notice
from penjing.train.checkpoint import FILE, read_position
from penjing.train.fit import WEIGHTS

# Everything that draws random numbers or keeps state from step to step.
EVERYTHING = {"dropout": 0.2, "mixup": 0.4, "rdrop": 1.0, "token_dropout": 0.1, "ema": 0.9, "label_smoothing": 0.1}


@pytest.fixture
def case(task_rows, text_settings, tiny_pretrained, tmp_path) -> Case:
    return quiet_case(task_rows, text_settings, tiny_pretrained, tmp_path / "run")


def with_everything(case: Case, **more) -> Case:
    return case.changed(config={**case.config, **EVERYTHING, **more})


def assert_same_end(first: Case, second: Case) -> None:
    assert file_sha256(first.out / WEIGHTS) == file_sha256(second.out / WEIGHTS)
    ours, theirs = load_file(first.out / FILE), load_file(second.out / FILE)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ends = [read_position(case.out) for case in (first, second)]
    curves = [[{**e, "samples_per_s": 0} for e in end.history] for end in ends]
    assert str(curves[0]) == str(curves[1])  # as text, for the first loss is NaN
    assert ends[0].step == ends[1].step > 0


def killed(case: Case) -> None:
    assert exit_code(in_process(case)) == -signal.SIGKILL
    assert not (case.out / WEIGHTS).exists()


@pytest.mark.parametrize(
    "optimizer",
    ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lion", "schedule-free", "adafactor", "sgd"))],
)
def test_killed_between_steps(case, tmp_path, optimizer):
    whole = with_everything(case, optimizer=optimizer)
    run_fit(whole)
    interrupted = whole.changed(out=tmp_path / "again")
    killed(interrupted.changed(kill=("step", 5)))
    assert read_position(interrupted.out).step == 4  # the event of a step comes before its checkpoint
    run_fit(interrupted)
    assert_same_end(whole, interrupted)


@pytest.mark.parametrize("kill", [("writing", 1), ("writing", 7), ("renaming", 3), ("evaluating", 2), ("step", 12)])
def test_killed_anywhere(case, tmp_path, kill):
    whole = with_everything(case)
    run_fit(whole)
    interrupted = whole.changed(out=tmp_path / "again")
    killed(interrupted.changed(kill=kill))
    run_fit(interrupted)
    assert_same_end(whole, interrupted)


@pytest.mark.slow
def test_killed_again_and_again(case, tmp_path):
    whole = with_everything(case, precision="fp32")
    run_fit(whole)
    interrupted = whole.changed(out=tmp_path / "again")
    for kill in [("step", 1), ("writing", 3), ("renaming", 2), ("step", 9)]:
        killed(interrupted.changed(kill=kill))
    run_fit(interrupted)
    assert_same_end(whole, interrupted)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_keeps_its_masters_and_its_scale(case, tmp_path, precision):
    whole = with_everything(case, precision=precision)
    run_fit(whole)
    interrupted = whole.changed(out=tmp_path / "again")
    killed(interrupted.changed(kill=("step", 6)))
    assert load_file(interrupted.out / FILE)["master.0"].dtype == torch.float32
    run_fit(interrupted)
    assert_same_end(whole, interrupted)


@pytest.mark.slow
def test_adapters_resume(case, tmp_path):
    whole = with_everything(case, method="lora", adapter={"rank": 4, "dropout": 0.1})
    run_fit(whole)
    interrupted = whole.changed(out=tmp_path / "again")
    killed(interrupted.changed(kill=("step", 6)))
    run_fit(interrupted)
    assert_same_end(whole, interrupted)


@pytest.mark.parametrize("enough_memory", [True, False])
def test_frozen_layers_resume_as_they_began(case, tmp_path, monkeypatch, enough_memory):
    """Their states are kept where memory allows; a resumed run does as the first, whatever is free by then."""
    whole = with_everything(case, frozen_layers=1, token_dropout=0.0, precision="fp32")
    monkeypatch.setattr("penjing.train.fit.can_keep", lambda *sizes: enough_memory)
    run_fit(whole)
    assert read_position(whole.out).kept_lower == enough_memory
    interrupted = whole.changed(out=tmp_path / "again")
    with pytest.raises(Killed):
        run_fit(interrupted.changed(stop=5))
    monkeypatch.setattr("penjing.train.fit.can_keep", lambda *sizes: not enough_memory)
    run_fit(interrupted)
    assert_same_end(whole, interrupted)


def test_early_stopping_counts_on_after_a_kill(case, tmp_path):
    # Ties count as gains, so the metric must fall; from a head that says one class of all rows, it can.
    settings = {"early_stopping": 2, "evaluations": 3, "epochs": 30, "learning_rate": 3e-3, "head_start": "random"}
    whole = with_everything(case, **settings).changed(misled=True)
    events = run_fit(whole)
    stopped = [event.text for event in events[:-1] if "stopped early" in getattr(event, "text", "")]
    assert len(stopped) == 1
    end = read_position(whole.out)
    assert end.step < end.total
    interrupted = whole.changed(out=tmp_path / "again")
    killed(interrupted.changed(kill=("step", end.step - 1)))
    run_fit(interrupted)
    assert_same_end(whole, interrupted)
    run_fit(interrupted)  # a run that had stopped stays stopped
    assert read_position(interrupted.out).step == end.step


def test_a_checkpoint_of_another_run_is_refused(case):
    run_fit(case)
    for other in (
        case.changed(config={**case.config, "learning_rate": 2e-3}),
        case.changed(config={**case.config, "dropout": 0.1}),
    ):
        with pytest.raises(ArtifactError, match="other settings, data or number of processes"):
            run_fit(other)


def test_a_damaged_checkpoint_is_refused(case):
    run_fit(case)
    path = case.out / FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="checkpoint is damaged"):
        run_fit(case)


def test_another_number_of_threads_is_announced(case):
    with pytest.raises(Killed):
        run_fit(case.changed(stop=3))
    events = run_fit(case.changed(threads=2))
    notices = [event.text for event in events[:-1] if isinstance(event, Notice)]
    assert "began with 1 threads and goes on with 2" in notices[0]
