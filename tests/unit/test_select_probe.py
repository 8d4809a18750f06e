"""Cross-validation of a way to predict: who learns from what, and what happens when time is up."""

import numpy as np
import pytest

from penjing.core.task import Prediction, Roles, Splits, Table
from penjing.evaluate.bootstrap import bootstrap
from penjing.select.probe import RESAMPLES, judge
from penjing.select.sample import draw_pool
from penjing.select.stopwatch import Stopwatch
from tiny_artifacts import make_task


def table(rows, name):
    return Table(rows, [f"{name}:{i}" for i in range(len(rows))], name)


@pytest.fixture
def setting(task_rows, text_settings):
    """(task, splits maker, log of fits, predictor): the more rows it learns from, the more often it is right."""
    rows, roles = task_rows("text-classification")
    rows = rows * 8
    task = make_task("text-classification", rows, roles, text_settings)
    fits = []

    def splits(**more_roles):
        numbered = [{**row, "when": i, "who": i % 9} for i, row in enumerate(rows)]
        order = np.random.default_rng(0).permutation(len(numbered)) if "time" not in more_roles else range(len(rows))
        shuffled = [numbered[i] for i in order]
        held = Roles(text="text", label="label", **more_roles)
        return Splits(table(shuffled[:200], "train"), table(shuffled[200:], "valid"), table([], "test"), held, "x")

    def predictor(pool):
        def predict(learn, judged):
            assert not set(learn) & set(judged)
            fits.append((len(learn), len(judged)))
            right = np.random.default_rng(1).random(len(pool.table)) < len(learn) / (len(learn) + 50)
            found = []
            for i in judged:
                truth = task.labels.index(pool.table.rows[i]["label"])
                said = truth if right[i] else (truth + 1) % 3
                found.append(Prediction(task.labels[said], 0.8, np.where(np.arange(3) == said, 0.8, 0.1)))
            return found

        return predict

    return task, splits, fits, predictor


def test_every_row_is_judged_once_by_a_model_that_has_not_seen_it(setting):
    task, splits, fits, predictor = setting
    pool = draw_pool(splits(), max_rows=1_000, num_folds=5, seed=0)
    found = judge(task, pool, predictor(pool), watch=Stopwatch(60), level=0.95, seed=0)
    assert sorted(found.positions.tolist()) == list(range(240))
    assert found.curve.sizes == (24, 48, 96, 192) and len(found.curve.replicates) == 5
    assert list(found.curve.errors) == sorted(found.curve.errors, reverse=True)
    assert found.low < found.score < found.high
    assert found.score == pytest.approx(192 / 242, abs=0.1)
    assert len(fits) == 20


def test_groups_of_unlike_size_give_equal_numbers_of_sizes(setting):
    task, splits, _, predictor = setting
    pool = draw_pool(splits(group="who"), max_rows=70, num_folds=4, seed=3)
    found = judge(task, pool, predictor(pool), watch=Stopwatch(60), level=0.95, seed=0)
    assert len(found.positions) == 70
    assert all(len(errors) == len(found.curve.sizes) for errors in found.curve.replicates)


def test_rows_in_time_are_judged_by_the_past_alone(setting):
    task, splits, fits, predictor = setting
    pool = draw_pool(splits(time="when"), max_rows=1_000, num_folds=5, seed=0)
    found = judge(task, pool, predictor(pool), watch=Stopwatch(60), level=0.95, seed=0)
    assert {judged for _, judged in fits} == {40}
    assert [learned for learned, _ in fits] == [200, 100, 50, 25]
    assert len(found.positions) == 40 and len(found.curve.replicates) == 10


def test_the_interval_draws_groups_whole(setting):
    task, splits, _, predictor = setting
    pool = draw_pool(splits(group="who"), max_rows=1_000, num_folds=5, seed=0)
    found = judge(task, pool, predictor(pool), watch=Stopwatch(60), level=0.95, seed=0)
    owners = [pool.table.rows[i]["who"] for i in found.positions]
    wanted = bootstrap(task, found.stats, resamples=RESAMPLES, level=0.95, seed=0, groups=owners)[task.primary]
    assert (found.low, found.high) == (wanted.low, wanted.high)


def test_when_time_is_up_one_model_is_fitted_at_the_full_size(setting):
    task, splits, fits, predictor = setting
    pool = draw_pool(splits(), max_rows=1_000, num_folds=5, seed=0)
    found = judge(task, pool, predictor(pool), watch=Stopwatch(0), level=0.95, seed=0)
    assert fits == [(192, 48)]
    assert found.curve.sizes == (192,) and found.curve.replicates == ()
    assert found.curve.log_error(192)[1] == 0.0
