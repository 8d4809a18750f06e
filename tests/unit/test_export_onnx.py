"""The exported file computes what the trained model computes, for any number of rows and tokens."""

import onnx
import onnxruntime
import pytest
import torch
import transformers
from unit_training import make_model

from penjing.core.errors import ArtifactError, CapabilityError
from penjing.export.bert_graph import can_write
from penjing.export.onnx import check_parity, export_onnx, trace_onnx
from penjing.tasks.text_classification import TextClassification
from penjing.tasks.text_pair import TextPair
from penjing.tasks.text_regression import TextRegression
from penjing.train.config import TrainConfig
from penjing.train.method import apply_method, merge_adapters

pytest_plugins = ["training_fixtures"]

KINDS = {
    "text-classification": TextClassification,
    "text-classification/multi-label": TextClassification,
    "text-pair": TextPair,
    "text-regression": TextRegression,
}


def randomised(task, pretrained, config=None):
    """A model whose head is not zero, so that outputs differ between rows."""
    _, model = make_model(task, pretrained, config or TrainConfig())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.nn.init.normal_(model.head.weight)
        torch.nn.init.normal_(model.head.bias)
        for name, parameter in model.encoder.named_parameters():
            if name.endswith("bias"):  # a fresh model's biases are zero, and a forgotten one would not be seen
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def session_of(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_trained_model(task_rows, text_settings, tiny_pretrained, tmp_path, kind):
    rows, roles = task_rows(kind)
    task = KINDS[kind].from_rows(rows, roles, text_settings)
    model = randomised(task, tiny_pretrained)
    export_onnx(model, task, rows, tmp_path / "model.onnx")
    found = check_parity(model, task, rows, tmp_path / "model.onnx", 1e-4)
    assert found.rows == len(rows)
    assert 0 < found.max_difference < 1e-4  # of logits that are about 10
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    names = [entry.name for entry in session_of(tmp_path / "model.onnx").get_inputs()]
    assert names == [spec.name for spec in task.signature.inputs]


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_any_number_of_rows_and_tokens(tiny_task, tiny_splits, tiny_pretrained, tmp_path, opset):
    model = randomised(tiny_task, tiny_pretrained)
    export_onnx(model, tiny_task, tiny_splits.train.rows, tmp_path / "model.onnx", opset=opset)
    session = session_of(tmp_path / "model.onnx")
    generator = torch.Generator().manual_seed(0)
    for rows, length in [(1, 1), (1, 48), (7, 3), (33, 17), (2, 64)]:
        ids = torch.randint(5, 100, (rows, length), generator=generator)
        mask = (torch.arange(length)[None] < torch.randint(1, length + 1, (rows, 1), generator=generator)).long()
        feed = {"input_ids": ids, "attention_mask": mask}
        with torch.no_grad():
            expected = model(feed)["logits"]
        (found,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in feed.items()})
        assert found.shape == (rows, 3)
        assert float((torch.from_numpy(found) - expected).abs().max()) < 1e-4


def test_the_order_of_a_pair_and_either_text_reach_the_graph(task_rows, text_settings, tiny_pretrained, tmp_path):
    rows, roles = task_rows("text-pair")
    task = TextPair.from_rows(rows, roles, text_settings)
    export_onnx(randomised(task, tiny_pretrained), task, rows, tmp_path / "model.onnx")
    batch = task.encode(rows[:4])
    session = session_of(tmp_path / "model.onnx")
    (given,) = session.run(["logits"], batch)
    (swapped,) = session.run(["logits"], {name: array[:, ::-1].copy() for name, array in batch.items()})
    (twice,) = session.run(["logits"], {name: array[:, [0, 0]].copy() for name, array in batch.items()})
    assert min(abs(given - swapped).max(), abs(given - twice).max(), abs(swapped - twice).max()) > 1e-2


