"""Suspected label errors: confident learning on out-of-fold probabilities of a quick model.

cleanlab finds the rows whose given label the model can hardly believe (Northcutt, Jiang and Chuang, "Confident
Learning", JAIR 2021). Where a text may have several labels, whether it has each is a question of its own. Pairs of
texts are left out: what a quick model sees of them finds planted errors little better than chance (docs/log.md).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penjing.core.errors import CapabilityError, MissingExtraError
from penjing.core.task import Row
from penjing.data.check.out_of_fold import discrimination, encode, rows_in_time, table_probs, text_probs
from penjing.data.check.report import MAX_EXAMPLES, Finding, Material, excerpt
from penjing.data.textkey import are_copies

MAX_ROWS = 40_000
MIN_ROWS = 60
MIN_ROWS_A_CLASS = 5
MAX_CLASSES, MAX_TABLE_CLASSES = 200, 50
_MAX_CHARS = 400
# Rare labels are in doubt all the time: of 12,000 rows of GoEmotions with 360 sets made wrong, cleanlab by itself
# suspected 4,053, 306 of the 360 among them; with this much disagreement asked for as well, 723 and 178. So are rows of
# a table that says little of its classes: of german-credit's 1,000 with 50 made wrong, about 220 and 29; now 14 and 6
# (docs/log.md).
_SURE = 0.95
# Trees that learned nothing believe no row of a rare class. Columns of noise give at most 0.01, german-credit 0.2.
_LEAST_DISCRIMINATION = 0.02
_TEXTS, _PAIRS, _TABLES = "text-classification", "text-pair", "tabular-classification"


def why_not(material: Material) -> str | None:
    """Why this data cannot be searched for label errors; None when it can."""
    kind = material.inference.task_kind
    if kind == _PAIRS:
        return "a quick model cannot tell right labels of pairs from wrong ones"
    if kind not in (_TEXTS, _TABLES):
        return f"only for classes of texts or of rows of tables, not {kind}"
    labels, tables = material.labels(), kind == _TABLES
    places = _distinct(material)
    if len(places) < MIN_ROWS:
        return f"needs {MIN_ROWS} different {'rows' if tables else 'texts'}, there are {len(places)}"
    if isinstance(labels[0], list):
        if tables:
            return "of tables only where a row has one label"
        sets = [set(labels[i]) for i in places]
        return None if _questions(sets) else f"needs a label that {MIN_ROWS_A_CLASS} rows have and as many have not"
    names, most = {labels[i] for i in places}, MAX_TABLE_CLASSES if tables else MAX_CLASSES
    if not 2 <= len(names) <= most:
        return f"needs 2 to {most} classes, there are {len(names)}"
    if len(places) < MIN_ROWS_A_CLASS * len(names):
        return f"needs {MIN_ROWS_A_CLASS} rows a class on average, there are {len(places) / len(names):.1f}"
    return None


def suspects(material: Material, seed: int) -> Iterator[Finding]:
    """Labels that are probably wrong, least believable first.

    Raises:
        MissingExtraError: cleanlab or scikit-learn is not installed.
        CapabilityError: the columns of a table say nothing of its classes.
    """
    features, labels = material.inference.roles.features, material.labels()
    tables = material.inference.task_kind == _TABLES
    several = isinstance(labels[0], list)
    places, rows, texts = _distinct(material), material.table.rows, material.texts()
    most = min(MAX_ROWS, rows_in_time(len(features), len(set(labels)))) if tables else MAX_ROWS
    among = ""
    if len(places) > most:
        places = np.sort(np.random.default_rng(seed).choice(places, most, replace=False))
        among = f"among {most:,} rows drawn "
    chosen = [labels[i] for i in places]
    if tables:
        found = suspected_rows([rows[i] for i in places], features, chosen, seed)
    else:
        words = [texts[i][:_MAX_CHARS] for i in places]
        found = (_in_sets if several else _in_labels)(words, chosen, seed)
    if not found:
        return
    share = len({row for row, _ in found}) / len(places)
    shown = [(int(places[row]), detail) for row, detail in found[:MAX_EXAMPLES]]
    if tables:
        texts = [", ".join(f"{name} {row.get(name)}" for name in features) for row in rows]
    yield Finding(
        "label-error",
        # Sets of labels and tables are noisy: what a model is sure of there is a hint, however much of it there is.
        "warning" if share > 0.02 and not several and not tables else "info",
        f"{len(found):,} labels {among}look wrong to a model that did not learn these rows (suspicions, not verdicts)",
        len(found),
        share,
        "look at them, least believable first, and correct what is wrong",
        material.examples([i for i, _ in shown], [f"{detail}: {excerpt(texts[i])}" for i, detail in shown]),
    )


def _distinct(material: Material) -> np.ndarray:
    """Positions of rows of different content, ascending; of all rows where equal ones are no copies."""
    keys = material.keys()
    if not are_copies(keys, material.inference.roles):
        return np.arange(len(keys))
    first: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key, i)
    return np.array(sorted(first.values()), dtype=np.int64)


def suspected_rows(
    rows: Sequence[Row], features: Sequence[str], labels: Sequence[Any], seed: int
) -> list[tuple[int, str]]:
    """(position, what is suspected) where each row of a table has one label.

    Raises:
        MissingExtraError: cleanlab or scikit-learn is not installed.
        CapabilityError: the columns say nothing of the classes.
    """
    names, given = _numbered(labels)
    matrix, nominal = encode(rows, features)
    probs_NC = table_probs(matrix, nominal, given, len(names), seed)
    if discrimination(given, probs_NC) < _LEAST_DISCRIMINATION:
        raise CapabilityError("a quick model learned nothing of the classes from these columns")
    # Of many classes the given one may be unlikely without another being likely: the other is what counts.
    return [(i, said) for i, said in _doubts(names, given, probs_NC) if probs_NC[i].max() >= _SURE]


def _in_labels(texts: Sequence[str], labels: Sequence[Any], seed: int) -> list[tuple[int, str]]:
    """The same where each text has one label."""
    names, given = _numbered(labels)
    return _doubts(names, given, text_probs(texts, [given], [len(names)], seed)[0])


def _numbered(labels: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    """The classes, and [N] which of them each row has."""
    names = sorted(set(labels))
    index = {name: i for i, name in enumerate(names)}
    return names, np.array([index[label] for label in labels])


def _doubts(names: Sequence[Any], given: np.ndarray, probs_NC: np.ndarray) -> list[tuple[int, str]]:
    return [
        (i, f"labelled {names[given[i]]}, looks like {names[int(probs_NC[i].argmax())]} ({probs_NC[i].max():.0%})")
        for i in rank_label_issues(given, probs_NC).tolist()
    ]


def _in_sets(texts: Sequence[str], labels: Sequence[Any], seed: int) -> list[tuple[int, str]]:
    """The same where a text may have several labels, or none; a text may be suspected for more than one."""
    sets = [set(one) for one in labels]
    names = _questions(sets)
    given_KN = [np.array([int(name in one) for one in sets]) for name in names]
    found: list[tuple[float, int, str]] = []
    probs_KNC = text_probs(texts, given_KN, [2] * len(names), seed)
    for name, given, probs_NC in zip(names, given_KN, probs_KNC, strict=True):
        for i in rank_label_issues(given, probs_NC).tolist():
            believed = float(probs_NC[i, given[i]])
            if believed <= 1 - _SURE:
                said = ", ".join(sorted(map(str, sets[i]))) or "with nothing"
                verb = "did not apply" if given[i] else "applied"
                found.append((believed, i, f"labelled {said}, looks as if {name} {verb} ({probs_NC[i, 1]:.0%})"))
    return [(i, detail) for _, i, detail in sorted(found)]


def _questions(sets: Sequence[set[Any]]) -> list[Any]:
    """Labels that enough rows have, and enough have not, for a model to learn which; the commonest of too many."""
    counts = Counter(name for one in sets for name in one)
    least, most = MIN_ROWS_A_CLASS, len(sets) - MIN_ROWS_A_CLASS
    return sorted(name for name, count in counts.most_common(MAX_CLASSES) if least <= count <= most)


def rank_label_issues(given: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Positions of suspected rows, least believable first."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtraError("cleanlab", "train") from None
    with warnings.catch_warnings():
        # cleanlab warns about classes it cannot judge; `small-class` says the same with a next step.
        warnings.simplefilter("ignore", UserWarning)
        found = find_label_issues(given, probs, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1)
    return np.array(found, dtype=np.int64)
