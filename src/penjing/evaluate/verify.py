"""Re-runs every figure of a report from the artifact alone, and shows it beside the one reported.

Everything that was evaluated must come out the same: prediction, resampling and settings are deterministic. Other
processors and libraries round otherwise, so there the figures may differ in their fifth digit. Verdicts are drawn again
from the recipe's budget, whether the quote held from what was found, pages and card from the report. Timings and memory
are measured anew and may be worse by a stated ratio; on another processor they are shown but not judged, because they
describe another machine. What only the training run could know (its minutes, its curves, what was quoted) is listed as
not re-run.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penjing.core.artifact import Artifact, open_artifact, size_bytes
from penjing.core.errors import ArtifactError
from penjing.core.events import Listener, Notice, Progress, ignore
from penjing.core.recipe import RECIPE, read_recipe
from penjing.core.report import REPORT, Cost, Evaluation, Hardware, Report, Verdict, read_report
from penjing.core.task import Table, Task
from penjing.evaluate.assemble import cost_of, files_digest, render_files
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.sealed_test import open_sealed_test, sealed_entry
from penjing.evaluate.verdict import verdicts_alone
from penjing.predict.load import predictor_for
from penjing.predict.measure import SECONDS, measure
from penjing.predict.predictor import Predictor

# Shared machines drift by tens of percent between runs; twice as slow is no drift.
TIMING_RATIO = 2.0
MEMORY_RATIO = 1.25
# Metrics are sums over rows in a fixed order; only the last bits may differ between libraries of linear algebra.
EXACT = 1e-9
# Where the model itself is computed by other instructions or another library, logits differ by about 1e-6.
ROUNDED = 1e-4
_NOT_AGAIN = "known to the training run only"
_METRIC_PARTS = ("value", "low", "high")
_CALIBRATION_PARTS = ("ece_before", "ece_after", "temperature")
_TABLES = ("classes", "confusion", "slices", "mistakes", "num_mistakes")
_WORSE_WHEN_GREATER = {"p50_ms": TIMING_RATIO, "p95_ms": TIMING_RATIO, "load_ms": TIMING_RATIO, "ram_mb": MEMORY_RATIO}


@dataclass(frozen=True)
class Figure:
    """One figure, reported and found.

    Args:
        name: what it is: "accuracy", "accuracy.low", "p95_ms", "classes", ...
        reported: the value in `report.json`.
        found: the value of the re-run; None where it cannot be re-run.
        rule: "equal", or the greatest allowed ratio in words, or why it is not judged.
        ok: whether the rule holds; None where it is not judged.
    """

    name: str
    reported: float | str | None
    found: float | str | None
    rule: str
    ok: bool | None


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
) -> Verification:
    """Re-run the figures of an artifact's report.

    Args:
        artifact_path: the artifact's directory.
        test_path: the sealed test file; by default beside the artifact's directory.
        listener: told of progress.
        timings: whether to measure latency, throughput, memory and load time.
        seconds: spent on latency, and again on throughput, in each of three fresh processes.
        public_key: PEM file of the key whose holder has to have signed the artifact; None: no matter who made it.

    Raises:
        ArtifactError: damaged, without report, made without test rows, or not signed as asked.
        DataError: the test file is missing, or not the sealed one.
    """
    artifact = open_artifact(artifact_path, public_key)
    report = read_report(artifact.file(REPORT))
    table = open_sealed_test(artifact, Path(test_path) if test_path is not None else None)
    names = artifact.manifest["capabilities"]["predict_files"]
    # As its maker ran it, where that is possible here; what this user certified since is not what the report is about.
    predictor = predictor_for(artifact, listener, cached=False)
    task = predictor.task
    found = _evaluate(predictor, table, report, listener)
    hardware = describe_hardware()
    same_machine = (hardware.cpu, hardware.cores) == (report.hardware.cpu, report.hardware.cores)
    if not same_machine:
        listener(Notice("verify", f"another machine: {hardware.cpu} instead of {report.hardware.cpu}", "warning"))
    libraries = _libraries(report.hardware, hardware)
    tolerance = EXACT if same_machine and not libraries else ROUNDED
    figures = [
        _equal("model digest", report.artifact_digest, files_digest(artifact.path, names)),
        _equal("test file", report.data.test_sha256, sealed_entry(artifact)[1]),
        *_summaries(report, artifact, task, table),
        *_compare_evaluations(report.evaluation, found, tolerance),
        _same_leaves("verdicts", report.verdicts, _verdicts(report, artifact, found), tolerance),
        *_known_to_the_run(report, found, tolerance),
        *_costs(report, predictor, table, listener, seconds=seconds if timings else 0.0, same_machine=same_machine),
        *libraries,
    ]
    figures += _pages(report, artifact, hardware, holds=all(figure.ok is not False for figure in figures))
    return Verification(str(artifact_path), len(table), same_machine, tuple(figures))


def _evaluate(predictor: Predictor, table: Table, report: Report, listener: Listener) -> Evaluation:
    try:
        config = EvaluateConfig.model_validate(report.evaluation.settings)
    except ValidationError as error:
        raise ArtifactError(
            f"the report's settings cannot be used: {error.errors()[0]['msg']}", where=str(predictor.artifact.path)
        ) from None
    predictions = []
    for done, (_, prediction) in enumerate(predictor.stream(table.rows), 1):
        predictions.append(prediction)
        if done % 200 == 0 or done == len(table):
            listener(Progress("verify", done, len(table)))
    return evaluate(predictor.task, table, predictions, config, listener)


def _compare_evaluations(reported: Evaluation, found: Evaluation, tolerance: float) -> list[Figure]:
    figures = []
    for name in {**reported.metrics, **found.metrics}:
        for part in _METRIC_PARTS:
            label = name if part == "value" else f"{name}.{part}"
            pair = (getattr(side.metrics.get(name), part, None) for side in (reported, found))
            figures.append(_equal(label, *pair, tolerance))
    if reported.calibration or found.calibration:
        for part in _CALIBRATION_PARTS:
            pair = (getattr(side.calibration, part, None) for side in (reported, found))
            figures.append(_equal(f"calibration.{part}", *pair, tolerance))
    for part in _TABLES:
        figures.append(_same_leaves(part, getattr(reported, part), getattr(found, part), tolerance))
    figures.append(_same_leaves("evaluation", _all_else(reported), _all_else(found), tolerance))
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
        _equal("task", report.task, artifact.kind),
        _same_leaves("data", report.data.model_dump(include=set(data)), data),
        _same_leaves("model", report.model.model_dump(include=set(model)), model),
    ]


def _verdicts(report: Report, artifact: Artifact, found: Evaluation) -> list[Verdict]:
    """What the recipe's budget says of the metrics found again, and of the costs reported, which are judged apart."""
    if RECIPE not in artifact.manifest["files"]:
        return []
    return verdicts_alone(read_recipe(artifact.file(RECIPE)).budget, found, report.cost)


