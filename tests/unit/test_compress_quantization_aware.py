"""Rounding is onnxruntime's, lets gradients pass, and costs less after training with it; nothing of it is left."""

import numpy as np
import pytest
import torch
import unit_training
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import compute_scale_zp, quantize_data
from torch import nn
from unit_compress import Trained, finish, trained_intents
from unit_training import make_model, split

from penjing.compress.fake_quantized import FakeQuantized, insert, remove, rounded_weight
from penjing.compress.quantization_aware import METHOD, QuantizationAwareConfig, train_rounded
from penjing.core import registry
from penjing.core.errors import CapabilityError
from penjing.core.events import Notice
from penjing.export.bert_graph import can_write
from penjing.tasks.token_classification import TokenClassification
from penjing.train.config import TrainConfig


@pytest.fixture(scope="module")
def trained(task_rows, text_settings, tiny_pretrained, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # rounding moves this one far; others hardly, and learn little from it
        patch.setattr(unit_training, "SEED", 9)
        trained = trained_intents(task_rows, text_settings, tiny_pretrained, tmp_path_factory.mktemp("training"))
    for module in trained.teacher.encoder.modules():
        if isinstance(module, nn.Linear):  # a weight of every row stands out, as in large models
            module.weight.data[:, 3] = 0.5 * (-1.0) ** torch.arange(module.out_features)
    return trained


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_are_rounded_as_onnxruntime_rounds_them(bits):
    weight_OI = torch.randn(16, 40, generator=torch.Generator().manual_seed(1))
    weight_OI[3] = 0
    found = rounded_weight(weight_OI, bits)
    for row, rounded in zip(weight_OI.numpy(), found.numpy(), strict=True):
        zero, scale, values = quantize_data(row, TensorProto.INT8, symmetric=True, reduce_range=bits == 7)
        np.testing.assert_allclose(rounded, (values.astype(np.float32) - zero) * scale, atol=1e-6)


def test_inputs_are_rounded_as_onnxruntime_rounds_them():
    layer = FakeQuantized(nn.Linear(6, 6, bias=False), 8)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(6) * 127)
    layer.observing = True
    inputs = torch.tensor([[-1.0, 0.0, 0.3, 0.33, 2.0, 1.234]])
    with torch.no_grad():
        found = layer.eval()(inputs).numpy()[0] / 127
    zero, scale = compute_scale_zp(np.float32(-1), np.float32(2), np.uint8(0), np.uint8(255))
    values = np.clip(np.round(inputs.numpy()[0] / scale) + zero, 0, 255)
    np.testing.assert_allclose(found, (values - zero) * scale, atol=1e-6)


def test_gradients_pass_where_nothing_was_cut_off():
    layer = FakeQuantized(nn.Linear(3, 2), 7).eval()
    layer.range.data = torch.tensor([-1.0, 1.0])
    inputs = torch.tensor([[0.5, -0.7, 3.0]], requires_grad=True)
    layer(inputs).sum().backward()
    torch.testing.assert_close(inputs.grad[0, :2], rounded_weight(layer.weight, 7).sum(0)[:2])
    assert inputs.grad[0, 2] == 0 and layer.range.grad is None
    torch.testing.assert_close(layer.weight.grad[0], layer._rounded(inputs.detach())[0])


def test_a_range_grows_at_once_shrinks_slowly_and_stays_in_32_bits():
    layer = FakeQuantized(nn.Linear(2, 2), 7).train().to(torch.bfloat16)
    layer(torch.tensor([[-2.0, 4.0]], dtype=torch.bfloat16))
    assert layer.range.tolist() == [-2.0, 4.0] and layer.range.dtype == torch.float32
    layer(torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16))
    assert layer.range.tolist() == pytest.approx([-1.97, 3.98])
    layer.eval()(torch.tensor([[9.0, -9.0]], dtype=torch.bfloat16))
    assert layer.range.tolist() == pytest.approx([-1.97, 3.98])


def test_what_is_put_in_comes_out_again(trained):
    model = trained.model()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert len(insert(model, 7)) == 8 and not can_write(model), "all but the head, which static int8 leaves alone"
    remove(model)
    assert can_write(model) and model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_after_training_rounding_costs_less(trained, tmp_path, monkeypatch):
    # Where bf16 is the quicker it is not taken: it rounds more coarsely than what is learned here.
    monkeypatch.setattr("penjing.train.precision.faster_dtype", lambda *_, **__: "bf16")
    events, config = [], QuantizationAwareConfig(epochs=30, learning_rate=1e-4)
    changed = finish(train_rounded(config, trained.model(), trained.material(tmp_path)), events=events)
    assert changed.facts["moved_after"] < 0.5 * changed.facts["moved_before"]
    assert can_write(changed.model) and registry.resolve("compressors", "quantization-aware") is METHOD
    before, after = (changed.facts[name] for name in ("moved_before", "moved_after"))
    said = f"rounding to int8 moved outputs by {before:.2g} on average, and by {after:.2g} after training"
    assert Notice("compress", said) in events


def test_a_killed_run_ends_with_the_same_weights(trained, tmp_path):
    config = QuantizationAwareConfig(epochs=2, learning_rate=1e-3)

    def run(name, stop_at=None):
        step = train_rounded(config, trained.model(), trained.material(tmp_path / name))
        return finish(step, stop_at=stop_at)

    whole = run("whole")
    assert run("cut", stop_at=2) is None  # of 4 steps
    resumed = run("cut")
    assert all(
        resumed.facts[name] == value for name, value in whole.facts.items() if name not in ("minutes", "samples_per_s")
    )
    for name, value in resumed.model.state_dict().items():
        torch.testing.assert_close(value, whole.model.state_dict()[name], atol=0, rtol=0)


def test_spans_are_trained_too(task_rows, text_settings, tiny_pretrained, tmp_path):
    rows, roles = task_rows("token-classification")
    task = TokenClassification.from_rows(rows, roles, text_settings)
    _, model = make_model(task, tiny_pretrained, TrainConfig())
    spans = Trained(model.eval(), task, split(rows, roles))
    config = QuantizationAwareConfig(epochs=1, weight_bits=8)
    changed = finish(train_rounded(config, spans.model(), spans.material(tmp_path)))
    assert changed.facts["moved_before"] > 0 and not torch.equal(spans.said(changed.model), spans.said(model))


def test_other_architectures_are_refused(trained, tmp_path):
    model = trained.model()
    model.encoder = nn.Identity()
    with pytest.raises(CapabilityError, match="layers of other architectures"):
        finish(train_rounded(QuantizationAwareConfig(), model, trained.material(tmp_path)))
