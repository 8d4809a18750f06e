"""The recipe: every choice of a run, written down.

`Recipe` is composed of each stage's own `Config`, found by name in `core.registry`, so adding a stage never edits
this file. All mistakes are reported at once, each with its key, what was given and what is accepted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from penjing.core import registry
from penjing.core.budget import Budget
from penjing.core.errors import RecipeError, closest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

RECIPE = "recipe.yaml"  # in an artifact: what it was made with
MAX_RECIPE_BYTES = 1_000_000
MAX_SHOWN_CHARS = 200
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 1_000  # whole addresses, so that a password in one is found
_PASSWORD = re.compile(r"(://[^/:\s]*:)[^@\s]+@")
_PASSWORD_KEY = re.compile(r"([?&;](?:password|passwd|pwd)=)[^&;\s'\"]+", re.IGNORECASE)


class Recipe(BaseModel):
    """The keys that belong to no stage; `recipe_type()` adds one key a stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field("auto", description="A task kind, or auto: inferred from the columns.")
    model: str = Field("auto", description="Catalog name, local directory, hub id, 'scratch', or auto: selected.")
    seed: int = Field(42, ge=0, lt=2**31, description="Seeds splits, initialisation and data order.")
    language: Literal["auto", "en", "zh"] = Field("auto", description="Language of the report; auto: of the data.")
    budget: Budget = Field(default_factory=lambda: Budget(), description="What the result must fit.")

    def stage(self, name: str) -> Any:
        """The Config of one stage."""
        return getattr(self, name)

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def digest(self, without: Collection[str] = ()) -> str:
        """sha256 of the resolved recipe; `without` names parts that are left out of it."""
        values = self.model_dump(mode="json", exclude=set(without))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@cache
def recipe_type() -> type[Recipe]:
    """`Recipe` with one field for each stage in the registry."""
    fields: dict[str, Any] = {}
    for name, target in registry.table("stages").items():
        config = registry.load(target)
        fields[name] = (config, Field(default_factory=config, description=f"The {name} stage."))
    return create_model("Recipe", __base__=Recipe, **fields)


def parse_recipe(values: Any, where: str = "recipe") -> Recipe:
    """Validate a mapping into a recipe.

    Raises:
        RecipeError: every mistake of the recipe in one message.
    """
    if not isinstance(values, dict):
        raise RecipeError(
            f"a recipe is a mapping of keys, not {type(values).__name__}",
            where=where,
            next_step="see the recipe reference in docs/recipe.md",
        )
    try:
        return recipe_type().model_validate(values)
    except ValidationError as error:
        lines = [_explain(detail, recipe_type()) for detail in error.errors()]
        raise RecipeError(
            "; ".join(lines),
            where=where,
            next_step=f"correct {'these keys' if len(lines) > 1 else 'this key'} (docs/recipe.md lists all)",
        ) from None


def read_recipe(path: Path) -> Recipe:
    """Read a YAML recipe.

    Raises:
        RecipeError: the file is missing, too large, not YAML, or has wrong keys.
    """
    if not path.is_file():
        raise RecipeError("no such recipe file", where=str(path), next_step="check the path")
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise RecipeError(f"larger than {MAX_RECIPE_BYTES} bytes", where=str(path), expected="a short YAML file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise RecipeError(f"not valid YAML: {detail}", where=str(path), next_step="correct the YAML") from None
    except RecursionError:
        raise RecipeError(
            "nested too deeply", where=str(path), expected="a mapping of keys as in docs/recipe.md"
        ) from None
    return parse_recipe({} if values is None else values, where=str(path))


def _explain(detail: ErrorDetails, root: type[BaseModel]) -> str:
    """One pydantic error as "key: finding (expectation)"."""
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        accepted = _fields_at(root, location[:-1])
        leaves = [] if location[:-1] else [key for key in _leaves(root) if key.rpartition(".")[2] == location[-1]]
        near = leaves[0] if leaves else closest(location[-1], accepted)
        hint = f", did you mean '{near}'?" if near else f", accepted: {', '.join(accepted)}"
        return f"unknown key '{key}'{hint}"
    # What was given may be an address with a password, and a message ends up in logs.
    # Aliases let a few bytes of YAML stand for megabytes: reprlib writes only the beginning of each part.
    given = _PASSWORD_KEY.sub(r"\1***", _PASSWORD.sub(r"\1***@", _SHORT.repr(detail["input"])))
    given = given if len(given) <= MAX_SHOWN_CHARS else given[:MAX_SHOWN_CHARS] + "..."
    return f"'{key}' = {given}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"


def _leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted keys of all settings, those nearest the root first."""
    own, deeper = [], []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            deeper += _leaves(kind, f"{prefix}{name}.")
        else:
            own.append(f"{prefix}{name}")
    return own + deeper


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
