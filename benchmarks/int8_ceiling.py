"""How many int8 operations a second this machine does in a matrix product, which bounds what any int8 model can label.

python benchmarks/int8_ceiling.py
"""

from __future__ import annotations

import json
import os
import sys
import time
from statistics import median
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

ROWS, INNER, OUTER = 1_664, 1_536, 1_536  # tokens of 128 texts; about what a feed-forward layer has
THREADS, PASSES = 2, 30
TOKENS, WIDTH, LAYERS = 13, 384, 2  # of a text of Banking77; what a layer computes is 12 · width² products a token


def quantized_product() -> bytes:
    """A product of unsigned with signed bytes in ONNX, as static quantization writes it."""
    generator = np.random.default_rng(0)
    scale = numpy_helper.from_array(np.float32(0.02), "scale")
    zero_a = numpy_helper.from_array(np.uint8(128), "zero_a")
    zero_b = numpy_helper.from_array(np.int8(0), "zero_b")
    weights = numpy_helper.from_array(generator.integers(-63, 64, (INNER, OUTER), dtype=np.int8), "weights")
    inputs = ["a", "scale", "zero_a", "weights", "scale", "zero_b", "scale", "zero_a"]
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", inputs, ["c"])], "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [ROWS, INNER])],
        [helper.make_tensor_value_info("c", TensorProto.UINT8, [ROWS, OUTER])],
        [scale, zero_a, zero_b, weights],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def quantized_layer() -> bytes:
    """The same product between nodes that quantize and dequantize, which OpenVINO joins into one in int8."""
    generator = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(np.float32(0.02), "scale"),
        numpy_helper.from_array(np.uint8(128), "zero_a"),
        numpy_helper.from_array(np.int8(0), "zero_b"),
        numpy_helper.from_array(generator.integers(-63, 64, (INNER, OUTER), dtype=np.int8), "weights"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["a", "scale", "zero_a"], ["qa"]),
        helper.make_node("DequantizeLinear", ["qa", "scale", "zero_a"], ["da"]),
        helper.make_node("DequantizeLinear", ["weights", "scale", "zero_b"], ["db"]),
        helper.make_node("MatMul", ["da", "db"], ["c"]),
    ]
    graph = helper.make_graph(
        nodes, "layer",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [ROWS, INNER])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [ROWS, OUTER])],
        initializers,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def int8_ceiling() -> dict[str, Any]:
    """Operations a second (a product and a sum are two) of either engine, the better of them, and what follows."""
    import onnxruntime
    import openvino

    generator = np.random.default_rng(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(quantized_product(), options, providers=["CPUExecutionProvider"])
    bytes_a = generator.integers(0, 255, (ROWS, INNER), dtype=np.uint8)
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": THREADS}
    compiled = core.compile_model(core.read_model(quantized_layer(), b""), "CPU", settings)
    floats_a = generator.standard_normal((ROWS, INNER), dtype=np.float32)
    found = {
        "onnxruntime_gops": _gops(lambda: session.run(None, {"a": bytes_a})),
        "openvino_gops": _gops(lambda: compiled([floats_a])),
    }
    gops = max(found.values())
    operations = 2 * LAYERS * 12 * WIDTH**2 * TOKENS
    return {**found, "gops": gops, "two_layers_rows_per_s": 1e9 * gops / operations}


def _gops(call: Any) -> float:
    spent = []
    for _ in range(PASSES):
        begun = time.perf_counter()
        call()
        spent.append(time.perf_counter() - begun)
    return 2 * ROWS * INNER * OUTER / median(spent[3:]) / 1e9


if __name__ == "__main__":
    print(json.dumps(int8_ceiling()))
