"""Versions of training texts: other words, strange ones, typing errors; what stands between words stays."""

import json

import numpy as np
import pytest

from penjing.compress.disturb import Disturber, whole_words
from penjing.core.task import Roles
from penjing.tasks.text_pair import TextPair

pytest_plugins = ["training_fixtures"]


@pytest.fixture
def disturb(tiny_task, task_rows):
    return Disturber.of(tiny_task, task_rows("text-classification")[0])


def versions(disturb, text, count=400):
    generator = np.random.default_rng(1)
    return [disturb({"text": text, "label": "refund"}, generator) for _ in range(count)]


def test_texts_are_changed_in_every_way_and_labels_are_not(disturb):
    made = versions(disturb, "The courier left my parcel in the rain yesterday.")
    texts = [row["text"] for row in made]
    assert {row["label"] for row in made} == {"refund"}
    assert len(set(texts)) > 300 and all(any(char.isalnum() for char in text) for text in texts)
    words = [set(text.strip(".").split()) for text in texts]
    whole = {"The", "courier", "left", "my", "parcel", "in", "the", "rain", "yesterday"}
    assert any(found < whole for found in words)
    strange = set(disturb.words) - {word for text in disturb.texts for word in text}
    assert any(found & strange for found in words)
    assert any({"courer", "couurier", "coruier", "curier"} & found for found in words)  # a letter is wrong
    assert sum("courier" in found for found in words) > 150


def test_the_same_draw_makes_the_same_versions(disturb):
    assert versions(disturb, "Where is it?") == versions(disturb, "Where is it?")


def test_ideographs_are_words_of_their_own(disturb):
    made = [row["text"] for row in versions(disturb, "快递 还没有到。")]
    assert any(text != "快递 还没有到。" and "快" in text for text in made)
    assert sum(text.endswith("。") for text in made) > 300


def test_marks_belong_to_the_letters_before_them(disturb):
    found = {word for row in versions(disturb, "मेरा पार्सल") for word in row["text"].split()}
    assert {"मेरा", "पार्सल"} <= found and not any(word.startswith(("े", "ा", "्")) for word in found)


def test_a_text_without_words_stays(disturb):
    assert all(row["text"] in {"?!", ""} or len(row["text"]) > 2 for row in versions(disturb, "?!", 50))
    assert "?!" in [row["text"] for row in versions(disturb, "?!", 50)]


def test_both_texts_of_a_pair_are_changed(text_settings, task_rows):
    rows, _ = task_rows("text-classification")
    pairs = [{"a": row["text"], "b": row["text"], "label": row["label"]} for row in rows]
    roles = Roles(text="a", text_pair="b", label="label")
    disturb = Disturber.of(TextPair.from_rows(pairs, roles, text_settings), pairs)
    made = [disturb(pairs[0], np.random.default_rng(i)) for i in range(20)]
    assert any(row["a"] != pairs[0]["a"] for row in made) and any(row["b"] != pairs[0]["b"] for row in made)
    assert any(row["a"] != row["b"] for row in made)


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("WordPiece", ["[CLS]", "the", "of", "##ing", "taxi", "taxi2", "дом", "快", "快递"]),
        ("Unigram", ["<s>", "▁the", "▁taxi", "ing", "▁", "▁дом", "快", "▁快递"]),
    ],
)
def test_words_of_a_vocabulary(tmp_path, kind, pieces):
    vocab = [[piece, 0.0] for piece in pieces] if kind == "Unigram" else {piece: i for i, piece in enumerate(pieces)}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": kind, "vocab": vocab}}), encoding="utf-8")
    assert whole_words(tmp_path / "tokenizer.json", {"LATIN", "CJK"}) == ["the", "taxi", "快", "快递"]


def test_cells_are_read_as_tasks_read_them(disturb):
    generator = np.random.default_rng(0)
    for value in (None, float("nan"), ""):
        assert any(disturb({"text": value}, generator)["text"] == "" for _ in range(20))
    assert any(disturb({"text": 2024}, generator)["text"] == "2024" for _ in range(20))
