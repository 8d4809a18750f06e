"""The page's words, numbers and positions."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from evaluate_cases import as_predictions, compressed, diabetes, digits, report_of
from hypothesis import given
from hypothesis import strategies as st

import penjing.evaluate.page.render as render_module
from penjing.core.budget import Budget
from penjing.core.report import (
    ClassRow,
    Confusion,
    CurvePoint,
    MetricValue,
    QuotedFigure,
)
from penjing.evaluate.compare import Contender, compare_predictions
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.page import charts, scatter, view
from penjing.evaluate.page.compressed import compressed as section
from penjing.evaluate.page.compressed import sizes_in_words
from penjing.evaluate.page.headline import headline, infeasible, loss, smaller
from penjing.evaluate.page.render import breakable, escape_markdown, render_card, render_page
from penjing.evaluate.page.words import LANGUAGES, Words, bound, catalogue, interval, metric, number

DIRECTORY = Path(render_module.__file__).parent


def places(text):
    return set(re.findall(r"{(\w+)}", text))


def test_both_languages_say_the_same_things():
    english, chinese = catalogue("en"), catalogue("zh")
    assert english.keys() == chinese.keys()
    assert [key for key in english if places(english[key]) != places(chinese[key])] == []
    untranslated = [k for k in english if re.search("[a-z]{4}", chinese[k]) and not places(chinese[k])]
    assert [k for k in untranslated if k not in {"other_language", "metric.brier"}] == []


def test_every_key_a_template_or_module_names_is_in_the_catalogue():
    sources = [*DIRECTORY.glob("*.j2"), *DIRECTORY.glob("*.py")]
    call = re.compile(r"""\b(?:t|words)\(\s*["']([\w.]+)["']\s*[,)]""")
    named = {key for path in sources for key in call.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 80
    assert named <= catalogue("en").keys()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0, "0"), (0.000123456, "0.000123"), (1234567.0, "1,234,567"), (-3.14159, "−3.14"), (9.996, "10.00")],
)
def test_numbers_have_three_digits_and_never_powers_of_ten(value, shown):
    assert number(value) == shown


def test_metrics_are_percent_only_where_they_are_shares():
    assert metric(0.92604, True) == "92.6%" and metric(0.92604, False) == "0.926"
    assert interval(0.91, 0.935, True) == "91.0–93.5" and interval(-0.1, 0.2, False) == "−0.100 … 0.200"
    assert interval(None, None, True) == "–"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_an_axis_shows_every_value_and_has_round_ticks(values):
    axis = charts.axis_of(values)
    assert axis.low <= min(values) and max(values) <= axis.high and axis.low < axis.high
    assert 2 <= len(axis.ticks()) <= 8
    assert all(0 <= axis.at(v) <= 100 for v in values)
    assert axis.at(axis.low) == 0 and axis.at(axis.high) == 100


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_an_axis_of_shares_stays_within_0_and_1(values):
    axis = charts.axis_of(values, low=0.0, high=1.0)
    assert 0 <= axis.low < axis.high <= 1


def test_long_curves_are_thinned_and_end_where_they_end():
    points = [(i, float(i % 7)) for i in range(10_000)]
    line = charts.line(points)
    assert line.path.count("L") <= 300
    assert (line.first_x, line.last_x) == (pytest.approx(16, abs=20), 9_999)
    assert charts.line([(1, 2.0)]) is None and charts.line([(1, None), (2, None)]) is None


def test_confused_pairs_are_counted_against_their_true_class():
    matrix = Confusion(labels=["a", "b", "c"], cells=[(0, 0, 8), (0, 1, 2), (1, 1, 5), (2, 0, 3), (2, 2, 1)])
    pairs = [(p.truth, p.said, p.n, p.total) for p in charts.confused_pairs(matrix, 2)]
    assert pairs == [("c", "a", 3, 4), ("a", "b", 2, 10)]


@pytest.fixture(scope="module")
def report():
    case = digits()
    return report_of(case.task, case.test, as_predictions(case.task, case.test_probs))


