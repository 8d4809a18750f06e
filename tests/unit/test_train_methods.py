"""What is trained by each method, and that adapters end up in the weights."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from unit_training import make_model, train_tiny

from penjing.core.errors import CapabilityError
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.loop import to_tensors
from penjing.train.method import apply_method, merge_adapters
from penjing.train.optim import group_parameters

pytest_plugins = ["training_fixtures"]

WIDTH, INNER, LAYERS, CLASSES = 64, 128, 2, 3
HEAD = CLASSES * WIDTH + CLASSES
LAYER = 4 * WIDTH * WIDTH + 4 * WIDTH + 2 * WIDTH * INNER + INNER + WIDTH + 4 * WIDTH
LINEAR_SIDES = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, INNER), (INNER, WIDTH)]
RANK = 4
LORA = LAYERS * sum(RANK * (inputs + outputs) for inputs, outputs in LINEAR_SIDES)
EXPECTED = {
    "full": LAYERS * LAYER + HEAD,
    "last-k": LAYER + HEAD,
    "lora": LORA + HEAD,
    "dora": LORA + LAYERS * sum(outputs for _, outputs in LINEAR_SIDES) + HEAD,
    # One factor for each output, except where it scales the input of the second feed-forward product.
    "ia3": LAYERS * (3 * WIDTH + WIDTH + INNER + INNER) + HEAD,
    "probe": HEAD,
}
ADAPTERS = ["lora", "dora", "ia3"]


def num_parameters(model, trainable=False):
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def config_of(method: str, **more) -> TrainConfig:
    return TrainConfig(
        method=method, last_k=1, adapter={"rank": RANK, "alpha": 8}, **{"frozen_layers": 0, "dropout": 0.0, **more}
    )


@pytest.mark.parametrize("method", EXPECTED)
def test_what_is_trained(tiny_task, tiny_pretrained, method):
    _, model = make_model(tiny_task, tiny_pretrained, config_of(method))
    apply_method(model, config_of(method))
    assert num_parameters(model, trainable=True) == EXPECTED[method]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"head.weight", "head.bias"} <= trained
    assert not any(name.startswith(("encoder.words", "encoder.positions", "encoder.types")) for name in trained)
    if method == "last-k":
        assert all(name.startswith(("encoder.layers.1.", "head.")) for name in trained)


def test_embeddings_are_trained_when_asked_for(tiny_task, tiny_pretrained):
    config = config_of("full", train_embeddings=True)
    _, model = make_model(tiny_task, tiny_pretrained, config)
    apply_method(model, config)
    assert num_parameters(model, trainable=True) == num_parameters(model)


def test_the_lowest_layers_are_frozen_when_asked_for(tiny_task, tiny_pretrained):
    config = config_of("full", frozen_layers=1)
    _, model = make_model(tiny_task, tiny_pretrained, config)
    apply_method(model, config)
    assert num_parameters(model, trainable=True) == LAYER + HEAD
    for refused in (config_of("full", frozen_layers=2), config_of("full", frozen_layers=1, train_embeddings=True)):
        with pytest.raises(CapabilityError, match=r"train\.frozen_layers"):
            apply_method(make_model(tiny_task, tiny_pretrained, refused)[1], refused)


def test_more_layers_than_there_are(tiny_task, tiny_pretrained):
    config = TrainConfig(method="last-k", last_k=3)
    _, model = make_model(tiny_task, tiny_pretrained, config)
    with pytest.raises(CapabilityError, match="2 layers, 3 were to be trained"):
        apply_method(model, config)


@pytest.mark.parametrize("method", ADAPTERS)
def test_merged_weights_are_the_adapted_model(tiny_task, tiny_pretrained, tiny_splits, method):
    trainer, model = make_model(tiny_task, tiny_pretrained, config_of(method))
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    apply_method(model, config_of(method))
    batch = to_tensors(tiny_task.encode(tiny_splits.train.rows[:8], training=True), "cpu")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    losses = []
    for _ in range(5):
        loss, weight = trainer.loss(model, batch)
        (loss / weight).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    model.eval()
    with torch.no_grad():
        adapted = model(batch)["logits"]
        merge_adapters(model)
        merged = model(batch)["logits"]
    assert float((adapted - merged).abs().max()) < 1e-5
    assert model.state_dict().keys() == plain.keys()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, plain[name])}
    assert {f"encoder.layers.{i}.{part}.weight" for i in range(2) for part in ("qkv", "up", "down")} <= changed
    assert not any("norm" in name or "words" in name for name in changed)


@pytest.mark.parametrize("method", [*ADAPTERS, "last-k", "probe"])
def test_a_run_trains_what_it_says_and_keeps_the_rest(tiny_task, tiny_pretrained, tiny_splits, tmp_path, method):
    # From a random head: after a probe these few rows leave next to no loss, and what is left is noise of dropout.
    config = config_of(
        method,
        epochs=8,
        learning_rate=1e-2,
        batch_rows=8,
        precision="fp32",
        label_smoothing=0.0,
        dropout=0.0,
        head_start="random",
        ngrams=False,
    )
    # Judged on what it learns, so that the last weights are the best ones.
    splits = replace(tiny_splits, valid=tiny_splits.train)
    result = train_tiny(tiny_task, splits, tiny_pretrained, config, tmp_path)
    _, fresh = make_model(tiny_task, tiny_pretrained, config)
    start, end = fresh.state_dict(), load_file(tmp_path / WEIGHTS)
    assert start.keys() == end.keys()
    changed = {name for name in end if not torch.equal(start[name], end[name])}
    if method == "probe":
        assert changed == {"head.weight", "head.bias"}
        assert [entry["step"] for entry in result.history] == [0.0]
    else:
        assert any(name.startswith("encoder.layers.1.") for name in changed)
        assert any(name.startswith("encoder.layers.0.") for name in changed) == (method != "last-k")
        assert result.history[-1]["loss"] < 0.9 * result.history[1]["loss"]


def test_random_weights_are_all_trained(tiny_task, tiny_pretrained, tiny_splits, tmp_path):
    """A third of a pretrained encoder is left as it is; of one that knows nothing that would be noise for ever."""
    scratch = replace(tiny_pretrained, name="scratch")
    # Judged on what it learns, from a random head, so that the weights it began with are not the best ones.
    splits = replace(tiny_splits, valid=tiny_splits.train)
    config = config_of("full", epochs=8, learning_rate=1e-2, batch_rows=8, precision="fp32", head_start="random")
    result = train_tiny(tiny_task, splits, scratch, config, tmp_path)
    start, end = make_model(tiny_task, scratch, config)[1].state_dict(), load_file(tmp_path / WEIGHTS)
    matrices = [name for name in start if start[name].ndim == 2 and "types" not in name]
    assert {"encoder.words.weight", "encoder.layers.0.qkv.weight"} <= set(matrices)
    assert not [name for name in matrices if torch.equal(start[name], end[name])]
    assert result.config.train_embeddings
    kept = config.model_copy(update={"frozen_layers": 1})
    train_tiny(tiny_task, splits, scratch, kept, tmp_path / "kept")
    end = load_file(tmp_path / "kept" / WEIGHTS)
    assert torch.equal(start["encoder.layers.0.qkv.weight"], end["encoder.layers.0.qkv.weight"])


def test_learning_rates_by_depth(tiny_task, tiny_pretrained):
    _, model = make_model(tiny_task, tiny_pretrained, TrainConfig(train_embeddings=True))
    groups = group_parameters(model, head_multiplier=3.0, layer_decay=0.5)
    multiplier = {name: group.multiplier for group in groups for name in group.names}
    decays = {name: group.decay for group in groups for name in group.names}
    assert multiplier["head.weight"] == multiplier["head.bias"] == 3.0
    assert multiplier["encoder.layers.1.qkv.weight"] == 1.0
    assert multiplier["encoder.layers.0.qkv.weight"] == 0.5
    assert multiplier["encoder.words.weight"] == multiplier["encoder.embedding_norm.bias"] == 0.25
    assert decays["encoder.layers.0.qkv.weight"] and decays["head.weight"]
    assert not decays["encoder.layers.0.qkv.bias"] and not decays["encoder.layers.0.output_norm.weight"]
    assert sorted(multiplier) == sorted(name for name, _ in model.named_parameters())
