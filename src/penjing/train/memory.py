"""What training needs of memory, at least, and what it took."""

from __future__ import annotations

import sys

import psutil
import torch

from penjing.core.container import memory_left
from penjing.core.errors import CapabilityError

# Copies of each trained parameter: gradient, two moments of Adam, averaged and best weights. SGD and Lion keep one
# moment less, Adafactor almost none.
_MOMENTS = {"adamw": 2, "schedule-free": 2, "sgd": 1, "lion": 1, "adafactor": 0}


def least_bytes(model: torch.nn.Module, dtype: torch.dtype, *, optimizer: str, averaged: bool) -> int:
    """Bytes of weights, gradients and optimizer state: a lower bound, for activations come on top.

    Args:
        model: which of its parameters are trained decides.
        dtype: of the passes; the optimizer keeps 32 bits or more.
        optimizer: its name in the recipe.
        averaged: whether averaged weights are kept.
    """
    full = max(4, dtype.itemsize)
    # A frozen vocabulary may be kept in fewer bits than the passes have.
    weights = sum(
        p.numel() * (dtype.itemsize if p.requires_grad else min(p.element_size(), dtype.itemsize))
        for p in model.parameters()
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    masters = full if dtype.itemsize < 4 else 0
    best = full
    return weights + trained * (masters + full + _MOMENTS[optimizer] * full + averaged * full + best)


def require_memory(needed: int, *, free: int | None = None) -> None:
    """Refuse what clearly does not fit, before hours are spent on it.

    Args:
        needed: bytes, at least.
        free: bytes that may be used; None: as the system tells.

    Raises:
        CapabilityError: less is free.
    """
    free = free_bytes() if free is None else free
    if needed > free:
        raise CapabilityError(
            f"training this model needs at least {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free",
            where="train.method",
            next_step="use train.method lora, last-k or probe, or choose a smaller model (penjing models)",
        )


def free_bytes() -> int:
    """Memory this process may still take: what the system has, or what its container allows."""
    free, granted = int(psutil.virtual_memory().available), memory_left()
    return free if granted is None else min(free, granted)


def peak_rss_mb() -> float:
    """Greatest resident memory of this process so far, in MB (10^6 bytes)."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB on Linux
