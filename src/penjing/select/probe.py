"""A linear probe on frozen embeddings, judged on rows it has not seen, at several training sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from penjing.core.task import Metric, Prediction, Row, Stats, Task
from penjing.evaluate.bootstrap import bootstrap
from penjing.select.features import Features
from penjing.select.learning_curve import Curve
from penjing.select.sample import Pool
from penjing.select.stopwatch import Stopwatch

SHARES = (0.125, 0.25, 0.5, 1.0)
MIN_SIZE = 8
RESAMPLES = 200
SMALL_WORK = 30_000_000  # multiplications of one product

# (positions to learn from, positions to judge) → predictions of the latter.
Predictor = Callable[[np.ndarray, np.ndarray], list[Prediction]]


@dataclass(frozen=True)
class Judged:
    """A model judged by cross-validation.

    Args:
        score: the primary metric on the judged rows, after learning from the most rows.
        low: lower bound of its interval.
        high: upper bound.
        stats: per-row statistics behind it, for paired comparisons.
        positions: [M] positions of the judged rows in the pool.
        num_learned: rows learned from.
        standard_error: of the score, from the sample of judged rows.
        curve: errors at several training sizes.
    """

    score: float
    low: float
    high: float
    stats: Stats
    positions: np.ndarray
    num_learned: int
    standard_error: float
    curve: Curve


def error_of(task: Task, score: float) -> float:
    """1 - metric where more is better, else the metric; see `learning_curve`."""
    return 1.0 - score if task.metrics[task.primary].higher_is_better else score


def score_of(task: Task, error: float) -> float:
    """Inverse of `error_of`, kept in [0, 1] for metrics shown in percent."""
    about = task.metrics[task.primary]
    score = 1.0 - error if about.higher_is_better else error
    return min(1.0, max(0.0, score)) if about.percent else score


def probe_predictor(task: Task, features: Features) -> Predictor:
    """Fit the head on some rows' embeddings, and predict others with it through the task itself.

    The first rows it is given, the most there are (see `judge`), choose the penalty for all. In cross-validation others
    are judged later; one value of six tells the model nothing of them.
    """
    from penjing.train.head_start import choose_penalty, fit_probe

    output = task.signature.outputs[0].name
    num_outputs = max(1, len(task.labels))
    penalty: list[float] = []

    def predict(learn: np.ndarray, judge: np.ndarray) -> list[Prediction]:
        inputs_NH = features.features_NH[learn]
        wanted = (inputs_NH, features.targets[learn], num_outputs, features.trainer.objective)
        with _few_threads(inputs_NH.numel() * num_outputs):
            if not penalty:
                penalty.append(choose_penalty(*wanted))
            weight_CH, bias_C = fit_probe(*wanted, l2=penalty[0])
        logits_NC = (features.features_NH[judge] @ weight_CH.T + bias_C).cpu().numpy()
        return task.predict(lambda _: {output: logits_NC}, {})

    return predict


@contextmanager
def _few_threads(work: int) -> Iterator[None]:
    """One thread for small products: thousands of them follow each other, and on a machine with other work each waits
    for its slowest thread (measured: 100 iterations over 51 rows took two minutes for three seconds of work).
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1 if work < SMALL_WORK else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def judge(
    task: Task,
    pool: Pool,
    predict: Predictor,
    *,
    watch: Stopwatch,
    level: float,
    seed: int,
    shares: Sequence[float] = SHARES,
) -> Judged:
    """Cross-validate a way to predict, at several training sizes.

    Args:
        task: scores the predictions.
        pool: rows and folds.
        predict: learns from some positions and predicts others.
        watch: once the time is up no further model is fitted; the first, at the full size, always is.
        level: of the interval.
        seed: of the bootstrap.
        shares: of the rows that can be learned from; the last is 1.
    """
    parts = _parts(pool)
    least = min(len(learn) for learn, _ in parts)
    shares = [share for share in shares if round(share * least) >= MIN_SIZE or share == shares[-1]]
    folds: list[dict[float, Stats]] = []
    for learn, judged in parts:
        if folds and watch.left <= 0:
            break
        fold: dict[float, Stats] = {}
        for share in reversed(shares):  # the full size first: it is what cannot be done without
            if fold and not folds and watch.left <= 0:
                break
            fold[share] = _stats(task, pool, predict(learn[: round(share * len(learn))], judged), judged)
        shares = sorted(fold)
        folds.append(fold)
    sizes = [round(share * least) for share in shares]
    judged_parts = [judged for _, judged in parts[: len(folds)]]
    by_fold = [[fold[share] for share in shares] for fold in folds]
    if not pool.crossed:  # one model a size; pseudo-folds of the rows it was judged on tell how sure the figure is
        place = pool.fold[judged_parts[0]]
        cuts = [np.flatnonzero(place == fold) for fold in range(pool.num_folds)]
        by_fold = [[stats.take(cut) for stats in by_fold[0]] for cut in cuts if len(cut)]
        judged_parts = [judged_parts[0][cut] for cut in cuts if len(cut)]
    whole = [_joined([fold[k] for fold in by_fold]) for k in range(len(sizes))]
    positions = np.concatenate(judged_parts)
    return summarise(task, whole, by_fold, positions, sizes, level, seed, pool.groups(positions))


