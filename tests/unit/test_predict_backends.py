"""Backends: each loads, fits the task, runs in several threads at once, and says what it cannot do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from penjing.core.artifact import MANIFEST, Artifact, file_sha256, open_artifact
from penjing.core.cpu import Cpu, read_cpu
from penjing.core.errors import ArtifactError, CapabilityError, MissingExtraError, RecipeError
from penjing.core.telemetry import without_telemetry
from penjing.predict.load import load
from penjing.predict.openvino_backend import OpenVinoBackend
from penjing.predict.predictor import Predictor
from penjing.predict.setup import BATCH_TOKENS, Setup
from penjing.train import torch_backend

TEXTS = ["Where is my parcel?", "退款多久到账？", "", "The tea tastes wonderful and the tin is pretty. " * 5]
BACKENDS = ["onnxruntime", "openvino", "torch"]
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def copy(tiny_artifact, tmp_path):
    """A copy of an artifact that a test may spoil."""
    return Path(shutil.copytree(tiny_artifact("text-classification").path, tmp_path / "copy"))


def _reseal(directory):
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["files"] = {
        name: {"sha256": file_sha256(directory / name), "bytes": (directory / name).stat().st_size}
        for name in manifest["files"]
        if (directory / name).is_file()
    }
    (directory / MANIFEST).write_text(json.dumps(manifest))


def _batch(predictor, texts):
    return predictor.task.encode([{"text": text} for text in texts])


@every_backend
def test_callers_at_the_same_time_get_the_answers_of_one(tiny_artifact, backend):
    predictor = load(tiny_artifact("text-classification").path, backend, threads=1)
    batches = [_batch(predictor, [text] * size) for text in TEXTS for size in (1, 3)] * 6
    expected = [predictor.backend.run(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda batch: predictor.backend.run(batch)["logits"], batches))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@every_backend
def test_what_a_run_gave_outlives_the_next_run(tiny_artifact, backend):
    predictor = load(tiny_artifact("text-classification").path, backend, threads=1)
    first = predictor.backend.run(_batch(predictor, TEXTS[:2]))["logits"]
    kept = first.copy()
    predictor.backend.run(_batch(predictor, TEXTS[2:]))
    assert np.array_equal(first, kept)
    first += 1  # and is the caller's own
    assert np.array_equal(predictor.backend.run(_batch(predictor, TEXTS[:2]))["logits"], kept)


def test_requests_are_as_many_as_callers_at_the_same_time(tiny_artifact):
    predictor = load(tiny_artifact("text-classification").path, "openvino", threads=1)
    for _ in range(5):
        predictor.predict(TEXTS)
    assert len(predictor.backend.runner._idle) == 1


@every_backend
def test_the_number_of_threads_is_kept_and_nobody_elses_is_changed(tiny_artifact, backend, monkeypatch):
    before = torch.get_num_threads()
    for threads in (1, 2):
        predictor = load(tiny_artifact("text-classification").path, backend, threads=threads)
        assert predictor.backend.num_threads == threads
        predictor.predict(TEXTS)
        assert torch.get_num_threads() == before
    assert OpenVinoBackend.open(predictor.artifact, predictor.task.signature, 2).model.get_property(
        "INFERENCE_NUM_THREADS"
    ) == min(2, len(os.sched_getaffinity(0)))


def test_torch_has_its_threads_back_after_an_error(monkeypatch):
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), torch_backend._threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_bf16_is_for_openvino_alone(tiny_artifact, backend):
    predictor = Predictor(tiny_artifact("text-classification"), setup=Setup(backend, precision="bf16"))
    with pytest.raises(CapabilityError, match=rf"the backend {backend} takes no hint to compute in bf16"):
        predictor.open()


def test_bf16_is_computed_or_refused_but_never_ignored(tiny_artifact):
    artifact = tiny_artifact("text-classification")
    predictor = Predictor(artifact, setup=Setup("openvino", 1, "bf16"))
    if "BF16" not in read_cpu().flags:
        with pytest.raises(CapabilityError, match="this processor has no instructions for bf16"):
            predictor.open()
        return
    exact = Predictor(artifact, setup=Setup("openvino", 1)).predict(TEXTS)
    for one, other in zip(exact, predictor.predict(TEXTS), strict=True):
        assert 0 < np.abs(one.probs - other.probs).max() < 0.1


def test_fp32_is_asked_for_in_so_many_words(tiny_artifact):
    predictor = load(tiny_artifact("text-classification").path, "openvino", threads=1)
    model = predictor.backend.runner.model
    assert model.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert model.get_property("NUM_STREAMS") == 1
    assert str(model.get_property("PERFORMANCE_HINT")).endswith("LATENCY")
    assert model.get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text-pair", r"tensor 'input_ids' is int64 \['any', 2, 'any'\]"),
        ("tabular-regression", "wants an input 'features'"),
        ("text-classification/binary", r"tensor 'logits' is float32 \['any', 2\]"),
    ],
)
def test_openvino_refuses_a_model_of_another_signature(copy, tiny_artifact, kind, message):
    shutil.copyfile(tiny_artifact(kind).path / "model.onnx", copy / "model.onnx")
    _reseal(copy)
    with pytest.raises(ArtifactError, match=message):
        load(copy, "openvino")


def test_openvino_says_which_file_it_cannot_run(copy):
    (copy / "model.onnx").write_bytes(b"not a model")
    _reseal(copy)
    with pytest.raises(CapabilityError, match=r"model\.onnx: OpenVINO 20\S+ cannot run the model: .*onnxruntime"):
        load(copy, "openvino")


def test_an_absent_openvino_names_its_extra(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"'openvino' is not installed.*\.\[openvino\]"):
        load(copy, "openvino")


def test_an_absent_torch_names_its_extra(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"'torch' is not installed.*\.\[train\]"):
        load(copy, "torch")


@pytest.mark.parametrize("name", ["weights.safetensors", "encoder.json"])
def test_torch_needs_the_weights(copy, name):
    (copy / name).unlink()
    _reseal(copy)
    with pytest.raises(CapabilityError, match=rf"keeps no {name}, from which torch could restore the model"):
        load(copy, "torch")
    assert load(copy, "openvino").predict(TEXTS)


_SHAPES = """
import sys
import numpy as np
from penjing.predict.load import load

