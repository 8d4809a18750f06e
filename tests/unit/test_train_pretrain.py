"""Masked language modelling on unlabelled rows, resumed, and used by the fine-tuning."""

import dataclasses
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from unit_training import SEED, make_model, split, train_tiny

from penjing.core.artifact import file_sha256
from penjing.core.errors import ArtifactError
from penjing.core.runtime import Runtime
from penjing.tasks.text_pair import TextPair
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.gradient.masked import MaskedModel, MaskedTrainer, MaskToken
from penjing.train.loop import to_tensors
from penjing.train.pretrain import CHECKPOINTS, ENCODER, SECONDS, pretrain_encoder

pytest_plugins = ["training_fixtures"]


class Killed(Exception):
    """Stands for the end of the process: the generator is simply not turned any more."""


def config_of(**settings) -> TrainConfig:
    pretrain = {"epochs": 30, "learning_rate": 1e-2, **settings.pop("pretrain", {})}
    return TrainConfig(pretrain=pretrain, batch_rows=8, precision="fp32", checkpoint_seconds=0, **settings)


def pretrain(task, rows, pretrained, config, out, stop_after=None, **more):
    torch.set_num_threads(1)
    work, events = pretrain_encoder(task, rows, pretrained, config, out, Runtime(), seed=SEED, **more), []
    while True:
        try:
            events.append(next(work))
        except StopIteration as stop:
            return stop.value.path, events
        if stop_after is not None and getattr(events[-1], "done", 0) == stop_after:
            work.close()
            raise Killed


def test_lowers_the_masked_loss_and_starts_the_fine_tuning(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    rows, config = tiny_splits.train.rows, config_of(epochs=1, learning_rate=1e-9, ema=0.0, weight_decay=0.0)
    path, events = pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path)
    losses = [event.values["loss"] for event in events if hasattr(event, "values")]
    assert len(losses) == 90
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])
    found, start = load_file(path), make_model(tiny_task, tiny_pretrained, config)[1].encoder.state_dict()
    assert found.keys() == start.keys()
    assert torch.equal(found["words.weight"], start["words.weight"])  # tied to the output, and kept
    assert not torch.allclose(found["layers.0.qkv.weight"], start["layers.0.qkv.weight"])
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / "fit", encoder_state=path)
    tuned = load_file(tmp_path / "fit" / WEIGHTS)
    # A learning rate of nearly nothing leaves what it started from: the adapted encoder, not the original.
    assert torch.allclose(tuned["encoder.layers.0.qkv.weight"], found["layers.0.qkv.weight"], atol=1e-6)


def test_random_vectors_of_words_are_learned_too(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    scratch, config = dataclasses.replace(tiny_pretrained, name="scratch"), config_of(epochs=1)
    path, _ = pretrain(tiny_task, tiny_splits.train.rows, scratch, config, tmp_path)
    start = make_model(tiny_task, scratch, config)[1].encoder.state_dict()
    assert not torch.equal(load_file(path)["words.weight"], start["words.weight"])
    train_tiny(tiny_task, tiny_splits, scratch, config, tmp_path / "fit", encoder_state=path)


def test_resumes_to_the_same_encoder(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    rows, config = tiny_splits.train.rows, config_of(pretrain={"epochs": 3}, dropout=0.2)
    whole, _ = pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path / "whole")
    for step in (2, 5):
        with pytest.raises(Killed):
            pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path / "again", stop_after=step)
    assert (tmp_path / "again" / CHECKPOINTS).is_dir() and not (tmp_path / "again" / ENCODER).exists()
    again, events = pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path / "again")
    assert any("resumed at step" in getattr(event, "text", "") for event in events)
    assert file_sha256(whole) == file_sha256(again)
    assert pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path / "again") == (again, [])


