"""Prediction: order, memory, bad inputs, batches; loading: damage, tampering, misfits."""

from __future__ import annotations

import json
import shutil
import threading
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penjing.core.artifact import MANIFEST, file_sha256, open_artifact
from penjing.core.errors import ArtifactError, DataError, PenjingError, RecipeError
from penjing.core.runtime import usable_threads
from penjing.predict import predictor as module
from penjing.predict.load import load
from penjing.predict.predictor import Predictor, batches
from penjing.predict.setup import Setup
from penjing.predict.task_file import read_task

TEXTS = ["Where is my parcel?", "退款多久到账？", "", "The tea tastes wonderful and the tin is pretty. " * 5]


@pytest.fixture(scope="module")
def predictor(tiny_artifact):
    return load(tiny_artifact("text-classification").path, threads=1)


@pytest.fixture(scope="module")
def pair_predictor(tiny_artifact):
    return load(tiny_artifact("text-pair").path, threads=1)


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    """A copy of an artifact that a test may spoil."""
    return Path(shutil.copytree(tiny_artifact("text-classification").path, tmp_path / "copy"))


def _reseal(directory):
    """Make the manifest agree with the files again, as someone who tampers on purpose would."""
    manifest = json.loads((directory / MANIFEST).read_text())
    for name, entry in manifest["files"].items():
        entry |= {"sha256": file_sha256(directory / name), "bytes": (directory / name).stat().st_size}
    (directory / MANIFEST).write_text(json.dumps(manifest))


def test_texts_rows_and_order(predictor):
    found = predictor.predict(TEXTS)
    as_rows = predictor.predict([{"text": text, "other": 1} for text in TEXTS])
    assert [p.value for p in found] == [p.value for p in as_rows]
    assert predictor.predict([]) == []
    pairs = list(predictor.stream(iter(TEXTS * 100), window_rows=7))
    assert [text for text, _ in pairs] == TEXTS * 100
    assert [p.value for _, p in pairs] == [p.value for p in found] * 100


def test_pairs_are_tuples_lists_or_rows(pair_predictor):
    left, right = "Where is my parcel?", "包裹在哪里？"
    rows = [(left, right), [left, right], {"left": left, "right": right}]
    first, second, third = pair_predictor.predict(rows)
    assert np.array_equal(first.probs, second.probs)
    assert np.array_equal(first.probs, third.probs)
    (turned,) = pair_predictor.predict([(right, left)])
    assert abs(np.log(first.probs / turned.probs)).max() > 0.1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, r"inputs\[2\]: is NoneType. Expected a text, or a mapping with the column 'text'"),
        (5, r"inputs\[2\]: is a int"),
        (("a", "b"), r"inputs\[2\]: is a tuple of 2"),
        ({"body": "a"}, r"inputs\[2\]: has no column 'text'"),
        ({"text": ["a"]}, r"inputs\[2\]: 'text' holds a list"),
        ("x" * 10_000_001, r"inputs\[2\]: .*10,000,001 characters"),
    ],
)
def test_a_bad_input_is_refused_with_its_position(predictor, bad, message):
    with pytest.raises(DataError, match=message):
        predictor.predict(["fine", "也好", bad, "fine"])


def test_a_bad_pair_is_refused(pair_predictor):
    for bad in ("one text", ("a",), ("a", 1), ("a", "b", "c")):
        with pytest.raises(DataError, match=r"inputs\[1\]: .*Expected a pair of texts"):
            pair_predictor.predict([("a", "b"), bad])


def test_one_text_instead_of_a_list_is_refused(predictor):
    for wrong in ("a text", {"text": "a"}):
        with pytest.raises(DataError, match="a list of inputs"):
            predictor.predict(wrong)


def test_the_position_of_a_bad_input_counts_over_windows(predictor):
    rows = (None if i == 25 else f"text {i}" for i in count())
    seen = []
    with pytest.raises(DataError, match=r"inputs\[25\]"):
        for text, _ in predictor.stream(rows, window_rows=10):
            seen.append(text)
    assert seen == [f"text {i}" for i in range(20)]


