"""Steps on an exported file: as small as they say, near to what it was, and run wherever they say."""

import dataclasses
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from unit_compress import finish
from unit_training import split

from penjing.compress import dynamic_int8, half, int4, int8_table, static_int8
from penjing.compress.drift import Reference, feeds
from penjing.compress.graph_file import Graph
from penjing.compress.int4_products import in_int4
from penjing.compress.int8_products import insert_dynamic, insert_static
from penjing.compress.int8_table import quantize_tables
from penjing.compress.step import Material
from penjing.core import registry
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Notice
from penjing.core.runtime import Runtime
from penjing.predict.task_file import read_task

KINDS = ("text-classification", "text-classification/multi-label", "text-regression", "text-pair",
         "token-classification")  # fmt: skip
# (config, greatest mean distance from the source, greatest share of its bytes)
METHODS = {
    "static-int8": (static_int8.StaticInt8Config(), 0.01, 0.4),
    "dynamic-int8": (dynamic_int8.DynamicInt8Config(), 0.01, 0.4),
    "int4": (int4.Int4Config(), 0.04, 0.3),
    "half": (half.HalfConfig(), 0.0003, 0.55),
}
LEVELS = onnxruntime.GraphOptimizationLevel


@dataclasses.dataclass
class Case:
    task: object
    rows: list
    material: Material
    path: object


def case_of(task, rows, roles, path, work):
    material = Material(
        task=task,
        splits=split(rows, roles),
        unlabelled=(),
        read_lessons=None,
        objective=None,
        runtime=Runtime(threads=1),
        seed=3,
        work=work,
        identity="step",
    )
    return Case(task, rows, material, path)


@pytest.fixture
def make_case(tiny_artifact, task_rows, tmp_path):
    def make(kind):
        artifact = tiny_artifact(kind)
        task, path, (rows, roles) = read_task(artifact.path), artifact.file("model.onnx"), task_rows(kind)
        if task.calibration is not None:  # random heads are so sure of themselves that nothing changes a probability
            logits = session_of(path).run(["logits"], feeds(task, rows, batch_tokens=10_000)[0])[0]
            task = task.with_temperature(float(logits.std()))
        return case_of(task, rows, roles, path, tmp_path)

    return make


def apply(config, case, target, source=None, events=None):
    method = registry.resolve("compressors", config.method)
    assert method.config is type(config)
    return finish(method.graph(config, source or case.path, target, case.material), events=events)


def session_of(path, level=LEVELS.ORT_ENABLE_ALL, optimized=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 3
    if optimized:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def openvino_outputs(path, batch, names):
    pytest.importorskip("openvino", exc_type=ModuleNotFoundError)
    from penjing.predict.openvino_backend import import_openvino

    core = import_openvino().Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}  # with AMX it is bf16 unless told
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    found = compiled(batch)
    return {name: found[name] for name in names}


def weights_by_type(path):
    """Type → bytes of initializers."""
    found = {}
    for tensor in onnx.load(path).graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type)
        found[name] = found.get(name, 0) + len(tensor.raw_data)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_smaller_file_says_the_same_everywhere(make_case, tmp_path, capfd, caplog, method, kind):
    case = make_case(kind)
    config, most, share = METHODS[method]
    target = tmp_path / "out" / "model.onnx"
    target.parent.mkdir()
    with caplog.at_level(logging.INFO):
        facts = apply(config, case, target)
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    assert facts["bytes_before"] == case.path.stat().st_size
    assert facts["bytes_after"] == target.stat().st_size
    share += 0.25 if kind == "token-classification" else 0  # a third of a traced graph of this size is no weights
    assert facts["bytes_after"] < share * facts["bytes_before"]
    assert facts["operators"] >= 8
    assert 0 < facts["drift"]["mean"] < most and facts["drift"]["mean"] <= facts["drift"]["max"]
    onnx.checker.check_model(target)

    (batch,) = feeds(case.task, case.rows[:8], batch_tokens=10_000)
    names = [spec.name for spec in case.task.signature.outputs]
    levels = (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_BASIC, LEVELS.ORT_ENABLE_EXTENDED, LEVELS.ORT_ENABLE_ALL)
    expected, *others = (dict(zip(names, session_of(target, level).run(names, batch), strict=True)) for level in levels)
    for outputs in (*others, openvino_outputs(target, batch, names)):
        for name in names:
            spread = expected[name][expected[name] > -1000].std()
            # A value between two levels may round to either, as sums are ordered otherwise in each.
            assert np.abs(outputs[name] - expected[name]).max() < 0.05 * spread

    again = tmp_path / "again.onnx"
    assert apply(config, case, again) == facts
    assert again.read_bytes() == target.read_bytes()


