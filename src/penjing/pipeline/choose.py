"""Which pretrained model, and what the run is expected to give: decided once and kept for a resumed run."""

from __future__ import annotations

from pathlib import Path

from penjing.core import registry
from penjing.core.artifact import write_atomic
from penjing.core.errors import CapabilityError
from penjing.core.events import Listener, Notice
from penjing.core.recipe import Recipe
from penjing.data.prepare import Prepared
from penjing.models.catalog import resolve
from penjing.models.pretrained import Pretrained
from penjing.models.scratch import make_scratch
from penjing.pipeline.training import is_direct
from penjing.pipeline.workdir import QUOTE
from penjing.select.quote import Quote, quote, read_quote, write_quote
from penjing.select.rank import select

CHOICE = "model.txt"
SCRATCH = "scratch"


def choose_model(recipe: Recipe, prepared: Prepared, partial: Path, listener: Listener) -> Pretrained | None:
    """The model the recipe names, or the best candidate for this data; None for tasks without one."""
    if is_direct(registry.resolve("tasks", prepared.task_kind)):
        return None
    kept = partial / CHOICE
    name = recipe.model
    if name == "auto" and kept.is_file():
        name = kept.read_text(encoding="utf-8").strip()
    if name == "auto":
        found = select(
            prepared.splits,
            prepared.task_kind,
            budget=recipe.budget,
            config=recipe.stage("select"),
            train=recipe.stage("train"),
            language=prepared.language,
            seed=recipe.seed,
            listener=listener,
        )
        name = found.chosen
        assert name is not None, "a task that starts from a pretrained model has a chosen one"
        for sentence in found.sentences(recipe.language):
            listener(Notice("select", sentence))
    write_atomic(kept, name + "\n")
    if name == SCRATCH:
        return make_scratch(prepared.splits, partial / SCRATCH, seed=recipe.seed)
    return resolve(name, listener=listener)


def quote_run(
    recipe: Recipe, prepared: Prepared, pretrained: Pretrained | None, partial: Path, listener: Listener
) -> Quote | None:
    """The quote shown before training; a resumed run keeps the one it began with.

    Where nothing can be quoted in time, the run goes on without, and says why.
    """
    kept = partial / QUOTE
    if kept.is_file():
        return read_quote(kept)
    try:
        found = quote(
            prepared,
            pretrained,
            budget=recipe.budget,
            train=recipe.stage("train"),
            config=recipe.stage("select"),
            seed=recipe.seed,
            rehearse=False,  # how far some seconds of training get depends on the machine, and the run itself follows
            listener=listener,
        )
    except CapabilityError as error:
        listener(Notice("quote", f"no quote before this run: {error.finding}", "warning"))
        return None
    write_quote(found, kept)
    for sentence in found.sentences(recipe.language):
        listener(Notice("quote", sentence))
    return found