def test_a_stream_reads_no_further_than_its_window(predictor):
    read = []

    def endless():
        for i in count():
            read.append(i)
            yield f"text {i}"

    assert len(list(islice(predictor.stream(endless(), window_rows=8), 20))) == 20
    assert len(read) == 24


def test_windows_are_bounded_in_characters_too(predictor, monkeypatch):
    monkeypatch.setattr(module, "WINDOW_CHARS", 1000)
    read = []
    rows = ({"text": "y" * 400, "note": read.append(i)} for i in count())
    next(predictor.stream(rows))
    assert len(read) == 3


@given(
    st.lists(st.integers(1, 600), max_size=200),
    st.integers(16, 2000),
    st.integers(1, 64),
)
def test_batches_are_bounded_and_lose_nothing(lengths, tokens, rows):
    cut = list(batches(np.array(lengths, int), tokens, rows))
    assert sorted(i for batch in cut for i in batch) == list(range(len(lengths)))
    for batch in cut:
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * longest <= tokens


def test_threads_may_share_a_predictor(predictor):
    expected = [p.value for p in predictor.predict(TEXTS * 4)]
    found = [None] * 8

    def work(i):
        found[i] = [p.value for p in predictor.predict(TEXTS * 4)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 8


def test_workers_change_nothing_but_the_time(copy):
    texts = [f"parcel {i} " * (1 + i % 7) for i in range(80)]
    alone, several = (Predictor(open_artifact(copy), setup=Setup(threads=1, batch_rows=4, workers=n)) for n in (1, 3))
    seen = set()
    run = several.backend.run

    def watched(batch):
        seen.add(threading.get_ident())
        return run(batch)

    several.backend.run = watched
    for one, other in zip(alone.predict(texts), several.predict(texts), strict=True):
        assert one.value == other.value and np.array_equal(one.probs, other.probs)
    assert seen and threading.get_ident() not in seen
    with pytest.raises(DataError, match=r"inputs\[33\]"):
        several.predict([*texts[:33], 5, *texts[33:]])
    with pytest.raises(RecipeError, match="workers"):
        Setup(workers=0)


def test_a_predictor_does_nothing_before_it_must(copy):
    predictor = Predictor(open_artifact(copy), threads=1)
    assert "task" not in vars(predictor)
    assert "backend" not in vars(predictor)
    assert predictor.predict(["a"])[0].value in predictor.task.labels


def test_the_number_of_threads_is_kept(copy, monkeypatch):
    assert load(copy, threads=1).backend.num_threads == 1
    assert load(copy).backend.num_threads == usable_threads() >= 1
    monkeypatch.setattr("penjing.core.runtime.physical_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert load(copy).backend.num_threads == 3


def test_an_unknown_backend_names_the_closest(copy):
    with pytest.raises(RecipeError, match="onnxruntime"):
        load(copy, "onnxruntim")


def test_no_artifact_and_an_unfinished_one(tmp_path):
    with pytest.raises(ArtifactError, match=r"no such artifact.*Next: check the path"):
        load(tmp_path / "absent")
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        load(tmp_path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_of_any_file_is_refused_with_its_name(copy, data):
    names = sorted(json.loads((copy / MANIFEST).read_text())["files"])
    path = copy / data.draw(st.sampled_from(names))
    sound = path.read_bytes()
    place, change = data.draw(st.integers(0, len(sound) - 1)), data.draw(st.integers(1, 255))
    damaged = {
        "flip": sound[:place] + bytes([sound[place] ^ change]) + sound[place + 1 :],
        "cut": sound[:place],
        "grow": sound + bytes([change]),
    }[data.draw(st.sampled_from(["flip", "cut", "grow"]))]
    try:
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=rf"{path.name}' is damaged or was changed"):
            load(copy)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("name", ["model.onnx", "task.json", "tokenizer.json"])
def test_a_missing_file_is_refused_with_its_name(copy, name):
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=f"'{name}' is missing"):
        load(copy)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_manifest_never_ends_in_anything_but_a_clear_error(copy, data):
    path = copy / MANIFEST
    sound = path.read_bytes()
    place = data.draw(st.integers(0, len(sound) - 1))
    inserted = data.draw(st.binary(max_size=3))
    try:
        path.write_bytes(sound[:place] + inserted + sound[place + data.draw(st.integers(0, 3)) :])
        try:
            opened = open_artifact(copy)
        except PenjingError as error:
            assert str(copy) in error.message
        else:
            assert set(opened.manifest["files"])
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"format_version": 1, "kind": "x", "files": []}'],
)
def test_a_nonsensical_manifest_is_refused(copy, content):
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        load(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"capabilities": {}},
        {"capabilities": None},
        {"capabilities": {"predict_files": "model.onnx"}},
        {"capabilities": {"predict_files": ["gone.onnx"]}},
        {"capabilities": {"predict_files": [["model.onnx"]]}},
        {"training": None},
    ],
)
def test_a_manifest_without_what_is_read_of_it_is_refused(copy, change):
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        load(copy)


