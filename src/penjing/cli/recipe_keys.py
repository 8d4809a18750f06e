"""Every key of a recipe as a row of a table: for `penjing init`, for the reference, for completion."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from penjing.core.recipe import recipe_type


@dataclass(frozen=True)
class RecipeKey:
    """One key.

    Args:
        path: dotted.
        type: what is accepted, in words.
        default: as JSON; for a group of keys, empty.
        about: its description.
        group: whether it holds further keys.
    """

    path: str
    type: str
    default: str
    about: str
    group: bool = False


def recipe_keys() -> list[RecipeKey]:
    """All keys in the order a recipe has them, groups before their members."""
    return list(_keys(recipe_type(), ""))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[RecipeKey]:
    for name, field in model.model_fields.items():
        path = prefix + name
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield RecipeKey(path, "", "", field.description or "", group=True)
            yield from _keys(annotation, path + ".")
        else:
            default = json.dumps(_plain(field.get_default(call_default_factory=True)), ensure_ascii=False)
            yield RecipeKey(path, _accepted(annotation, field), default, field.description or "")


def _accepted(annotation: Any, field: FieldInfo) -> str:
    bounds = []
    for rule in field.metadata:
        for sign, name in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le")):
            if getattr(rule, name, None) is not None:
                bounds.append(f"{sign} {getattr(rule, name):,}")
    return " ".join([_words(annotation), ", ".join(bounds)]).strip()


def _words(annotation: Any) -> str:
    """A type as a person says it: "integer", "a | b", "list of text", "number or null"."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(part) for part in typing.get_args(annotation))
    if origin in (tuple, list):
        return f"list of {_words(typing.get_args(annotation)[0])}"
    if annotation is type(None):
        return "null"
    return {"bool": "true | false", "str": "text", "float": "number", "int": "integer"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
