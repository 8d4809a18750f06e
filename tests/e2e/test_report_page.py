"""The report page in a real browser: nothing runs, nothing is fetched, nothing overflows, whatever the data say."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from penjing.core.budget import Budget
from penjing.core.report import (
    Comparison,
    Compression,
    Cost,
    CurvePoint,
    DataSummary,
    Difference,
    ModelSummary,
    QuotedFigure,
    Relaxation,
    Report,
    Tried,
    read_report,
)
from penjing.core.task import Prediction, Roles, Table
from penjing.evaluate.assemble import write_report_files
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.hardware import describe_hardware
from penjing.evaluate.verdict import verdicts
from penjing.tasks.tabular import TabularClassification

ATTACKS = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "' onmouseover='document.title=1",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eright to left\u202c مرحبا שלום",
    "🌲🪴 盆景 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "</style></title><svg onload=document.title='owned'>",
    "| pipe ` tick [link](javascript:alert(1)) <!-- ",
    "a_very_long_class_name_" * 8,
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def report() -> Report:
    """Labels, columns and texts from hell; predictions of a nearest-centroid rule on real numbers."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(len(ATTACKS), 6)) * 2
    truth = rng.integers(0, len(ATTACKS), 600)
    values = centres[truth] + rng.normal(size=(600, 6)) * 1.6
    names = [f"f{i} {attack}" for i, attack in enumerate(ATTACKS[:6])]
    rows = [
        dict(zip(names, map(float, x), strict=True)) | {"label": ATTACKS[k], "where": ATTACKS[k % 4]}
        for x, k in zip(values, truth, strict=True)
    ]
    task = TabularClassification.from_rows(rows, Roles(features=tuple(names), label="label"), None)
    order = [ATTACKS.index(next(a for a in ATTACKS if a.strip() == label)) for label in task.labels]
    logits = -((values[:, None, :] - centres[order][None]) ** 2).sum(axis=2)
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    predictions = [Prediction(task.labels[k], float(p[k]), p) for k, p in zip(probs.argmax(1), probs, strict=True)]
    table = Table(rows, [f"{ATTACKS[0]}:{i}" for i in range(600)], "hell")
    evaluation = evaluate(task, table, predictions, EvaluateConfig(resamples=100, slices=("where",)))
    cost = Cost(p50_ms=1.2, p95_ms=3.4, rows_per_s=900, load_ms=200, size_mb=12, ram_mb=150, train_minutes=4)
    limit = 100 * evaluation.metrics[evaluation.primary].value
    return Report(
        name=ATTACKS[1],
        task=task.kind,
        created="2026-01-01T00:00:00Z",
        artifact_digest="0" * 64,
        model=ModelSummary(name=ATTACKS[0], method=ATTACKS[2], licence=ATTACKS[7], languages=["multi"]),
        data=DataSummary(
            source=ATTACKS[6],
            fingerprint="1" * 64,
            rows={"test": 600},
            roles={"label": ATTACKS[4]},
            warnings=[*ATTACKS],
        ),
        evaluation=evaluation,
        cost=cost,
        hardware=describe_hardware(),
        curves=[CurvePoint(step=i, loss=3 / (i + 1), valid=0.5 + i / 100, samples_per_s=800.0) for i in range(40)],
        quote=[QuotedFigure(name="p95_ms", low=1, expected=2, high=3, actual=3.4, held=False)],
        verdicts=verdicts(Budget(metric=limit, p95_ms=3, size_mb=20, rows_per_s=800), evaluation, cost),
        comparison=Comparison(
            a=ATTACKS[0],
            b=ATTACKS[1],
            n=600,
            primary=evaluation.primary,
            metrics={
                evaluation.primary: Difference(
                    percent=True, a=0.9, b=0.89, difference=-0.01, low=-0.02, high=0, p_value=0.04, outcome="worse"
                )
            },
        ),
        compression=Compression(
            parent=ATTACKS[0],
            parent_digest="2" * 64,
            parent_cost=Cost(p50_ms=123, p95_ms=456.7, rows_per_s=1.5, size_mb=123456, ram_mb=12345),
            steps=[*ATTACKS],
            minutes=0.2,
            early=0.5,
            tried=[_tried(place, limit) for place in range(25)],
            relax=[Relaxation(constraint=name, limit=1, reached=2) for name in ("metric", "drop", "p95_ms", "ram_mb")],
        ),
    )