def with_metric(report, name, value, low, high, *, primary=None, **metrics):
    found = MetricValue(value=value, low=low, high=high, n=1000)
    evaluation = report.evaluation.model_copy(update={"metrics": {name: found, **metrics}, "primary": primary or name})
    return report.model_copy(update={"evaluation": evaluation})


def test_the_headline_counts_in_hundreds_or_thousands_where_hundreds_hide_the_range(report):
    english = Words("en")
    plain = headline(with_metric(report, "accuracy", 0.9303, 0.921, 0.939), english)
    assert (
        plain == "Of 100 rows, the model labels about 93 right; the true figure very probably lies between 92 and 94."
    )
    fine = headline(with_metric(report, "accuracy", 0.9981, 0.9966, 0.9994), english)
    assert (
        fine
        == "Of 1,000 rows, the model labels about 998 right; the true figure very probably lies between 997 and 999."
    )
    texts = report.model_copy(update={"data": report.data.model_copy(update={"roles": {"text": "q", "label": "y"}})})
    chinese = headline(with_metric(texts, "accuracy", 0.93, 0.92, 0.94), Words("zh"))
    assert chinese.startswith("每 100 条文本，模型约判对 93 条")


def test_the_headline_names_the_positive_class_of_two(report):
    rows = [ClassRow(label=name, support=5, predicted=5, precision=1, recall=1, f1=1) for name in ("paid", "defaulted")]
    auc = with_metric(report, "auc", 0.79, 0.74, 0.83)
    two = auc.model_copy(update={"evaluation": auc.evaluation.model_copy(update={"classes": rows})})
    said = headline(two, Words("en"))
    assert "one case of “defaulted” and one of the other class" in said and "about 79 times in 100" in said
    assert "任取“defaulted”和另一类各一例" in headline(two, Words("zh"))


def test_a_result_of_few_rows_says_so_in_the_headline(report):
    for name, few in (("en", "Only 11 test rows stand behind this"), ("zh", "只由 11 条记录测得")):
        made = with_metric(report, "accuracy", 1.0, 0.74, 1.0)
        found = made.evaluation.metrics["accuracy"].model_copy(update={"n": 11})
        small = made.model_copy(
            update={"evaluation": made.evaluation.model_copy(update={"metrics": {"accuracy": found}})}
        )
        assert few in headline(small, Words(name))
        assert few not in headline(made, Words(name))


def test_the_headline_speaks_plainly_for_other_metrics(report):
    def value(v):
        return MetricValue(value=v, low=v - 0.01, high=v + 0.01, n=9)

    english = Words("en")
    macro = with_metric(report, "macro_f1", 0.8, 0.7, 0.9, accuracy=value(0.85))
    assert "about 85 right" in headline(macro, english)
    assert "ranks the positive one higher about 79 times in 100" in headline(
        with_metric(report, "auc", 0.79, 0.74, 0.83, accuracy=value(0.7)), english
    )
    spans = with_metric(report, "f1", 0.8, 0.7, 0.9, precision=value(0.9), recall=value(0.71))
    assert "of 100 it should give, it finds about 71" in headline(spans, english)
    several = with_metric(report, "macro_f1", 0.6, 0.5, 0.7, subset_accuracy=value(0.62))
    assert "about 62 get exactly the right labels" in headline(several, english)
    assert headline(with_metric(report, "new_metric", 0.5, None, None), english) == "new metric is 50.0%."
    task, table, predictions = diabetes()
    assert "off by" in headline(report_of(task, table, predictions), english)


def test_every_kind_of_report_becomes_a_page_in_both_languages(report):
    task, table, predictions = diabetes()
    numbers = report_of(task, table, predictions)
    for language in LANGUAGES:
        page = render_page(report, language)
        assert page.count("<section") == page.count("</section>") >= 8
        assert Words(language)("section.confusion") in page
        bare = render_page(numbers, language)
        assert Words(language)("section.confusion") not in bare
        assert Words(language)("metric.mae") in bare.lower()


