"""A product with a matrix of low rank, kept as the two narrow matrices that it is the product of."""

from __future__ import annotations

from torch import Tensor, nn


class Factored(nn.Module):
    """What stands where an `nn.Linear` was: R · (in + out) weights instead of in · out.

    Args:
        in_features: width of what comes in.
        out_features: width of what goes out.
        rank: R, the width between.
    """

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, rank, bias=False)
        self.second = nn.Linear(rank, out_features)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] → [..., out]."""
        return self.second(self.first(inputs))

    @property
    def in_features(self) -> int:
        """Width of what comes in."""
        return self.first.in_features

    @property
    def out_features(self) -> int:
        """Width of what goes out."""
        return self.second.out_features

    @property
    def weight(self) -> Tensor:
        """[out, in]: the one matrix that the two amount to, for whoever reads a layer's weights."""
        return self.second.weight @ self.first.weight

    @property
    def bias(self) -> Tensor:
        """[out]."""
        return self.second.bias


class FactoredWords(nn.Module):
    """A vocabulary of narrow vectors, and the matrix that widens them (Lan et al. 2020, section 3.1).

    Args:
        table: [V, R] vectors.
        width: H, of a token's vector.
    """

    def __init__(self, table: nn.Embedding, width: int) -> None:
        super().__init__()
        self.table = table
        self.widen = nn.Linear(table.embedding_dim, width, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """[B, L] ids → [B, L, H]."""
        return self.widen(self.table(input_ids).to(self.widen.weight.dtype))

    @property
    def weight(self) -> Tensor:
        """[V, H]: the vocabulary's vectors, all of them."""
        return self.table.weight.to(self.widen.weight.dtype) @ self.widen.weight.T
