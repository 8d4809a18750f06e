"""Masked language modelling: hide some tokens, predict them (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.models.tokenizer import load_tokenizer

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


@dataclass(frozen=True)
class MaskToken:
    """What stands for a hidden token, and which tokens are never hidden.

    Args:
        mask_id: id of the mask token.
        special_ids: ids never hidden.
    """

    mask_id: int
    special_ids: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer_file: Path) -> MaskToken | None:
        """Of a tokenizer; None where it has no mask token."""
        tokenizer = load_tokenizer(tokenizer_file)
        mask_id = next((i for t in MASK_TOKENS if (i := tokenizer.token_to_id(t)) is not None), None)
        if mask_id is None:
            return None
        specials = [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
        return cls(mask_id, tuple(specials))

    def choose(self, ids_BL: Tensor, mask: Tensor | None, probability: float) -> Tensor:
        """[B, L] bool: a random share of the tokens, specials and padding left out."""
        chosen_BL = torch.rand(ids_BL.shape, device=ids_BL.device) < probability
        chosen_BL &= ~torch.isin(ids_BL, torch.tensor(self.special_ids, dtype=ids_BL.dtype, device=ids_BL.device))
        return chosen_BL if mask is None else chosen_BL & mask.bool()

    def hide(self, ids_BL: Tensor, mask: Tensor | None, probability: float) -> Tensor:
        """The ids with a random share of the tokens hidden."""
        return ids_BL.masked_fill(self.choose(ids_BL, mask, probability), self.mask_id)


class MaskedTrainer:
    """A `GradientTrainer` over unlabelled texts.

    Args:
        token: the tokenizer's mask token.
        probability: share of tokens hidden.
    """

    batch_coupled = False

    def __init__(self, token: MaskToken, probability: float) -> None:
        self.token = token
        self.probability = probability

    def loss(self, model: MaskedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum of cross-entropies over hidden tokens, and their number."""
        # The texts of pairs stand on an axis of their own; here each is a text like any other.
        ids_BL, mask = (x if x is None else x.flatten(0, -2) for x in (batch["input_ids"], batch.get("attention_mask")))
        hidden_BL = self.token.choose(ids_BL, mask, self.probability)
        corrupted_BL = self._corrupt(ids_BL, hidden_BL, model.bias.shape[0])
        vectors_BLH = model.encoder(corrupted_BL, mask)
        scores_MV = model.scores(vectors_BLH[hidden_BL])
        scores_MV = scores_MV.to(torch.promote_types(scores_MV.dtype, torch.float32))
        return F.cross_entropy(scores_MV, ids_BL[hidden_BL], reduction="sum"), hidden_BL.sum()

    def _corrupt(self, ids_BL: Tensor, hidden_BL: Tensor, vocabulary: int) -> Tensor:
        """Of the hidden tokens 80% become the mask, 10% another token, 10% stay, as in BERT."""
        draw_BL = torch.rand(ids_BL.shape, device=ids_BL.device)
        random_BL = torch.randint(vocabulary, ids_BL.shape, device=ids_BL.device)
        masked_BL = ids_BL.masked_fill(hidden_BL & (draw_BL < 0.8), self.token.mask_id)
        return torch.where(hidden_BL & (draw_BL >= 0.8) & (draw_BL < 0.9), random_BL, masked_BL)
