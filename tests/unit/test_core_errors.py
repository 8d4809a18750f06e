"""One line for the user: what, where, what was expected, and always one next step."""

import pytest

from penjing.core.errors import ArtifactError, CapabilityError, DataError, FetchError, RecipeError


@pytest.mark.parametrize("kind", [ArtifactError, CapabilityError, DataError, FetchError, RecipeError])
def test_there_is_always_one_next_step(kind):
    said = kind("is broken", where="a.csv:3", expected="a number", next_step="write one").message
    assert said == "a.csv:3: is broken. Expected a number. Next: write one."
    usual = kind("is broken", where="a.csv:3")
    assert usual.message.startswith("a.csv:3: is broken. Next: ") and usual.message.endswith(".")
    assert usual.to_json()["next_step"] == usual.usual_next_step


def test_a_finding_told_by_others_leaves_the_step_to_them():
    inner = DataError("3 rows", where="a.csv", expected="at least 10", next_step="label more")
    assert inner.finding == "a.csv: 3 rows. Expected at least 10."
    outer = CapabilityError(f"cannot be learned: {inner.finding}")
    assert outer.message.count("Next:") == 1


def test_a_file_with_another_checksum_is_never_to_be_used_by_hand():
    assert "do not use" in FetchError("sha256 is 12ab", where="model.bin").message
