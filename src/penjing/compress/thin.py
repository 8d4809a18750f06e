"""Students that keep all layers of their teacher and a share of each: its heads and neurons that matter most.

They begin near their teacher, which students of fewer layers do not, and so learn in minutes what those never reach;
what they cost is between that of one layer and of the whole.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from penjing.compress.arms import NGRAMS, PACE_STEPS
from penjing.compress.attempts import attempt, can_fit
from penjing.compress.distil import DistilSettings
from penjing.compress.measured import chain_name
from penjing.compress.prune_structure import PruneStructureConfig
from penjing.compress.standing import Search
from penjing.compress.step import StepConfig
from penjing.compress.teach import epochs_of
from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Event, Notice

# Shares of the heads and of the neurons that are kept, the dearest first.
SHARES = ((2 / 3, 1 / 2), (1 / 2, 1 / 4), (1 / 3, 1 / 6), (1 / 4, 1 / 8))
FOR_SPEED = 2  # place of the one that a search for speed or size begins with
TIME_SHARE = 0.85  # of what is left, for teaching the last one; fewer bits and a first stage take the rest
FIRST_SHARE = 0.45  # for teaching one that others may follow
PRICE_SHARE = 0.15  # of what is left, for measuring them untaught
LEAST_SECONDS = 30.0
LEAST_ON_SECONDS = 120.0  # below which teaching on is not worth what follows it
# Passes that are planned over those for which there seems to be time: some steps tell a rate that is off by a fifth,
# and a training plans fewer as it goes, in time for the learning rate to fall, but never more.
MORE_PASSES = 1.3
MOST_STEPS = 12_000
LEARNING_RATE = 3e-4
# Points. With less, one share has all the time, for half of it teaches too little; which one is open: taught as long, a
# third and half of the heads were judged alike on Banking77 (decision 33).
LITTLE = 1.0


def thin_step(found: Search, share: tuple[float, float], epochs: float) -> PruneStructureConfig:
    """The step that keeps so much of each layer.

    Args:
        found: the search.
        share: of the heads, and of the neurons.
        epochs: passes over the lessons; 0: it is left as it is, to see what it costs.
    """
    return PruneStructureConfig(
        keep_heads=round(share[0], 3),
        keep_neurons=round(share[1], 3),
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        ngrams=NGRAMS if found.has_ngrams else None,
    )


def thin_that_fit(
    found: Search, head: Sequence[StepConfig], tail: Sequence[StepConfig], first_mb: float
) -> Generator[Event, None, list[tuple[float, float]]]:
    """Which shares cost little enough for the budget, the dearest first; smaller ones than one that does fit, too.

    Args:
        found: the search.
        head: steps before.
        tail: steps that would follow, without what they learn.
        first_mb: megabytes of a first stage to come.
    """
    until = time.monotonic() + PRICE_SHARE * found.left()

    def fits(share: tuple[float, float]) -> Generator[Event, None, bool]:
        if not found.decided(f"thin {share} {chain_name(tail)}", time.monotonic() < until):
            yield Notice("compress", f"no time to measure {share[0]:.0%} of the heads")
            return False
        return (yield from can_fit(found, [*head, thin_step(found, share, 0.0), *tail], first_mb))

    first = 0 if found.goal == "accuracy" else FOR_SPEED
    for place in range(first, len(SHARES)):
        if not (yield from fits(SHARES[place])):
            continue
        while 0 < place <= first and (yield from fits(SHARES[place - 1])):  # dearer ones, which may have to follow
            place -= 1
        share = SHARES[place]
        yield Notice("compress", f"{share[0]:.0%} of the heads and {share[1]:.0%} of the neurons can fit")
        return list(SHARES[place:])
    return []


def in_order(found: Search, fitting: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Shares that fit, in the order in which they are taught until one holds: for accuracy the dearest alone; for speed
    and size a cheap one, and dearer ones where it loses too much. How much a task can do without is not known before.

    Where hardly anything may be lost, and nothing holds yet, a search for speed has the time for one only, too: the
    dearest, behind a first stage that makes it quick.

    Args:
        found: the search.
        fitting: the dearest first.
    """
    holds = any(found.holds(one) for one in found.tried if one.chain)
    careful = found.fast and found.may_lose() < LITTLE * found.scale / 100 and not holds
    if found.goal == "accuracy" or found.decided("the dearest share alone", careful):
        return list(fitting[:1])
    cheap = [share for share in fitting if share in SHARES[FOR_SPEED:]]
    return [*cheap[:1], *(share for share in fitting[::-1] if share in SHARES[:FOR_SPEED])]


def taught_thin(
    found: Search, head: Sequence[StepConfig], share: tuple[float, float], *, last: bool
) -> Generator[Event, None, list[StepConfig] | None]:
    """Teach a student of some share; its chain.

    Args:
        found: the search.
        head: steps before.
        share: of the heads, and of the neurons.
        last: whether no other share may follow.

    Returns:
        None where it cannot be taught, or no time is left for that.
    """
    if not found.has_time(f"teaching {share} {chain_name(head)}", LEAST_SECONDS):
        return None
    part = TIME_SHARE if last else FIRST_SHARE
    epochs = yield from _affordable(found, head, share, part)
    if epochs is None:
        return None
    return (yield from _taught(found, [*head, thin_step(found, share, epochs)], part))


def taught_on(found: Search, chain: Sequence[StepConfig]) -> Generator[Event, None, list[StepConfig] | None]:
    """Teach a student from where it is for the rest of the time; its chain.

    Args:
        found: the search.
        chain: that ends with the student.

    Returns:
        None where hardly any time is left.
    """
    student = found.result(chain)
    if student is None or not found.has_time(f"teaching on {chain_name(chain)}", LEAST_ON_SECONDS):
        return None
    epochs = _passes(found, student.artifact, f"passes on {chain_name(chain)}", TIME_SHARE)
    return (yield from _taught(found, [*chain, thin_step(found, (1.0, 1.0), epochs)], TIME_SHARE))


def _taught(found: Search, chain: list[StepConfig], part: float) -> Generator[Event, None, list[StepConfig] | None]:
    made = yield from attempt(found, chain, max(part * found.left(), LEAST_SECONDS) / 60)
    return chain if made else None


def _affordable(
    found: Search, head: Sequence[StepConfig], share: tuple[float, float], part: float
) -> Generator[Event, None, float | None]:
    """Passes over the lessons for which there is time, by what some steps took; None where it cannot be taught."""
    texts = found.shop.num_lessons
    few = min(1.0, max(0.001, round(PACE_STEPS * DistilSettings.batch_rows / max(1, texts), 3)))
    chain = [*head, thin_step(found, share, few)]
    try:
        artifact = yield from found.shop.make(chain, found.left() / 60)
    except (CapabilityError, ArtifactError) as error:
        yield Notice("compress", f"{chain_name(chain)} is left out: {error.finding}")
        return None
    return _passes(found, artifact, f"thin passes {share}", part)


def _passes(found: Search, artifact: Artifact, name: str, part: float) -> float:
    """Passes over the lessons that there may be time for, by the rate at which an artifact was taught."""
    facts = artifact.manifest["steps"][-1]["facts"]
    lessons = max(1, facts["lessons"])  # windows of long texts are lessons of their own
    possible = MORE_PASSES * facts["samples_per_s"] * part * max(found.left(), LEAST_SECONDS) / lessons
    least, most = (epochs_of(steps, lessons, DistilSettings.batch_rows) for steps in (PACE_STEPS, MOST_STEPS))
    return float(found.decided(name, round(min(max(possible, least), most), 1)))
