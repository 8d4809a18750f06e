"""How long continued pretraining will take, reckoned from the speed at which rows are encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penjing.data.prepare import Prepared
from penjing.models.pretrained import Pretrained
from penjing.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from penjing.train.config import PretrainConfig

PASSES_A_STEP = 3  # forward, and backward for the gradients of activations and of weights; no layer is frozen


def pretraining_minutes(prepared: Prepared, pretrained: Pretrained, config: PretrainConfig, rows_per_s: float) -> float:
    """Minutes of masked language modelling, 0 where none is asked for.

    Args:
        prepared: its training rows and unlabelled rows are passed over.
        pretrained: the model that goes on being pretrained.
        config: passes, and the share of tokens that is hidden.
        rows_per_s: rows a second that the model encodes, forward only.
    """
    if not config.epochs:
        return 0.0
    rows = len(prepared.splits.train) + len(prepared.unlabelled.rows)
    table = load_tokenizer(pretrained.directory / "tokenizer.json").get_vocab_size() * pretrained.dimension
    # Hidden tokens are scored against the whole vocabulary, whose table is frozen: forward, and backward once.
    scores = 2 * config.mask_probability * table / max(1, pretrained.parameters - table)
    return rows * config.epochs * (PASSES_A_STEP + scores) / rows_per_s / 60
