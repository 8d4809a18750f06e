"""Named demo data from the package index, and the evaluation data sets as they come."""

import time
from collections import Counter
from pathlib import Path

import pytest

from penjing.core.errors import DataError
from penjing.core.events import Notice
from penjing.data.catalog import DEMOS, demo_directory
from penjing.data.check import check_source
from penjing.data.config import DataConfig
from penjing.data.prepare import prepare
from penjing.data.sources import open_source, read_table

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the evaluation data")


@pytest.mark.network
def test_reviews_zh():
    table = read_table(DataConfig(source="demo:reviews-zh"))
    assert len(table) == DEMOS["reviews-zh"].rows == 35_124
    assert Counter(row["label"] for row in table.rows) == {"negative": 18_576, "positive": 16_548}
    assert table.row_ids[0] == "reviews-zh:pos.txt:1"


def parts(prepared):
    splits = prepared.splits
    return splits.train, splits.valid, splits.sealed_test, prepared.unlabelled


@pytest.mark.network
def test_german_credit():
    prepared = prepare(DataConfig(source="german-credit"))
    assert prepared.task_kind == "tabular-classification"
    assert sum(map(len, parts(prepared))) == 1_000 and len(prepared.splits.roles.features) == 20
    assert Counter(row["creditability"] for row in prepared.splits.train.rows) == {"good": 504, "bad": 216}


@pytest.mark.network
def test_movielens_has_its_knowledge_graph():
    directory = demo_directory("movielens-100k")
    assert {path.suffix for path in directory.glob("ml-100k.*")} == {".inter", ".item", ".user", ".kg", ".link"}
    rows = read_table(DataConfig(source="movielens-100k")).rows
    assert len(rows) == 100_000 and set(rows[0]) == {"user_id", "item_id", "rating", "timestamp"}
    graph = read_table(DataConfig(source="movielens-100k/kg")).rows
    assert set(graph[0]) == {"head_id", "relation_id", "tail_id"} and len(graph) > 90_000
    entity_of = {row["item_id"]: row["entity_id"] for row in read_table(DataConfig(source="movielens-100k/link")).rows}
    films = {row["item_id"] for row in rows}
    heads = {row["head_id"] for row in graph}
    assert len(entity_of.keys() & films) > 1_000, "the ratings and the graph share their items"
    assert len(set(entity_of.values()) & heads) > 1_000


def test_a_part_that_a_demo_lacks():
    with pytest.raises(DataError, match=r"no demo data set 'movielens-100k/kq'.*movielens-100k/kg"):
        read_table(DataConfig(source="demo:movielens-100k/kq"))


EXPECTED = {
    "banking77/train.csv": (10_003, "text-classification", "en", "text", "category"),
    "phrasebank/Sentences_AllAgree.txt": (2_264, "text-classification", "en", "column_1", "column_2"),
    "phrasebank/Sentences_50Agree.txt": (4_846, "text-classification", "en", "column_1", "column_2"),
    "waimai/waimai_10k.csv": (11_987, "text-classification", "zh", "review", "label"),
    "afqmc/dev.txt": (4_316, "text-pair", "zh", "column_1", "column_3"),
    "eprstmt/train_0.json": (32, "text-classification", "zh", "sentence", "label"),
    "smp2020_emotion/virus_eval_labeled.txt": (2_000, "text-classification", "zh", "content", "label"),
    "goemotions_ekman/dev.tsv": (5_426, "text-classification", "en", "column_1", "column_2"),
    "finance_news_zh/news.csv": (2_400, "text-classification", "zh", "正文", "正负面"),
    "ctr/criteo_sample.txt": (200, "tabular-classification", "other", None, "label"),
}


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("name", EXPECTED)
def test_real_files_are_understood_without_a_word(name):
    heard = []
    prepared = prepare(DataConfig(source=str(DATA / name)), listener=heard.append)
    roles = prepared.splits.roles
    num_rows = sum(map(len, parts(prepared))) + len(prepared.without_text)
    assert (num_rows, prepared.task_kind, prepared.language, roles.text, roles.label) == EXPECTED[name]
    assert {event.text for event in heard if isinstance(event, Notice)} >= set(prepared.explanation)
    if name.startswith("goemotions"):
        assert prepared.inference.label.separator == ","


@needs_data
@pytest.mark.data
def test_phrasebank_all_agree_is_latin_1():
    source = str(DATA / "phrasebank" / "Sentences_AllAgree.txt")
    assert open_source(source, DataConfig()).description == "latin-1, fields separated by '@', no header"
    text = " ".join(row["column_1"] for row in read_table(DataConfig(source=source)).rows)
    assert "ä" in text and "\ufffd" not in text


@needs_data
@pytest.mark.data
def test_official_split_of_banking77_leaks_a_little():
    config = DataConfig(source=str(DATA / "banking77" / "train.csv"), test=str(DATA / "banking77" / "test.csv"))
    prepared = prepare(config)
    assert len(prepared.splits.open_test("evaluate")) == 3_080
    assert len(prepared.splits.train) + len(prepared.splits.valid) == 10_003


@needs_data
@pytest.mark.data
def test_check_of_real_reviews_takes_seconds():
    started = time.process_time()
    report = check_source(DataConfig(source=str(DATA / "waimai" / "waimai_10k.csv")))
    assert report.ok and time.process_time() - started < 30
    assert {"duplicate-text", "conflicting-label"} <= {finding.code for finding in report.findings}
