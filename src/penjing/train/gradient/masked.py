"""Masked language modelling: hide some tokens, predict them (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASK_TOKENS = ("[MASK]", "<mask>")


class MaskedModel(nn.Module):
    """Encoder → transform → scores over the vocabulary, tied to the (frozen) word embeddings."""

    def __init__(self, encoder: nn.Module, word_embeddings: nn.Embedding) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.hidden_size
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(word_embeddings.num_embeddings))
        self._words = (word_embeddings,)  # a tuple, so that it is not registered twice

    def scores(self, hidden_MH: Tensor) -> Tensor:
        """[M, V] scores of M hidden tokens."""
        words = self._words[0].weight
        return F.linear(self.transform(hidden_MH), words.to(hidden_MH.dtype), self.bias)


class MaskedTrainer:
    """A `GradientTrainer` over unlabelled texts.

    Args:
        mask_id: id of the mask token.
        special_ids: ids never hidden.
        probability: share of tokens hidden.
    """

    batch_coupled = False

    def __init__(self, mask_id: int, special_ids: list[int], probability: float) -> None:
        self.mask_id = mask_id
        self.special_ids = torch.tensor(special_ids)
        self.probability = probability

    def loss(self, model: MaskedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of cross-entropies over hidden tokens, and their number."""
        ids_BL, mask = batch["input_ids"], batch.get("attention_mask")
        hidden_BL = choose_tokens(ids_BL, mask, self.special_ids, self.probability)
        corrupted_BL = self._corrupt(ids_BL, hidden_BL, model.bias.shape[0])
        vectors_BLH = model.encoder(corrupted_BL, mask)
        scores_MV = model.scores(vectors_BLH[hidden_BL]).float()
        return F.cross_entropy(scores_MV, ids_BL[hidden_BL], reduction="sum"), hidden_BL.sum().clamp(min=1)

    def _corrupt(self, ids_BL: Tensor, hidden_BL: Tensor, vocabulary: int) -> Tensor:
        """Of the hidden tokens 80% become the mask, 10% another token, 10% stay, as in BERT."""
        draw_BL = torch.rand(ids_BL.shape, device=ids_BL.device)
        random_BL = torch.randint(vocabulary, ids_BL.shape, device=ids_BL.device)
        masked_BL = torch.where(hidden_BL & (draw_BL < 0.8), torch.full_like(ids_BL, self.mask_id), ids_BL)
        return torch.where(hidden_BL & (draw_BL >= 0.8) & (draw_BL < 0.9), random_BL, masked_BL)


def choose_tokens(ids_BL: Tensor, mask: Tensor | None, special_ids: Tensor, probability: float) -> Tensor:
    """[B, L] bool: a random share of the tokens, specials and padding left out."""
    chosen_BL = torch.rand(ids_BL.shape, device=ids_BL.device) < probability
    chosen_BL &= ~torch.isin(ids_BL, special_ids.to(ids_BL.device))
    return chosen_BL if mask is None else chosen_BL & mask.bool()