def test_products_are_computed_in_8_bits(make_case, tmp_path):
    case = make_case("text-classification")
    apply(METHODS["static-int8"][0], case, tmp_path / "static.onnx")
    apply(METHODS["dynamic-int8"][0], case, tmp_path / "dynamic.onnx")
    apply(METHODS["int4"][0], case, tmp_path / "int4.onnx")
    fused = {}
    for name in ("static", "dynamic", "int4"):
        session_of(tmp_path / f"{name}.onnx", optimized=tmp_path / "fused.onnx")
        fused[name] = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert fused["static"].count("MatMulIntegerToFloat") == 12  # six a layer
    # Query, key and value share their activations' scale.
    assert fused["dynamic"].count("MatMulIntegerToFloat") + fused["dynamic"].count("DynamicQuantizeMatMul") == 12
    assert fused["int4"].count("MatMulNBits") == 12


def test_a_gemm_with_its_bias_is_computed_in_8_bits(make_case, tmp_path):
    case = make_case("text-classification")
    graph = Graph.read(case.path)
    (head,) = [product for product in graph.products() if product.transposed]
    assert head not in graph.inner_products()  # a step itself leaves the last product as it is
    (batch,) = feeds(case.task, case.rows, batch_tokens=10_000)
    graph.body.output.add().name = head.activations
    graph.write(tmp_path / "watched.onnx")
    values = session_of(tmp_path / "watched.onnx").run([head.activations], batch)[0]
    graph = Graph.read(case.path)
    insert_static(graph, [head], {head.activations: (float(values.min()), float(values.max()))})
    graph.write(tmp_path / "gemm.onnx")
    session_of(tmp_path / "gemm.onnx", optimized=tmp_path / "fused.onnx")
    assert "QGemm" in [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    reference = Reference(case.task, [batch], case.path, 1)
    assert reference.compare(tmp_path / "gemm.onnx").mean < 0.02


def test_as_the_library_quantizes(make_case, tmp_path):
    """Products of the same numbers as `quantize_dynamic`'s, and the same bytes as `MatMulNBitsQuantizer`'s."""
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    case = make_case("text-classification")
    graph = Graph.read(case.path)
    graph.split_gemms()
    graph.write(tmp_path / "source.onnx")
    products = graph.inner_products()
    weights = [graph.weight(product) for product in products]
    (head,) = {product.name for product in graph.products()} - {product.name for product in products}
    insert_dynamic(graph, products)
    graph.write(tmp_path / "ours.onnx")
    quantize_dynamic(tmp_path / "source.onnx", tmp_path / "theirs.onnx", ["MatMul"], per_channel=True,
                     reduce_range=True, nodes_to_exclude=[head])  # fmt: skip
    (batch,) = feeds(case.task, case.rows, batch_tokens=10_000)
    ours, theirs, source = (
        session_of(tmp_path / f"{name}.onnx").run(["logits"], batch)[0] for name in ("ours", "theirs", "source")
    )
    assert np.abs(ours - theirs).max() < 0.1 * np.abs(ours - source).max()

    quantizer = MatMulNBitsQuantizer(onnx.load(tmp_path / "source.onnx"), block_size=32, is_symmetric=True)
    quantizer.process()
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantizer.model.model.graph.initializer}
    for product, weight_KN in zip(products, weights, strict=True):
        packed, scales = in_int4(weight_KN, 32, shares=(1.0,))
        assert np.array_equal(packed, known[f"{product.weight}_Q4"])
        assert np.allclose(scales, known[f"{product.weight}_scales"], rtol=1e-6)


def unpacked(packed, scales):
    levels = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:2], -1).astype(np.float32) - 8
    return (levels * scales[..., None]).reshape(len(packed), -1).T


