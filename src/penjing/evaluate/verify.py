"""Re-runs every figure of a report from the artifact alone, and shows it beside the one reported.

Everything that was evaluated must come out the same: prediction, resampling and settings are deterministic. Other
processors and libraries round otherwise, so there the figures may differ in their fifth digit. Verdicts are drawn again
from the recipe's budget, whether the quote held from what was found, pages and card from the report. Timings and memory
are measured anew and may be worse by a stated ratio; on another processor they are shown but not judged, because they
describe another machine. What only the training run could know (its minutes, its curves, what was quoted) is listed as
not re-run; so is what was found of the model that one was compressed from, unless that model is given.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penjing.core.artifact import Artifact, open_artifact
from penjing.core.errors import ArtifactError
from penjing.core.events import Listener, Notice, ignore
from penjing.core.recipe import RECIPE, read_recipe
from penjing.core.report import REPORT, Comparison, Evaluation, Hardware, Report, Verdict, read_report
from penjing.core.task import Table, Task
from penjing.evaluate.assemble import files_digest, render_files
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.figure import EXACT, ROUNDED, Figure, cost_figures, equal, is_equal, not_again, same_leaves
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.sealed_test import open_sealed_test, sealed_entry
from penjing.evaluate.verdict import verdicts, verdicts_alone
from penjing.evaluate.verify_compression import (
    compare_again,
    compression_figures,
    cost_again,
    open_parent,
    parent_costs,
    predicted,
    predictor_of,
)
from penjing.predict.load import predictor_for
from penjing.predict.measure import SECONDS

_METRIC_PARTS = ("value", "low", "high")
_CALIBRATION_PARTS = ("ece_before", "ece_after", "temperature")
_TABLES = ("classes", "confusion", "slices", "mistakes", "num_mistakes")


@dataclass(frozen=True)
class Verification:
    """Every figure of a report beside its re-run.

    Args:
        artifact: path of the artifact.
        rows: test rows predicted.
        same_machine: whether processor and cores are those of the report.
        figures: all figures.
    """

    artifact: str
    rows: int
    same_machine: bool
    figures: tuple[Figure, ...]

    @property
    def ok(self) -> bool:
        """Whether no judged figure fails."""
        return all(figure.ok is not False for figure in self.figures)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "ok": self.ok}


def verify(
    artifact_path: Path | str,
    test_path: Path | str | None = None,
    listener: Listener = ignore,
    *,
    timings: bool = True,
    seconds: float = SECONDS,
    public_key: Path | str | None = None,
    parent: Path | str | None = None,
) -> Verification:
    """Re-run the figures of an artifact's report.

    Args:
        artifact_path: the artifact's directory.
        test_path: the sealed test file; by default beside the artifact's directory.
        listener: told of progress.
        timings: whether to measure latency, throughput, memory and load time.
        seconds: spent on latency, and again on throughput, in each of three fresh processes.
        public_key: PEM file of the key whose holder has to have signed the artifact; None: no matter who made it.
        parent: directory of the model that the artifact was compressed from, to compare the two again; None: what the
            report says of it is listed as not re-run.

    Raises:
        ArtifactError: damaged, without report, made without test rows, or not signed as asked; or the parent is
            another model than the report's.
        DataError: the test file is missing, or not the sealed one.
    """
    artifact = open_artifact(artifact_path, public_key)
    report = read_report(artifact.file(REPORT))
    before = None if parent is None else open_parent(artifact, report, parent)
    table = open_sealed_test(artifact, Path(test_path) if test_path is not None else None)
    names = artifact.manifest["capabilities"]["predict_files"]
    # As its maker ran it, where that is possible here; what this user certified since is not what the report is about.
    predictor = predictor_for(artifact, listener, cached=False)
    config = _settings(report, artifact)
    predictions = predicted(predictor, table, listener)
    found = evaluate(predictor.task, table, predictions, config, listener)
    hardware = describe_hardware()
    same_machine = (hardware.cpu, hardware.cores) == (report.hardware.cpu, report.hardware.cores)
    if not same_machine:
        listener(Notice("verify", f"another machine: {hardware.cpu} instead of {report.hardware.cpu}", "warning"))
    libraries = _libraries(report.hardware, hardware)
    tolerance = EXACT if same_machine and not libraries else ROUNDED
    uncompressed = None if before is None else predictor_of(before, report, listener, same_machine=same_machine)
    again = None
    if uncompressed is not None:
        answers = predicted(uncompressed, table, listener)
        again = compare_again(report, table, (uncompressed, answers), (predictor, predictions), config)
    seconds = seconds if timings else 0.0
    figures = [
        equal("model digest", report.artifact_digest, files_digest(artifact.path, names)),
        equal("test file", report.data.test_sha256, sealed_entry(artifact)[1]),
        *_summaries(report, artifact, predictor.task, table),
        *_compare_evaluations(report.evaluation, found, tolerance),
        same_leaves("verdicts", report.verdicts, _verdicts(report, artifact, found, again), tolerance),
        *_known_to_the_run(report, found, tolerance),
        *compression_figures(report, predictor, table, found, again, tolerance),
        *cost_figures(report.cost, cost_again(report.cost, predictor, table, listener, seconds), same_machine),
        *parent_costs(report, uncompressed, table, listener, seconds, same_machine),
        *libraries,
    ]
    figures += _pages(report, artifact, hardware, holds=all(figure.ok is not False for figure in figures))
    return Verification(str(artifact_path), len(table), same_machine, tuple(figures))


def _settings(report: Report, artifact: Artifact) -> EvaluateConfig:
    try:
        return EvaluateConfig.model_validate(report.evaluation.settings)
    except ValidationError as error:
        raise ArtifactError(
            f"the report's settings cannot be used: {error.errors()[0]['msg']}", where=str(artifact.path)
        ) from None


def _compare_evaluations(reported: Evaluation, found: Evaluation, tolerance: float) -> list[Figure]:
    figures = []
    for name in {**reported.metrics, **found.metrics}:
        for part in _METRIC_PARTS:
            label = name if part == "value" else f"{name}.{part}"
            pair = (getattr(side.metrics.get(name), part, None) for side in (reported, found))
            figures.append(equal(label, *pair, tolerance))
    if reported.calibration or found.calibration:
        for part in _CALIBRATION_PARTS:
            pair = (getattr(side.calibration, part, None) for side in (reported, found))
            figures.append(equal(f"calibration.{part}", *pair, tolerance))
    for part in _TABLES:
        figures.append(same_leaves(part, getattr(reported, part), getattr(found, part), tolerance))
    figures.append(same_leaves("evaluation", _all_else(reported), _all_else(found), tolerance))
    return figures


def _all_else(evaluation: Evaluation) -> dict[str, Any]:
    """What has no figure of its own: level, resamples, seed, unit, rows of each metric, bins of calibration, ..."""
    # The re-run took its settings from the report, so they say nothing; level, resamples and seed show what it did.
    values = evaluation.model_dump(exclude={"settings", *_TABLES})
    for metric in values["metrics"].values():
        for part in _METRIC_PARTS:
            del metric[part]
    for part in _CALIBRATION_PARTS if evaluation.calibration else ():
        del values["calibration"][part]
    return values


def _summaries(report: Report, artifact: Artifact, task: Task, table: Table) -> list[Figure]:
    """What the report says of data and model, beside the manifest and the test rows."""
    facts = artifact.manifest.get("training", {})
    rows = {**facts.get("rows", {}), "test": len(table)}
    data = {"fingerprint": artifact.manifest.get("data_fingerprint"), "rows": rows, "num_labels": len(task.labels)}
    model = {"parameters": facts.get("parameters"), "method": str(facts.get("method", ""))}
    if facts.get("parameters") is not None and RECIPE in artifact.manifest["files"]:  # direct models have no name there
        model["name"] = read_recipe(artifact.file(RECIPE)).model
    return [
        equal("task", report.task, artifact.kind),
        same_leaves("data", report.data.model_dump(include=set(data)), data),
        same_leaves("model", report.model.model_dump(include=set(model)), model),
    ]


def _verdicts(report: Report, artifact: Artifact, found: Evaluation, again: Comparison | None) -> list[Verdict]:
    """What the recipe's budget says of the metrics found again, and of the costs reported, which are judged apart."""
    if RECIPE not in artifact.manifest["files"]:
        return []
    budget = read_recipe(artifact.file(RECIPE)).budget
    if report.compression is None:
        return verdicts_alone(budget, found, report.cost)
    return verdicts(budget, found, report.cost, again or report.comparison)


