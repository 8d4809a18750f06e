"""The linear probe that heads start from, against scikit-learn and on rows it has not seen."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from penjing.train.gradient.objective import Objective
from penjing.train.head_start import PENALTIES, choose_penalty, fit_probe

PLAIN = Objective(loss="cross_entropy", label_smoothing=0.0, focal_gamma=2.0)


def rows(num_rows: int, signal: float, num_classes: int = 3, width: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of very different scales, of which few tell the classes apart."""
    generator = np.random.default_rng(0)
    targets = generator.integers(num_classes, size=num_rows)
    centres = generator.normal(size=(num_classes, width)) * (np.arange(width) < 8)
    features = signal * centres[targets] + generator.normal(size=(num_rows, width))
    scales = np.geomspace(0.01, 10, width)
    return torch.tensor(5 + features * scales, dtype=torch.float32), torch.tensor(targets)


@pytest.mark.parametrize("l2", [1.0, 1000.0])
def test_it_is_the_penalised_regression_of_scikit_learn_on_scaled_features(l2):
    features, targets = rows(300, 1.0)
    weight, bias = fit_probe(features, targets, 3, PLAIN, l2=l2)
    scaled = ((features - features.mean(0)) / features.std(0, correction=0)).numpy()
    model = LogisticRegression(C=10 / l2, max_iter=2_000, tol=1e-8).fit(scaled, targets.numpy())
    found = torch.log_softmax(features @ weight.T + bias, 1).numpy()
    np.testing.assert_allclose(found, model.predict_log_proba(scaled), rtol=0.01, atol=0.02)


@pytest.mark.parametrize("num_rows", [200, 1_200])
def test_the_penalty_is_the_one_that_does_best_on_other_rows(num_rows):
    features, targets = rows(num_rows + 4_000, 0.25)
    learn, fresh = slice(0, num_rows), slice(num_rows, None)
    chosen = choose_penalty(features[learn], targets[learn], 3, PLAIN)

    def loss(l2: float) -> float:
        weight, bias = fit_probe(features[learn], targets[learn], 3, PLAIN, l2=l2)
        return float(PLAIN.per_row(features[fresh] @ weight.T + bias, targets[fresh]).mean())

    losses = {l2: loss(l2) for l2 in PENALTIES}
    assert losses[chosen] < min(losses.values()) + 0.01
    assert losses[1.0] > losses[chosen]


def test_what_cannot_be_learned_starts_near_nothing_and_what_can_starts_right():
    features, targets = rows(600, 0.0, num_classes=2)
    weight, bias = fit_probe(features, targets, 2, PLAIN, l2=choose_penalty(features, targets, 2, PLAIN))
    assert float((features @ weight.T + bias).softmax(1).max()) < 0.65
    clear, classes = rows(600, 3.0)
    assert choose_penalty(clear, classes, 3, PLAIN) < choose_penalty(features, targets, 2, PLAIN)


def test_a_single_row_has_nothing_to_be_judged_on():
    features, targets = rows(1, 1.0)
    assert choose_penalty(features, targets, 3, PLAIN) == PENALTIES[0]


def test_classes_that_no_learned_row_has_do_not_end_the_search():
    features, targets = rows(260, 6.0, num_classes=20)
    fresh, truth = features[60:], targets[60:]
    features, targets = features[:60], targets[:60]

    def accuracy(l2: float) -> float:
        weight, bias = fit_probe(features, targets, 20, PLAIN, l2=l2)
        return float(((fresh @ weight.T + bias).argmax(1) == truth).float().mean())

    assert accuracy(choose_penalty(features, targets, 20, PLAIN)) > 0.35
    assert accuracy(PENALTIES[0]) < 0.1


def test_copies_do_not_judge_what_was_learned_from_them():
    features, targets = rows(120, 0.0)
    noise = 0.01 * features.std(0) * torch.randn(480, features.shape[1], generator=torch.Generator().manual_seed(0))
    copied = features.repeat(4, 1) + noise
    assert choose_penalty(copied, targets.repeat(4), 3, PLAIN) >= 1e4


def test_a_feature_that_hardly_varies_gets_no_weight_that_matters():
    features, targets = rows(200, 1.0)
    still = 9 + 3e-6 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    weight, _ = fit_probe(torch.cat([features, still], 1), targets, 3, PLAIN, l2=1.0)
    assert float((weight[:, -1] * 0.01).abs().max()) < 0.5
