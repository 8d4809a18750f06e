"""Linear layers that round as int8 kernels will, and let gradients pass as if they did not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.compress.graph_file import LAST_SHARE

# Greatest magnitude of a weight in so many bits, as onnxruntime has it: its 7 bits (`reduce_range`) are -64 to 64.
LIMITS = {7: 64, 8: 127}
_SHRINK = 0.01  # of the way to a batch's own range, a step, where it is narrower than the range so far


class FakeQuantized(nn.Linear):
    """A linear layer in whose place static int8 will stand (Jacob et al. 2018, section 3).

    Weights are rounded symmetrically, a scale an output; inputs to 8 bits between the least and the greatest value met.
    Rounding has the gradient of the identity, and none where an input was cut off (Bengio et al. 2013).

    Args:
        linear: gives weight and bias, which are shared.
        bits: of a weight, 7 or 8.
    """

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.bits = bits
        self.observing = False
        # A parameter without a gradient: checkpoints hold the optimizer's parameters and nothing else, and a run that
        # was killed has to go on with the range it had.
        self.range = nn.Parameter(torch.zeros(2, device=linear.weight.device))

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> FakeQuantized:
        """What `to` and the like do to each tensor: of the range they change the device alone."""
        kept = self.range.data
        super()._apply(function, recurse)
        self.range.data = kept.to(self.range.device)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] → [..., out]; the range is that of all inputs observed, or in training of the latest."""
        if self.training or self.observing:
            self._observe(inputs.detach())
        return F.linear(self._rounded(inputs), rounded_weight(self.weight, self.bits), self.bias)

    @torch.no_grad()
    def _observe(self, inputs: Tensor) -> None:
        low, high = (bound.float() for bound in inputs.aminmax())
        # It grows at once and shrinks slowly, as the extremes over many batches would.
        share = 0.0 if self.observing else _SHRINK
        low = torch.minimum(low, torch.lerp(self.range[0], low, share)).clamp(max=0)
        high = torch.maximum(high, torch.lerp(self.range[1], high, share)).clamp(min=0)
        self.range.copy_(torch.stack([low, high]))

    def _rounded(self, inputs: Tensor) -> Tensor:
        low, high = self.range.detach().unbind()
        scale = ((high - low) / 255).clamp(min=torch.finfo(torch.float32).tiny)
        zero_point = (-low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(inputs, scale, zero_point, 0, 255)


def rounded_weight(weight_OI: Tensor, bits: int) -> Tensor:
    """The weights that int8 kernels will multiply by; the gradient is the identity's.

    Args:
        weight_OI: a row an output.
        bits: 7 or 8.
    """
    limit = LIMITS[bits]
    scale_O = weight_OI.detach().float().abs().amax(1) / limit
    scale_O = torch.where(scale_O < torch.finfo(torch.float32).tiny, 1.0, scale_O)
    zeros_O = torch.zeros_like(scale_O, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight_OI, scale_O, zeros_O, 0, -limit, limit)


def insert(model: nn.Module, bits: int) -> list[FakeQuantized]:
    """Put one in the place of every linear layer that static int8 rounds, and return them: a small head stays as it is
    (`Graph.inner_products`), or what is learned is mostly an error that will not be there.
    """
    found = [(name, module) for name, module in model.named_modules() if type(module) is nn.Linear]
    size = {name: module.weight.numel() for name, module in found}
    of_head = {name for name in size if name.split(".")[0] == "head"}
    if sum(size[name] for name in of_head) <= LAST_SHARE * sum(size.values()):
        found = [(name, module) for name, module in found if name not in of_head]
    made = [(name, FakeQuantized(module, bits).train(module.training)) for name, module in found]
    for name, module in made:
        _put(model, name, module)
    return [module for _, module in made]


def remove(model: nn.Module) -> None:
    """Put plain linear layers with the same weights back."""
    for name, module in list(model.named_modules()):
        if isinstance(module, FakeQuantized):
            plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None, device="meta")
            plain.weight, plain.bias = module.weight, module.bias
            _put(model, name, plain.train(module.training))


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
