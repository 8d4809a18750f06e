"""From measured parts to the files of a report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from penjing.core.artifact import file_sha256, write_atomic
from penjing.core.report import REPORT, Cost, Report, write_report
from penjing.evaluate.page.render import render_card, render_page
from penjing.evaluate.page.words import LANGUAGES
from penjing.predict.measure import Measurement

PAGE = "report.html"
CARD = "model_card.md"


def files_digest(directory: Path, names: Iterable[str]) -> str:
    """sha256 over names and hashes of files: names a model by what predicts, whatever report lies beside it.

    Args:
        directory: of the artifact, sealed or not yet.
        names: the files predicting needs.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{file_sha256(directory / name)}\n".encode())
    return digest.hexdigest()


# Of so many the least and the greatest have the true median between them with a chance of 31 in 32.
MIN_PROCESSES = 6


def cost_of(measured: Measurement | None, train_minutes: float | None = None) -> Cost:
    """The cost block of a report."""
    if measured is None:
        return Cost(train_minutes=train_minutes)
    enough = measured.num_processes >= MIN_PROCESSES
    names = {"p95_ms": "p95_ms", "rows_per_s": "rows_per_s", "peak_ram_mb": "ram_mb"}
    return Cost(
        ranges={names[name]: (low, high) for name, (low, high) in measured.ranges.items()} if enough else {},
        p50_ms=measured.p50_ms,
        p95_ms=measured.p95_ms,
        concurrency=measured.concurrency,
        rows_per_s=measured.rows_per_s,
        load_ms=measured.load_ms,
        size_mb=measured.size_mb,
        ram_mb=measured.peak_ram_mb,
        train_minutes=train_minutes,
    )


def write_report_files(report: Report, directory: Path, *, artifact: str = "") -> list[str]:
    """Write `report.json`, the page in both languages and the model card into an artifact that is being made.

    The page in the report's own language is `report.html`; the other is `report.<language>.html`.

    Args:
        report: the finished report.
        directory: where to.
        artifact: what the verify command on the page names; the directory's name where empty.

    Returns:
        Names of the files written.
    """
    write_report(report, directory / REPORT)
    texts = render_files(report, artifact=artifact or directory.name)
    for name, text in texts.items():
        write_atomic(directory / name, text)
    return [REPORT, *texts]


def render_files(report: Report, *, artifact: str) -> dict[str, str]:
    """File name → text of all that is drawn from a report; the same report always gives the same texts.

    Args:
        report: what to show.
        artifact: what the verify command on the page names.
    """
    pages = {language: PAGE if language == report.language else f"report.{language}.html" for language in LANGUAGES}
    texts = {}
    for language, name in pages.items():
        other = next(page for key, page in pages.items() if key != language)
        texts[name] = render_page(report, language, other_page=other, artifact=artifact)
    return {**texts, CARD: render_card(report, report.language, artifact=artifact)}
