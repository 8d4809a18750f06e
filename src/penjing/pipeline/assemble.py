"""The report of a run, from what each stage left behind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from penjing.core.artifact import Artifact
from penjing.core.recipe import Recipe
from penjing.core.report import Cost, CurvePoint, DataSummary, Evaluation, ModelSummary, Report
from penjing.core.task import Roles, Task
from penjing.data.prepare import Prepared
from penjing.evaluate.assemble import files_digest
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.page.words import Language
from penjing.evaluate.verdict import verdicts_alone
from penjing.models.pretrained import Pretrained
from penjing.pipeline.plan import source_of
from penjing.pipeline.training import Trained


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
        artifact_digest=files_digest(artifact.path, artifact.manifest["capabilities"]["predict_files"]),
        recipe_digest=recipe.digest(),
        model=model_summary(pretrained, trained),
        data=DataSummary(
            source=source_of(recipe),
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
        hardware=describe_hardware(trained.facts.get("accelerator")),
        curves=curves(trained.history, f"valid_{task.primary}"),
        verdicts=verdicts_alone(recipe.budget, evaluation, cost),
    )


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
    return [
        CurvePoint(
            step=int(entry["step"]),
            loss=finite(entry.get("loss")),
            lr=finite(entry.get("learning_rate")),
            valid=finite(entry.get(valid)),
            samples_per_s=finite(entry.get("samples_per_s")) or None,
        )
        for entry in history
    ]


def finite(value: float | None) -> float | None:
    """None for a figure that does not exist (a precision where nothing was predicted): JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def report_language(recipe: Recipe, prepared: Prepared) -> Language:
    """The language the run's own page opens in."""
    if recipe.language != "auto":
        return recipe.language
    return "zh" if prepared.language in ("zh", "mixed") else "en"
