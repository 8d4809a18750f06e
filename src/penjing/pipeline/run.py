"""From a labelled file to a proven artifact."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.compress.measured import LIMITS, has_cost_limits
from penjing.core import registry
from penjing.core.artifact import MANIFEST, Artifact, library_versions, seal, write_atomic
from penjing.core.errors import BudgetError, go_on_with
from penjing.core.events import Listener, Notice, ignore
from penjing.core.memory import existing_objects_kept, release_freed
from penjing.core.recipe import RECIPE, Recipe, read_recipe
from penjing.core.report import Report
from penjing.core.signing import read_private_key, sign
from penjing.core.task import Prediction, Table, Task
from penjing.data.prepare import Prepared, prepare
from penjing.data.textkey import fingerprint
from penjing.evaluate.assemble import MIN_PROCESSES, cost_of, write_report_files
from penjing.evaluate.evaluate import evaluate, temperature_for
from penjing.evaluate.sealed_test import write_test
from penjing.evaluate.slices import require_columns
from penjing.evaluate.verdict import require_floor
from penjing.models.pretrained import Pretrained
from penjing.pipeline.assemble import build_report, finite, report_language
from penjing.pipeline.choose import choose_model, quote_run
from penjing.pipeline.plan import is_recipe_path, resolve, source_of
from penjing.pipeline.scored_rows import inputs_of
from penjing.pipeline.training import Trained, build_task, is_direct, refuse_settings, train_direct, train_gradient
from penjing.pipeline.workdir import WorkDir, disk_errors, interruptions_noted, open_workdir, refuse_occupied
from penjing.predict.invariance import is_batch_invariant
from penjing.predict.load import predictor_for
from penjing.predict.measure import NUM_PROCESSES, measure
from penjing.predict.predictor import Predictor
from penjing.predict.task_file import predict_files, read_task, write_task
from penjing.select.quote import QUOTE_VERSION, Quote, came_true

if TYPE_CHECKING:
    from penjing.pipeline.compressing import CompressResult


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Args:
        out: the artifact's directory.
        artifact: the sealed artifact.
        report: the proof; None when only training was asked for.
        quote: what was promised before training, or None.
        compressed: the model that was made to fit the budget, beside `out`; None where that was not asked for, the
            model fits as it is, or nothing can.
    """

    out: Path
    artifact: Artifact = field(repr=False)
    report: Report | None = field(repr=False)
    quote: Quote | None = field(default=None, repr=False)
    compressed: CompressResult | None = field(default=None, repr=False)


def run(
    source: str | Path | Recipe,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    overrides: Mapping[str, Any] | None = None,
    sign_key: Path | str | None = None,
    listener: Listener = ignore,
) -> RunResult:
    """Data in, proven artifact out; where the budget asks for it, compressed to fit.

    That is where it says what compressing may cost (`budget.drop`), or a prediction costs more than it allows. The
    compressed artifact lies beside the other, as `<out>-small`.

    Args:
        source: a data source (file, folder, SQL URL, hub:ID, demo name), a recipe file, or a recipe.
        out: directory for the artifact; default `runs/<name of the source>`.
        overwrite: replace a finished run, or discard an interrupted one, at `out`.
        overrides: dotted recipe keys → values.
        sign_key: PEM file of the private key to sign the artifact with; None: it is not signed.
        listener: told of progress and choices.

    Raises:
        PenjingError: a mistake the user can mend; nothing half-made is left at `out`.
    """
    result = _run(source, out, overwrite, overrides or {}, sign_key, listener, prove=True)
    if not asks_to_compress(result):
        return result
    from penjing.pipeline.compressing import compress  # which builds on this module

    small = beside_small(result.out)
    try:
        made = compress(result.out, out=small, overwrite=overwrite, sign_key=sign_key, listener=listener)
    except BudgetError as error:  # the trained model stands, and so does the verdict on it
        listener(Notice("compress", error.message, "warning"))
        return result
    except BaseException as error:
        if not isinstance(error, Exception):  # interrupted: the run itself is finished, and would be refused
            go_on_with(error, shlex.join(["penjing", "compress", str(result.out), "--out", str(small)]))
        raise
    return replace(result, compressed=made)


def beside_small(out: Path) -> Path:
    """Where the smaller model of a run goes."""
    return out.with_name(out.name + "-small")


