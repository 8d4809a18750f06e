"""Intervals: do they cover, do they repeat, do they say so when they cannot be had."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np
import pytest
from evaluate_cases import as_predictions, digits
from scipy.stats import binomtest

from penjing.core.task import Metric, Stats
from penjing.evaluate.bootstrap import bootstrap, resample_indices
from penjing.tasks.text_single_label import SingleLabel


class Share:
    """A task that aggregates to a mean."""

    metrics: ClassVar = {"share": Metric(share=True)}

    def aggregate(self, stats: Stats) -> dict[str, float]:
        return {"share": float(stats.columns["hit"].mean())}


def test_95_percent_intervals_cover_the_true_share_about_95_percent_of_the_time():
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        stats = Stats({"hit": rng.random(200) < 0.8})
        found = bootstrap(Share(), stats, resamples=300, seed=trial)["share"]
        covered += found.low <= 0.8 <= found.high
    assert 0.90 <= covered / 300 <= 0.985


@pytest.mark.parametrize(("share", "num_units"), [(0.99, 20), (0.97, 60), (0.05, 40), (0.5, 8)])
def test_intervals_cover_shares_near_the_edge_and_of_few_units(share, num_units):
    rng = np.random.default_rng(3)
    found = [
        bootstrap(Share(), Stats({"hit": rng.random(num_units) < share}), resamples=100, seed=trial)["share"]
        for trial in range(300)
    ]
    assert sum(one.low <= share <= one.high for one in found) / 300 >= 0.9


@pytest.mark.parametrize("num_units", [12, 40, 1000])
def test_more_right_rows_never_lower_the_bound_and_all_right_is_not_certain(num_units):
    lows = [
        bootstrap(Share(), Stats({"hit": np.arange(num_units) >= wrong}), resamples=400)["share"].low
        for wrong in range(0, num_units, max(1, num_units // 40))
    ]
    assert lows == sorted(lows, reverse=True)
    exact = binomtest(num_units, num_units).proportion_ci(method="wilson")
    assert lows[0] == pytest.approx(exact.low) and exact.high == 1.0


def test_groups_that_agree_count_as_one_unit():
    hit, groups = np.ones(50), np.repeat(np.arange(10), 5).tolist()
    found = bootstrap(Share(), Stats({"hit": hit}), groups=groups)["share"]
    assert found.low == pytest.approx(binomtest(10, 10).proportion_ci(method="wilson").low)


def test_a_metric_that_never_varied_has_a_figure_and_no_interval():
    class Score(Share):
        metrics: ClassVar = {"share": Metric()}

    found = bootstrap(Score(), Stats({"hit": np.ones(12)}), resamples=100)["share"]
    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_accuracy_interval_agrees_with_the_binomial_one_on_real_predictions():
    case = digits()
    stats = case.task.score(case.test.rows, as_predictions(case.task, case.test_probs))
    found = bootstrap(case.task, stats)["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / len(stats))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert found.low < found.value < found.high


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    case = digits()
    stats = case.task.score(case.test.rows, as_predictions(case.task, case.test_probs))
    once, again, other = (bootstrap(case.task, stats, resamples=200, seed=s) for s in (5, 5, 6))
    assert once == again
    assert once["macro_f1"].low != other["macro_f1"].low
    assert once["macro_f1"].value == other["macro_f1"].value


def test_rows_of_one_group_are_drawn_together():
    groups = ["a", "b", "a", "c", "b", "a"]
    for index in resample_indices(6, 50, 0, groups):
        drawn = np.bincount(index, minlength=6)
        assert drawn[0] == drawn[2] == drawn[5]
        assert drawn[1] == drawn[4]


def test_intervals_of_copied_rows_are_honest_only_when_grouped():
    hit = np.random.default_rng(2).random(100) < 0.7
    copied = Stats({"hit": np.repeat(hit, 5)})
    groups = np.repeat(np.arange(100), 5).tolist()
    alone = bootstrap(Share(), Stats({"hit": hit}))["share"]
    naive, grouped = bootstrap(Share(), copied)["share"], bootstrap(Share(), copied, groups=groups)["share"]
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_an_undefined_metric_has_no_figure_and_an_often_undefined_one_no_interval():
    task = SingleLabel(("no", "yes"), balanced=True)

    def stats(true):
        n = len(true)
        scores = np.linspace(0.1, 0.9, n)
        columns = {"true": np.array(true), "predicted": (scores > 0.5).astype(int), "unseen": np.full(n, -1)}
        return Stats(columns | {"nll": np.full(n, 0.5), "positive_score": scores})

    assert bootstrap(task, stats([0] * 8), resamples=100)["auc"].value is None
    one_positive = bootstrap(task, stats([0] * 7 + [1]), resamples=200)["auc"]
    assert one_positive.value == 1.0
    assert one_positive.low is None  # a third of the draws have no positive at all


def test_a_thousand_resamples_of_77_classes_take_seconds():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 77, 3080)
    predicted = np.where(rng.random(3080) < 0.93, true, rng.integers(0, 77, 3080))
    columns = {"true": true, "predicted": predicted, "unseen": np.full(3080, -1), "nll": rng.random(3080)}
    task = SingleLabel(tuple(str(i) for i in range(77)), balanced=True)
    begin = time.perf_counter()
    bootstrap(task, Stats(columns), resamples=1000)
    assert time.perf_counter() - begin < 10  # half a second on an idle core
