"""The machine that made the figures."""

from __future__ import annotations

import platform

import psutil

from penjing.core.artifact import library_versions
from penjing.core.container import memory_limit
from penjing.core.cpu import read_cpu
from penjing.core.report import Hardware
from penjing.core.runtime import physical_cores


def describe_hardware(accelerator: str | None = None) -> Hardware:
    """CPU, instruction sets and library versions of this machine, and what of its cores and memory may be used.

    Args:
        accelerator: the GPU that trained the model, by its name.
    """
    cpu = read_cpu()
    ram, granted = psutil.virtual_memory().total, memory_limit()
    return Hardware(
        cpu=cpu.name,
        cores=physical_cores(),
        logical_cores=psutil.cpu_count() or 1,
        ram_gb=round((ram if granted is None else min(ram, granted)) / 1e9, 1),
        flags=list(cpu.flags),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        libraries=library_versions(),
        accelerator=accelerator,
    )
