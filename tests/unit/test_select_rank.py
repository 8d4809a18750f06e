"""Selection: what is compared, what wins and what is said of the losers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from penjing.cli.zh import in_chinese
from penjing.core.budget import Budget
from penjing.core.errors import CapabilityError, FetchError, RecipeError
from penjing.core.events import ignore
from penjing.core.task import Metric, Prediction, Roles, Splits, Table
from penjing.models.catalog import list_models
from penjing.models.pretrained import Pretrained
from penjing.select.candidate import Candidate, TooSlowToTryError, excesses, speaks
from penjing.select.config import SelectConfig
from penjing.select.examine import Examined, Question, examine
from penjing.select.features import encode_sample
from penjing.select.probe import judge
from penjing.select.rank import rank, select
from penjing.select.sample import draw_pool
from penjing.select.stopwatch import Stopwatch
from tiny_artifacts import make_task


def table(rows, name="rows"):
    return Table(list(rows), [f"{name}:{i}" for i in range(len(rows))], name)


def splits_of(rows, roles, num_train=24, num_valid=4):
    cuts = rows[:num_train], rows[num_train : num_train + num_valid], rows[num_train + num_valid :]
    return Splits(*(table(part) for part in cuts), roles, "tiny")


@pytest.fixture
def question(text_settings, task_rows):
    pytest.importorskip("torch")
    from penjing.train.config import TrainConfig

    rows, roles = task_rows("text-classification")
    splits = splits_of(rows * 10, roles, 240, 40)
    return Question(splits, "text-classification", Budget(), SelectConfig(), TrainConfig(), "mixed", 1)


@pytest.fixture
def examined(question, text_settings):
    """name, share of right answers, p95 → a judged candidate; which answers are right is nested."""
    rows = [*question.splits.train.rows, *question.splits.valid.rows]
    task = make_task("text-classification", rows, question.splits.roles, text_settings)
    pool = draw_pool(question.splits, max_rows=1_000, num_folds=5, seed=1)
    hard = np.random.default_rng(2).random(len(pool.table))

    def make(name, share, p95_ms, **more):
        def predict(learn, judged):
            assert not set(learn) & set(judged)
            found = []
            for i in judged:
                truth = pool.table.rows[i]["label"]
                wrong = next(label for label in task.labels if label != truth)
                value = truth if hard[i] < share else wrong
                probs = np.full(3, 0.1)
                probs[task.labels.index(value)] = 0.8
                found.append(Prediction(value, 0.8, probs))
            return found

        judged = judge(task, pool, predict, watch=Stopwatch(60), level=0.95, seed=1)
        figures = {"probe": judged.score, "expected": judged.score, "p95_ms": p95_ms, "size_mb": 10 * p95_ms}
        candidate = Candidate(name, **(figures | {"rows_per_s": 1000 / p95_ms, "ram_mb": 100.0} | more))
        return Examined(candidate, judged, task)

    return make


def test_the_more_accurate_wins_and_the_reason_names_it(question, examined):
    found = rank([examined("small", 0.6, 2.0), examined("large", 0.9, 9.0)], question)
    assert found.chosen == "large" and found.fits
    assert found.candidates[0].standing == "chosen"
    assert "large" in found.sentences()[0] and "most accurate" in found.sentences()[0]
    assert "small: lower expected accuracy" in found.why
    assert "选择 large" in found.sentences("zh")[0]


def test_within_one_standard_error_the_cheaper_wins(question, examined):
    found = rank([examined("large", 0.905, 9.0), examined("small", 0.9, 2.0)], question)
    assert found.chosen == "small"
    assert "within one standard error of large" in found.why


def test_the_budget_excludes_and_says_by_how_much(question, examined):
    tight = replace(question, budget=Budget(p95_ms=5))
    found = rank([examined("small", 0.6, 2.0), examined("large", 0.9, 9.0)], tight)
    assert found.chosen == "small"
    loser = found.candidates[1]
    assert loser.standing == "over budget" and loser.reasons == ("p95_ms 9, budget 5",)
    assert "large: over budget (p95_ms 9, budget 5)" in found.why


def test_training_that_will_be_shortened_to_the_budget_is_said_and_excludes_nothing(question, examined):
    tight = replace(question, budget=Budget(train_minutes=2))
    slow = examined("large", 0.9, 9.0, train_minutes=30.0)
    found = rank([examined("small", 0.6, 2.0, train_minutes=1.0), slow], tight)
    assert found.chosen == "large" and found.fits
    assert found.candidates[0].reasons == ("its training, about 30 minutes, will be shortened to the budget's 2",)
    assert found.candidates[1].reasons == ()


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, 3 * 4 / 6),
        ({"frozen_layers": 0}, 3),
        ({"frozen_layers": 3}, 1.5),
        ({"train_embeddings": True}, 3),
        ({"method": "last-k", "last_k": 1}, 0.5),
        ({"method": "lora"}, 3),
        ({"method": "probe"}, 1),
    ],
)
def test_training_costs_the_passes_its_method_makes(tmp_path, settings, passes):
    pytest.importorskip("torch")
    from penjing.select.examine import passes_a_row
    from penjing.train.config import TrainConfig

    pretrained = Pretrained("m", tmp_path, 64, 1_000, ("en",))
    for about, expected in (({"num_hidden_layers": 6}, passes), ({}, 1 if settings.get("method") == "probe" else 3)):
        (tmp_path / "config.json").write_text(json.dumps(about), encoding="utf-8")
        assert passes_a_row(TrainConfig(**settings), pretrained) == pytest.approx(expected)


def test_nothing_fits_gives_the_nearest_and_the_limit_to_relax(question, examined):
    tight = replace(question, budget=Budget(p95_ms=1))
    found = rank([examined("small", 0.6, 2.0), examined("large", 0.9, 9.0)], tight)
    assert found.chosen == "small" and not found.fits
    assert "No candidate fits the budget; small comes nearest (p95_ms 2, budget 1)" in found.why


def test_scratch_wins_only_when_clearly_better(question, examined):
    scratch = {"pretrained": False}
    close = rank([examined("scratch", 0.905, 1.0, **scratch), examined("small", 0.9, 2.0)], question)
    assert close.chosen == "small"
    assert "no pretrained knowledge" in close.why and "TF-IDF" in close.why
    clear = rank([examined("scratch", 0.95, 1.0, **scratch), examined("small", 0.6, 2.0)], question)
    assert clear.chosen == "scratch"


def test_ranking_is_deterministic_and_json_able(question, examined):
    found = [examined("small", 0.6, 2.0), examined("large", 0.9, 9.0)]
    first, second = (json.dumps(rank(order, question).to_json()) for order in (found, found[::-1]))
    assert first == second
    assert json.loads(first)["candidates"][0]["name"] == "large"


@pytest.mark.parametrize(
    ("about", "score", "limit", "broken"),
    [
        (Metric(percent=False), 0.4, 0.6, True),
        (Metric(percent=False), 0.7, 0.6, False),
        (Metric(higher_is_better=False, percent=False), 3.0, 2.0, True),
        (Metric(higher_is_better=False, percent=False), 1.0, 2.0, False),
    ],
)
def test_a_limit_of_the_metric_is_in_its_own_scale(about, score, limit, broken):
    found = excesses(Candidate("m"), Budget(metric=limit), score, about)
    assert [excess.limit for excess in found] == (["metric"] if broken else [])
    assert all(excess.factor > 1 for excess in found)


def test_every_limit_is_checked():
    candidate = Candidate(
        "m", p95_ms=3.0, size_mb=90.0, ram_mb=300.0, train_minutes=4.0, rows_per_s=100.0, expected=0.8
    )
    budget = Budget(p95_ms=1, size_mb=10, ram_mb=100, train_minutes=1, rows_per_s=1000, metric=90)
    assert {excess.limit for excess in excesses(candidate, budget, 80.0)} == set(budget.model_dump()) - {
        "drop",
        "concurrency",
        "train_minutes",
    }
    assert excesses(candidate, Budget(), 80.0) == []


@pytest.mark.parametrize(
    ("languages", "language", "expected"),
    [
        (("multi",), "zh", True),
        (("multi",), "other", True),
        (("en",), "en", True),
        (("en",), "zh", False),
        (("en",), "mixed", False),
        (("zh", "en"), "mixed", True),
        (("en",), "other", False),
        ((), "zh", True),
    ],
)
def test_which_model_speaks_which_language(languages, language, expected):
    assert speaks(languages, language) is expected


@pytest.mark.parametrize(("language", "expected"), [("en", "minilm-l6-en"), ("zh", "e5-small-multilingual")])
def test_where_none_can_be_tried_the_smallest_that_speaks_the_language_is_taken(
    monkeypatch, task_rows, language, expected
):
    def untried(question, listener):
        error = TooSlowToTryError("the rows are too few to try it on (17)")
        return [Examined(Candidate(row.name, "unavailable", (error.what,)), error=error) for row in list_models()]

    monkeypatch.setattr("penjing.select.rank.examine", untried)
    rows, roles = task_rows("token-classification")
    splits = Splits(Table(rows, [str(i) for i in range(len(rows))]), Table([], []), Table([], []), roles, "")
    told = []
    found = select(splits, "token-classification", language=language, listener=told.append)
    assert (found.chosen, found.candidates[0].name, found.fits) == (expected, expected, True)
    assert f"{expected} is taken untried" in found.why and json.dumps(found.to_json())
    assert [notice.level for notice in told] == ["warning"] and "试" in in_chinese(told[0].text)


def test_what_cannot_be_had_is_not_taken_untried(monkeypatch, task_rows):
    def examined(question, listener):
        gone = Examined(Candidate("minilm-l6-en", "unavailable", ("no network",)))
        slow = TooSlowToTryError("the rows are too few to try it on (17)")
        return [gone, *(Examined(Candidate(name, "unavailable"), error=slow) for name in ("e5-small-multilingual",))]

    monkeypatch.setattr("penjing.select.rank.examine", examined)
    rows, roles = task_rows("token-classification")
    splits = Splits(Table(rows, [str(i) for i in range(len(rows))]), Table([], []), Table([], []), roles, "")
    assert select(splits, "token-classification", language="en").chosen == "e5-small-multilingual"
    monkeypatch.setattr("penjing.select.rank.examine", lambda *_: examined(None, None)[:1])
    with pytest.raises(FetchError, match="no network"):
        select(splits, "token-classification", language="en")


def test_offline_with_a_cold_cache_names_every_model(tmp_path, monkeypatch, task_rows):
    pytest.importorskip("torch")
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    rows, roles = task_rows("text-classification")
    with pytest.raises(FetchError, match=r"e5-small-multilingual.*not in the cache"):
        select(splits_of(rows, roles), "text-classification", config=SelectConfig(offline=True, model_seconds=5))


def test_a_model_that_cannot_be_measured_is_left_out_and_the_others_compared(question, examined, monkeypatch):
    """Where no pretrained one is left, its own error says what to do."""
    about = {"languages": ("en",), "licence": "none", "parameters": 1}
    pretrained = object.__new__(Pretrained)
    for name, value in about.items():
        object.__setattr__(pretrained, name, value)
    monkeypatch.setattr("penjing.select.examine._obtain", lambda name, *rest: pretrained)

    def judged(candidate, begun, *rest):
        if begun.name in broken:
            raise CapabilityError(f"{begun.name} cannot be exported", next_step="use another model")
        one = examined(begun.name, 0.8, 2.0, pretrained=begun.name != "scratch")
        return one.candidate, one.judged, None

    task = examined("any", 0.8, 2.0).task
    monkeypatch.setattr("penjing.select.examine.make_task", lambda *rest: task)
    monkeypatch.setattr("penjing.select.examine.has_features", lambda task: False)
    monkeypatch.setattr("penjing.select.examine._judged", judged)
    monkeypatch.setattr("penjing.select.examine._with_cost", lambda candidate, *rest: candidate)

    def choose(*names):
        config = SelectConfig(candidates=names)
        return select(question.splits, question.kind, config=config, language="mixed", listener=heard.append)

    heard, broken = [], {"heavy"}
    found = choose("heavy", "small")
    assert found.chosen == "small"
    assert found.candidates[1].standing == "unavailable"
    assert "heavy: unavailable (heavy cannot be exported)." in found.why
    assert "heavy：不可用（heavy cannot be exported）。" in found.why_zh
    assert [event.level for event in heard] == ["warning"] and "heavy is left out: cannot be exported" in heard[0].text
    assert choose("heavy", "scratch").chosen == "scratch"
    broken |= {"small", "scratch"}
    with pytest.raises(CapabilityError, match=r"heavy cannot be exported.*use another model"):
        choose("heavy", "small")
    with pytest.raises(CapabilityError, match="scratch cannot be exported"):
        choose("scratch")


def test_an_unknown_name_is_an_error_with_the_closest(task_rows):
    pytest.importorskip("torch")
    rows, roles = task_rows("text-classification")
    with pytest.raises(RecipeError, match="minilm-l6-en"):
        select(splits_of(rows, roles), "text-classification", config=SelectConfig(candidates=("minilm-l6",)))


def test_a_table_needs_no_model(task_rows):
    rows, roles = task_rows("tabular-classification")
    found = select(splits_of(rows, roles, 40, 10), "tabular-classification")
    assert found.chosen is None and found.candidates == ()
    assert "no pretrained model is needed" in found.why


def test_folds_keep_groups_together_and_time_in_order():
    rows = [{"text": f"t{i}", "label": "a", "who": i % 7, "when": i} for i in range(70)]
    grouped = splits_of(rows, Roles(text="text", label="label", group="who"), 50, 20)
    pool = draw_pool(grouped, max_rows=100, num_folds=5, seed=0)
    folds = {}
    for row, fold in zip(pool.table.rows, pool.fold, strict=True):
        folds.setdefault(row["who"], set()).add(int(fold))
    assert all(len(found) == 1 for found in folds.values())
    timed = draw_pool(
        splits_of(rows, Roles(text="text", label="label", time="when"), 50, 20), max_rows=100, num_folds=5, seed=0
    )
    learn, judged = timed.parts(0)
    assert max(timed.table.rows[i]["when"] for i in learn) < min(timed.table.rows[i]["when"] for i in judged)


def test_folds_of_groups_have_the_classes_in_proportion():
    """Every group has rows of one class only, and groups are of unlike size."""
    rows = [
        {"text": f"{who} {i}", "label": "ab"[who % 3 == 0], "who": who if who else None}
        for who in range(60)
        for i in range(1 + who % 4)
    ]
    roles = Roles(text="text", label="label", group="who")
    pool = draw_pool(splits_of(rows, roles, 100, len(rows) - 100), max_rows=1_000, num_folds=5, seed=0)
    assert sorted(set(pool.fold)) == list(range(5))
    labels = np.array([row["label"] for row in pool.table.rows])
    assert all(abs((labels[pool.fold == k] == "b").mean() - (labels == "b").mean()) < 0.1 for k in range(5))
    for who in range(1, 60):
        assert len({fold for fold, row in zip(pool.fold, pool.table.rows, strict=True) if row["who"] == who}) == 1
    rare = [{**row, "label": "c"} if i < 2 else row for i, row in enumerate(rows)]  # fewer rows than folds
    assert draw_pool(splits_of(rare, roles, 100, 40), max_rows=1_000, num_folds=5, seed=0).num_folds == 5


@pytest.mark.parametrize("num_groups", [1, 2, 3])
def test_few_groups_of_numbers_are_learned_from_and_judged_in_every_fold(num_groups):
    for seed in range(8):
        rows = [{"x": i, "y": i * 1.5, "who": f"{seed} {i % num_groups}"} for i in range(30)]
        splits = splits_of(rows, Roles(features=("x",), label="y", group="who"), 20, 10)
        pool = draw_pool(splits, max_rows=100, num_folds=5, seed=seed)
        parts = [pool.parts(fold) for fold in range(pool.num_folds)]
        assert all(len(learn) and len(judged) for learn, judged in parts)


def test_all_are_judged_on_the_rows_that_the_slowest_had_time_for(monkeypatch, tiny_pretrained, question, tmp_path):
    monkeypatch.setattr("penjing.select.examine._with_cost", lambda candidate, *rest: candidate)
    copy = shutil.copytree(tiny_pretrained.directory, tmp_path / "slow")

    def encode(task, table, pretrained, *rest, **more):
        slow = pretrained.directory == copy
        return encode_sample(task, table.take(range(70)) if slow else table, pretrained, *rest, **more)

    monkeypatch.setattr("penjing.select.examine.encode_sample", encode)
    config = SelectConfig(candidates=(str(tiny_pretrained.directory), str(copy), "scratch"), model_seconds=600)
    found = examine(replace(question, config=config), ignore)
    assert [sorted(one.judged.positions) for one in found] == [list(range(70))] * 3


@pytest.mark.slow
def test_a_local_model_and_scratch_are_measured_for_real(tmp_path, monkeypatch, tiny_pretrained, task_rows):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    monkeypatch.setattr("penjing.select.serving.machine_busy", lambda: False)
    rows, roles = task_rows("text-classification")
    config = SelectConfig(candidates=(str(tiny_pretrained.directory), "scratch"), model_seconds=120)
    found = select(splits_of(rows * 4, roles, 80, 20), "text-classification", config=config, language="mixed")
    assert {candidate.name for candidate in found.candidates} == {str(tiny_pretrained.directory), "scratch"}
    for candidate in found.candidates:
        assert candidate.backend == "onnxruntime"
        assert 0 < candidate.p50_ms <= candidate.p95_ms
        assert candidate.rows_per_s > 0 and candidate.size_mb > 0.1 and candidate.ram_mb > 30
        assert candidate.probe_low <= candidate.probe <= candidate.probe_high
    assert len(list((tmp_path / "serving").glob("*.json"))) == 2


@pytest.mark.slow
def test_a_model_for_spans_is_measured_by_a_short_run(tmp_path, monkeypatch, tiny_pretrained, task_rows):
    """Its task has no vector a row to fit a probe on."""
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    rows, roles = task_rows("token-classification")
    config = SelectConfig(candidates=(str(tiny_pretrained.directory), "scratch"), model_seconds=600)
    found = select(splits_of(rows * 4, roles, 80, 20), "token-classification", config=config, language="mixed")
    assert {candidate.standing for candidate in found.candidates} == {"chosen", "fits"}
    for candidate in found.candidates:
        assert candidate.logme is None and candidate.probe_low <= candidate.probe <= candidate.probe_high
        assert candidate.train_minutes > 0


@pytest.mark.parametrize("num_valid", [200, 1500])
def test_a_rare_class_is_in_every_part_that_is_learned_from(num_valid):
    rows = [{"x": i, "label": "yes" if i % 100 == 7 else "no"} for i in range(3000)]
    splits = splits_of(rows, Roles(features=("x",), label="label"), 3000 - num_valid, num_valid)
    pool = draw_pool(splits, max_rows=400, num_folds=3, seed=5)
    assert len(pool.table) == 400
    positive = np.array([row["label"] == "yes" for row in pool.table.rows])
    assert 4 <= positive.sum() <= 8
    for fold in range(pool.num_folds):
        learn, judged = pool.parts(fold)
        assert positive[learn].any() and len(judged)
    assert positive[: len(positive) // 2].any()


def test_copies_of_one_text_share_a_fold():
    rows = [{"text": f"t {i % 30}" + "!" * (i // 30), "label": "ab"[i % 2]} for i in range(90)]
    pool = draw_pool(splits_of(rows, Roles(text="text", label="label"), 70, 20), max_rows=90, num_folds=5, seed=0)
    folds = {}
    for row, fold in zip(pool.table.rows, pool.fold, strict=True):
        folds.setdefault(row["text"].rstrip("!"), set()).add(int(fold))
    assert all(len(found) == 1 for found in folds.values())
    assert np.bincount(pool.fold).tolist() == [18] * 5