def test_4_bits_take_the_scale_with_the_least_error():
    weight_KN = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)  # 100 is no multiple of 32
    weight_KN[:32, 3] = 0
    plain, better = (in_int4(weight_KN, 32, *shares) for shares in ([(1.0,)], []))
    errors = [np.square(unpacked(*found)[:100] - weight_KN).sum() for found in (plain, better)]
    assert errors[1] < 0.95 * errors[0] < 0.02 * np.square(weight_KN).sum()
    assert not unpacked(*better)[:32, 3].any()


def outlier(case, path, times=3000):
    """One neuron of the first layer's feed-forward block is so many times the others, and counts as they do."""
    model = onnx.load(case.path)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    up, down = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights][4:6]
    factors_N = np.where(np.arange(128) == 5, times, 1)
    for node, factors in ((up, factors_N), (down, 1 / factors_N[:, None])):
        # A fresh layer hardly changes what it is given, so that nobody would miss it.
        values = numpy_helper.to_array(weights[node.input[1]]) * factors * 8
        weights[node.input[1]].CopyFrom(numpy_helper.from_array(values.astype(np.float32), node.input[1]))
    onnx.save(model, path)
    return down.name


@pytest.mark.parametrize("kind", ["text-classification", "token-classification"])
def test_an_operator_with_an_outlier_stays_in_32_bits(make_case, tmp_path, kind):
    case = make_case(kind)
    planted = outlier(case, tmp_path / "planted.onnx")
    events = []
    config = static_int8.StaticInt8Config(mean_tolerance=0.02)
    facts = apply(config, case, tmp_path / "model.onnx", tmp_path / "planted.onnx", events)
    assert facts["kept"] == [planted] and facts["within_tolerance"]
    assert facts["drift"]["mean"] < 0.02 < facts["drift_without_kept"]["mean"]
    count = len(Graph.read(case.path).inner_products())
    assert facts["operators"] == count - 1
    assert f"1 of {count} operators stay" in next(event.text for event in events if isinstance(event, Notice))
    assert weights_by_type(tmp_path / "model.onnx")["FLOAT"] > 128 * 64 * 4

    config = static_int8.StaticInt8Config(mean_tolerance=0.02, keep_at_most=0)
    events.clear()
    facts = apply(config, case, tmp_path / "model.onnx", tmp_path / "planted.onnx", events)
    assert facts["kept"] == [] and not facts["within_tolerance"]
    assert [event.level for event in events if isinstance(event, Notice)] == ["warning"]


@pytest.mark.parametrize(
    ("config", "times", "bits"),
    [(dynamic_int8.DynamicInt8Config(mean_tolerance=0.02), 3000, 32), (int4.Int4Config(mean_tolerance=0.012), 20, 8)],
)
def test_other_precisions_fall_back_too(make_case, tmp_path, config, times, bits):
    case = make_case("text-classification")
    planted = outlier(case, tmp_path / "planted.onnx", times)
    events = []
    facts = apply(config, case, tmp_path / "model.onnx", tmp_path / "planted.onnx", events)
    assert planted in facts["kept"] and facts["within_tolerance"]
    assert facts["drift"]["mean"] < config.mean_tolerance < facts["drift_without_kept"]["mean"]
    assert f"stay in {bits} bits" in next(event.text for event in events if isinstance(event, Notice))
    (batch,) = feeds(case.task, case.rows[:8], batch_tokens=10_000)
    theirs = openvino_outputs(tmp_path / "model.onnx", batch, ["logits"])["logits"]
    (ours,) = session_of(tmp_path / "model.onnx").run(["logits"], batch)
    assert np.abs(ours - theirs).max() < 0.05 * ours.std()
    facts = apply(
        config.model_copy(update={"keep_at_most": 0}), case, tmp_path / "model.onnx", tmp_path / "planted.onnx"
    )
    assert facts["kept"] == [] and not facts["within_tolerance"]


def test_operators_can_be_excluded(make_case, tmp_path):
    case = make_case("text-classification")
    names = [product.name for product in Graph.read(case.path).inner_products()]
    facts = apply(static_int8.StaticInt8Config(exclude=(names[0],)), case, tmp_path / "model.onnx")
    assert facts["operators"] == 12 - sum(names[0] in name for name in names)


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_other_calibrations(make_case, tmp_path, calibration):
    case = make_case("text-classification")
    facts = apply(static_int8.StaticInt8Config(calibration=calibration), case, tmp_path / "model.onnx")
    assert facts["drift"]["mean"] < 0.05


