"""Hashes in OpenVINO's 32 bits are those of 64, to the last bit."""

import numpy as np
import pytest

from penjing.models.ngrams import FACTOR, PRIME, token_hashes
from penjing.predict import openvino_integers

onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")
SLOTS = 2**14


def model_of(nodes, outputs, constants):
    """An OpenVINO model that takes `ids` [n, L]."""
    helper, wide = onnx.helper, onnx.TensorProto.INT64
    graph = helper.make_graph(
        nodes,
        "hashes",
        [helper.make_tensor_value_info("ids", wide, ["n", "length"])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return openvino.Core().read_model(made.SerializeToString())


def hashing(known):
    make, wide = onnx.helper.make_node, onnx.TensorProto.INT64
    nodes = [
        make("Mul", ["ids", "factor"], ["product"]),
        make("Add", ["product", "one"], ["sum"]),
        make("Mod", ["sum", "prime"], ["single"]),
        make("Slice", ["single", "start", "last", "axis"], ["first"]),
        make("Slice", ["ids", "one", "end", "axis"], ["second"]),
        make("Mul", ["first", "factor"], ["multiple"]),
        make("Add", ["second", "two"], ["more"]),
        make("Add", ["multiple", "more"], ["total"]),
        make("Mod", ["total", "prime"], ["pair"]),
        make("Mod", ["pair", "slots"], ["slot"]),
        make("Equal", ["pair", "known"], ["equal"]),
        make("Cast", ["equal"], ["same"], to=wide),
    ]
    constants = {
        "factor": [FACTOR], "prime": [PRIME], "slots": [SLOTS], "known": [known],
        "start": [0], "one": [1], "two": [2], "last": [-1], "end": [2**31], "axis": [1],
    }  # fmt: skip
    return model_of(nodes, dict.fromkeys(("single", "pair", "slot", "same"), wide), constants)


def test_every_hash_comes_out():
    assert openvino_integers.PRIME == PRIME
    ids = np.random.default_rng(0).integers(0, 250_002, (64, 300))
    ids[0, :6] = [0, 1, 2**16 - 1, 2**16, 250_001, 250_001]
    single, pair = token_hashes(ids)
    known = int(pair[3, 5])
    model = hashing(known)
    assert openvino_integers.narrow_hashes(model, openvino)
    found = openvino.Core().compile_model(model, "CPU")({"ids": ids})
    assert np.array_equal(found["single"], single) and np.array_equal(found["pair"], pair)
    assert np.array_equal(found["slot"], pair % SLOTS)
    assert np.array_equal(found["same"], pair == known) and found["same"].sum() >= 1
    for near in (known - 1, known + 1):  # the same number in floats
        model = hashing(near)
        openvino_integers.narrow_hashes(model, openvino)
        assert openvino.Core().compile_model(model, "CPU")({"ids": ids})["same"].sum() == (pair == near).sum()


def test_without_it_they_would_not():
    ids = np.full((1, 4), 250_001)
    found = openvino.Core().compile_model(hashing(0), "CPU")({"ids": ids})
    assert not np.array_equal(found["pair"], token_hashes(ids)[1]), "then OpenVINO needs no help any more"


@pytest.mark.parametrize(("factor", "prime"), [(FACTOR, 251), (2**21, PRIME), (FACTOR, 2**30)])
def test_remainders_of_other_kinds_are_told(factor, prime):
    make = onnx.helper.make_node
    nodes = [make("Mul", ["ids", "factor"], ["product"]), make("Mod", ["product", "prime"], ["out"])]
    model = model_of(nodes, {"out": onnx.TensorProto.INT64}, {"factor": [factor], "prime": [prime]})
    assert not openvino_integers.narrow_hashes(model, openvino)
