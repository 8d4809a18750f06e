"""The machine that made the figures: int8 and bf16 kernels differ by CPU, so a figure without its CPU is hearsay."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

from penjing.core.artifact import library_versions
from penjing.core.container import memory_limit
from penjing.core.report import Hardware
from penjing.core.runtime import physical_cores

_CPUINFO = Path("/proc/cpuinfo")
# Kernel flag → the name people know.
_FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "amx_int8": "AMX",
    "amx_bf16": "AMX",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
}


def describe_hardware() -> Hardware:
    """CPU, instruction sets and library versions of this machine, and what of its cores and memory may be used."""
    model, flags = _cpuinfo()
    ram, granted = psutil.virtual_memory().total, memory_limit()
    return Hardware(
        cpu=model or platform.processor() or platform.machine(),
        cores=physical_cores(),
        logical_cores=psutil.cpu_count() or 1,
        ram_gb=round((ram if granted is None else min(ram, granted)) / 1e9, 1),
        flags=flags,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        libraries=library_versions(),
    )


def _cpuinfo() -> tuple[str, list[str]]:
    """(model name, flags) from the kernel; empty on systems without /proc."""
    if not _CPUINFO.is_file():
        return "", []
    fields: dict[str, str] = {}
    for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    given = set((fields.get("flags") or fields.get("features") or "").split())
    return fields.get("model name", ""), list(dict.fromkeys(name for key, name in _FLAGS.items() if key in given))
