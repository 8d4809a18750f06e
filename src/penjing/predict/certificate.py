"""A certificate: which setup was measured to be the best for a model, on which processor, and how the others did.

It speaks of one kind of processor and of the libraries it was made with, and of no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

from penjing.core import registry
from penjing.core.cpu import Cpu, read_cpu
from penjing.core.runtime import usable_threads
from penjing.predict.setup import Setup

Goal = Literal["latency", "throughput", "balanced"]
GOALS: tuple[str, ...] = get_args(Goal)
# Backend → the package whose version its timings depend on.
LIBRARIES: Mapping[str, str] = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "torch"}


@dataclass(frozen=True)
class Trial:
    """One setup that was measured.

    Args:
        setup: how the model was run.
        p50_ms: median latency of one row in ms.
        rows_per_s: raw rows to predictions, in batches.
        difference: greatest, over rows and classes, between a probability and the default setup's; where a task has
            none, of numbers in shares of their range, else the share of rows that were answered otherwise.
        num_flipped: rows that were answered otherwise.
        accepted: whether the difference is within the tolerance.
    """

    setup: Setup
    p50_ms: float
    rows_per_s: float
    difference: float
    num_flipped: int
    accepted: bool


@dataclass(frozen=True)
class Certificate:
    """What was measured, where, and what was chosen.

    Args:
        model_sha256: of the model's file.
        cpu: the processor.
        threads: how many a process gets there unless told otherwise.
        libraries: package → version, of the backends tried.
        goal: what decided.
        concurrency: callers at the same time, for latency.
        num_inputs: inputs that were predicted.
        tolerance: greatest difference accepted.
        chosen: the setup to use.
        trials: every setup that was measured, in that order; the first is the default.
        created: ISO 8601, UTC.
    """

    model_sha256: str
    cpu: Cpu
    threads: int
    libraries: Mapping[str, str]
    goal: Goal
    concurrency: int
    num_inputs: int
    tolerance: float
    chosen: Setup
    trials: tuple[Trial, ...]
    created: str

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def applies(certificate: Certificate) -> str | None:
    """None where the certificate speaks of this machine and what is installed here, else why it does not."""
    cpu, threads = read_cpu(), usable_threads()
    made = certificate.cpu
    if (made.name, made.family) != (cpu.name, cpu.family):
        return f"made on {_named(made)}, this is {_named(cpu)}"
    if made.flags != cpu.flags:
        return f"made with the instructions {_listed(made.flags)}, this processor has {_listed(cpu.flags)}"
    if certificate.threads != threads:
        return f"made for {certificate.threads} threads, here are {threads}"
    backend = certificate.chosen.backend
    if backend not in registry.table("backends"):
        return f"there is no backend {backend!r} here"
    library = LIBRARIES.get(backend, "")
    then, now = certificate.libraries.get(library), installed_version(library)
    if library and now is None:
        return f"{library} is not installed here"
    if then != now:
        return f"made with {library} {then}, this is {library} {now}"
    return None


def installed_version(package: str) -> str | None:
    """Version of an installed package; None: it is not installed."""
    try:
        return version(package) if package else None
    except PackageNotFoundError:
        return None


def _named(cpu: Cpu) -> str:
    return f"{cpu.name} ({cpu.family})" if cpu.family else cpu.name


def _listed(flags: tuple[str, ...]) -> str:
    return ", ".join(flags) or "none"
