"""Dropout whose random numbers are drawn once.

Drawing random bits is 40% of an encoder's forward pass on a CPU. Here a pool of mask values is drawn when training
begins, and each call multiplies by a stretch of it that begins at a random place: one integer drawn instead of
millions. Neighbouring elements are as independent as before; two calls share a stretch only if their offsets collide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOL_SIZE = 1 << 22
_SEED = 0x5EED
_ALIGNMENT = 64  # elements; keeps the multiplied stretch on cache-line boundaries


class PooledDropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) from a pool of masks.

    Args:
        probability: share of elements set to 0; the others are scaled by 1 / (1 - probability).
        pool_size: mask values drawn at a time; an input of more than half of it makes the pool grow.
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

    def add(self, residual: Tensor, tensor: Tensor) -> Tensor:
        """The residual plus the tensor after dropout, in one pass over both."""
        if not self.training or not self.probability:
            return residual + tensor
        return torch.addcmul(residual, tensor, self._mask(tensor))

    def _mask(self, tensor: Tensor) -> Tensor:
        count = tensor.numel()
        # Whole pools, twice the tensor at least. The length depends on this tensor alone: were it that of the pool so
        # far, which grows with the largest batch seen, a resumed run would draw from another range of offsets.
        length = -(-max(self.pool_size, 2 * count) // self.pool_size) * self.pool_size
        offset = int(torch.randint((length - count) // _ALIGNMENT + 1, ())) * _ALIGNMENT
        return self._pool_for(tensor, length)[offset : offset + count].view(tensor.shape)

    def _pool_for(self, tensor: Tensor, length: int) -> Tensor:
        """At least `length` mask values in the tensor's dtype and place."""
        pool = self._pool
        if pool is None or pool.dtype != tensor.dtype or pool.device != tensor.device:
            pool = tensor.new_empty(0)
        if pool.numel() < length:
            first, last = pool.numel() // self.pool_size, length // self.pool_size
            pool = torch.cat([pool, *(self._draw(i, tensor) for i in range(first, last))])
            self._pool = pool
        return pool

    def _draw(self, index: int, like: Tensor) -> Tensor:
        # A generator of its own: the pool must not depend on when it is first needed, or a resumed run, which needs it
        # first at another step, would draw other masks.
        generator = torch.Generator().manual_seed(_SEED + index)
        kept = torch.rand(self.pool_size, generator=generator) >= self.probability
        drawn = torch.zeros(self.pool_size, dtype=like.dtype)
        return drawn.masked_fill_(kept, 1 / (1 - self.probability)).to(like.device)