def test_curves_say_when_they_are_of_a_part_of_the_model(report):
    points = [CurvePoint(step=step, loss=1 / step, valid=0.8) for step in (1, 2)]
    curved = report.model_copy(update={"curves": points})
    method = {"model": report.model.model_copy(update={"method": "full + n-grams"})}
    for language in LANGUAGES:
        words = Words(language)
        assert words("lead.curves") in render_page(curved, language)
        both = render_page(curved.model_copy(update=method), language)
        assert words("lead.curves_encoder") in both and words("lead.curves") + "<" not in both


def test_the_page_shows_the_figures_of_the_report(report):
    page = render_page(report, "en")
    accuracy = report.evaluation.metrics["accuracy"]
    assert metric(accuracy.value, True) in page and interval(accuracy.low, accuracy.high, True) in page
    assert f"{report.evaluation.num_mistakes} of 997 are wrong" in page
    for row in report.evaluation.classes:
        assert metric(row.f1, True) in page


def test_quotes_are_drawn_where_they_lie(report):
    quote = QuotedFigure(name="p95_ms", low=2, expected=3, high=5, actual=6, held=False)
    (bar,) = view.quote_bars(report.model_copy(update={"quote": [quote]}), Words("en"))
    assert bar.start < bar.start + bar.width < bar.dot
    assert (bar.value, bar.range, bar.tag) == ("6.0 ms", "2.0 – 5.0 ms", "missed")


@given(st.text(max_size=60))
def test_breakable_text_is_escaped_text(text):
    shown = str(breakable(text)).replace("<wbr>", "")
    assert "<" not in shown and '"' not in shown


@given(st.text(max_size=60))
def test_markdown_cannot_leave_its_cell(text):
    shown = escape_markdown(text)
    assert "\n" not in shown and "\r" not in shown
    assert re.sub(r"\\.", "", shown).count("|") == 0
    assert re.search(r"(?<!\\)(?:\\\\)*[<\[`]", shown) is None


def test_a_comparison_says_which_is_better(report):
    case, other = digits(), digits("bayes")
    old = Contender("<old>", other.task, as_predictions(other.task, other.test_probs))
    new = Contender("new", case.task, as_predictions(case.task, case.test_probs))
    found = compare_predictions(case.test, old, new, EvaluateConfig(resamples=100))
    page = render_page(report.model_copy(update={"comparison": found}), "en")
    assert "Against &lt;old&gt;" in page
    a, b = found.metrics["accuracy"].a, found.metrics["accuracy"].b
    assert f"{metric(a, True)} → {metric(b, True)} · better" in page
    assert f"{found.mcnemar.only_b_right} rows only the new model gets right" in page


def test_no_temperature_is_claimed_where_none_was_applied(report):
    assert report.evaluation.calibration.temperature == 1.0
    assert "no temperature scaling was applied" in render_page(report, "en")


def test_a_compressed_model_has_its_section_in_both_languages(report):
    attack = "<script>alert(1)</script>"
    made = compressed(report, parent=attack)
    tried = [one.model_copy(update={"name": f"{one.name} {attack}"}) for one in made.compression.tried]
    steps = [*made.compression.steps, f"{attack} {attack}"]
    block = made.compression.model_copy(update={"tried": tried, "steps": steps})
    for language in LANGUAGES:
        words = Words(language)
        page = render_page(made.model_copy(update={"compression": block}), language)
        assert words("section.small") in page and words("section.small") not in render_page(report, language)
        assert "<script" not in page and page.count("&lt;script&gt;") >= len(tried) + 3
        assert page.count('class="spot ') == 4 * len(tried) and page.count(f"<b>{words('tried.chosen')}</b>") == 1
        assert f"7 {words('tried.chosen')}</span>" in page and f"1 {words('tried.as_it_was')}</span>" in page
        assert page.count('class="limit"') == 4 + 3  # what may be lost; the rate, time and size asked for
        card = re.sub(r"\\.", "", render_card(made.model_copy(update={"compression": block}), language))
        assert "<script" not in card and words("card.small") in card
    page = render_page(made, "en")
    assert "44 × smaller<small>471 → 10.6 MB" in page and "14 × shorter<small>5.9 → 0.42 ms" in page
    assert "0.38 points of accuracy, very probably between −0.08 and 0.87" in page
    assert "57.0% of the test rows, by the first stage alone" in page
    assert "2 layers, 384 wide, 4 heads, 768 neurons" in page
    assert "2 层、宽 384、4 个注意力头、768 个神经元" in render_page(made, "zh")


