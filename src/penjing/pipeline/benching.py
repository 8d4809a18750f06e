"""What artifacts cost here side by side, and their models as files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.core.artifact import open_artifact
from penjing.core.errors import CapabilityError, RecipeError
from penjing.core.events import Listener, ignore
from penjing.core.task import input_columns
from penjing.export.formats import Exported, export_files
from penjing.pipeline.plan import recipe_of
from penjing.pipeline.scored_rows import inputs_of, rows_to_predict
from penjing.predict.certificate_file import certificates_of, keep_certificate
from penjing.predict.choose_setup import choose_setup
from penjing.predict.measure import Measurement
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup
from penjing.predict.side_by_side import side_by_side

EXPORT_ROWS = 1_000  # compared


@dataclass(frozen=True)
class Benched:
    """What an artifact costs here.

    Args:
        artifact: its path.
        digest: its digest.
        cost: medians over the turns.
    """

    artifact: str
    digest: str
    cost: Measurement

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {"artifact": self.artifact, "digest": self.digest, **self.cost.to_json()}


def bench(
    artifacts: Sequence[Path | str],
    data: Path | str | None = None,
    *,
    concurrency: int = 1,
    turns: int = 3,
    backend: str | None = None,
    certify: bool = False,
    public_key: Path | str | None = None,
    listener: Listener = ignore,
) -> list[Benched]:
    """What artifacts cost on this machine, measured in turns on the same rows.

    Args:
        artifacts: directories; all read the same columns.
        data: rows to predict, of any source; None: the sealed test rows beside the first.
        concurrency: callers at the same time, for latency.
        turns: times that each is measured.
        backend: run all on this one; None: as certified for this machine.
        certify: first choose backend, threads and size of batches by measuring, and keep that on this machine.
        public_key: PEM file of the key whose holder has to have signed all; None: no matter who made them.
        listener: told of progress.

    Raises:
        ArtifactError: missing or damaged, or it has no test rows and no data are given.
        CapabilityError: an artifact reads other columns, or the backend cannot run it.
        RecipeError: a number out of range.
    """
    for name, value, most in (("--concurrency", concurrency, 1_000), ("--turns", turns, 1_000)):
        if not 1 <= value <= most:
            raise RecipeError(f"is {value}", where=name, expected=f"a whole number from 1 to {most:,}")
    opened = [open_artifact(path, public_key) for path in artifacts]
    first = Predictor(opened[0]).task
    table = rows_to_predict(opened[0], first, recipe_of(opened[0]).stage("data"), data, listener)
    inputs = []
    for artifact in opened:
        task = Predictor(artifact).task
        missing = [name for name in input_columns(task) if name not in table.rows[0]]
        if missing:
            raise CapabilityError(
                f"it reads the column {missing[0]!r}, which the rows do not have",
                where=str(artifact.path),
                next_step="measure artifacts that read the same columns side by side",
            )
        inputs.append(inputs_of(table, task))
        if certify:
            goal = next((one.goal for one in certificates_of(artifact, cached=False)), "balanced")
            found = choose_setup(artifact, inputs[-1], goal=goal, concurrency=concurrency, listener=listener)
            keep_certificate(found, artifact)
    setups = None if backend is None else [Setup.of_backend(backend)] * len(opened)
    costs = side_by_side(opened, inputs, setups=setups, concurrency=concurrency, turns=turns, listener=listener)
    return [
        Benched(str(path), artifact.digest, cost) for path, artifact, cost in zip(artifacts, opened, costs, strict=True)
    ]


def export(
    artifact: Path | str,
    to: str,
    out: Path | str,
    *,
    data: Path | str | None = None,
    tolerance: float = 1e-3,
    public_key: Path | str | None = None,
    listener: Listener = ignore,
) -> Exported:
    """Write an artifact's model as files for another program, and compare them row by row with what they came from.

    Args:
        artifact: its directory.
        to: "onnx" or "openvino".
        out: a directory that is not there yet.
        data: rows to compare on; None: the sealed test rows beside the artifact.
        tolerance: greatest difference of any output.
        public_key: PEM file of the key whose holder has to have signed it; None: no matter who made it.
        listener: told of progress.

    Raises:
        ArtifactError: damaged, or the export differs by more than the tolerance.
        DataError: `out` exists, or there is no row to compare on.
        MissingExtraError: the format's library is not installed.
    """
    opened = open_artifact(artifact, public_key)
    task = Predictor(opened).task
    table = rows_to_predict(opened, task, recipe_of(opened).stage("data"), data, listener)
    return export_files(opened, to, Path(out), inputs_of(table, task)[:EXPORT_ROWS], tolerance)
