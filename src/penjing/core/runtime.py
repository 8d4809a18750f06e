"""Where the work runs: device, threads, precision, and the other processes of a distributed run.

The only module that knows of ranks. Torch is imported inside, so that artifacts predict without it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import psutil

from penjing.core.container import cpu_quota
from penjing.core.errors import CapabilityError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Runtime:
    """One process of a run.

    Args:
        rank: which process this is, from 0.
        world: how many there are.
        device: a torch device name.
        threads: intra-op threads.
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    threads: int = 1

    @classmethod
    def detect(cls) -> Runtime:
        """The present process, as `torchrun` describes it in the environment, else a single one on the best device.

        Raises:
            CapabilityError: OMP_NUM_THREADS is set and no number of threads, or there are more processes than GPUs.
        """
        # Every shape of a batch has its products compiled. oneDNN keeps 1,024 of them and torch's wrapper of it (ideep)
        # 1,024 more, each with scratch memory, unless told otherwise before the first one. Banking77, bf16, 400 steps:
        # 92 ms a step and 1.75 GB as they are, 92 ms and 1.54 GB with 128 of the latter, 106 ms and 1.1 GB with 32 of
        # both, for then a length that comes again is compiled again.
        os.environ.setdefault("LRU_CACHE_CAPACITY", "128")
        import torch

        world = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        device = _device(int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count())
        if world > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        threads = usable_threads(local_world)
        torch.set_num_threads(threads)
        return cls(rank, world, device, threads)

    @property
    def accelerator(self) -> str | None:
        """The GPU's name, None on a CPU."""
        if not self.device.startswith("cuda"):
            return None
        import torch

        return str(torch.cuda.get_device_name(self.device))

    def sum_over_ranks(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor, in place, by its sum over all processes."""
        if self.world == 1:
            return
        import torch

        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def _device(local_rank: int, gpus: int) -> str:
    """The device of one of this machine's processes: NCCL would wait for ever for two that share a GPU.

    Raises:
        CapabilityError: there are GPUs, and fewer of them than processes.
    """
    if gpus == 0:
        return "cpu"
    if local_rank >= gpus:
        raise CapabilityError(
            f"process {local_rank + 1} of this machine has no GPU of its own",
            where="LOCAL_RANK",
            expected=f"at most as many processes as GPUs, here {gpus}",
            next_step=f"start torchrun with --nproc-per-node {gpus}, or set CUDA_VISIBLE_DEVICES= to train on the CPU",
        )
    return f"cuda:{local_rank}"


def physical_cores() -> int:
    """Cores this process may use: by its affinity and its container's quota, hyper-threads counted once where known."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return usable_cores(allowed, psutil.cpu_count(logical=False), cpu_quota())


def usable_threads(processes: int = 1) -> int:
    """Threads that training and predicting take unless told otherwise: one a core, no more than OMP_NUM_THREADS says.

    Args:
        processes: how many share the cores.

    Raises:
        CapabilityError: OMP_NUM_THREADS is set and no number of threads.
    """
    threads = max(1, physical_cores() // processes)
    allowed = omp_threads(os.environ)
    return threads if allowed is None else min(threads, allowed)


def usable_cores(allowed: int, physical: int | None, quota: float | None) -> int:
    """Cores worth a thread each, at least 1.

    Args:
        allowed: logical processors the process may run on.
        physical: cores of the machine, None where it does not tell.
        quota: processors' worth of time granted, None without a limit; a part of one is worth a thread, too.
    """
    limits = [allowed, physical or allowed]
    if quota is not None:
        limits.append(math.ceil(quota))
    return max(1, min(limits))


def omp_threads(environment: Mapping[str, str]) -> int | None:
    """The most threads OMP_NUM_THREADS allows, None where it is not set; of a list, by nesting, the first counts.

    `torchrun` sets it to 1 for each of several processes unless the user has set it.

    Raises:
        CapabilityError: no number of threads.
    """
    text = environment.get("OMP_NUM_THREADS", "").strip()
    if not text:
        return None
    first = text.partition(",")[0].strip()
    if not first.isdigit() or int(first) < 1:
        raise CapabilityError(f"is {text!r}", where="OMP_NUM_THREADS", expected="a number of threads, at least 1")
    return int(first)


_TURNS = 12  # each a millisecond or two


@cache
def faster_dtype(device: str = "cpu", *, size: int = 384, rows: int = 512) -> str:
    """The quickest of bf16, fp32 and, on a GPU, fp16 for a product of an encoder's size, measured on this device.

    A CPU without bf16 instructions emulates them and is slower than in fp32, as are GPUs that have fp16 only, so the
    flag alone is not trusted. Other work may come and go, so they are timed in turns and by their best; and a process
    asks once, or two quotes of one data set would differ by how their numbers were rounded.
    """
    import torch

    candidates = [("bf16", torch.bfloat16), ("fp32", torch.float32)]
    if device.startswith("cuda"):
        candidates.append(("fp16", torch.float16))
    factors = {
        name: [torch.ones(shape, dtype=dtype, device=device) for shape in ((rows, size), (size, 4 * size))]
        for name, dtype in candidates
    }
    timings = dict.fromkeys(factors, math.inf)
    for _ in range(_TURNS):
        for name, (left, right) in factors.items():
            start = time.perf_counter()
            (left @ right).sum().item()
            timings[name] = min(timings[name], time.perf_counter() - start)
    # fp32 needs no master copies, and bf16 no loss scale, so the less convenient has to be clearly faster.
    chosen = "bf16" if timings["bf16"] * 1.2 < timings["fp32"] else "fp32"
    return "fp16" if timings.get("fp16", math.inf) * 1.2 < timings[chosen] else chosen
