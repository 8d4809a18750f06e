"""Students begin where their teacher is; the torch model of an artifact is the one that was exported."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from unit_training import make_model, train_tiny

from penjing.compress import int8_table
from penjing.compress.chain import write_model
from penjing.compress.graph_file import Graph
from penjing.compress.student import Shape, components, even_places, make_student
from penjing.core.artifact import seal
from penjing.core.errors import CapabilityError
from penjing.export import phrase_graph
from penjing.export.config import ExportConfig
from penjing.export.onnx import check_parity, export_onnx
from penjing.predict.task_file import write_task
from penjing.tasks.text_pair import TextPair
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.loop import to_tensors
from penjing.train.restore import ENCODER_CONFIG, restore_model, write_config

pytest_plugins = ["training_fixtures"]
CONFIG = TrainConfig(epochs=2, batch_rows=8, learning_rate=1e-3, precision="fp32")


@pytest.fixture
def trained(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """A model fine-tuned for two epochs, and its artifact (but for the export)."""
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, CONFIG, tmp_path / "training")
    stage = tmp_path / "artifact"
    stage.mkdir()
    (stage / WEIGHTS).write_bytes((tmp_path / "training" / WEIGHTS).read_bytes())
    write_config(result.model.encoder, stage)
    write_task(tiny_task, stage)
    files = {"predict_files": []}
    return result.model, seal(stage, kind=tiny_task.kind, capabilities=files, batch_invariant=True)


def logits(model, task, rows):
    with torch.no_grad():
        return model.eval()(to_tensors(task.encode(rows), "cpu"))["logits"].numpy()


def test_the_restored_model_is_the_trained_one(trained, tiny_task, tiny_splits):
    model, artifact = trained
    assert model.ngrams is not None
    restored = restore_model(artifact, tiny_task)
    rows = tiny_splits.valid.rows
    np.testing.assert_array_equal(logits(restored, tiny_task, rows), logits(model, tiny_task, rows))


def test_a_student_of_all_of_its_teacher_says_the_same(trained, tiny_task, tiny_splits):
    model, _ = trained
    model.ngrams = None
    config = model.encoder.config
    student = make_student(model, Shape(config.num_hidden_layers, config.hidden_size, config.intermediate_size))
    rows = tiny_splits.valid.rows
    np.testing.assert_allclose(logits(student, tiny_task, rows), logits(model, tiny_task, rows), atol=1e-5)


def test_a_narrower_student_has_the_sizes_asked_for(trained, tiny_task, tiny_splits):
    model, _ = trained
    ids = torch.from_numpy(tiny_task.encode(tiny_splits.train.rows)["input_ids"])
    with torch.no_grad():
        basis = components(torch.cov(model.encoder(ids).flatten(0, 1).T), 32)
    np.testing.assert_allclose(basis.T @ basis, np.eye(32), atol=1e-4)
    student = make_student(model, Shape(1, 32, 48), basis)
    layer = student.encoder.layers[0]
    assert len(student.encoder.layers) == 1 and (layer.num_heads, layer.up.out_features) == (2, 48)
    assert logits(student, tiny_task, tiny_splits.valid.rows).shape == (6, 3)


def test_layers_are_spread_and_the_last_is_kept():
    assert [even_places(6, n) for n in (1, 2, 3, 6)] == [[5], [2, 5], [1, 3, 5], [0, 1, 2, 3, 4, 5]]
    assert all(len(set(even_places(12, n))) == n for n in range(1, 13))


@pytest.mark.parametrize("shape", [Shape(3, 64, 128), Shape(1, 72, 128), Shape(1, 40, 128), Shape(-1, 64, 128)])
def test_a_shape_beyond_the_teacher_is_refused(trained, shape):
    with pytest.raises(CapabilityError, match=r"compress\.distil\."):
        make_student(trained[0], shape)


def test_the_configuration_is_written_for_whoever_restores(trained):
    _, artifact = trained
    assert '"layer_heads"' not in artifact.file(ENCODER_CONFIG).read_text()


def test_a_bag_of_words_is_written_as_a_table(trained, tiny_task, tiny_splits, tmp_path):
    from penjing.export.onnx import check_parity, export_onnx
    from penjing.export.static_graph import is_static

    bag = make_student(trained[0], Shape(0, 64, 1)).eval()
    torch.nn.init.normal_(bag.head.weight)  # begins at zero: it would say nothing
    torch.nn.init.normal_(bag.head.bias)
    assert is_static(bag) and not is_static(make_student(trained[0], Shape(1, 64, 8)))
    rows = tiny_splits.valid.rows
    export_onnx(bag, tiny_task, rows, tmp_path / "bag.onnx")
    assert check_parity(bag, tiny_task, rows, tmp_path / "bag.onnx", 1e-5).max_difference < 1e-5
    assert (tmp_path / "bag.onnx").stat().st_size < 5 * bag.encoder.config.vocab_size * len(tiny_task.labels) + 5_000


@pytest.mark.parametrize(("layers", "at_load"), [(0, True), (0, False), (1, False)])
def test_a_student_with_phrases_is_written_and_restored(
    trained, tiny_task, tiny_splits, tmp_path, monkeypatch, layers, at_load
):
    if not at_load:
        monkeypatch.setattr(phrase_graph, "_MOST_BYTES", 0)
    torch.manual_seed(3)
    student = make_student(trained[0], Shape(layers, 64, 8, phrases=24)).eval()
    assert student.phrases.window.out_features == 24
    torch.nn.init.normal_(student.phrases.back.weight, std=0.2)  # they begin at zero: it would say nothing
    torch.nn.init.normal_(student.head.weight, std=0.2)
    rows = [row for row in tiny_splits.train.rows if row["text"]][:6]
    write_model(student, tiny_task, rows, ExportConfig(), tmp_path)
    assert check_parity(student, tiny_task, rows, tmp_path / "model.onnx", 1e-5).max_difference < 1e-5
    write_task(tiny_task, tmp_path)
    again = restore_model(
        seal(tmp_path, kind=tiny_task.kind, capabilities={"predict_files": []}, batch_invariant=True), tiny_task
    )
    np.testing.assert_array_equal(logits(again, tiny_task, rows), logits(student, tiny_task, rows))
    plain = make_student(trained[0], Shape(layers, 64, 8)).eval()
    plain.head.load_state_dict(student.head.state_dict())
    assert np.abs(logits(plain, tiny_task, rows) - logits(student, tiny_task, rows)).max() > 0.01


def test_what_stands_beside_a_text_does_not_change_its_phrases(trained, tiny_task, tiny_splits):
    torch.manual_seed(3)
    student = make_student(trained[0], Shape(0, 64, 8, phrases=24)).eval()
    torch.nn.init.normal_(student.phrases.back.weight, std=0.2)
    torch.nn.init.normal_(student.head.weight, std=0.2)
    rows = sorted(tiny_splits.train.rows, key=lambda row: len(row["text"]))
    together = logits(student, tiny_task, rows)
    alone = np.concatenate([logits(student, tiny_task, [row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0.01


def test_the_phrases_of_pairs_are_written_too(task_rows, text_settings, tiny_pretrained, tmp_path):
    rows, roles = task_rows("text-pair")
    task = TextPair.from_rows(rows, roles, text_settings)
    _, teacher = make_model(task, tiny_pretrained, CONFIG)
    torch.manual_seed(3)
    student = make_student(teacher, Shape(0, 64, 8, phrases=24)).eval()
    torch.nn.init.normal_(student.phrases.back.weight, std=0.2)
    torch.nn.init.normal_(student.head.weight, std=0.2)
    export_onnx(student, task, rows[:6], tmp_path / "pairs.onnx")
    assert check_parity(student, task, rows, tmp_path / "pairs.onnx", 1e-5).max_difference < 1e-5
    assert np.ptp(logits(student, task, rows), axis=0).max() > 0.01


@pytest.mark.parametrize("at_load", [True, False])
def test_the_vectors_that_phrases_look_up_are_stored_in_8_bits(
    trained, tiny_task, tiny_splits, tmp_path, monkeypatch, at_load
):
    monkeypatch.setattr(int8_table, "_LEAST_ROWS", 64)
    if not at_load:
        monkeypatch.setattr(phrase_graph, "_MOST_BYTES", 0)
    torch.manual_seed(3)
    student = make_student(trained[0], Shape(0, 64, 8, phrases=24)).eval()
    torch.nn.init.normal_(student.phrases.back.weight, std=0.2)
    torch.nn.init.normal_(student.head.weight, std=0.2)
    rows = tiny_splits.train.rows
    export_onnx(student, tiny_task, rows[:6], tmp_path / "model.onnx")
    graph = Graph.read(tmp_path / "model.onnx")
    products = graph.products()
    assert len(int8_table.quantize_tables(graph)) == (4 if at_load else 1)  # and the thirds of the matrix
    assert graph.products() == products  # what is worked out at load is none whose activations could be rounded
    assert len(products) == (2 if at_load else 3)
    graph.write(tmp_path / "small.onnx")
    saved = (tmp_path / "model.onnx").stat().st_size - (tmp_path / "small.onnx").stat().st_size
    assert saved > 2.5 * 64 * student.encoder.config.vocab_size
    assert 0 < check_parity(student, tiny_task, rows, tmp_path / "small.onnx", 0.1).max_difference < 0.1


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("in_8_bits", [False, True])
def test_the_products_of_a_vocabulary_are_worked_out_at_load(
    trained, tiny_task, tiny_splits, tmp_path, monkeypatch, in_8_bits, small
):
    monkeypatch.setattr(int8_table, "_LEAST_ROWS", 64)
    if not small:
        monkeypatch.setattr(int8_table, "_SMALL_BYTES", 0)
    student = make_student(trained[0], Shape(0, 64, 8, phrases=24)).eval()
    export_onnx(student, tiny_task, tiny_splits.train.rows[:6], tmp_path / "model.onnx")
    graph = Graph.read(tmp_path / "model.onnx")
    if in_8_bits:
        assert len(int8_table.quantize_tables(graph)) == 4
    graph.write(tmp_path / "model.onnx")
    kinds = {tuple(tensor.dims): tensor.data_type for tensor in graph.body.initializer}
    rows = student.encoder.config.vocab_size + 1
    kind = onnx.TensorProto.INT8 if in_8_bits else onnx.TensorProto.FLOAT
    assert kinds[rows, 64] == kinds[64, 24] == kind
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    held = [tuple(tensor.dims) for tensor in onnx.load(tmp_path / "loaded.onnx").graph.initializer]
    assert held.count((rows, 24)) == 3
    assert (64, 24) not in held and (65, 24) not in held  # a third of the matrix
