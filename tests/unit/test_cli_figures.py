"""Figures on the command line are shares where the metric says so, whatever their size."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
from evaluate_cases import as_predictions, compressed, digits, report_of

from penjing.cli import select, train
from penjing.cli.console import Console
from penjing.cli.summary import show_report
from penjing.core.budget import Budget
from penjing.core.task import Metric
from penjing.pipeline import run
from penjing.predict import task_file
from penjing.select.candidate import Candidate
from penjing.select.rank import Selection

METRICS = {"accuracy": Metric(), "log_loss": Metric(higher_is_better=False, percent=False)}


def test_a_log_loss_below_one_is_no_percentage(monkeypatch, capsys):
    valid = {"accuracy": 0.93, "log_loss": 0.31, "auc": None}
    made = SimpleNamespace(path=Path("out"), manifest={"training": {"valid": valid}})
    monkeypatch.setattr(run, "train", lambda *args, **kwargs: made)
    monkeypatch.setattr(task_file, "read_task", lambda path: SimpleNamespace(metrics=METRICS))
    args = Namespace(source="x.csv", out="out", overwrite=False, sign_key=None, set=[], budget=[])
    monkeypatch.setattr(train, "overrides_of", lambda args: {})
    assert train.train(args, Console(json=False, quiet=True, language="en")) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines() if len(line.split()) == 2)
    assert (shown["accuracy"], shown["log_loss"], shown["auc"]) == ("93.0%", "0.310", "–")


@pytest.mark.parametrize(("percent", "wanted"), [(True, "31.0%"), (False, "0.310")])
def test_candidates_are_shown_as_their_metric_is(percent, wanted, capsys):
    one = Candidate("small", probe=0.31, probe_low=0.3, probe_high=0.32)
    found = Selection("small", (one,), "why", "why", "r2", percent, "en", True, 100)
    select._show(Console(json=False, quiet=True, language="en"), found)
    assert wanted in capsys.readouterr().out


def test_a_compressed_model_is_shown_with_what_was_lost_and_tried(capsys):
    case = digits()
    report = report_of(case.task, case.test, as_predictions(case.task, case.test_probs))
    show_report(Console(json=False, quiet=True, language="en"), compressed(report))
    shown = capsys.readouterr().out
    assert "It is 44 × smaller than the model it was made from and 23 × as fast; at most 0.87 points" in shown
    rows = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert rows["1"][1:5] == ["as", "it", "was", "@"] and rows["8"][-1] == "no" and "9" not in rows
    assert rows["7"][-2:] == ["yes,", "chosen"] and "7,390" in rows["7"]
    assert rows["drop"][1:3] == ["1.00", "0.380"] and rows["drop"][-1] == "met"
    small = Budget(drop=1, p95_ms=0.5)
    show_report(Console(json=False, quiet=True, language="zh"), compressed(report, small, relax=True))
    shown = capsys.readouterr().out
    assert "试过的模型都不符合预算；本模型最为接近。" in shown and "不超过 0.5 毫秒 → 0.981 毫秒" in shown
