"""Links of a chain: what a clock cut short, limits that outlive a kill, and steps that have nothing to change."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from penjing.compress.chain import ALLOWED, Workshop, _allowed, _put, _was_cut_short
from penjing.core.runtime import Runtime


def link(**facts):
    return SimpleNamespace(manifest={"steps": [{"facts": facts}]})


@pytest.mark.parametrize(
    ("facts", "minutes", "again"),
    [
        ({"minutes": 4.0, "cut_short": True}, None, True),
        ({"minutes": 4.0, "cut_short": True}, 8.0, True),
        ({"minutes": 4.0, "cut_short": True}, 5.0, False),
        ({"minutes": 4.0, "cut_short": False}, 8.0, False),
        ({}, None, False),
    ],
)
def test_a_student_cut_short_is_taught_again_where_there_is_much_more_time(facts, minutes, again):
    assert _was_cut_short(link(**facts), minutes) is again


def test_a_step_keeps_the_limit_it_began_with(tmp_path):
    path = tmp_path / "x.work" / ALLOWED
    assert _allowed(path, 12.5) == 12.5
    assert _allowed(path, 3.0) == 12.5  # what an attempt before took is counted in it
    assert json.loads(path.read_text()) == {"minutes": 12.5}
    assert _allowed(tmp_path / "y.work" / ALLOWED, None) is None


@pytest.mark.parametrize("left_over", [False, True])
def test_a_better_link_takes_the_place_of_one_that_was_cut_short(tmp_path, left_over):
    place, stage = tmp_path / "abc", tmp_path / "abc.stage"
    for directory, text in ((place, "short"), (stage, "whole")):
        directory.mkdir()
        (directory / "manifest.json").write_text(text)
    if left_over:  # of an attempt that was killed between the two
        (tmp_path / "abc.before").mkdir()
        (tmp_path / "abc.before" / "model.onnx").write_text("x")
    _put(stage, place)
    assert [path.name for path in tmp_path.iterdir()] == ["abc"]
    assert (place / "manifest.json").read_text() == "whole"


def test_of_too_many_unlabelled_rows_some_are_taken_evenly():
    rows = [{"text": str(i)} for i in range(1_000)]
    shop = Workshop(None, None, rows, None, Runtime(), 1)
    shop.take_unlabelled(2_000)
    assert len(shop.unlabelled) == 1_000
    shop.take_unlabelled(4)
    assert [row["text"] for row in shop.unlabelled] == ["0", "250", "500", "750"]
    shop.take_unlabelled(0)
    assert shop.unlabelled == []
