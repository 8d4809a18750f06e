"""Which products have to stay in 32 bits for a quantized model to answer as its source does.

Each is left out of the quantized model in turn, which tells what it costs; then they are left out one after another,
the dearest first, until the answers are near enough. (So does accuracy control in Intel's NNCF.) One model with a
switch a product serves for all trials: to write and load a file for each would take most of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penjing.compress.drift import Drift, Reference
from penjing.compress.graph_file import Product
from penjing.compress.int8_products import switch
from penjing.core.events import Progress
from penjing.predict.onnx_backend import open_session

_RANKED_BATCHES = 2  # a product that costs much does so on any rows; what is chosen is judged on all


@dataclass(frozen=True)
class Tolerance:
    """How far answers may be off; see `Drift`.

    Args:
        mean: on average.
        max: of any row.
    """

    mean: float
    max: float

    def allows(self, drift: Drift) -> bool:
        """Whether it is near enough."""
        return drift.mean <= self.mean and drift.max <= self.max


def choose_kept(
    path: Path, products: Sequence[Product], reference: Reference, tolerance: Tolerance, most: int
) -> Iterator[Progress | list[Product]]:
    """Yield progress, and last the products that have to stay in 32 bits, the dearest first.

    Args:
        path: the quantized model with switches.
        products: those with switches.
        reference: what the source says.
        tolerance: when to stop.
        most: how many may stay.
    """
    session = open_session(path, reference.threads)

    def drift(kept: Sequence[int], limit: int = 0) -> Drift:
        switches = {switch(product.name): np.array(place in kept) for place, product in enumerate(products)}
        return reference.compare_session(session, path, switches, limit)

    costs = []
    for place in range(len(products)):
        found = drift([place], _RANKED_BATCHES)
        costs.append((found.mean / tolerance.mean + found.max / tolerance.max, place))
        yield Progress("compress", place + 1, len(products), "trials", "leaving each operator in 32 bits in turn")
    order = [place for _, place in sorted(costs)]
    trials: Mapping[int, Drift] = {}
    count = 0
    for count in range(1, min(most, len(products)) + 1):
        trials = {**trials, count: drift(order[:count])}
        if tolerance.allows(trials[count]):
            break
    else:  # no number of them is enough: then as few as are of use
        count = min(trials, key=lambda n: (round(trials[n].mean / tolerance.mean, 1), n), default=0)
    yield [products[place] for place in order[:count]]
