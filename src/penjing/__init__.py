"""Penjing: from a labelled file to a proven model that fits your machine.

    import penjing

    result = penjing.run("reviews.csv")                     # data in, proven model out
    penjing.load(result.out).predict(["Great tea!"])        # needs no torch

Everything here is imported when it is first used. `penjing.train`, `penjing.select`, `penjing.evaluate` and
`penjing.compress` are also the packages of those stages, which is why these four packages can be called.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penjing.api import check, compare, quote
    from penjing.core.artifact import Artifact
    from penjing.core.budget import Budget
    from penjing.core.errors import (
        ArtifactError,
        CapabilityError,
        DataError,
        FetchError,
        MissingExtraError,
        PenjingError,
        RecipeError,
    )
    from penjing.core.recipe import Recipe, read_recipe
    from penjing.core.report import Report
    from penjing.evaluate.verify import verify
    from penjing.models.catalog import list_models
    from penjing.pipeline.run import RunResult, run
    from penjing.predict.load import load

_PUBLIC = {
    "run": "penjing.pipeline.run:run",
    "train": "penjing.pipeline.run:train",
    "load": "penjing.predict.load:load",
    "quote": "penjing.api:quote",
    "check": "penjing.api:check",
    "select": "penjing.api:select",
    "evaluate": "penjing.api:evaluate",
    "compare": "penjing.api:compare",
    "compress": "penjing.pipeline.compressing:compress",
    "verify": "penjing.evaluate.verify:verify",
    "list_models": "penjing.models.catalog:list_models",
    "read_recipe": "penjing.core.recipe:read_recipe",
    "Recipe": "penjing.core.recipe:Recipe",
    "Budget": "penjing.core.budget:Budget",
    "Artifact": "penjing.core.artifact:Artifact",
    "Report": "penjing.core.report:Report",
    "RunResult": "penjing.pipeline.run:RunResult",
    "PenjingError": "penjing.core.errors:PenjingError",
    "RecipeError": "penjing.core.errors:RecipeError",
    "DataError": "penjing.core.errors:DataError",
    "ArtifactError": "penjing.core.errors:ArtifactError",
    "CapabilityError": "penjing.core.errors:CapabilityError",
    "MissingExtraError": "penjing.core.errors:MissingExtraError",
    "FetchError": "penjing.core.errors:FetchError",
}
_CALLABLE_PACKAGES = frozenset({"train", "select", "evaluate", "compress"})

__all__ = [
    "Artifact",
    "ArtifactError",
    "Budget",
    "CapabilityError",
    "DataError",
    "FetchError",
    "MissingExtraError",
    "PenjingError",
    "Recipe",
    "RecipeError",
    "Report",
    "RunResult",
    "check",
    "compare",
    "compress",
    "evaluate",
    "list_models",
    "load",
    "quote",
    "read_recipe",
    "run",
    "select",
    "train",
    "verify",
]


def _resolve(name: str) -> Any:
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


class _Stage(ModuleType):
    """A stage's package that, called, is the stage: importing `penjing.train.loop` must not hide `penjing.train()`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _resolve(self.__name__.rpartition(".")[2])(*arguments, **options)


class _Package(ModuleType):
    """The package itself: the import system binds subpackages by setting attributes, which is where stages are met."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLABLE_PACKAGES and isinstance(value, ModuleType):
            value.__class__ = _Stage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("penjing")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'penjing' has no attribute {name!r}")
    if name in _CALLABLE_PACKAGES:
        return importlib.import_module(f"penjing.{name}")
    value = globals()[name] = _resolve(name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, "__version__"})