def test_ranges_leave_out_what_is_rare():
    from penjing.compress.ranges import _BINS, _inner, _most_alike

    values = np.random.default_rng(0).normal(size=100_000)
    values[:3] = 40  # as a padding token's might be
    extremes = (float(values.min()), 40.0)
    low, high = _inner(np.histogram(values, _BINS, extremes)[0], extremes, 99.9)
    assert np.percentile(values, 0.05) - 0.1 < low < -3 and 3 < high < np.percentile(values, 99.95) + 0.1
    low, high = _most_alike(np.histogram(values, _BINS, (-40, 40))[0], extremes)
    assert low == extremes[0] and 3 < high < 10
    assert _inner(np.histogram(values, _BINS, extremes)[0], extremes, 100) == pytest.approx(extremes)


def test_a_large_vocabulary_is_never_in_32_bits(make_case, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_table, "_SMALL_BYTES", 0)
    case = make_case("text-classification")
    size = max(np.prod(tensor.dims) for tensor in onnx.load(case.path).graph.initializer)
    for config in (int4.Int4Config(), half.HalfConfig()):
        apply(config, case, tmp_path / "model.onnx")
        session_of(tmp_path / "model.onnx", optimized=tmp_path / "fused.onnx")
        assert size * 4 > weights_by_type(case.path)["FLOAT"] / 4  # a good part of the model
        tables = [t for t in onnx.load(tmp_path / "fused.onnx").graph.initializer if np.prod(t.dims) == size]
        assert {onnx.TensorProto.DataType.Name(table.data_type) for table in tables} <= {"INT8", "FLOAT16"}
    facts = apply(int4.Int4Config(embeddings=False), case, tmp_path / "plain.onnx")
    assert facts["tables"] == 0 and weights_by_type(tmp_path / "plain.onnx")["FLOAT"] > size * 4


def test_a_small_vocabulary_is_in_8_bits_on_disk_and_looked_up_in_32(make_case, tmp_path, monkeypatch):
    case = make_case("text-classification")
    apply(int4.Int4Config(), case, tmp_path / "small.onnx")
    session = session_of(tmp_path / "small.onnx", optimized=tmp_path / "fused.onnx")
    looked_up = [node.input[0] for node in onnx.load(tmp_path / "fused.onnx").graph.node if node.op_type == "Gather"]
    tables = {t.name: t for t in onnx.load(tmp_path / "fused.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT in {tables[name].data_type for name in looked_up if name in tables}
    monkeypatch.setattr(int8_table, "_SMALL_BYTES", 0)
    apply(int4.Int4Config(), case, tmp_path / "large.onnx")
    assert (tmp_path / "large.onnx").stat().st_size == pytest.approx((tmp_path / "small.onnx").stat().st_size, rel=0.02)
    for batch in feeds(case.task, case.rows):
        small, large = (one.run(None, dict(batch)) for one in (session, session_of(tmp_path / "large.onnx")))
        assert np.array_equal(small[0], large[0])


def test_vectors_of_places_are_in_8_bits_too(make_case, tmp_path, monkeypatch):
    case = make_case("text-classification")
    before = apply(int4.Int4Config(), case, tmp_path / "places.onnx")
    monkeypatch.setattr(int8_table, "_LEAST_ROWS", 8)
    facts = apply(int4.Int4Config(), case, tmp_path / "model.onnx")
    assert facts["tables"] == before["tables"] + 1
    assert (tmp_path / "model.onnx").stat().st_size < (tmp_path / "places.onnx").stat().st_size
    reference = Reference(case.task, feeds(case.task, case.rows), tmp_path / "places.onnx", 1)
    assert 0 < reference.compare(tmp_path / "model.onnx").mean < 0.01


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("method", ["static-int8", "dynamic-int8", "int4"])
def test_after_16_bits(make_case, tmp_path, method, dtype):
    case = make_case("text-classification")
    apply(half.HalfConfig(dtype=dtype), case, tmp_path / "half.onnx")
    config, most, _ = METHODS[method]
    facts = apply(config, case, tmp_path / "model.onnx", tmp_path / "half.onnx")
    assert facts["operators"] == 12 and facts["tables"] == 1
    batches = feeds(case.task, case.rows)
    assert Reference(case.task, batches, case.path, 1).compare(tmp_path / "model.onnx").mean < most
    kinds = weights_by_type(tmp_path / "model.onnx")
    assert kinds["FLOAT"] + kinds.get("FLOAT16", 0) + kinds.get("BFLOAT16", 0) < case.path.stat().st_size / 10


@pytest.mark.parametrize("method", ["static-int8", "dynamic-int8", "int4"])
def test_16_bits_after(make_case, tmp_path, method):
    """What is left in 32 bits is halved; scales of quantized weights stay."""
    case = make_case("text-classification")
    facts = apply(METHODS[method][0], case, tmp_path / "small.onnx")
    after = apply(half.HalfConfig(), case, tmp_path / "model.onnx", tmp_path / "small.onnx")
    assert after["operators"] == 1 and after["bytes_after"] < facts["bytes_after"]  # positions
    assert after["drift"]["mean"] < 0.001
    if method == "static-int8":
        at_once = METHODS[method][0].model_copy(update={"rest": "fp16"})
        assert apply(at_once, case, tmp_path / "once.onnx")["bytes_after"] <= after["bytes_after"]
    session_of(tmp_path / "model.onnx", optimized=tmp_path / "fused.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert sum(kinds.count(kind) for kind in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits")) == 12


def test_what_16_bits_cannot_hold_is_left(make_case, tmp_path):
    case = make_case("text-classification")
    model = onnx.load(case.path)
    tensor = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    values = numpy_helper.to_array(tensor).copy()
    values[-1, 0] = 1e6  # of a token that no row has
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "large.onnx")
    facts = apply(half.HalfConfig(), case, tmp_path / "model.onnx", tmp_path / "large.onnx")
    assert facts["left"] == [tensor.name]
    assert apply(half.HalfConfig(dtype="bf16"), case, tmp_path / "model.onnx", tmp_path / "large.onnx")["left"] == []


