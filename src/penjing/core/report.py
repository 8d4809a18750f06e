"""The proof of a model: what it scores, what it costs, and whether it fits the budget.

Everything here is data: stages fill it in, `evaluate/page` draws it, `evaluate/verify` recomputes it. Shares and
scores are kept as the task gives them (0.93, not 93); the page multiplies. A figure that does not exist (an AUC
where only one class occurs) is None, never NaN, because JSON has no NaN.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.core.artifact import write_atomic
from penjing.core.errors import ArtifactError

REPORT = "report.json"
REPORT_VERSION = 1
MAX_REPORT_BYTES = 32_000_000

State = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class _Part(BaseModel):
    # `model_` is pydantic's own prefix; here a model is what was trained.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class MetricValue(_Part):
    """One metric on the test rows; `low` to `high` is its confidence interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = Field(description="Resampling units it was computed on.")
    higher_is_better: bool = True
    percent: bool = True


class ClassRow(_Part):
    """One class: how often it occurs, how often it was said, and how well it is found."""

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    f1_low: float | None = None
    f1_high: float | None = None
    small: bool = Field(False, description="Too few rows to conclude from; shown, not hidden.")


class Confusion(_Part):
    """A confusion matrix without its zeros."""

    labels: list[str]
    cells: list[tuple[int, int, int]] = Field(description="(true, predicted, rows); positions in `labels`.")


class Slice(_Part):
    """The primary metric on a part of the test rows."""

    dimension: str = Field(description="What the rows were divided by: 'length' or a column.")
    value: str = Field(description="Which part: a category, or a range.")
    metric: MetricValue
    small: bool = Field(description="Too few rows to conclude from; shown, not hidden.")
    worse: bool = Field(description="Its interval lies wholly below the figure of all rows.")


class ReliabilityBin(_Part):
    """Rows whose confidence falls in [low, high)."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class Calibration(_Part):
    """Whether a confidence of 0.9 is right nine times in ten."""

    kind: Literal["softmax", "sigmoid"]
    temperature: float
    ece_before: float
    ece_after: float
    bins_before: list[ReliabilityBin]
    bins_after: list[ReliabilityBin]


class Mistake(_Part):
    """One row the model got wrong, worst first."""

    row_id: str
    text: str
    truth: str
    predicted: str
    confidence: float | None
    severity: float


class Evaluation(_Part):
    """What the test rows say of the predictions."""

    primary: str
    unit: str = Field("rows", description="What one resampling unit is.")
    level: float = 0.95
    resamples: int
    seed: int
    settings: dict[str, Any] = Field({}, description="The whole `evaluate` key of the recipe, to re-run it.")
    metrics: dict[str, MetricValue]
    classes: list[ClassRow] = []
    confusion: Confusion | None = None
    slices: list[Slice] = []
    calibration: Calibration | None = None
    mistakes: list[Mistake] = []
    num_mistakes: int | None = Field(None, description="Units with any mistake; None where it has no meaning.")


class Cost(_Part):
    """What a prediction costs on this hardware; None was not measured."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    concurrency: int = 1
    rows_per_s: float | None = None
    load_ms: float | None = None
    size_mb: float | None = None
    ram_mb: float | None = None
    train_minutes: float | None = None
    ranges: dict[str, tuple[float, float]] = Field(
        {},
        description="Least and greatest of the processes that a figure is the median of, where there were enough of "
        "them for the range to hold the true median in nineteen cases of twenty.",
    )

    @property
    def measured(self) -> list[str]:
        """Names of the figures there are."""
        beside = {"concurrency", "ranges"}
        return [name for name, value in self if name not in beside and value is not None]


class Hardware(_Part):
    """The machine and the libraries that made the figures."""

    cpu: str
    cores: int
    logical_cores: int
    ram_gb: float
    flags: list[str] = Field(description="Of VNNI, BF16, AMX, AVX-512, AVX2, NEON: those the CPU has.")
    system: str
    python: str
    libraries: dict[str, str] = {}
    accelerator: str | None = Field(None, description="The GPU that trained the model; all else is the CPU's.")


class CurvePoint(_Part):
    """Training at one optimizer step; what was not measured then is None."""

    step: int
    loss: float | None = None
    lr: float | None = None
    valid: float | None = Field(None, description="The primary metric on the validation rows.")
    samples_per_s: float | None = None


class QuotedFigure(_Part):
    """A figure of the quote beside what came true."""

    name: str = Field(description="A metric's name, or a field of `Cost`.")
    low: float
    expected: float
    high: float
    actual: float | None
    held: bool | None = Field(description="Whether the actual figure lies in [low, high]; None while unknown.")


class Verdict(_Part):
    """One constraint of the budget and what the evidence says of it."""

    constraint: str = Field(description="The field of `Budget`.")
    limit: float
    value: float | None
    low: float | None = None
    high: float | None = None
    state: State
    rows_to_settle: int | None = Field(None, description="Test rows that would settle an INCONCLUSIVE.")


