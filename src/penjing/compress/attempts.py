"""Make a chain, measure it, and tell: what a search does again and again."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from penjing.compress.measured import Candidate, chain_name
from penjing.compress.pack import PackConfig
from penjing.compress.shown import standings
from penjing.compress.standing import Search
from penjing.compress.step import StepConfig
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Event, Notice


def attempt(found: Search, chain: Sequence[StepConfig], max_minutes: float) -> Generator[Event, None, list[Candidate]]:
    """Make and measure a chain, or find what it gave before; what cannot be made or run is left out, and said.

    Args:
        found: the search, to which the candidates are added.
        chain: steps, in order.
        max_minutes: wall time allowed for each step that learns.

    Returns:
        The chain under every setup that can run it; nothing where it is left out.
    """
    try:
        artifact = yield from found.shop.make(chain, max_minutes)
        known = [one for one in found.tried if one.chain == tuple(chain)]
        if known and all(one.artifact.digest == artifact.digest for one in known):
            return known
        for one in known:  # it was cut short, and is made anew with more time
            found.tried.remove(one)
        shipped = (yield from found.shop.make([*chain, PackConfig()])) if found.packs(artifact) else artifact
        candidates = found.judge(chain, artifact, shipped)
    except (CapabilityError, ArtifactError) as error:
        # A step with nothing to change, say: the 8 bits of a bag of three classes; or a student that diverged.
        yield Notice("compress", f"{chain_name(chain)} is left out: {error.finding}")
        return []
    yield from news(found)
    yield standings(found)
    return candidates


def can_fit(found: Search, chain: Sequence[StepConfig], first_mb: float) -> Generator[Event, None, bool]:
    """Whether a chain whose steps have learned nothing costs little enough; not, where it cannot be made or measured.

    Args:
        found: the search.
        chain: steps, in order.
        first_mb: megabytes of a first stage to come.
    """
    try:
        artifact = yield from found.shop.make_as_far_as_possible(chain)
        if found.packs(artifact, first_mb):
            artifact = yield from found.shop.make_as_far_as_possible([*chain, PackConfig()])
        return found.can_fit(artifact, first_mb)
    except (CapabilityError, ArtifactError) as error:
        yield Notice("compress", f"{chain_name(chain)} is left out: {error.finding}")
        return False


def news(found: Search) -> Generator[Event, None, None]:
    """What backends refused since the user was last told."""
    for text in found.refusals.values():
        if text not in found.told:
            found.told.add(text)
            yield Notice("compress", text)
