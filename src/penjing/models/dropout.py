"""Dropout whose random numbers are drawn once.

Drawing random bits is 40% of an encoder's forward pass on a CPU. Here a pool of mask values is drawn when training
begins, and each call multiplies by a stretch of it that begins at a random place: one integer drawn instead of
millions. Neighbouring elements are as independent as before; two calls share a stretch only if their offsets collide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOL_SIZE = 1 << 22
_ALIGNMENT = 64  # elements; keeps the multiplied stretch on cache-line boundaries


class PooledDropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) from a pool of masks.

    Args:
        probability: share of elements set to 0; the others are scaled by 1 / (1 - probability).
        pool_size: mask values kept; larger inputs wrap around.
    """

    def __init__(self, probability: float, pool_size: int = POOL_SIZE) -> None:
        super().__init__()
        self.probability = probability
        self.pool_size = pool_size
        self._pool: Tensor | None = None

    def forward(self, tensor: Tensor) -> Tensor:
        """The same shape; unchanged outside training."""
        if not self.training or not self.probability:
            return tensor
        return tensor * self._mask(tensor)

    def _mask(self, tensor: Tensor) -> Tensor:
        count = tensor.numel()
        pool = self._ready(tensor, count)
        limit = (pool.numel() - count) // _ALIGNMENT + 1
        offset = int(torch.randint(limit, ())) * _ALIGNMENT
        return pool[offset : offset + count].view(tensor.shape)

    def _ready(self, tensor: Tensor, count: int) -> Tensor:
        """The pool in the tensor's dtype and place, at least twice as long as the tensor."""
        wanted = max(self.pool_size, 2 * count)
        pool = self._pool
        if pool is None or pool.dtype != tensor.dtype or pool.device != tensor.device or pool.numel() < wanted:
            # A generator of its own: the pool must not depend on when it is first needed, or a resumed run, which
            # needs it first at another step, would draw other masks.
            generator = torch.Generator().manual_seed(0x5EED)
            kept = torch.rand(wanted, generator=generator) >= self.probability
            pool = (kept.float() / (1 - self.probability)).to(tensor.dtype).to(tensor.device)
            self._pool = pool
        return pool
