"""What the budget's limit on the metric means is said for every task."""

import pytest

from penjing.core import registry
from penjing.core.budget import Budget
from penjing.core.registry import TASKS
from penjing.core.report import Cost, Evaluation, MetricValue
from penjing.core.task import Metric
from penjing.evaluate.verdict import verdicts
from penjing.select.candidate import Candidate, excesses

NAMES = {"accuracy": "accuracy", "macro_f1": "F1", "f1": "F1", "auc": "AUC", "r2": "R²"}


@pytest.mark.parametrize("kind", TASKS)
def test_the_primary_metric_of_every_task_is_spoken_of(kind):
    said = Budget.model_fields["metric"].description
    task = registry.resolve("tasks", kind)
    primary = task.primary if isinstance(task.primary, str) else "auc"  # of tables it depends on the labels
    percent, plain = said.split("; else as it is")
    known = task.metrics.get(primary, Metric()) if isinstance(task.metrics, dict) else Metric()
    assert NAMES[primary] in (percent if known.percent else plain)


@pytest.mark.parametrize(
    ("metric", "value", "limit", "fits"),
    [
        (Metric(), 0.91, 90, True),
        (Metric(), 0.91, 92, False),
        (Metric(percent=False), 0.81, 0.8, True),
        (Metric(percent=False), 0.79, 0.8, False),
        (Metric(higher_is_better=False, percent=False), 3.1, 3.0, False),
        (Metric(higher_is_better=False, percent=False), 2.9, 3.0, True),
    ],
)
def test_all_stages_read_the_limit_on_one_scale(metric, value, limit, fits):
    figure = MetricValue(
        value=value, low=value, high=value, n=100, percent=metric.percent, higher_is_better=metric.higher_is_better
    )
    (found,) = verdicts(
        Budget(metric=limit), Evaluation(primary="it", resamples=1, seed=0, metrics={"it": figure}), Cost()
    )
    assert (found.state == "PASS") == fits
    score = 100 * value if metric.percent else value
    assert (not excesses(Candidate("it"), Budget(metric=limit), score, metric)) == fits
