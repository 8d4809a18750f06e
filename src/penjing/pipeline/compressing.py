"""From a trained artifact and a budget to the best artifact that fits it, with the proof."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.compress.config import CompressConfig
from penjing.compress.measured import Measurer, Quality, has_cost_limits, quality
from penjing.compress.pack import is_packed
from penjing.compress.step import StepConfig
from penjing.core.artifact import Artifact, library_versions, open_artifact, write_atomic
from penjing.core.budget import Budget
from penjing.core.errors import ArtifactError, BudgetError, CapabilityError, DataError, MissingExtraError
from penjing.core.events import Event, Listener, Notice, ignore
from penjing.core.memory import existing_objects_kept
from penjing.core.recipe import RECIPE, Recipe
from penjing.core.report import Report
from penjing.core.runtime import Runtime, usable_threads
from penjing.core.signing import read_private_key, sign
from penjing.core.task import Splits
from penjing.data.prepare import Prepared, prepare
from penjing.evaluate.verdict import require_floor
from penjing.pipeline.plan import recipe_of
from penjing.pipeline.proof import prove_compressed
from penjing.pipeline.scored_rows import inputs_of
from penjing.pipeline.training import exhaust
from penjing.pipeline.workdir import WorkDir, disk_errors, interruptions_noted, open_workdir, refuse_occupied
from penjing.predict.cascade import CASCADE_FILE
from penjing.predict.certificate import LIBRARIES, installed_version
from penjing.predict.choose_setup import BACKENDS, takes_bf16
from penjing.predict.setup import MOST_WORKERS, Setup
from penjing.predict.task_file import read_task

if TYPE_CHECKING:
    from penjing.compress.standing import Search

DEFAULT_DROP = 1.0  # points, where no limit at all is given
RULES = 3  # of searches: raised where what an unfinished one decided would be decided otherwise now
SPENT = "spent.json"  # seconds that a search took before it was interrupted


@dataclass(frozen=True)
class CompressResult:
    """What compressing gave.

    Args:
        out: the artifact's directory.
        artifact: the best that was found, or the nearest where nothing fits.
        report: the proof.
        feasible: whether anything fits, as far as the validation rows and this machine tell.
    """

    out: Path
    artifact: Artifact = field(repr=False)
    report: Report = field(repr=False)
    feasible: bool


def compress(
    artifact: Path | str,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    overrides: Mapping[str, Any] | None = None,
    sign_key: Path | str | None = None,
    public_key: Path | str | None = None,
    listener: Listener = ignore,
) -> CompressResult:
    """Turn an artifact into the best one that fits a budget.

    Args:
        artifact: directory of a run.
        out: directory for the result; default: the artifact's with "-small" behind its name.
        overwrite: replace what is there.
        overrides: dotted recipe keys → values, put over the recipe in the artifact ("budget.drop", "compress.minutes").
        sign_key: PEM file of the private key to sign the result with; None: it is not signed.
        public_key: PEM file of the key whose holder has to have signed the artifact; None: no matter who made it.
        listener: told of progress and choices.

    Raises:
        BudgetError: no model at all can fit the budget on this machine.
        DataError: the rows that the artifact was made from are gone, or are others now.
        PenjingError: another mistake the user can mend; nothing half-made is left at `out`.
    """
    require_torch()
    from penjing.compress.order import require_order

    root = open_artifact(artifact, public_key)
    _refuse_finished(root)
    # Neither the chain that made the root nor what was best then is asked for again.
    made_by = {"compress.chain": None, "compress.goal": "auto"} if root.manifest.get("steps") else {}
    recipe = recipe_of(root, {**made_by, **(overrides or {})})
    config: CompressConfig = recipe.stage("compress")
    chain = config.steps()
    key = None if sign_key is None else read_private_key(Path(sign_key))
    if chain is not None:
        require_order(chain, root)
    target = Path(out) if out is not None else root.path.resolve().with_name(root.path.resolve().name + "-small")
    recipe = recipe.model_copy(update={"budget": _completed(recipe.budget, listener)})
    require_floor(recipe.budget, read_task(root.path), listener)
    with interruptions_noted(target):
        with disk_errors(target):
            refuse_occupied(target, overwrite=overwrite)
        prepared = rows_of(root, recipe, listener)
    with (
        disk_errors(target),
        interruptions_noted(target),
        open_workdir(target, _identity(root, recipe, prepared), overwrite=overwrite) as work,
        existing_objects_kept(),
    ):
        if work.resumed:
            listener(Notice("compress", f"going on with the interrupted search in {work.partial}"))
        found, minutes = _found(root, recipe, prepared.splits, prepared.unlabelled.rows, chain, work, listener)
        best = found.best()
        chosen = best or found.nearest()
        made, report = prove_compressed(root, recipe, prepared, found, chosen, minutes, work, listener)
        if key is not None:
            sign(made.path, made.manifest, key)
        work.finish(overwrite)
        return CompressResult(work.out, Artifact(work.out, made.manifest), report, best is not None)


def _refuse_finished(root: Artifact) -> None:
    """A step changes one model as it is, and the threshold of two was chosen for both.

    Raises:
        CapabilityError: the artifact is two models, or packed.
    """
    if is_packed(root):
        raise CapabilityError(
            "its files are packed, and were measured as they are",
            where=str(root.path),
            next_step="compress the artifact that this one was made from",
        )
    if CASCADE_FILE in root.manifest["files"]:
        raise CapabilityError(
            "a first stage answers part of its rows, and would be lost",
            where=str(root.path),
            next_step="compress the artifact that this one was made from",
        )


def require_torch() -> None:
    """Say at the door what compressing needs.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train")