def test_sizes_of_students_in_words():
    words = Words("en")
    assert sizes_in_words("0x128, 256 phrases", words) == "no layers, 128 wide, 256 features of three words each"
    assert sizes_in_words("1xsame, 4 heads", words) == "1 layer, 4 heads"
    assert sizes_in_words("33% heads, 17% neurons", words) == "33% of the heads and 17% of the neurons stay"
    assert sizes_in_words("128, 256 phrases, loss 0.05", words).endswith("three words each, may lose 0.05 points")
    assert sizes_in_words("neither", words) == "neither"
    assert sizes_in_words("128, 256 phrases", Words("zh")) == "宽 128、256 个三词短语特征"


def test_a_chain_alone_needs_no_chart(report):
    made = compressed(report)
    chosen = next(one for one in made.compression.tried if one.chosen)
    block = made.compression.model_copy(update={"tried": [chosen], "parent_cost": None, "early": None})
    page = render_page(made.model_copy(update={"compression": block, "comparison": None}), "en")
    assert 'class="spot ' not in page and Words("en")("small.table.charts") not in page
    assert "The steps were chosen beforehand" in page and "of the test rows" not in page


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.0008, 0.0043, "at most 0.43 points of accuracy are lost (95%)"),
        (0.00211, 0.00801, "between 0.21 and 0.81 points of accuracy are lost (95%)"),
        (-0.01, -0.002, "no accuracy is lost (95%)"),
    ],
)
def test_what_was_lost_is_never_said_to_be_less_than_it_may_be(report, low, high, said):
    made = compressed(report)
    change = made.comparison.metrics["accuracy"].model_copy(update={"low": -high, "high": -low})
    comparison = made.comparison.model_copy(update={"metrics": {"accuracy": change}})
    sentence = smaller(made.model_copy(update={"comparison": comparison}), Words("en"))
    assert sentence == f"It is 44 × smaller than the model it was made from and 23 × as fast; {said}."


def test_a_model_that_became_larger_or_slower_is_said_to_be_so(report):
    made = compressed(report)
    cost = made.cost.model_copy(update={"size_mb": 942.6, "rows_per_s": 159.0, "ram_mb": 1430.0, "p50_ms": 11.8})
    made = made.model_copy(update={"cost": cost, "comparison": None})
    assert smaller(made, Words("en")) == "It is 2.0 × as large as the model it was made from and 2.0 × slower."
    times = {gain.label: gain.times for gain in section(made, Words("en")).gains}
    assert times == {
        "On disk": "2.0 × larger",
        "Memory": "the same",
        "Throughput": "0.50 × as many",
        "Typical answer": "2.0 × longer",
        "Slowest 5%": "8.5 × shorter",
    }
    assert smaller(report, Words("en")) is None


def test_the_chart_stands_on_the_loss_that_decides(report):
    made = compressed(report, Budget(drop=1))
    smaller_ones = [one for one in made.compression.tried if not one.uncompressed]
    for judged, beyond in ((0.5, 0), (2.0, len(smaller_ones))):  # the labels of the validation rows say the same
        kept = [one for one in made.compression.tried if one.uncompressed]
        tried = [*kept, *(one.model_copy(update={"judged": judged}) for one in smaller_ones)]
        changed = made.model_copy(update={"compression": made.compression.model_copy(update={"tried": tried})})
        chart = section(changed, Words("en")).chart.scatter
        assert sum(mark.y > chart.y_limit for mark in chart.marks) == beyond


