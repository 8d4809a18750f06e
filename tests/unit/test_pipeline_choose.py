"""Choosing and quoting before a run."""

from types import SimpleNamespace

import pytest

from penjing.core.errors import CapabilityError
from penjing.core.recipe import parse_recipe
from penjing.pipeline import choose


@pytest.mark.parametrize("failure", [CapabilityError("trains 2 rows/s, too slow to be tried")])
def test_a_quote_that_cannot_be_made_does_not_stop_the_run_and_says_why(tmp_path, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(choose, "quote", fail)
    events = []
    prepared = SimpleNamespace()
    assert choose.quote_run(parse_recipe({}), prepared, None, tmp_path, events.append) is None
    assert [event.level for event in events] == ["warning"]
    assert "too slow to be tried" in events[0].text
    assert not (tmp_path / "quote.json").exists()
