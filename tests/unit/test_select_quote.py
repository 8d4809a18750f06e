"""Quotes of real runs with tiny models, kept within their deadline, and compared with what came true."""

import json
import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from penjing.core.budget import Budget
from penjing.core.errors import ArtifactError
from penjing.core.events import Progress, ignore
from penjing.core.report import Cost, Evaluation, MetricValue
from penjing.core.task import Metric, Stats, Table
from penjing.data.config import DataConfig
from penjing.data.prepare import prepare
from penjing.select.calibration import shipped
from penjing.select.config import PriceConfig, SelectConfig
from penjing.select.expectation import Evidence
from penjing.select.gather import Findings, _Probed, _timed_fit, _with_run, make_evidence
from penjing.select.learning_curve import Curve
from penjing.select.past_runs import ASSUMED
from penjing.select.price import CNY_MONTH, SECONDS_A_MONTH, USD_MONTH, monthly_cost
from penjing.select.probe import Judged
from penjing.select.quote import Range, build_quote, came_true, quote, read_quote, write_quote
from penjing.select.sample import Pool
from penjing.select.serving import TORCH_RATE_RATIO, Serving, time_torch
from penjing.select.short_run import ShortRun
from penjing.select.stopwatch import Stopwatch
from penjing.train.direct.config import LINEAR, TREES, DirectConfig