class Difference(_Part):
    """One metric, paired."""

    percent: bool = Field(False, description="People read this metric in percent, and differences in points.")
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    outcome: Literal["better", "worse", "undecided"]
    rows_to_settle: int | None = None


class McNemar(_Part):
    """Exact McNemar test over rows that exactly one of the two got right."""

    only_a_right: int
    only_b_right: int
    p_value: float


class Comparison(_Part):
    """Two artifacts on the same labelled rows: b minus a."""

    a: str
    b: str
    n: int
    primary: str
    level: float = 0.95
    metrics: dict[str, Difference]
    mcnemar: McNemar | None = None
    warnings: list[str] = []


class Tried(_Part):
    """One way of running one model that a search measured; its metric is that of the validation rows."""

    name: str
    value: float = Field(description="The primary metric.")
    lost: float = Field(description="How much less that is than the uncompressed model's, on the budget's scale.")
    judged: float | None = Field(
        None,
        description="The loss that the choice went by: `lost` and what the calibrated model before expected to be "
        "lost, weighed by precision, and half of the standard error of both.",
    )
    p50_ms: float
    p95_ms: float
    rows_per_s: float
    size_mb: float
    ram_mb: float
    on_front: bool = Field(description="No other is at least as good in everything and better in something.")
    fits: bool = Field(description="Within the budget, as far as validation rows and this machine tell.")
    chosen: bool = False
    uncompressed: bool = Field(False, description="The model as it was, before any step.")


class Relaxation(_Part):
    """A limit that nothing met, and what was reached instead."""

    constraint: str = Field(description="The field of `Budget`.")
    limit: float
    reached: float


class RowParity(_Part):
    """A finished model beside the torch model it was made from, row by row, behind any first stage."""

    rows: int
    flipped: int = Field(description="Rows that are answered otherwise.")
    mean: float = Field(description="How far probabilities are apart on average of the rows.")
    max: float = Field(description="And on the row where they are farthest.")


class Compression(_Part):
    """How a model was made smaller, from what, and what else was tried."""

    parent: str
    parent_digest: str
    parent_cost: Cost | None = Field(None, description="Of the model it was made from, measured in the same run.")
    parent_setup: dict[str, Any] | None = Field(None, description="How that model was run, as `Setup.to_json` says it.")
    steps: list[str]
    minutes: float
    early: float | None = Field(None, description="Share of the test rows that the first stage of a cascade answers.")
    parity: RowParity | None = Field(None, description="Against the torch model; None: none is kept.")
    tried: list[Tried] = []
    relax: list[Relaxation] = []


class DataSummary(_Part):
    """Where the rows came from and how they were divided."""

    source: str = ""
    fingerprint: str
    rows: dict[str, int] = Field(description="Split → rows.")
    roles: dict[str, str] = {}
    num_labels: int = 0
    languages: list[str] = []
    test_sha256: str | None = None
    warnings: list[str] = []


class ModelSummary(_Part):
    """What was trained and from what."""

    name: str
    parameters: int | None = None
    licence: str = ""
    languages: list[str] = []
    method: str = ""


class Report(_Part):
    """Everything a buyer needs to believe a model, and to check it."""

    report_version: int = REPORT_VERSION
    name: str
    task: str
    created: str = Field(description="ISO 8601, UTC.")
    language: Literal["en", "zh"] = "en"
    artifact_digest: str = Field(description="sha256 over names and sha256 of the files predicting needs.")
    recipe_digest: str | None = None
    model: ModelSummary
    data: DataSummary
    evaluation: Evaluation
    cost: Cost = Cost()
    hardware: Hardware
    curves: list[CurvePoint] = []
    quote: list[QuotedFigure] = []
    verdicts: list[Verdict] = []
    comparison: Comparison | None = Field(None, description="With the model that this one was made from.")
    compression: Compression | None = None


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON, atomically."""
    write_atomic(path, report.model_dump_json(indent=1) + "\n")


def read_report(path: Path) -> Report:
    """Read `report.json`.

    Raises:
        ArtifactError: missing, too large, from a newer release, or not a report.
    """
    if not path.is_file():
        raise ArtifactError("no such report", where=str(path), next_step="evaluate the artifact first")
    if path.stat().st_size > MAX_REPORT_BYTES:
        raise ArtifactError(f"larger than {MAX_REPORT_BYTES} bytes", where=str(path), expected="a report.json")
    try:
        values = json.loads(path.read_bytes())
        found = int(values["report_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"not a report ({error!r})", where=str(path)) from None
    if found > REPORT_VERSION:
        raise ArtifactError(
            f"report version {found} is newer than this release reads ({REPORT_VERSION})",
            where=str(path),
            next_step="upgrade penjing",
        )
    try:
        return Report.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"not a report: {place}: {first['msg']}", where=str(path)) from None
