"""What neighbouring tokens say together: a convolution over words, pooled (Kim 2014, "Convolutional neural networks for
sentence classification").

A mean of word vectors knows neither "not" before "arrived" nor that one word settles the matter. Products of three
neighbours, of which each feature's greatest is kept beside its mean, know both, and cost a twentieth of a transformer
block as wide as a usual encoder where the vectors are narrow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.models.padding import MASKED


class Phrases(nn.Module):
    """Vectors of tokens → one vector of the text, to be added to their mean; zero before it has learned anything.

    Args:
        width: of a token's vector, and of the result.
        features: of three neighbours.
    """

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.window = nn.Linear(3 * width, features)
        self.back = nn.Linear(2 * features, width)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)

    def forward(self, hidden_BLH: Tensor, mask_BL1: Tensor | None) -> Tensor:
        """[B, L, H] and 1 for tokens and 0 for padding (None: nothing is padded) → [B, H].

        Before the first token and behind the last stand zeros.
        """
        if mask_BL1 is not None:
            hidden_BLH = hidden_BLH * mask_BL1
        edge_B1H = torch.zeros_like(hidden_BLH[:, :1])
        wide_BLH = torch.cat([edge_B1H, hidden_BLH, edge_B1H], 1)
        three_BLW = torch.cat([wide_BLH[:, :-2], hidden_BLH, wide_BLH[:, 2:]], 2)
        found_BLF = F.relu(self.window(three_BLW))
        if mask_BL1 is None:
            mean_BF, most_BF = found_BLF.mean(1), found_BLF.amax(1)
        else:
            mean_BF = (found_BLF * mask_BL1).sum(1) / mask_BL1.sum(1)
            most_BF = (found_BLF + (mask_BL1 - 1) * -MASKED).amax(1)
        return self.back(torch.cat([mean_BF, most_BF], 1))
