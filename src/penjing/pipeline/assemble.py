"""The report of a run, and the three forms people read it in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from penjing.evaluate.files_digest import files_digest

from penjing.core.artifact import Artifact
from penjing.core.budget import Budget
from penjing.core.recipe import Recipe
from penjing.core.report import REPORT, Cost, CurvePoint, DataSummary, Evaluation, ModelSummary, Report, write_report
from penjing.core.task import Roles, Task
from penjing.data.prepare import Prepared
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.page.render import render_card, render_page
from penjing.evaluate.page.words import Language
from penjing.evaluate.verdict import verdicts
from penjing.models.pretrained import Pretrained
from penjing.pipeline.training import Trained
from penjing.predict.measure import Measurement

PAGES: dict[Language, str] = {"en": "report.html", "zh": "report.zh.html"}
CARD = "MODEL_CARD.md"


def build_report(
    *,
    name: str,
    recipe: Recipe,
    prepared: Prepared,
    pretrained: Pretrained | None,
    task: Task,
    trained: Trained,
    evaluation: Evaluation,
    cost: Cost,
    artifact: Artifact,
    test_sha256: str,
) -> Report:
    """Everything that is known of a run."""
    splits = prepared.splits
    held = splits.sealed_test
    return Report(
        name=name,
        task=task.kind,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        language=report_language(recipe, prepared),
        artifact_digest=files_digest(artifact),
        recipe_digest=recipe.digest(),
        model=model_summary(pretrained, trained),
        data=DataSummary(
            source=prepared.source.source,
            fingerprint=splits.fingerprint,
            rows={"train": len(splits.train), "valid": len(splits.valid), "test": len(held)},
            roles=shown_roles(splits.roles),
            num_labels=len(task.labels),
            languages=sorted(prepared.languages),
            test_sha256=test_sha256,
            warnings=[note for note in prepared.explanation if note.startswith(("warning", "left out", "dropped"))],
        ),
        evaluation=evaluation,
        cost=cost,
        hardware=describe_hardware(),
        curves=curves(trained.history, f"valid_{task.primary}"),
        verdicts=budget_verdicts(recipe.budget, evaluation, cost),
    )


def budget_verdicts(budget: Budget, evaluation: Evaluation, cost: Cost) -> list:
    """Verdicts on every limit; `drop` needs a reference model and is the compress stage's."""
    return verdicts(budget.model_copy(update={"drop": None}), evaluation, cost)


def measured_cost(measurement: Measurement, minutes: float) -> Cost:
    """The cost panel of a report."""
    found = asdict(measurement)
    names = ("p50_ms", "p95_ms", "concurrency", "rows_per_s", "load_ms", "size_mb")
    return Cost(**{n: found[n] for n in names}, ram_mb=measurement.peak_ram_mb, train_minutes=round(minutes, 3))


def model_summary(pretrained: Pretrained | None, trained: Trained) -> ModelSummary:
    """What was trained and from what."""
    if pretrained is None:
        return ModelSummary(name="boosted trees and a linear model", method=str(trained.facts.get("method", "")))
    return ModelSummary(
        name=pretrained.name,
        parameters=trained.facts.get("parameters"),
        licence=pretrained.licence,
        languages=list(pretrained.languages),
        method=str(trained.facts.get("method", "")),
    )


def shown_roles(roles: Roles) -> dict[str, str]:
    """Role → column, those that are played."""
    found = {name: value for name, value in asdict(roles).items() if isinstance(value, str)}
    if roles.features:
        found["features"] = ", ".join(roles.features)
    return found


def curves(history: Sequence[dict[str, float]], valid: str) -> list[CurvePoint]:
    """Training history as the report keeps it."""

    def finite(entry: dict[str, float], key: str) -> float | None:
        value = entry.get(key)
        return value if value is not None and math.isfinite(value) else None

    return [
        CurvePoint(
            step=int(entry["step"]),
            loss=finite(entry, "loss"),
            lr=finite(entry, "learning_rate"),
            valid=finite(entry, valid),
            samples_per_s=finite(entry, "samples_per_s") or None,
        )
        for entry in history
    ]


def report_language(recipe: Recipe, prepared: Prepared) -> Language:
    """The language the run's own page opens in."""
    if recipe.language != "auto":
        return recipe.language
    return "zh" if prepared.language in ("zh", "mixed") else "en"


def write_pages(report: Report, directory: Path, artifact_name: str) -> None:
    """`report.json`, the page in both languages, and the model card."""
    write_report(report, directory / REPORT)
    for language, name in PAGES.items():
        other = PAGES["zh" if language == "en" else "en"]
        page = render_page(report, language, other_page=other, artifact=artifact_name)
        (directory / name).write_text(page, encoding="utf-8")
    (directory / CARD).write_text(render_card(report, report.language, artifact=artifact_name), encoding="utf-8")
