"""Whose tokens a check of texts counts: those of the model a run is told to use, or is likely to choose."""

from __future__ import annotations

from penjing.core.errors import PenjingError
from penjing.core.events import Listener, Notice, ignore
from penjing.core.recipe import Recipe
from penjing.core.task import TextSettings
from penjing.data.check import ModelTokens, TokensOf
from penjing.models.catalog import list_models, resolve
from penjing.models.pretrained import Pretrained
from penjing.models.scratch import NAME as SCRATCH
from penjing.select.candidate import speaks

_DEFAULT_TOKENS = 256  # as when training


def tokens_of(recipe: Recipe, listener: Listener = ignore) -> TokensOf | None:
    """Language → the model; None for a model from scratch, whose vocabulary is not made yet.

    A model that is named is fetched where need be. Otherwise the smallest one of the catalog that knows the language
    and is on this machine counts; nothing is fetched to choose it.

    Args:
        recipe: names the model, the candidates and the maximum length.
        listener: told of progress.

    Raises:
        RecipeError: the recipe names a model that does not exist.
        FetchError: the model it names cannot be had.
        ArtifactError: its files are damaged.
    """
    if recipe.model == SCRATCH:
        return None
    if recipe.model != "auto":
        named = _tokens(recipe, resolve(recipe.model, listener=listener))
        return lambda language: named
    return lambda language: _likely(recipe, language, listener)


def _likely(recipe: Recipe, language: str, listener: Listener) -> ModelTokens | None:
    candidates = recipe.stage("select").candidates
    fitting = [
        row
        for row in sorted(list_models(), key=lambda row: row.parameters)
        if speaks(row.languages, language) and (candidates is None or row.name in candidates)
    ]
    for row in (row for row in fitting if row.cached):
        try:
            return _tokens(recipe, resolve(row.name, offline=True))
        except PenjingError as error:  # damaged files end no check of the data
            listener(Notice("check", f"{row.name} is left out: {error.finding}", "warning"))
    return ModelTokens(fitting[0].name) if fitting else None


def _tokens(recipe: Recipe, model: Pretrained) -> ModelTokens:
    longest = min(recipe.stage("train").max_length or _DEFAULT_TOKENS, model.max_length)
    return ModelTokens(model.name, TextSettings(model.directory / "tokenizer.json", longest, model.prefix))
