"""LogME: how well frozen features explain the labels, as the greatest log evidence of a Bayesian linear model.

You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", with the fixed-point
iteration of its journal version (arXiv 2110.10545, algorithm 3). Unlike a probe's score it needs no held-out rows, so
that it still ranks models where labels are few.
"""

from __future__ import annotations

import numpy as np

_MAX_ITERATIONS = 100
_TOLERANCE = 1e-6
_SMALLEST = 1e-10


def logme(features_NH: np.ndarray, targets: np.ndarray) -> float:
    """Log evidence a row, averaged over the targets: higher is better.

    Args:
        features_NH: [N, H] frozen features.
        targets: [N] int class index (each class becomes a 0/1 target), [N] float numbers, or [N, C] targets.

    Returns:
        The mean over targets of max over (alpha, beta) of log p(y | features, alpha, beta) / N.
    """
    columns_NC = target_columns(targets)
    features_NH = np.asarray(features_NH, np.float64)
    # Economy SVD: the evidence depends on the features only through their singular values and left vectors.
    left_NR, singular_R, _ = np.linalg.svd(features_NH, full_matrices=False)
    keep = singular_R > singular_R[0] * max(features_NH.shape) * np.finfo(np.float64).eps if len(singular_R) else []
    left_NR, variances_R = left_NR[:, keep], np.square(singular_R[keep])
    scores = [
        max_evidence(variances_R, left_NR.T @ column_N, float(column_N @ column_N), *features_NH.shape)
        for column_N in columns_NC.T
    ]
    return float(np.mean(scores)) / len(features_NH)


def target_columns(targets: np.ndarray) -> np.ndarray:
    """[N] classes or numbers, or [N, C] → [N, C] float64, one column a thing to explain.

    Numbers are standardised, so that scores of one data set do not depend on the unit.
    """
    if targets.ndim == 2:
        return np.asarray(targets, np.float64)
    if np.issubdtype(targets.dtype, np.integer):
        classes = np.unique(targets)
        return (targets[:, None] == classes[None, :]).astype(np.float64)
    spread = float(targets.std())
    return ((targets - targets.mean()) / (spread if spread else 1.0)).astype(np.float64)[:, None]


def max_evidence(
    variances_R: np.ndarray, projected_R: np.ndarray, square_norm: float, num_rows: int, width: int
) -> float:
    """The greatest log evidence of y ~ N(F w, 1/beta), w ~ N(0, 1/alpha), over alpha and beta.

    Args:
        variances_R: squares of the singular values of F that are not 0.
        projected_R: the target in the basis of the left singular vectors.
        square_norm: y'y.
        num_rows: N.
        width: H.
    """
    squares_R = np.square(projected_R)
    outside = max(square_norm - float(squares_R.sum()), 0.0)  # the part of y that no weights can explain
    ratio = 1.0  # alpha / beta
    alpha = beta = num_rows / max(square_norm, _SMALLEST)  # features without variance explain nothing
    for _ in range(_MAX_ITERATIONS if len(variances_R) else 0):
        shrunk_R = variances_R / (ratio + variances_R)
        effective = float(shrunk_R.sum())
        residual = outside + float((squares_R * np.square(1 - shrunk_R)).sum())
        weights = float((squares_R * variances_R / np.square(ratio + variances_R)).sum())
        alpha = effective / max(weights, _SMALLEST)
        beta = max(num_rows - effective, _SMALLEST) / max(residual, _SMALLEST)
        updated = alpha / beta
        done = abs(updated - ratio) <= _TOLERANCE * ratio
        ratio = updated
        if done:
            break
    return log_evidence(variances_R, squares_R, outside, alpha, beta, num_rows, width)


def log_evidence(
    variances_R: np.ndarray,
    squares_R: np.ndarray,
    outside: float,
    alpha: float,
    beta: float,
    num_rows: int,
    width: int,
) -> float:
    """Log p(y | F, alpha, beta), equation 2 of the paper, in the basis of the singular vectors."""
    shrunk_R = beta * variances_R / (alpha + beta * variances_R)
    residual = outside + float((squares_R * np.square(1 - shrunk_R)).sum())
    weights = float((beta**2 * variances_R * squares_R / np.square(alpha + beta * variances_R)).sum())
    log_det = float(np.log(alpha + beta * variances_R).sum()) + (width - len(variances_R)) * np.log(alpha)
    return 0.5 * (
        num_rows * np.log(beta)
        + width * np.log(alpha)
        - num_rows * np.log(2 * np.pi)
        - beta * residual
        - alpha * weights
        - log_det
    )