def test_a_changed_weight_fails_the_parity_check(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model, path = randomised(tiny_task, tiny_pretrained), tmp_path / "model.onnx"
    export_onnx(model, tiny_task, tiny_splits.train.rows, path)
    exported = onnx.load(path)
    norm = next(node for node in exported.graph.node if node.op_type == "LayerNormalization")
    weight = next(tensor for tensor in exported.graph.initializer if tensor.name == norm.input[2])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[3] += 0.5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(exported, path)
    with pytest.raises(ArtifactError, match="differs from the trained model by"):
        check_parity(model, tiny_task, tiny_splits.valid.rows, path, 1e-3)


def test_not_a_number_fails_the_parity_check(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model, path = randomised(tiny_task, tiny_pretrained), tmp_path / "model.onnx"
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    export_onnx(model, tiny_task, tiny_splits.train.rows, path)
    with pytest.raises(ArtifactError, match="differs from the trained model by nan"):
        check_parity(model, tiny_task, tiny_splits.valid.rows, path, 1e-3)


def test_a_parity_check_needs_rows(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model, path = randomised(tiny_task, tiny_pretrained), tmp_path / "model.onnx"
    export_onnx(model, tiny_task, tiny_splits.train.rows, path)
    with pytest.raises(AssertionError, match="no rows"):
        check_parity(model, tiny_task, [], path, 1e-3)


def test_merged_adapters_are_written_and_unmerged_ones_traced(tiny_task, tiny_pretrained, tiny_splits, tmp_path):
    config = TrainConfig(method="lora", adapter={"rank": 4})
    model = randomised(tiny_task, tiny_pretrained, config)
    apply_method(model, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert not can_write(model)
    merge_adapters(model)
    assert can_write(model)
    export_onnx(model, tiny_task, tiny_splits.train.rows, tmp_path / "model.onnx")
    check_parity(model, tiny_task, tiny_splits.valid.rows, tmp_path / "model.onnx", 1e-4)


def test_onnxruntime_fuses_the_graph(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    export_onnx(randomised(tiny_task, tiny_pretrained), tiny_task, tiny_splits.train.rows, tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node]
    assert operators.count("BiasGelu") == 2  # one a layer, with the bias of the product before it
    assert operators.count("SkipLayerNormalization") == 4
    assert not {"Erf", "Pow", "Sqrt"} & set(operators)


@pytest.fixture
def distilbert(tiny_pretrained, tiny_tokenizers, tmp_path):
    from dataclasses import replace

    config = transformers.DistilBertConfig(vocab_size=600, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "distilbert")
    return replace(tiny_pretrained, name="distilbert", directory=tmp_path / "distilbert", dimension=32)


@pytest.mark.slow  # the exporter follows the model for some seconds
@pytest.mark.parametrize("kind", ["text-classification", "text-pair"])
def test_other_architectures_are_traced(kind, task_rows, text_settings, distilbert, tmp_path):
    rows, roles = task_rows(kind)
    task = KINDS[kind].from_rows(rows, roles, text_settings)
    model = randomised(task, distilbert)
    assert not can_write(model)
    export_onnx(model, task, rows, tmp_path / "model.onnx")
    check_parity(model, task, rows, tmp_path / "model.onnx", 1e-4)
    session, alone = session_of(tmp_path / "model.onnx"), task.encode(rows[:1])
    with torch.no_grad():
        expected = model({name: torch.from_numpy(array) for name, array in alone.items()})["logits"].numpy()
    assert abs(session.run(["logits"], alone)[0] - expected).max() < 1e-4


@pytest.mark.slow
def test_tracing_gives_what_writing_gives(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model = randomised(tiny_task, tiny_pretrained)
    trace_onnx(model, tiny_task, tiny_splits.train.rows, tmp_path / "traced.onnx")
    export_onnx(model, tiny_task, tiny_splits.train.rows, tmp_path / "written.onnx")
    batch = tiny_task.encode(tiny_splits.train.rows)
    found = [session_of(tmp_path / name).run(["logits"], batch)[0] for name in ("traced.onnx", "written.onnx")]
    assert abs(found[0] - found[1]).max() < 1e-4


@pytest.mark.slow
def test_what_cannot_be_exported_is_said(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model = randomised(tiny_task, tiny_pretrained)

    class DataDependent(torch.nn.Module):
        def forward(self, batch):
            if float(batch["input_ids"].float().mean()) > 3:  # no graph can hold this decision
                return model(batch)
            return {"logits": model(batch)["logits"] * 2}

    with pytest.raises(CapabilityError, match="cannot be exported to ONNX"):
        export_onnx(DataDependent(), tiny_task, tiny_splits.train.rows, tmp_path / "model.onnx")
