"""The BERT encoder, written for speed on a CPU: fused query-key-value projection, plain attention, no wasted mask.

Most multilingual and English sentence encoders (MiniLM, E5, BGE, GTE, RoBERTa-free BERTs) share this architecture.
The torch attention kernel is slower backward than plain attention at the lengths of messages (10 to 60 tokens), and
three small matrix products are slower than a fused one; both were measured, see docs/decisions/0003-own-encoder.md.
Tensor names carry shape suffixes: B rows, L tokens, H hidden width, N heads, D width of a head.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from penjing.core.errors import ArtifactError, CapabilityError, MissingExtraError
from penjing.models.dropout import PooledDropout
from penjing.models.factored import Factored, FactoredWords
from penjing.models.padding import attention_bias, is_compiled, padded

if TYPE_CHECKING:
    from penjing.models.pretrained import Pretrained


PRODUCTS = ("qkv", "attention_out", "up", "down")  # of a layer, in the order it computes them


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of a BERT encoder, named as in Hugging Face's `config.json`."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    layer_heads: tuple[int, ...] | None = None
    """Heads of each layer, where some were pruned; ours, not Hugging Face's."""
    layer_sizes: tuple[int, ...] | None = None
    """Width of each layer's feed-forward part, likewise."""
    ranks: dict[str, int] | None = None
    """Module (one of `factorable`) → the rank it is factored to; ours, too."""

    def __post_init__(self) -> None:
        """Check our own sizes against the others.

        Raises:
            ValueError: they do not fit.
        """
        for name in ("layer_heads", "layer_sizes"):
            sizes = getattr(self, name)
            if sizes is not None and (len(sizes) != self.num_hidden_layers or min(sizes, default=1) < 1):
                raise ValueError(f"{name} is {sizes}, for {self.num_hidden_layers} layers")
        wrong = {name: rank for name, rank in (self.ranks or {}).items() if rank < 1 or name not in self.factorable}
        if wrong:
            raise ValueError(f"ranks has {wrong}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EncoderConfig:
        """Pick the sizes out of a `config.json`."""
        found = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})

    @property
    def head_size(self) -> int:
        """Width of a head, which pruning leaves as it is."""
        return self.hidden_size // self.num_attention_heads

    def layer(self, index: int) -> tuple[int, int]:
        """(heads, feed-forward width) of one layer."""
        heads = self.num_attention_heads if self.layer_heads is None else self.layer_heads[index]
        return heads, self.intermediate_size if self.layer_sizes is None else self.layer_sizes[index]

    def shapes(self, index: int) -> tuple[int | None, ...]:
        """What decides the shapes of one layer's products."""
        return *self.layer(index), *((self.ranks or {}).get(f"layers.{index}.{name}") for name in PRODUCTS)

    @property
    def factorable(self) -> list[str]:
        """Names of the modules that may be factored: the vocabulary and every layer's products."""
        return ["words", *(f"layers.{i}.{name}" for i in range(self.num_hidden_layers) for name in PRODUCTS)]

    def linear(self, name: str, in_features: int, out_features: int) -> nn.Linear | Factored:
        """A product of this name, in two where its rank says so."""
        rank = (self.ranks or {}).get(name)
        return nn.Linear(in_features, out_features) if rank is None else Factored(in_features, out_features, rank)