@pytest.mark.parametrize("num_bytes", [0, "12", None])
def test_a_size_that_is_not_the_files_is_refused(copy, num_bytes):
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"]["model.onnx"]["bytes"] = num_bytes
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"'model\.onnx' is damaged or was changed"):
        load(copy)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "model.pkl", "a\x00.json", "run.py"])
def test_a_manifest_that_names_foreign_files_is_refused(copy, name):
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][name] = {"sha256": "0", "bytes": 1}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    (copy.parent / "outside.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no artifact may hold"):
        load(copy)


def test_a_newer_format_says_upgrade(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(ArtifactError, match="upgrade penjing"):
        load(copy)


def test_a_file_the_manifest_does_not_list_is_not_read(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["files"]["tokenizer.json"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"'tokenizer\.json' is not one of the artifact's"):
        load(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"no file 'tokenizer\.json'"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "no-such-task"}, "does not know"),
        ({"kind": "text-regression"}, "state is damaged"),
        ({"state": 7}, "is damaged"),
        ({"state": {}}, "state is damaged"),
    ],
)
def test_a_tampered_task_is_refused_even_where_the_manifest_agrees(copy, change, message):
    content = json.loads((copy / "task.json").read_text())
    (copy / "task.json").write_text(json.dumps({**content, **change}))
    _reseal(copy)
    with pytest.raises(ArtifactError, match=rf"task\.json: .*{message}"):
        load(copy)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[" * 100_000, b"\xff"])
def test_a_task_file_that_is_no_json_is_refused(copy, content):
    (copy / "task.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"task\.json: is damaged"):
        read_task(copy)


def test_a_task_of_another_kind_than_the_manifest_says_is_refused(copy, tiny_artifact):
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "kind": "text-pair"}))
    with pytest.raises(ArtifactError, match=r"task\.json holds a text-classification"):
        load(copy)


def test_a_model_that_is_none_is_refused_with_its_name(copy):
    (copy / "model.onnx").write_bytes(b"not a model")
    _reseal(copy)
    with pytest.raises(ArtifactError, match=r"model\.onnx: onnxruntime .* cannot load the model"):
        load(copy)


def test_a_tokenizer_that_is_none_is_refused_with_its_name(copy):
    (copy / "tokenizer.json").write_text("{}")
    _reseal(copy)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json"):
        load(copy)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text-pair", r"tensor 'input_ids' is int64 \['batch', 2, 'length'\]"),
        ("tabular-regression", "wants an input 'features'"),
        ("text-classification/binary", r"tensor 'logits' is float32 \['batch', 2\]"),
    ],
)
def test_a_model_of_another_signature_is_refused(copy, tiny_artifact, kind, message):
    shutil.copyfile(tiny_artifact(kind).path / "model.onnx", copy / "model.onnx")
    _reseal(copy)
    with pytest.raises(ArtifactError, match=message):
        load(copy)