def test_4_bits_answer_a_row_as_they_answer_a_batch(make_case, tmp_path):
    case = make_case("text-classification")
    rows = sorted(case.rows, key=lambda row: case.task.lengths([row])[0])[:8]
    (batch,) = feeds(case.task, rows, batch_tokens=10_000)
    for config in (int4.Int4Config(), int4.Int4Config(accuracy_level=4), static_int8.StaticInt8Config()):
        apply(config, case, tmp_path / "model.onnx")
        session = session_of(tmp_path / "model.onnx")
        together = session.run(["logits"], batch)[0]
        for i in range(len(rows)):
            alone = session.run(["logits"], {name: array[i : i + 1] for name, array in batch.items()})[0]
            assert np.abs(alone - together[i]).max() < 1e-4


def test_tables_of_n_grams_are_left(tmp_path):
    helper = onnx.helper
    rng = np.random.default_rng(0)
    arrays = {
        "words": rng.normal(size=(300, 64)).astype(np.float16),
        "ngrams": rng.normal(size=(300, 64)).astype(np.float16),
        "slots": np.arange(300),
        "factor": np.array([1_000_003]),
        "prime": np.array([251]),
        "weight": rng.normal(size=(64, 64)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["word"]),
        helper.make_node("Cast", ["word"], ["word_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "factor"], ["hash"]),
        helper.make_node("Mod", ["hash", "prime"], ["place"]),
        helper.make_node("Gather", ["slots", "place"], ["slot"]),
        helper.make_node("Gather", ["ngrams", "slot"], ["ngram"]),
        helper.make_node("Cast", ["ngram"], ["ngram_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["word_float", "ngram_float"], ["both"]),
        helper.make_node("MatMul", ["both", "weight"], ["out"]),
    ]
    graph = Graph(
        helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n"])],
                [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, ["n", 64])],
                [numpy_helper.from_array(array, name) for name, array in arrays.items()],
            ),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        )
    )
    graph.write(tmp_path / "source.onnx")
    assert quantize_tables(graph) == ["words"]
    graph.write(tmp_path / "table.onnx")
    kinds = weights_by_type(tmp_path / "table.onnx")
    assert kinds["FLOAT16"] == 300 * 64 * 2 and kinds["INT8"] == 300 * 64
    feed = {"ids": np.arange(300)}
    expected, found = (session_of(tmp_path / f"{name}.onnx").run(["out"], feed)[0] for name in ("source", "table"))
    assert 0 < np.abs(found - expected).max() < 0.02 * expected.std() * 8


def test_what_is_no_model_of_ours_is_refused(make_case, tmp_path):
    case = make_case("text-classification")
    source, target = tmp_path / "source.onnx", tmp_path / "model.onnx"
    source.write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match="not an ONNX file"):
        apply(half.HalfConfig(), case, target, source)
    onnx.save(onnx.load(case.path), source, save_as_external_data=True, size_threshold=0)
    with pytest.raises(CapabilityError, match="in other files"):
        apply(static_int8.StaticInt8Config(), case, target, source)
    apply(static_int8.StaticInt8Config(), case, target)
    for config in (static_int8.StaticInt8Config(), int4.Int4Config()):
        with pytest.raises(CapabilityError, match="no weights that this step changes"):
            apply(config, case, tmp_path / "again.onnx", target)


