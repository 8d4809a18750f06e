"""What every step on an ONNX file does around its own work: read, write, run both on real rows, report."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.compress.step import Material
from penjing.core.errors import CapabilityError, MissingExtraError
from penjing.core.events import Event, Progress

if TYPE_CHECKING:
    from penjing.compress.drift import Reference
    from penjing.compress.graph_file import Graph

CHECKED_ROWS = 128  # validation rows that a step's result is compared with its source on


def require_onnx() -> None:
    """Fail at the door.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("onnx", "train") from None


def rewrite(
    source: Path, target: Path, material: Material, edit: Callable[[Graph], dict[str, Any]]
) -> Generator[Event, None, dict[str, Any]]:
    """Read the source, change it, write the target, and compare what the two say.

    Args:
        source: an ONNX file.
        target: where to write.
        material: rows and task.
        edit: changes the graph in place and returns facts, the number of changed `operators` among them.

    Yields:
        Progress.

    Returns:
        The facts of every step, and those of `edit`.

    Raises:
        CapabilityError: there was nothing to change.
    """
    require_onnx()
    from penjing.compress.graph_file import Graph

    yield Progress("compress", 0, 2, "steps", "rewriting the model")
    graph = Graph.read(source)
    facts = edit(graph)
    if not facts["operators"]:
        raise nothing_to_change(source)
    graph.write(target)
    del graph  # as large as the file
    yield Progress("compress", 1, 2, "steps", "comparing it with what it was")
    drift = reference(source, material).compare(target)
    yield Progress("compress", 2, 2, "steps")
    return {**sizes(source, target), **facts, "drift": drift.to_json()}


def nothing_to_change(source: Path) -> CapabilityError:
    """For a model whose weights are nowhere a step looks for them."""
    return CapabilityError(
        "the model has no weights that this step changes",
        where=str(source),
        next_step="leave this step out for this model",
    )


def reference(source: Path, material: Material) -> Reference:
    """What the source says of some validation rows; of training rows, where there are no others."""
    from penjing.compress.drift import Reference, feeds, sample

    table = material.splits.valid if len(material.splits.valid) else material.splits.train
    rows = sample(table, CHECKED_ROWS, material.seed)
    return Reference(material.task, feeds(material.task, rows), source, material.runtime.threads)


def sizes(source: Path, target: Path) -> dict[str, int]:
    """Bytes before and after."""
    return {"bytes_before": source.stat().st_size, "bytes_after": target.stat().st_size}
