"""What is to be done: a recipe, from a YAML file, a data source, or both with overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from penjing.core.artifact import Artifact
from penjing.core.recipe import RECIPE, Recipe, parse_recipe, read_recipe

_RECIPE_SUFFIXES = {".yaml", ".yml"}


def is_recipe_path(source: str | Path) -> bool:
    """Whether a source is a recipe rather than data."""
    return Path(source).suffix.lower() in _RECIPE_SUFFIXES


def resolve(source: str | Path | Recipe, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a run.

    Args:
        source: a recipe file, a recipe, or a data source (file, folder, SQL URL, hub:ID, demo name).
        overrides: dotted keys ("train.epochs") → value, put over the recipe's.

    Raises:
        RecipeError: the recipe or an override is wrong.
    """
    where = "recipe"
    if isinstance(source, Recipe):
        values = source.model_dump(mode="json")
    elif is_recipe_path(source):
        where = str(source)
        values = read_recipe(Path(source)).model_dump(mode="json")
        values = _relative_to(Path(source).parent, values)
    else:
        values = {"data": {"source": str(source)}}
    for key, value in (overrides or {}).items():
        _put(values, key.split("."), value)
    return parse_recipe(values, where=where)


def recipe_of(artifact: Artifact, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe the artifact was made with; the default one where it carries none.

    Args:
        artifact: an opened artifact.
        overrides: dotted recipe keys → values, put over it.

    Raises:
        RecipeError: the recipe or an override is wrong.
    """
    made_with = artifact.file(RECIPE) if RECIPE in artifact.manifest["files"] else parse_recipe({})
    return resolve(made_with, overrides)


def parse_value(text: str) -> Any:
    """A value as the command line gives it, read as YAML ("3", "true", "[a, b]", "text")."""
    if (
        len(text) == 1 and not text.isalnum() and text != "~"
    ):  # a delimiter; to YAML it would be the beginning of something
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def source_of(recipe: Recipe) -> str:
    """The data source a recipe names."""
    return str(recipe.stage("data").source)


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[path[-1]] = value


def _relative_to(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Data files, and a model's directory, beside a recipe are found from anywhere."""
    data = dict(values.get("data") or {})
    for key in ("source", "test", "valid", "unlabelled"):
        name = data.get(key)
        if isinstance(name, str) and not Path(name).is_absolute() and (folder / name).exists():
            data[key] = str(folder / name)
    model = values.get("model")
    if isinstance(model, str) and not Path(model).is_absolute() and (folder / model / "config.json").is_file():
        values = {**values, "model": str(folder / model)}
    return {**values, "data": data}
