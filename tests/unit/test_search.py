"""Fronts, and giving more to those who do well on little."""

from penjing.core.events import Progress
from penjing.search.halving import halve
from penjing.search.pareto import Point, dominates, front


def test_a_front_has_what_nothing_beats():
    cheap, good, worse, same = (
        Point("cheap", 90, {"ms": 1}),
        Point("good", 95, {"ms": 3}),
        Point("worse", 89, {"ms": 2}),
        Point("same", 90, {"ms": 1}),
    )
    assert front([cheap, good, worse, same]) == [cheap, good, same]
    assert dominates(cheap, worse) and not dominates(cheap, same) and not dominates(cheap, good)


def test_the_better_arms_get_more():
    tried = []

    def advance(arm, rung):
        tried.append((arm, rung))
        yield Progress("x", 1)
        return float(arm)

    events = halve([3, 1, 4, 2], advance, [2], "x")
    while True:
        try:
            next(events)
        except StopIteration as stop:
            ranked = stop.value
            break
    assert tried == [(3, 0), (1, 0), (4, 0), (2, 0), (4, 1), (3, 1)]
    assert ranked == [(4, 4.0), (3, 3.0)]


def test_arms_without_time_keep_their_earlier_place():
    def advance(arm, rung):
        yield Progress("x", 1)
        return float(arm) if rung == 0 else None

    work = halve([1, 2], advance, [1], "x")
    while True:
        try:
            next(work)
        except StopIteration as stop:
            assert stop.value == [(2, 2.0), (1, 1.0)]
            return
