"""A linear model over single tokens and pairs of neighbours, as a part of the network that the encoder shares.

An encoder of 384 numbers blurs what a bag of words keeps: a name, a code, a rare turn of phrase, a text it has seen
before. Together the two make fewer errors than either ("wide and deep", Cheng et al. 2016). It reads token ids, so that
the exported model stays one graph that any runtime of ONNX runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FACTOR, PRIME = 1_000_003, 2**31 - 1  # of a polynomial hash; ids below 2^31 stay within 64 bits
LEAST_SQUARE = 1e-6  # of a row in which nothing is known
SLOTS_A_FEATURE = 8  # so that few features want the slot of another; the rarer of two is then not learned
MIN_SLOTS, MAX_SLOTS = 2**12, 2**22  # 16 KB and 16 MB


def token_hashes(ids_BL: Any) -> tuple[Any, Any]:
    """[B, L] ids → hashes in [0, 2^31 - 1) of each token, [B, L], and of each pair of neighbours, [B, L - 1].

    Tensors or arrays of int64; the same numbers either way.
    """
    single_BL = (ids_BL * FACTOR + 1) % PRIME
    return single_BL, (single_BL[:, :-1] * FACTOR + ids_BL[:, 1:] + 2) % PRIME


def num_slots(num_features: int) -> int:
    """Slots that so many features are spread over: a power of two."""
    wanted = 2 ** int(np.ceil(np.log2(max(1, SLOTS_A_FEATURE * num_features))))
    return int(np.clip(wanted, MIN_SLOTS, MAX_SLOTS))


class NgramScores(nn.Module):
    """Token ids → [B, C] scores of C linear models over a TF-IDF vector of the text.

    With c occurrences of a feature the vector has c · idf there, over the root of the sum of c · idf² of all features.
    What repeats the one before it ("哈哈哈哈") does not occur again. Features that were not learned count nowhere.

    Args:
        slots: [S] int32, S a power of two: which feature a hash modulo S may stand for; 0: none.
        hashes: [F + 1] int64: the hash that a feature does stand for; -1 for feature 0, which is none.
        table: [F + 1, C + 1] float16, a row a feature: its idf times each class's weight, then idf²; row 0 is zeros.
        bias: [C] float32.
        old_ids: [V] int64: the id that each token had when the features were learned, where the vocabulary was pruned
            since; None: the same.
    """

    slots: Tensor
    hashes: Tensor
    table: Tensor
    bias: Tensor
    old_ids: Tensor | None

    def __init__(
        self, slots: Tensor, hashes: Tensor, table: Tensor, bias: Tensor, old_ids: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("slots", slots)
        self.register_buffer("hashes", hashes)
        self.register_buffer("table", table)
        self.register_buffer("bias", bias)
        self.register_buffer("old_ids", old_ids)

    def strongest(self, most: int) -> NgramScores:
        """One with the features alone that say most: weights squared, times how common the feature was.

        What is left out counts nowhere, as if it had not been learned. Where two want the same of fewer slots the
        weaker is left out, too.

        Args:
            most: features, at most.
        """
        rows, square = self.table[1:, :-1].float(), self.table[1:, -1].float()
        worth_F = rows.square().sum(1) * torch.exp(-square.clamp(min=0).sqrt())  # idf is 1 - log of the share of texts
        chosen = worth_F.argsort(descending=True, stable=True)[:most] + 1
        slots = torch.zeros(num_slots(len(chosen)), dtype=torch.int32)
        wanted = (self.hashes[chosen] % len(slots)).numpy()
        _, first = np.unique(wanted, return_index=True)  # the strongest of each slot, for they are in that order
        kept = chosen[torch.from_numpy(np.sort(first))]
        slots[self.hashes[kept] % len(slots)] = torch.arange(1, len(kept) + 1, dtype=torch.int32)
        places = torch.cat([torch.zeros(1, dtype=torch.long), kept])
        old_ids = None if self.old_ids is None else self.old_ids.clone()
        return NgramScores(slots, self.hashes[places], self.table[places], self.bias.clone(), old_ids)

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> NgramScores:
        """What `to`, `float` and the like do to each tensor: they change the device alone.

        The encoder beside it may be trained again, in other bits; this part is finished, and its numbers stay.
        """
        for name, tensor in self.named_buffers(recurse=False):
            setattr(self, name, tensor.to(function(tensor.new_empty(0)).device))
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[B, L] ids, and 1 for tokens and 0 for padding (None: nothing is padded), → [B, C]."""
        if self.old_ids is not None:
            input_ids = self.old_ids[input_ids]
        found: list[Tensor] = []
        for skipped, hashes in enumerate(token_hashes(input_ids)):
            features = self.slots[hashes % len(self.slots)].long()
            features = features * (self.hashes[features] == hashes)
            if attention_mask is not None:
                features = features * attention_mask[:, skipped:]
            found += [features[:, :1], features[:, 1:] * (hashes[:, 1:] != hashes[:, :-1])]
        total_BC1 = self.table[torch.cat(found, 1)].float().sum(1)
        return total_BC1[:, :-1] / total_BC1[:, -1:].clamp(min=LEAST_SQUARE).sqrt() + self.bias


def blank_ngrams(num_features: int, num_classes: int) -> NgramScores:
    """One of that size that scores everything 0: it costs what a fitted one will."""
    return NgramScores(
        torch.zeros(num_slots(num_features), dtype=torch.int32),
        torch.full((num_features + 1,), -1),
        torch.zeros(num_features + 1, num_classes + 1, dtype=torch.float16),
        torch.zeros(num_classes),
    )
