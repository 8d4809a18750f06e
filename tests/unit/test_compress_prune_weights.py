"""The smallest weights are zero, and stay so through training, in 16 bits, too, and in the exported file."""

import onnx
import pytest
import torch
from unit_compress import finish, trained_intents

from penjing.compress.prune_weights import METHOD, PruneWeightsConfig, prune, zero_smallest
from penjing.core import registry
from penjing.core.errors import CapabilityError
from penjing.core.events import Notice
from penjing.export.onnx import export_onnx
from penjing.models.ngrams import blank_ngrams
from penjing.train.optim import Masters, ParameterGroup


@pytest.fixture(scope="module")
def trained(task_rows, text_settings, tiny_pretrained, tmp_path_factory):
    return trained_intents(task_rows, text_settings, tiny_pretrained, tmp_path_factory.mktemp("training"))


def zeros(tensors):
    tensors = list(tensors)
    return sum(int((tensor == 0).sum()) for tensor in tensors) / sum(tensor.numel() for tensor in tensors)


def products(model):
    return [module.weight for module in model.encoder.modules() if isinstance(module, torch.nn.Linear)]


def test_the_smallest_of_all_become_zero():
    weights = [torch.nn.Parameter(torch.tensor([[1.0, -5], [0.2, 3]])), torch.nn.Parameter(torch.tensor([[-0.1, 4]]))]
    zero_smallest(weights, 0.5)
    assert [weight.tolist() for weight in weights] == [[[0, -5], [0, 3]], [[0, 4]]]


def test_zeros_stay_through_training_and_in_the_file(trained, tmp_path):
    assert registry.resolve("compressors", "prune-weights") is METHOD
    events = []
    config = PruneWeightsConfig(sparsity=0.7, rounds=2, epochs=4, learning_rate=1e-3)
    changed = finish(prune(config, trained.model(), trained.material(tmp_path)), events=events)
    before, after = products(trained.teacher), products(changed.model)
    assert zeros(after) == pytest.approx(0.7, abs=1e-4) == changed.facts["sparsity"]
    assert sum(int((a != b).sum()) for a, b in zip(before, after, strict=True)) > 0.9 * sum(a.numel() for a in after)
    export_onnx(changed.model, trained.task, trained.splits.train.rows, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    used = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    exported = [torch.tensor(onnx.numpy_helper.to_array(t)) for t in graph.initializer if t.name in used]
    assert sum(tensor.numel() for tensor in exported) == sum(weight.numel() for weight in after)
    assert zeros(exported) == pytest.approx(0.7, abs=1e-4)
    facts = changed.facts
    assert facts["zlib_bytes"] < 0.8 * facts["zlib_bytes_before"] < facts["weight_bytes"] and facts["faster"] is False
    said = "70% of the weights are zero: a compressed file is smaller, and no prediction is faster"
    assert Notice("compress", said) in events


def test_zeros_stay_in_16_bits():
    model = torch.nn.Linear(32, 32)
    zero_smallest([model.weight], 0.5)
    dropped = model.weight == 0
    model.to(torch.bfloat16)
    masters = Masters([ParameterGroup(["weight"], [model.weight], 1.0, True)])
    optimizer = torch.optim.AdamW(masters.full, lr=0.1, weight_decay=0.1, fused=True)
    for _ in range(5):
        model(torch.randn(8, 32, dtype=torch.bfloat16)).square().sum().backward()
        masters.collect()
        optimizer.step()
        masters.publish()
        optimizer.zero_grad()
    assert torch.equal(model.float().weight == 0, dropped)
    assert torch.equal(masters.full[0] == 0, dropped)


def test_a_killed_run_ends_with_the_same_weights(trained, tmp_path):
    config = PruneWeightsConfig(sparsity=0.5, rounds=2, epochs=4, learning_rate=1e-3)

    def run(name, stop_at=None):
        return finish(prune(config, trained.model(), trained.material(tmp_path / name)), stop_at=stop_at)

    whole = run("whole")
    assert run("cut", stop_at=3) is None  # of 2 + 2 steps
    for name, value in run("cut").model.state_dict().items():
        torch.testing.assert_close(value, whole.model.state_dict()[name], atol=0, rtol=0)


def test_ngrams_stay_as_they_are(trained, tmp_path):
    model = trained.model()
    model.ngrams = blank_ngrams(10, 3)
    model.ngrams.table.copy_(torch.rand(11, 4))
    state = {name: value.clone() for name, value in model.ngrams.state_dict().items()}
    changed = finish(prune(PruneWeightsConfig(rounds=1, epochs=1), model, trained.material(tmp_path)))
    found = changed.model.ngrams.state_dict()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in state.items())


def test_the_vocabulary_counts_where_asked_for(trained, tmp_path):
    config = PruneWeightsConfig(sparsity=0.6, rounds=1, epochs=0, embeddings=True)
    model = finish(prune(config, trained.model(), trained.material(tmp_path))).model
    assert zeros([*products(model), model.encoder.words.weight]) == pytest.approx(0.6, abs=1e-4)
    assert zeros([model.encoder.words.weight]) > 0.1 and zeros([model.head.weight]) == 0


def test_other_architectures_are_refused(trained, tmp_path):
    model = trained.model()
    model.encoder = torch.nn.Identity()
    with pytest.raises(CapabilityError, match="layers of other architectures"):
        finish(prune(PruneWeightsConfig(), model, trained.material(tmp_path)))
