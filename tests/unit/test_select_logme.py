"""LogME against the evidence computed from its definition, and on features that do or do not explain the labels."""

import numpy as np
import pytest
from scipy.optimize import minimize

from penjing.select.logme import log_evidence, logme, max_evidence, target_columns


def direct_log_evidence(features, target, log_alpha, log_beta):
    """log N(y; 0, F F' / alpha + I / beta): the marginal likelihood itself."""
    covariance = features @ features.T / np.exp(log_alpha) + np.eye(len(features)) / np.exp(log_beta)
    fit = target @ np.linalg.solve(covariance, target)
    return -0.5 * (len(target) * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + fit)


def direct_maximum(features, target):
    bounds = [(-8.0, 8.0), (-8.0, 8.0)]
    found = [
        minimize(lambda x: -direct_log_evidence(features, target, *x), start, bounds=bounds, method="L-BFGS-B")
        for start in ((-1.0, 0.0), (1.0, 1.0), (3.0, 2.0))
    ]
    return -min(result.fun for result in found)


def problem(num_rows, width, noise, seed):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((num_rows, width)) * np.linspace(0.3, 2.0, width)
    return features, features @ rng.standard_normal(width) + noise * rng.standard_normal(num_rows)


@pytest.mark.parametrize(("num_rows", "width"), [(40, 5), (25, 25), (20, 30)])
def test_evidence_is_that_of_the_definition(num_rows, width):
    features, target = problem(num_rows, width, 0.5, seed=1)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    projected = left.T @ target
    outside = target @ target - projected @ projected
    for alpha, beta in ((0.3, 2.0), (5.0, 0.7)):
        expected = direct_log_evidence(features, target, np.log(alpha), np.log(beta))
        found = log_evidence(singular**2, projected**2, outside, alpha, beta, num_rows, width)
        assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_maximum_is_that_of_a_direct_search(noise):
    features, target = problem(50, 6, noise, seed=2)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    found = max_evidence(singular**2, left.T @ target, float(target @ target), *features.shape)
    assert found == pytest.approx(direct_maximum(features, target), abs=1e-3)


def test_regression_score_is_the_maximum_of_standardised_numbers():
    features, target = problem(60, 4, 0.8, seed=3)
    standardised = (target - target.mean()) / target.std()
    assert logme(features, target) == pytest.approx(direct_maximum(features, standardised) / 60, abs=1e-4)
    assert logme(features, 1000 * target + 5) == pytest.approx(logme(features, target), abs=1e-8)


def test_classification_score_is_the_mean_over_classes():
    rng = np.random.default_rng(4)
    classes = rng.integers(0, 3, 60)
    features = np.eye(3)[classes] @ rng.standard_normal((3, 5)) + 0.5 * rng.standard_normal((60, 5))
    expected = np.mean([direct_maximum(features, column) for column in target_columns(classes).T]) / 60
    assert logme(features, classes) == pytest.approx(expected, abs=1e-4)


def test_informative_features_score_higher_than_shuffled_ones():
    rng = np.random.default_rng(5)
    classes = rng.integers(0, 4, 200)
    features = np.eye(4)[classes] @ rng.standard_normal((4, 16)) + 0.7 * rng.standard_normal((200, 16))
    assert logme(features, classes) > logme(features[rng.permutation(200)], classes) + 0.05


def test_several_labels_a_row_and_features_of_low_rank():
    rng = np.random.default_rng(6)
    targets = (rng.random((30, 3)) < 0.4).astype(np.float32)
    features = np.repeat(rng.standard_normal((30, 2)), 4, axis=1)
    assert np.isfinite(logme(features, targets))
    assert np.isfinite(logme(np.zeros((30, 4)), targets))
