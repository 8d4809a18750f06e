"""Scores of token pairs → spans.

The score of a span from token i to token j with label c is `logits[i, c, 0] + logits[j, c, 1] + pairs[i, j]`: how well
a span of c begins at i, how well one ends at j, and how well i and j belong together whatever the label. Where that is
above 0, there is a span. Labels are scored apart, so their spans may overlap (Su et al. 2022, "Global Pointer", with
the factors of its efficient form).
"""

from __future__ import annotations

import numpy as np

from penjing.core.task import Span

MAX_CANDIDATES = 2_000


def window_candidates(
    logits_LC2: np.ndarray,
    pairs_LL: np.ndarray,
    offsets_L2: np.ndarray,
    core: tuple[int, int],
    labels: tuple[str, ...],
    max_tokens: int,
) -> tuple[list[tuple[float, Span]], float]:
    """Spans of one window with a score above 0.

    Args:
        logits_LC2: begin and end scores.
        pairs_LL: scores of (first, last) token.
        offsets_L2: characters of each token; those with -1 neither begin nor end a span.
        core: first and one past the last token at which a span may begin.
        labels: C names.
        max_tokens: tokens of the longest span.

    Returns:
        (score, span) pairs, and the highest score of all spans, found or not.
    """
    length, num_labels = logits_LC2.shape[:2]
    width = min(max_tokens, length)
    ends_L = np.arange(length)
    at_LK = ends_L[:, None] + np.arange(width)
    inside_LK = at_LK < length
    at_LK = np.minimum(at_LK, length - 1)
    real_L = offsets_L2[:, 0] >= 0
    allowed_LK = inside_LK & real_L[:, None] & real_L[at_LK]
    allowed_LK &= ((ends_L >= core[0]) & (ends_L < core[1]))[:, None]
    if not allowed_LK.any():
        return [], -np.inf
    shared_LK = np.where(allowed_LK, pairs_LL[ends_L[:, None], at_LK], -np.inf)
    found: list[tuple[float, Span]] = []
    highest = -np.inf
    for c in range(num_labels):
        scores_LK = shared_LK + logits_LC2[:, c, 0][:, None] + logits_LC2[at_LK, c, 1]
        highest = max(highest, float(scores_LK.max()))
        for i, k in zip(*np.nonzero(scores_LK > 0), strict=True):
            span = Span(int(offsets_L2[i, 0]), int(offsets_L2[i + k, 1]), labels[c])
            found.append((float(scores_LK[i, k]), span))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return found[:MAX_CANDIDATES], highest


def sigmoid(score: float) -> float:
    """1 / (1 + e^-score), without overflow."""
    return float(np.exp(-np.logaddexp(0.0, -score)))
