"""Heads and neurons that do nothing go without a trace; what is left is smaller, learns again, and is exported."""

import pytest
import torch
from unit_compress import Trained, artifact_of, finish, outputs, trained_intents
from unit_training import make_model, split

from penjing.compress.prune_structure import METHOD, PruneStructureConfig, best, prune, without
from penjing.compress.student import Shape, make_student
from penjing.core import registry
from penjing.core.errors import CapabilityError
from penjing.core.events import Notice
from penjing.export.onnx import check_parity, export_onnx
from penjing.models.encoder import Encoder, EncoderConfig
from penjing.models.ngrams import blank_ngrams
from penjing.tasks.token_classification import TokenClassification
from penjing.train.config import TrainConfig
from penjing.train.restore import restore_model


@pytest.fixture(scope="module")
def trained(task_rows, text_settings, tiny_pretrained, tmp_path_factory):
    return trained_intents(task_rows, text_settings, tiny_pretrained, tmp_path_factory.mktemp("training"))


@torch.no_grad()
def silence(encoder, heads, neurons):
    """Nothing that these heads and neurons of each layer say is heard."""
    for layer, silent_heads, silent_neurons in zip(encoder.layers, heads, neurons, strict=True):
        layer.attention_out.weight.unflatten(1, (layer.num_heads, -1))[:, silent_heads] = 0
        layer.down.weight[:, silent_neurons] = 0


def without_clock(facts):
    return {name: value for name, value in facts.items() if name not in ("minutes", "samples_per_s")}


def test_the_registry_knows_it():
    assert registry.resolve("compressors", "prune-structure") is METHOD
    assert METHOD.config(method="prune-structure").keep_neurons == 0.5


def test_what_says_nothing_goes_without_a_trace(trained, tmp_path):
    model, events = trained.model(), []
    silence(model.encoder, [[1, 2], [0, 3]], [range(0, 64), range(30, 94)])
    before = trained.said(model)
    config = PruneStructureConfig(keep_heads=0.5, keep_neurons=0.5, epochs=0)
    changed = finish(prune(config, model, trained.material(tmp_path)), events=events)
    sizes = changed.model.encoder.config
    assert (sizes.layer_heads, sizes.layer_sizes) == ((2, 2), (64, 64))
    torch.testing.assert_close(trained.said(changed.model), before, atol=1e-5, rtol=0)
    lost = changed.facts["parameters_before"] - changed.facts["parameters"]
    assert lost == 2 * (2 * 16 * (4 * 64 + 3) + 64 * (2 * 64 + 1))
    assert Notice("compress", "kept 4 of 8 heads and 128 of 256 neurons") in events


def test_what_is_left_is_exported_and_restored(trained, tmp_path):
    config = PruneStructureConfig(keep_heads=0.6, keep_neurons=0.3, epochs=0)
    model = finish(prune(config, trained.model(), trained.material(tmp_path))).model
    sizes = model.encoder.config
    assert sum(sizes.layer_heads) == 5 and sum(sizes.layer_sizes) == 80
    assert all(size % 8 == 0 for size in sizes.layer_sizes)
    restored = restore_model(artifact_of(model, trained.task, tmp_path / "artifact"), trained.task)
    torch.testing.assert_close(trained.said(restored), trained.said(model), atol=0, rtol=0)
    export_onnx(model, trained.task, trained.splits.train.rows, tmp_path / "model.onnx")
    check_parity(model, trained.task, trained.splits.valid.rows, tmp_path / "model.onnx", 1e-4)


def test_what_the_time_cut_short_says_so(trained, tmp_path):
    config = PruneStructureConfig(keep_neurons=0.5, epochs=500)
    facts = finish(prune(config, trained.model(), trained.material(tmp_path, max_minutes=0.02))).facts
    assert facts["cut_short"] and 0 < facts["minutes"] < 0.2


def test_the_strongest_ngrams_alone_stay_where_it_is_asked_for(trained, tmp_path):
    model = trained.model()
    model.ngrams = blank_ngrams(50, len(trained.task.labels))
    model.ngrams.hashes = torch.arange(50 + 1)
    changed = finish(prune(PruneStructureConfig(epochs=0, ngrams=20), model, trained.material(tmp_path))).model
    assert len(changed.ngrams.hashes) == 21
    model = trained.model()
    model.ngrams = blank_ngrams(50, len(trained.task.labels))
    changed = finish(prune(PruneStructureConfig(epochs=0), model, trained.material(tmp_path / "all"))).model
    assert len(changed.ngrams.hashes) == 51


