"""Which pretrained model suits this data, this machine and this budget, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penjing.core import registry
from penjing.core.budget import Budget
from penjing.core.errors import FetchError, MissingExtraError
from penjing.core.events import Listener, Notice, ignore
from penjing.core.task import Metric, Splits
from penjing.data.language import detect_language
from penjing.evaluate.bootstrap import resample_indices
from penjing.models.scratch import NAME as SCRATCH
from penjing.models.scratch import texts_of
from penjing.select.candidate import Candidate, Standing, TooSlowToTryError, excesses, smallest_speaking
from penjing.select.config import SelectConfig
from penjing.select.examine import Examined, Question, examine
from penjing.select.wording import explain_choice

PAIRED_RESAMPLES = 200


@dataclass(frozen=True)
class Selection:
    """The chosen model, the table behind it, and the reason.

    Args:
        chosen: name of the winner; None where the task needs no pretrained model.
        candidates: best first, then those that lost by budget, language or absence.
        why: the reason in English; see `sentences`.
        why_zh: the same in Chinese.
        primary: the metric compared.
        percent: whether it is shown in percent.
        language: of the texts.
        fits: whether the winner fits the budget.
        rows: labelled rows that were looked at, at most.
    """

    chosen: str | None
    candidates: tuple[Candidate, ...]
    why: str
    why_zh: str
    primary: str
    percent: bool
    language: str
    fits: bool
    rows: int

    def sentences(self, language: str = "en") -> list[str]:
        """The reason, one sentence each."""
        return (self.why_zh if language == "zh" else self.why).splitlines()

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "candidates"}
        return {**values, "candidates": [candidate.to_json() for candidate in self.candidates]}


def select(
    splits: Splits,
    kind: str,
    *,
    budget: Budget | None = None,
    config: SelectConfig | None = None,
    train: Any = None,
    language: str | None = None,
    seed: int = 42,
    listener: Listener = ignore,
) -> Selection:
    """Compare candidates on a sample of the labelled rows, without training any of them.

    Args:
        splits: train and valid are read; test is not.
        kind: a task kind.
        budget: limits the winner should fit.
        config: candidates, sample, time.
        train: a `TrainConfig`; the default where None.
        language: "zh", "en", "mixed" or "other"; detected where None.
        seed: of the sample.
        listener: told of progress.

    Raises:
        FetchError: no candidate that speaks the language can be had.
        ArtifactError: none of those that can be had is readable.
        CapabilityError: none of them can be measured in time, or exported.
        RecipeError: a candidate's name is unknown.
        MissingExtraError: torch is not installed.
    """
    budget, config = budget or Budget(), config or SelectConfig()
    if not starts_from_pretrained(kind):
        return _without_model(kind, splits)
    language = language or detect_language(texts_of(splits.train.rows, splits)).language
    question = Question(splits, kind, budget, config, _train_config(train), language, seed)
    found = examine(question, listener)
    measured = [one for one in found if one.judged is not None]
    if not measured or not (any(one.candidate.pretrained for one in measured) or _asked_for_scratch(config)):
        untried = _untried(found, language, listener)
        if untried is not None:
            return untried
        _nothing_left(found, language)
    return rank(found, question)


def starts_from_pretrained(kind: str) -> bool:
    """Whether tasks of this kind are learned by gradient descent from a pretrained model, not in one call.

    Raises:
        MissingExtraError: their trainer needs torch, which is not installed.
    """
    try:
        trainer = registry.load(registry.resolve("tasks", kind).trainer)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtraError("torch", "train") from None
    return not hasattr(trainer, "fit")


def rank(found: Sequence[Examined], question: Question) -> Selection:
    """The verdict on measured candidates; a pure function of the measurements.

    Among those that fit the budget, the best expected metric counts; a cheaper one that is within one standard error of
    the paired difference is preferred (the one-standard-error rule, Breiman et al. 1984, section 3.4.3). A model
    without pretrained knowledge has to be better than that to win.
    """
    about = next(one.task for one in found if one.task is not None)
    higher = about.metrics[about.primary].higher_is_better
    metric = about.metrics[about.primary]
    checked = [_checked(one, question.budget, metric) for one in found]
    measured = [one for one in checked if one.judged is not None]
    fitting = [one for one in measured if one.candidate.standing == "fits"]
    pool = fitting or [min(measured, key=lambda one: _overshoot(one, question.budget, metric))]
    ordered = sorted(pool, key=lambda one: _key(one, higher))
    winner = ordered[0]
    for other in ordered[1:]:
        cheaper = (other.candidate.p95_ms or math.inf) < (winner.candidate.p95_ms or math.inf)
        preferred = other.candidate.pretrained and (cheaper or not winner.candidate.pretrained)
        if preferred and _undecided(ordered[0], other):
            winner = other
    rest = [one for one in sorted(measured, key=lambda one: _key(one, higher)) if one is not winner]
    absent = [one for one in checked if one.judged is None]
    table = [replace(winner.candidate, standing="chosen"), *(one.candidate for one in (*rest, *absent))]
    english, chinese = (explain_choice(table, about, question, bool(fitting), zh=zh) for zh in (False, True))
    return Selection(
        chosen=winner.candidate.name,
        candidates=tuple(table),
        why="\n".join(english),
        why_zh="\n".join(chinese),
        primary=about.primary,
        percent=metric.percent,
        language=question.language,
        fits=bool(fitting),
        rows=max(len(one.judged.positions) for one in measured if one.judged is not None),
    )


def _checked(one: Examined, budget: Budget, metric: Metric) -> Examined:
    if one.judged is None:
        return one
    broken = excesses(one.candidate, budget, _points(one.candidate.expected, metric), metric)
    reasons = (*one.candidate.reasons, *(str(excess) for excess in broken))
    minutes, allowed = one.candidate.train_minutes, budget.train_minutes
    if minutes is not None and allowed is not None and minutes > allowed:
        reasons += (f"its training, about {minutes:.3g} minutes, will be shortened to the budget's {allowed:.3g}",)
    standing: Standing = "over budget" if broken else one.candidate.standing
    return replace(one, candidate=replace(one.candidate, standing=standing, reasons=reasons))


def _points(score: float | None, metric: Metric) -> float | None:
    return 100 * score if score is not None and metric.percent else score


def _overshoot(one: Examined, budget: Budget, metric: Metric) -> tuple[float, str]:
    broken = excesses(one.candidate, budget, _points(one.candidate.expected, metric), metric)
    return (broken[0].factor if broken else 1.0), one.candidate.name


def _key(one: Examined, higher: bool) -> tuple[float, float, float, str]:
    expected = one.candidate.expected
    assert expected is not None, "judged candidates have an expectation"
    evidence = -math.inf if one.candidate.logme is None else one.candidate.logme
    return (-expected if higher else expected, -evidence, one.candidate.p95_ms or math.inf, one.candidate.name)


def _undecided(best: Examined, other: Examined) -> bool:
    """Whether the expected metrics differ by no more than the standard error of the judged scores' difference."""
    assert best.judged is not None and other.judged is not None and best.task is not None and other.task is not None
    assert best.candidate.expected is not None and other.candidate.expected is not None
    gap = abs(best.candidate.expected - other.candidate.expected)
    shared, first, second = np.intersect1d(best.judged.positions, other.judged.positions, return_indices=True)
    if not len(shared):
        return True
    draws = []
    for index in resample_indices(len(shared), PAIRED_RESAMPLES, 0):
        scores = [
            one.task.aggregate(one.judged.stats.take(place[index]))[one.task.primary]
            for one, place in ((best, first), (other, second))
        ]
        draws.append(scores[0] - scores[1])
    defined = np.array(draws)[np.isfinite(draws)]
    return bool(len(defined) < 2 or gap <= defined.std(ddof=1))