def _parts(pool: Pool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(positions to learn from, positions to judge): one a fold, or a single one where rows are not crossed."""
    if not pool.crossed:
        return [(pool.parts(0)[0], np.flatnonzero(pool.fold >= 0))]
    parts = [pool.parts(fold) for fold in range(pool.num_folds)]
    return [(learn, judged) for learn, judged in parts if len(learn) and len(judged)]


def _stats(task: Task, pool: Pool, predictions: Sequence[Prediction], judged: np.ndarray) -> Stats:
    rows: list[Row] = [pool.table.rows[i] for i in judged]
    return task.score(rows, predictions)


def _joined(parts: Sequence[Stats]) -> Stats:
    return Stats({name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns})


def summarise(
    task: Task,
    whole: Sequence[Stats],
    folds: Sequence[Sequence[Stats]],
    positions: np.ndarray,
    sizes: Sequence[int],
    level: float,
    seed: int,
    groups: Sequence[object] | None = None,
) -> Judged:
    """Score, interval and curve from statistics.

    Args:
        task: aggregates them.
        whole: [S] all judged rows, one entry a training size.
        folds: [F][S] the same by fold; with fewer than three folds the curve has no replicates.
        positions: [M] of the judged rows in the pool.
        sizes: [S] rows learned from.
        level: of the interval.
        seed: of the bootstrap.
        groups: [M] group of each judged row, where rows are not independent; they are drawn whole, as in reports.
    """
    if groups is not None and len(groups) != len(whole[-1]):
        groups = None  # the task's units are not rows
    floor = 0.5 / len(positions)  # no sample of n rows shows an error of 0

    def error(stats: Stats) -> float:
        return max(error_of(task, task.aggregate(stats)[task.primary]), floor)

    replicates = []
    if len(folds) > 2:
        for left_out in range(len(folds)):
            rest = [fold for k, fold in enumerate(folds) if k != left_out]
            replicates.append(tuple(error(_joined([fold[k] for fold in rest])) for k in range(len(sizes))))
    found = bootstrap(_Primary(task), whole[-1], resamples=RESAMPLES, level=level, seed=seed, groups=groups)
    interval = found[task.primary]
    score = interval.value if interval.value is not None else float("nan")
    low = score if interval.low is None else interval.low
    high = score if interval.high is None else interval.high
    return Judged(
        score=score,
        low=low,
        high=high,
        stats=whole[-1],
        positions=positions,
        num_learned=int(sizes[-1]),
        standard_error=(high - low) / (2 * NormalDist().inv_cdf(0.5 + level / 2)),
        curve=Curve(tuple(sizes), tuple(error(stats) for stats in whole), tuple(replicates)),
    )


@dataclass(frozen=True)
class _Primary:
    """The part of a task the bootstrap needs, reduced to one metric."""

    task: Task

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The task's."""
        return self.task.metrics

    def aggregate(self, stats: Stats) -> dict[str, float]:
        return {self.task.primary: self.task.aggregate(stats)[self.task.primary]}
