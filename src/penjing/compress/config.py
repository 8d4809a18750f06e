"""The `compress` key of a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penjing.compress.step import StepConfig
from penjing.core import registry
from penjing.core.errors import closest


class CompressConfig(BaseModel):
    """How a trained model is made to fit the budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minutes: float = Field(20.0, gt=0, le=10_000, description="Wall time of the search, students taught included.")
    chain: tuple[dict[str, Any], ...] | None = Field(
        None,
        min_length=1,
        description="Steps to take instead of searching, each with its `method` and settings, or its method's name.",
    )
    methods: tuple[str, ...] | None = Field(None, description="Methods that a search may use; None: all.")
    backends: tuple[str, ...] | None = Field(None, description="Backends to be tried; None: all that are installed.")
    goal: Literal["auto", "accuracy", "speed", "throughput", "latency", "size"] = Field(
        "auto",
        description="What is best among the models that fit. auto: accuracy where the budget limits what a prediction "
        "may cost, else speed, which weighs the rows a second of many against the latency of one.",
    )
    altered: int = Field(3, ge=0, le=100, description="Made-up versions of each training row that students learn from.")
    allow_batch_variant: bool = Field(
        False, description="Whether an answer may depend on the rows beside it, as with dynamic quantization."
    )

    @model_validator(mode="before")
    @classmethod
    def _named_steps(cls, values: Any) -> Any:
        """A step may be given by its name alone."""
        if isinstance(values, dict) and isinstance(values.get("chain"), list | tuple):
            steps = [{"method": step} if isinstance(step, str) else step for step in values["chain"]]
            return {**values, "chain": steps}
        return values

    @model_validator(mode="after")
    def _known_names(self) -> CompressConfig:
        named = [*(self.methods or ()), *(str(step.get("method")) for step in self.chain or ())]
        for what, names, table in (
            ("compressing method", named, "compressors"),
            ("backend", self.backends, "backends"),
        ):
            known = registry.table(table)
            for name in names or ():
                if name not in known:
                    near = closest(name, known)
                    hint = f", did you mean {near!r}?" if near else ""
                    raise ValueError(f"no {what} {name!r}{hint} Known are {', '.join(sorted(known))}")
        return self

    def steps(self) -> list[StepConfig] | None:
        """The chain, each step under its own Config; None: it is to be searched for.

        Raises:
            RecipeError: a setting that its method does not have, or a wrong value.
        """
        if self.chain is None:
            return None
        return [parse_step(step, f"compress.chain[{i}]") for i, step in enumerate(self.chain)]


def parse_step(values: dict[str, Any], where: str) -> StepConfig:
    """One step from its settings.

    Raises:
        RecipeError: a setting that its method does not have, or a wrong value.
    """
    from pydantic import ValidationError

    from penjing.core.errors import RecipeError

    config: type[StepConfig] = registry.resolve("compressors", str(values.get("method"))).config
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(name for name in config.model_fields if name != "method")
        raise RecipeError(
            f"is {first['input']!r:.100}, which is not accepted ({first['msg']})",
            where=f"{where}.{key}",
            expected=f"settings of {known}",
        ) from None
