"""A quote in plain English and Chinese: what you get, what it costs, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penjing.select.quote import Quote, Range

_LIMITS_ZH = {
    "metric": "指标",
    "p95_ms": "p95 延迟",
    "rows_per_s": "吞吐量",
    "size_mb": "大小",
    "ram_mb": "内存",
    "train_minutes": "训练时间",
}
_BASES = {
    "probe": ("a linear probe on frozen embeddings and its learning curve", "冻结向量上的线性探针及其学习曲线"),
    "run": ("a short training run", "一次短时训练"),
    "direct": ("models fitted on parts of the rows", "在部分数据上拟合的模型"),
    "stand-in": (
        "TF-IDF with a linear model, standing in for a model trained from nothing",
        "TF-IDF 加线性模型，代替从零训练的模型",
    ),
    "final": ("the linear probe that is to be the model", "作为最终模型的线性探针"),
}


# A gain below this share (of 1 where metrics are percentages, else of the metric itself) is called none.
FLAT = 0.0005


def describe_quote(quote: Quote, *, zh: bool) -> list[str]:
    """Sentences, most important first."""
    return _chinese(quote) if zh else _english(quote)


def metric_range(quote: Quote, figure: Range) -> str:
    """A range of the primary metric: "91.2% (88.0–93.5%)"."""
    if quote.percent:
        return f"{100 * figure.expected:.1f}% ({100 * figure.low:.1f}–{100 * figure.high:.1f}%)"
    return f"{figure.expected:.3f} ({figure.low:.3f}–{figure.high:.3f})"


def number_range(figure: Range) -> str:
    """A range of a cost, with the digits that mean something."""
    return f"{_number(figure.expected)} ({_number(figure.low)}–{_number(figure.high)})"


def _duration(figure: Range, seconds: str, minutes: str) -> str:
    """A range of minutes, in seconds where less than one is expected."""
    if figure.expected >= 1:
        return f"{number_range(figure)} {minutes}"
    values = {name: 60 * getattr(figure, name) for name in ("low", "expected", "high")}
    return f"{number_range(figure.model_copy(update=values))} {seconds}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gain_digits(quote: Quote, gain: Range) -> tuple[str, str]:
    """The expected gain and its interval, "" where both ends read alike."""
    scale, digits = (100, 2) if quote.percent else (1, 4)
    expected, low, high = (f"{scale * value:.{digits}f}" for value in (gain.expected, gain.low, gain.high))
    return expected, "" if low == high else f"{low}–{high}"


def _is_flat(quote: Quote, gain: Range) -> bool:
    assert quote.score is not None, "a gain is of a known figure"
    return gain.expected < FLAT * (1 if quote.percent else abs(quote.score.expected))


def _gain_english(quote: Quote, gain: Range) -> str:
    expected, interval = _gain_digits(quote, gain)
    unit = "points" if quote.percent else f"of {quote.metric}"
    if _is_flat(quote, gain):
        less = f"{100 * FLAT:g} points" if quote.percent else f"{FLAT:.2%} of {quote.metric}"
        known = f" (interval {interval} {unit})" if interval else ""
        return f"50 more labels: no gain in {quote.metric} to be expected, less than {less}{known}."
    verb = "raise" if quote.higher_is_better else "lower"
    known = f" ({interval})" if interval else ""
    return f"50 more labels are expected to {verb} {quote.metric} by {expected}{known} {unit}."


def _gain_chinese(quote: Quote, gain: Range) -> str:
    expected, interval = _gain_digits(quote, gain)
    unit = " 个百分点" if quote.percent else ""
    if _is_flat(quote, gain):
        less = f" {100 * FLAT:g} 个百分点" if quote.percent else f"其值的 {FLAT:.2%}"
        known = f"（区间 {interval}{unit}）" if interval else ""
        return f"再标注 50 条：预计 {quote.metric} 不会有改善，不到{less}{known}。"
    verb = "提高" if quote.higher_is_better else "降低"
    known = f"（{interval}）" if interval else ""
    return f"再标注 50 条，预计 {quote.metric} {verb} {expected}{unit}{known}。"


def _english(quote: Quote) -> list[str]:
    costs, month = quote.costs, quote.monthly
    sure = f"intervals should hold in {quote.level:.0%} of runs"
    if quote.assumed:
        sure = (
            f"intervals are meant to hold in {quote.level:.0%} of runs, but their spread is assumed, not yet measured"
        )
    expected = (
        f"No {quote.metric} can be quoted: it is undefined on the {quote.rows['sampled']:,} rows looked at (all labels "
        f"alike, or too few). {sure[0].upper()}{sure[1:]}."
    )
    if quote.score is not None:
        expected = (
            f"Expected {quote.metric} on {quote.rows['test']:,} test rows: {metric_range(quote, quote.score)}, by "
            f"{_BASES[quote.evidence.basis][0]}; {sure}."
        )
    lines = [
        expected,
        f"Training: about {_duration(costs['train_minutes'], 'seconds', 'minutes')} on this machine.",
        f"The model: {number_range(costs['size_mb'])} MB on disk, {number_range(costs['ram_mb'])} MB of memory, p95 "
        f"{number_range(costs['p95_ms'])} ms a row, {number_range(costs['rows_per_s'])} rows/s ({quote.backend}).",
        f"Serving {month.rows_per_month:,.0f} rows a month (peak {_number(month.peak_rows_per_s)} rows/s) takes "
        f"{month.machines} rented 2-core machine{'s' if month.machines > 1 else ''}: about ${month.usd:,.0f} a "
        f"month at US prices, ¥{month.cny:,.0f} at Chinese ones ({_assumption(quote)}), at {month.load:.1%} mean load.",
    ]
    if quote.more_labels is not None:
        lines.append(_gain_english(quote, quote.more_labels))
    lines += [
        f"Over budget, {name}: {'the expected figure' if sure == 'likely' else 'an end of the interval'} breaks it."
        for name, sure in quote.over_budget.items()
    ]
    if quote.busy:
        lines.append("The machine was busy with other work meanwhile, so speeds and minutes may be pessimistic.")
    return lines


def _assumption(quote: Quote) -> str:
    if quote.monthly.given:
        return "your prices"
    return f"{quote.monthly.assumption}, as of {quote.monthly.as_of}"


def _chinese(quote: Quote) -> list[str]:
    costs, month = quote.costs, quote.monthly
    price = "按您给出的价格" if month.given else f"按 {month.as_of} 的假定价格：2 核 4 GB，按需，全月运行，并非报价"
    sure = f"区间应在 {quote.level:.0%} 的运行中成立"
    if quote.assumed:
        sure = f"区间意在 {quote.level:.0%} 的运行中成立，但其宽度是假定的，尚未经实测"
    expected = (
        f"无法预计 {quote.metric}：在所查看的 {quote.rows['sampled']:,} 条数据上它没有定义"
        f"（标签全都相同，或条数太少）。{sure}。"
    )
    if quote.score is not None:
        expected = (
            f"预计在 {quote.rows['test']:,} 条测试数据上 {quote.metric} 为 {metric_range(quote, quote.score)}，"
            f"依据：{_BASES[quote.evidence.basis][1]}；{sure}。"
        )
    lines = [
        expected,
        f"训练：在本机约 {_duration(costs['train_minutes'], '秒', '分钟')}。",
        f"模型：磁盘 {number_range(costs['size_mb'])} MB，内存 {number_range(costs['ram_mb'])} MB，"
        f"单条 p95 延迟 {number_range(costs['p95_ms'])} 毫秒，每秒 {number_range(costs['rows_per_s'])} 条"
        f"（{quote.backend}）。",
        f"每月 {month.rows_per_month:,.0f} 条（高峰每秒 {_number(month.peak_rows_per_s)} 条）需要 {month.machines} 台"
        f"双核云主机：每月按国内价约 {month.cny:,.0f} 元，按美国价约 {month.usd:,.0f} 美元（{price}），"
        f"平均负载 {month.load:.1%}。",
    ]
    if quote.more_labels is not None:
        lines.append(_gain_chinese(quote, quote.more_labels))
    lines += [
        f"超出预算（{_LIMITS_ZH[name]}）：{'预计值' if sure == 'likely' else '区间的一端'}超过限制。"
        for name, sure in quote.over_budget.items()
    ]
    if quote.busy:
        lines.append("测量时本机正忙于其他工作，速度和时间的估计可能偏保守。")
    return lines
