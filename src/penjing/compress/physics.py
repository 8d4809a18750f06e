"""What no model can go below on this machine, measured in seconds before anything is learned.

Reading a text, starting a process and looking up a handful of vectors cost what they cost: the smallest student there
is, untaught, shows it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from penjing.compress.encoders import encoder_config
from penjing.compress.lessons import says_of_tokens
from penjing.compress.measured import LIMITS, excess, has_cost_limits
from penjing.compress.pack import PackConfig
from penjing.compress.prune_vocabulary import VocabularyConfig
from penjing.compress.shapes import phrase_shapes
from penjing.compress.static_int8 import ALL_PRODUCTS
from penjing.compress.step import StepConfig
from penjing.compress.teach import DistilConfig, phrase_step
from penjing.core.errors import BudgetError
from penjing.core.events import Event, Notice
from penjing.evaluate.bootstrap import bootstrap
from penjing.predict.measure import Measurement

if TYPE_CHECKING:
    from penjing.compress.standing import Search

# Figures of a busy machine drift; what misses a limit by less may yet be reached.
DRIFT = 1.25
_EXACT = ("size_mb",)
MOST_ROWS = 10_000


def require_possible(found: Search) -> Generator[Event, None, None]:
    """Do nothing where the limits of cost can be met by something.

    Args:
        found: the search to come.

    Yields:
        Progress and notices.

    Raises:
        BudgetError: even a model that knows nothing misses a limit, however it is run; the message names all.
    """
    if not has_cost_limits(found.budget) or not found.allowed("distil"):
        return
    head: list[StepConfig] = [VocabularyConfig(most_near=0)] if found.allowed("vocabulary") else []
    blank: list[StepConfig] = [ALL_PRODUCTS] if found.allowed("static-int8") else []
    shop = found.shop.with_few_rows(MOST_ROWS)  # whose words are counted in seconds
    costs: list[Measurement] = []
    missed: set[str] = set()
    for smallest in _smallest(found):
        chain = [*head, smallest, *blank]
        artifact = yield from shop.make_as_far_as_possible(chain)
        if found.packs(artifact):
            artifact = yield from shop.make_as_far_as_possible([*chain, PackConfig()])
        costs += [cost for _, cost in found.costs(artifact)]
        if not costs:
            return  # none of the backends asked for runs it; whether any runs the model itself is said next
        missed = set.intersection(*({*_clearly(excess(found.budget, cost))} for cost in costs))
        if not missed:
            break
    if missed:
        needs = ", ".join(_best(name, costs) for name in sorted(missed))
        reached = ", ".join(f"{name} {_reachable(name, costs)}" for name in sorted(missed))
        raise BudgetError(
            f"nothing can fit: a model that knows nothing has {needs}",
            where="budget",
            expected=f"limits that can be reached here: {reached}",
        )
    yield Notice("compress", "the limits are above what the smallest model needs")


def require_within_reach(found: Search) -> Generator[Event, None, None]:
    """Do nothing where the model that is compressed has what the budget asks of its metric.

    Args:
        found: the search to come.

    Yields:
        A warning, where the validation rows leave it open.

    Raises:
        BudgetError: the model itself is clearly below the floor, and no smaller one will be above it.
    """
    floor, task = found.budget.metric, found.task
    about = task.metrics[task.primary]
    scale = 100.0 if about.percent else 1.0
    sign = 1 if about.higher_is_better else -1
    if floor is None or sign * (floor - scale * found.root.value) <= 0:
        return
    table = found.shop.splits.valid
    stats = task.score(table.rows, found.root.predictions)
    known = bootstrap(task, stats, resamples=500, level=0.99)[task.primary]
    best = known.high if about.higher_is_better else known.low
    reached = f"{scale * found.root.value:.4g} on {len(table):,} validation rows"
    if best is not None and sign * (floor - scale * best) > 0:
        raise BudgetError(
            f"is {floor:g}, and the model that is to be compressed reaches {reached}",
            where="budget.metric",
            expected=f"at {'most' if sign > 0 else 'least'} {scale * best:.3g}, which those rows leave possible",
            next_step="train a better model first, or lower the floor",
        )
    yield Notice("budget", f"the model itself reaches {reached}, where budget.metric asks for {floor:g}", "warning")


def _smallest(found: Search) -> list[StepConfig]:
    """Untaught students of which one or the other is the smallest: a bag of words is a table of what each says of each
    class, so that with many classes it is larger than one that knows phrases.
    """
    config = encoder_config(found.shop.root)
    bag = DistilConfig(layers=0, hidden=config.head_size, feed_forward=1, epochs=0)
    if says_of_tokens(found.task):
        return [bag]
    shape = phrase_shapes(config)[-1]
    return [bag, phrase_step(shape.hidden, shape.phrases, 0.0)]


def _clearly(factors: dict[str, float]) -> list[str]:
    return [name for name, factor in factors.items() if factor > (1 if name in _EXACT else DRIFT)]


def _figure(name: str, costs: list[Measurement]) -> float:
    """The best of all setups."""
    figure, more = LIMITS[name]
    return (max if more else min)(getattr(cost, figure) for cost in costs)


def _best(name: str, costs: list[Measurement]) -> str:
    value = _figure(name, costs)
    return f"{name} {value:,.0f}" if LIMITS[name][1] else f"{name} {value:.3g}"


def _reachable(name: str, costs: list[Measurement]) -> str:
    """A limit that would be reached."""
    value = _figure(name, costs)
    return f"at most {value / DRIFT:,.0f}" if LIMITS[name][1] else f"at least {value * DRIFT:.3g}"
