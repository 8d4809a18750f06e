"""Draws a report as one HTML page or as a Markdown model card."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from penjing.core.report import Report
from penjing.evaluate.page import charts, view, words
from penjing.evaluate.page.compressed import compressed
from penjing.evaluate.page.headline import headline, infeasible, smaller, unit_of
from penjing.evaluate.verdict import overall

MAX_NAME = 120
_DIRECTORY = Path(__file__).parent
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-!|~&])")
# Marks that turn the reading direction of everything after them; a label has no need of them.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


@cache
def _environment(html: bool) -> Environment:
    # The Markdown template escapes each value with its own filter.
    environment = Environment(
        loader=FileSystemLoader(_DIRECTORY),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        metric=words.metric,
        number=words.number,
        count=words.count,
        interval=words.interval,
        p_value=words.p_value,
        md=escape_markdown,
        plain=plain,
        breakable=breakable,
    )
    return environment


def render_page(report: Report, language: words.Language, *, other_page: str | None = None, artifact: str = "") -> str:
    """The report as one HTML page that loads nothing and runs no script.

    Args:
        report: what to show.
        language: of the page's own words.
        other_page: file name of the same page in the other language, where it lies beside this one.
        artifact: what to name in the verify command; the report's name where empty.
    """
    values = _values(report, language) | {"other_page": other_page, "artifact": artifact or report.name}
    style = Markup((_DIRECTORY / "style.css").read_text(encoding="utf-8"))
    return _environment(True).get_template("page.html.j2").render(**values, style=style)


def render_card(report: Report, language: words.Language, *, artifact: str = "") -> str:
    """The report as a model card in Markdown, with the front matter model hubs read."""
    values = _values(report, language) | {"artifact": artifact or report.name}
    return _environment(False).get_template("card.md.j2").render(**values)


def escape_markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line, whatever it contains."""
    flat = " ".join(plain(text).split())
    return _MARKDOWN.sub(r"\\\1", flat)


def plain(text: object) -> str:
    """Text without the marks that turn the reading direction of what follows."""
    return _DIRECTIONS.sub("", str(text))


def breakable(text: object) -> Markup:
    """Escaped text that may break after an underscore, a slash or a dot, as long class names must on a phone."""
    shown = plain(text)
    if len(shown) > MAX_NAME:
        shown = shown[: MAX_NAME - 1] + "…"
    return Markup(re.sub(r"([_/.])(?=\w)", r"\1<wbr>", str(escape(shown))))


def _values(report: Report, language: words.Language) -> dict[str, Any]:
    t = words.Words(language)
    evaluation = report.evaluation
    shares, others = view.metric_tracks(report, t)
    matrix = evaluation.confusion
    return {
        "r": report,
        "t": t,
        "lang": language,
        "unit": unit_of(report, t),
        "headline": headline(report, t),
        "smaller": smaller(report, t),
        "infeasible": infeasible(report, t),
        "small": compressed(report, t),
        "state": overall(report.verdicts),
        "primary": evaluation.metrics[evaluation.primary],
        "primary_name": t.named("metric", evaluation.primary),
        "level": f"{100 * evaluation.level:g}",
        "shares": shares,
        "others": others,
        "classes": view.class_tracks(report, t),
        "slices": view.slice_tracks(report, t),
        "budget": view.budget_bars(report, t),
        "quote": view.quote_bars(report, t),
        "curves": view.curves(report, t),
        "curves_lead": "lead.curves_encoder" if "n-grams" in report.model.method else "lead.curves",
        "cost": view.cost_figures(report.cost, t),
        "pairs": charts.confused_pairs(matrix, view.NUM_PAIRS) if matrix else [],
        "heat": charts.heat_cells(matrix) if matrix else [],
        "dots": charts.reliability_dots,
        "num_weakest": view.NUM_WEAKEST,
        "num_mistakes": view.NUM_MISTAKES,
        "max_table": view.MAX_TABLE_CLASSES,
        "max_heat": view.MAX_HEAT_CLASSES,
    }
