"""The search for the best chain that fits the budget.

What a student costs is known before it has learned anything, so shapes are measured first, untaught, and only those
that can fit are taught: a few of them a little, the better ones more. What follows a student (int8, a first stage) is
cheap to try and tried on the best. Everything that was made or measured is kept by what it was made of, so a search
that was killed goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from penjing.compress.arms import student_step, taught, taught_phrases
from penjing.compress.attempts import attempt, can_fit, news
from penjing.compress.cascade import CascadeConfig
from penjing.compress.dynamic_int8 import DynamicInt8Config
from penjing.compress.encoders import encoder_config
from penjing.compress.half import HalfConfig
from penjing.compress.int4 import Int4Config
from penjing.compress.lessons import says_of_tokens
from penjing.compress.low_rank import LowRankConfig
from penjing.compress.measured import Candidate, shape_name
from penjing.compress.prune_vocabulary import vocabulary_step
from penjing.compress.quantization_aware import QuantizationAwareConfig
from penjing.compress.shapes import all_shapes, first_stage_shape, products, spread, whole_shape
from penjing.compress.standing import Search
from penjing.compress.static_int8 import ALL_PRODUCTS, SOME_SPARED
from penjing.compress.step import StepConfig
from penjing.compress.student import Shape
from penjing.compress.thin import in_order, taught_on, taught_thin, thin_that_fit
from penjing.core.artifact import Artifact
from penjing.core.events import Event, Notice
from penjing.export.phrase_graph import worked_out_at_load
from penjing.models.encoder import EncoderConfig

MAX_ARMS = 4
PRICE_SHARE = 0.15  # of the time, for measuring untaught students
READ_SHARE = 0.12  # for the teacher to read what students learn from
FIRST_STAGES = 3  # that are tried before a model, each to lose less, where one lost more than it was to
CAREFUL_SHARE, CAREFUL_LEAST = 0.9, 0.2  # of what would just hold if what is lost were proportional; of the last one's
LEFT_SHARE = 0.85  # of what the budget leaves, for a first stage; it is judged with a margin of its own
ROUNDING = 0.2  # points lost by int8 from which on products in 32 bits, or training with it, are worth their time
WORDS_SHARE = 0.5  # of what may be lost; where no bytes are limited pruned words may not cost more
WORDS_POINTS = 1.0  # that may be lost where the budget does not say
GRAPH_BYTES = 10_000  # of a model, that are no numbers of tables and products


def search(found: Search, root: Artifact) -> Generator[Event, None, None]:
    """Fill `found.tried` until the time is up or there is nothing left to try.

    Args:
        found: with nothing tried yet.
        root: the artifact to be compressed, which is the first candidate.

    Yields:
        Progress and notices.
    """
    whole = found.judge_root(root)
    rate = max(one.cost.rows_per_s for one in whole if one.cost.setup.precision == "fp32")
    yield from news(found)
    yield from _tried_all(found, root, rate)
    used = {step.method for one in found.tried for step in one.chain}
    used |= {"pack"} if any(one.shipped is not one.artifact for one in found.tried) else set()
    unused = sorted({*(found.config.methods or ())} - used)
    if unused:
        text = f"this search had no use for {', '.join(unused)}; a chain may: --chain"
        yield Notice("compress", text, "warning")


def _tried_all(found: Search, root: Artifact, rate: float) -> Generator[Event, None, None]:
    _choose_lessons(found, rate)
    head: list[StepConfig] = [vocabulary_step(found.budget, found.goal)] if found.allowed("vocabulary") else []
    tail: list[StepConfig] = [ALL_PRODUCTS] if found.allowed("static-int8") else []
    if head and not (yield from _try(found, head)):
        head = []  # a tokenizer that cannot be cut
    elif _words_are_missed(found, head):
        yield Notice("compress", "the words left out cost too much, and no bytes are limited: all of them stay")
        head = []
    yield from _rounded(found, head, tail)
    if not (found.allowed("distil") or found.allowed("prune-structure")):
        yield from _on_the_file(found, head)
        return
    encoder = encoder_config(root)
    if found.allowed("distil") and found.goal != "accuracy" and not says_of_tokens(found.task):
        fast = yield from taught_phrases(found, encoder, head)
        for chain in fast:
            yield from _rounded(found, chain, tail)
        made = [found.result([*chain, *rest]) for chain in fast for rest in ([], *_roundings(tail))]
        holds = any(one is not None and found.holds(one) for one in made)
        if found.fast and found.decided("one without layers holds", holds):
            return  # whatever has layers is slower
    yield from _with_layers(found, encoder, head, tail)


def _words_are_missed(found: Search, head: list[StepConfig]) -> bool:
    """Whether leaving words out takes much of what may be lost, and for bytes that nobody asked for."""
    limited = found.budget.size_mb is not None or found.budget.ram_mb is not None or found.goal == "size"
    pruned = found.result(head)
    if limited or not head or pruned is None:
        return False
    allowed = found.may_lose() if found.limits_quality else WORDS_POINTS * found.scale / 100
    return bool(found.decided_of(head, "missed are the words of", pruned.judged > WORDS_SHARE * allowed))


def _choose_lessons(found: Search, rate: float) -> None:
    """As many texts for students to learn from as the teacher can read in its share of the time.

    Args:
        found: the search.
        rate: rows a second of the model that is compressed.
    """
    texts = READ_SHARE * found.left() * rate
    found.shop.take_unlabelled(found.decided("unlabelled", min(len(found.shop.unlabelled), int(texts / 2))))
    affordable = (texts - len(found.shop.unlabelled)) / max(1, len(found.shop.splits.train)) - 1
    found.shop.altered = found.decided("altered", min(found.config.altered, max(0, int(affordable))))


def _with_layers(
    found: Search, encoder: EncoderConfig, head: list[StepConfig], tail: list[StepConfig]
) -> Generator[Event, None, None]:
    """Students with layers, and what may follow them; then, where nothing fits, what else there is."""
    yield from _whole_behind_first_stages(found, head, tail)
    holds = any(found.holds(one) for one in found.tried if one.chain)
    if not (found.goal == "size" and found.decided("a smaller one holds", holds)):
        thin = yield from _with_thin_layers(found, encoder, head, tail)
        if found.fast and thin:
            return
    if not found.has_time("students of fewer layers"):
        return
    if not found.allowed("distil"):
        yield from _on_the_file(found, head)
        return
    shapes = yield from _shapes_that_fit(found, encoder, head, tail)
    if not shapes:
        return
    students = yield from taught(found, shapes, head)
    for chain in students:
        yield from _finished(found, chain, tail)
    for chain in _rest(found, students, head, tail):
        if found.decided_of(chain, "needless is", found.best() is not None) or not found.has_time_for(chain):
            return
        yield from _try(found, chain)


def _whole_behind_first_stages(
    found: Search, head: list[StepConfig], tail: list[StepConfig]
) -> Generator[Event, None, None]:
    """The model as it was, where it has room: most rows never reach it, and nothing has to be taught."""
    if not found.fast:
        return
    for bits in (*_roundings(tail), []):
        whole = found.result([*head, *bits])
        if whole is not None and not {"size_mb", "ram_mb"} & whole.excess(found.budget).keys():
            yield from _with_first_stages(found, [*head, *bits])


def _with_thin_layers(
    found: Search, encoder: EncoderConfig, head: list[StepConfig], tail: list[StepConfig]
) -> Generator[Event, None, bool]:
    """All layers with a share of each, in 8 bits or, where those are too many bytes, in 4; and what may follow.

    Returns:
        Whether any of these holds the budget.
    """
    if not found.allowed("prune-structure"):
        return False
    before = len(found.tried)
    chain: list[StepConfig] | None = None
    holds = False
    first_mb = _first_stage_mb(found, encoder, head)
    fewer = _four_bits(found)
    for bits in [tail, fewer][: 2 if fewer else 1]:
        fitting = yield from thin_that_fit(found, head, bits, first_mb)
        shares = in_order(found, fitting)
        for share in shares:
            chain = yield from taught_thin(found, head, share, last=share == shares[-1])
            if chain is None:
                continue  # another may be taught where this one cannot; where there is no time, each says so
            yield from _finished(found, chain, bits)
            holds = found.decided_of(chain, "held is", any(found.holds(one) for one in found.tried[before:]))
            if holds:
                break
        if fitting:
            break
    if holds and found.fast and chain is not None:  # no other model is looked for, and this one gets better
        longer = yield from taught_on(found, chain)
        if longer is not None:
            yield from _finished(found, longer, bits)
    return holds


def _four_bits(found: Search) -> list[StepConfig]:
    """Where bytes are limited; none of them in 8, which would miss the limit for the sake of what validation judges."""
    if not found.allowed("int4") or found.budget.size_mb is None:
        return []
    return [Int4Config(keep_at_most=0)]


def _on_the_file(found: Search, head: list[StepConfig]) -> Generator[Event, None, None]:
    """What can be done where no student can be made: other bits for the numbers in the file."""
    steps: list[StepConfig] = [HalfConfig(), *(_four_bits(found) or [Int4Config()])]
    if found.config.allow_batch_variant:
        steps.append(DynamicInt8Config())
    for step in steps:
        if found.allowed(step.method) and found.has_time_for([*head, step]):
            yield from _try(found, [*head, step])


def _finished(found: Search, chain: list[StepConfig], tail: list[StepConfig]) -> Generator[Event, None, None]:
    """Try what may follow a student; once more after training with rounding, where rounding costs much."""
    yield from _followed(found, chain, tail)
    learned = [*chain, QuantizationAwareConfig()]
    if found.allowed("quantization-aware") and tail == [ALL_PRODUCTS]:
        costs = all(_rounding_costs(found, chain, one) for one in _roundings(tail))
        if costs and found.has_time_for([*learned, *tail]):
            yield from _followed(found, learned, tail)


def _followed(found: Search, chain: list[StepConfig], tail: list[StepConfig]) -> Generator[Event, None, None]:
    """In fewer bits, and everything behind first stages."""
    yield from _rounded(found, chain, tail)
    for bits in (*_roundings(tail), []):
        if found.result([*chain, *bits]) is not None:
            yield from _with_first_stages(found, [*chain, *bits])


def _rounded(found: Search, chain: list[StepConfig], tail: list[StepConfig]) -> Generator[Event, None, None]:
    """Fewer bits; where they cost much and may be had for less, with some products spared."""
    for bits in _roundings(tail):
        if found.has_time_for([*chain, *bits]):
            yield from _try(found, [*chain, *bits])
        if not _rounding_costs(found, chain, bits):
            return


def _roundings(tail: list[StepConfig]) -> list[list[StepConfig]]:
    """Fewer bits for all products, and for all but some."""
    return [tail, [SOME_SPARED]] if tail == [ALL_PRODUCTS] else [tail] if tail else []


def _rounding_costs(found: Search, chain: list[StepConfig], tail: list[StepConfig]) -> bool:
    whole, rounded = found.result(chain), found.result([*chain, *tail])
    if whole is None or rounded is None or found.quality_gap(whole) > 0:
        return False  # what loses too much without rounding will not hold with it
    much = found.quality_gap(rounded) > 0 or rounded.judged > whole.judged + ROUNDING * found.scale / 100
    return bool(found.decided_of([*chain, *tail], "much is lost by rounding in", much))


def _with_first_stages(found: Search, chain: Sequence[StepConfig]) -> Generator[Event, None, None]:
    """Try a chain behind a first stage, and behind more careful ones where it misses by what they may win back."""
    if not found.allowed("cascade"):
        return
    stage = _first_stage(found, chain)
    for _ in range(FIRST_STAGES):
        staged = [*chain, stage]
        if not found.has_time_for(staged):
            return
        tried = yield from _try(found, staged)
        gap = min((found.quality_gap(one) for one in tried), default=0.0)
        wanted = _more_careful(found, chain, stage.loss, gap) if 0 < gap <= stage.loss else None
        less = found.decided_of(staged, "less than the loss of", wanted)
        if less is None:
            return
        stage = stage.model_copy(update={"loss": less})


def _more_careful(found: Search, chain: Sequence[StepConfig], loss: float, gap: float) -> float:
    """What a first stage may lose the next time, where it missed by a gap: as much less as it took too much."""
    behind = found.result(chain)
    room = 0.0 if behind is None else max(0.0, -found.quality_gap(behind))
    return round(max(CAREFUL_LEAST, CAREFUL_SHARE * room / (room + gap)) * loss, 3)


def _first_stage(found: Search, chain: Sequence[StepConfig]) -> CascadeConfig:
    """The first stage of a chain, which may lose what the budget leaves."""
    behind, loss = found.result(chain), CascadeConfig().loss
    if behind is not None and found.limits_quality and found.goal != "accuracy":
        loss = round(max(loss, LEFT_SHARE * -found.quality_gap(behind) * 100 / found.scale), 2)
    first = first_stage_shape(encoder_config(found.shop.root))
    loss = found.decided_of(chain, "loss of a first stage before", min(loss, 100.0))
    return CascadeConfig(hidden=first.hidden, phrases=first.phrases, loss=loss)


def _rest(
    found: Search, students: list[list[StepConfig]], head: list[StepConfig], tail: list[StepConfig]
) -> list[list[StepConfig]]:
    """What may still fit where no student does: fewer bits for the bytes, smaller ranks for the accuracy."""
    bits = _four_bits(found)
    made = [[*head, LowRankConfig()]] if found.allowed("low-rank") else []
    return [
        *([*chain, *bits] for chain in students if bits),
        *([*chain, *more] for chain in made for more in (tail, [])),
    ]


def _try(found: Search, chain: Sequence[StepConfig]) -> Generator[Event, None, list[Candidate]]:
    """As `attempt`, but what was cut short is not taught again: its time was planned where it was first made."""
    known = [one for one in found.tried if one.chain == tuple(chain)]
    return known or (yield from attempt(found, chain, max(found.left(), 1.0) / 60))


def _shapes_that_fit(
    found: Search, config: EncoderConfig, head: list[StepConfig], tail: list[StepConfig]
) -> Generator[Event, None, list[Shape]]:
    """Students that can fit, by what they cost untaught: the dearest that do are few steps of halving away."""
    phrases = not says_of_tokens(found.task)
    shapes = all_shapes(config, phrases=phrases)
    if found.goal != "accuracy" and phrases:  # those without layers were taught already
        shapes = [shape for shape in shapes if shape.layers]
    first_mb = _first_stage_mb(found, config, head)
    if not shapes:
        return []  # what is compressed has no layers itself
    until = time.monotonic() + PRICE_SHARE * found.left()
    fits: dict[Shape, bool] = {}

    def price(shape: Shape) -> Generator[Event, None, bool]:
        chain = [*head, student_step(found, shape, 0.0), *tail]
        fits[shape] = yield from can_fit(found, chain, first_mb)
        return fits[shape]

    # As wide as the teacher a student begins with its vectors, narrower ones with a blurred copy.
    wide = [shape for shape in shapes if shape.hidden == config.hidden_size]
    fitting = yield from _from_the_first_that_fits(wide, price, until)
    if not fitting:
        fitting = yield from _from_the_first_that_fits([one for one in shapes if one not in wide], price, until)
    if not fitting:
        fitting = shapes[-1:]  # nothing fits, and this comes nearest
    size = config.head_size
    dearest, whole = products(fitting[0], size), products(whole_shape(config), size)
    if found.goal == "accuracy":
        near = [shape for shape in fitting if products(shape, size) >= dearest / 4]
    else:
        near = [shape for shape in fitting if products(shape, size) <= whole / 2] or fitting
    chosen = spread(near, MAX_ARMS, size)
    chosen = [Shape(*sizes) for sizes in found.decided("shapes", [list(vars(shape).values()) for shape in chosen])]
    names = ", ".join(shape_name(vars(shape)) for shape in chosen)
    can = sum(fits.values())
    yield Notice("compress", f"{len(fits)} of {len(shapes)} shapes measured, {can} of them can fit; students: {names}")
    return chosen


def _first_stage_mb(found: Search, config: EncoderConfig, head: list[StepConfig]) -> float:
    """What a first stage takes, which is to fit as well: a table in 8 bits with a scale a row, phrases in 8, too,
    where they are worked out at load, and else, as all other products, in 16.
    """
    if not found.allowed("cascade"):
        return 0.0
    small = found.result(head)
    tokens = config.vocab_size if small is None else encoder_config(small.artifact).vocab_size
    first = first_stage_shape(config)
    of_phrases = products(first, config.head_size) * (1 if worked_out_at_load(first.phrases, tokens) else 2)
    numbers = (2 * first.phrases + len(found.task.labels)) * first.hidden
    return (tokens * (first.hidden + 4) + of_phrases + 2 * numbers + GRAPH_BYTES) / 1e6


def _from_the_first_that_fits(
    shapes: list[Shape], price: Callable[[Shape], Generator[Event, None, bool]], until: float
) -> Generator[Event, None, list[Shape]]:
    """Of shapes that cost less and less, those from the first on that fits; after that time as far as it is known."""
    low, high = 0, len(shapes)  # shapes before `low` do not fit, those from `high` on do
    while low < high and time.monotonic() < until:
        middle = (low + high) // 2
        if (yield from price(shapes[middle])):
            high = middle
        else:
            low = middle + 1
    return shapes[high:] if high < len(shapes) else shapes[low:]
