"""Texts to ids: padding, truncation, pairs, prefixes, offsets, and hostile texts."""

import gc
import time
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import pytest

from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.task import TextSettings
from penjing.models import tokenizer as tokenizer_module
from penjing.models.tokenizer import TextEncoder, load_tokenizer
from penjing.tasks.span_tokens import Granularity, SpanEncoder

TEXTS = ["我要退款，收到的水壶是坏的。", "Where is my parcel?", "", "  The lamp\twith a  bulb ", "q" * 300, "🪴é"]


@pytest.fixture(params=["wordpiece", "unigram"])
def encoder(request, tiny_tokenizers: dict[str, Path]) -> TextEncoder:
    return TextEncoder(TextSettings(tiny_tokenizers[request.param], max_length=24))


def test_a_batch_is_its_rows_padded_to_the_longest(encoder):
    batch = encoder.encode(TEXTS)
    lengths = encoder.lengths(TEXTS)
    assert {array.shape for array in batch.values()} == {(len(TEXTS), lengths.max())}
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    for i, text in enumerate(TEXTS):
        alone = encoder.encode([text])
        assert alone["input_ids"].shape[1] == lengths[i]
        assert batch["input_ids"][i, : lengths[i]].tolist() == alone["input_ids"][0].tolist()
        assert batch["attention_mask"][i].sum() == lengths[i]
        assert (batch["input_ids"][i, lengths[i] :] == encoder.pad_id).all()
    assert encoder.tokenizer.id_to_token(encoder.pad_id) in {"[PAD]", "<pad>"}


def test_ids_are_those_of_the_library(encoder):
    plain = load_tokenizer(encoder.settings.tokenizer_file)
    for text in TEXTS[:4]:
        assert encoder.tokens([text])[0].tolist() == plain.encode(text).ids


def test_truncation_keeps_the_special_tokens(encoder):
    long = " ".join(["parcel"] * 500)
    row = encoder.tokens([long])[0]
    assert len(row) == encoder.settings.max_length == encoder.lengths([long])[0]
    short = encoder.tokens(["parcel"])[0]
    assert (row[0], row[-1]) == (short[0], short[-1])


def test_the_prefix_stands_before_every_text(encoder):
    prefixed = TextEncoder(TextSettings(encoder.settings.tokenizer_file, 24, "parcel: "))
    assert prefixed.tokens(["lamp"])[0].tolist() == encoder.tokens(["parcel: lamp"])[0].tolist()


@pytest.mark.parametrize("prefix", ["", "query: "])
def test_offsets_cut_the_tokens_out_of_the_text(encoder, prefix):
    named = TextEncoder(TextSettings(encoder.settings.tokenizer_file, 24, prefix))
    spans = named.offsets(TEXTS)
    assert spans.shape[:2] == named.encode(TEXTS)["input_ids"].shape
    for i, text in enumerate(TEXTS):
        pieces = [text[start:stop] for start, stop in spans[i].tolist() if start >= 0]
        assert all(piece and piece == piece.strip() for piece in pieces)
        kept = "".join(pieces)
        # Nothing but blanks lies between tokens, unless the row was cut or an unknown character has no token.
        assert "".join(text.split()).startswith(kept)
        if named.lengths([text])[0] < 24:
            assert kept == "".join(text.split())
    starts = spans[0][:, 0][spans[0][:, 0] >= 0]
    assert (np.diff(starts) > 0).all()


def test_an_empty_batch(encoder):
    assert encoder.encode([])["input_ids"].shape == (0, 0)
    assert encoder.lengths([]).shape == (0,)
    assert encoder.offsets([]).shape == (0, 0, 2)


@pytest.mark.parametrize("unit", ["a", "a ", " ", "我", "\x00", "🪴", "\u0301"])
def test_five_megabytes_cost_no_more_than_a_long_row(encoder, unit):
    encoder.encode(["warm"])
    start = time.perf_counter()
    batch = encoder.encode([unit * (5_000_000 // len(unit.encode()))])
    assert time.perf_counter() - start < 0.5
    assert batch["input_ids"].shape[1] <= 24


def test_half_surrogates_are_replaced(encoder):
    batch = encoder.encode(["parcel \ud83d lamp"])
    assert batch["input_ids"].tolist() == encoder.encode(["parcel \ufffd lamp"])["input_ids"].tolist()


def test_settings_that_leave_no_room(encoder):
    with pytest.raises(CapabilityError, match=r"leaves no room.*at least"):
        TextEncoder(TextSettings(encoder.settings.tokenizer_file, 2)).encode(["a"])


def test_files_that_are_no_tokenizer(tmp_path):
    broken = tmp_path / "tokenizer.json"
    for text in ("", "{}", '{"model": 3}', "\x00\x01"):
        broken.write_text(text)
        with pytest.raises(ArtifactError, match="not a tokenizer"):
            TextEncoder(TextSettings(broken)).encode(["a"])
    with pytest.raises(ArtifactError, match="no such tokenizer file"):
        TextEncoder(TextSettings(tmp_path / "none.json")).encode(["a"])


@pytest.fixture
def parsed(monkeypatch) -> list[Path]:
    """The files that are parsed from now on, by a process that has parsed none before."""
    seen: list[Path] = []

    def counted(data, path, real=tokenizer_module._parse):
        seen.append(path)
        return real(data, path)

    monkeypatch.setattr(tokenizer_module, "_parse", counted)
    monkeypatch.setattr(tokenizer_module, "_pad_ids", {})
    monkeypatch.setattr(tokenizer_module, "_in_use", WeakValueDictionary())
    return seen


def test_encoders_of_one_tokenizer_share_it(tiny_tokenizers, tmp_path, parsed):
    path = tiny_tokenizers["unigram"]
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes(path.read_bytes())
    first, second, longer = (
        TextEncoder(TextSettings(file, max_length=length)) for file, length in ((path, 24), (copy, 24), (path, 48))
    )
    assert first.tokenizer is second.tokenizer and len(parsed) == 1
    assert longer.tokenizer is not first.tokenizer and longer.lengths(["q " * 99]) == [48]
    assert first.lengths(["q " * 99]) == [24]
    copy.write_bytes(tiny_tokenizers["wordpiece"].read_bytes())  # other content under the same name
    assert TextEncoder(TextSettings(copy, max_length=24)).tokenizer is not first.tokenizer


def test_a_tokenizer_nobody_holds_is_freed(tiny_tokenizers, parsed):
    settings = TextSettings(tiny_tokenizers["unigram"], max_length=24)
    TextEncoder(settings).encode(["parcel"])
    gc.collect()
    assert not tokenizer_module._in_use


def test_the_padding_of_spans_costs_no_second_parse(tiny_tokenizers, parsed):
    for name, path in tiny_tokenizers.items():
        spans = SpanEncoder(TextSettings(path, max_length=24), Granularity.SUBWORD)
        assert spans.tokens(["my parcel"]) and parsed == [path], name
        assert spans.tokenizer.id_to_token(spans.pad_id) in {"[PAD]", "<pad>"}
        assert parsed == [path]
        assert TextEncoder(TextSettings(path, max_length=24)).pad_id == spans.pad_id
        parsed.clear()
