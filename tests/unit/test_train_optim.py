"""Optimizers, schedules, averaging and low-precision training."""

import itertools
import math

import pytest
import torch
from unit_training import train_tiny

from penjing.core.errors import CapabilityError
from penjing.tasks.text_pair import TextPair
from penjing.train.config import TrainConfig
from penjing.train.defaults import resolve_train
from penjing.train.gradient.sequence import SequenceTrainer
from penjing.train.optim import Ema, Lion, Masters, ParameterGroup, build_optimizer, divides_gradients
from penjing.train.precision import LossScale
from penjing.train.schedule import factor

pytest_plugins = ["training_fixtures"]

RATES = {"adamw": 2e-3, "sgd": 0.03, "adafactor": 0.02, "lion": 1e-3, "schedule-free": 1e-2}


@pytest.mark.parametrize("optimizer", RATES)
def test_each_optimizer_lowers_the_loss(tiny_task, tiny_splits, tiny_pretrained, tmp_path, optimizer):
    config = TrainConfig(
        optimizer=optimizer, learning_rate=RATES[optimizer], epochs=40, batch_rows=8, precision="fp32",
        head_start="random", label_smoothing=0.0, ema=0.0, frozen_layers=0, schedule="constant", dropout=0.0,
    )  # fmt: skip
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path)
    losses = [entry["loss"] for entry in result.history[1:]]
    assert sum(losses[-5:]) / 5 < 0.7 * math.log(3)  # the head begins at zero, and the loss at log 3


