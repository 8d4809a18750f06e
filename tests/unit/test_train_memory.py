"""A large vocabulary is in memory once at most, and as its file has it, from loading to the finished artifact."""

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from unit_training import make_model, train_tiny

from penjing.core.memory import existing_objects_kept, release_freed
from penjing.export.onnx import check_parity, export_onnx
from penjing.models.encoder import load_bert
from penjing.models.safetensors_io import TensorHeader, TensorSource, write_safetensors
from penjing.train import checkpoint
from penjing.train import fit as fit_module
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.method import apply_method
from penjing.train.optim import Ema, Masters, build_optimizer, group_parameters
from penjing.train.weights_file import save_tensors

pytest_plugins = ["training_fixtures"]

ROWS = 400_000
MB = 1e6
TABLE_MB = ROWS * 64 * 2 / MB  # of the 16 bits in the file

linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are reset on Linux alone")


@pytest.fixture
def large(tiny_pretrained, tmp_path):
    """The tiny encoder with 400,000 words in 16 bits."""
    source = tiny_pretrained.directory
    directory = tmp_path / "large"
    directory.mkdir()
    values = json.loads((source / "config.json").read_text())
    words = np.random.default_rng(0).normal(0, 0.02, (ROWS, 64)).astype(np.float16)
    found = {name: tensor.numpy() for name, tensor in load_file(source / "model.safetensors").items()}
    found = {name: values for name, values in found.items() if "position_ids" not in name}
    name = next(name for name in found if name.endswith("word_embeddings.weight"))
    words[: len(found[name])] = found[name].astype(np.float16)
    sources = {
        key: TensorSource(TensorHeader("F16" if key == name else "F32", array.shape), lambda array=array: [array])
        for key, array in (found | {name: words}).items()
    }
    write_safetensors(directory / "model.safetensors", sources)
    (directory / "config.json").write_text(json.dumps(values | {"vocab_size": ROWS}))
    (directory / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    return dataclasses.replace(tiny_pretrained, directory=directory)


class Growth:
    """How far the resident memory of this process rises inside the block, in MB."""

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")
        self.before = self._status("VmRSS")
        return self

    def __exit__(self, *_):
        self.mb = (self._status("VmHWM") - self.before) / MB

    @staticmethod
    def _status(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


@linux
def test_freed_blocks_between_others_go_back_to_the_system():
    blocks = [torch.ones(25_000) for _ in range(4000)]  # 100 kB each, below what glibc asks the system for singly
    kept = blocks[::40]
    del blocks
    before = Growth._status("VmRSS")
    release_freed()
    assert (before - Growth._status("VmRSS")) / MB > 200
    assert float(kept[3].sum()) == 25_000


@linux
def test_loading_reads_no_word_that_is_not_asked_for(large, tiny_task):
    make_model(tiny_task, large, TrainConfig())  # what is imported and allocated once
    with Growth() as growth:
        _, model = make_model(tiny_task, large, TrainConfig())
        apply_method(model, TrainConfig())
        model.to("cpu").to(torch.bfloat16).float()
    assert growth.mb < 0.4 * TABLE_MB


@linux
def test_weights_and_models_are_written_without_copies(large, tiny_task, tiny_splits, tmp_path):
    _, model = make_model(tiny_task, large, TrainConfig())
    apply_method(model, TrainConfig())
    model.encoder.words.weight.sum()  # all of the file is in memory
    with Growth() as growth:
        save_tensors(tmp_path / WEIGHTS, model.state_dict())
        export_onnx(model, tiny_task, tiny_splits.valid.rows, tmp_path / "model.onnx")
    assert growth.mb < 0.4 * TABLE_MB
    assert (tmp_path / "model.onnx").stat().st_size < 1.1 * TABLE_MB * MB
    parity = check_parity(model, tiny_task, tiny_splits.valid.rows, tmp_path / "model.onnx", 1e-5)
    assert parity.rows == len(tiny_splits.valid.rows)
    onnx.checker.check_model(str(tmp_path / "model.onnx"))
    assert torch.equal(load_file(tmp_path / WEIGHTS)["encoder.words.weight"], model.encoder.words.weight)


@linux
def test_a_checkpoint_is_written_without_copies(tmp_path):
    model = torch.nn.Linear(4096, 4096)
    masters = Masters(groups := group_parameters(model, head_multiplier=1.0, layer_decay=1.0))
    optimizer = build_optimizer(groups, masters, TrainConfig(), 1e-3)
    model(torch.ones(1, 4096)).sum().backward()
    optimizer.step()
    ema = Ema(masters, 0.9)
    with Growth() as growth:
        checkpoint.save(
            tmp_path, identity="it", position=checkpoint.Position(), masters=masters, optimizer=optimizer, ema=ema,
            best=[m.detach() for m in masters.full],
        )  # fmt: skip
    assert growth.mb < 0.5 * 4096 * 4096 * 4 / MB
    masters.full[0].data.zero_()
    position, best = checkpoint.restore(tmp_path, identity="it", masters=masters, optimizer=optimizer, ema=ema)
    assert position.step == 0 and torch.equal(best[0], masters.full[0]) and float(masters.full[0].detach().abs().sum())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_frozen_words_stay_as_they_are_and_give_the_same_numbers(large, dtype):
    ids = torch.tensor([[2, 5, 399_999, 3]])
    frozen, trained = load_bert(large.directory).eval(), load_bert(large.directory).eval()
    frozen.words.requires_grad_(False)
    frozen, trained = frozen.to(dtype), trained.to(dtype)
    assert frozen.words.weight.dtype == torch.float16 and trained.words.weight.dtype == dtype
    with torch.no_grad():
        assert torch.equal(frozen(ids), trained(ids)) and frozen(ids).dtype == dtype
    assert frozen.double().float().words.weight.dtype == torch.float16


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_words_are_trained_in_full_where_asked_for(large, tiny_task, tiny_splits, precision, tmp_path):
    config = TrainConfig(train_embeddings=True, frozen_layers=0, precision=precision, epochs=1, batch_rows=16, ema=0.0)
    result = train_tiny(tiny_task, tiny_splits, large, config, tmp_path)
    assert result.model.encoder.words.weight.dtype == torch.float32
    assert load_file(tmp_path / WEIGHTS)["encoder.words.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_every_type_survives_the_file(tmp_path, dtype):
    tensors = {"matrix": torch.tensor([[0.0, 1.5], [-2.0, 3.25]]).T.to(dtype), "number": torch.tensor(1).to(dtype)}
    tensors |= {"shared": tensors["matrix"], "nothing": torch.zeros(0, 3, dtype=dtype), "odd": torch.ones(3).bool()}
    save_tensors(tmp_path / "file", tensors, {"state": "é"})
    found = load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_what_steps_alone_need_is_gone_when_training_ends(
    tiny_task, tiny_splits, tiny_pretrained, tmp_path, monkeypatch
):
    seen = []

    def finish(attempt, *rest, real=fit_module._finish):
        result = yield from real(attempt, *rest)
        seen.append((attempt.loop.lower, attempt.ema, attempt.loop.ema, dict(attempt.loop.optimizer.state)))
        return result

    monkeypatch.setattr(fit_module, "_finish", finish)
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, TrainConfig(epochs=1, frozen_layers=1), tmp_path)
    assert seen == [(None, None, None, {})]


class Cyclic:
    """Garbage that only a collection finds."""

    def __init__(self):
        self.me = self


def test_existing_objects_are_left_out_of_collection_and_come_back():
    before = gc.get_freeze_count()
    garbage, kept = weakref.ref(Cyclic()), Cyclic()
    gone = weakref.ref(kept)
    with existing_objects_kept():
        assert gc.get_freeze_count() > before
        assert garbage() is None
        del kept
        freed = weakref.ref(Cyclic())
        with existing_objects_kept():  # another run, in another thread perhaps
            pass
        release_freed()
        assert freed() is None
        assert gone() is not None
    assert gc.get_freeze_count() <= before
    release_freed()
    assert gone() is None


def test_where_a_program_has_set_objects_aside_itself_nothing_is_done():
    gc.freeze()
    try:
        theirs, kept = gc.get_freeze_count(), Cyclic()
        gone = weakref.ref(kept)
        with existing_objects_kept():
            assert gc.get_freeze_count() <= theirs
            del kept
        release_freed()
        assert gone() is None
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