def resident_mb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024

run = load(sys.argv[1], "openvino", threads=1).backend.run
sizes = [(rows, length) for rows in range(1, 31) for length in range(3, 23)]
for half in (sizes[::2], sizes[1::2]):
    for size in half:
        run({"input_ids": np.full(size, 5, np.int64), "attention_mask": np.ones(size, np.int64)})
    print(resident_mb())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_openvino_keeps_kernels_of_some_shapes_not_of_all(tiny_artifact):
    """300 shapes more take 230 MB unless its caches are bounded."""
    done = subprocess.run(
        [sys.executable, "-c", _SHAPES, str(tiny_artifact("text-classification").path)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = map(float, done.stdout.split())
    assert second - first < 100


_SILENT = """
import os, sys, threading

seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.system"):
        seen.append((event, str(arguments)))
sys.addaudithook(watch)
before = dict(os.environ)

from penjing.predict.load import load
predictor = load(sys.argv[1], sys.argv[2], threads=1)
assert len(predictor.predict(["a", "b"])) == 2
guilty = [name for name in sys.modules if name.partition(".")[0] == "openvino_telemetry"]
assert guilty == [], guilty
assert seen == [], seen
assert threading.active_count() == 1, threading.enumerate()
assert {name: value for name, value in os.environ.items() if "TELEMETRY" in name} == {
    name: value for name, value in before.items() if "TELEMETRY" in name
}
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_backend_sends_nothing_and_leaves_no_file(tiny_artifact, tmp_path, backend):
    """Imported as they are, one keeps an identifier of the device and starts an uploader, the other sends an event."""
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "PENJING_CACHE")}
    inherited = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SILENT, str(tiny_artifact("text-classification").path), backend],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**inherited, **places},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []


def test_what_the_user_set_is_there_again_afterwards(monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    with pytest.raises(ZeroDivisionError), without_telemetry(), without_telemetry():
        assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
        assert sys.modules["openvino_telemetry"] is None
        raise ZeroDivisionError
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert "openvino_telemetry" not in sys.modules


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threads": 0}, "threads: is 0. Expected a whole number from 1 to 1,024"),
        ({"threads": True}, "threads: is True"),
        ({"length_step": -1}, "length_step: is -1. Expected a whole number from 0 to 1,024"),
        ({"batch_tokens": 512.0}, r"batch_tokens: is 512\.0"),
        ({"batch_rows": 10**9}, "batch_rows: is 1000000000. Expected a whole number from 1 to 65,536"),
        ({"precision": "fp16"}, "precision: is 'fp16'. Expected one of fp32, bf16"),
        ({"precision": []}, r"precision: is \[\]"),
        ({"backend": ""}, "backend: is ''"),
        ({"backend": 7}, "backend: is 7"),
        ({"color": "red"}, "setup: is no setup"),
        ([], "setup: is no setup"),
    ],
)
def test_a_setup_is_checked(values, message):
    with pytest.raises(RecipeError, match=message):
        Setup.from_json(values)


def test_a_setup_survives_json():
    setup = Setup("openvino", 3, "bf16", 2048, 256, length_step=8)
    assert Setup.from_json(json.loads(json.dumps(setup.to_json()))) == setup
    assert Setup.from_json({}) == Setup()


def test_a_predictor_cuts_batches_as_set_up(tiny_artifact):
    artifact = tiny_artifact("text-classification")
    sizes = {}
    for setup in (Setup(threads=1), Setup(threads=1, batch_rows=2), Setup(threads=1, batch_tokens=20)):
        predictor = Predictor(artifact, setup=setup)
        seen = sizes[setup] = []
        run = predictor.backend.run
        predictor.backend.run = lambda batch, run=run, seen=seen: seen.append(batch["input_ids"].shape) or run(batch)
        predictor.predict(TEXTS * 3)
    plain, few_rows, few_tokens = sizes.values()
    assert max(rows for rows, _ in plain) > 2
    assert max(rows * length for rows, length in plain) <= BATCH_TOKENS
    assert max(rows for rows, _ in few_rows) == 2
    assert all(rows == 1 or rows * length <= 20 for rows, length in few_tokens)


def test_backend_and_threads_by_position_still_do(tiny_artifact):
    artifact = open_artifact(tiny_artifact("text-classification").path)
    assert isinstance(artifact, Artifact)
    assert Predictor(artifact).setup == Setup()
    assert Predictor(artifact, "torch", 1).setup == Setup("torch", 1)
    assert Predictor(artifact, "openvino", 1).setup == Setup("openvino", 1, length_step=8)


_CPUINFO = {
    "x86": (
        "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 avx512f "
        "avx512_vnni avx512_bf16 amx_int8 amx_bf16\n\nprocessor\t: 1\nmodel name\t: Another\n",
        Cpu("Some Xeon", "6/143", ("AVX2", "AVX-512", "VNNI", "BF16", "AMX")),
    ),
    "arm": (
        "processor : 0\nFeatures : fp asimd asimddp bf16\nCPU implementer : 0x41\nCPU part : 0xd40\n",
        Cpu("", "0x41/0xd40", ("NEON", "dot product", "BF16")),
    ),
}


@pytest.mark.parametrize("kind", _CPUINFO)
def test_the_processor_is_read_from_the_kernel(kind, tmp_path):
    text, expected = _CPUINFO[kind]
    (tmp_path / "cpuinfo").write_text(text)
    found = read_cpu(tmp_path / "cpuinfo")
    assert (found.family, found.flags) == (expected.family, expected.flags)
    assert found.name == (expected.name or found.name) and found.name


def test_a_system_without_cpuinfo_has_a_name_and_no_flags(tmp_path):
    found = read_cpu(tmp_path / "absent")
    assert found.name
    assert (found.family, found.flags) == ("", ())