class Layer(nn.Module):
    """One transformer block, normalised after each sub-layer (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, config: EncoderConfig, dropout: PooledDropout, index: int = 0) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads, inner = config.layer(index)
        attended = self.num_heads * config.head_size
        self.drop = dropout
        self.qkv = config.linear(f"layers.{index}.qkv", width, 3 * attended)
        self.attention_out = config.linear(f"layers.{index}.attention_out", attended, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.up = config.linear(f"layers.{index}.up", width, inner)
        self.down = config.linear(f"layers.{index}.down", inner, width)
        self.output_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, hidden_BLH: Tensor, bias_B11L: Tensor | None) -> Tensor:
        """Mix tokens, then transform each; `bias_B11L` is added to the attention scores (None: nothing is padded)."""
        B, L, _ = hidden_BLH.shape
        D = self.attention_out.in_features // self.num_heads
        query_BNLD, key_BNLD, value_BNLD = (
            self.qkv(hidden_BLH).view(B, L, 3, self.num_heads, D).permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores_BNLL = torch.matmul(query_BNLD * D**-0.5, key_BNLD.transpose(2, 3))
        if bias_B11L is not None:
            scores_BNLL = scores_BNLL + bias_B11L
        mixed_BNLD = torch.matmul(self.drop(scores_BNLL.softmax(-1)), value_BNLD)
        mixed_BLH = mixed_BNLD.transpose(1, 2).reshape(B, L, self.num_heads * D)
        hidden_BLH = self.attention_norm(self.drop.add(hidden_BLH, self.attention_out(mixed_BLH)))
        transformed_BLH = self.down(F.gelu(self.up(hidden_BLH)))
        return self.output_norm(self.drop.add(hidden_BLH, transformed_BLH))


class WordEmbedding(nn.Embedding):
    """The vocabulary's vectors, which stay in the precision and the file they came in for as long as they are frozen.

    250,000 of them take 384 MB in 32 bits, and a batch reads some hundred. Rows are widened when they are looked up,
    which gives the same numbers.
    """

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> WordEmbedding:
        """What `to`, `float` and the like do to each tensor: of a frozen table they change the device alone."""
        if self.weight.requires_grad:
            return super()._apply(function, recurse)
        self.weight.data = self.weight.data.to(function(self.weight.new_empty(0)).device)
        return self


class Encoder(nn.Module):
    """Token ids → one vector a token."""

    def __init__(self, config: EncoderConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        rank = (config.ranks or {}).get("words")
        words = WordEmbedding(config.vocab_size, rank or config.hidden_size)
        self.words = words if rank is None else FactoredWords(words, config.hidden_size)
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.drop = PooledDropout(dropout)  # one pool for all layers
        self.layers = nn.ModuleList(Layer(config, self.drop, i) for i in range(config.num_hidden_layers))
        self.checkpointing = False
        self.num_frozen = 0
        self.many_shapes = len({config.shapes(i) for i in range(config.num_hidden_layers)}) > 1

    @property
    def hidden_size(self) -> int:
        """Width of a token's vector."""
        return self.config.hidden_size

    @property
    def table(self) -> WordEmbedding:
        """The vocabulary's vectors as they are kept: of a factored one the narrow ones."""
        return self.words.table if isinstance(self.words, FactoredWords) else self.words

    def embed(self, input_ids: Tensor) -> Tensor:
        """[B, L] ids → [B, L, H]: words + positions + the first segment, normalised."""
        positions_L = torch.arange(input_ids.shape[1], device=input_ids.device)
        segment_H = self.types.weight[0]
        hidden_BLH = self.words(input_ids).to(segment_H.dtype) + (self.positions(positions_L) + segment_H)
        return self.embedding_norm(hidden_BLH)

    def freeze_lowest(self, num_layers: int) -> None:
        """Freeze the embeddings and this many layers; they drop nothing, so their states never change."""
        self.num_frozen = num_layers
        for layer in self.layers[:num_layers]:
            layer.requires_grad_(False)
            layer.drop = PooledDropout(0.0)

    def lower(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[B, L, H]: states below the first layer that is trained."""
        if not self.num_frozen:
            return self.drop(self.embed(input_ids))
        with torch.no_grad():
            hidden_BLH = self.embed(input_ids)
            bias_B11L = attention_bias(attention_mask, hidden_BLH.dtype)
            for layer in self.layers[: self.num_frozen]:
                hidden_BLH = layer(hidden_BLH, bias_B11L)
        return hidden_BLH

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, lower_BLH: Tensor | None = None
    ) -> Tensor:
        """Encode a batch.

        Args:
            input_ids: [B, L] int.
            attention_mask: [B, L], 1 for tokens and 0 for padding; None when no row is padded.
            lower_BLH: what `lower` gave for these rows, where that is known already.

        Returns:
            [B, L, H].
        """
        hidden_BLH = self.lower(input_ids, attention_mask) if lower_BLH is None else lower_BLH
        length = hidden_BLH.shape[1]
        if self.training and self.many_shapes and is_compiled(hidden_BLH):
            hidden_BLH, attention_mask = padded(hidden_BLH, attention_mask)
        bias_B11L = attention_bias(attention_mask, hidden_BLH.dtype)
        for layer in self.layers[self.num_frozen :]:
            if self.checkpointing and self.training:
                hidden_BLH = checkpoint(layer, hidden_BLH, bias_B11L, use_reentrant=False)
            else:
                hidden_BLH = layer(hidden_BLH, bias_B11L)
        return hidden_BLH if hidden_BLH.shape[1] == length else hidden_BLH[:, :length]


def load_bert(directory: Path, dropout: float = 0.0) -> Encoder:
    """Read a Hugging Face BERT directory: in 32 bits, but for a vocabulary in 16, which is left so, in the file.

    Raises:
        CapabilityError: another architecture.
        ArtifactError: weights are missing or of another shape.
    """
    values = read_config(directory)
    if not is_bert(values):
        raise CapabilityError(f"not a BERT encoder: {values.get('model_type')!r}", where=str(directory))
    try:
        with torch.device("meta"):  # no memory for weights that are about to be replaced
            encoder = Encoder(EncoderConfig.from_dict(values), dropout)
        with safe_open(directory / "model.safetensors", framework="pt") as file:
            names = {strip_prefix(name): name for name in file.keys()}  # noqa: SIM118 - not a mapping
            state = _read_state(lambda name: file.get_tensor(names[name]), encoder.config.num_hidden_layers)
        encoder.load_state_dict(state, assign=True)
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"model.safetensors does not match config.json: {detail}",
            where=str(directory),
            next_step="fetch the model again",
        ) from None
    return encoder


def read_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a Hugging Face directory.

    Raises:
        ArtifactError: missing or not a JSON object.
    """
    path = directory / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(path), next_step="fetch the model again") from None
    if not isinstance(values, dict):
        raise ArtifactError(f"is a {type(values).__name__}", where=str(path), expected="a JSON object")
    return values