def test_it_ends_within_its_minutes_and_tells_them(monkeypatch, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    clock, genuine = SimpleNamespace(now=0.0), MaskedTrainer.loss
    clock.perf_counter = clock.monotonic = lambda: clock.now

    def timed(self, model, batch):
        clock.now += 0.2
        return genuine(self, model, batch)

    monkeypatch.setattr(MaskedTrainer, "loss", timed)
    for module in ("loop", "pretrain"):
        monkeypatch.setattr(f"penjing.train.{module}.time", clock)
    where = (tiny_task, tiny_splits.train.rows, tiny_pretrained, config_of(), tmp_path)  # 90 steps, 18 seconds
    with pytest.raises(Killed):
        pretrain(*where, stop_after=20, max_minutes=0.1)
    _, events = pretrain(*where, max_minutes=0.1)
    steps = [event.done for event in events if hasattr(event, "done")]
    assert steps[-1] == events[-1].total == 30
    work = pretrain_encoder(*where, Runtime(), seed=SEED, max_minutes=0.1)
    with pytest.raises(StopIteration) as stop:
        next(work)
    assert stop.value.value.seconds == pytest.approx(6.0)
    (tmp_path / CHECKPOINTS / SECONDS).write_text("{}")
    with pytest.raises(ArtifactError, match="the time of the pretraining cannot be read"):
        pretrain(*where)


def test_an_encoder_of_other_texts_is_refused(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    rows, config = tiny_splits.train.rows, config_of(pretrain={"epochs": 1})
    pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path)
    with pytest.raises(ArtifactError, match="other texts or with other settings"):
        pretrain(tiny_task, rows[:-1], tiny_pretrained, config, tmp_path)
    with pytest.raises(ArtifactError, match="other texts or with other settings"):
        pretrain(tiny_task, rows, tiny_pretrained, config_of(pretrain={"epochs": 2}), tmp_path)


def test_what_is_hidden_follows_bert(tiny_task, tiny_splits, tiny_pretrained):
    token = MaskToken.of(tiny_pretrained.directory / "tokenizer.json")
    trainer = MaskedTrainer(token, 0.4)
    ids = to_tensors(tiny_task.encode(tiny_splits.train.rows), "cpu")["input_ids"].repeat(200, 1)
    torch.manual_seed(0)
    hidden = token.choose(ids, None, 0.4)
    corrupted = trainer._corrupt(ids, hidden, 600)
    assert torch.equal(corrupted[~hidden], ids[~hidden])
    masked = float((corrupted[hidden] == token.mask_id).double().mean())
    same = float((corrupted[hidden] == ids[hidden]).double().mean())
    assert masked == pytest.approx(0.8, abs=0.01)
    assert same == pytest.approx(0.1, abs=0.01)


def test_a_batch_in_which_nothing_is_hidden_weighs_nothing(tiny_task, tiny_splits, tiny_pretrained):
    _, model = make_model(tiny_task, tiny_pretrained, TrainConfig())
    masked = MaskedModel(model.encoder, model.encoder.words)
    trainer = MaskedTrainer(MaskToken.of(tiny_pretrained.directory / "tokenizer.json"), 1e-12)
    total, weight = trainer.loss(masked, to_tensors(tiny_task.encode(tiny_splits.train.rows), "cpu"))
    total.backward()
    assert float(total.detach()) == float(weight) == 0.0


def test_the_texts_of_pairs_are_texts_like_others(task_rows, text_settings, tiny_pretrained, tmp_path):
    rows, roles = task_rows("text-pair")
    task = TextPair.from_rows(rows, roles, text_settings)
    seen = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: seen.append(inputs) if type(module).__name__ == "Encoder" else None
    )
    try:
        pretrain(task, split(rows, roles).train.rows[:8], tiny_pretrained, config_of(pretrain={"epochs": 1}), tmp_path)
    finally:
        hook.remove()
    assert len(seen) == 1 and seen[0][0].shape[0] == 16 and seen[0][0].ndim == 2


def test_other_files_under_the_same_name_are_another_run(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model = dataclasses.replace(tiny_pretrained, directory=tmp_path / "model")
    shutil.copytree(tiny_pretrained.directory, model.directory)
    rows, config = tiny_splits.train.rows, config_of(pretrain={"epochs": 1})
    pretrain(tiny_task, rows, tiny_pretrained, config, tmp_path)
    pretrain(tiny_task, rows, model, config, tmp_path)  # the same bytes elsewhere
    with (model.directory / "config.json").open("a") as handle:
        handle.write(" ")
    with pytest.raises(ArtifactError, match="pretrained on other texts or with other settings"):
        pretrain(tiny_task, rows, model, config, tmp_path)