def test_a_file_that_does_not_answer_is_refused(make_case, tmp_path):
    case = make_case("text-classification")
    reference = Reference(case.task, feeds(case.task, case.rows[:4]), case.path, 1)
    model = onnx.load(case.path)
    bias = next(t for t in model.graph.initializer if t.dims == [3] and t.data_type == onnx.TensorProto.FLOAT)
    bias.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(ArtifactError, match="not numbers"):
        reference.compare(tmp_path / "nan.onnx")
    other = make_case("text-classification/multi-label")
    with pytest.raises(ArtifactError, match="has shape"):
        reference.compare(other.path)
    with pytest.raises(ArtifactError, match="cannot run the model"):
        reference.compare(make_case("text-pair").path)


@pytest.mark.parametrize("method", METHODS)
def test_trees_have_no_layers(task_rows, method):
    rows, roles = task_rows("tabular-classification")
    task = registry.resolve("tasks", "tabular-classification").from_rows(rows, roles, None)
    assert registry.resolve("compressors", method).supports(task) == "a tabular-classification model has no layers"


@pytest.fixture(scope="module")
def traced(tmp_path_factory, tiny_pretrained, text_settings, task_rows):
    """Architecture → the case of a model that torch's exporter wrote."""
    import torch
    import transformers
    from unit_training import make_model

    from penjing.export.onnx import trace_onnx
    from penjing.train.config import TrainConfig

    configs = {
        "distilbert": transformers.DistilBertConfig(vocab_size=600, dim=64, n_layers=1, n_heads=2, hidden_dim=128),
        "albert": transformers.AlbertConfig(
            vocab_size=600, embedding_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=128, max_position_embeddings=64,
        ),
    }  # fmt: skip
    made = {}

    def make(name):
        if name not in made:
            directory = tmp_path_factory.mktemp(name)
            rows, roles = task_rows("text-classification")
            task = registry.resolve("tasks", "text-classification").from_rows(rows, roles, text_settings)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(2)
                transformers.AutoModel.from_config(configs[name]).save_pretrained(directory)
                pretrained = dataclasses.replace(tiny_pretrained, name=name, directory=directory, dimension=64)
                _, model = make_model(task, pretrained, TrainConfig())
                torch.nn.init.normal_(model.head.weight)
            trace_onnx(model.eval(), task, rows, directory / "model.onnx")
            made[name] = case_of(task, rows, roles, directory / "model.onnx", directory)
        return made[name]

    return make


@pytest.mark.slow  # the exporter follows a model for some seconds
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("architecture", "products"), [("distilbert", 6), ("albert", 13)])
def test_traced_models(traced, tmp_path, architecture, products, method):
    case = traced(architecture)
    config, most, _ = METHODS[method]
    facts = apply(config, case, tmp_path / "model.onnx")
    assert facts["drift"]["mean"] < 2 * most and facts["bytes_after"] < 0.6 * facts["bytes_before"]
    if method != "half":
        assert facts["operators"] + len(facts["kept"]) == products and facts["tables"] == 1
    assert b"site-packages" not in (tmp_path / "model.onnx").read_bytes()  # the exporter's stack traces
    (batch,) = feeds(case.task, case.rows[:8], batch_tokens=10_000)
    expected = session_of(tmp_path / "model.onnx").run(["logits"], batch)[0]
    found = openvino_outputs(tmp_path / "model.onnx", batch, ["logits"])["logits"]
    assert np.abs(found - expected).max() < 0.05 * expected.std()
