"""Every compressing method on every task kind that it supports, and its refusal of the others.

What comes out is an artifact like any other: it predicts every row, its parent is known, and the backends that it
claims run it and agree. A method that leaves the answers as they are is held to that.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from contract_rows import strange_rows

from conftest import ROWS
from penjing.compress import cascade, find
from penjing.compress.answers import answers
from penjing.compress.cascade import CascadeConfig
from penjing.compress.chain import Workshop
from penjing.compress.dynamic_int8 import METHOD as DYNAMIC
from penjing.compress.encoders import encoder_config
from penjing.compress.half import METHOD as HALF
from penjing.compress.int4 import METHOD as INT4
from penjing.compress.low_rank import METHOD as LOW_RANK
from penjing.compress.measured import quality
from penjing.compress.order import require_order
from penjing.compress.pack import PackConfig
from penjing.compress.prune_structure import METHOD as STRUCTURE
from penjing.compress.prune_vocabulary import VocabularyConfig
from penjing.compress.prune_weights import METHOD as WEIGHTS
from penjing.compress.quantization_aware import METHOD as AWARE
from penjing.compress.shapes import first_stage_shape
from penjing.compress.static_int8 import METHOD as STATIC
from penjing.compress.teach import DistilConfig
from penjing.core import registry
from penjing.core.artifact import MANIFEST, open_artifact, seal, size_bytes
from penjing.core.errors import CapabilityError
from penjing.core.memory import existing_objects_kept
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Table
from penjing.predict.invariance import is_batch_invariant
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup
from penjing.predict.task_file import read_task, write_task

QUICK = {
    "vocabulary": VocabularyConfig(),
    "distil": DistilConfig(layers=1, hidden=32, feed_forward=32, epochs=1),
    "prune-structure": STRUCTURE.config(epochs=0.5),
    "prune-weights": WEIGHTS.config(epochs=0.5),
    "low-rank": LOW_RANK.config(epochs=0.5, keep=0.3),
    "quantization-aware": AWARE.config(epochs=0.5),
    "dynamic-int8": DYNAMIC.config(),
    "static-int8": STATIC.config(rows=16, keep_at_most=0),
    "int4": INT4.config(),
    "half": HALF.config(),
    "cascade": CascadeConfig(hidden=32, epochs=1),
    "pack": PackConfig(),
}
PRECISION = {"static-int8": "int8", "dynamic-int8": "int8", "int4": "int4", "half": "fp16"}
EXACT = {"vocabulary", "half", "pack"}  # whose answers are the parent's, but for rounding
# Every kind is tried; those that differ from another in their labels alone are tried by the slow suite.
ALIKE = {"text-classification/binary", "text-classification/multi-label", "text-regression"}
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] if kind in ALIKE else []) for kind in sorted(ROWS)]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    import torch

    from penjing.core import runtime

    torch.set_num_threads(1)
    monkeypatch.setattr(runtime, "physical_cores", lambda: 1)


@pytest.fixture
def shop(tiny_artifact, tmp_path):
    def made(kind):
        rows, roles = ROWS[kind]()
        table = Table(rows, [str(i) for i in range(len(rows))], "rows")
        splits = Splits(table.take(range(16)), table.take(range(16, 24)), table.take([]), roles, kind)
        return Workshop(tiny_artifact(kind), splits, [], tmp_path, Runtime(), 1, altered=1)

    return made


def exhausted(work):
    with existing_objects_kept():
        while True:
            try:
                next(work)
            except StopIteration as stop:
                return stop.value


def test_every_registered_method_is_tried_here():
    assert QUICK.keys() == registry.table("compressors").keys()
    for name, config in QUICK.items():
        assert config.method == name and isinstance(config, registry.resolve("compressors", name).config)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_method_on_a_task(name, kind, shop):
    workshop = shop(kind)
    task = read_task(workshop.root.path)
    if registry.resolve("compressors", name).supports(task) is not None:
        with pytest.raises(CapabilityError, match="cannot be applied"):
            require_order([QUICK[name]], workshop.root)
        return
    made = exhausted(workshop.make([QUICK[name]]))
    assert made.manifest["parent"] == workshop.root.digest
    assert [step["method"] for step in made.manifest["steps"]] == [name]
    assert made.manifest["capabilities"]["precision"] == PRECISION.get(name, "fp32")
    rows = workshop.splits.valid.rows
    predictor = Predictor(made, setup=Setup(threads=1))
    answers = predictor.predict(rows)
    assert len(answers) == len(rows)
    again = predictor.predict(rows)
    assert [(one.value, one.confidence) for one in answers] == [(one.value, one.confidence) for one in again]
    strange = strange_rows(task, rows)
    assert len(predictor.predict(strange)) == len(strange)
    invariant = is_batch_invariant(predictor, [*rows, *strange])
    assert invariant or name == "dynamic-int8"
    assert not invariant or name != "dynamic-int8" or not kind.startswith("text-classification")
    if name in EXACT:
        known = workshop.splits.train.rows  # whose pieces are in the vocabulary
        sides = [Predictor(artifact, setup=Setup(threads=1)).predict(known) for artifact in (made, workshop.root)]
        for one, other in zip(*sides, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=2e-3)
            assert one.value == (pytest.approx(other.value, abs=2e-3) if kind.endswith("regression") else other.value)
    there = Predictor(made, setup=replace(Setup.of_backend("openvino"), threads=1))
    assert is_batch_invariant(there, [*rows, *strange]) or name == "dynamic-int8"
    for backend in backends_of(name):
        agree = Predictor(made, setup=Setup(backend, threads=1)).predict(rows)
        for one, other in zip(answers, agree, strict=True):
            if one.probs is not None:
                # Whole numbers are rounded elsewhere by each library; 32 bits are 32 bits.
                assert abs(one.probs - other.probs).max() < (0.1 if name in PRECISION else 2e-3), backend
            elif isinstance(one.value, float):
                assert one.value == pytest.approx(other.value, abs=0.2 if name in PRECISION else 2e-3), backend
            elif name not in PRECISION:
                assert one.value == other.value, backend
        if answers[0].probs is None and not isinstance(answers[0].value, float):
            alike = [one.value == other.value for one, other in zip(answers, agree, strict=True)]
            assert np.mean(alike) >= 0.8, backend


def backends_of(name):
    """Where else an artifact runs: on torch as long as its weights are kept, on OpenVINO."""
    kept = registry.resolve("compressors", name).torch is not None
    return [*(["torch"] if kept else []), "openvino"]


@pytest.mark.parametrize("weight", ["hidden_weight", "relation_weight"])
def test_inner_states_are_learned_where_they_are_asked_for(shop, weight):
    workshop = shop("text-classification")
    made = [
        exhausted(workshop.make([QUICK["distil"].model_copy(update={weight: value})])).file("weights.safetensors")
        for value in (0.0, 1.0)
    ]
    assert made[0].read_bytes() != made[1].read_bytes()
    rows = workshop.splits.valid.rows
    answers = Predictor(open_artifact(made[1].parent), setup=Setup(threads=1)).predict(rows)
    assert all(np.isfinite(answer.probs).all() for answer in answers)


def test_a_link_is_made_once(shop):
    workshop = shop("text-classification")
    chain = [QUICK["vocabulary"], QUICK["distil"], QUICK["static-int8"]]
    first = exhausted(workshop.make(chain))
    events = list(workshop.make(chain))
    assert events == [] and exhausted(workshop.make(chain)).digest == first.digest


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["static-int8", "distil"], "gone after static-int8"),
        (["distil", "vocabulary"], "pruned first"),
        (["cascade", "half"], "put cascade last"),
        (["pack", "half"], "put pack last"),
        (["pack", "distil"], "gone after pack"),
    ],
)
def test_steps_out_of_order_are_refused(names, said, shop):
    workshop = shop("text-classification")
    with pytest.raises(CapabilityError, match=said):
        exhausted(workshop.make([QUICK[name] for name in names]))
    assert not list(workshop.directory.rglob("*.onnx"))


def test_the_bytes_of_a_first_stage_are_foreseen(shop):
    workshop = shop("text-classification")
    shape = first_stage_shape(encoder_config(workshop.root))
    step = CascadeConfig(hidden=shape.hidden, phrases=shape.phrases, epochs=1)
    made = exhausted(workshop.make([step])).file("first.onnx").stat().st_size
    found = SimpleNamespace(allowed=lambda _: True, result=lambda _: None, task=read_task(workshop.root.path))
    foreseen = find._first_stage_mb(found, encoder_config(workshop.root), [])
    assert 0 <= 1e6 * foreseen - made < 6_000


def test_packed_files_answer_the_same_to_the_last_bit_with_a_first_stage_too(shop):
    workshop = shop("text-classification")
    made = exhausted(workshop.make([QUICK["static-int8"], QUICK["cascade"]]))
    packed = exhausted(workshop.make([QUICK["static-int8"], QUICK["cascade"], PackConfig()]))
    names = packed.manifest["capabilities"]["predict_files"]
    expected = ["cascade.json", "first.onnx.gz", "model.onnx.gz", "task.json", "tokenizer.json.gz"]
    assert names == expected and sorted(path.name for path in packed.path.iterdir()) == sorted([*names, MANIFEST])
    facts = packed.manifest["steps"][-1]["facts"]
    assert facts == {"bytes_before": size_bytes(made), "bytes_after": size_bytes(packed)}
    assert size_bytes(packed) < 0.8 * size_bytes(made)
    rows = [*workshop.splits.train.rows, *workshop.splits.valid.rows]
    for backend in ("onnxruntime", "openvino"):
        setup = Setup(backend, threads=1)
        before, after = (Predictor(open_artifact(one.path), setup=setup).predict(rows) for one in (made, packed))
        assert [one.probs.tolist() for one in before] == [one.probs.tolist() for one in after], backend


def test_a_threshold_is_chosen_for_what_is_mixed_and_that_is_what_is_answered(shop, monkeypatch):
    seen = {}

    def chosen(task, rows, first, rest, sure, loss):
        seen.update(rows=rows, first=first, rest=rest)
        return 1.0, 0.0, 0.0  # all rows go on

    monkeypatch.setattr(cascade, "choose_share", lambda *_: 0.4)
    monkeypatch.setattr(cascade, "choose_threshold", chosen)
    as_it_is = lambda task, valid, logits: (task, answers(task, valid.rows, logits))  # noqa: E731
    monkeypatch.setattr(cascade, "settled", as_it_is)
    workshop = shop("text-classification")
    made = exhausted(workshop.make([QUICK["cascade"]]))
    answered, alone = (Predictor(one).predict(seen["rows"]) for one in (made, workshop.root))
    parts = (seen["first"], seen["rest"], answered, alone)
    first, rest, probs, second = (np.stack([one.probs for one in part]) for part in parts)
    np.testing.assert_allclose(rest, probs, atol=1e-5)
    np.testing.assert_allclose(softmax(0.4 * np.log(first) + 0.6 * np.log(second)), probs, atol=1e-5)
    assert np.abs(probs - second).max() > 1e-3
    assert made.manifest["steps"][-1]["facts"]["share"] == 0.4
    assert json.loads(made.file("cascade.json").read_text())["share"] == 0.4


def test_of_several_labels_a_model_is_judged_by_thresholds_of_its_own(shop):
    workshop = shop("text-classification/multi-label")
    before = quality(workshop.root, Setup(threads=1), workshop.splits.valid)
    # As a student that is never as sure as its teacher would be by the teacher's.
    stage = workshop.directory / "shy"
    shutil.copytree(workshop.root.path, stage)
    task = read_task(workshop.root.path)
    write_task(task.with_thresholds([0.999] * len(task.labels)), stage)
    (stage / "manifest.json").unlink()
    shy = seal(stage, kind=task.kind, capabilities=workshop.root.manifest["capabilities"], batch_invariant=True)
    assert not any(one.value for one in Predictor(shy, setup=Setup(threads=1)).predict(workshop.splits.valid.rows))
    assert quality(shy, Setup(threads=1), workshop.splits.valid).value == before.value > 0


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
