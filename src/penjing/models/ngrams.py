"""A linear model over single tokens and pairs of neighbours, as a part of the network that the encoder shares.

An encoder of 384 numbers blurs what a bag of words keeps: a name, a code, a rare turn of phrase, a text it has seen
before. Together the two make fewer errors than either ("wide and deep", Cheng et al. 2016). It reads token ids, so that
the exported model stays one graph that any runtime of ONNX runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

FACTOR, PRIME = 1_000_003, 2**31 - 1  # of a polynomial hash; ids below 2^31 stay within 64 bits
LEAST_SQUARE = 1e-6  # of a row in which nothing is known


def token_hashes(ids_BL: Any) -> tuple[Any, Any]:
    """[B, L] ids → hashes in [0, 2^31) of each token, [B, L], and of each pair of neighbours, [B, L - 1].

    Tensors or arrays of int64; the same numbers either way.
    """
    single_BL = (ids_BL * FACTOR + 1) % PRIME
    return single_BL, (single_BL[:, :-1] * FACTOR + ids_BL[:, 1:] + 2) % PRIME


class NgramScores(nn.Module):
    """Token ids → [B, C] scores: the TF-IDF vector of a text, of length 1, times the weights of C linear models.

    The square of a vector's length is taken as the sum of idf² over the places of its features; fitting does the same.

    Args:
        slots: [S] int32, S a power of two: which feature a hash modulo S stands for, 0 where none was learned.
        table: [F + 1, C + 1] float16, a row a feature: its idf times each class's weight, then idf²; row 0 is zeros.
        bias: [C] float32.
    """

    slots: Tensor
    table: Tensor
    bias: Tensor

    def __init__(self, slots: Tensor, table: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("slots", slots)
        self.register_buffer("table", table)
        self.register_buffer("bias", bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[B, L] ids, and 1 for tokens and 0 for padding (None: nothing is padded), → [B, C]."""
        features = [self.slots[hashes % len(self.slots)].long() for hashes in token_hashes(input_ids)]
        if attention_mask is not None:
            features = [features[0] * attention_mask, features[1] * attention_mask[:, 1:]]
        total_BC1 = self.table[torch.cat(features, 1)].float().sum(1)
        return total_BC1[:, :-1] / total_BC1[:, -1:].clamp(min=LEAST_SQUARE).sqrt() + self.bias
