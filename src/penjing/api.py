"""The single stages as one call each, from paths. `penjing`'s public functions and the command line share them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from penjing.core.artifact import Artifact, open_artifact
from penjing.core.events import Listener, Notice, Progress, ignore
from penjing.pipeline.plan import recipe_of
from penjing.pipeline.scored_rows import inputs_of, made_from, rows_to_score

if TYPE_CHECKING:
    from penjing.core.recipe import Recipe
    from penjing.core.report import Comparison, ModelSummary, Report
    from penjing.core.task import Table
    from penjing.data.check import CheckReport
    from penjing.data.prepare import Prepared
    from penjing.evaluate.config import EvaluateConfig
    from penjing.select.config import SelectConfig
    from penjing.select.quote import Quote
    from penjing.select.rank import Selection

# Of a quote's time, what all candidates together may take while the model is chosen.
CHOICE_SHARE = 1 / 2
# An artifact knows the name of what it was made from, and no row of it: the rest has to be left to the user.
NEW_TO_BOTH = "the rows have to be new to both models: one that learned from some of them looks better than it is"
SEEN_BY = (
    "{} was made from these rows, so it has seen most of them and looks better than it is; give rows that are new to "
    "both models"
)


def check(
    source: str | Path | Recipe, *, overrides: Mapping[str, Any] | None = None, listener: Listener = ignore
) -> CheckReport:
    """What is wrong with the data.

    Lengths of texts are counted in tokens of the model that is named, or of the smallest one of the catalog that knows
    the language and is on this machine; without either they are estimated from characters.

    Args:
        source: a data source (file, folder, SQL URL, hub:ID, demo name), a recipe file, or a recipe.
        overrides: dotted recipe keys → values.
        listener: told of progress.

    Raises:
        DataError: the source cannot be read, or its columns cannot be understood.
        RecipeError: the recipe or an override is wrong.
    """
    from penjing.data.check import check_source
    from penjing.pipeline.plan import resolve
    from penjing.select.token_counts import tokens_of

    recipe = resolve(source, overrides)
    counted = tokens_of(recipe, listener)
    return check_source(recipe.stage("data"), recipe.task, counted, seed=recipe.seed, listener=listener)


def select(
    source: str | Path | Recipe, *, overrides: Mapping[str, Any] | None = None, listener: Listener = ignore
) -> Selection:
    """Rank the pretrained models for some data, under the recipe's budget.

    Args:
        source: as in `check`.
        overrides: dotted recipe keys → values.
        listener: told of progress.

    Raises:
        DataError: the data cannot be learned from.
        RecipeError: the recipe or an override is wrong.
        FetchError: no candidate that speaks the language can be had.
    """
    from penjing.data.prepare import prepare
    from penjing.pipeline.plan import resolve

    recipe = resolve(source, overrides)
    prepared = prepare(recipe.stage("data"), recipe.task, recipe.seed, listener)
    return _ranked(recipe, prepared, recipe.stage("select"), listener)


def quote(
    source: str | Path | Recipe, *, overrides: Mapping[str, Any] | None = None, listener: Listener = ignore
) -> Quote:
    """What a run would give and cost, before anything is trained.

    It takes the time of the recipe's `select.quote_seconds`, a minute by default, in which the model is chosen too;
    reading the data and fetching a model come on top.

    Args:
        source: as in `check`.
        overrides: dotted recipe keys → values.
        listener: told of progress.

    Raises:
        DataError: the data cannot be learned from.
        RecipeError: the recipe or an override is wrong.
        FetchError: the model cannot be had.
    """
    from penjing.data.prepare import prepare
    from penjing.pipeline.choose import choose_model
    from penjing.pipeline.plan import resolve
    from penjing.select.quote import quote as quote_prepared

    recipe = resolve(source, overrides)
    prepared = prepare(recipe.stage("data"), recipe.task, recipe.seed, listener)
    config = recipe.stage("select")
    began = time.monotonic()
    if recipe.model == "auto":
        from penjing.models.catalog import list_models

        number = len(config.candidates or (*list_models(), "scratch"))
        brief = config.model_copy(update={"model_seconds": config.quote_seconds * CHOICE_SHARE / number})
        chosen = _ranked(recipe, prepared, brief, listener)
        for sentence in chosen.sentences(recipe.language):
            listener(Notice("select", sentence))
        recipe = recipe.model_copy(update={"model": chosen.chosen or "auto"})
    spent = time.monotonic() - began
    with TemporaryDirectory(prefix="penjing-quote-") as scratch:
        return quote_prepared(
            prepared,
            choose_model(recipe, prepared, Path(scratch), listener),
            budget=recipe.budget,
            train=recipe.stage("train"),
            config=config,
            seed=recipe.seed,
            deadline_s=max(config.quote_seconds / 4, config.quote_seconds - spent),
            listener=listener,
        )


def _ranked(recipe: Recipe, prepared: Prepared, config: SelectConfig, listener: Listener) -> Selection:
    from penjing.select.rank import select as rank

    return rank(
        prepared.splits,
        prepared.task_kind,
        budget=recipe.budget,
        config=config,
        train=recipe.stage("train"),
        language=prepared.language,
        seed=recipe.seed,
        listener=listener,
    )


def evaluate(
    artifact: Path | str,
    data: Path | str | None = None,
    *,
    test: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    timings: bool = True,
    public_key: Path | str | None = None,
    listener: Listener = ignore,
) -> Report:
    """Score an artifact on labelled rows and measure what it costs here.

    Args:
        artifact: its directory.
        data: labelled rows of any source; None: the sealed test rows beside the artifact.
        test: the sealed test file, where it lies elsewhere.
        columns: role ("text", "label", ...) → what the column is called in `data`, where its name is another.
        overrides: dotted recipe keys → values, put over the recipe in the artifact.
        timings: whether to measure latency, throughput, memory and load time (some seconds).
        public_key: PEM file of the key whose holder has to have signed the artifact; None: no matter who made it.
        listener: told of progress.

    Raises:
        ArtifactError: missing, damaged, without sealed test rows, or not signed as asked.
        DataError: the rows lack a column the artifact needs, or are not the sealed ones.
    """
    from penjing.core.report import Report
    from penjing.evaluate.assemble import cost_of, files_digest
    from penjing.evaluate.evaluate import evaluate as score
    from penjing.evaluate.hardware import describe_hardware
    from penjing.evaluate.verdict import verdicts_alone
    from penjing.predict.load import predictor_for
    from penjing.predict.measure import measure

    opened = open_artifact(artifact, public_key)
    recipe = recipe_of(opened, overrides)
    predictor = predictor_for(opened, listener)
    table, about = rows_to_score(opened, predictor.task, recipe.stage("data"), data, test, columns or {}, listener)
    predictions = []
    for _, prediction in predictor.stream(table.rows):
        predictions.append(prediction)
        if len(predictions) % 200 == 0 or len(predictions) == len(table):
            listener(Progress("predict", len(predictions), len(table)))
    settings = _grouped(recipe.stage("evaluate"), [opened], table, sealed=data is None)
    evaluation = score(predictor.task, table, predictions, settings, listener)
    inputs = inputs_of(table, predictor.task)
    measured = None
    if timings:
        concurrency = recipe.budget.concurrency
        measured = measure(opened, inputs, concurrency=concurrency, setup=predictor.setup, listener=listener)
    cost = cost_of(measured, opened.manifest.get("training", {}).get("minutes"))
    return Report.model_validate(
        {
            "name": opened.path.resolve().name,
            "task": opened.kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "language": "zh" if recipe.language == "zh" else "en",
            "artifact_digest": files_digest(opened.path, opened.manifest["capabilities"]["predict_files"]),
            "recipe_digest": recipe.digest(),
            "model": _model_summary(opened, recipe),
            "data": about,
            "evaluation": evaluation,
            "cost": cost,
            "hardware": describe_hardware(),
            "verdicts": verdicts_alone(recipe.budget, evaluation, cost),
        }
    )


def compare(
    a: Path | str,
    b: Path | str,
    data: Path | str | None = None,
    *,
    test: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    public_key: Path | str | None = None,
    listener: Listener = ignore,
) -> Comparison:
    """Compare two artifacts on the same labelled rows; differences are b minus a.

    Args:
        a: directory of the reference.
        b: directory of the candidate.
        data: labelled rows of any source that are new to both; None: the sealed test rows they share.
        test: the sealed test file, where it lies elsewhere.
        columns: role ("text", "label", ...) → what the column is called in `data`, where its name is another.
        overrides: dotted recipe keys → values, put over the recipes in the artifacts; the reference's says how it is
            evaluated.
        public_key: PEM file of the key whose holder has to have signed both; None: no matter who made them.
        listener: told of progress.

    Raises:
        ArtifactError: one of them is damaged, was made without test rows, or is not signed as asked.
        DataError: they were reported on different rows, the file is missing, or `data` lacks a column one needs.
        CapabilityError: they learned different kinds of thing.
    """
    from penjing.evaluate.compare import compare_artifacts, require_one_kind, shared_test
    from penjing.pipeline.labelled import rows_for_both
    from penjing.predict.load import predictor_for

    opened = open_artifact(a, public_key), open_artifact(b, public_key)
    require_one_kind(*((str(artifact.path), artifact.kind) for artifact in opened))
    recipe, other = (recipe_of(artifact, overrides) for artifact in opened)
    predictors = predictor_for(opened[0], listener), predictor_for(opened[1], listener)
    warnings: list[str] = []
    if data is None:
        table = shared_test(*opened, test)
        tables = table, table
    else:
        how = [made_with.stage("data") for made_with in (recipe, other)]
        seen = [made_from(artifact, settings, data) for artifact, settings in zip(opened, how, strict=True)]
        warnings = [SEEN_BY.format(artifact.path) for artifact, known in zip(opened, seen, strict=True) if known]
        for sentence in warnings or [NEW_TO_BOTH]:
            listener(Notice("compare", sentence, "warning" if warnings else "info"))
        sides = [(str(p.artifact.path), p.task, settings) for p, settings in zip(predictors, how, strict=True)]
        tables = rows_for_both(sides[0], sides[1], str(data), columns or {}, listener)
    settings = _grouped(recipe.stage("evaluate"), opened, tables[0], sealed=data is None)
    return compare_artifacts(predictors, tables, settings, listener).model_copy(update={"warnings": warnings})


def _grouped(settings: EvaluateConfig, artifacts: Sequence[Artifact], table: Table, *, sealed: bool) -> EvaluateConfig:
    """The settings with the column whose rows are drawn together: as asked, else as the artifacts' reports did."""
    from penjing.evaluate.evaluate import recorded_group

    if settings.group is not None:
        return settings
    group = next(filter(None, map(recorded_group, artifacts)), None)
    if not sealed and all(group not in row for row in table.rows):
        group = None  # other rows than the run's own need not have its column
    return settings.model_copy(update={"group": group})


def _model_summary(artifact: Artifact, recipe: Recipe) -> ModelSummary:
    """As the artifact's own report has it, else from the manifest."""
    from penjing.core.report import REPORT, ModelSummary, read_report

    if REPORT in artifact.manifest["files"]:
        return read_report(artifact.file(REPORT)).model
    facts = artifact.manifest.get("training", {})
    return ModelSummary(name=recipe.model, parameters=facts.get("parameters"), method=str(facts.get("method", "")))