def _tried(place: int, limit: float) -> Tried:
    return Tried(
        name=f"{ATTACKS[place % len(ATTACKS)]} > {ATTACKS[place % 7]} @ {ATTACKS[place % 3]}",
        value=limit / 100 - 0.002 * (place - 3) ** 2,
        lost=0.2 * (place - 3) ** 2,
        p50_ms=1234.5,
        p95_ms=2345.6,
        rows_per_s=10 * 1.5**place,
        size_mb=12345.6,
        ram_mb=123456,
        on_front=place % 2 == 0,
        fits=False,
        chosen=place == 4,
        uncompressed=place < 2,
    )


@pytest.fixture(scope="module")
def directory(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report")
    write_report_files(report, path, artifact="runs/x")
    return path


class Elements(HTMLParser):
    """Collects element names and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("page", ["report.html", "report.zh.html"])
def test_no_script_no_handler_and_nothing_from_elsewhere(directory: Path, page: str):
    parser = Elements()
    parser.feed((directory / page).read_text(encoding="utf-8"))
    tags = {tag for tag, _ in parser.seen}
    assert tags.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "form", "base"})
    attributes = [(name, value or "") for _, attrs in parser.seen for name, value in attrs.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name == "src"]
    links = [value for name, value in attributes if name in {"href", "action", "xlink:href"}]
    assert links == ["report.zh.html" if page == "report.html" else "report.html"]
    assert not [value for name, value in attributes if name == "style" and re.search(r"url\(|expression|[<>]", value)]
    policy = [attrs["content"] for tag, attrs in parser.seen if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_report_is_read_back_as_it_was(directory: Path, report: Report):
    assert read_report(directory / "report.json") == report


def test_the_model_card_is_text_and_tables_only(directory: Path):
    card = (directory / "model_card.md").read_text(encoding="utf-8")
    body = card.split("---", 2)[2]
    assert "<script" not in re.sub(r"\\.", "", body) and "](javascript" not in re.sub(r"\\.", "", body)
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in body.splitlines() if line.startswith("| Macro")]
    assert columns and set(columns) == {4}
    assert "penjing verify runs/x" in card


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.mark.parametrize("page", ["report.html", "report.zh.html"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (320, "light")])
def test_it_fits_every_screen_and_fetches_nothing(browser, directory: Path, page: str, width: int, scheme: str):
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
    tab.goto((directory / page).as_uri())
    assert tab.title() not in {"owned", "1"}
    for summary in tab.locator("summary").all():
        summary.click()
    overflow = tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
    # Every dot lies on its track, and the text is legible against the paper.
    outside = tab.evaluate(
        """[...document.querySelectorAll('.line .dot')].filter(dot => {
             const d = dot.getBoundingClientRect(), t = dot.parentElement.getBoundingClientRect();
             return d.left < t.left - 6 || d.right > t.right + 6; }).length"""
    )
    assert outside == 0
    beyond = tab.evaluate(
        """[...document.querySelectorAll('.scatter .plot')].map(plot => {
             const p = plot.getBoundingClientRect();
             return [...plot.querySelectorAll('.label, .spot')].filter(mark => {
               const m = mark.getBoundingClientRect();
               return m.left < p.left - 12 || m.right > p.right + 18; }).length; })"""
    )
    assert beyond == [0] * 4, "the rate, the time, the size and the memory"
    assert tab.locator(".spot").count() == 4 * 25
    ink = tab.evaluate("getComputedStyle(document.body).color")
    paper = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert contrast(ink, paper) >= 7
    assert problems == []
    tab.close()


def test_the_page_needs_no_script_and_prints(browser, directory: Path):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((directory / "report.html").as_uri())
    assert tab.locator("h1").inner_text().startswith("Of 100 rows")
    assert ATTACKS[0] in tab.locator(".classes").inner_text()
    assert tab.pdf(format="A4")[:5] == b"%PDF-"
    context.close()


def contrast(*colours: str) -> float:
    """WCAG contrast ratio of two rgb() colours."""
    levels = []
    for colour in colours:
        parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(levels) + 0.05) / (min(levels) + 0.05)
