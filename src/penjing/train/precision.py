"""Low precision in the passes, 32 bits in the optimizer."""

from __future__ import annotations

import torch

from penjing.core.errors import CapabilityError
from penjing.core.runtime import Runtime, faster_dtype

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}


def choose_dtype(precision: str, device: str) -> torch.dtype:
    """The dtype of weights and activations; "auto" is measured on the device."""
    if precision == "auto":
        precision = faster_dtype(device)
    if precision == "fp16" and not device.startswith("cuda"):
        probe = torch.ones(8, 8, dtype=torch.float16, device=device)
        try:
            _ = probe @ probe
        except RuntimeError as error:
            raise CapabilityError(
                f"this device cannot multiply in fp16: {error}", where="train.precision", expected="bf16 or fp32"
            ) from None
    return DTYPES[precision]


def agree_dtype(precision: str, runtime: Runtime) -> torch.dtype:
    """`choose_dtype`, the same in all processes: where they measure differently, most decide."""
    dtype = choose_dtype(precision, runtime.device)
    if precision != "auto":
        return dtype
    candidates = (torch.float32, torch.bfloat16, torch.float16)
    votes = torch.tensor([float(dtype == candidate) for candidate in candidates], device=runtime.device)
    runtime.sum_over_ranks([votes])
    return candidates[int(votes.argmax())]


def dtype_name(dtype: torch.dtype) -> str:
    """The name a recipe gives it."""
    return next(name for name, known in DTYPES.items() if known == dtype)


class LossScale:
    """Dynamic loss scaling for fp16 (Micikevicius et al. 2018): halve on overflow, double after a calm stretch.

    Other dtypes have the exponent range of fp32, so their scale stays 1.
    """

    def __init__(self, dtype: torch.dtype, growth_interval: int = 500) -> None:
        self.enabled = dtype == torch.float16
        self.value = 2.0**12 if self.enabled else 1.0
        self.growth_interval = growth_interval
        self.calm = 0

    @property
    def can_shrink(self) -> bool:
        """Whether an overflow may be the scale's fault, so that a smaller one mends it."""
        return self.enabled and self.value > 1.0

    def update(self, overflowed: bool) -> None:
        """Adapt after a step."""
        if not self.enabled:
            return
        if overflowed:
            self.value, self.calm = max(1.0, self.value / 2), 0
        else:
            self.calm += 1
            if self.calm % self.growth_interval == 0:
                self.value *= 2