def _untried(found: Sequence[Examined], language: str, listener: Listener) -> Selection | None:
    """Where rows or time do not suffice to try any model that is here: the smallest that reads the language."""
    reasons = {one.candidate.name: one.error.what for one in found if isinstance(one.error, TooSlowToTryError)}
    name = smallest_speaking(language, reasons)
    if name is None:
        return None
    listener(Notice("select", f"none could be tried: {reasons[name]}", "warning"))
    why = f"{name} is taken untried, as the smallest of those that read {language}."
    zh = f"未经试训，选用能读 {language} 的最小模型 {name}。"
    rest = tuple(one.candidate for one in found if one.candidate.name != name)
    own = next(one.candidate for one in found if one.candidate.name == name)
    return Selection(name, (replace(own, standing="chosen"), *rest), why, zh, "", False, language, True, 0)


def _asked_for_scratch(config: SelectConfig) -> bool:
    return config.candidates is not None and SCRATCH in config.candidates


def _nothing_left(found: Sequence[Examined], language: str) -> None:
    for one in found:
        if one.error is not None:  # it says what to do about a model that is here; others were told of in notices
            raise one.error
    reasons = "; ".join(
        f"{one.candidate.name}: {', '.join(one.candidate.reasons)}" for one in found if one.judged is None
    )
    raise FetchError(
        f"no pretrained model for texts in {language!r} can be had ({reasons})",
        where="model: auto",
        next_step="connect once, give a directory with --model, or --model scratch to learn from nothing",
    )


def _train_config(train: Any) -> Any:
    from penjing.train.config import TrainConfig

    return TrainConfig() if train is None else train


def _without_model(kind: str, splits: Splits) -> Selection:
    why = f"A {kind} task learns from the table itself: no pretrained model is needed, so there is none to choose."
    zh = "这类任务直接从表格学习，不需要预训练模型，因此没有可选的模型。"
    return Selection(None, (), why, zh, "", False, "other", True, len(splits.train))
