"""What the frozen lowest layers say of every training row, computed once instead of once an epoch.

A layer that is not trained and drops nothing gives the same states in every epoch, so a third of the layers frozen is a
third of the work saved, forward and backward, for the price of keeping the states: width × tokens × 2 bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from penjing.core.events import Progress
from penjing.core.task import Table, Task
from penjing.train.batching import cut
from penjing.train.loop import to_tensors
from penjing.train.memory import free_bytes

_MAX_BYTES = 1_000_000_000
_SHARE_OF_RAM = 0.25


@dataclass(frozen=True)
class LowerStates:
    """States of all rows, end to end.

    Args:
        flat_TH: [T, H] of all tokens of all rows.
        starts: [N] first token of each row.
        lengths: [N] tokens of each row.
    """

    flat_TH: Tensor
    starts: np.ndarray
    lengths: np.ndarray

    def batch(self, positions: np.ndarray, width: int) -> Tensor:
        """[B, width, H] states of rows; what stands past a row's end is masked by whoever uses it."""
        place_BL = self.starts[positions][:, None] + np.minimum(np.arange(width), self.lengths[positions][:, None] - 1)
        return self.flat_TH[torch.from_numpy(place_BL)]


def can_keep(num_tokens: int, width: int, bytes_each: int) -> bool:
    """Whether the states of this many tokens are worth their memory."""
    needed = num_tokens * width * bytes_each
    return needed <= min(_MAX_BYTES, _SHARE_OF_RAM * free_bytes())


def compute_lower_states(model: nn.Module, task: Task, table: Table, device: str) -> Iterator[Progress | LowerStates]:
    """Yield progress, and last the states of the frozen layers of `model.encoder` for every row.

    Batches are cut the same way each time, so a resumed run computes bitwise the same states.
    """
    lengths = task.lengths(table.rows)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    order = np.argsort(lengths, kind="stable")
    flat_TH: Tensor | None = None
    done = 0
    for positions in cut(order, lengths, batch_rows=64, batch_tokens=8192):
        batch = to_tensors(task.encode([table.rows[i] for i in positions], training=True), device)
        with torch.no_grad():
            states_BLH = model.encoder.lower(batch["input_ids"], batch.get("attention_mask"))
        if flat_TH is None:
            flat_TH = torch.zeros(int(lengths.sum()), states_BLH.shape[-1], dtype=states_BLH.dtype, device=device)
        for row, position in enumerate(positions):
            start, length = int(starts[position]), int(lengths[position])
            flat_TH[start : start + length] = states_BLH[row, :length]
        done += len(positions)
        yield Progress("lower layers", done, len(table), "rows", note="states of the frozen layers, once")
    assert flat_TH is not None, "a table with no rows"
    yield LowerStates(flat_TH, starts, lengths)