def _known_to_the_run(report: Report, found: Evaluation, tolerance: float) -> list[Figure]:
    """Whether what was quoted came true follows from the figures; what was quoted, and the curves, do not."""
    figures = []
    if report.quote:
        again = []
        for figure in report.quote:
            metric = found.metrics.get(figure.name)
            actual = getattr(report.cost, figure.name, None) if metric is None else metric.value
            # On the very edge of its interval a figure may fall to either side where it is rounded otherwise.
            edge = tolerance > EXACT and any(_is_equal(actual, bound, tolerance) for bound in (figure.low, figure.high))
            held = figure.held if edge else None if actual is None else figure.low <= actual <= figure.high
            again.append({"actual": actual, "held": held})
        told = [figure.model_dump(include={"actual", "held"}) for figure in report.quote]
        figures += [
            _same_leaves("what came true of the quote", told, again, tolerance),
            Figure("what was quoted", f"{len(told)} entries", None, _NOT_AGAIN, None),
        ]
    if report.curves:
        figures.append(Figure("curves", f"{len(report.curves)} points", None, _NOT_AGAIN, None))
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
        found = _equal(name, old, written)
        figures.append(found if same_release else replace(found, rule="another release of penjing", ok=None))
    return figures


def _same_leaves(name: str, reported: Any, found: Any, tolerance: float = EXACT) -> Figure:
    """A table of the report as one figure: how many of its entries came out the same."""
    old, new = _leaves(reported), _leaves(found)
    agree = sum(1 for key, value in old.items() if key in new and _is_equal(value, new[key], tolerance))
    total = len(old.keys() | new.keys())
    return Figure(name, f"{total} entries", f"{agree} equal", _rule(tolerance), agree == total)


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = list(enumerate(value))
    else:
        return {place: value}
    return {key: leaf for name, part in pairs for key, leaf in _leaves(part, f"{place}/{name}").items()}


def _is_equal(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return bool(a == b)


def _equal(name: str, reported: float | str | None, found: float | str | None, tolerance: float = EXACT) -> Figure:
    return Figure(name, reported, found, _rule(tolerance), _is_equal(reported, found, tolerance))


def _rule(tolerance: float) -> str:
    return "equal" if tolerance == EXACT else f"equal to {tolerance:g} (rounded otherwise here)"


def _costs(
    report: Report, predictor: Predictor, table: Table, listener: Listener, *, seconds: float, same_machine: bool
) -> list[Figure]:
    artifact, cost = predictor.artifact, report.cost
    names = [name for name in Cost.model_fields if name != "concurrency" and getattr(cost, name) is not None]
    again = Cost(size_mb=size_bytes(artifact) / 1e6)
    if seconds and set(names) - {"train_minutes", "size_mb"}:
        found = measure(
            artifact,
            table.rows,
            concurrency=cost.concurrency,
            setup=predictor.setup,
            seconds=seconds,
            listener=listener,
        )
        again = cost_of(found)
    return [_cost(name, getattr(cost, name), getattr(again, name), same_machine=same_machine) for name in names]


def _cost(name: str, reported: float, found: float | None, *, same_machine: bool) -> Figure:
    if name == "train_minutes":
        return Figure(name, reported, None, _NOT_AGAIN, None)
    if found is None:
        return Figure(name, reported, None, "not measured", None)
    if name == "size_mb":
        return _equal(name, reported, found)
    if not same_machine:
        return Figure(name, reported, found, "another machine", None)
    if name == "rows_per_s":
        return Figure(name, reported, found, f"at least {1 / TIMING_RATIO:g} ×", found >= reported / TIMING_RATIO)
    ratio = _WORSE_WHEN_GREATER[name]
    return Figure(name, reported, found, f"at most {ratio:g} ×", found <= reported * ratio)


def _libraries(reported: Hardware, present: Hardware) -> list[Figure]:
    """Versions that differ explain figures that differ; they are shown, not judged."""
    names = ("numpy", "onnxruntime", "tokenizers")
    pairs = [(name, reported.libraries.get(name), present.libraries.get(name)) for name in names]
    return [Figure(f"version of {name}", old, new, "differs", None) for name, old, new in pairs if old != new]