def asks_to_compress(result: RunResult) -> bool:
    """Whether the budget asks for a smaller model than the trained one, and there is a way to make one."""
    assert result.report is not None
    budget = read_recipe(result.artifact.file(RECIPE)).budget
    failed = {verdict.constraint for verdict in result.report.verdicts if verdict.state == "FAIL"}
    if budget.drop is None and not failed & LIMITS.keys():
        return False
    return registry.resolve("compressors", "distil").supports(read_task(result.out)) is None


def train(
    source: str | Path | Recipe,
    *,
    out: Path | str | None = None,
    overwrite: bool = False,
    overrides: Mapping[str, Any] | None = None,
    sign_key: Path | str | None = None,
    listener: Listener = ignore,
) -> Artifact:
    """As `run`, without quote, evaluation and report."""
    return _run(source, out, overwrite, overrides or {}, sign_key, listener, prove=False).artifact


def default_out(source: str | Path | Recipe, recipe: Recipe) -> Path:
    """`runs/<name>`: of the recipe file, or of the data."""
    name = str(source) if not isinstance(source, Recipe) and is_recipe_path(source) else source_of(recipe)
    stem = Path(name.partition("?")[0].rstrip("/").replace(":", "-")).stem or "model"
    return Path("runs") / stem


def _run(
    source: str | Path | Recipe,
    out: Path | str | None,
    overwrite: bool,
    overrides: Mapping[str, Any],
    sign_key: Path | str | None,
    listener: Listener,
    *,
    prove: bool,
) -> RunResult:
    recipe = resolve(source, overrides)
    key = None if sign_key is None else read_private_key(Path(sign_key))  # now, not after hours of training
    target = Path(out) if out is not None else default_out(source, recipe)
    if target.name in {"", ".."}:  # ".", "..": what stands beside it is named after it
        target = target.resolve()
    with interruptions_noted(target):
        with disk_errors(target):
            refuse_occupied(target, overwrite=overwrite)  # as early as the key: a large source takes minutes to read
            if prove and (recipe.budget.drop is not None or has_cost_limits(recipe.budget)):  # it may be compressed
                refuse_occupied(beside_small(target), overwrite=overwrite)
        prepared = prepare(recipe.stage("data"), recipe.task, recipe.seed, listener)
        recipe = recipe.model_copy(update={"task": prepared.task_kind})
        refuse_settings(recipe, prepared.task_kind)
        require_columns(recipe.stage("evaluate"), prepared.splits.open_test("evaluate"))
        identity = _identity(recipe, prepared)
    with (
        disk_errors(target),
        interruptions_noted(target),
        open_workdir(target, identity, overwrite=overwrite) as work,
        existing_objects_kept(),  # the many small things that torch and its like consist of, looked through every time
    ):
        if work.resumed:
            listener(Notice("run", f"going on with the interrupted run in {work.partial}"))
        pretrained = choose_model(recipe, prepared, work.partial, listener)
        if pretrained is not None:
            recipe = recipe.model_copy(update={"model": pretrained.name})
            work.started_from(pretrained.digests(), overwrite=overwrite)
        quote = quote_run(recipe, prepared, pretrained, work.partial, listener) if prove else None
        if prove and not work.resumed:
            from penjing.pipeline.possible import require_possible_budget  # which builds on what builds on this module

            require_possible_budget(recipe, prepared, pretrained, quote, listener)
        release_freed()
        artifact, report = _make(recipe, prepared, pretrained, work, quote, listener, prove=prove)
        if key is not None:
            sign(artifact.path, artifact.manifest, key)
        work.finish(overwrite)
        return RunResult(work.out, Artifact(work.out, artifact.manifest), report, quote)