def _completed(budget: Budget, listener: Listener) -> Budget:
    """A budget that says what must not be lost; how long training may take has been judged by the run."""
    budget = budget.model_copy(update={"train_minutes": None})
    if budget.drop is not None or budget.metric is not None or has_cost_limits(budget):
        return budget
    text = f"no budget is given: the fastest model that loses at most {DEFAULT_DROP:g} is looked for"
    listener(Notice("compress", text))
    return budget.model_copy(update={"drop": DEFAULT_DROP})


def rows_of(root: Artifact, recipe: Recipe, listener: Listener) -> Prepared:
    """The rows that an artifact was made from, divided as then.

    Raises:
        DataError: the source is gone, or holds other rows now.
    """
    if RECIPE not in root.manifest["files"] or "data_fingerprint" not in root.manifest:
        raise DataError(
            "the artifact does not say which rows it was made from, and compressing learns from them",
            where=str(root.path),
            next_step="make it anew: penjing run",
        )
    prepared = prepare(recipe.stage("data"), recipe.task, recipe.seed, listener)
    if prepared.splits.fingerprint != root.manifest["data_fingerprint"]:
        raise DataError(
            "the rows are not those that the artifact was made from, so they may hold its test rows",
            where=str(recipe.stage("data").source),
            expected=f"rows with the fingerprint {str(root.manifest['data_fingerprint'])[:12]}...",
            next_step="give the rows of then: --set data.source=FILE, or make the artifact anew from those of now",
        )
    return prepared


def _identity(root: Artifact, recipe: Recipe, prepared: Prepared) -> str:
    """Digest of all that an interrupted search has to share with this one to be gone on with.

    Links and measurements are kept by what they were made of, so another budget or more minutes go on as well.
    """
    texts = json.dumps([dict(row) for row in prepared.unlabelled.rows], sort_keys=True, default=str)
    unlabelled = hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest()
    facts = [root.digest, prepared.splits.fingerprint, unlabelled, recipe.seed, library_versions(), RULES]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _found(
    root: Artifact,
    recipe: Recipe,
    splits: Splits,
    unlabelled: Sequence[Mapping[str, Any]],
    chain: Sequence[StepConfig] | None,
    work: WorkDir,
    listener: Listener,
) -> tuple[Search, float]:
    """Everything that was tried, and the minutes it took, all attempts together."""
    from penjing.compress.physics import require_possible
    from penjing.compress.standing import question

    config: CompressConfig = recipe.stage("compress")
    begun = time.monotonic()
    kept, asked = work.training / SPENT, question(recipe.budget, config)
    spent_on = _spent(kept)
    before = spent_on.get(asked, 0.0)
    deadline = begun + 60 * config.minutes - before
    blank = Quality(math.nan, [], True)  # nothing is predicted before it is known that something can fit
    probe = new_search(root, recipe, splits, unlabelled, work.training, blank, deadline)
    with _fresh_work(work):
        exhaust(require_possible(probe), listener)
    known = quality(root, Setup(), splits.valid)
    if not math.isfinite(known.value):
        raise DataError(
            f"the {len(splits.valid):,} validation rows are too few, or too much alike, to judge a model by",
            where=f"its {read_task(root.path).primary} on them",
            expected="a number",
            next_step="make the artifact anew with more of them: data.split.valid",
        )
    found = new_search(root, recipe, splits, unlabelled, work.training, known, deadline)

    written = 0.0

    def noted(event: Event) -> None:
        nonlocal written
        spent = before + time.monotonic() - begun
        if spent - written >= 1:  # each writing waits for the disk
            write_atomic(kept, json.dumps({**spent_on, asked: spent}) + "\n")
            written = spent
        listener(event)

    with _fresh_work(work):
        exhaust(_attempt(found, root, chain), noted)
    return found, (before + time.monotonic() - begun) / 60


