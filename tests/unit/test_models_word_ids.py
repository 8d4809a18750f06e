"""Ids by looking words up: the tokenizer's own, for every text that is answered at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from penjing.models import word_ids
from penjing.models.word_ids import WordIds

MOST = 24
ANYTHING = st.text(st.characters(max_codepoint=127), max_size=120)
LIKE_WORDS = st.lists(
    st.sampled_from(
        ["parcel", "LAMP", "don't", "3.50", "[x]", "[MASK]", "q-q", "##", "\t", "\n", "_", "é", "退", "\x7f"]
    )
)


def loaded(path: Path, most: int = MOST) -> tuple[Tokenizer, WordIds | None]:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer, WordIds.of(tokenizer, path.read_bytes(), most)


@pytest.fixture(scope="module")
def wordpiece(tiny_tokenizers: dict[str, Path]) -> tuple[Tokenizer, WordIds]:
    tokenizer, words = loaded(tiny_tokenizers["wordpiece"])
    assert words is not None
    return tokenizer, words


@settings(deadline=None)
@given(text=st.one_of(ANYTHING, LIKE_WORDS.map(" ".join), LIKE_WORDS.map("".join)))
def test_ids_are_the_tokenizers(wordpiece, text):
    tokenizer, words = wordpiece
    found = words(text)
    assert found is None or found == tokenizer.encode(text).ids


@pytest.mark.parametrize(
    "text", ["", "Where is my PARCEL?", "it's 3.50$, a_b\nsee you\t ", "x" * 101, "lamp " * 60, "#" * 60]
)
def test_plain_english_is_looked_up(wordpiece, text):
    tokenizer, words = wordpiece
    assert words(text) == tokenizer.encode(text).ids


@pytest.mark.parametrize("text", ["退款", "café", "the [MASK] lamp", "a\x00b", "a\u00a0b"])
def test_what_is_not_certain_is_left_to_the_tokenizer(wordpiece, text):
    assert wordpiece[1](text) is None


def test_capitals_count_where_the_tokenizer_minds_them(tiny_tokenizers, tmp_path):
    parts = json.loads(tiny_tokenizers["wordpiece"].read_text(encoding="utf-8"))
    parts["normalizer"]["lowercase"] = False
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(parts), encoding="utf-8")
    tokenizer, words = loaded(path)
    assert words("Parcel parcel") == tokenizer.encode("Parcel parcel").ids
    assert words("Parcel") != words("parcel")


def test_tokenizers_of_other_kinds_are_left_alone(tiny_tokenizers, tmp_path):
    assert loaded(tiny_tokenizers["unigram"])[1] is None
    parts = json.loads(tiny_tokenizers["wordpiece"].read_text(encoding="utf-8"))
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": 9_999, "content": "lampshade"})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(parts), encoding="utf-8")
    assert loaded(path)[1] is None


def test_words_without_end_do_not_fill_the_memory(wordpiece, monkeypatch):
    monkeypatch.setattr(word_ids, "MOST_WORDS", 10)
    tokenizer, words = wordpiece
    for i in range(50):
        assert words(f"w{i} {'y' * 200}") == tokenizer.encode(f"w{i} {'y' * 200}").ids
    assert len(words._known) <= 10