def _known_to_the_run(report: Report, found: Evaluation, tolerance: float) -> list[Figure]:
    """Whether what was quoted came true follows from the figures; what was quoted, and the curves, do not."""
    figures = []
    if report.quote:
        again = []
        for figure in report.quote:
            metric = found.metrics.get(figure.name)
            actual = getattr(report.cost, figure.name, None) if metric is None else metric.value
            # On the very edge of its interval a figure may fall to either side where it is rounded otherwise.
            edge = tolerance > EXACT and any(is_equal(actual, bound, tolerance) for bound in (figure.low, figure.high))
            held = figure.held if edge else None if actual is None else figure.low <= actual <= figure.high
            again.append({"actual": actual, "held": held})
        told = [figure.model_dump(include={"actual", "held"}) for figure in report.quote]
        figures += [
            same_leaves("what came true of the quote", told, again, tolerance),
            not_again("what was quoted", f"{len(told)} entries"),
        ]
    if report.curves:
        figures.append(not_again("curves", f"{len(report.curves)} points"))
    return figures


def _pages(report: Report, artifact: Artifact, present: Hardware, *, holds: bool) -> list[Figure]:
    """Pages and card, drawn again; another release may word them otherwise, so its own are shown but not judged."""
    if not holds:  # such a report may name a class or a metric that is not there, and cannot be drawn
        return [Figure("pages", None, None, "not drawn, because figures differ", None)]
    same_release = report.hardware.libraries.get("penjing") == present.libraries.get("penjing")
    figures = []
    for name, text in render_files(report, artifact=report.name).items():
        listed = artifact.manifest["files"].get(name)
        written = hashlib.sha256(text.replace("\n", os.linesep).encode("utf-8")).hexdigest()
        old = None if listed is None else str(listed["sha256"])
        found = equal(name, old, written)
        figures.append(found if same_release else replace(found, rule="another release of penjing", ok=None))
    return figures


def _libraries(reported: Hardware, present: Hardware) -> list[Figure]:
    """Versions that differ explain figures that differ; they are shown, not judged."""
    names = ("numpy", "onnxruntime", "tokenizers")
    pairs = [(name, reported.libraries.get(name), present.libraries.get(name)) for name in names]
    return [Figure(f"version of {name}", old, new, "differs", None) for name, old, new in pairs if old != new]
