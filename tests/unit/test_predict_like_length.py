"""Rows padded by their own length answer the same to the last bit, whatever stands beside them."""

import numpy as np
import pytest

from penjing.core.cpu import read_cpu
from penjing.core.task import Signature, TensorSpec
from penjing.predict.like_length import LikeLengthRunner, has_lengths, padded_lengths
from penjing.predict.predictor import Predictor, batches
from penjing.predict.setup import Setup

# Of many lengths, some of which share a group.
RAGGED = ["the kettle leaks " * count for count in (1, 7, 2, 3, 30, 1, 0, 12)] + ["我要退款", "杯子碎了!", "Broken."]
TEXT_KINDS = ("text-classification", "text-classification/multi-label", "text-pair", "text-regression")


def inputs_of(kind):
    return [(text, text[: len(text) // 2]) for text in RAGGED] if kind == "text-pair" else RAGGED


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", [*TEXT_KINDS, "token-classification"])
def test_answers_are_those_of_a_batch_padded_to_its_longest(tiny_artifact, kind, backend):
    artifact, inputs = tiny_artifact(kind), inputs_of(kind)
    plain = Predictor(artifact, setup=Setup(backend)).predict(inputs)
    for step in (1, 5, 8, 1024):  # the last one fills every row up to the longest that the model reads
        predictor = Predictor(artifact, setup=Setup(backend, length_step=step))
        found = predictor.predict(inputs)
        same = pytest.approx if kind == "text-regression" else list
        assert [one.value for one in found] == same([one.value for one in plain])
        if plain[0].probs is not None:
            np.testing.assert_allclose([p.probs for p in found], [p.probs for p in plain], atol=2e-5)


@pytest.mark.parametrize(
    "precision",
    [
        "fp32",
        pytest.param("bf16", marks=pytest.mark.skipif("BF16" not in read_cpu().flags, reason="needs its instructions")),
    ],
)
def test_a_row_is_the_same_to_the_last_bit_whatever_stands_beside_it(tiny_artifact, precision):
    setup = Setup.of_backend("openvino", precision=precision)
    predictor = Predictor(tiny_artifact("text-classification"), setup=setup)
    together = predictor.predict(RAGGED)
    alone = [predictor.predict([text])[0] for text in RAGGED]
    assert all((a.probs == b.probs).all() for a, b in zip(together, alone, strict=True))


def test_no_rows_and_rows_of_no_tokens_are_run_as_they_are():
    seen = Seen()
    for shape in ((0, 5), (2, 0)):
        nothing = np.zeros(shape, np.int64)
        found = LikeLengthRunner(seen, SIGNATURE, 8).run({"input_ids": nothing, "attention_mask": nothing})
        assert found["tokens"].shape == shape
    assert seen.shapes == [(0, 5), (2, 8)]


class Seen:
    """Says what it was given: the sum of a row's ids, and its ids."""

    num_threads = 1

    def __init__(self):
        self.shapes = []

    def run(self, batch):
        self.shapes.append(batch["input_ids"].shape)
        assert batch.keys() == {"input_ids", "attention_mask"}
        return {"logits": batch["input_ids"].sum(-1, keepdims=True), "tokens": batch["input_ids"]}


SIGNATURE = Signature(
    tuple(TensorSpec(name, ("batch", "length"), "int64") for name in ("input_ids", "attention_mask")),
    (TensorSpec("logits", ("batch", 1), "int64"), TensorSpec("tokens", ("batch", "length"), "int64")),
    longest=13,
)


def padded(lengths, width):
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": mask * np.arange(1, width + 1), "attention_mask": mask, "not_for_the_model": mask}


def test_rows_are_run_in_groups_and_come_back_in_order():
    seen = Seen()
    batch = padded([3, 13, 4, 9, 8], 13)
    found = LikeLengthRunner(seen, SIGNATURE, 4).run(batch)
    assert seen.shapes == [(2, 4), (1, 8), (1, 12), (1, 13)], "each up to a multiple of 4, none beyond the longest"
    assert (found["tokens"] == batch["input_ids"]).all()
    assert (found["logits"] == batch["input_ids"].sum(-1, keepdims=True)).all()


def test_a_group_is_filled_up_and_its_outputs_are_cut():
    seen = Seen()
    found = LikeLengthRunner(seen, SIGNATURE, 8).run(padded([3, 5], 5))
    assert seen.shapes == [(2, 8)] and found["tokens"].shape == (2, 5)


def test_lengths_never_grow_beyond_what_the_model_reads():
    assert padded_lengths(np.array([0, 1, 8, 9, 61]), 8, 62).tolist() == [8, 8, 8, 16, 62]
    assert padded_lengths(np.array([61]), 8, None).tolist() == [64]


def test_batches_of_the_same_length_alone():
    cut = [*batches(np.array([8, 16, 8, 16, 24]), 512, alike=True)]
    assert sorted(map(sorted, cut)) == [[0, 2], [1, 3], [4]]
    assert len([*batches(np.array([8, 16, 8, 16, 24]), 512)]) == 1


def test_tables_have_no_lengths(tiny_artifact):
    predictor = Predictor(tiny_artifact("tabular-classification"), setup=Setup(length_step=8))
    assert not has_lengths(predictor.task.signature) and not isinstance(predictor.backend, LikeLengthRunner)
    row = {"income": 1000, "age": 30, "housing": "own"}
    assert len(predictor.predict([row, row])) == 2


def test_the_runner_stands_where_it_was_asked_for(tiny_artifact):
    artifact = tiny_artifact("text-classification")
    assert isinstance(Predictor(artifact, setup=Setup(length_step=8)).backend, LikeLengthRunner)
    assert not isinstance(Predictor(artifact).backend, LikeLengthRunner)
