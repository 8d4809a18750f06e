"""Rows that say the same: exact and near duplicates, contradicting labels, leaks between the parts of a split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from penjing.core.task import Table
from penjing.data.check.report import MAX_EXAMPLES, Example, Finding, Material, excerpt, texts_of
from penjing.data.minhash import near_duplicates
from penjing.data.textkey import are_copies, content_key, normalise_text


def repeated(material: Material) -> Iterator[Finding]:
    """Rows with the content of another row, and those of them that disagree on the label."""
    keys = material.keys()
    if not are_copies(keys, material.inference.roles):
        return
    places: dict[bytes, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    groups = sorted((group for group in places.values() if len(group) > 1), key=len, reverse=True)
    if not groups:
        return
    texts = material.texts()
    extra = sum(len(group) - 1 for group in groups)
    share = extra / len(texts)
    yield Finding(
        "duplicate-text",
        "warning" if share > 0.05 else "info",
        f"{extra:,} rows repeat the content of another row ({len(groups):,} contents come more than once)",
        extra,
        share,
        "remove the copies if they are not how often production sees them; all copies of a text go into one part",
        material.examples(
            [group[0] for group in groups[:MAX_EXAMPLES]],
            [f"{len(group)} times: {excerpt(texts[group[0]])}" for group in groups[:MAX_EXAMPLES]],
        ),
    )
    labels = material.labels()
    if labels and isinstance(labels[0], float):
        return
    clashes = [group for group in groups if len({str(labels[i]) for i in group}) > 1]
    if clashes:
        concerned = sum(map(len, clashes))
        yield Finding(
            "conflicting-label",
            "warning",
            f"{len(clashes):,} contents come with different labels ({concerned:,} rows)",
            concerned,
            concerned / len(texts),
            "decide on one label for each; no model can get both right",
            material.examples(
                [group[0] for group in clashes[:MAX_EXAMPLES]],
                [
                    f"{' / '.join(sorted({str(labels[i]) for i in group}))}: {excerpt(texts[group[0]])}"
                    for group in clashes[:MAX_EXAMPLES]
                ],
            ),
        )


def leaks(material: Material) -> Iterator[Finding]:
    """Content that is both learned and held out, where the split is fixed."""
    if not material.divided:
        return
    keys, roles = material.keys(), material.inference.roles
    sealed = material.sealed if material.sealed is not None else Table([], [])
    sealed_keys = [content_key(row, roles) for row in sealed.rows]
    if not are_copies(keys + sealed_keys, roles):
        return
    train, learned = set(keys[: material.num_train]), set(keys)
    valid = [i for i, key in enumerate(keys[material.num_train :], start=material.num_train) if key in train]
    ids = [material.table.row_ids[i] for i in valid]
    ids += [row_id for key, row_id in zip(sealed_keys, sealed.row_ids, strict=True) if key in learned]
    total = len(keys) - material.num_train + len(sealed)
    if ids:
        share = len(ids) / max(1, total)
        yield Finding(
            "leakage",
            "error" if share > 0.05 and roles.text is not None else "warning",  # rows of a table may meet by chance
            f"{len(ids):,} held-out rows have the content of a training row, so they are remembered, not predicted",
            len(ids),
            share,
            "set data.split.drop_leaks: true, or let the split be made anew",
            tuple(Example(row_id, "same content as a training row") for row_id in ids[:MAX_EXAMPLES]),
        )


def near(material: Material, seed: int) -> Iterator[Finding]:
    """Texts that differ a little: within what may be shown, and between training and held-out rows."""
    own = material.texts()
    sealed = texts_of(material.sealed, material.inference) if material.divided and material.sealed is not None else []
    first: dict[str, int] = {}
    for i, text in enumerate([*own, *sealed]):
        first.setdefault(normalise_text(text), i)
    distinct = list(first)
    origin = list(first.values())
    pairs = [(origin[p.first], origin[p.second], p.similarity) for p in near_duplicates(distinct, seed=seed)]
    inside = [(a, b, s) for a, b, s in pairs if max(a, b) < len(own)]
    if inside:
        yield _inside(material, own, inside)
    if material.divided:
        yield from _across(material, pairs, len(own), len(sealed))


def _inside(material: Material, own: Sequence[str], pairs: Sequence[tuple[int, int, float]]) -> Finding:
    rows = {row for a, b, _ in pairs for row in (a, b)}
    share = len(rows) / len(own)
    shown = sorted(pairs, key=lambda pair: -pair[2])[:MAX_EXAMPLES]
    return Finding(
        "near-duplicate",
        "warning" if share > 0.1 else "info",
        f"{len(rows):,} rows are nearly the same as another row",
        len(rows),
        share,
        "look whether they come from a template or from scraping twice; keep one of each",
        material.examples(
            [a for a, _, _ in shown],
            [f"{s:.0%} like {material.table.row_ids[b]}: {excerpt(own[a])}" for a, b, s in shown],
        ),
    )


def _across(
    material: Material, pairs: Sequence[tuple[int, int, float]], num_own: int, num_sealed: int
) -> Iterator[Finding]:
    def is_train(i: int) -> bool:
        return i < material.num_train

    crossing = sorted({max(a, b) for a, b, _ in pairs if is_train(a) != is_train(b)})
    if not crossing:
        return
    ids = list(material.table.row_ids) + (list(material.sealed.row_ids) if material.sealed is not None else [])
    share = len(crossing) / max(1, num_own - material.num_train + num_sealed)
    yield Finding(
        "near-leakage",
        "warning" if share > 0.02 else "info",
        f"{len(crossing):,} held-out rows are nearly the same as a training row; their accuracy flatters",
        len(crossing),
        share,
        "give the rows of one origin a group column (data.columns.group), so that they stay together",
        tuple(Example(ids[i], "nearly the same as a training row") for i in crossing[:MAX_EXAMPLES]),
    )
