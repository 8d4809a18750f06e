"""However a step's rows are divided, over micro-batches or processes, the step is the same."""

import socket
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_case import SEED, Case, exit_code, in_process, quiet_case, run_fit

from penjing.core.runtime import Runtime
from penjing.train.checkpoint import FILE, Position, read_position
from penjing.train.config import TrainConfig
from penjing.train.gradient.sequence import SequenceTrainer
from penjing.train.loop import Loop
from penjing.train.method import apply_method
from penjing.train.optim import Ema, Masters, build_optimizer, group_parameters
from penjing.train.precision import LossScale

# Sums in another order round differently; anything above this is another computation.
TOLERANCE = 1e-12


@pytest.fixture
def case(task_rows, text_settings, tiny_pretrained, tmp_path) -> Case:
    return quiet_case(task_rows, text_settings, tiny_pretrained, tmp_path / "run")


@dataclass
class Divided(Loop):
    """The loop over the same steps, each cut into micro-batches of the given sizes (the last takes what is left)."""

    sizes: list[int] = field(default_factory=list)

    def plan(self, epoch: int) -> list[list[np.ndarray]]:
        cuts = np.cumsum(self.sizes)
        steps = [np.concatenate(step) for step in super().plan(epoch)]
        return [[part for part in np.split(rows, cuts[cuts < len(rows)]) if len(part)] for rows in steps]


def make_loop(case: Case, sizes: list[int], **settings) -> Loop:
    config = TrainConfig(**{**case.config, "batch_rows": 32, "weight_decay": 0.1, "clip": 0.5, "ema": 0.9, **settings})
    torch.manual_seed(SEED)
    task, trainer = case.task(), SequenceTrainer()
    model = trainer.build_model(task, case.pretrained, config, SEED)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    apply_method(model, config)
    model.double()
    masters = Masters(groups := group_parameters(model, head_multiplier=3.0, layer_decay=0.9))
    optimizer = build_optimizer(groups, masters, config, 1e-3)
    scale = LossScale(torch.float64)
    loop = Divided(
        task, trainer, model, case.splits().train, config, Runtime(), optimizer, masters, Ema(masters, 0.9), scale,
        Position(), SEED, sizes=sizes,
    )  # fmt: skip
    loop.position.total = loop.total_steps(3)
    return loop


def weights_after(loop: Loop) -> list[torch.Tensor]:
    torch.set_num_threads(1)
    steps = list(loop.steps())
    assert len(steps) == loop.position.total == 6
    assert sorted(step.rows for step in steps) == [22, 22, 22, 32, 32, 32]
    return [*loop.masters.full, *loop.ema.values]


def distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(first, second, strict=True))


@pytest.fixture
def wide(case) -> Case:
    """60 rows, of which 54 are trained on: steps of 32 and of 22."""
    return case.changed(rows=case.rows * 2)


@pytest.mark.parametrize("settings", [{}, {"loss": "focal"}, {"optimizer": "sgd", "class_weights": "balanced"}])
def test_one_batch_of_32_is_four_of_8(wide, settings):
    whole = make_loop(wide, [32], **settings)
    start = [master.detach().clone() for master in whole.masters.full]
    together = weights_after(whole)
    assert distance(start, together[: len(start)]) > 1e-4  # it did move
    assert distance(together, weights_after(make_loop(wide, [8, 8, 8, 8], **settings))) < TOLERANCE


def test_a_ragged_micro_batch_weighs_by_its_rows(wide):
    together = weights_after(make_loop(wide, [32]))
    # A mean of means would weigh the single row as much as the other 31.
    assert distance(together, weights_after(make_loop(wide, [31]))) < TOLERANCE
    assert distance(together, weights_after(make_loop(wide, [1, 2, 3, 5, 7]))) < TOLERANCE


def test_a_mean_of_means_would_be_seen(wide):
    class MeanOfMeans(SequenceTrainer):
        def loss(self, model, batch):
            total, weight = super().loss(model, batch)
            return total / weight, weight / weight

    wrong = make_loop(wide, [31])
    wrong.trainer.__class__ = MeanOfMeans
    assert distance(weights_after(make_loop(wide, [32])), weights_after(wrong)) > 1e-6


def test_kept_states_of_frozen_layers_are_those_computed_each_time(case, tmp_path, monkeypatch):
    settings = {**case.config, "frozen_layers": 1, "dropout": 0.2, "mixup": 0.4, "rdrop": 1.0, "ema": 0.9}
    kept = case.changed(config=settings)
    computed = case.changed(config=settings, out=tmp_path / "computed")
    run_fit(kept)
    monkeypatch.setattr("penjing.train.fit.can_keep", lambda *sizes: False)
    run_fit(computed)
    assert [read_position(one.out).kept_lower for one in (kept, computed)] == [True, False]
    ours, theirs = load_file(kept.out / FILE), load_file(computed.out / FILE)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-10


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def run_two(case: Case) -> None:
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared["CUDA_VISIBLE_DEVICES"] = ""  # a machine with one GPU could not run both
    processes = [in_process(case, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [exit_code(process) for process in processes] == [0, 0]


def test_two_processes_are_one(case, tmp_path):
    """24 rows in batches of 5: the last step has a single micro-batch, so one process has nothing to do in it."""
    noisy = {"dropout": 0.2, "mixup": 0.4, "token_dropout": 0.1, "ema": 0.9, "batch_rows": 5}
    one = case.changed(config={**case.config, **noisy, "accumulation": 2})
    two = case.changed(config={**case.config, **noisy}, out=tmp_path / "two")
    run_fit(one)
    run_two(two)
    ours, theirs = load_file(one.out / FILE), load_file(two.out / FILE)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=0, atol=1e-10), name
    ends = [read_position(case.out) for case in (one, two)]
    assert ends[0].step == ends[1].step == 6
    assert [e["loss"] for e in ends[0].history[1:]] == pytest.approx([e["loss"] for e in ends[1].history[1:]])
