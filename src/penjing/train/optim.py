"""Optimizers over 32-bit master weights, with a learning rate for each depth of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from penjing.core.errors import MissingExtraError
from penjing.train.config import TrainConfig


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning-rate multiplier.

    Args:
        names: for the checkpoint.
        parameters: as the model holds them.
        multiplier: learning rate over the run's.
        decay: whether weight decay applies (matrices, not biases and norms).
    """

    names: list[str]
    parameters: list[torch.nn.Parameter]
    multiplier: float
    decay: bool


def group_parameters(model: torch.nn.Module, *, head_multiplier: float, layer_decay: float) -> list[ParameterGroup]:
    """Group trainable parameters by depth and by whether they decay.

    The head learns at `head_multiplier`; layer i of n at `layer_decay ** (n - 1 - i)`; embeddings one deeper.
    Models declare depth by parameter name: "encoder.layers.<i>." or Hugging Face's ".layer.<i>.".
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    depth_of = {name: _depth(name) for name, _ in model.named_parameters()}
    num_layers = 1 + max((d for d in depth_of.values() if d is not None), default=-1)
    groups: dict[tuple[float, bool], ParameterGroup] = {}
    for name, parameter in named:
        depth = depth_of[name]
        if not name.startswith("encoder."):
            multiplier = head_multiplier
        else:
            multiplier = layer_decay ** (num_layers - 1 - (depth if depth is not None else -1))
        key = (multiplier, parameter.ndim > 1)
        group = groups.setdefault(key, ParameterGroup([], [], multiplier, parameter.ndim > 1))
        group.names.append(name)
        group.parameters.append(parameter)
    return list(groups.values())


def _depth(name: str) -> int | None:
    parts = name.split(".")
    for marker in ("layers", "layer"):
        if marker in parts:
            following = parts[parts.index(marker) + 1 : parts.index(marker) + 2]
            if following and following[0].isdigit():
                return int(following[0])
    return None


class Masters:
    """32-bit copies of low-precision parameters, which the optimizer updates.

    With 32- or 64-bit parameters the model's own tensors are used and nothing is copied. A bf16 weight cannot hold a
    step of 1e-4 of itself (it has 8 bits of mantissa), so without masters training stalls.
    """

    def __init__(self, groups: list[ParameterGroup]) -> None:
        self.low = [p for group in groups for p in group.parameters]
        self.full = [p if p.dtype in (torch.float32, torch.float64) else _copy(p) for p in self.low]

    def collect(self) -> None:
        """Add the gradients of the last backward pass to the masters' and clear the low ones."""
        for low, full in zip(self.low, self.full, strict=True):
            if low is full or low.grad is None:
                continue
            grad = low.grad.float()
            full.grad = grad if full.grad is None else full.grad.add_(grad)
            low.grad = None

    @torch.no_grad()
    def publish(self, values: Iterable[Tensor] | None = None) -> None:
        """Copy the masters (or other values, such as averaged weights) into the model."""
        for low, full in zip(self.low, values if values is not None else self.full, strict=True):
            if low is not full:
                low.copy_(full)


def _copy(parameter: Tensor) -> Tensor:
    return parameter.detach().float().clone().requires_grad_(True)


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023, algorithm 2)."""

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of all parameters with a gradient."""
        assert closure is None, "closures are not used by the loop"
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(torch.lerp(parameter.grad, momentum, beta1).sign_(), alpha=-group["lr"])
                momentum.lerp_(parameter.grad, 1 - beta2)


def build_optimizer(
    groups: list[ParameterGroup], masters: Masters, config: TrainConfig, lr: float
) -> torch.optim.Optimizer:
    """The configured optimizer over the master weights; each group keeps its peak as `peak_lr`."""
    full = iter(masters.full)
    settings = [
        {
            "params": [next(full) for _ in group.parameters],
            "lr": lr * group.multiplier,
            "peak_lr": lr * group.multiplier,
            "weight_decay": config.weight_decay if group.decay else 0.0,
        }
        for group in groups
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(settings, lr=lr, betas=(0.9, 0.999), fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=lr, momentum=0.9, nesterov=True)
    if config.optimizer == "adafactor":
        return torch.optim.Adafactor(settings, lr=lr)
    if config.optimizer == "lion":
        return Lion(settings, lr=lr)
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise MissingExtraError("schedulefree", "train") from None
    optimizer = AdamWScheduleFree(settings, lr=lr)
    optimizer.train()
    return optimizer


def divides_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it divides gradients by its attribute `grad_scale`, a 32-bit number, while it reads them."""
    first = optimizer.param_groups[0]["params"][0]
    return (
        isinstance(optimizer, torch.optim.AdamW) and bool(optimizer.defaults["fused"]) and first.dtype == torch.float32
    )


class Ema:
    """Exponential moving average of weights, warmed up so that early steps do not linger.

    Once it moves slowly, weights are folded in every fourth step: it passes over two copies of the model, and a step
    more or less is nothing to an average over a hundred.
    """

    INTERVAL = 4
    FOLLOWS_UNTIL = 100  # steps; short runs are averaged step by step

    def __init__(self, masters: Masters, decay: float) -> None:
        self.decay = decay
        self.values = [m.detach().clone() for m in masters.full]

    @torch.no_grad()
    def update(self, masters: Masters, step: int) -> None:
        """Fold in the weights after a step (0-based)."""
        interval = 1 if step < self.FOLLOWS_UNTIL else self.INTERVAL
        if step % interval:
            return
        decay = min(self.decay, (1 + step) / (10 + step)) ** interval
        torch._foreach_lerp_(self.values, [m.detach() for m in masters.full], 1 - decay)
