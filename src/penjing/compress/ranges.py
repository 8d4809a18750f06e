"""Which values activations take, found by running a model on real rows: what 8 bits are spread over.

One batch is in memory at a time. Percentiles and entropy need histograms, hence a second pass over the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from penjing.compress.drift import run
from penjing.compress.graph_file import Graph
from penjing.core.events import Progress
from penjing.core.task import Batch
from penjing.predict.onnx_backend import open_session

Calibration = Literal["minmax", "percentile", "entropy"]
Ranges = dict[str, tuple[float, float]]
_BINS = 2048
_LEVELS = 128  # of the half of a range that is tried


def watch(graph: Graph, names: Sequence[str]) -> None:
    """Make tensors outputs of the model, in front of its own; their types need not be said."""
    for name in names:
        if name not in {output.name for output in graph.body.output}:
            graph.body.output.add().name = name


def find_ranges(
    path: Path,
    names: Sequence[str],
    batches: Sequence[Batch],
    *,
    threads: int,
    calibration: Calibration,
    percentile: float,
) -> Iterator[Progress | Ranges]:
    """Yield progress, and last the ranges.

    Args:
        path: a model with the tensors among its outputs.
        names: tensors.
        batches: what it is run on.
        threads: of one run.
        calibration: from the least to the greatest value; all but the outermost; or where the distribution of the
            values loses least.
        percentile: share of the values inside, in percent; for `percentile` alone.
    """
    session = open_session(path, threads)
    passes = 1 if calibration == "minmax" else 2
    wanted = list(names)
    ranges: Ranges = dict.fromkeys(wanted, (0.0, 0.0))
    for i, batch in enumerate(batches):
        for name, values in run(session, wanted, batch, path).items():
            low, high = ranges[name]
            ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))
        yield Progress("compress", i + 1, passes * len(batches), "steps", "watching activations")
    if calibration == "minmax":
        yield ranges
        return
    counts = {name: np.zeros(_BINS, np.int64) for name in wanted}
    for i, batch in enumerate(batches):
        for name, values in run(session, wanted, batch, path).items():
            counts[name] += np.histogram(values, _BINS, _domain(ranges[name], calibration))[0]
        yield Progress("compress", len(batches) + i + 1, 2 * len(batches), "steps", "watching activations")
    if calibration == "percentile":
        yield {name: _inner(counts[name], ranges[name], percentile) for name in wanted}
    else:
        yield {name: _most_alike(counts[name], ranges[name]) for name in wanted}


def _domain(extremes: tuple[float, float], calibration: Calibration) -> tuple[float, float]:
    """What is counted: all values, or as much on either side of zero."""
    low, high = extremes
    most = max(-low, high)
    found = (low, high) if calibration == "percentile" else (-most, most)
    return found if found[0] < found[1] else (-1.0, 1.0)


def _inner(counts: np.ndarray, extremes: tuple[float, float], percentile: float) -> tuple[float, float]:
    low, high = _domain(extremes, "percentile")
    share = np.cumsum(counts) / counts.sum()
    outside = (1 - percentile / 100) / 2
    width = (high - low) / len(counts)
    first = int(np.searchsorted(share, outside, side="right"))
    last = int(np.searchsorted(share, 1 - outside))
    return low + first * width, low + (last + 1) * width


def _most_alike(counts: np.ndarray, extremes: tuple[float, float]) -> tuple[float, float]:
    """The symmetric range whose quantized distribution diverges least from the true one, what is outside counted in.

    (Migacz, "8-bit inference with TensorRT", GTC 2017.)
    """
    low, high = extremes
    middle = len(counts) // 2
    sizes = counts[middle:] + counts[:middle][::-1]  # of absolute values
    tried = list(range(_LEVELS, middle + 1, 8))
    best = min(tried, key=lambda kept: _divergence(sizes, kept))
    most = best / middle * max(-low, high)
    return max(low, -most), min(high, most)


def _divergence(sizes: np.ndarray, kept: int) -> float:
    """Kullback-Leibler divergence of `kept` bins in `_LEVELS` levels from the bins with all outliers in the last."""
    true = sizes[:kept].astype(np.float64)
    levels = np.arange(kept) * _LEVELS // kept
    there = true > 0
    total = np.bincount(levels, true, _LEVELS)
    bins = np.bincount(levels, there, _LEVELS)
    coarse = np.where(there, (total / np.maximum(bins, 1))[levels], 0)
    true[-1] += sizes[kept:].sum()
    p, q = true / true.sum(), coarse / max(coarse.sum(), 1)
    used = p > 0
    # Where outliers stand in a bin that had none, nothing stands against them; a little keeps the figure finite.
    return float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-9))).sum())
