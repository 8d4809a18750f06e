"""Re-runs what a report says of the model that its own was made from.

How many rows a first stage answers, and which model the artifact was made from, follow from the artifact alone. That
its side of the comparison is what was evaluated does too. The rest of the comparison, and what the other model costs,
need that model: with its directory both are found anew, without it they are known to the run only, as is all else that
the search tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penjing.core.artifact import Artifact, open_artifact, size_bytes
from penjing.core.errors import ArtifactError
from penjing.core.events import Listener, Progress
from penjing.core.report import Comparison, Cost, Evaluation, Report
from penjing.core.task import Prediction, Table
from penjing.evaluate.assemble import cost_of
from penjing.evaluate.compare import Contender, compare_predictions
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.figure import Figure, cost_figures, equal, not_again, same_leaves
from penjing.predict.cascade import early_share
from penjing.predict.certificate import LIBRARIES, installed_version
from penjing.predict.load import predictor_for
from penjing.predict.measure import measure
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup


def open_parent(artifact: Artifact, report: Report, directory: Path | str) -> Artifact:
    """The model that an artifact was made from.

    Args:
        artifact: that was compressed.
        report: of it.
        directory: of the other.

    Raises:
        ArtifactError: it was made from no other model, or from another one than this.
    """
    if report.compression is None:
        raise ArtifactError(
            "was made from no other model, so there is none to compare it with",
            where=str(artifact.path),
            next_step="leave --parent out",
        )
    parent = open_artifact(directory)
    if parent.digest != report.compression.parent_digest:
        raise ArtifactError(
            f"is not the model that {artifact.path} was made from (digest {parent.digest[:12]}...)",
            where=str(directory),
            expected=f"the artifact with the digest {report.compression.parent_digest[:12]}...",
            next_step="give the directory that was compressed, unchanged",
        )
    return parent


def predictor_of(parent: Artifact, report: Report, listener: Listener, *, same_machine: bool) -> Predictor:
    """The uncompressed model, run as when the two were compared where that is possible here."""
    setup = None if report.compression is None else report.compression.parent_setup
    if setup is not None and same_machine:
        chosen = Setup.from_json(setup)
        if installed_version(LIBRARIES.get(chosen.backend, chosen.backend)) is not None:
            return Predictor(parent, setup=chosen)
    return predictor_for(parent, listener, cached=False)


def predicted(predictor: Predictor, table: Table, listener: Listener) -> list[Prediction]:
    """What a model says of the rows."""
    found = []
    for done, (_, prediction) in enumerate(predictor.stream(table.rows), 1):
        found.append(prediction)
        if done % 200 == 0 or done == len(table):
            listener(Progress("verify", done, len(table)))
    return found


def compare_again(
    report: Report,
    table: Table,
    before: tuple[Predictor, Sequence[Prediction]],
    after: tuple[Predictor, Sequence[Prediction]],
    config: EvaluateConfig,
) -> Comparison:
    """Both models on the sealed test rows, as the report compared them.

    Args:
        report: of the compressed model.
        table: the sealed test rows.
        before: the uncompressed model, and what it says of them.
        after: the compressed one, likewise.
        config: resamples, level, seed and group of the report.
    """
    reported = report.comparison
    names = (before[0].artifact.path.name, report.name) if reported is None else (reported.a, reported.b)
    sides = [
        Contender(name, predictor.task, predictions, table.rows)
        for name, (predictor, predictions) in zip(names, (before, after), strict=True)
    ]
    return compare_predictions(table, sides[0], sides[1], config)


def compression_figures(
    report: Report, predictor: Predictor, table: Table, found: Evaluation, again: Comparison | None, tolerance: float
) -> list[Figure]:
    """What the report says of compressing, and of the comparison with the model before.

    Args:
        report: of the compressed model.
        predictor: of it.
        table: the sealed test rows.
        found: its evaluation anew.
        again: the comparison anew; None: the other model is not at hand.
        tolerance: of figures that were computed anew.
    """
    figures = []
    if report.compression is not None:
        compression, manifest = report.compression, predictor.artifact.manifest
        early = early_share(predictor.backend, predictor.task, table.rows)
        methods = [step["method"] for step in manifest.get("steps", [])]
        figures += [
            equal("parent's digest", compression.parent_digest, manifest.get("parent")),
            same_leaves("steps", [step.partition(" ")[0] for step in compression.steps], methods),
            equal("answered early", compression.early, early, tolerance),
            not_again("what was tried", f"{len(compression.tried)} entries"),
        ]
    if report.comparison is not None:
        ours = {name: change.b for name, change in report.comparison.metrics.items()}
        evaluated = {name: metric.value for name, metric in found.metrics.items() if name in ours}
        figures.append(same_leaves("its side of the comparison", ours, evaluated, tolerance))
    if again is not None:
        figures.append(same_leaves("comparison", report.comparison, again, tolerance))
    elif report.comparison is not None:
        figures.append(not_again("comparison", f"{len(report.comparison.metrics)} entries"))
    return figures


def cost_again(
    reported: Cost, predictor: Predictor, table: Table, listener: Listener, seconds: float, num_processes: int = 3
) -> Cost:
    """What a model costs here: its size, and where anything else was reported and may be measured, that too.

    Args:
        reported: what the report says.
        predictor: of the model.
        table: rows to predict.
        listener: told of progress.
        seconds: as of `measure`; 0: nothing is timed.
        num_processes: as of `measure`.
    """
    if not seconds or not {*reported.measured} - {"train_minutes", "size_mb"}:
        return Cost(size_mb=size_bytes(predictor.artifact) / 1e6)
    found = measure(
        predictor.artifact,
        table.rows,
        concurrency=reported.concurrency,
        setup=predictor.setup,
        seconds=seconds,
        num_processes=num_processes,
        listener=listener,
    )
    return cost_of(found)


def parent_costs(
    report: Report, parent: Predictor | None, table: Table, listener: Listener, seconds: float, same_machine: bool
) -> list[Figure]:
    """What the uncompressed model costs; without that model nothing is measured.

    Args:
        report: that states the costs.
        parent: the uncompressed model; None: it is not at hand.
        table: the sealed test rows.
        listener: told of progress.
        seconds: as of `measure`; 0: timings are not measured.
        same_machine: whether timings may be judged.
    """
    reported = None if report.compression is None else report.compression.parent_cost
    if reported is None:
        return []
    if parent is None:
        return [not_again("what the parent costs", "measured by the run")]
    # One process, as the search measured it.
    again = cost_again(reported, parent, table, listener, seconds, num_processes=1)
    return cost_figures(reported, again, same_machine, prefix="parent.")