def test_each_cost_has_a_chart_whose_best_corner_is_the_upper_right_one(report):
    budget = Budget(drop=1, p95_ms=2, rows_per_s=1500, size_mb=15, ram_mb=400)
    made = compressed(report, budget)
    shown = section(made, Words("en"))
    names = ("rows_per_s", "p95_ms", "size_mb", "ram_mb")
    for name, chart in zip(names, (shown.chart, *shown.charts), strict=True):
        more = 1 if name == "rows_per_s" else -1
        marks, limit = chart.scatter.marks, getattr(budget, name)
        ordered = sorted(marks, key=lambda mark: more * mark.point.x)
        assert [mark.x for mark in ordered] == sorted(mark.x for mark in marks)
        assert {mark.point.x for mark in marks} == {getattr(one, name) for one in made.compression.tried}
        within = [mark.point.x for mark in marks if mark.x >= chart.scatter.x_limit]
        assert sorted(within) == sorted(mark.point.x for mark in marks if more * mark.point.x >= more * limit)
        ticks = [(more * float(text.replace(",", "")), at) for at, text in chart.x_ticks]
        assert len(ticks) > 1 and [at for _, at in sorted(ticks)] == sorted(at for at, _ in chart.scatter.x_ticks)
        assert chart.x_limit == f"limit {limit:,g}" and chart.scatter.y_limit == shown.chart.scatter.y_limit
        line = [mark for mark in marks if not any(beats(other, mark) for other in marks)]
        assert {(mark.x, mark.y) for mark in chart.scatter.line} == {(mark.x, mark.y) for mark in line}
    said = [mark.label for chart in shown.charts for mark in chart.scatter.marks if mark.label]
    assert sorted(said) == ["as it was"] * 3 + ["chosen"] * 3


def beats(one, other):
    return one.x >= other.x and one.y <= other.y and (one.x, one.y) != (other.x, other.y)


def test_the_charts_of_costs_have_words_in_both_languages(report):
    made = compressed(report, Budget(drop=1, p95_ms=2))
    for language in LANGUAGES:
        words = Words(language)
        page, shown = render_page(made, language), section(made, words)
        assert words("small.charts.lead") in page and words("small.table.charts") in page
        for name, unit, chart in zip(("p95_ms", "size_mb", "ram_mb"), ("ms", "mb", "mb"), shown.charts, strict=True):
            assert chart.x_name == words(f"small.chart.x.{name}") and f">{chart.x_name}</p>" in page
            assert f'aria-label="{chart.alt}"' in page
            chosen = getattr(next(one for one in made.compression.tried if one.chosen), name)
            assert words(f"small.cost.{name}") in chart.alt
            assert f"{view.cost_number(chosen)} {words(f'unit.{unit}')}" in chart.alt
        limit = words("small.chart.limit", value="2")
        assert [chart.x_limit for chart in shown.charts] == [limit, "", ""] and page.count(f">{limit}</span>") == 1
        assert page.count('class="label limit-y"') == 1  # the small ones have its line, and no room for its words
    assert section(made, Words("en")).charts[1].alt == (
        "accuracy against size on disk of 12 models; the line joins 4 of them, which no other beats in both. "
        "chosen: 93.4%, 10.6 MB. as it was: 93.9%, 471 MB."
    )


def test_a_cost_that_is_not_known_has_no_chart(report):
    made = compressed(report)
    tried = [one.model_copy(update={"ram_mb": 0.0}) for one in made.compression.tried]
    changed = made.model_copy(update={"compression": made.compression.model_copy(update={"tried": tried})})
    assert len(section(made, Words("en")).charts) == 3 and len(section(changed, Words("en")).charts) == 2


def test_what_leads_in_a_cost_is_on_its_line_though_beaten_in_everything():
    points = [
        scatter.Point(9, 0.9, "uncompressed", True, (), ""),
        scatter.Point(2, 0.8, "front", True, (), ""),
        scatter.Point(1, 0.79, "beaten", False, (), ""),
        scatter.Point(0.5, 0.1, "beaten", False, (), ""),  # off the scale: where it stands is not where it is
    ]
    chart = scatter.scatter(points, cost=True, room=scatter.SMALL)
    assert [mark.point.x for mark in chart.line] == [9, 2, 1]