@pytest.fixture
def messages(tmp_path, task_rows):
    path = tmp_path / "messages.jsonl"
    rows = task_rows("text-classification")[0]
    lines = [json.dumps({**row, "text": f"{row['text']} ({copy})"}) for copy in range(4) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return prepare(DataConfig(source=str(path)), seed=1)


@pytest.fixture
def loans(tmp_path, task_rows):
    rows, _ = task_rows("tabular-classification")
    path = tmp_path / "loans.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return prepare(DataConfig(source=str(path)), seed=1)


@pytest.fixture
def findings(messages):
    evidence = Evidence(
        basis="probe", log_error=-1.6, standard_error=0.1, test_error=0.3, run_ratio=-0.2, label_gain=(0.05, 0.02)
    )
    serving = Serving(1.5, 2.0, 1_000.0, 90.0, 250.0, 400.0, "onnxruntime")
    return Findings("accuracy", Metric(), evidence, serving, 1.5, 100)


def make(messages, findings, budget=None, **config):
    return build_quote(messages, None, findings, budget or Budget(), SelectConfig(**config), shipped(), seconds=12.0)


def test_it_survives_json_and_reads_plainly_in_both_languages(messages, findings, tmp_path):
    promised = make(messages, findings)
    write_quote(promised, tmp_path / "quote.json")
    assert read_quote(tmp_path / "quote.json") == promised
    english, chinese = promised.sentences("en"), promised.sentences("zh")
    assert len(english) == len(chinese) >= 5
    for words in ("accuracy", "minutes", "MB", "p95", "rows/s", "a month", "50 more labels"):
        assert words in " ".join(english)
    for words in ("训练", "内存", "每月", "再标注 50 条"):
        assert words in "".join(chinese)
    assert promised.score.low < promised.score.expected < promised.score.high <= 1
    assert 0 <= promised.more_labels.low <= promised.more_labels.expected <= promised.more_labels.high


@pytest.mark.parametrize(
    ("gain", "percent", "english", "chinese"),
    [
        (
            (0, 0, 0),
            True,
            "no gain in accuracy to be expected, less than 0.05 points.",
            "不会有改善，不到 0.05 个百分点。",
        ),
        ((0, 4e-4, 0.003), True, "less than 0.05 points (interval 0.00–0.30 points).", "（区间 0.00–0.30 个百分点）。"),
        ((0, 0.002, 0.004), True, "raise accuracy by 0.20 (0.00–0.40) points.", "提高 0.20 个百分点（0.00–0.40）。"),
        ((0.002, 0.002, 0.002), True, "raise accuracy by 0.20 points.", "提高 0.20 个百分点。"),
        ((0, 1e-4, 1e-4), False, "less than 0.05% of accuracy (interval 0.0000–0.0001 of", "不到其值的 0.05%"),
        (
            (0, 0.01, 0.02),
            False,
            "raise accuracy by 0.0100 (0.0000–0.0200) of accuracy.",
            "提高 0.0100（0.0000–0.0200）。",
        ),
    ],
)
def test_labels_that_help_no_more_are_called_so(messages, findings, gain, percent, english, chinese):
    values = {"more_labels": Range(low=gain[0], expected=gain[1], high=gain[2]), "percent": percent}
    promised = make(messages, findings).model_copy(update=values)
    (said,) = (sentence for sentence in promised.sentences("en") if "50 more labels" in sentence)
    assert english in said and "by 0.00" not in said
    (said,) = (sentence for sentence in promised.sentences("zh") if "再标注 50 条" in sentence)
    assert chinese in said


def judged(errors, replicates=()):
    curve = Curve((10, 20, 40)[: len(errors)], errors, replicates)
    score = 1 - errors[-1]
    return Judged(score, score - 0.1, score + 0.1, Stats({}), np.arange(20), 40, 0.05, curve)


def test_a_metric_that_is_undefined_on_all_rows_is_not_quoted_and_it_is_said(messages, findings, tmp_path):
    nan = float("nan")
    evidence = make_evidence(None, judged((nan, nan, nan), ((nan, nan, nan),) * 5), "probe", 100, 20)
    assert evidence.log_error is None
    promised = make(messages, replace(findings, primary="auc", evidence=evidence), Budget(metric=90, size_mb=1))
    assert promised.score is None and promised.more_labels is None
    assert promised.over_budget == {"size_mb": "likely"}
    english, chinese = promised.sentences("en"), promised.sentences("zh")
    assert "No auc can be quoted: it is undefined on the 100 rows looked at" in english[0]
    assert "无法预计 auc" in chinese[0] and len(english) == len(chinese)
    write_quote(promised, tmp_path / "quote.json")
    assert read_quote(tmp_path / "quote.json") == promised

    class Proof:
        evaluation = Evaluation(primary="auc", resamples=1, seed=0, metrics={"auc": MetricValue(value=0.5, n=12)})
        cost = Cost(size_mb=90.0)

    assert {figure.name for figure in came_true(promised, Proof())} == set(promised.costs)


def test_sizes_at_which_a_metric_is_undefined_are_left_out():
    nan = float("nan")
    partly = make_evidence(
        None, judged((nan, 0.4, 0.3), ((nan, 0.41, 0.31), (nan, 0.39, 0.3), (nan, 0.4, 0.29))), "probe", 40, 20
    )
    without = make_evidence(
        None,
        replace(judged((0.4, 0.3)), curve=Curve((20, 40), (0.4, 0.3), ((0.41, 0.31), (0.39, 0.3), (0.4, 0.29)))),
        "probe",
        40,
        20,
    )
    assert partly == without and partly.log_error == pytest.approx(math.log(0.3))
    assert make_evidence(None, judged((0.4, 0.3, nan)), "probe", 40, 20).log_error is None


def test_a_run_on_rows_where_the_metric_is_undefined_tells_nothing(findings):
    class Undefined:
        primary, metrics = "auc", {"auc": Metric()}

        def score(self, rows, predictions):
            return Stats({})

        def aggregate(self, stats):
            return {"auc": float("nan")}

    rows = np.arange(4)
    table = Table([{}] * 4, list("abcd"), "x")
    probed = _Probed(judged((0.4, 0.3)), lambda learn, judge: [], "probe", Pool(table, rows % 2, 2, True), 1.0)
    run = ShortRun(10.0, rows, rows, Stats({}), 0.5)
    assert _with_run(findings.evidence, Undefined(), probed, run) == findings.evidence


def test_a_damaged_quote_is_refused(messages, findings, tmp_path):
    path = tmp_path / "quote.json"
    with pytest.raises(ArtifactError, match="no such quote"):
        read_quote(path)
    values = make(messages, findings).to_json()
    for broken in ("{", json.dumps(values | {"version": 99}), json.dumps(values | {"score": "high"})):
        path.write_text(broken)
        with pytest.raises(ArtifactError, match="quote again"):
            read_quote(path)


def test_the_budget_is_compared_with_figures_and_with_ends_of_intervals(messages, findings):
    found = make(messages, findings, Budget(p95_ms=0.1, size_mb=1_000, rows_per_s=900, metric=99.9)).over_budget
    assert found["p95_ms"] == "likely" and found["metric"] == "likely" and found["rows_per_s"] == "possible"
    assert "size_mb" not in found


def test_a_limit_of_a_metric_that_is_no_percentage_is_in_its_own_scale(messages, findings):
    def state(limit, higher):
        about = Metric(higher_is_better=higher, percent=False)
        return make(messages, replace(findings, metric=about), Budget(metric=limit)).over_budget.get("metric")

    expected = make(messages, replace(findings, metric=Metric(percent=False))).score.expected
    assert (state(expected - 5, True), state(expected - 0.001, True), state(0.99999, True)) == (
        None,
        "possible",
        "likely",
    )
    error = 1 - expected
    assert (state(50, False), state(error + 0.001, False), state(0.0001, False)) == (None, "possible", "likely")


def test_an_assumed_spread_is_said_to_be_assumed(messages, findings):
    measured = make(messages, findings)
    assert not measured.assumed, "eleven runs of data sets with a probe were measured for this release"
    for basis in ("run", "direct", "stand-in"):
        assert make(messages, replace(findings, evidence=findings.evidence.model_copy(update={"basis": basis}))).assumed
    promised = build_quote(messages, None, findings, Budget(), SelectConfig(), ASSUMED, seconds=12.0)
    assert promised.assumed
    assert "assumed, not yet measured" in promised.sentences("en")[0] and "假定" in promised.sentences("zh")[0]
    assert "should hold in 90% of runs" in measured.sentences("en")[0] and "假定" not in measured.sentences("zh")[0]


def test_what_came_true(messages, findings):
    promised = make(messages, findings)

    class Proof:
        evaluation = Evaluation(
            primary="accuracy",
            resamples=1,
            seed=0,
            metrics={"accuracy": MetricValue(value=promised.score.expected, n=12)},
        )
        cost = Cost(p95_ms=promised.costs["p95_ms"].high * 2, rows_per_s=None, size_mb=90.0)

    figures = {figure.name: figure for figure in came_true(promised, Proof())}
    assert figures["accuracy"].held is True
    assert figures["p95_ms"].held is False
    assert figures["rows_per_s"].held is None and figures["rows_per_s"].actual is None
    assert figures["size_mb"].held is True


def test_a_test_without_an_error_is_within_an_interval_that_ends_below_one_row(messages, findings):
    class Proof:
        evaluation = Evaluation(
            primary="accuracy", resamples=1, seed=0, metrics={"accuracy": MetricValue(value=1.0, n=12)}
        )
        cost = Cost()

    promised = make(messages, replace(findings, evidence=findings.evidence.model_copy(update={"log_error": -6.0})))
    assert promised.score.high == 1.0 and came_true(promised, Proof())[0].held is True
    assert make(messages, findings).score.high < 1.0


def test_money_follows_traffic_and_the_users_prices():
    light = monthly_cost(1_000.0, 2, PriceConfig(rows_per_month=1e6))
    assert (light.machines, light.usd, light.cny, light.given) == (1, USD_MONTH, CNY_MONTH, False)
    mean = 1_000.0 * SECONDS_A_MONTH
    heavy = monthly_cost(
        1_000.0, 2, PriceConfig(rows_per_month=mean, peak_factor=2, utilisation=0.5, usd_month=10, cny_month=70)
    )
    assert (heavy.machines, heavy.usd, heavy.cny, heavy.given) == (4, 40.0, 280.0, True)
    assert heavy.load == pytest.approx(1.0)
    assert monthly_cost(1_000.0, 4, PriceConfig(rows_per_month=mean, peak_factor=2)).machines == 8
    assert light.capacity_rows_per_month > 1e6


def test_a_stopwatch_counts_down_and_never_below_nothing():
    now = [0.0]
    watch = Stopwatch(10.0, lambda: now[0])
    now[0] = 4.0
    assert (watch.spent, watch.left, watch.part(0.5).seconds) == (4.0, 6.0, 3.0)
    now[0] = 40.0
    assert watch.left == 0.0


@pytest.mark.slow
def test_a_table_is_quoted_by_fitting_it(loans, monkeypatch, tmp_path):
    pytest.importorskip("lightgbm")
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    promised = quote(loans, None, deadline_s=3_000, seed=1)
    assert promised.model is None and promised.metric == "auc"
    assert promised.evidence.basis == "direct" and promised.backend == "onnxruntime"
    assert promised.score.expected > 0.5
    assert promised.costs["size_mb"].expected < 5


def test_minutes_of_a_table_count_what_both_searches_may_take(loans, monkeypatch):
    """A clock that only fits move: settings of the trees take 10 s, linear ones 5 s, the final fit 2 s."""
    now = [0.0]
    monkeypatch.setattr("penjing.select.gather.time.monotonic", lambda: now[0])

    class Trainer:
        def fit(self, task, table, valid, config, *, seed, listener):
            for unit, count, total, seconds in ((TREES, 2, 2, 10), (LINEAR, 4, 18, 5)):
                for done in range(count):
                    now[0] += seconds
                    listener(Progress("train", done + 1, total, unit))
            now[0] += 2
            return "model"

    def minutes(**settings):
        watch = Stopwatch(1e6, lambda: now[0])
        table = loans.splits.train
        search = DirectConfig(**settings)
        return _timed_fit(Trainer(), None, table, search, 0, watch, ignore, 3 * len(table))[1]

    assert minutes(trials=10, seconds=1e6) == pytest.approx(3 * (10 * 10 + 18 * 5 + 2) / 60)
    assert minutes(trials=10, seconds=100) == pytest.approx((75 + 3 * 10 + 3 * 5 + 3 * 2) / 60)
    assert minutes(trials=1, seconds=100) == pytest.approx((3 * 10 + 70 + 3 * 5 + 3 * 2) / 60)


@pytest.mark.slow
def test_a_text_model_is_quoted_by_export_probe_and_short_run(messages, tiny_pretrained, monkeypatch, tmp_path):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("penjing.select.serving.machine_busy", lambda: False)
    monkeypatch.setattr("penjing.select.gather.MAX_RUN_SECONDS", 300.0)  # tests may share the machine with much else
    promised = quote(messages, tiny_pretrained, deadline_s=3_000, seed=1)
    assert promised.evidence.run_ratio is not None
    assert promised.evidence.basis == "probe"
    assert promised.backend == "onnxruntime"
    assert promised.costs["train_minutes"].expected > 0
    assert 0.2 < promised.costs["size_mb"].expected < 2
    assert promised.score.low < promised.score.high
    again = quote(messages, tiny_pretrained, deadline_s=3_000, seed=1)
    # The second time the cost is remembered, and the score follows from the same rows.
    assert again.costs["p95_ms"] == promised.costs["p95_ms"]
    assert again.evidence.log_error == pytest.approx(promised.evidence.log_error, abs=1e-6)
    # As a run quotes itself: steps are timed, nothing is trained to be judged.
    brief = quote(messages, tiny_pretrained, deadline_s=3_000, seed=1, rehearse=False)
    assert brief.evidence == promised.evidence.model_copy(update={"run_ratio": None, "run_share": None})
    assert brief.costs["train_minutes"].expected > 0


@pytest.mark.slow
def test_a_model_for_spans_is_quoted_by_a_short_run(tiny_pretrained, task_rows, monkeypatch, tmp_path):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("penjing.select.gather.MAX_RUN_SECONDS", 300.0)
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in task_rows("token-classification")[0] * 4), encoding="utf-8")
    promised = quote(prepare(DataConfig(source=str(path)), seed=1), tiny_pretrained, deadline_s=3_000, seed=1)
    assert promised.task == "token-classification" and promised.evidence.basis == "run"
    assert promised.costs["train_minutes"].expected > 0


