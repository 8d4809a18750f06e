"""What of the model is trained: everything, the last layers, adapters, or the head alone."""

from __future__ import annotations

import sys

from torch import nn

from penjing.core.errors import CapabilityError, MissingExtraError
from penjing.models.encoder import Encoder
from penjing.train.config import TrainConfig


def apply_method(model: nn.Module, config: TrainConfig) -> None:
    """Freeze, or inject adapters into, `model.encoder` in place; the head is always trained.

    Raises:
        CapabilityError: the encoder has fewer layers than asked for.
    """
    encoder = model.encoder
    if config.method in ("lora", "dora", "ia3"):
        _inject(model, config)
        return
    if config.method == "probe":
        encoder.requires_grad_(False)
        return
    layers = encoder_layers(encoder)
    if config.method == "last-k":
        if config.last_k > len(layers):
            raise CapabilityError(
                f"the encoder has {len(layers)} layers, {config.last_k} were to be trained", where="train.last_k"
            )
        freeze_lowest(encoder, len(layers) - config.last_k)
    elif config.train_embeddings:
        if config.frozen_layers:
            raise CapabilityError(
                "layers above trained embeddings cannot be frozen", where="train.frozen_layers", expected="0"
            )
    else:
        # The lowest layers know spelling and syntax, which a company's labels rarely improve.
        num_frozen = len(layers) // 3 if config.frozen_layers is None else config.frozen_layers
        if num_frozen >= len(layers):
            raise CapabilityError(
                f"the encoder has {len(layers)} layers, {num_frozen} were to be frozen",
                where="train.frozen_layers",
                expected=f"less than {len(layers)}, or method probe",
            )
        freeze_lowest(encoder, num_frozen)


def freeze_lowest(encoder: nn.Module, num_layers: int) -> None:
    """Freeze everything below the blocks, and this many of the lowest blocks."""
    for parameter in embedding_parameters(encoder):
        parameter.requires_grad_(False)
    if isinstance(encoder, Encoder):
        encoder.freeze_lowest(num_layers)
    else:
        for layer in encoder_layers(encoder)[:num_layers]:
            layer.requires_grad_(False)


def encoder_layers(encoder: nn.Module) -> nn.ModuleList:
    """The transformer blocks: the longest list of modules, whatever the architecture calls it."""
    lists = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise CapabilityError("this encoder has no list of layers", where="train.method", expected="full or probe")
    return max(lists, key=len)


def embedding_parameters(encoder: nn.Module) -> list[nn.Parameter]:
    """All that comes before the blocks: tables, and what is called an embedding's norm or projection."""
    inside = {id(parameter) for parameter in encoder_layers(encoder).parameters()}
    tables = {id(m.weight) for m in encoder.modules() if isinstance(m, nn.Embedding)}
    return [
        parameter
        for name, parameter in encoder.named_parameters()
        if id(parameter) not in inside and (id(parameter) in tables or "embed" in name)
    ]


def _inject(model: nn.Module, config: TrainConfig) -> None:
    try:
        from peft import IA3Config, LoraConfig, inject_adapter_in_model
    except ImportError:
        raise MissingExtraError("peft", "train") from None
    linear = sorted({name.rsplit(".", 1)[-1] for name, m in model.encoder.named_modules() if isinstance(m, nn.Linear)})
    model.encoder.requires_grad_(False)
    if config.method == "ia3":
        # IA3 rescales the input of the second feed-forward product and the output of attention's (Liu et al. 2022).
        inner = [name for name in linear if name in ("down", "dense", "output")] or linear[:1]
        adapter = IA3Config(target_modules=linear, feedforward_modules=inner)
    else:
        adapter = LoraConfig(
            r=config.adapter.rank,
            lora_alpha=config.adapter.alpha,
            lora_dropout=config.adapter.dropout,
            target_modules=linear,
            use_dora=config.method == "dora",
        )
    inject_adapter_in_model(adapter, model.encoder)


def merge_adapters(model: nn.Module) -> None:
    """Fold adapters into the weights they adapt and put the plain modules back, in place."""
    if "peft" not in sys.modules:
        return  # nothing put adapters in; importing it to find none takes two seconds
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent_name, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent_name), child, module.get_base_layer())