@pytest.mark.parametrize("primary", ["rmse", "r2"])
def test_less_of_an_error_is_a_gain_and_up_is_always_better(primary):
    report = report_of(*diabetes())
    report = report.model_copy(update={"evaluation": report.evaluation.model_copy(update={"primary": primary})})
    made = compressed(report, Budget(drop=2))
    assert made.evaluation.metrics[primary].higher_is_better == (primary == "r2")
    lost = loss(made)
    assert (lost.low, lost.high) == pytest.approx((-0.0008, 0.0087)) and not lost.points
    shown = section(made, Words("en"))
    for chart in (shown.chart.scatter, *(small.scatter for small in shown.charts)):
        (mark,) = [mark for mark in chart.marks if mark.point.kind == "uncompressed"]
        assert mark.y == min(other.y for other in chart.marks)
    assert shown.lost.startswith("0.0038 of ")
    assert "is at most 0.0087 worse (95%)" in smaller(made, Words("en"))


def test_where_nothing_fits_the_page_says_what_would(report):
    made = compressed(report, Budget(drop=1, p95_ms=0.5, size_mb=15), relax=True)
    assert made.verdicts[1].state == "FAIL"
    for language, shown in (("en", "<s>0.5 ms</s> → <b>0.981 ms</b>"), ("zh", "<s>0.5 毫秒</s> → <b>0.981 毫秒</b>")):
        page = render_page(made, language)
        assert shown in page and page.count(Words(language)("relax.sentence")) == 2
        assert Words(language)("verdict.FAIL") not in page
    wide = compressed(report, Budget(drop=1), relax=True)  # the test rows say that it fits after all
    assert infeasible(wide, Words("en")) == Words("en")("relax.passed")
    assert Words("en")("relax.passed") in render_page(wide, "en")


@given(st.floats(1e-6, 1e6), st.booleans(), st.sampled_from((2, 3)))
def test_a_bound_is_on_its_side(value, up, digits):
    shown = float(bound(value, up=up, digits=digits).replace(",", ""))
    assert shown == pytest.approx(value, rel=1.01 * 10.0 ** (1 - digits))
    assert shown >= value * (1 - 1e-6) if up else shown <= value * (1 + 1e-6)


KINDS = st.sampled_from(["beaten", "front", "uncompressed", "chosen"])


@given(
    st.lists(st.tuples(st.floats(0.1, 1e5), st.floats(0, 1), KINDS, st.booleans()), min_size=1, max_size=25),
    st.one_of(st.none(), st.floats(0.1, 1e6)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([scatter.BIG, scatter.SMALL]),
)
def test_whatever_was_tried_its_chart_is_legible(found, limit, higher, cost, room):
    points = [scatter.Point(x, y, kind, front, ("12 chosen", "12"), "") for x, y, kind, front in found]
    chart = scatter.scatter(
        points, higher_is_better=higher, cost=cost, share=True, worst_x=limit, worst_y=0.5, room=room
    )
    assert len(chart.marks) == len(points)
    assert all(0 <= at <= 100 for mark in chart.marks for at in (mark.x, mark.y))
    assert all(0 <= at <= 100 for at, _ in chart.x_ticks + chart.y_ticks) and len(chart.x_ticks) <= 6
    figures = [(at * room.width / 100, scatter.tick_width(value) / 2) for at, value in sorted(chart.x_ticks)]
    assert all(a + wide <= b - half + 0.1 for (a, wide), (b, half) in pairwise(figures))
    boxes = [scatter._label_box(mark, mark.label, mark.side, room) for mark in chart.marks if mark.label]
    assert not any(scatter._overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    steps = [tuple(map(float, step.split())) for step in chart.path.removeprefix("M").split("L") if step]
    assert steps == sorted(steps) and [y for _, y in steps] == sorted(y for _, y in steps)
