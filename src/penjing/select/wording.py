"""Why a model was chosen, in plain English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penjing.core.task import Task
from penjing.select.candidate import Candidate

if TYPE_CHECKING:
    from penjing.select.examine import Question

_STANDINGS = {
    "over budget": "超出预算",
    "wrong language": "语言不符",
    "unavailable": "不可用",
}


def explain_choice(table: Sequence[Candidate], task: Task, question: Question, fits: bool, *, zh: bool) -> list[str]:
    """Sentences: why the first row of the table won, then why each other lost.

    Args:
        table: the winner first.
        task: names the metric.
        question: the budget and the language.
        fits: whether the winner fits the budget.
        zh: in Chinese.
    """
    winner, *others = table
    lines = [_won(winner, others, task, zh=zh)]
    if not fits:
        lines.append(_nearest(winner, zh=zh))
    lines += [_lost(other, winner, task, zh=zh) for other in others]
    return lines


def score_text(task: Task, score: float | None) -> str:
    """A metric as people read it: 87.3% or 0.642."""
    if score is None:
        return "–"
    return f"{100 * score:.1f}%" if task.metrics[task.primary].percent else f"{score:.3f}"


def _won(winner: Candidate, others: Sequence[Candidate], task: Task, *, zh: bool) -> str:
    rivals = [other for other in others if other.standing == "fits"]
    expected, metric = score_text(task, winner.expected), task.primary
    cost = f"p95 {winner.p95_ms:.1f} ms, {winner.size_mb:.0f} MB, {winner.rows_per_s:.0f} rows/s"
    better = [r for r in rivals if r.expected is not None and _ahead(task, r.expected, winner.expected)]
    if zh:
        cost = f"p95 延迟 {winner.p95_ms:.1f} 毫秒，{winner.size_mb:.0f} MB，每秒 {winner.rows_per_s:.0f} 条"
        if better:
            reason = f"与 {better[0].name}（预计 {score_text(task, better[0].expected)}）的差距在误差之内，而且更省"
        elif rivals:
            reason = "在符合预算的候选中预计效果最好"
        else:
            reason = "是唯一符合要求的候选"
        return f"选择 {winner.name}：{reason}。预计 {metric} {expected}；{cost}。"
    if better:
        reason = (
            f"it is within one standard error of {better[0].name} (expected {score_text(task, better[0].expected)}) "
            "and cheaper to run"
        )
    elif rivals:
        reason = "it is expected to be the most accurate of those that fit the budget"
    else:
        reason = "it is the only candidate that qualifies"
    return f"Chosen: {winner.name}, because {reason}. Expected {metric} after training {expected}; {cost}."


def _nearest(winner: Candidate, *, zh: bool) -> str:
    broken = "；".join(winner.reasons) if zh else "; ".join(winner.reasons)
    if zh:
        return f"没有候选符合预算，{winner.name} 最接近：{broken}。请放宽该项预算，或在训练后压缩。"
    nearest = f"No candidate fits the budget; {winner.name} comes nearest ({broken})."
    return f"{nearest} Relax that limit, or compress after training."


def _lost(other: Candidate, winner: Candidate, task: Task, *, zh: bool) -> str:
    if other.standing != "fits":
        name = _STANDINGS[other.standing] if zh else other.standing
        return (
            f"{other.name}：{name}（{'；'.join(other.reasons)}）。"
            if zh
            else (f"{other.name}: {name} ({'; '.join(other.reasons)}).")
        )
    expected, probe = score_text(task, other.expected), score_text(task, other.probe)
    mine = score_text(task, winner.expected)
    if not other.pretrained:
        if zh:
            return (
                f"{other.name}（没有预训练知识）：以 TF-IDF 加线性模型代为估计，得 {probe}，"
                f"预计从零训练后 {expected}，低于或不明显高于 {mine}。"
            )
        return (
            f"{other.name} (no pretrained knowledge): a TF-IDF linear model, its stand-in, scores {probe}; trained "
            f"from nothing it is expected to reach {expected}, not clearly above {mine}."
        )
    ahead = _ahead(task, other.expected, winner.expected)
    if zh:
        reason = "略高，但在误差之内，且更慢" if ahead else "预计效果较低"
        return f"{other.name}：{reason}（探针 {probe}，预计 {expected}；胜者预计 {mine}）。"
    reason = "higher within the error, and slower" if ahead else "lower expected"
    return f"{other.name}: {reason} {task.primary} (probe {probe}, expected {expected}; the winner's {mine})."


def _ahead(task: Task, first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return False
    return first > second if task.metrics[task.primary].higher_is_better else first < second
