"""Texts one by one: missing, broken, too long, in several languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from penjing.core.task import TextSettings
from penjing.data.check.report import MAX_EXAMPLES, Example, Finding, Material, excerpt
from penjing.data.language import LanguageMix, script_of

_LENGTH_SAMPLE = 20_000
# What a tokenizer with a large vocabulary splits in some seconds.
_TOKENIZED_CHARS = 1_000_000
_DEFAULT_TOKENS = 256
# A Han character is about one token of a multilingual vocabulary; four Latin letters are.
_CHARS_PER_TOKEN = {"zh": 1.0, "mixed": 2.0}
_MOJIBAKE = re.compile("Ã[\\x80-\\xbf]|Â[\\x80-\\xbf]|â€|ï¼|锟斤拷|\ufffd")
_TAG = re.compile(r"<(?:br|p|div|span|a|b|i|img|table|td|tr|li|ul)\b[^>]*>", re.IGNORECASE)


@dataclass(frozen=True)
class ModelTokens:
    """The model whose tokens lengths are counted in.

    Args:
        name: as the user would write it.
        settings: its tokenizer and how much it reads; None: the model would fit, but is not on this machine.
    """

    name: str
    settings: TextSettings | None = None


# Language of the texts → whose tokens to count; None where no model comes into question.
TokensOf = Callable[[str], ModelTokens | None]


def missing(material: Material) -> Iterator[Finding]:
    """Rows without a text, rows without a label."""
    total = len(material.table) + len(material.without_text) + len(material.unlabelled)
    cases = (
        ("missing-text", material.without_text, "have no text and are left out", "fill them, or delete the rows"),
        (
            "missing-label",
            material.unlabelled,
            "have a text and no label; they serve continued pretraining only",
            "label them if few classes are well covered",
        ),
    )
    for code, row_ids, message, step in cases:
        if row_ids:
            share = len(row_ids) / total
            yield Finding(
                code,
                "warning" if share > 0.01 else "info",
                f"{len(row_ids):,} rows {message}",
                len(row_ids),
                share,
                step,
                tuple(Example(row_id, "empty") for row_id in row_ids[:MAX_EXAMPLES]),
            )


def broken(material: Material) -> Iterator[Finding]:
    """Control characters, text decoded with the wrong encoding, HTML left in."""
    texts = material.texts()
    cases = (
        (
            "control-characters",
            [i for i, text in enumerate(texts) if any(_is_control(c) for c in text)],
            "hold control or invisible characters",
            "clean them at the source; the tokenizer ignores or splits them",
        ),
        (
            "wrong-decoding",
            [i for i, text in enumerate(texts) if _MOJIBAKE.search(text)],
            "look as if decoded with the wrong encoding",
            "export the data again as UTF-8, or set data.format.encoding",
        ),
        (
            "html-tags",
            [i for i, text in enumerate(texts) if _TAG.search(text)],
            "hold HTML tags",
            "strip the tags if production texts have none",
        ),
    )
    for code, places, message, step in cases:
        if places:
            share = len(places) / len(texts)
            details = [
                excerpt("".join(c if not _is_control(c) else f"\\x{ord(c):02x}" for c in texts[i]))
                for i in places[:MAX_EXAMPLES]
            ]
            yield Finding(
                code,
                "warning" if share > 0.01 else "info",
                f"{len(places):,} texts {message}",
                len(places),
                share,
                step,
                material.examples(places[:MAX_EXAMPLES], details),
            )


def _is_control(character: str) -> bool:
    return (
        character not in "\n\r\t"
        and unicodedata.category(character) in {"Cc", "Cf", "Co", "Cn"}
        and character not in "\u200d\ufe0f"
    )


def lengths(material: Material, tokens_of: TokensOf | None, mix: LanguageMix) -> Iterator[Finding]:
    """Texts longer than the model reads, counted in tokens where its tokenizer is at hand, else estimated."""
    rows, roles = material.table.rows, material.inference.roles
    # Each text of a pair is read by itself, up to the limit: the longer one counts.
    names = [name for name in (roles.text, roles.text_pair) if name is not None]
    columns = [[str(row.get(name) or "") for row in rows] for name in names]
    model = None if tokens_of is None else tokens_of(mix.language)
    settings = None if model is None else model.settings
    step = max(1, -(-len(rows) // _LENGTH_SAMPLE))
    if settings is not None:
        step = max(step, -(-sum(len(text) for texts in columns for text in texts) // _TOKENIZED_CHARS))
    places = list(range(0, len(rows), step))
    columns = [[texts[i] for i in places] for texts in columns]
    what_to_do = "nothing"
    if settings is None:
        sizes = np.max([[len(text) for text in texts] for texts in columns], axis=0)
        limit = int(_DEFAULT_TOKENS * _CHARS_PER_TOKEN.get(mix.language, 4.0))
        unit, counted, basis = "characters", "characters", f"about {_DEFAULT_TOKENS} tokens, estimated"
        if model is not None:
            what_to_do = f"to have tokens counted, get a model (penjing models get {model.name}) or name one (--model)"
    else:
        assert model is not None, "settings are a model's"
        sizes = np.max(
            [_token_counts([settings.prefix + text for text in texts], settings) for texts in columns], axis=0
        )
        limit, unit, counted = settings.max_length, "tokens", f"tokens of {model.name}"
        basis = f"what {model.name} is to read"
    over = np.flatnonzero(sizes > limit)
    median, high = np.percentile(sizes, [50, 95])
    yield Finding(
        "text-length",
        "info",
        f"texts have {median:,.0f} {counted} (median), 95% at most {high:,.0f}, the longest {sizes.max():,}",
        0,
        0.0,
        what_to_do,
    )
    if len(over):
        longest = over[np.argsort(-sizes[over])][:MAX_EXAMPLES]
        share = len(over) / len(places)
        yield Finding(
            "too-long",
            "warning" if share > 0.05 else "info",
            f"{share:.1%} of the texts exceed {limit:,} {unit} ({basis}) and are cut",
            round(share * len(rows)),
            share,
            "raise the maximum length, or put what decides at the start of the text",
            material.examples([places[i] for i in longest], [f"{sizes[i]:,} {unit}" for i in longest]),
        )


def _token_counts(texts: list[str], settings: TextSettings) -> np.ndarray:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(settings.tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = [len(e.ids) for i in range(0, len(texts), 512) for e in tokenizer.encode_batch_fast(texts[i : i + 512])]
    return np.array(counts)


def language_mix(material: Material, mix: LanguageMix) -> Iterator[Finding]:
    """Texts whose language is not that of most."""
    if not mix.shares:
        return
    first, share = next(iter(mix.shares.items()))
    if share >= 0.98:
        return
    wanted = "zh" if first == "zh" else "latin" if first == "en" else first
    texts = material.texts()
    places = [i for i, text in enumerate(texts[:_LENGTH_SAMPLE]) if script_of(text[:2_000]) not in {wanted, "none"}]
    shown = ", ".join(f"{name} {part:.1%}" for name, part in mix.shares.items())
    yield Finding(
        "language-mix",
        "warning" if share < 0.85 else "info",
        f"the texts are in several languages: {shown}",
        len(places),
        1 - share,
        "choose a multilingual model, or split the data by language",
        material.examples(places[:MAX_EXAMPLES], [excerpt(texts[i]) for i in places[:MAX_EXAMPLES]]),
    )
