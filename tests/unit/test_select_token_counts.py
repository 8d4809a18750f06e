"""A check counts tokens of the model that a run would likely choose, where it is here, and never fetches one."""

import json
import shutil

import pytest

import penjing
from penjing.core.events import Notice, ignore
from penjing.models import catalog

ENGLISH = [f"the parcel number {i} came late and the box was wet" for i in range(40)]
CHINESE = [f"第{i}个包裹到得很晚，盒子也湿了" for i in range(40)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no network."""

    def no_network(*args, **kwargs):
        raise AssertionError("a check of data touched the network")

    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog, "fetch_package_files", no_network)
    monkeypatch.setattr(catalog, "fetch_from_hub", no_network)
    return tmp_path / "cache" / "models"


def length_of(tmp_path, texts, listener=ignore, **overrides):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": t, "label": i % 2}) + "\n" for i, t in enumerate(texts)), "utf-8")
    return penjing.check(str(path), overrides=overrides, listener=listener).find("text-length")


def put(model, entry):
    """Lay a model down as a finished fetch does."""
    shutil.copytree(model.directory, entry)
    sizes = {file.name: file.stat().st_size for file in entry.iterdir()}
    (entry / "fetched.json").write_text(json.dumps(sizes))


def test_a_cached_model_that_knows_the_language_is_counted_in(tmp_path, cache, tiny_pretrained):
    put(tiny_pretrained, cache / "minilm-l6-en-hub")
    assert "tokens of minilm-l6-en (median)" in length_of(tmp_path, ENGLISH).message
    chinese = length_of(tmp_path, CHINESE)
    assert "characters (median)" in chinese.message
    assert "penjing models get e5-small-multilingual" in chinese.what_to_do


def test_the_smallest_of_those_that_are_here_counts(tmp_path, cache, tiny_pretrained):
    put(tiny_pretrained, cache / "e5-small-multilingual-hub")
    assert "tokens of e5-small-multilingual" in length_of(tmp_path, ENGLISH).message
    put(tiny_pretrained, cache / "minilm-l6-en-hub")
    assert "tokens of minilm-l6-en" in length_of(tmp_path, ENGLISH).message
    asked = {"select.candidates": ["e5-small-multilingual"]}
    assert "tokens of e5-small-multilingual" in length_of(tmp_path, ENGLISH, **asked).message


def test_without_a_model_characters_are_counted_and_the_way_to_tokens_is_said(tmp_path):
    found = length_of(tmp_path, ENGLISH)
    assert "characters (median)" in found.message and "penjing models get minilm-l6-en" in found.what_to_do
    assert length_of(tmp_path, ENGLISH, model="scratch").what_to_do == "nothing"


def test_damaged_files_stop_no_check_but_are_named(tmp_path, cache, tiny_pretrained):
    put(tiny_pretrained, cache / "minilm-l6-en-hub")
    config = cache / "minilm-l6-en-hub" / "config.json"
    config.write_bytes(b"x" * config.stat().st_size)
    heard = []
    assert "characters (median)" in length_of(tmp_path, ENGLISH, heard.append).message
    warned = [event.text for event in heard if isinstance(event, Notice) and event.level == "warning"]
    assert len(warned) == 1 and warned[0].startswith("minilm-l6-en is left out: ")


def test_a_model_that_is_named_is_counted_in(tmp_path, tiny_pretrained):
    named = str(tiny_pretrained.directory)
    assert f"tokens of {named} (median)" in length_of(tmp_path, CHINESE, model=named).message
