"""The processor: int8 and bf16 kernels differ by model, so a figure without its CPU is hearsay."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

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
# Virtual machines often hide the model's name ("AMD EPYC"), and ARM has none; these numbers remain.
_FAMILY = ("cpu family", "model", "cpu implementer", "cpu part")


@dataclass(frozen=True)
class Cpu:
    """One kind of processor.

    Args:
        name: as its maker calls it.
        family: numbers of family and model as the kernel gives them; empty where it does not.
        flags: of VNNI, BF16, AMX, AVX-512, AVX2, NEON, ...: those it has, by their usual names.
    """

    name: str
    family: str
    flags: tuple[str, ...]


def read_cpu(cpuinfo: Path = _CPUINFO) -> Cpu:
    """The processor of this machine.

    Args:
        cpuinfo: the kernel's file; systems without it tell a name and no flags.
    """
    fields: dict[str, str] = {}
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip().lower(), value.strip())
    given = set((fields.get("flags") or fields.get("features") or "").split())
    return Cpu(
        name=fields.get("model name") or platform.processor() or platform.machine(),
        family="/".join(fields[key] for key in _FAMILY if key in fields),
        flags=tuple(dict.fromkeys(name for key, name in _FLAGS.items() if key in given)),
    )
