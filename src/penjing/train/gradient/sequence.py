"""Learns one vector of logits a text (or pair): classification, multi-label, regression, pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from penjing.core.task import Task
from penjing.models.encoder import load_encoder
from penjing.models.pretrained import Pretrained
from penjing.train.config import TrainConfig
from penjing.train.gradient.objective import Objective

_DEFAULT_LOSS = {"softmax": "cross_entropy", "sigmoid": "bce", None: "mse"}


class SequenceModel(nn.Module):
    """Encoder → mean over tokens → linear head.

    Mean pooling is what the sentence encoders of the catalog were pretrained with, so a linear probe already works.
    """

    def __init__(self, encoder: nn.Module, num_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.hidden_size, num_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def pool(self, batch: dict[str, Tensor]) -> Tensor:
        """[B, H]: mean of the token vectors that are not padding."""
        mask = batch.get("attention_mask")
        hidden_BLH = self.encoder(batch["input_ids"], mask, batch.get("token_type_ids"))
        if mask is None:
            return hidden_BLH.mean(1)
        mask_BL1 = mask.unsqueeze(-1).to(hidden_BLH.dtype)
        return (hidden_BLH * mask_BL1).sum(1) / mask_BL1.sum(1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """{"logits": [B, C]}."""
        return {"logits": self.head(self.pool(batch))}


class SequenceTrainer:
    """A `GradientTrainer`; see `train/protocol.py`."""

    batch_coupled = False

    def build_model(self, task: Task, pretrained: Pretrained, config: TrainConfig, seed: int) -> nn.Module:
        """A pretrained encoder and a zero head."""
        self.config = config
        self.objective = Objective(
            loss=_DEFAULT_LOSS[task.calibration] if config.loss == "auto" else config.loss,
            label_smoothing=config.label_smoothing,
            focal_gamma=config.focal_gamma,
        )
        encoder = load_encoder(pretrained, dropout=config.dropout, checkpointing=config.activation_checkpointing)
        return SequenceModel(encoder, max(1, len(task.labels)))

    def features(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """[B, H] inputs of the head, for a linear probe."""
        return model.pool(batch)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum over the rows and their number, with mixup and R-Drop where configured."""
        targets = batch["targets"]
        weight = torch.tensor(float(len(targets)), device=targets.device)
        pooled_BH = model.pool(batch)
        if self.config.mixup and len(targets) > 1:
            return self._mixup(model, pooled_BH, targets), weight
        logits_BC = model.head(pooled_BH)
        losses_B = self.objective.per_row(logits_BC, targets)
        if self.config.rdrop:
            again_BC = model.head(model.pool(batch))
            losses_B = (losses_B + self.objective.per_row(again_BC, targets)) / 2
            losses_B = losses_B + self.config.rdrop * self.objective.divergence(logits_BC, again_BC)
        return losses_B.sum(), weight

    def _mixup(self, model: nn.Module, pooled_BH: Tensor, targets: Tensor) -> Tensor:
        """Mix each row's embedding with another's and the losses likewise (Zhang et al. 2018)."""
        beta = torch.distributions.Beta(self.config.mixup, self.config.mixup)
        share = beta.sample().clamp(min=0.5, max=1.0).to(pooled_BH.dtype)
        other = torch.randperm(len(targets), device=targets.device)
        logits_BC = model.head(share * pooled_BH + (1 - share) * pooled_BH[other])
        own, mixed = self.objective.per_row(logits_BC, targets), self.objective.per_row(logits_BC, targets[other])
        return (share * own + (1 - share) * mixed).sum()


def num_parameters(model: nn.Module, trainable: bool = False) -> int:
    """Parameters of a model, or those that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def describe(model: nn.Module) -> dict[str, Any]:
    """Sizes for the report."""
    return {"parameters": num_parameters(model), "trainable": num_parameters(model, trainable=True)}