def _identity(recipe: Recipe, prepared: Prepared) -> str:
    """Digest of all that an interrupted run has to share with this one to be resumed, but for the model's files."""
    rows = [prepared.splits.fingerprint, fingerprint([prepared.unlabelled], prepared.splits.roles)]
    # How the model is judged, and made smaller afterwards, is no part of what was trained.
    facts = [recipe.digest(without=("evaluate", "compress")), *rows, library_versions(), QUOTE_VERSION]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _make(
    recipe: Recipe,
    prepared: Prepared,
    pretrained: Pretrained | None,
    work: WorkDir,
    quote: Quote | None,
    listener: Listener,
    *,
    prove: bool,
) -> tuple[Artifact, Report | None]:
    """The sealed artifact in its stage, and the report."""
    task = build_task(prepared, pretrained, recipe.stage("train").max_length)
    require_floor(recipe.budget, task, listener)
    stage = work.fresh_stage()
    if is_direct(task):
        trained = train_direct(recipe, prepared, task, stage, listener)
    else:
        assert pretrained is not None, "gradient tasks start from a pretrained model"
        trained = train_gradient(recipe, prepared, task, pretrained, work.training, stage, listener)
    recipe = recipe.model_copy(
        update={
            "language": report_language(recipe, prepared),
            "data": prepared.config,
            "train": trained.config or recipe.stage("train"),
        }
    )
    write_atomic(stage / RECIPE, recipe.to_yaml())
    test = write_test(prepared.splits.sealed_test, work.partial / work.out.name)  # `finish` puts it beside `out`
    valid = prepared.splits.valid
    training = {
        **trained.facts,
        "rows": {"train": len(prepared.splits.train), "valid": len(valid)},
        "minutes": trained.minutes,
        "samples_per_s": finite(trained.samples_per_s),
    }
    facts: dict[str, Any] = {"test": test, "data_fingerprint": prepared.splits.fingerprint, "training": training}
    artifact = _seal(stage, task, facts)
    predictor = Predictor(artifact)
    facts["batch_invariant"] = is_batch_invariant(predictor, valid.rows)
    predicted = predictor.predict(valid.rows)
    metrics = task.aggregate(task.score(valid.rows, predicted))
    training["valid"] = {name: finite(value) for name, value in metrics.items()}
    task = _calibrated(recipe, task, valid, predicted, listener)
    del predictor, predicted  # a session holds the model's weights, and the next one would be a second
    artifact = _seal(stage, task, facts)
    if hasattr(task, "fit_decision"):  # thresholds, where a row may have several labels
        task = task.fit_decision(valid.rows, Predictor(artifact).predict(valid.rows))
        artifact = _seal(stage, task, facts)
    report = None
    release_freed()
    if prove:
        report = _prove(recipe, prepared, pretrained, task, trained, artifact, work, quote, test["sha256"], listener)
        artifact = _seal(stage, task, facts)
    return artifact, report


def _seal(stage: Path, task: Task, facts: Mapping[str, Any]) -> Artifact:
    """Seal the artifact under construction, again after each addition; only `finish` makes it visible."""
    (stage / MANIFEST).unlink(missing_ok=True)
    write_task(task, stage)
    capabilities = {"predict_files": predict_files(task, stage), "precision": "fp32"}
    rest = {name: value for name, value in facts.items() if name != "batch_invariant"}
    invariant = bool(facts.get("batch_invariant", False))  # not before it was measured
    return seal(stage, kind=task.kind, capabilities=capabilities, batch_invariant=invariant, extra=rest)


def _calibrated(recipe: Recipe, task: Task, valid: Table, predicted: Sequence[Prediction], listener: Listener) -> Task:
    """The task with a temperature fitted on what the exported model predicts for the validation rows."""
    if task.calibration is None or not recipe.stage("evaluate").calibrate:
        return task
    temperature = temperature_for(task, valid, predicted)
    listener(
        Notice("evaluate", f"confidence calibrated on {len(valid)} validation rows: temperature {temperature:.2f}")
    )
    return task.with_temperature(temperature)


def _prove(
    recipe: Recipe,
    prepared: Prepared,
    pretrained: Pretrained | None,
    task: Task,
    trained: Trained,
    artifact: Artifact,
    work: WorkDir,
    quote: Quote | None,
    test_sha256: str,
    listener: Listener,
) -> Report:
    """Open the sealed test, measure, and write the report into the stage."""
    test = prepared.splits.open_test("evaluate")
    predictor = predictor_for(artifact, listener)
    predictions = predictor.predict(test.rows)
    # Rows of one group are drawn together, or the intervals would be too narrow.
    settings = recipe.stage("evaluate")
    settings = settings.model_copy(update={"group": settings.group or prepared.splits.roles.group})
    evaluation = evaluate(predictor.task, test, predictions, settings, listener)
    inputs = inputs_of(test, task)
    concurrency = recipe.budget.concurrency
    measured = measure(
        artifact,
        inputs,
        concurrency=concurrency,
        setup=predictor.setup,
        num_processes=MIN_PROCESSES if has_cost_limits(recipe.budget) else NUM_PROCESSES,
        listener=listener,
    )
    report = build_report(
        name=work.out.name,
        recipe=recipe,
        prepared=prepared,
        pretrained=pretrained,
        task=predictor.task,
        trained=trained,
        evaluation=evaluation,
        cost=cost_of(measured, round(trained.minutes, 3)),
        artifact=artifact,
        test_sha256=test_sha256,
    )
    if quote is not None:
        report = report.model_copy(update={"quote": came_true(quote, report)})
    write_report_files(report, work.stage, artifact=work.out.name)
    return report
