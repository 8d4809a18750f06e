"""The finished artifact of a search: calibrated anew, certified for this machine, proven on the sealed test rows."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.compress.measured import LIMITS, Candidate, step_name
from penjing.compress.shown import on_front
from penjing.core.artifact import MANIFEST, Artifact, seal, write_atomic
from penjing.core.budget import Budget
from penjing.core.events import Listener, Notice
from penjing.core.recipe import RECIPE, Recipe
from penjing.core.report import Compression, DataSummary, ModelSummary, Relaxation, Report, Tried
from penjing.core.task import Table, Task
from penjing.data.prepare import Prepared
from penjing.evaluate.assemble import MIN_PROCESSES, cost_of, files_digest, write_report_files
from penjing.evaluate.compare import Contender, compare_predictions
from penjing.evaluate.evaluate import evaluate, temperature_for
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.sealed_test import sealed_entry, write_test
from penjing.evaluate.verdict import verdicts
from penjing.pipeline.assemble import finite, report_language, shown_roles
from penjing.pipeline.parity import compare_with_torch
from penjing.pipeline.plan import source_of
from penjing.pipeline.scored_rows import inputs_of
from penjing.pipeline.workdir import WorkDir
from penjing.predict.cascade import early_share
from penjing.predict.certificate import Goal
from penjing.predict.certificate_file import write_certificate
from penjing.predict.choose_setup import choose_setup
from penjing.predict.invariance import PROOF_ROWS, is_batch_invariant
from penjing.predict.load import predictor_for
from penjing.predict.measure import Measurement, measure
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup
from penjing.predict.task_file import CERTIFICATE_FILE, ENCODER_CONFIG, TASK_FILE, WEIGHTS, read_task, write_task

if TYPE_CHECKING:
    from penjing.compress.standing import Search

CERTIFY_SECONDS = 45.0
_BATCH = 64


def prove_compressed(
    root: Artifact,
    recipe: Recipe,
    prepared: Prepared,
    found: Search,
    chosen: Candidate,
    minutes: float,
    work: WorkDir,
    listener: Listener,
) -> tuple[Artifact, Report]:
    """Make the artifact of a candidate complete, and open the sealed test for it.

    Args:
        root: what was compressed.
        recipe: with the budget.
        prepared: the rows of then.
        found: the search.
        chosen: the candidate.
        minutes: that the search took.
        work: directories; the artifact is made in its stage.
        listener: told of progress.

    Returns:
        The sealed artifact, in the stage, and its report.
    """
    recipe = recipe.model_copy(update={"language": report_language(recipe, prepared), "data": prepared.config})
    stage = work.fresh_stage()
    made = _Unfinished(
        root, chosen, stage, minutes, write_test(prepared.splits.sealed_test, work.partial / work.out.name)
    )
    made.copy()
    write_atomic(stage / RECIPE, recipe.to_yaml())
    valid = prepared.splits.valid
    setup = chosen.cost.setup
    task = _calibrated(recipe, made.seal(read_task(stage)), setup, valid)
    artifact = made.seal(task)
    inputs = inputs_of(valid if len(valid) else prepared.splits.train, task)
    certificate = choose_setup(
        artifact,
        inputs,
        default=setup,
        backends=[one.backend for one in found.setups],
        goal=_goal(found.goal, recipe.budget),
        budget_seconds=CERTIFY_SECONDS,
        concurrency=recipe.budget.concurrency,
        limits=_limits(recipe.budget),
        listener=listener,
    )
    artifact = made.seal(task)
    made.invariant = is_batch_invariant(Predictor(artifact, setup=certificate.chosen), valid.rows, PROOF_ROWS)
    if not made.invariant and chosen.invariant and not recipe.stage("compress").allow_batch_variant:
        listener(
            Notice("compress", f"{certificate.chosen} is quicker, but answers would depend on the rows beside them")
        )
        certificate = replace(certificate, chosen=setup)
        made.invariant = True
    write_certificate(certificate, stage)
    listener(Notice("compress", f"runs best here as {certificate.chosen}"))
    artifact = made.seal(task)
    parity = compare_with_torch(found.shop, chosen.chain, artifact, certificate.chosen, valid.rows)
    report = _report(root, recipe, prepared, found, chosen, made, artifact, certificate.chosen, work.out.name, listener)
    assert report.compression is not None
    report = report.model_copy(update={"compression": report.compression.model_copy(update={"parity": parity})})
    write_report_files(report, stage, artifact=work.out.name)
    return made.seal(task), report


def _limits(budget: Budget) -> dict[str, float]:
    """What setups are measured for and the budget limits."""
    limits = {figure: getattr(budget, name) for name, (figure, _) in LIMITS.items() if name != "size_mb"}
    return {figure: limit for figure, limit in limits.items() if limit is not None}


class _Unfinished:
    """An artifact that is sealed again after each addition; only `finish` makes it visible."""

    def __init__(self, root: Artifact, chosen: Candidate, stage: Path, minutes: float, test: Mapping[str, Any]) -> None:
        self.root, self.chosen, self.stage, self.minutes, self.test = root, chosen, stage, minutes, test
        self.invariant = chosen.invariant

    def copy(self) -> None:
        """What predicting needs, and the weights, where there are any to go on from."""
        source = self.chosen.shipped
        wanted = {*source.manifest["capabilities"]["predict_files"]} - {CERTIFICATE_FILE}
        wanted |= {WEIGHTS, ENCODER_CONFIG} & source.manifest["files"].keys()
        for name in wanted - {TASK_FILE}:
            shutil.copyfile(source.file(name), self.stage / name)
        shutil.copyfile(source.file(TASK_FILE), self.stage / TASK_FILE)

    @property
    def training(self) -> dict[str, Any]:
        """What the manifest says of how it came about."""
        before = self.root.manifest.get("training", {})
        steps = self.chosen.shipped.manifest.get("steps", [])
        counted = [step["facts"]["parameters"] for step in steps if "parameters" in step["facts"]]
        new = steps[len(self.root.manifest.get("steps", [])) :]
        method = " > ".join([str(before.get("method", "")), *(step["method"] for step in new)])
        return {
            **{name: before[name] for name in ("rows",) if name in before},
            "parameters": counted[-1] if counted else before.get("parameters"),
            "method": method,
            "minutes": round(self.minutes, 3),
        }

    def seal(self, task: Task) -> Artifact:
        """Write the task, and the manifest over all files that are there now."""
        (self.stage / MANIFEST).unlink(missing_ok=True)
        write_task(task, self.stage)
        inherited = self.chosen.shipped.manifest["capabilities"]
        files = {*inherited["predict_files"]} - {CERTIFICATE_FILE}
        if (self.stage / CERTIFICATE_FILE).is_file():
            files.add(CERTIFICATE_FILE)
        return seal(
            self.stage,
            kind=task.kind,
            capabilities={**inherited, "predict_files": sorted(files)},
            batch_invariant=self.invariant,
            parent=self.root.digest,
            extra={
                "test": dict(self.test),
                "data_fingerprint": self.root.manifest["data_fingerprint"],
                "steps": self.chosen.shipped.manifest.get("steps", []),
                "training": self.training,
            },
        )


def _calibrated(recipe: Recipe, artifact: Artifact, setup: Setup, valid: Table) -> Task:
    """The task with temperature and thresholds chosen on what the smaller model says of the validation rows."""
    task = read_task(artifact.path)
    if not len(valid):
        return task
    predicted = Predictor(artifact, setup=setup).predict(valid.rows)
    if task.calibration is not None and recipe.stage("evaluate").calibrate:
        before = task.temperature
        task = task.with_temperature(temperature_for(task, valid, predicted))
        if hasattr(task, "fit_decision") and before != task.temperature:
            predicted = _repredicted(artifact, task, setup, valid)
    return task.fit_decision(valid.rows, predicted) if hasattr(task, "fit_decision") else task


def _repredicted(artifact: Artifact, task: Task, setup: Setup, valid: Table) -> list[Any]:
    backend = Predictor(artifact, setup=setup).backend
    found = []
    for start in range(0, len(valid), _BATCH):
        found += task.predict(backend.run, task.encode(valid.rows[start : start + _BATCH]))
    return found


def _goal(asked: str, budget: Budget) -> Goal:
    """What decides between setups: what the search was for, or else what the budget limits."""
    if asked == "latency" or asked == "throughput":
        return asked
    if budget.p95_ms is not None and budget.rows_per_s is None:
        return "latency"
    return "throughput" if budget.rows_per_s is not None and budget.p95_ms is None else "balanced"


def _report(
    root: Artifact,
    recipe: Recipe,
    prepared: Prepared,
    found: Search,
    chosen: Candidate,
    made: _Unfinished,
    artifact: Artifact,
    setup: Setup,
    name: str,
    listener: Listener,
) -> Report:
    """Both models on the sealed test rows, what the smaller one costs, and what follows for the budget."""
    test = prepared.splits.open_test("evaluate")
    before, after = predictor_for(root, listener), Predictor(artifact, setup=setup)
    settings = recipe.stage("evaluate")
    settings = settings.model_copy(update={"group": settings.group or prepared.splits.roles.group})
    predictions = after.predict(test.rows)
    sides = [
        Contender(root.path.name, before.task, before.predict(test.rows), test.rows),
        Contender(name, after.task, predictions, test.rows),
    ]
    comparison = compare_predictions(test, *sides, settings)
    evaluation = evaluate(after.task, test, predictions, settings, listener)
    inputs = inputs_of(test, after.task)
    concurrency = recipe.budget.concurrency
    cost = cost_of(
        measure(artifact, inputs, concurrency=concurrency, setup=setup, num_processes=MIN_PROCESSES, listener=listener),
        made.training["minutes"],
    )
    of_root = measure(root, inputs, concurrency=concurrency, setup=before.setup, num_processes=1, listener=listener)
    splits = prepared.splits
    training = made.training
    said = verdicts(recipe.budget, evaluation, cost, comparison)
    return Report(
        name=name,
        task=after.task.kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        language=report_language(recipe, prepared),
        artifact_digest=files_digest(artifact.path, artifact.manifest["capabilities"]["predict_files"]),
        recipe_digest=recipe.digest(),
        model=ModelSummary(name=recipe.model, parameters=training["parameters"], method=training["method"]),
        data=DataSummary(
            source=source_of(recipe),
            fingerprint=splits.fingerprint,
            rows={"train": len(splits.train), "valid": len(splits.valid), "test": len(test)},
            roles=shown_roles(splits.roles),
            num_labels=len(after.task.labels),
            languages=sorted(prepared.languages),
            test_sha256=sealed_entry(artifact)[1],
        ),
        evaluation=evaluation,
        cost=cost,
        hardware=describe_hardware(),
        verdicts=said,
        comparison=comparison,
        compression=_compression(root, found, chosen, after, test, of_root, training["minutes"]),
    )


def _compression(
    root: Artifact,
    found: Search,
    chosen: Candidate,
    after: Predictor,
    test: Table,
    of_root: Measurement,
    minutes: float,
) -> Compression:
    best = on_front(found.tried)
    return Compression(
        parent=root.path.name,
        parent_digest=root.digest,
        parent_cost=cost_of(of_root),
        parent_setup=of_root.setup.to_json(),
        steps=[step_name(step) for step in chosen.shipped.manifest.get("steps", [])],
        minutes=minutes,
        early=early_share(after.backend, after.task, test.rows),
        tried=[
            Tried(
                name=candidate.name,
                value=candidate.value,
                lost=round(candidate.lost, 4),
                judged=round(candidate.judged, 4),
                **{key: getattr(candidate.cost, key) for key in ("p50_ms", "p95_ms", "rows_per_s", "size_mb")},
                ram_mb=candidate.cost.peak_ram_mb,
                on_front=candidate in best,
                fits=found.holds(candidate),
                chosen=candidate is chosen,
                uncompressed=not candidate.chain,
            )
            for candidate in found.tried
        ],
        relax=[] if found.holds(chosen) else _relaxations(found, chosen),
    )


def _relaxations(found: Search, nearest: Candidate) -> list[Relaxation]:
    """Which limits the nearest candidate misses, and what it has instead."""
    cost = nearest.finished_cost
    missed = [
        Relaxation(constraint=name, limit=getattr(found.budget, name), reached=getattr(cost, LIMITS[name][0]))
        for name in nearest.excess(found.budget)
    ]
    if found.budget.drop is not None and nearest.judged > found.budget.drop:
        missed.append(Relaxation(constraint="drop", limit=found.budget.drop, reached=round(nearest.judged, 4)))
    metric = found.task.metrics[found.task.primary]
    if found.budget.metric is not None:
        value = finite(found.judged_metric(nearest)) or 0.0
        if (value < found.budget.metric) == metric.higher_is_better and value != found.budget.metric:
            missed.append(Relaxation(constraint="metric", limit=found.budget.metric, reached=round(value, 4)))
    return missed
