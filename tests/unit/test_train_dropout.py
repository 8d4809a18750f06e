"""Dropout from a pool of masks: its rate, its mean, its seed."""

import pytest
import torch

from penjing.models.dropout import PooledDropout


def masks(probability: float, count: int, shape=(64, 50), **settings) -> torch.Tensor:
    torch.manual_seed(3)
    drop = PooledDropout(probability, **settings).train()
    return torch.stack([drop(torch.ones(shape)) for _ in range(count)])


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5])
def test_rate_and_mean(probability):
    drawn = masks(probability, 100)
    rate = float((drawn == 0).double().mean())
    assert rate == pytest.approx(probability, abs=4 * (probability * (1 - probability) / drawn.numel()) ** 0.5)
    assert float(drawn.double().mean()) == pytest.approx(1.0, abs=0.01)
    assert set(drawn.unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - probability)))}


def test_each_call_has_a_mask_of_its_own():
    drawn = masks(0.5, 50).flatten(1)
    agreement = (drawn[:, None] == drawn[None]).double().mean(-1)
    others = agreement[~torch.eye(50, dtype=torch.bool)]
    assert float(others.mean()) == pytest.approx(0.5, abs=0.01)  # as independent masks agree
    assert float(others.max()) < 0.6


def test_neighbours_are_independent():
    kept = (masks(0.5, 20, shape=(10_000,)) > 0).double() - 0.5
    for lag in (1, 2, 50, 64, 384):
        assert abs(float((kept[:, :-lag] * kept[:, lag:]).mean()) * 4) < 0.03


def test_the_seed_decides():
    assert torch.equal(masks(0.3, 5), masks(0.3, 5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(dtype):
    torch.manual_seed(0)
    found = PooledDropout(0.25).train()(torch.ones(1000, dtype=dtype))
    assert found.dtype == dtype
    assert float(found.double().mean()) == pytest.approx(1.0, abs=0.06)


def test_a_mask_does_not_depend_on_larger_inputs_before():
    """A resumed run has not seen the large batches that came before the kill."""

    def last(shapes: list[int]) -> torch.Tensor:
        drop = PooledDropout(0.3, pool_size=1024).train()
        for shape in shapes:
            torch.manual_seed(1)
            found = drop(torch.ones(shape))
        return found

    expected = last([700])
    assert torch.equal(last([100, 700]), expected)
    assert torch.equal(last([5000, 700]), expected)
    assert torch.equal(last([300, 9000, 64, 700]), expected)


def test_an_input_longer_than_the_pool_is_not_periodic():
    torch.manual_seed(0)
    found = PooledDropout(0.5, pool_size=1024).train()(torch.ones(8192)) > 0
    agreement = float((found[:-1024] == found[1024:]).double().mean())
    assert agreement == pytest.approx(0.5, abs=0.03)


def test_nothing_happens_outside_training_or_at_rate_zero():
    ones = torch.ones(10)
    assert PooledDropout(0.5).eval()(ones) is ones
    assert PooledDropout(0.0).train()(ones) is ones


def test_gradients_pass_through_the_kept_elements_alone():
    torch.manual_seed(0)
    inputs = torch.ones(500, requires_grad=True)
    outputs = PooledDropout(0.5).train()(inputs)
    outputs.sum().backward()
    assert torch.equal(inputs.grad, outputs.detach())


@pytest.mark.parametrize("training", [True, False])
def test_adding_to_a_residual_is_dropout_then_a_sum(training):
    residual, tensor = torch.randn(64, 50), torch.randn(64, 50, requires_grad=True)
    drop = PooledDropout(0.3).train(training)
    torch.manual_seed(5)
    expected = residual + drop(tensor)
    torch.manual_seed(5)
    found = drop.add(residual, tensor)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(of.sum(), tensor)[0] for of in (found, expected)))
