"""Losses against their formulas, written out."""

import math

import pytest
import torch

from penjing.train.gradient.objective import Objective, balanced_positive_weights, balanced_weights

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(5, 4, generator=GENERATOR, dtype=torch.float64) * 2
CLASSES = torch.tensor([0, 3, 1, 1, 2])
SEVERAL = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]], dtype=torch.float32)


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(x) for x in row]
    return [p / sum(powers) for p in powers]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_label_smoothing(smoothing):
    found = Objective("cross_entropy", label_smoothing=smoothing).per_row(LOGITS, CLASSES)
    for row, target, loss in zip(LOGITS.tolist(), CLASSES.tolist(), found.tolist(), strict=True):
        share = [smoothing / 4 + (1 - smoothing) * (c == target) for c in range(4)]
        assert loss == pytest.approx(-sum(q * math.log(p) for q, p in zip(share, softmax(row), strict=True)))


def test_focal_is_cross_entropy_times_the_missing_probability():
    found = Objective("focal", focal_gamma=1.5).per_row(LOGITS, CLASSES)
    for row, target, loss in zip(LOGITS.tolist(), CLASSES.tolist(), found.tolist(), strict=True):
        p = softmax(row)[target]
        assert loss == pytest.approx(-((1 - p) ** 1.5) * math.log(p))
    plain = Objective("cross_entropy").per_row(LOGITS, CLASSES)
    assert torch.allclose(Objective("focal", focal_gamma=0.0).per_row(LOGITS, CLASSES), plain)


@pytest.mark.parametrize("gamma", [None, 2.0])
def test_binary_cross_entropy_and_its_focal_form(gamma):
    objective = Objective("bce") if gamma is None else Objective("focal", focal_gamma=gamma)
    found = objective.per_row(LOGITS, SEVERAL)
    for row, targets, loss in zip(LOGITS.tolist(), SEVERAL.tolist(), found.tolist(), strict=True):
        terms = []
        for x, y in zip(row, targets, strict=True):
            p = sigmoid(x) if y else 1 - sigmoid(x)
            terms.append(-math.log(p) * (1 - p) ** (gamma or 0))
        assert loss == pytest.approx(sum(terms) / 4)


def test_focal_loss_discounts_the_loss_of_smoothed_targets():
    smoothed = Objective("cross_entropy", label_smoothing=0.2).per_row(LOGITS, CLASSES)
    p_true = LOGITS.softmax(-1)[range(len(CLASSES)), CLASSES]
    found = Objective("focal", label_smoothing=0.2, focal_gamma=2.0).per_row(LOGITS, CLASSES)
    assert torch.allclose(found, smoothed * (1 - p_true) ** 2)


def test_binary_label_smoothing_moves_targets_towards_a_half():
    found = Objective("bce", label_smoothing=0.2).per_row(LOGITS, SEVERAL)
    moved = Objective("bce").per_row(LOGITS, SEVERAL * 0.8 + 0.1)
    assert torch.allclose(found, moved)


def test_squared_error():
    found = Objective("mse").per_row(torch.tensor([[1.0], [-2.0]]), torch.tensor([0.5, 1.0]))
    assert found.tolist() == [0.25, 9.0]


def test_class_weights_multiply_the_rows_of_a_class():
    weights = (1.0, 2.0, 0.5, 3.0)
    plain = Objective("cross_entropy").per_row(LOGITS, CLASSES)
    weighed = Objective("cross_entropy", class_weights=weights).per_row(LOGITS, CLASSES)
    assert torch.allclose(weighed, plain * torch.tensor(weights, dtype=torch.float64)[CLASSES])


def test_class_weights_of_labels_count_where_the_label_applies():
    found = Objective("bce", class_weights=(1.0, 5.0, 1.0, 1.0)).per_row(LOGITS, SEVERAL)
    plain = Objective("bce").per_row(LOGITS, SEVERAL)
    extra = [-4 * y[1] * math.log(sigmoid(x[1])) / 4 for x, y in zip(LOGITS.tolist(), SEVERAL.tolist(), strict=True)]
    assert torch.allclose(found, plain + torch.tensor(extra, dtype=torch.float64))


def test_balanced_weights_have_mean_one_over_the_rows():
    counts = [80, 15, 5]
    weights = balanced_weights(counts)
    assert weights == pytest.approx((100 / 240, 100 / 45, 100 / 15))
    assert sum(c * w for c, w in zip(counts, weights, strict=True)) / 100 == pytest.approx(1.0)
    assert balanced_weights([10, 0]) == (0.5, 5.0)
    assert balanced_positive_weights([20, 100, 0], 100) == (4.0, 0.01, 100.0)


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_divergence_is_the_symmetric_kl():
    other = LOGITS.flip(0)
    found = Objective("cross_entropy").divergence(LOGITS, other, several=False)
    for first, second, value in zip(LOGITS.tolist(), other.tolist(), found.tolist(), strict=True):
        p, q = softmax(first), softmax(second)
        assert value == pytest.approx((kl(p, q) + kl(q, p)) / 2)
    found = Objective("bce").divergence(LOGITS, other, several=True)
    for first, second, value in zip(LOGITS.tolist(), other.tolist(), found.tolist(), strict=True):
        pairs = [(sigmoid(a), sigmoid(b)) for a, b in zip(first, second, strict=True)]
        sums = [kl([p, 1 - p], [q, 1 - q]) + kl([q, 1 - q], [p, 1 - p]) for p, q in pairs]
        assert value == pytest.approx(sum(sums) / 8)


def test_nothing_diverges_from_itself():
    for loss, several in [("cross_entropy", False), ("bce", True), ("focal", True), ("mse", False)]:
        logits = LOGITS[:, :1] if loss == "mse" else LOGITS
        assert float(Objective(loss).divergence(logits, logits, several=several).abs().max()) == 0.0


def test_low_precision_logits_are_widened_and_double_ones_kept():
    assert Objective("cross_entropy").per_row(LOGITS.bfloat16(), CLASSES).dtype == torch.float32
    assert Objective("cross_entropy").per_row(LOGITS, CLASSES).dtype == torch.float64
