from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penjing.core import runtime
from penjing.core.container import cpu_quota, memory_left, memory_limit
from penjing.core.errors import CapabilityError
from penjing.core.runtime import Runtime, omp_threads, physical_cores, usable_cores

GB = 1_000_000_000


@pytest.fixture
def container(tmp_path):
    """Makes the files by which the kernel tells of a group: (membership text, {path: text}) → arguments."""

    def make(membership: str, files: dict[str, str]) -> tuple[Path, Path]:
        root, told = tmp_path / "cgroup", tmp_path / "membership"
        root.mkdir()
        told.write_text(membership)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n")
        return root, told

    return make


def test_version_2(container):
    place = container(
        "0::/\n",
        {
            "cpu.max": "150000 100000",
            "memory.max": str(4 * GB),
            "memory.current": str(3 * GB),
            "memory.stat": f"anon 1\ninactive_file {2 * GB}\nactive_file 5",
        },
    )
    assert cpu_quota(*place) == 1.5
    assert memory_limit(*place) == 4 * GB
    assert memory_left(*place) == 3 * GB  # 2 of the 3 GB used are files that may be dropped


def test_version_2_without_limits(container):
    place = container("0::/\n", {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "5"})
    assert (cpu_quota(*place), memory_limit(*place), memory_left(*place)) == (None, None, None)


def test_limits_of_the_groups_above_count(container):
    place = container(
        "0::/batch/job\n",
        {
            "batch/job/cpu.max": "max 100000",
            "batch/cpu.max": "200000 100000",
            "batch/job/memory.max": str(3 * GB),
            "batch/job/memory.current": str(GB),
            "batch/memory.max": str(4 * GB),
            "batch/memory.current": str(4 * GB - 7),
        },
    )
    assert cpu_quota(*place) == 2.0
    assert memory_limit(*place) == 3 * GB
    assert memory_left(*place) == 7


@pytest.mark.parametrize("path", ["/", "/docker/a-path-of-the-host"])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(container, mount, path):
    place = container(
        f"4:memory:{path}\n2:cpu,cpuacct:{path}\n0::/\n",
        {
            f"{mount}/cpu.cfs_quota_us": "50000",
            f"{mount}/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": str(2 * GB),
            "memory/memory.usage_in_bytes": str(GB),
            "memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB // 2}",
        },
    )
    assert cpu_quota(*place) == 0.5
    assert memory_limit(*place) == 2 * GB
    assert memory_left(*place) == 3 * GB // 2


def test_version_1_without_limits(container):
    files = {
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
    }
    place = container("2:cpu:/\n4:memory:/\n", files)
    assert (cpu_quota(*place), memory_limit(*place), memory_left(*place)) == (None, None, None)


def test_no_control_groups_at_all(tmp_path):
    place = (tmp_path / "none", tmp_path / "nowhere")
    assert (cpu_quota(*place), memory_limit(*place), memory_left(*place)) == (None, None, None)


