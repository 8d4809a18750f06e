"""Converts the 4-bit file of multilingual-e5-small into a Hugging Face directory, once.

Matrices are stored as fp16: a 4-bit value times an fp16 scale loses less than one part in 2,000 by it, a hundredth
of what the 4 bits themselves have lost, and the directory is half the size. Vectors keep their fp32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.models.charsmap import compile_charsmap
from penjing.models.e5_q4_file import E5File, Sizes, Vocabulary
from penjing.models.safetensors_io import TensorHeader, TensorSource, write_safetensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MASK = "<mask>"
METASPACE = "\u2581"


def convert_e5_q4(source: Path, directory: Path) -> None:
    """Write `config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`.

    Args:
        source: the 4-bit file.
        directory: an existing directory; what is in it after an error is of no use.

    Raises:
        ArtifactError: the file is malformed in any way.
    """
    with E5File(source) as file:
        tokenizer = build_tokenizer(file.vocabulary)
        tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
        write_safetensors(directory / "model.safetensors", _tensors(file))
        _write_json(directory / "config.json", _config(file.sizes, file.vocabulary))
        _write_json(directory / "tokenizer_config.json", _tokenizer_config(file.sizes, file.vocabulary))


def build_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer of XLM-R: unigram pieces over normalized text in which words begin with a metaspace.

    The file's normalization table has single characters only. Composing first (NFC) covers what SentencePiece's own
    table does with a letter and a combining mark.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = [piece for piece, _ in vocabulary.pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, unk_id=vocabulary.unk, byte_fallback=False))
    charsmap = compile_charsmap(vocabulary.normalization)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Precompiled(charsmap)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always", split=False),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=METASPACE, prepend_scheme="always", split=False)
    bos, eos = pieces[vocabulary.bos], pieces[vocabulary.eos]
    special = [AddedToken(pieces[i], normalized=False) for i in _special_ids(vocabulary)]
    if MASK in pieces:
        special.append(AddedToken(MASK, lstrip=True, normalized=False))
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",  # XLM-R has no segments: every type id is 0
        special_tokens=[(bos, vocabulary.bos), (eos, vocabulary.eos)],
    )
    return tokenizer


def _special_ids(vocabulary: Vocabulary) -> list[int]:
    return [vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unk]


def _tensors(file: E5File) -> dict[str, TensorSource]:
    """Hugging Face name → tensor, in the order of the file."""
    sizes = file.sizes
    hidden, wide = sizes.hidden, sizes.feed_forward
    table = {
        "embeddings.word_embeddings.weight": _matrix(file, "emb.word", sizes.vocabulary, hidden),
        "embeddings.position_embeddings.weight": _vector(file, "emb.pos", (sizes.positions, hidden)),
        "embeddings.token_type_embeddings.weight": _vector(file, "emb.type", (sizes.types, hidden)),
        "embeddings.LayerNorm.weight": _vector(file, "emb.ln.w", (hidden,)),
        "embeddings.LayerNorm.bias": _vector(file, "emb.ln.b", (hidden,)),
    }
    linear = {
        "attention.self.query": ("q", hidden, hidden),
        "attention.self.key": ("k", hidden, hidden),
        "attention.self.value": ("v", hidden, hidden),
        "attention.output.dense": ("ao", hidden, hidden),
        "intermediate.dense": ("fi", wide, hidden),
        "output.dense": ("fo", hidden, wide),
    }
    for i in range(sizes.layers):
        for name, (short, rows, columns) in linear.items():
            prefix = f"encoder.layer.{i}.{name}"
            table[f"{prefix}.weight"] = _matrix(file, f"l{i}.{short}.w", rows, columns)
            table[f"{prefix}.bias"] = _vector(file, f"l{i}.{short}.b", (rows,))
        for name, short in {"attention.output.LayerNorm": "aln", "output.LayerNorm": "oln"}.items():
            table[f"encoder.layer.{i}.{name}.weight"] = _vector(file, f"l{i}.{short}.w", (hidden,))
            table[f"encoder.layer.{i}.{name}.bias"] = _vector(file, f"l{i}.{short}.b", (hidden,))
    return table


def _matrix(file: E5File, name: str, rows: int, columns: int) -> TensorSource:
    return TensorSource(TensorHeader("F16", (rows, columns)), partial(file.matrix, name, rows, columns))


def _vector(file: E5File, name: str, shape: tuple[int, ...]) -> TensorSource:
    header = TensorHeader("F32", shape)

    def chunks() -> Iterator[np.ndarray]:
        yield file.vector(name, header.size)

    return TensorSource(header, chunks)


def _config(sizes: Sizes, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.feed_forward,
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "layer_norm_eps": sizes.norm_eps,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "position_embedding_type": "absolute",
        "pad_token_id": vocabulary.pad,
        "dtype": "float32",  # the precision to compute in, whatever the file stores
    }


def _tokenizer_config(sizes: Sizes, vocabulary: Vocabulary) -> dict[str, Any]:
    bos, pad, eos, unk = (vocabulary.pieces[i][0] for i in _special_ids(vocabulary))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": sizes.positions,
        "bos_token": bos,
        "eos_token": eos,
        "cls_token": bos,
        "sep_token": eos,
        "pad_token": pad,
        "unk_token": unk,
        "mask_token": MASK,
    }


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
