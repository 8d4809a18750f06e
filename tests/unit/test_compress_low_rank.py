"""Two narrow matrices say what one of low rank said; they are trained, restored and exported like any other."""

import dataclasses

import pytest
import torch
from unit_compress import Trained, artifact_of, finish, outputs, trained_intents
from unit_training import make_model, split

from penjing.compress import prune_vocabulary
from penjing.compress.low_rank import METHOD, LowRankConfig, product_components, reduce_rank, word_components
from penjing.compress.prune_vocabulary import VocabularyConfig
from penjing.compress.student import Shape, make_student
from penjing.core import registry
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Notice
from penjing.export.bert_graph import can_write
from penjing.export.onnx import check_parity, export_onnx
from penjing.models.encoder import EncoderConfig
from penjing.models.factored import Factored, FactoredWords
from penjing.tasks.text_pair import TextPair
from penjing.tasks.token_classification import TokenClassification
from penjing.train.config import TrainConfig
from penjing.train.restore import config_of, restore_model


@pytest.fixture(scope="module")
def trained(task_rows, text_settings, tiny_pretrained, tmp_path_factory):
    return trained_intents(task_rows, text_settings, tiny_pretrained, tmp_path_factory.mktemp("training"))


@torch.no_grad()
def lower(matrix, rank):
    """The nearest matrix of a rank, in place."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    matrix.copy_(left[:, :rank] * values[:rank] @ right[:rank])


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("by", ["energy", "ratio"])
def test_what_is_of_low_rank_is_factored_without_a_trace(trained, tmp_path, weighted, by):
    model, events = trained.model(), []
    for layer in model.encoder.layers:
        lower(layer.up.weight, 8)
        lower(layer.qkv.weight, 16)
    before = trained.said(model)
    keep = 0.9999 if by == "energy" else 0.49
    config = LowRankConfig(products="all", by=by, keep=keep, weighted=weighted, epochs=0)
    if by == "ratio":  # the others are of full rank
        config = config.model_copy(update={"products": "feed-forward"})
        for layer in model.encoder.layers:
            lower(layer.down.weight, 16)
        before = trained.said(model)
    changed = finish(reduce_rank(config, model, trained.material(tmp_path)), events=events)
    ranks = changed.facts["ranks"]
    wanted = {"up": 24, "down": 24} if by == "ratio" else {"qkv": 16, "up": 8}
    assert ranks == {f"layers.{i}.{name}": rank for i in (0, 1) for name, rank in wanted.items()}
    assert isinstance(changed.model.encoder.layers[1].up, Factored)
    torch.testing.assert_close(trained.said(changed.model), before, atol=1e-4, rtol=0)
    after, total = changed.facts["parameters"], changed.facts["parameters_before"]
    assert after == sum(p.numel() for p in changed.model.parameters()) < total
    of = 4 if by == "ratio" else 8
    assert Notice("compress", f"4 of {of} matrices factored: {after:,} of {total:,} weights are left") in events


def test_looking_at_the_inputs_loses_less(trained, tmp_path):
    wanted = trained.said(trained.teacher)

    def distance(weighted):
        config = LowRankConfig(keep=0.4, weighted=weighted, epochs=0)
        changed = finish(reduce_rank(config, trained.model(), trained.material(tmp_path / str(weighted))))
        return float((trained.said(changed.model) - wanted).abs().mean())

    assert distance(True) < 0.7 * distance(False)


@pytest.mark.parametrize("half", [False, True])
def test_all_is_restored_and_exported(trained, tmp_path, half):
    model = trained.model()
    if half:  # a vocabulary as its file has it
        model.encoder.words.weight.data = model.encoder.words.weight.data.half()
    config = LowRankConfig(keep=0.5, embeddings=True, epochs=1, learning_rate=1e-3)
    changed = finish(reduce_rank(config, model, trained.material(tmp_path)))
    encoder = changed.model.encoder
    assert isinstance(encoder.words, FactoredWords) and len(encoder.config.ranks) == 9
    assert encoder.words.table.weight.dtype == (torch.float16 if half else torch.float32)
    restored = restore_model(artifact_of(changed.model, trained.task, tmp_path / "artifact"), trained.task)
    torch.testing.assert_close(trained.said(restored), trained.said(changed.model), atol=0, rtol=0)
    assert config_of(restored.encoder) == config_of(encoder)
    assert can_write(restored)
    export_onnx(restored, trained.task, trained.splits.train.rows, tmp_path / "model.onnx")
    check_parity(restored, trained.task, trained.splits.valid.rows, tmp_path / "model.onnx", 1e-4)


def test_training_brings_back_what_was_lost(trained, tmp_path):
    wanted = trained.said(trained.teacher).softmax(1)

    def distance(epochs):
        config = LowRankConfig(keep=0.1, epochs=epochs, learning_rate=2e-3)
        changed = finish(reduce_rank(config, trained.model(), trained.material(tmp_path / str(epochs))))
        return float((trained.said(changed.model).softmax(1) - wanted).abs().mean())

    assert distance(25) < 0.3 * distance(0)


@pytest.mark.parametrize(("kind", "of"), [("text-pair", TextPair), ("token-classification", TokenClassification)])
def test_pairs_and_spans_are_factored_too(task_rows, text_settings, tiny_pretrained, tmp_path, kind, of):
    rows, roles = task_rows(kind)
    task = of.from_rows(rows, roles, text_settings)
    _, model = make_model(task, tiny_pretrained, TrainConfig())
    torch.nn.init.normal_(model.head.weight if kind == "text-pair" else model.head.borders.weight)
    for layer in model.encoder.layers:
        lower(layer.up.weight, 16)
    both = Trained(model.eval(), task, split(rows, roles))
    config = LowRankConfig(products="feed-forward", by="energy", keep=0.9999, epochs=0)
    changed = finish(reduce_rank(config, both.model(), both.material(tmp_path)))
    assert changed.facts["ranks"] == {"layers.0.up": 16, "layers.1.up": 16}
    torch.testing.assert_close(
        outputs(changed.model, task, rows[:6]), outputs(model, task, rows[:6]), atol=1e-4, rtol=0
    )
    if kind == "text-pair":
        export_onnx(changed.model, task, rows, tmp_path / "model.onnx")
        check_parity(changed.model, task, rows, tmp_path / "model.onnx", 1e-4)


def test_ranks_are_those_asked_for():
    matrix = torch.diag(torch.tensor([8.0] * 8 + [4.0] * 8 + [1.0] * 48))
    found = product_components(matrix)
    energies = [64] * 8 + [16] * 8 + [1] * 48
    assert found.rank("energy", 0.7) == 8 and found.rank("energy", 0.9) == 16  # of 512, 640 and 688
    assert sum(energies[:16]) / sum(energies) == pytest.approx(float(found.energy_K[:16].sum() / found.energy_K.sum()))
    assert found.rank("energy", 0.99) is None and found.rank("ratio", 0.5) == 16
    narrow = word_components(torch.cat([torch.eye(16), torch.zeros(100, 16)]), torch.arange(116))
    assert narrow.energy_K.tolist() == [float(i) for i in range(16, 0, -1)]  # an own vector each, 1 + its count
    assert narrow.rank("ratio", 0.5) == 8


def test_what_would_not_get_smaller_is_refused(trained, tmp_path):
    with pytest.raises(CapabilityError, match=r"to keep 0\.99 of the ratio, no matrix is of a rank"):
        finish(reduce_rank(LowRankConfig(keep=0.99), trained.model(), trained.material(tmp_path)))
    assert registry.resolve("compressors", "low-rank") is METHOD


@pytest.mark.parametrize(
    "changed",
    [
        {"ranks": {"layers.2.up": 8}},
        {"ranks": {"head": 8}},
        {"ranks": {"layers.0.up": 0}},
        {"ranks": {"layers.0.up": "8"}},
        {"ranks": {"layers.0.up": 16}},
        {"layer_heads": [1]},
        {"layer_sizes": [8, 0]},
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(trained, tmp_path, monkeypatch, changed):
    found = {**config_of(trained.teacher.encoder), **changed}
    monkeypatch.setattr("penjing.train.restore.config_of", lambda encoder: found)
    artifact = artifact_of(trained.teacher, trained.task, tmp_path / "artifact")
    with pytest.raises(ArtifactError, match=r"does not fit encoder\.json"):
        restore_model(artifact, trained.task)


def test_a_vocabulary_of_narrow_vectors_is_pruned_like_any_other(trained, tmp_path):
    config = LowRankConfig(products="none", embeddings=True, epochs=0)
    model = finish(reduce_rank(config, trained.model(), trained.material(tmp_path))).model
    before = trained.said(model)
    changed = finish(prune_vocabulary.apply(VocabularyConfig(), model, trained.material(tmp_path)))
    encoder = changed.model.encoder
    assert encoder.config.vocab_size == len(encoder.table.weight) < len(trained.teacher.encoder.table.weight)
    assert encoder.config.ranks == {"words": encoder.table.embedding_dim}
    found = outputs(changed.model, changed.task, trained.splits.train.rows)
    torch.testing.assert_close(found, before, atol=1e-5, rtol=0)


def test_a_student_of_a_factored_teacher_is_whole(trained, tmp_path):
    config = LowRankConfig(keep=0.5, embeddings=True, epochs=0)
    model = finish(reduce_rank(config, trained.model(), trained.material(tmp_path))).model
    sizes = model.encoder.config
    student = make_student(model, Shape(sizes.num_hidden_layers, sizes.hidden_size, sizes.intermediate_size))
    assert student.encoder.config == dataclasses.replace(EncoderConfig(**vars(sizes)), ranks=None)
    model.ngrams = None
    torch.testing.assert_close(trained.said(student), trained.said(model), atol=1e-4, rtol=0)
