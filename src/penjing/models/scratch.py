"""A model with no pretrained knowledge: a small random encoder and a tokenizer learned from the user's texts.

It is a candidate like any other, so that a user sees what pretraining is worth on their data (or that it is worth
nothing, where texts are codes, logs or an unusual language). It needs no torch: weights are drawn with numpy.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.core.errors import DataError
from penjing.core.task import Splits
from penjing.models.pretrained import Pretrained
from penjing.models.safetensors_io import TensorHeader, TensorSource, write_safetensors
from penjing.models.tokenizer import METASPACE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "scratch"
ABOUT = "no pretrained knowledge: random weights, tokenizer learned from the training texts"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z]")
MAX_TEXTS = 200_000
MAX_TOTAL_CHARS = 20_000_000  # seconds of learning a tokenizer; more would not change 8,000 pieces much
MAX_CHARS = 2_000
MIN_CHAR_COUNT = 2  # rarer characters are unknown
MAX_PIECE_CHARS = 16
INITIALIZER_RANGE = 0.02  # of BERT (Devlin et al. 2019)


def make_scratch(splits: Splits, directory: Path, *, seed: int = 42) -> Pretrained:
    """`build_scratch` from the training texts of a data set, in the language they are in.

    Args:
        splits: only `train` is read.
        directory: where the files go.
        seed: of the weights.

    Raises:
        DataError: every text is empty.
    """
    texts = texts_of(splits.train.rows, splits)
    return build_scratch(texts, directory, languages=scripts_of(texts), seed=seed)


def scripts_of(texts: Sequence[str]) -> tuple[str, ...]:
    """("zh",), ("en",) or both, by the letters of 2,000 texts."""
    sample = "".join(text[:MAX_CHARS] for text in texts[:: max(1, len(texts) // 2_000)])
    han, latin = len(_HAN.findall(sample)), len(_LATIN.findall(sample))
    # A Han character says about as much as four Latin letters.
    shares = {"zh": 4 * han, "en": latin}
    return tuple(name for name, count in shares.items() if count > 0.1 * (4 * han + latin))


def texts_of(rows: Sequence[Mapping[str, Any]], splits: Splits) -> list[str]:
    """Every text of these rows, first and second of a pair alike."""
    columns = [name for name in (splits.roles.text, splits.roles.text_pair) if name is not None]
    return [str(row[name]) for row in rows for name in columns if row.get(name) is not None]


def build_scratch(
    texts: Sequence[str],
    directory: Path,
    *,
    languages: tuple[str, ...] = (),
    seed: int = 42,
    layers: int = 4,
    width: int = 256,
    vocabulary: int = 8_000,
    max_length: int = 512,
) -> Pretrained:
    """Write a Hugging Face directory with a small random BERT and its own tokenizer.

    Equal arguments give equal files, byte for byte.

    Args:
        texts: training texts; up to 200,000 of them with 20 million characters, evenly spaced, teach the tokenizer.
        directory: where the files go; made if absent.
        languages: of the texts, for the record.
        seed: of the weights.
        layers: transformer blocks.
        width: hidden width; heads are 64 wide, feed-forward layers four times the width.
        vocabulary: greatest number of tokens; small data gives fewer.
        max_length: positions.

    Raises:
        DataError: no text has a letter.
    """
    assert width % 64 == 0, "heads are 64 wide"
    num_chars = sum(min(len(text), MAX_CHARS) for text in texts)
    step = max(1, -(-len(texts) // MAX_TEXTS), -(-num_chars // MAX_TOTAL_CHARS))
    sample = [text[:MAX_CHARS] for text in texts[::step] if text.strip()]
    if not sample:
        raise DataError("every text is empty, so there is nothing to learn a tokenizer from")
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _train_tokenizer(sample, vocabulary)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = _config(tokenizer.get_vocab_size(), layers, width, max_length)
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tensors = _tensors(config, seed)
    write_safetensors(directory / "model.safetensors", tensors)
    return Pretrained(
        name=NAME,
        directory=directory,
        dimension=width,
        parameters=sum(tensor.header.size for tensor in tensors.values()),
        languages=languages,
        max_length=max_length,
        licence="your own",
    )


def _train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Byte-pair encoding over lower-cased characters, with no piece across a blank or a mark.

    Not WordPiece nor Unigram: their trainers break ties by the order of a randomly seeded hash table, so that equal
    texts give other tokenizers, and an interrupted run could not be resumed. Han characters are frequent pieces of
    their own, and frequent words of Chinese become pieces too.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    marks = pre_tokenizers.Split(Regex(rf"[\p{{P}}\p{{S}}&&[^{METASPACE}]]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), marks])
    tokenizer.decoder = decoders.Metaspace()
    counts = Counter(char for text in texts for char in tokenizer.normalizer.normalize_str(text) if not char.isspace())
    common = sorted(counts, key=lambda char: (-counts[char], char))[: vocabulary // 2]
    always = (METASPACE, *string.ascii_lowercase, *string.digits)
    alphabet = [*always, *(char for char in common if counts[char] >= MIN_CHAR_COUNT and char not in always)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),  # no other characters: which of the rare ones to keep would be left to chance
        min_frequency=2,
        max_token_length=MAX_PIECE_CHARS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _frame(tokenizer)


def _frame(tokenizer: Tokenizer) -> Tokenizer:
    """Put [CLS] and [SEP] around texts, as BERT does."""
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _config(vocabulary: int, layers: int, width: int, max_length: int) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
        "max_position_embeddings": max_length,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": INITIALIZER_RANGE,
        "pad_token_id": 0,
    }


def _tensors(config: dict[str, Any], seed: int) -> dict[str, TensorSource]:
    """Every tensor of a BERT: weights normal, biases 0, norms 1; each drawn from its own seed."""
    width, wide = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    linear = {
        "attention.self.query": (width, width),
        "attention.self.key": (width, width),
        "attention.self.value": (width, width),
        "attention.output.dense": (width, width),
        "intermediate.dense": (wide, width),
        "output.dense": (width, wide),
    }
    for index in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{index}."
        for name, shape in linear.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{prefix}{name}.weight": (width,), f"{prefix}{name}.bias": (width,)}
    return {
        name: TensorSource(TensorHeader("F32", shape), partial(_values, name, shape, (seed, place)))
        for place, (name, shape) in enumerate(shapes.items())
    }


def _values(name: str, shape: tuple[int, ...], seed: tuple[int, int]) -> Iterator[np.ndarray]:
    if name.endswith("bias"):
        yield np.zeros(shape, np.float32)
    elif "LayerNorm" in name:
        yield np.ones(shape, np.float32)
    else:
        rng = np.random.default_rng(seed)
        yield (rng.standard_normal(shape, np.float32) * np.float32(INITIALIZER_RANGE)).astype(np.float32)
