"""Settings of the train stage. The defaults are the expert's choice; docs/decisions/ says how they were frozen."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from penjing.train.direct.config import DirectConfig


class AdapterConfig(BaseModel):
    """Low-rank and scaling adapters (LoRA, DoRA, IA³), merged into the weights when training ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(16, ge=1, le=512, description="Rank of the update (LoRA, DoRA).")
    alpha: float = Field(32.0, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the update.")


class PretrainConfig(BaseModel):
    """Masked language modelling on the training texts and `data.unlabelled`, before fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(
        0, ge=0, le=100, description="Passes over the training texts and those of data.unlabelled; 0: none."
    )
    mask_probability: float = Field(0.15, gt=0, lt=1, description="Share of tokens hidden (Devlin et al. 2019).")
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate.")


class TrainConfig(BaseModel):
    """How the model is fine-tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["full", "last-k", "lora", "dora", "ia3", "probe"] = Field("full", description="What is trained.")
    last_k: int = Field(2, ge=1, le=64, description="With method last-k: how many of the last layers are trained.")
    adapter: AdapterConfig = Field(default_factory=lambda: AdapterConfig(), description="With lora, dora, ia3.")
    frozen_layers: int | None = Field(
        None, ge=0, le=64, description="With method full: lowest layers left as they are; None: a third of them."
    )
    train_embeddings: bool = Field(False, description="Also train the word embeddings (slower, rarely better).")
    head_start: Literal["probe", "random"] = Field(
        "probe", description="Start the head from a linear probe of the frozen encoder (LP-FT, Kumar et al. 2022)."
    )
    max_length: int | None = Field(None, ge=8, le=8192, description="Tokens kept of a text; None: 256 or the model's.")
    epochs: float | None = Field(None, gt=0, le=1000, description="Passes over the training rows; None: by size.")
    batch_rows: int = Field(32, ge=1, le=4096, description="Rows of one optimizer step, at most.")
    batch_tokens: int = Field(4096, ge=16, description="Tokens of one forward pass, padding included, at most.")
    accumulation: int = Field(1, ge=1, le=1024, description="Batches whose gradients make one optimizer step.")
    optimizer: Literal["adamw", "sgd", "adafactor", "lion", "schedule-free"] = Field("adamw", description="Optimizer.")
    learning_rate: float | None = Field(
        None, gt=0, le=10, description="Peak learning rate; None: by method, width and optimizer."
    )
    head_multiplier: float = Field(3.0, gt=0, description="Learning rate of the head over that of the encoder.")
    layer_decay: float = Field(1.0, gt=0, le=1, description="Learning rate of a layer over that of the next one up.")
    weight_decay: float = Field(
        0.01, ge=0, description="Weight decay of matrices: decoupled, but with sgd a penalty in the gradient."
    )
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="After warm-up.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    clip: float | None = Field(1.0, gt=0, description="Greatest norm of the gradient; None: no clipping.")
    precision: Literal["auto", "bf16", "fp16", "fp32", "fp64"] = Field(
        "auto", description="Of weights and activations in the passes; the optimizer keeps 32 bits. auto: measured."
    )
    activation_checkpointing: bool = Field(False, description="Recompute activations: less memory, a third slower.")
    loss: Literal["auto", "cross_entropy", "bce", "focal", "mse"] = Field("auto", description="auto: by task.")
    focal_gamma: float = Field(2.0, ge=0, description="With focal: how strongly easy rows are discounted.")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: inverse class frequency.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of the target spread over all classes.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Of the layers that are trained.")
    token_dropout: float = Field(0.0, ge=0, lt=1, description="Share of input tokens hidden while training.")
    rdrop: float = Field(0.0, ge=0, description="Weight of R-Drop's symmetric KL (Liang et al. 2021).")
    mixup: float = Field(0.0, ge=0, description="Beta parameter of mixup on pooled embeddings; 0: none.")
    ngrams: bool = Field(
        True, description="Mix in a linear model over tokens and their neighbours, in the likeliest share (not: probe)."
    )
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the averaged weights that are kept; 0: none.")
    early_stopping: int | None = Field(None, ge=1, description="Stop after this many evaluations with no gain.")
    evaluations: int = Field(1, ge=1, le=100, description="Evaluations on the validation rows in an epoch.")
    checkpoint_seconds: float = Field(30.0, ge=0, description="Least time between two checkpoints.")
    pretrain: PretrainConfig = Field(default_factory=lambda: PretrainConfig(), description="Before fine-tuning.")
    direct: DirectConfig = Field(default_factory=DirectConfig, description="Boosted trees and linear models.")
