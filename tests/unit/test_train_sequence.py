"""Regularization of the sequence trainer, and which settings a trainer accepts."""

from collections import Counter

import numpy as np
import pytest
import torch
from unit_training import make_model, split, train_tiny

from penjing.core.errors import CapabilityError
from penjing.core.task import Table
from penjing.tasks.text_classification import TextClassification
from penjing.tasks.text_regression import TextRegression
from penjing.tasks.token_classification import TokenClassification
from penjing.train.config import TrainConfig
from penjing.train.gradient.masked import MaskToken
from penjing.train.gradient.sequence import SequenceTrainer
from penjing.train.honours import idle_settings, refuse_ignored
from penjing.train.loop import to_tensors

pytest_plugins = ["training_fixtures"]

PLAIN = {"label_smoothing": 0.0, "dropout": 0.0, "token_dropout": 0.0, "mixup": 0.0, "rdrop": 0.0, "frozen_layers": 0}


@pytest.fixture
def batch(tiny_task, tiny_splits):
    return to_tensors(tiny_task.encode(tiny_splits.train.rows, training=True), "cpu")


def ready(task, pretrained, **settings):
    """A trainer and a model with a head that is not zero."""
    trainer, model = make_model(task, pretrained, TrainConfig(**{**PLAIN, **settings}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(model.head.weight)
    return trainer, model.double().train()


def loss_of(trainer, model, batch, seed=0) -> float:
    torch.manual_seed(seed)
    total, weight = trainer.loss(model, batch)
    assert float(weight) == len(batch["targets"])
    return float(total.detach())


def test_balanced_classes_are_counted_from_the_training_rows(tiny_task, tiny_splits, tiny_pretrained):
    rows = [row for i, row in enumerate(tiny_splits.train.rows) if row["label"] != "refund" or i % 2]
    table = Table(rows, [str(i) for i in range(len(rows))], "uneven")
    trainer, _ = ready(tiny_task, tiny_pretrained, class_weights="balanced")
    assert trainer.objective.class_weights is None
    trainer.observe(tiny_task, table)
    counts = Counter(row["label"] for row in rows)
    assert len(set(counts.values())) > 1
    expected = [len(rows) / (3 * counts[label]) for label in tiny_task.labels]
    assert trainer.objective.class_weights == pytest.approx(tuple(expected))


def test_balanced_labels_weigh_rows_without_over_rows_with(task_rows, text_settings, tiny_pretrained):
    rows, roles = task_rows("text-classification/multi-label")
    task = TextClassification.from_rows(rows, roles, text_settings)
    trainer, _ = ready(task, tiny_pretrained, class_weights="balanced")
    trainer.observe(task, Table(rows, [str(i) for i in range(len(rows))], "labels"))
    counts = [sum(label in row["labels"] for row in rows) for label in task.labels]
    assert trainer.objective.class_weights == pytest.approx(tuple((len(rows) - c) / c for c in counts))


def test_balance_changes_what_a_run_learns(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """One class is rare; with balance its rows count as much as the others', so its mean loss is lower at the end."""
    rare = [i for i, row in enumerate(tiny_splits.train.rows) if row["label"] == "refund"][:2]
    kept = [i for i, row in enumerate(tiny_splits.train.rows) if row["label"] != "refund"] + rare
    from dataclasses import replace

    splits = replace(tiny_splits, train=tiny_splits.train.take(kept), valid=tiny_splits.train.take(rare))
    losses = {}
    for weights in ("none", "balanced"):
        config = TrainConfig(
            class_weights=weights, epochs=2, batch_rows=8, learning_rate=1e-3, precision="fp32", head_start="random",
            **PLAIN,
        )  # fmt: skip
        result = train_tiny(tiny_task, splits, tiny_pretrained, config, tmp_path / weights)
        inputs = to_tensors(tiny_task.encode(splits.valid.rows, training=True), "cpu")
        with torch.no_grad():
            logits = result.model(inputs)["logits"]
        losses[weights] = float(torch.nn.functional.cross_entropy(logits, inputs["targets"]))
    assert losses["balanced"] < losses["none"] - 0.05


def test_numbers_have_no_classes_to_weigh_or_to_smooth(task_rows, text_settings):
    task = TextRegression.from_rows(*task_rows("text-regression"), text_settings)
    for accepted in ({}, {"label_smoothing": 0.0}, {"loss": "mse", "rdrop": 1.0}):
        refuse_ignored(SequenceTrainer(), task, TrainConfig(**accepted))
    config = TrainConfig(class_weights="balanced", label_smoothing=0.4, direct={"trials": 3})
    with pytest.raises(CapabilityError) as told:
        refuse_ignored(SequenceTrainer(), task, config)
    assert told.value.message == (
        "text-regression: train.class_weights = balanced, train.label_smoothing = 0.4, train.direct.trials = 3 have no "
        "meaning for this task's trainer (SequenceTrainer). Next: leave them out."
    )


def test_a_trained_model_claims_no_setting_that_did_not_shape_it(
    task_rows, text_settings, tiny_pretrained, tmp_path, tiny_task, tiny_splits
):
    config = TrainConfig(epochs=1, precision="fp32")
    rows, roles = task_rows("text-regression")
    task = TextRegression.from_rows(rows, roles, text_settings)
    trained = train_tiny(task, split(rows, roles), tiny_pretrained, config, tmp_path / "numbers").config
    assert (trained.label_smoothing, trained.ngrams, trained.class_weights) == (0.0, False, "none")
    trained = train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / "classes").config
    assert (trained.label_smoothing, trained.ngrams) == (config.label_smoothing, True) != (0.0, False)


@pytest.mark.parametrize(
    ("kind", "cls", "loss"),
    [
        ("text-classification", TextClassification, "bce"),
        ("text-classification", TextClassification, "mse"),
        ("text-classification/multi-label", TextClassification, "cross_entropy"),
        ("text-regression", TextRegression, "focal"),
    ],
)
def test_a_loss_for_other_targets_is_refused(task_rows, text_settings, tiny_pretrained, kind, cls, loss):
    task = cls.from_rows(*task_rows(kind), text_settings)
    with pytest.raises(CapabilityError, match=r"train\.loss"):
        make_model(task, tiny_pretrained, TrainConfig(loss=loss))


@pytest.mark.parametrize("settings", [{"mixup": 0.2}, {"focal_gamma": 3.0}, {"label_smoothing": 0.4}])
def test_settings_a_trainer_would_ignore_are_refused(task_rows, text_settings, tiny_pretrained, tmp_path, settings):
    rows, roles = task_rows("token-classification")
    task = TokenClassification.from_rows(rows, roles, text_settings)
    with pytest.raises(CapabilityError, match=f"train.{next(iter(settings))}"):
        train_tiny(task, split(rows, roles), tiny_pretrained, TrainConfig(**settings), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        ({}, []),
        ({"optimizer": "schedule-free", "schedule": "cosine", "warmup": 0.2}, ["train.schedule"]),
        ({"method": "lora", "frozen_layers": 1, "adapter": {"rank": 4}}, ["train.frozen_layers"]),
        ({"method": "last-k", "last_k": 1, "adapter": {"rank": 4}}, ["train.adapter.rank"]),
        ({"method": "probe", "dropout": 0.2, "epochs": 2}, ["train.epochs", "train.dropout"]),
        ({"focal_gamma": 1.0, "pretrain": {"mask_probability": 0.3}}, ["train.focal_gamma", "train.pretrain.mask"]),
        ({"loss": "focal", "focal_gamma": 1.0, "pretrain": {"mask_probability": 0.3, "epochs": 1}}, []),
    ],
)
def test_settings_that_another_leaves_without_effect_are_named(settings, idle):
    found = list(idle_settings(TrainConfig(**settings)))
    for text, name in zip(found, idle, strict=True):
        assert text.startswith(name) and " has no effect, because train." in text


def test_a_probe_needs_a_linear_head(task_rows, text_settings, tiny_pretrained, tmp_path):
    rows, roles = task_rows("token-classification")
    task = TokenClassification.from_rows(rows, roles, text_settings)
    with pytest.raises(CapabilityError, match="no linear head to fit"):
        train_tiny(task, split(rows, roles), tiny_pretrained, TrainConfig(method="probe"), tmp_path)


def test_a_loss_that_couples_rows_is_not_divided(monkeypatch, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    monkeypatch.setattr("penjing.train.gradient.sequence.SequenceTrainer.batch_coupled", True)
    with pytest.raises(CapabilityError, match="couples the rows of a batch"):
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, TrainConfig(accumulation=2), tmp_path)


def test_hidden_tokens_are_a_share_of_the_ordinary_ones(tiny_pretrained, batch):
    token = MaskToken.of(tiny_pretrained.directory / "tokenizer.json")
    ids, mask = batch["input_ids"], batch["attention_mask"].bool()
    torch.manual_seed(0)
    hidden = torch.stack([token.hide(ids, mask, 0.25) != ids for _ in range(200)])
    special = torch.isin(ids, torch.tensor(token.special_ids))
    assert not hidden[:, special | ~mask].any()
    ordinary = hidden[:, mask & ~special].double()
    assert float(ordinary.mean()) == pytest.approx(0.25, abs=0.01)
    assert float(ordinary.mean(0).min()) > 0.1  # every one of them is hidden now and then
    assert (token.hide(ids, mask, 0.25)[token.hide(ids, mask, 0.25) != ids] != 0).any()


def test_token_dropout_hides_tokens_from_the_encoder_in_training(tiny_task, tiny_pretrained, batch):
    trainer, model = ready(tiny_task, tiny_pretrained, token_dropout=0.3)
    seen = []
    model.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    first, second, other = (loss_of(trainer, model, batch, seed) for seed in (0, 0, 1))
    assert first == second != other
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    changed = seen[0] != batch["input_ids"]
    assert changed.any() and set(seen[0][changed].tolist()) == {trainer.mask_token.mask_id}
    model.eval()
    with torch.no_grad():
        model(batch)
    assert torch.equal(seen[-1], batch["input_ids"])


def test_token_dropout_needs_a_mask_token(tiny_task, tiny_pretrained, tmp_path):
    import shutil
    from dataclasses import replace

    shutil.copytree(tiny_pretrained.directory, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("[MASK]", "[HIDE]"), encoding="utf-8")
    maskless = replace(tiny_pretrained, directory=tmp_path / "model")
    with pytest.raises(CapabilityError, match="no mask token"):
        make_model(tiny_task, maskless, TrainConfig(token_dropout=0.1))


def test_mixup_mixes_embeddings_and_losses_alike(tiny_task, tiny_pretrained, batch):
    trainer, model = ready(tiny_task, tiny_pretrained, mixup=0.4)
    found = loss_of(trainer, model, batch, seed=3)
    torch.manual_seed(3)
    share = float(torch.distributions.Beta(0.4, 0.4).sample())
    share, other = max(share, 1 - share), torch.randperm(len(batch["targets"]))
    with torch.no_grad():
        pooled = model.pool(batch)
        logits = model.head(share * pooled + (1 - share) * pooled[other])
        own = torch.nn.functional.cross_entropy(logits, batch["targets"], reduction="sum")
        mixed = torch.nn.functional.cross_entropy(logits, batch["targets"][other], reduction="sum")
    assert found == pytest.approx(float(share * own + (1 - share) * mixed))
    assert found != pytest.approx(loss_of(*ready(tiny_task, tiny_pretrained), batch))


def test_a_rows_own_share_is_at_least_a_half_and_spread(tiny_task, tiny_pretrained):
    trainer, _ = ready(tiny_task, tiny_pretrained, mixup=0.4)
    torch.manual_seed(0)
    shares = np.array([trainer._draw_mix(4)[0] for _ in range(500)])
    assert shares.min() >= 0.5 and shares.max() <= 1.0
    # Beta(0.4, 0.4) folded at one half: a quarter of the mass lies below 0.78, another above 0.994.
    assert np.mean(shares < 0.6) == pytest.approx(0.11, abs=0.05)
    assert np.mean(shares == 0.5) < 0.01


def test_rdrop_adds_the_divergence_of_two_passes(tiny_task, tiny_pretrained, batch):
    trainer, model = ready(tiny_task, tiny_pretrained, rdrop=2.0, dropout=0.3)
    found = loss_of(trainer, model, batch, seed=4)
    torch.manual_seed(4)
    with torch.no_grad():
        first, second = model(batch)["logits"], model(batch)["logits"]
    assert not torch.allclose(first, second)
    entropy = torch.nn.functional.cross_entropy
    plain = sum(float(entropy(x, batch["targets"], reduction="sum")) for x in (first, second)) / 2
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    symmetric = float(((p.exp() - q.exp()) * (p - q)).sum()) / 2
    assert symmetric > 0
    assert found == pytest.approx(plain + 2.0 * symmetric)


def test_rdrop_without_anything_random_is_the_plain_loss(tiny_task, tiny_pretrained, batch):
    plain = loss_of(*ready(tiny_task, tiny_pretrained), batch)
    assert loss_of(*ready(tiny_task, tiny_pretrained, rdrop=5.0), batch) == pytest.approx(plain)


@pytest.mark.parametrize("settings", [{}, {"loss": "focal"}, {"rdrop": 1.0}])
def test_the_sum_of_single_rows_is_the_batch(tiny_task, tiny_splits, tiny_pretrained, batch, settings):
    trainer, model = ready(tiny_task, tiny_pretrained, **settings)
    whole = loss_of(trainer, model, batch)
    rows = [to_tensors(tiny_task.encode([row], training=True), "cpu") for row in tiny_splits.train.rows]
    assert sum(loss_of(trainer, model, row) for row in rows) == pytest.approx(whole)
