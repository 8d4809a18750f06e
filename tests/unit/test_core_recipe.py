"""Recipes that are hostile or broken give one short line."""

import pytest

from penjing.core.errors import RecipeError
from penjing.core.recipe import read_recipe


def refusal(path, text):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    return caught.value.message


def test_yaml_of_aliases_gives_a_short_message(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join(['*' + last] * 9)}]" for last, name in ("ab", "bc", "cd", "de")]
    message = refusal(tmp_path / "r.yaml", "\n".join([*lines, "seed: *e"]))
    assert len(message) < 2_000 and "'seed'" in message and "\n" not in message


def test_yaml_nested_too_deeply_is_refused(tmp_path):
    assert "nested too deeply" in refusal(tmp_path / "r.yaml", "seed: " + "[" * 5_000)


def test_a_password_in_a_long_value_is_not_shown(tmp_path):
    message = refusal(tmp_path / "r.yaml", f"data: {{limits: 'postgresql://me:secret@host/{'x' * 900}'}}")
    assert "secret" not in message and "***" in message