def is_bert(values: dict[str, Any]) -> bool:
    """Whether a `config.json` describes the architecture of `Encoder`."""
    return (
        values.get("model_type") == "bert"
        and values.get("hidden_act", "gelu") == "gelu"
        and values.get("position_embedding_type", "absolute") == "absolute"
        and not values.get("is_decoder", False)
    )


def strip_prefix(name: str) -> str:
    """Drop the "bert." that models with a head put before encoder weights."""
    return name.removeprefix("bert.")


def _read_state(read: Callable[[str], Tensor], num_layers: int) -> dict[str, Tensor]:
    """Hugging Face names → ours, with query, key and value joined.

    Args:
        read: a tensor of the file by its name, mapped into memory.
        num_layers: how many there are.
    """

    def copied(name: str) -> Tensor:
        return read(name).to(torch.float32, copy=True)

    words = read("embeddings.word_embeddings.weight")
    target = {
        "words.weight": words if words.dtype in (torch.float16, torch.float32) else words.float(),
        "positions.weight": copied("embeddings.position_embeddings.weight"),
        "types.weight": copied("embeddings.token_type_embeddings.weight"),
        "embedding_norm.weight": copied("embeddings.LayerNorm.weight"),
        "embedding_norm.bias": copied("embeddings.LayerNorm.bias"),
    }
    pairs = {
        "attention_out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    for index in range(num_layers):
        prefix = f"encoder.layer.{index}."
        for part in ("weight", "bias"):
            target[f"layers.{index}.qkv.{part}"] = torch.cat(
                [copied(f"{prefix}attention.self.{name}.{part}") for name in ("query", "key", "value")]
            )
            for ours, theirs in pairs.items():
                target[f"layers.{index}.{ours}.{part}"] = copied(f"{prefix}{theirs}.{part}")
    return target


class HubEncoder(nn.Module):
    """Any other encoder, run by transformers behind the signature of `Encoder`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def hidden_size(self) -> int:
        """Width of a token's vector."""
        return int(self.model.config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """As `Encoder.forward`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state


def load_encoder(pretrained: Pretrained, *, dropout: float = 0.0, checkpointing: bool = False) -> nn.Module:
    """A pretrained encoder in 32 bits: ours where the architecture is BERT, else transformers'.

    Raises:
        CapabilityError: transformers does not know the architecture, or it needs code from the hub.
        ArtifactError: its files are missing or damaged.
        MissingExtraError: transformers is needed and absent.
    """
    values = read_config(pretrained.directory)
    if is_bert(values):
        encoder = load_bert(pretrained.directory, dropout)
        encoder.checkpointing = checkpointing
        return encoder
    if "auto_map" in values:
        raise CapabilityError(
            "this model needs code downloaded from its hub, which is never executed",
            where=pretrained.name,
            next_step="choose another model (penjing models)",
        )
    return HubEncoder(_load_hub(pretrained, dropout, checkpointing))


def _load_hub(pretrained: Pretrained, dropout: float, checkpointing: bool) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModel
    except ImportError:
        raise MissingExtraError("transformers", "train") from None
    try:
        config = AutoConfig.from_pretrained(pretrained.directory, local_files_only=True)
        # Some layers read the rate of attention dropout from the configuration, others from a module.
        for name, value in vars(config).items():
            if "dropout" in name and isinstance(value, int | float) and not isinstance(value, bool):
                setattr(config, name, dropout)
        model = AutoModel.from_pretrained(
            pretrained.directory,
            config=config,
            attn_implementation="eager",
            use_safetensors=True,
            local_files_only=True,
            dtype=torch.float32,
        )
    except (ValueError, OSError) as error:
        raise CapabilityError(
            f"transformers cannot load it: {' '.join(str(error).split())[:300]}", where=pretrained.name
        ) from None
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # of the first token's vector, which is not used: it would only be dead weight
    if checkpointing:
        _checkpoint(model, pretrained.name)
    return model


def _checkpoint(model: Any, name: str) -> None:
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise CapabilityError(
            f"its layers cannot be run again in the backward pass ({' '.join(str(error).split())[:200]})",
            where=name,
            next_step="set train.activation_checkpointing to false",
        ) from None