def test_killed_between_two_rounds_it_ends_with_the_same_weights(trained, tmp_path):
    config = PruneStructureConfig(keep_heads=0.5, keep_neurons=0.25, rounds=2, epochs=8, learning_rate=1e-3)

    def run(name, stop_at=None):
        return finish(prune(config, trained.model(), trained.material(tmp_path / name)), stop_at=stop_at)

    whole = run("whole")
    assert run("cut", stop_at=6) is None  # of 4 + 4 steps
    resumed = run("cut")
    assert without_clock(resumed.facts) == without_clock(whole.facts) and sum(whole.facts["layer_sizes"]) == 64
    assert whole.facts["minutes"] > 0 and not whole.facts["cut_short"]
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, atol=0, rtol=0)


def test_training_brings_back_what_pruning_took(trained, tmp_path):
    wanted = trained.said(trained.teacher).softmax(1)

    def distance(epochs):
        config = PruneStructureConfig(keep_heads=0.25, keep_neurons=0.125, epochs=epochs, learning_rate=2e-3)
        model = finish(prune(config, trained.model(), trained.material(tmp_path / str(epochs)))).model
        return float((trained.said(model).softmax(1) - wanted).abs().mean())

    assert distance(25) < 0.3 * distance(0)


def test_spans_are_pruned_too(task_rows, text_settings, tiny_pretrained, tmp_path):
    rows, roles = task_rows("token-classification")
    task = TokenClassification.from_rows(rows, roles, text_settings)
    _, model = make_model(task, tiny_pretrained, TrainConfig())
    silence(model.encoder, [[0], [3]], [range(64), range(64)])
    spans = Trained(model, task, split(rows, roles))
    before = outputs(model, task, rows[:6])
    config = PruneStructureConfig(keep_heads=0.75, epochs=0)
    changed = finish(prune(config, spans.model(), spans.material(tmp_path)))
    assert changed.facts["layer_heads"] == [3, 3] and changed.facts["layer_sizes"] == [64, 64]
    torch.testing.assert_close(outputs(changed.model, task, rows[:6]), before, atol=1e-4, rtol=0)
    taught = finish(prune(config.model_copy(update={"epochs": 1}), spans.model(), spans.material(tmp_path)))
    assert not torch.equal(outputs(taught.model, task, rows[:6]), outputs(changed.model, task, rows[:6]))


def test_a_student_of_a_pruned_teacher_has_no_more_than_is_left(trained, tmp_path):
    config = PruneStructureConfig(keep_heads=0.5, keep_neurons=0.25, epochs=0, ranking="uniform")
    model = finish(prune(config, trained.model(), trained.material(tmp_path))).model
    student = make_student(model, Shape(2, 64, 128))
    sizes = student.encoder.config
    assert (sizes.layer_heads, sizes.layer_sizes) == ((2, 2), (32, 32))
    torch.testing.assert_close(trained.said(student), trained.said(model), atol=1e-5, rtol=0)


def test_layers_compete_or_keep_equal_shares():
    worth = [torch.tensor([9.0, 1, 8, 2]), torch.tensor([0.4, 0.1, 0.2, 0.3])]
    assert best(worth, 4, 1, across=True) == [[0, 2, 3], [0]]
    assert best(worth, 4, 1, across=False) == [[0, 2], [0, 3]]
    assert best(worth, 1, 1, across=True) == [[0], [0]]
    assert best(worth, 8, 1, across=True) == [[0, 1, 2, 3]] * 2
    wide = [torch.arange(20.0), torch.arange(20.0) / 100]
    assert [len(kept) for kept in best(wide, 20, 8, across=True)] == [8, 8]
    assert [len(kept) for kept in best(wide, 30, 8, across=True)] == [16, 16]
    assert best(wide, 30, 8, across=True)[0] == list(range(4, 20))


def test_factored_products_are_cut_on_their_outer_sides():
    encoder = Encoder(EncoderConfig(50, 32, 1, 4, 64, ranks={"layers.0.qkv": 8, "layers.0.down": 8, "words": 16}))
    with torch.no_grad():
        encoder.layers[0].down.first.weight[:, 32:] = 0
        encoder.layers[0].attention_out.weight[:, 8:16] = 0
        ids = torch.arange(12).view(2, 6)
        smaller = without(encoder, [[0, 2, 3]], [list(range(32))])
        torch.testing.assert_close(smaller(ids), encoder(ids), atol=1e-5, rtol=0)
    assert smaller.layers[0].qkv.second.out_features == 72 and smaller.layers[0].down.in_features == 32


def test_other_architectures_are_refused(trained, tmp_path):
    model = trained.model()
    model.encoder = torch.nn.Identity()
    with pytest.raises(CapabilityError, match="layers of other architectures"):
        finish(prune(PruneStructureConfig(), model, trained.material(tmp_path)))
