"""Which products have to keep a higher precision for a quantized model to answer as its source does.

Each is left out of the quantized model in turn, which tells what it costs; then they are left out one after another,
the dearest first, until the answers are near enough. (So does accuracy control in Intel's NNCF.) One model with a
switch a product serves for all trials: to write and load a file for each would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from penjing.compress.drift import Drift, Reference
from penjing.compress.graph_file import Graph, Product
from penjing.compress.int8_table import quantize_tables
from penjing.compress.rewriting import nothing_to_change, reference, sizes
from penjing.compress.step import Material
from penjing.compress.switches import switch
from penjing.compress.tolerance import Tolerance
from penjing.core.events import Event, Notice, Progress
from penjing.predict.onnx_backend import open_session

_RANKED_BATCHES = 2  # a product that costs much does so on any rows; what is chosen is judged on all


class Write(Protocol):
    """Writes the quantized model."""

    def __call__(self, path: Path, kept: Sequence[Product], *, switches: bool = False) -> None:
        """Write one file.

        Args:
            path: where to.
            kept: products that keep the higher precision.
            switches: give the model an input for each product, see `switch`, that says whether it keeps the higher
                precision.
        """


def quantize(
    source: Path,
    target: Path,
    material: Material,
    insert: Callable[[Graph, Sequence[Product], Sequence[Product], bool], None],
    tolerance: Tolerance,
    *,
    embeddings: bool,
    bits: int,
    kept_bits: int,
) -> Generator[Event, None, dict[str, Any]]:
    """A step that needs to know nothing of activations.

    Args:
        source: an ONNX file.
        target: where to write.
        material: rows and task.
        insert: (graph, products, those with the higher precision, whether with switches) quantizes a graph in place.
        tolerance: how near its answers shall be.
        embeddings: whether tables of vectors have 8 bits.
        bits: of a product.
        kept_bits: of one that costs much.

    Returns:
        Facts for the artifact's manifest.

    Raises:
        CapabilityError: there is nothing to change.
    """
    graph = Graph.read(source)
    tables = quantize_tables(graph) if embeddings else []
    graph.split_gemms()
    products = graph.inner_products()
    if not products:
        raise nothing_to_change(source)
    with TemporaryDirectory(dir=target.parent, prefix="quantized-") as directory:
        prepared, trial = Path(directory) / "prepared.onnx", Path(directory) / "trial.onnx"
        graph.write(prepared)
        del graph  # as large as the file

        def write(path: Path, kept: Sequence[Product], *, switches: bool = False) -> None:
            graph = Graph.read(prepared)
            insert(graph, products, kept, switches)
            graph.write(path)

        expected = reference(source, material)
        found = yield from hold(write, target, trial, products, expected, tolerance, bits=bits, kept_bits=kept_bits)
    return {**sizes(source, target), "precision": f"int{bits}", "tables": len(tables), **found}


def hold(
    write: Write,
    target: Path,
    trial: Path,
    products: Sequence[Product],
    reference: Reference,
    tolerance: Tolerance,
    *,
    bits: int,
    kept_bits: int,
) -> Generator[Event, None, dict[str, Any]]:
    """Write a quantized model whose answers are near enough, where that can be had; return what was found.

    Args:
        write: writes it.
        target: where to.
        trial: a file for trials.
        products: that are quantized.
        reference: what the source says.
        tolerance: how near its answers shall be, and how many products may keep the higher precision for it.
        bits: of the quantized ones, for messages.
        kept_bits: of the others.
    """
    write(target, [])
    first = drift = reference.compare(target)
    kept: list[Product] = []
    if not tolerance.allows(first) and tolerance.keep_at_most and products:
        write(trial, [], switches=True)
        for found in choose_kept(trial, products, reference, tolerance):
            if isinstance(found, Progress):
                yield found
            else:
                kept = found
        write(target, kept)
        drift = reference.compare(target)
        yield Notice(
            "compress",
            f"{len(kept)} of {len(products)} operators stay in {kept_bits} bits, or the answers would be off",
        )
    if not tolerance.allows(drift):
        moved = f"{bits} bits move the answers by {drift.mean:.2g} on average and {drift.max:.2g} at most"
        yield Notice("compress", moved, "warning")
    return {
        "operators": len(products) - len(kept),
        "kept": [product.name for product in kept],
        "drift_without_kept": first.to_json(),
        "drift": drift.to_json(),
        "within_tolerance": tolerance.allows(drift),
    }


def choose_kept(
    path: Path, products: Sequence[Product], reference: Reference, tolerance: Tolerance
) -> Iterator[Progress | list[Product]]:
    """Yield progress, and last the products that have to keep the higher precision, the dearest first.

    Args:
        path: the quantized model with switches.
        products: those with switches.
        reference: what the source says.
        tolerance: when to stop.
    """
    session = open_session(path, reference.threads)

    def drift(kept: Sequence[int], limit: int = 0) -> Drift:
        switches = {switch(product.name): np.array(place in kept) for place, product in enumerate(products)}
        return reference.compare_session(session, path, switches, limit)

    costs = []
    for place in range(len(products)):
        found = drift([place], _RANKED_BATCHES)
        costs.append((found.mean / tolerance.mean + found.max / tolerance.max, place))
        yield Progress("compress", place + 1, len(products), "trials", "giving each operator more bits in turn")
    order = [place for _, place in sorted(costs)]
    trials: Mapping[int, Drift] = {}
    count = 0
    for count in range(1, min(tolerance.keep_at_most, len(products)) + 1):
        trials = {**trials, count: drift(order[:count])}
        if tolerance.allows(trials[count]):
            break
    else:  # no number of them is enough: then as few as are of use
        count = min(trials, key=lambda n: (round(trials[n].mean / tolerance.mean, 1), n), default=0)
    yield [products[place] for place in order[:count]]