@pytest.mark.slow
def test_with_little_time_torch_is_timed_and_it_is_said(messages, tiny_pretrained, monkeypatch, tmp_path):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    begun = time.process_time()
    promised = quote(messages, tiny_pretrained, deadline_s=5, seed=1)
    assert time.process_time() - begun < 30, "far more work than a deadline of five seconds allows"
    assert promised.backend == "torch, corrected"
    assert "torch, corrected" in " ".join(promised.sentences("en"))


def test_money_counts_the_threads_that_rows_were_predicted_with(messages, findings, monkeypatch):
    monkeypatch.setattr("penjing.core.runtime.physical_cores", lambda: 8)
    for threads in (8, 2):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        promised = make(messages, findings)
        rate = promised.costs["rows_per_s"].expected
        assert promised.monthly.load == pytest.approx(1e6 / SECONDS_A_MONTH / (rate * 2 / threads))


@pytest.mark.parametrize(("dtype", "ratio"), [("float32", TORCH_RATE_RATIO), ("bfloat16", 1.0)])
def test_without_an_export_memory_follows_weights_and_only_an_fp32_rate_is_corrected(
    tiny_pretrained, task_rows, text_settings, monkeypatch, dtype, ratio
):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("penjing.train.precision.choose_dtype", lambda precision, device: getattr(torch, dtype))
    from penjing.train.config import TrainConfig
    from tiny_artifacts import make_task

    rows, roles = task_rows("text-classification")
    task = make_task("text-classification", rows, roles, text_settings)
    found = time_torch(task, rows, tiny_pretrained, TrainConfig(), rows_per_s=100.0, watch=Stopwatch(5.0))
    tokenizer_mb = text_settings.tokenizer_file.stat().st_size / 1e6
    num_weights = tiny_pretrained.parameters - 64 * 65 + 3 * 65  # without the pooler, with the head
    assert found.size_mb == pytest.approx(4 * num_weights / 1e6 + tokenizer_mb, abs=1e-3)
    assert 100 < found.ram_mb < 130
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.rows_per_s == pytest.approx(100.0 * ratio)


def test_pretraining_is_quoted(tiny_pretrained):
    from penjing.models.tokenizer import load_tokenizer
    from penjing.select.pretraining import pretraining_minutes
    from penjing.train.config import PretrainConfig

    def minutes(**settings):
        return pretraining_minutes(prepared, tiny_pretrained, PretrainConfig(**settings), rows_per_s=10.0)

    prepared = SimpleNamespace(splits=SimpleNamespace(train=range(400)), unlabelled=Table([{}] * 200, [""] * 200))
    assert minutes(epochs=0) == 0.0
    table = load_tokenizer(tiny_pretrained.directory / "tokenizer.json").get_vocab_size() * tiny_pretrained.dimension
    passes = 3 + 2 * 0.2 * table / (tiny_pretrained.parameters - table)
    assert minutes(epochs=2, mask_probability=0.2) == pytest.approx(2 * 600 * passes / 10 / 60)
