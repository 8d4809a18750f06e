"""What a rented machine costs a month at a stated traffic.

Nothing is looked up: list prices differ by provider, region and contract, and nothing here uses the network. The
figures are the size of what a general-purpose virtual machine with 2 dedicated cores and 4 GB of memory was listed at
on demand, and are meant to be replaced (`select.price` in a recipe) by the reader's own.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from penjing.select.config import PriceConfig

PRICES_AS_OF = "2026-01"
ASSUMPTION = "2 cores, 4 GB, on demand, running all month; an assumption, not an offer"
USD_MONTH = 65.0
CNY_MONTH = 240.0
CORES = 2
RAM_MB = 4_000.0
SECONDS_A_MONTH = 30 * 24 * 3600


@dataclass(frozen=True)
class MonthlyCost:
    """What serving costs.

    Args:
        machines: 2-core machines needed at the peak.
        usd: a month, in US dollars.
        cny: a month, in renminbi.
        rows_per_month: the traffic.
        peak_rows_per_s: rows a second in the busiest minute.
        load: share of one machine's measured rows/s used on average.
        capacity_rows_per_month: what the machines could do at the planned utilisation, peaks as stated.
        assumption: what the prices are.
        as_of: when they were written down.
        given: whether the prices are the user's own.
    """

    machines: int
    usd: float
    cny: float
    rows_per_month: float
    peak_rows_per_s: float
    load: float
    capacity_rows_per_month: float
    assumption: str
    as_of: str
    given: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def monthly_cost(rows_per_s: float, cores: int, config: PriceConfig) -> MonthlyCost:
    """Machines and money for a traffic.

    Args:
        rows_per_s: measured throughput of this machine.
        cores: cores it was measured on, one a thread; throughput is taken as proportional to them.
        config: traffic and prices.
    """
    one = rows_per_s * CORES / max(1, cores)
    mean = config.rows_per_month / SECONDS_A_MONTH
    peak = mean * config.peak_factor
    machines = max(1, math.ceil(peak / (one * config.utilisation)))
    usd = USD_MONTH if config.usd_month is None else config.usd_month
    cny = CNY_MONTH if config.cny_month is None else config.cny_month
    return MonthlyCost(
        machines=machines,
        usd=round(machines * usd, 2),
        cny=round(machines * cny, 2),
        rows_per_month=config.rows_per_month,
        peak_rows_per_s=peak,
        load=mean / one,
        capacity_rows_per_month=machines * one * config.utilisation / config.peak_factor * SECONDS_A_MONTH,
        assumption=ASSUMPTION,
        as_of=PRICES_AS_OF,
        given=config.usd_month is not None or config.cny_month is not None,
    )
