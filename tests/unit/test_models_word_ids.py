"""Ids by looking words up: the tokenizer's own, for every text that is answered at all."""

import json
from concurrent.futures import ThreadPoolExecutor
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
    (found,) = words([text])
    assert found is None or found == tokenizer.encode(text).ids


@pytest.mark.parametrize(
    "text", ["", "Where is my PARCEL?", "it's 3.50$, a_b\nsee you\t ", "x" * 101, "lamp " * 60, "#" * 60]
)
def test_plain_english_is_looked_up(wordpiece, text):
    tokenizer, words = wordpiece
    assert words([text]) == [tokenizer.encode(text).ids]


@pytest.mark.parametrize("text", ["退款", "café", "the [MASK] lamp", "a\x00b", "a\u00a0b"])
def test_what_is_not_certain_is_left_to_the_tokenizer(wordpiece, text):
    assert wordpiece[1]([text]) == [None]


def test_capitals_count_where_the_tokenizer_minds_them(tiny_tokenizers, tmp_path):
    parts = json.loads(tiny_tokenizers["wordpiece"].read_text(encoding="utf-8"))
    parts["normalizer"]["lowercase"] = False
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(parts), encoding="utf-8")
    tokenizer, words = loaded(path)
    assert words(["Parcel parcel"]) == [tokenizer.encode("Parcel parcel").ids]
    assert words(["Parcel"]) != words(["parcel"])


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
    for i in range(0, 50, 5):
        texts = [f"w{j} {'y' * 200} lamp" for j in range(i, i + 5)]
        assert words(texts) == [tokenizer.encode(text).ids for text in texts]
    assert len(words._known) <= 10 and max(map(len, words._known), default=0) <= word_ids.MOST_LETTERS
    many = " ".join(f"v{i}" for i in range(20))
    assert words([many, "lamp"]) == [tokenizer.encode(text).ids for text in (many, "lamp")]
    assert len(words._known) <= 10


def test_threads_share_what_is_known(wordpiece, monkeypatch):
    monkeypatch.setattr(word_ids, "MOST_WORDS", 30)
    tokenizer, words = wordpiece
    texts = [f"parcel {i % 40} lamp w{i % 17}" for i in range(400)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: words(texts[i : i + 3]), range(0, 400, 3)))
    assert [ids for part in found for ids in part] == [tokenizer.encode(text).ids for text in texts]
