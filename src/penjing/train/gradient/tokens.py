"""Learns spans: begin and end scores of every token and label, and scores of token pairs.

The scores are those of `tasks/span_decoding.py`; the loss is multi-label cross-entropy in its zero-bounded log-sum-exp
form (Su et al. 2022, "ZLPR"), which does not drown the few spans of a text among its thousands of pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.core.task import Task
from penjing.models.encoder import load_encoder
from penjing.models.pretrained import Pretrained
from penjing.train.config import TrainConfig

PAIR_WIDTH = 64
INITIAL_BIAS = -4.0
# Added to pairs that are no span at all; far below any real score, and representable in 16 bits.
NEVER = -1e4


class SpanHead(nn.Module):
    """Token vectors → begin and end scores a label, and pair scores.

    Args:
        width: H, of a token's vector.
        num_labels: C.
        max_span_tokens: K, tokens of the longest span.
    """

    def __init__(self, width: int, num_labels: int, max_span_tokens: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.max_span_tokens = max_span_tokens
        self.borders = nn.Linear(width, 2 * num_labels)
        self.query = nn.Linear(width, PAIR_WIDTH)
        self.key = nn.Linear(width, PAIR_WIDTH)
        self.by_length = nn.Parameter(torch.zeros(max_span_tokens))
        # A span is rare: begin far below zero, so that the first steps need not push thousands of scores down.
        nn.init.constant_(self.borders.bias, INITIAL_BIAS)

    def forward(self, hidden_BLH: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L, H] → logits [B, L, C, 2], pairs [B, L, L]."""
        batch, length, _ = hidden_BLH.shape
        logits_BLC2 = self.borders(hidden_BLH).view(batch, length, self.num_labels, 2)
        scores_BLL = self.query(hidden_BLH) @ self.key(hidden_BLH).transpose(1, 2) * PAIR_WIDTH**-0.5
        place_L = torch.arange(length, device=hidden_BLH.device)
        distance_LL = place_L[None, :] - place_L[:, None]
        known_LL = (distance_LL >= 0) & (distance_LL < self.max_span_tokens)
        bias_LL = self.by_length[distance_LL.clamp(0, self.max_span_tokens - 1)]
        bias_LL = torch.where(known_LL, bias_LL, torch.full_like(bias_LL, NEVER))
        return logits_BLC2, scores_BLL + bias_LL


class TokenModel(nn.Module):
    """Encoder → `SpanHead`."""

    def __init__(self, encoder: nn.Module, num_labels: int, max_span_tokens: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SpanHead(encoder.hidden_size, num_labels, max_span_tokens)
        self.dropout = dropout

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"logits": [B, L, C, 2], "pairs": [B, L, L]}."""
        hidden_BLH = self.encoder(batch["input_ids"], batch.get("attention_mask"))
        hidden_BLH = F.dropout(hidden_BLH, self.dropout, self.training)
        logits_BLC2, pairs_BLL = self.head(hidden_BLH)
        return {"logits": logits_BLC2, "pairs": pairs_BLL}


class TokenTrainer:
    """A `GradientTrainer`; see `train/protocol.py`."""

    batch_coupled = False

    def build_model(self, task: Task, pretrained: Pretrained, config: TrainConfig, seed: int) -> nn.Module:
        """A pretrained encoder and a fresh head, the same for the same seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = load_encoder(pretrained, dropout=config.dropout, checkpointing=config.activation_checkpointing)
            return self.assemble(task, encoder, config.dropout)

    def assemble(self, task: Task, encoder: nn.Module, dropout: float = 0.0) -> TokenModel:
        """An encoder under a fresh head of the task's size."""
        return TokenModel(encoder, len(task.labels), task.max_span_tokens, dropout)  # type: ignore[attr-defined]

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum over the windows of the loss, averaged over labels, and the number of windows."""
        outputs = model(batch)
        scores_BCLK = band_scores(outputs["logits"].float(), outputs["pairs"].float(), model.head.max_span_tokens)
        real_BL = batch["offsets"][:, :, 0] >= 0
        losses_BC = zlpr(scores_BCLK, real_band(real_BL, scores_BCLK.shape[-1]), batch["targets"])
        weight = torch.tensor(float(len(losses_BC)), device=losses_BC.device)
        return losses_BC.mean(1).sum(), weight


def band_scores(logits_BLC2: Tensor, pairs_BLL: Tensor, max_span_tokens: int) -> Tensor:
    """[B, C, L, K]: score of the span of label c that begins at token l and has k + 1 tokens."""
    return span_scores(logits_BLC2, band(pairs_BLL, max_span_tokens))


def band(pairs_BLL: Tensor, max_span_tokens: int) -> Tensor:
    """[B, L, K]: of scores of each two tokens those of a token and the k-th behind it; beyond the end the last's."""
    length = pairs_BLL.shape[1]
    ends_LK = _ends(length, min(max_span_tokens, length), pairs_BLL.device)
    return pairs_BLL.gather(2, ends_LK.expand(len(pairs_BLL), -1, -1))


