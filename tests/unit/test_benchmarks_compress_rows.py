"""The rows on which a compressed model is looked at besides the test part, and the chance that scope is told."""

import difflib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tokenizers import Tokenizer

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")
TEXTS = ["Where is my parcel?", "I want a refund of the exchange fee", "No", "2024", ""]


@pytest.fixture(scope="module")
def rows() -> Iterator[ModuleType]:
    sys.path.insert(0, BENCHMARKS)
    yield importlib.import_module("compress_rows")
    sys.path.remove(BENCHMARKS)


def test_a_typing_error_is_one_letter_of_a_longer_word_and_every_text_has_one(rows):
    with_errors = []
    for seed in range(20):
        for before, after in zip(TEXTS, rows.with_typos(TEXTS, seed=seed), strict=True):
            words = list(zip(before.split(" "), after.split(" "), strict=True))
            changed = [(one, other) for one, other in words if one != other]
            for one, other in changed:
                assert sum(map(str.isalpha, one)) >= 4 and one[0] == other[0]
                assert difflib.SequenceMatcher(None, one, other).ratio() > 0.6 and abs(len(one) - len(other)) <= 1
            if any(sum(map(str.isalpha, one)) >= 4 for one, _ in words):
                with_errors.append(bool(changed))
            else:
                assert before == after
    assert len(with_errors) == 40 and np.mean(with_errors) > 0.9  # two like letters may have been swapped
    assert rows.with_typos(TEXTS, seed=1) == rows.with_typos(TEXTS, seed=1) != rows.with_typos(TEXTS, seed=2)
    often = [rows.with_typos(["parcel " * 200], seed=seed, share=0.15)[0].split(" ") for seed in range(5)]
    assert 0.08 < np.mean([[word != "parcel" for word in text[:200]] for text in often]) < 0.2


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(rows):
    generator = np.random.default_rng(0)
    inside, outside = generator.integers(0, 20, 50) / 20, generator.integers(0, 20, 30) / 25
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    assert rows.auroc(inside, outside) == pytest.approx(100 * np.mean(pairs))
    assert rows.auroc(np.array([0.9]), np.array([0.1])) == 100 and rows.auroc(outside, outside) == pytest.approx(50)


def test_what_is_lost_has_an_interval_that_holds_it_and_none_where_nothing_is(rows):
    generator = np.random.default_rng(0)
    good = [generator.normal(2, 1, 400).tolist(), generator.normal(0, 1, 300).tolist()]
    worse = [generator.normal(1, 1, 400).tolist(), good[1]]
    lost, low, high = rows.auroc_lost(good, worse, resamples=200)
    assert 5 < low < lost < high < 25
    assert rows.auroc_lost(good, good, resamples=50) == (0, 0, 0)


def test_rows_with_a_piece_that_training_lacks_are_found(rows, tiny_tokenizers: dict[str, Path]):
    path = tiny_tokenizers["wordpiece"]
    train, test = ([{"text": text} for text in part] for part in (["parcel lamp"], ["lamp parcel", "lamp where", ""]))
    found = rows.unseen_words(path, train, test)
    pieces = Tokenizer.from_file(str(path))
    assert set(pieces.encode("where").ids) - set(pieces.encode("parcel lamp").ids)
    assert found.tolist() == [False, True, False]


def test_blank_lines_are_no_queries(rows, tmp_path):
    folder = tmp_path / "banking77" / "oos" / "ood-oos" / "test"
    folder.mkdir(parents=True)
    (folder / "seq.in").write_text("what is the weather\n\n  \nplay a song\n", encoding="utf-8")
    assert rows.out_of_scope(tmp_path) == ["what is the weather", "play a song"]