@contextmanager
def _fresh_work(work: WorkDir) -> Iterator[None]:
    """Leave nothing of a search behind that is over before it began."""
    try:
        yield
    except BudgetError:
        if not work.resumed:  # nothing of it is worth going on with
            shutil.rmtree(work.training)
        raise


def new_search(
    root: Artifact,
    recipe: Recipe,
    splits: Splits,
    unlabelled: Sequence[Mapping[str, Any]],
    directory: Path,
    known: Quality,
    deadline: float,
) -> Search:
    """A search that has tried nothing.

    Args:
        root: what is to be compressed.
        recipe: with the budget.
        splits: train and valid are used.
        unlabelled: rows with a text and no label.
        directory: where everything is made and kept.
        known: what the root answers on the validation rows.
        deadline: on the clock of `time.monotonic`.
    """
    from penjing.compress.chain import Workshop
    from penjing.compress.standing import Search

    config: CompressConfig = recipe.stage("compress")
    task = read_task(root.path)
    inputs = inputs_of(splits.valid if len(splits.valid) else splits.train, task)
    directory.mkdir(parents=True, exist_ok=True)
    shop = Workshop(
        root,
        splits,
        list(unlabelled),
        directory,
        Runtime.detect(),
        recipe.seed,
        altered=config.altered,
        export=recipe.stage("export"),
    )
    return Search(
        shop=shop,
        budget=recipe.budget,
        config=config,
        measurer=Measurer(inputs, recipe.budget.concurrency, directory / "costs"),
        setups=_setups(config.backends or [*filter(_is_installed, BACKENDS)], config.goal),
        task=task,
        root=known,
        deadline=deadline,
    )


def _spent(kept: Path) -> dict[str, float]:
    """Seconds that interrupted searches took, by what they were asked for."""
    if not kept.is_file():
        return {}
    try:
        return {asked: float(seconds) for asked, seconds in json.loads(kept.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ArtifactError(
            f"is damaged ({error!r})", where=str(kept), next_step="delete it, and the search counts its time anew"
        ) from None


def _setups(backends: Sequence[str], goal: str) -> list[Setup]:
    """How candidates are run while searching: many rows by a worker a thread, as they will be where that is faster; in
    16 bits, too, where that is quick, for which validation judges the answers, as it judges those of 8 bits.
    """
    threads = usable_threads()
    found = [Setup.of_backend(backend) for backend in backends]
    found += [Setup.of_backend(backend, precision="bf16") for backend in backends if takes_bf16(backend)]
    if goal != "throughput" or threads == 1:
        return found
    return [replace(one, threads=1, workers=min(threads, MOST_WORKERS)) for one in found]


def _is_installed(backend: str) -> bool:
    return installed_version(LIBRARIES.get(backend, backend)) is not None


def _attempt(found: Search, root: Artifact, chain: Sequence[StepConfig] | None) -> Generator[Event, None, None]:
    from penjing.compress.attempts import news
    from penjing.compress.find import search
    from penjing.compress.physics import require_within_reach

    yield from require_within_reach(found)
    if chain is None:
        yield from search(found, root)
        return
    found.judge_root(root)  # to be compared with; a given chain is what is taken
    artifact = yield from found.shop.make(chain)
    found.given = tuple(chain)
    found.judge_all(chain, artifact)
    yield from news(found)