def span_scores(logits_BLC2: Tensor, pairs_BLK: Tensor) -> Tensor:
    """[B, C, L, K]: as `band_scores`, of a band."""
    ends_LK = _ends(*pairs_BLK.shape[1:], pairs_BLK.device)
    begins_BCL1 = logits_BLC2[..., 0].transpose(1, 2).unsqueeze(-1)
    ends_BCLK = logits_BLC2[..., 1].transpose(1, 2)[:, :, ends_LK]
    return pairs_BLK.unsqueeze(1) + begins_BCL1 + ends_BCLK


def _ends(length: int, width: int, device: torch.device) -> Tensor:
    """[L, K]: last token of the span that begins at token l and has k + 1 of them, within the text."""
    found = torch.arange(length, device=device)[:, None] + torch.arange(width, device=device)
    return found.clamp(max=length - 1)


def real_band(real_BL: Tensor, width: int) -> Tensor:
    """[B, L, K] bool: both ends of the span are tokens with characters."""
    length = real_BL.shape[1]
    ends_LK = torch.arange(length, device=real_BL.device)[:, None] + torch.arange(width, device=real_BL.device)
    inside_LK = ends_LK < length
    return real_BL.unsqueeze(-1) & real_BL[:, ends_LK.clamp(max=length - 1)] & inside_LK


def zlpr(scores_BCLK: Tensor, allowed_BLK: Tensor, targets_BP3: Tensor) -> Tensor:
    """[B, C] losses: log(1 + sum over true spans of e^-s) + log(1 + sum over all others of e^s) (ZLPR, eq. 8).

    Args:
        scores_BCLK: span scores.
        allowed_BLK: spans that can be at all.
        targets_BP3: first token, last token, label; rows of -1 are padding.
    """
    batch, num_labels, length, width = scores_BCLK.shape
    first_BP, last_BP, label_BP = targets_BP3.unbind(-1)
    real_BP = first_BP >= 0
    row_BP = torch.arange(batch, device=scores_BCLK.device)[:, None].expand_as(first_BP)
    at = (row_BP[real_BP], label_BP[real_BP], first_BP[real_BP], (last_BP - first_BP)[real_BP])
    true_BCLK = torch.zeros_like(scores_BCLK, dtype=torch.bool)
    true_BCLK[at] = True
    others = scores_BCLK.masked_fill(true_BCLK | ~allowed_BLK.unsqueeze(1), -torch.inf)
    positive = (-scores_BCLK).masked_fill(~true_BCLK, -torch.inf)
    zero = scores_BCLK.new_zeros(batch, num_labels, 1)
    flat = (batch, num_labels, length * width)
    return torch.logsumexp(torch.cat([zero, others.reshape(flat)], -1), -1) + torch.logsumexp(
        torch.cat([zero, positive.reshape(flat)], -1), -1
    )