def test_schedules_rise_and_fall():
    assert [factor(s, 20, schedule="linear", warmup=0.2) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    linear = [factor(s, 20, schedule="linear", warmup=0.2) for s in range(4, 21)]
    assert linear[0] == 1.0 and linear[-1] == 0.0
    assert all(a - b == pytest.approx(1 / 16) for a, b in itertools.pairwise(linear))
    cosine = [factor(s, 20, schedule="cosine", warmup=0.2) for s in range(4, 21)]
    assert cosine[0] == 1.0 and cosine[8] == pytest.approx(0.5) and cosine[-1] == pytest.approx(0.0)
    assert all(a > b for a, b in itertools.pairwise(cosine))
    assert {factor(s, 20, schedule="constant", warmup=0.2) for s in range(4, 20)} == {1.0}
    assert factor(0, 20, schedule="linear", warmup=0.0) == 1.0


def test_the_loop_follows_the_schedule(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    config = TrainConfig(epochs=4, batch_rows=8, learning_rate=1e-3, head_multiplier=2.0, warmup=0.25, precision="fp32")
    events: list = []
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path, events=events)
    steps = [event.values["learning_rate"] for event in events if "learning_rate" in getattr(event, "values", {})]
    expected = [2e-3 * factor(s, 12, schedule="linear", warmup=0.25) for s in range(12)]
    assert steps == pytest.approx(expected)


def test_schedule_free_warms_up(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """Its first steps are as short as the warm-up says, so after one step the weights have hardly moved."""

    def moved(warmup: float) -> float:
        config = TrainConfig(
            optimizer="schedule-free", learning_rate=1e-2, warmup=warmup, epochs=20, batch_rows=24, precision="fp32",
            clip=None,
        )  # fmt: skip
        events: list = []
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / str(warmup), events=events)
        losses = [event.values["loss"] for event in events if "loss" in getattr(event, "values", {})]
        return abs(losses[1] - losses[0])

    assert moved(0.9) < 0.3 * moved(0.0)


def test_lion_is_the_sign_of_the_interpolated_momentum():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    lion = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    momentum, expected = [0.0] * 3, weight.tolist()
    for grads in ([1.0, -1.0, 0.5], [-0.05, -1.0, 0.0], [-1.0, 2.0, -8.0]):
        weight.grad = torch.tensor(grads)
        lion.step()
        for i, grad in enumerate(grads):
            sign = math.copysign(1, 0.9 * momentum[i] + 0.1 * grad)
            expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * sign
            momentum[i] = 0.99 * momentum[i] + 0.01 * grad
    assert weight.tolist() == pytest.approx(expected)


def one_weight(dtype: torch.dtype, value: float = 1.0) -> tuple[torch.nn.Parameter, Masters, list[ParameterGroup]]:
    weight = torch.nn.Parameter(torch.full((4,), value, dtype=dtype))
    groups = [ParameterGroup(["w"], [weight], 1.0, False)]
    return weight, Masters(groups), groups


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_smaller_than_the_resolution_is_not_lost(dtype):
    weight, masters, groups = one_weight(dtype)
    config = TrainConfig(optimizer="sgd", learning_rate=1e-4)
    optimizer = build_optimizer(groups, masters, config, 1e-4)
    for group in optimizer.param_groups:
        group["momentum"] = group["nesterov"] = 0
    assert (weight.detach() - 1e-4).eq(weight.detach()).all()  # the weight itself cannot hold such a step
    for _ in range(100):
        weight.grad = torch.ones_like(weight)
        masters.collect()
        assert weight.grad is None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        masters.publish()
    assert masters.full[0].tolist() == pytest.approx([0.99] * 4, rel=1e-5)
    assert weight.float().tolist() == pytest.approx([0.99] * 4, abs=0.004)


def test_full_precision_needs_no_copies():
    weight, masters, _ = one_weight(torch.float32)
    assert masters.full[0] is weight


def test_gradients_of_micro_batches_add_up_in_32_bits():
    weight, masters, _ = one_weight(torch.bfloat16)
    for _ in range(1000):  # in bf16 the sum would stick at 256
        weight.grad = torch.ones_like(weight)
        masters.collect()
    assert masters.full[0].grad.tolist() == [1000.0] * 4


def test_loss_scale_halves_on_overflow_and_doubles_after_calm():
    scale = LossScale(torch.float16, growth_interval=3)
    assert scale.value == 4096
    scale.update(overflowed=True)
    assert scale.value == 2048
    for _ in range(3):
        scale.update(overflowed=False)
    assert scale.value == 4096
    scale.update(overflowed=False)
    scale.update(overflowed=True)
    assert (scale.value, scale.calm) == (2048, 0)
    for _ in range(20):
        scale.update(overflowed=True)
    assert scale.value == 1.0 and not scale.can_shrink
    plain = LossScale(torch.bfloat16)
    plain.update(overflowed=True)
    assert plain.value == 1.0 and not plain.can_shrink


def overflowing(monkeypatch, *, steps: int) -> None:
    """Make the losses of the first steps so large that their gradients overflow."""
    genuine, calls = SequenceTrainer.loss, []

    def loss(self, model, batch):
        total, weight = genuine(self, model, batch)
        calls.append(1)
        return (total * 1e37 if len(calls) <= steps else total), weight

    monkeypatch.setattr(SequenceTrainer, "loss", loss)


def test_fp16_skips_steps_that_overflow_and_goes_on(monkeypatch, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    overflowing(monkeypatch, steps=3)
    config = TrainConfig(epochs=2, batch_rows=6, learning_rate=1e-3, precision="fp16", checkpoint_seconds=0)
    events: list = []
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path, events=events)
    norms = [event.values["norm"] for event in events if "norm" in getattr(event, "values", {})]
    assert [math.isfinite(norm) for norm in norms] == [False] * 3 + [True] * 5
    assert all(torch.isfinite(tensor).all() for tensor in result.model.state_dict().values())


def test_other_precisions_say_that_training_diverged(monkeypatch, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    overflowing(monkeypatch, steps=100)
    config = TrainConfig(epochs=2, batch_rows=6, learning_rate=1e-3, precision="fp32", label_smoothing=0.0)
    with pytest.raises(CapabilityError, match="the gradient of step 1 is not finite"):
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_averaged_weights_follow_the_formula():
    weight, masters, _ = one_weight(torch.float32, 0.0)
    ema, expected = Ema(masters, 0.9), 0.0
    for step in range(200):
        with torch.no_grad():
            weight.fill_(float(step))
        ema.update(masters, step)
        if step < 100 or step % 4 == 0:
            decay = min(0.9, (1 + step) / (10 + step)) ** (1 if step < 100 else 4)
            expected = decay * expected + (1 - decay) * step
    assert ema.values[0].tolist() == pytest.approx([expected] * 4, rel=1e-5)


def test_adamw_divides_gradients_as_if_they_had_been_scaled():
    settings = TrainConfig(learning_rate=1e-2)
    results = []
    for scaled_before in (True, False):
        _, masters, groups = one_weight(torch.float32, 1.0)
        optimizer = build_optimizer(groups, masters, settings, 1e-2)
        assert divides_gradients(optimizer)
        for step in range(3):
            masters.full[0].grad = torch.full((4,), 8.0 + step) * (0.25 if scaled_before else 1.0)
            if not scaled_before:
                optimizer.grad_scale = torch.tensor(4.0)
            optimizer.step()
        results.append(masters.full[0].tolist())
    assert results[0] == results[1] and results[0] != [1.0] * 4
    others = [
        build_optimizer(groups, masters, TrainConfig(optimizer=name), 1e-2) for name in ("sgd", "adafactor", "lion")
    ]
    assert not any(map(divides_gradients, others))


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("adamw", 2e-4), ("schedule-free", 6e-4), ("lion", 6e-5), ("adafactor", 6e-3), ("sgd", 0.1)]
)
def test_the_default_rate_suits_the_optimizer(tiny_task, tiny_splits, tiny_pretrained, tmp_path, optimizer, rate):
    config = TrainConfig(optimizer=optimizer, epochs=6, head_start="random")
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path)
    assert result.config.learning_rate == pytest.approx(rate)
    losses = [entry["loss"] for entry in result.history[1:]]
    assert losses[-1] < losses[0]


def test_the_default_rate_goes_with_the_width_the_method_and_the_number_of_texts(task_rows, text_settings, tiny_task):
    rows, roles = task_rows("text-pair")
    pair = TextPair.from_rows(rows, roles, text_settings)

    def rate(config, task=tiny_task, width=384):
        return resolve_train(config, task, num_rows=100, width=width).learning_rate

    assert rate(TrainConfig(), width=768) == pytest.approx(1e-4)
    assert rate(TrainConfig(method="lora")) == pytest.approx(1e-3)
    assert rate(TrainConfig(), pair) == pytest.approx(1e-4)
    assert rate(TrainConfig(learning_rate=3e-5), pair) == 3e-5
