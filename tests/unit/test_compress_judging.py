"""How models that differ in a few rows are told apart: labels, and what the model before thought of the answers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from penjing.compress.attempts import news
from penjing.compress.cascade import choose_share, choose_threshold
from penjing.compress.config import CompressConfig
from penjing.compress.judging import expected_loss, judged_loss
from penjing.compress.measured import Candidate, Quality
from penjing.compress.physics import require_within_reach
from penjing.compress.standing import Search
from penjing.core.budget import Budget
from penjing.core.errors import BudgetError, CapabilityError
from penjing.core.task import Metric, Prediction, Stats
from penjing.predict.measure import Measurement
from penjing.predict.setup import Setup

LABELS = ("a", "b", "c")


class OfClasses:
    """What is asked of a task here."""

    calibration, primary, labels = "softmax", "accuracy", LABELS
    metrics = {"accuracy": Metric(share=True)}  # noqa: RUF012

    def score(self, rows, predictions):
        return np.array([row["label"] == prediction.value for row, prediction in zip(rows, predictions, strict=True)])

    def aggregate(self, hits):
        return {"accuracy": float(np.mean(hits))}


def said(*probs):
    rows = np.array(probs)
    return [Prediction(LABELS[row.argmax()], float(row.max()), row) for row in rows]


def test_where_answers_agree_nothing_is_expected_to_be_lost():
    before = said([0.9, 0.1, 0.0], [0.2, 0.5, 0.3])
    assert expected_loss(OfClasses(), before, said([0.4, 0.3, 0.3], [0.0, 0.9, 0.1])) == 0


def test_what_is_lost_is_what_the_model_before_thought_of_either_answer():
    before = said([0.9, 0.1, 0.0], [0.2, 0.5, 0.3])
    after = said([0.1, 0.8, 0.1], [0.1, 0.2, 0.7])  # b for a, c for b
    assert expected_loss(OfClasses(), before, after) == pytest.approx(100 * ((0.9 - 0.1) + (0.5 - 0.3)) / 2)


def test_without_probabilities_only_labels_count():
    numbers = [Prediction(1.5)]
    assert expected_loss(SimpleNamespace(calibration=None), numbers, numbers) is None
    assert expected_loss(OfClasses(), [], []) is None


def judged(task, truth, before, after):
    """`judged_loss` of rows whose labels are these."""
    rows = [{"label": LABELS[place]} for place in truth]
    sides = [(Stats({"hits": task.score(rows, predictions)}), predictions) for predictions in (before, after)]
    return judged_loss(task, *sides)


class Counted(OfClasses):
    def aggregate(self, stats):
        return {"accuracy": float(np.mean(stats.columns["hits"]))}


def drawn(num_rows, seed=0, share=0.2):
    """Calibrated predictions, labels drawn from them, and a model that takes the second class in rows of some doubt."""
    generator = np.random.default_rng(seed)
    probs = generator.dirichlet([0.6, 0.4, 0.3], size=num_rows)
    truth = (probs.cumsum(1) < generator.random((num_rows, 1))).sum(1)
    other = probs.copy()
    turned = (generator.random(num_rows) < share) & (probs.max(1) < 0.6)
    order = probs.argsort(1)
    places = np.arange(num_rows)
    other[places, order[:, 2]] = np.where(turned, probs[places, order[:, 1]], probs[places, order[:, 2]])
    other[places, order[:, 1]] = np.where(turned, probs[places, order[:, 2]], probs[places, order[:, 1]])
    return truth, said(*probs), said(*other)


def test_models_that_answer_alike_lose_nothing():
    truth, before, after = drawn(200)
    assert judged(Counted(), truth, before, before) == 0.0 < judged(Counted(), truth, before, after)
    numbers = [Prediction(1.0 + place) for place in range(5)]
    nearly = [Prediction(one.value * (1 + 1e-7)) for one in numbers]
    stats = Stats({"hits": np.ones(5)})
    assert judged_loss(Counted(), (stats, numbers), (stats, nearly)) == 0.0
    # As many answers won as lost are not the same answers: nobody knows that nothing is lost.
    assert judged(Counted(), [0, 1] * 100, said(*[[0.6, 0.4, 0]] * 200), said(*[[0.4, 0.6, 0]] * 200)) > 0


def test_the_surer_of_both_figures_weighs_more_and_half_an_error_comes_on_top():
    found = []
    for seed in range(40):
        truth, before, after = drawn(400, seed)
        rows = [{"label": LABELS[place]} for place in truth]
        expected = 0.7 * expected_loss(OfClasses(), before, after)
        by_labels = 100 * float(np.mean(Counted().score(rows, before)) - np.mean(Counted().score(rows, after)))
        found.append((judged(Counted(), truth, before, after), expected, by_labels))
    judged_N, expected_N, labels_N = np.array(found).T
    margin = float(np.mean(judged_N - expected_N))
    assert 0.05 < margin < 0.5
    assert np.abs(judged_N - margin - expected_N).mean() < 0.3 * np.abs(judged_N - margin - labels_N).mean()


def test_judged_losses_vary_less_than_what_labels_say():
    truth, before, after = drawn(40_000)
    rows = [{"label": LABELS[place]} for place in truth]
    hits = [Counted().score(rows, side).astype(float) for side in (before, after)]
    true = 100 * float(hits[0].mean() - hits[1].mean())
    by_judged, by_labels = [], []
    for start in range(0, 40_000, 400):
        part = slice(start, start + 400)
        by_judged.append(judged(Counted(), truth[part], before[part], after[part]) - true)
        by_labels.append(100 * float(hits[0][part].mean() - hits[1][part].mean()) - true)
    assert np.std(by_judged) < 0.5 * np.std(by_labels)
    assert abs(np.mean(by_judged)) < 0.5


def test_labels_have_the_last_word_where_they_contradict_what_is_expected():
    """The model before is unsure of 20 of 500 answers, which the labels say were right."""
    before = said(*[[0.51, 0.49, 0.0]] * 20, *[[0.9, 0.1, 0.0]] * 480)
    after = said(*[[0.49, 0.51, 0.0]] * 20, *[[0.9, 0.1, 0.0]] * 480)
    assert expected_loss(OfClasses(), before, after) < 0.1
    assert 2.0 < judged(Counted(), [0] * 500, before, after) < 4.5  # 4 by the labels, give or take two errors


def test_without_probabilities_labels_are_judged_with_the_margin():
    task, truth = Counted(), np.zeros(100, int)
    task.calibration = None
    before, after = said(*[[0.9, 0.1, 0.0]] * 100), said(*[[0.1, 0.9, 0.0]] * 10, *[[0.9, 0.1, 0.0]] * 90)
    assert 10 < judged(task, truth, before, after) < 13
    assert judged(task, truth[:1], before[:1], after[:1]) == pytest.approx(100)  # no row can be left out


def test_rows_that_belong_together_are_left_out_together():
    """Ten customers of 40 rows; all rows of one are lost. Taken for 400 rows of their own, that looks sure."""
    task, truth = Counted(), np.zeros(400, int)
    task.calibration = None
    before, after = said(*[[0.9, 0.1, 0.0]] * 400), said(*[[0.1, 0.9, 0.0]] * 40, *[[0.9, 0.1, 0.0]] * 360)
    rows = [{"label": LABELS[place]} for place in truth]
    sides = [(Stats({"hits": task.score(rows, predictions)}), predictions) for predictions in (before, after)]
    alone, together = judged_loss(task, *sides), judged_loss(task, *sides, [place // 40 for place in range(400)])
    assert 10 < alone < together and together - 10 > 4 * (alone - 10)


def test_expected_losses_come_true_where_probabilities_are_calibrated():
    generator = np.random.default_rng(0)
    probs = generator.dirichlet([0.6, 0.4, 0.3], size=40_000)
    truth = np.array([generator.choice(3, p=row) for row in probs])
    other = probs + generator.normal(0, 0.2, probs.shape)
    before, after = said(*probs), said(*other)
    lost = 100 * (np.mean(probs.argmax(1) == truth) - np.mean(other.argmax(1) == truth))
    assert expected_loss(OfClasses(), before, after) == pytest.approx(lost, abs=0.7)


def test_expected_losses_of_macro_f1_come_true_too():
    """A class of one row in ten: what is lost there weighs as much as what is lost of the others."""
    generator = np.random.default_rng(0)
    probs = generator.dirichlet([2.0, 1.0, 0.2], size=40_000)
    truth = np.array([generator.choice(3, p=row) for row in probs])
    other = probs + np.array([0.05, 0.05, -0.3]) + generator.normal(0, 0.1, probs.shape)

    def macro_f1(answers):
        hits, mine, true = (np.bincount(x, minlength=3) for x in (truth[truth == answers], answers, truth))
        return (2 * hits / (mine + true)).mean()

    task = SimpleNamespace(calibration="softmax", primary="macro_f1")
    lost = 100 * (macro_f1(probs.argmax(1)) - macro_f1(other.argmax(1)))
    found = expected_loss(task, said(*probs), said(*other))
    assert lost > 5 and found == pytest.approx(lost, abs=0.7)
    assert expected_loss(SimpleNamespace(calibration="softmax", primary="mcc"), said(*probs), said(*other)) is None


def seen(logits, noise, generator):
    return logits + generator.normal(0, noise, logits.shape)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_two_models_that_err_apart_share_an_answer_and_one_that_only_guesses_has_none(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4_000, 3))
    truth = np.array([generator.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    good, better = (temperature * seen(logits, noise, generator) for noise in (1.5, 0.8))
    assert choose_share(good, temperature * seen(logits, 1.5, generator), truth, "softmax") >= 0.4
    assert 0 < choose_share(good, better, truth, "softmax") < 0.4
    assert choose_share(good, better, np.full(4_000, -1), "softmax") == 0
    # A model that says of everything that it does not know would make one that is too sure likelier, and no righter.
    assert choose_share(0 * logits, 3 * logits, truth, "softmax") == 0
    assert choose_share(good[:8], better[:8], truth[:8], "softmax") <= 0.2


def test_of_several_labels_each_is_shared():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4_000, 3))
    truth = (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    assert choose_share(seen(logits, 1, generator), seen(logits, 1, generator), truth, "sigmoid") >= 0.4
    assert choose_share(seen(logits, 9, generator), logits, truth, "sigmoid") == 0


def test_a_threshold_lets_through_what_the_second_model_allows():
    rows = [{"label": "a"}] * 10
    rest = said(*[[0.9, 0.05, 0.05]] * 10)
    # The two that the first stage is least sure of are wrong.
    first = said(*[[0.8, 0.1, 0.1]] * 8, *[[0.3, 0.4, 0.3]] * 2)
    sure = np.array([0.8] * 8 + [0.4] * 2)
    threshold, share, lost = choose_threshold(OfClasses(), rows, first, rest, sure, 0.5)
    assert 0.4 < threshold <= 0.8 and share == 0.8 and lost == 0
    assert choose_threshold(OfClasses(), rows, first, rest, sure, 100)[1] == 1.0
    # That labels are on the first stage's side in two rows of 400 is chance; in 40 it is not.
    many = [{"label": "a"}] * 398 + [{"label": "b"}] * 2
    rest, sure = said(*[[0.9, 0.05, 0.05]] * 400), np.array([0.8] * 398 + [0.4] * 2)
    first = said(*[[0.8, 0.1, 0.1]] * 398, *[[0.3, 0.4, 0.3]] * 2)
    assert choose_threshold(OfClasses(), many, first, rest, sure, 0.1)[1] == 398 / 400
    wrong = [{"label": "a"}] * 360 + [{"label": "b"}] * 40
    sure, first = np.array([0.8] * 360 + [0.4] * 40), said(*[[0.8, 0.1, 0.1]] * 360, *[[0.3, 0.4, 0.3]] * 40)
    assert choose_threshold(OfClasses(), wrong, first, rest, sure, 0.1)[1] == 1.0


def test_labels_that_contradict_the_second_model_beyond_chance_stop_a_threshold():
    """The second model thinks as much of either answer; the labels are always on its own side, in 40 rows of 400."""
    rows = [{"label": "a"}] * 400
    rest = said(*[[0.9, 0.05, 0.05]] * 360, *[[0.46, 0.45, 0.09]] * 40)
    first = said(*[[0.8, 0.1, 0.1]] * 360, *[[0.4, 0.5, 0.1]] * 40)
    sure = np.array([0.8] * 360 + [0.5] * 40)
    assert choose_threshold(OfClasses(), rows, first, rest, sure, 0.5)[1] == 0.9
    even = [*rows[:360], *([{"label": "a"}, {"label": "b"}] * 20)]
    assert choose_threshold(OfClasses(), even, first, rest, sure, 0.5)[1] == 1.0


def test_of_few_rows_labels_may_not_be_overruled():
    """A second model that knows little expects little of its own answers; one row in ten is lost, and seen to be."""
    rows = [{"label": "a"}] * 10
    rest = said(*[[0.34, 0.33, 0.33]] * 10)
    first = said(*[[0.8, 0.1, 0.1]] * 8, *[[0.3, 0.4, 0.3]] * 2)
    sure = np.array([0.8] * 8 + [0.4] * 2)
    assert choose_threshold(OfClasses(), rows, first, rest, sure, 2.0)[1] == 0.8


@pytest.mark.parametrize(("metric", "answered"), [("accuracy", 0.0), ("macro_f1", 1.0)])
def test_of_an_f1_one_unlucky_row_stops_no_threshold(monkeypatch, metric, answered):
    """A row of a rare class is most of a point of macro-F1; of accuracy one row of 500 never is."""

    class Rare(OfClasses):
        primary, metrics = metric, {metric: Metric(share=True)}

        def aggregate(self, hits):
            return {metric: 0.9 if hits.all() else 0.892}

    rows = [{"label": "a"}] * 500
    first, rest = said([0.1, 0.9, 0.0], *[[0.9, 0.1, 0.0]] * 499), said(*[[0.8, 0.2, 0.0]] * 500)
    monkeypatch.setattr("penjing.compress.cascade.expected_loss", lambda *given: 0.0)
    assert choose_threshold(Rare(), rows, first, rest, np.full(500, 0.9), 0.1)[1] == answered


def test_where_nothing_can_be_expected_labels_choose(monkeypatch):
    monkeypatch.setattr("penjing.compress.cascade.expected_loss", lambda *_: None)
    rows = [{"label": "a"}] * 10
    rest, sure = said(*[[0.9, 0.05, 0.05]] * 10), np.array([0.8] * 8 + [0.4] * 2)
    first = said(*[[0.8, 0.1, 0.1]] * 8, *[[0.3, 0.4, 0.3]] * 2)
    assert choose_threshold(OfClasses(), rows, first, rest, sure, 0.5)[1] == 0.8
    lucky = [*rows[:8], {"label": "b"}, {"label": "b"}]
    assert choose_threshold(OfClasses(), lucky, first, rest, sure, 0.5)[1] == 1.0


def searching(budget, right=160):
    """A search for a model that is right on so many of 200 rows."""
    rows = [{"label": "a" if i < right else "b"} for i in range(200)]
    root = Quality(right / 200, said(*[[0.8, 0.1, 0.1]] * 200), True)
    table = type("Rows", (), {"rows": rows, "__len__": lambda self: len(rows)})()
    return Search(SimpleNamespace(splits=SimpleNamespace(valid=table)), budget, None, None, [], OfClasses(), root, 0.0)


def test_a_floor_that_the_model_itself_misses_is_no_search():
    assert list(require_within_reach(searching(Budget(metric=80)))) == []
    assert list(require_within_reach(searching(Budget(drop=1)))) == []
    (warning,) = require_within_reach(searching(Budget(metric=83)))
    assert warning.level == "warning" and "reaches 80 on 200 validation rows" in warning.text
    with pytest.raises(BudgetError, match=r"is 95, and the model that is to be compressed reaches 80") as error:
        list(require_within_reach(searching(Budget(metric=95))))
    assert 83 < float(error.value.expected.split()[2].strip(",")) < 90


def test_a_floor_and_a_drop_go_by_the_same_loss():
    """Labels of few validation rows say that a point was lost, the model before that three were."""
    candidate = Candidate("one", (), None, None, None, 0.79, 1.0, 2.0, True)
    found = searching(Budget(metric=78.5, drop=1.9))
    assert found.judged_metric(candidate) == pytest.approx(78.0)
    assert found.quality_gap(candidate) == pytest.approx(0.5)


def test_answers_that_depend_on_the_rows_beside_them_are_chosen_only_where_that_is_allowed():
    cost = Measurement(1, 1, 2, 1, 1000, 5, 4, 1, 1, Setup())
    quicker = replace(cost, rows_per_s=5000, p50_ms=0.5, p95_ms=0.6)
    alone, beside = (
        Candidate(name, (), None, None, spent, 0.8, 0.0, 0.0, name == "alone")
        for name, spent in (("alone", cost), ("beside", quicker))
    )
    found = searching(Budget(drop=1))
    found.tried += [alone, beside]
    found.config = CompressConfig(goal="throughput")
    assert (found.best(), found.nearest()) == (alone, alone)
    found.config = CompressConfig(allow_batch_variant=True, goal="throughput")
    assert (found.best(), found.nearest()) == (beside, beside)


def test_of_models_that_are_as_quick_the_one_that_loses_less_is_taken():
    found = searching(Budget(drop=1))
    found.config = CompressConfig(goal="throughput")
    for name, rate, lost in (("first", 100.0, 0.6), ("taught on", 97.0, 0.3), ("slower", 94.0, 0.0)):
        cost = Measurement(1, 1, 2, 1, rate, 5, 4, 1, 1, Setup())
        found.tried.append(Candidate(name, (), None, None, cost, 0.8, lost, lost, True))  # type: ignore[arg-type]
    assert found.best().name == found.nearest().name == "taught on"
    found.config = CompressConfig(goal="accuracy")
    assert found.best().name == "slower"


def test_a_backend_that_runs_every_model_worse_is_measured_no_more():
    def cost(artifact, setup):
        if artifact == "odd" and setup.backend == "openvino":
            raise CapabilityError("an operator that it does not know")
        slow, better = setup.backend == "openvino", artifact == "wide" and setup.backend == "openvino"
        return Measurement(1, 1 + slow, 2 + slow, 1, 30 if better else 10 - slow, 5 + slow, 4, 1, 1, setup)

    def searched(setups, backends=None):
        found = searching(Budget(drop=1))
        found.setups, found.measurer, found.config = (
            setups,
            SimpleNamespace(cost=cost),
            CompressConfig(backends=backends),
        )
        measured = []
        for name in ("a", "b", "c", "wide", "d", "odd", "e", "f", "g", "h", "i"):
            costs = list(found.costs(name))
            measured.append(len(costs))
            found._note_worse(costs)
        return measured, found

    both = [Setup(), Setup(backend="openvino")]
    measured, found = searched(both)
    assert measured == [2, 2, 2, 2, 2, 1, 2, 2, 2, 1, 1]
    assert "ran 4 models worse" in found.refusals["openvino"]
    assert searched(both[::-1])[0] == measured
    assert set(searched(both, ("onnxruntime", "openvino"))[0][6:]) == {2}, "it was asked for by name"


def test_a_user_hears_of_each_reason_once():
    found = searching(Budget(drop=1))
    found.refusals["openvino"] = "it is left out for some"
    assert [notice.text for notice in news(found)] == ["it is left out for some"] and not list(news(found))
    found.refusals["openvino"] = "it ran worse"
    assert [notice.text for notice in news(found)] == ["it ran worse"] and not list(news(found))