def test_what_cannot_be_read_is_no_limit(container, monkeypatch):
    files = {"job/cpu.max": "100000 100000", "job/memory.max": str(GB), "job/memory.current": "5"}
    place = container("0::/job\n", files)
    genuine = Path.read_text

    def read_text(path, *arguments, **more):
        if path.name in files or f"job/{path.name}" in files:
            raise PermissionError(13, "Permission denied", str(path))
        return genuine(path, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", read_text)
        assert (cpu_quota(*place), memory_limit(*place), memory_left(*place)) == (None, None, None)
    assert cpu_quota(*place) == 1.0

    def is_dir(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert cpu_quota(*place) is None


def test_what_cannot_be_parsed_is_no_limit(container):
    texts = {"cpu.max": "100000 0", "memory.max": str(GB), "memory.current": "?", "memory.stat": "inactive_file\na b c"}
    place = container("nonsense\n0::/\n", texts)
    assert (cpu_quota(*place), memory_left(*place)) == (None, GB)
    (place[0] / "cpu.max").write_bytes(b"\xff\xfe")
    assert cpu_quota(*place) is None


def test_cores_worth_a_thread():
    assert usable_cores(8, 4, None) == 4
    assert usable_cores(2, 4, None) == 2
    assert usable_cores(64, 32, 1.5) == 2
    assert usable_cores(64, 32, 0.2) == 1
    assert usable_cores(3, None, 8.0) == 3


def test_affinity_and_quota_bound_the_cores(monkeypatch):
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 16)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("penjing.core.runtime.cpu_quota", lambda: None)
    assert physical_cores() == 6
    monkeypatch.setattr("penjing.core.runtime.cpu_quota", lambda: 3.0)  # changed while we run
    assert physical_cores() == 3


@pytest.mark.parametrize(("text", "threads"), [("", None), (" ", None), ("3", 3), ("4,2", 4)])
def test_omp_num_threads(text, threads):
    assert omp_threads({"OMP_NUM_THREADS": text}) == threads
    assert omp_threads({}) is None


@pytest.mark.parametrize("text", ["0", "many", "-1", "1.5"])
def test_omp_num_threads_that_is_no_number(text):
    with pytest.raises(CapabilityError, match="OMP_NUM_THREADS: is "):
        omp_threads({"OMP_NUM_THREADS": text})


@pytest.mark.parametrize(("cores", "allowed", "threads"), [(8, "3", 3), (2, "16", 2), (2, "", 2)])
def test_runtime_takes_no_more_threads_than_allowed(monkeypatch, cores, allowed, threads):
    torch = pytest.importorskip("torch")
    taken = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    monkeypatch.setattr("penjing.core.runtime.physical_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    assert Runtime.detect().threads == threads
    assert taken == [threads]


def test_what_a_container_leaves_is_what_training_may_take(monkeypatch):
    pytest.importorskip("torch")
    from penjing.train.lower_states import can_keep
    from penjing.train.memory import free_bytes

    monkeypatch.setattr("penjing.train.memory.memory_left", lambda: 1_000_000)
    assert free_bytes() == 1_000_000
    assert can_keep(10, 384, 2) and not can_keep(10_000, 384, 2)


def test_the_report_names_what_may_be_used(monkeypatch):
    from penjing.evaluate import hardware

    monkeypatch.setattr(hardware, "memory_limit", lambda: 500_000_000)
    monkeypatch.setattr(hardware, "physical_cores", lambda: 1)
    found = hardware.describe_hardware()
    assert (found.ram_gb, found.cores) == (0.5, 1)


def test_each_process_has_a_gpu_or_is_refused():
    assert [runtime._device(rank, gpus) for rank, gpus in ((0, 0), (3, 0), (0, 2), (1, 2))] == [
        "cpu", "cpu", "cuda:0", "cuda:1",
    ]  # fmt: skip
    with pytest.raises(CapabilityError, match="process 3 of this machine has no GPU of its own"):
        runtime._device(2, 2)


@pytest.mark.parametrize(("given", "expected"), [(None, "128"), ("64", "64")])
def test_few_compiled_products_are_kept_from_the_first_one_on(given, expected):
    """Read once by torch's wrapper of oneDNN, so it must stand in the environment before torch is imported."""
    pytest.importorskip("torch")
    code = """
import os, sys
from penjing.core.runtime import Runtime

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("LRU_CACHE_CAPACITY"))
            sys.exit()

assert "torch" not in sys.modules
sys.meta_path.insert(0, Watch())
Runtime.detect()
"""
    environment = {key: value for key, value in os.environ.items() if key != "LRU_CACHE_CAPACITY"}
    environment |= {} if given is None else {"LRU_CACHE_CAPACITY": given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [expected]


@pytest.mark.slow  # seconds of products
@pytest.mark.parametrize(("alone", "expected"), [((1.0, 3.0), "bf16"), ((2.9, 3.0), "fp32")])
def test_precision_is_chosen_as_if_no_other_work_had_come_between(monkeypatch, alone, expected):
    """Other work takes the machine for the first turns of one or the other; it must not decide."""
    for busy in (0, 1):
        durations = [1000.0 if turn < 7 and i == busy else alone[i] for turn in range(50) for i in range(2)]
        stamps = itertools.chain.from_iterable((0.0, duration) for duration in durations)
        monkeypatch.setattr(runtime.time, "perf_counter", lambda stamps=stamps: next(stamps))
        assert runtime.faster_dtype.__wrapped__() == expected
    monkeypatch.undo()
    assert runtime.faster_dtype() is runtime.faster_dtype()
