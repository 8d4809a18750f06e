"""Labels: too few classes, too few rows a class, imbalance, identifiers; features that carry nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from penjing.core.errors import DataError
from penjing.data.check.report import MAX_EXAMPLES, Example, Finding, Material, excerpt
from penjing.data.labels import class_counts, require_learnable
from penjing.data.profile import is_blank

_SMALL_CLASS = 10
_IMBALANCE = 10.0


def unusable(material: Material) -> Iterator[Finding]:
    """What `prepare` would refuse."""
    shape = material.inference.label
    if shape is None:
        return
    labels = material.labels()
    column = material.inference.roles.label or ""
    try:
        require_learnable(
            labels,
            shape.kind,
            column,
            material.table.name,
            rare=not material.divided and not material.drops_rare,
            of_texts=material.inference.roles.text is not None and not material.task_given,
        )
    except DataError as error:
        shown = _telling(labels)
        yield Finding(
            "unusable-label",
            "error",
            error.what,
            len(shown),
            len(shown) / len(labels),
            error.next_step or error.expected or "correct it",
            material.examples(shown[:MAX_EXAMPLES], [excerpt(str(labels[i])) for i in shown[:MAX_EXAMPLES]]),
        )


def _telling(labels: Sequence[Any]) -> list[int]:
    """Places of the rows a refusal is about: those of classes of one row, where there are others too, else all."""
    counts = class_counts(labels) if labels and not isinstance(labels[0], float) else Counter()
    single = [
        i
        for i, label in enumerate(labels)
        if any(counts[name] == 1 for name in (label if isinstance(label, list) else [label]))
    ]
    return single if 0 < len(single) < len(labels) else list(range(len(labels)))


def balance(material: Material) -> Iterator[Finding]:
    """Classes with few rows, and classes much rarer than others."""
    labels = material.labels()
    if not labels or isinstance(labels[0], float):
        return
    counts = class_counts(labels)
    if len(counts) < 2:
        return
    small = [(name, count) for name, count in counts.most_common()[::-1] if count < _SMALL_CLASS]
    if small:
        rows = sum(count for _, count in small)
        yield Finding(
            "small-class",
            "warning",
            f"{len(small):,} of {len(counts):,} classes have fewer than {_SMALL_CLASS} rows",
            len(small),
            rows / len(labels),
            "label more rows of these classes, or merge them",
            tuple(Example(name, f"{count} rows") for name, count in small[:MAX_EXAMPLES]),
        )
    (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    if high / low >= _IMBALANCE:
        yield Finding(
            "class-imbalance",
            "warning",
            f"the largest class ({most}) has {high / low:,.0f} times the rows of the smallest ({least})",
            low,
            low / len(labels),
            "judge by macro-F1; class weights or focal loss help, more rows of the small classes help more",
            tuple(Example(name, f"{count:,} rows") for name, count in counts.most_common()[::-1][:MAX_EXAMPLES]),
        )


def features(material: Material) -> Iterator[Finding]:
    """Feature columns with gaps, with one value only, or that give the label away."""
    names = material.inference.roles.features
    rows = material.table.rows
    label = [str(value) for value in material.labels()]
    gaps, constant, telling = [], [], []
    for name in names:
        values = [row.get(name) for row in rows]
        blank = sum(is_blank(value) for value in values)
        if blank:
            gaps.append((name, blank))
        distinct = {str(value) for value in values}
        if len(distinct) == 1:
            constant.append(name)
        elif len(distinct) <= len(set(label)) <= 50 and len({*zip(map(str, values), label, strict=True)}) == len(
            distinct
        ):
            telling.append(name)
    if gaps:
        gaps.sort(key=lambda item: -item[1])
        total = sum(count for _, count in gaps)
        yield Finding(
            "missing-value",
            "info",
            f"{len(gaps)} feature columns have empty cells ({total:,} in all)",
            total,
            total / (len(rows) * len(names)),
            "nothing, if cells are also empty in production; the model knows a missing value",
            tuple(Example(name, f"{count / len(rows):.1%} empty") for name, count in gaps[:MAX_EXAMPLES]),
        )
    if constant:
        yield Finding(
            "constant-feature",
            "info",
            f"{len(constant)} feature columns have one value only",
            len(constant),
            len(constant) / len(names),
            "leave them out",
            tuple(Example(name, "one value") for name in constant[:MAX_EXAMPLES]),
        )
    if telling:
        yield Finding(
            "label-in-features",
            "error",
            f"{len(telling)} feature columns determine the label by themselves: {', '.join(telling[:5])}",
            len(telling),
            len(telling) / len(names),
            "leave out what is known only after the fact (data.columns.features)",
            tuple(Example(name, "determines the label") for name in telling[:MAX_EXAMPLES]),
        )
