"""Train, valid and test: as given, stratified, grouped or by time; the same seed gives the same split.

Copies of a row always stay together, so none is learned and then tested; where a given split breaks that, it is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penjing.core.errors import DataError
from penjing.core.task import Splits, Table
from penjing.data.config import SplitConfig
from penjing.data.conform import targets
from penjing.data.infer import Inference
from penjing.data.naming import SPLIT_VALUES
from penjing.data.profile import parse_time
from penjing.data.stratify import stratified_parts
from penjing.data.textkey import are_copies, content_key, fingerprint

_TRAIN, _TEST, _VALID = 0, 1, 2
_NUMBER_BINS = 10
_MIN_ROWS = 4


@dataclass(frozen=True)
class SplitResult:
    """Splits, the strategy that made them, and sentences about how."""

    splits: Splits
    strategy: str
    explanation: tuple[str, ...]


def split_table(
    table: Table,
    inference: Inference,
    config: SplitConfig,
    seed: int,
    *,
    test: Table | None = None,
    valid: Table | None = None,
    time_chosen: bool = False,
) -> SplitResult:
    """Divide conformed rows.

    Args:
        table: rows to divide (all of them, or those for training where others are given).
        inference: roles and label shape.
        config: strategy and fractions.
        seed: of the random choices.
        test: a given test table.
        valid: a given validation table.
        time_chosen: whether the user named the time column, which makes time the strategy.

    Raises:
        DataError: the strategy lacks its column, or a part would be empty.
    """
    notes: list[str] = []
    strategy: str = config.strategy
    given = {"test": test, "valid": valid}
    if inference.roles.split is not None and strategy in {"auto", "given"}:
        table, found = by_column(table, inference.roles.split)
        given = {name: given[name] or found.get(name) for name in given}
    if strategy == "auto":
        any_given = any(part is not None for part in given.values())
        strategy = "given" if any_given else _natural(inference, time_chosen)
    if strategy == "given" and not any(part is not None for part in given.values()):
        raise DataError(
            "no split is given", where="data.split.strategy", expected="a split column, data.test or data.valid"
        )
    train, test, valid = _complete(table, given["test"], given["valid"], inference, config, strategy, seed, notes)
    if any(part is not None for part in given.values()):
        train, valid = _given_leaks(train, valid, test, inference, config, notes)
    elif strategy == "time" and inference.roles.text is not None:  # features come again without being a copy
        train, valid = _drop_seen(train, valid, test, inference, notes)
    _warn_of_groups(train, valid, test, inference, notes)
    for name, part in (("training", train), ("validation", valid), ("test", test)):
        if not len(part):
            raise DataError(
                f"the {name} part has no rows", where=table.name, next_step="add rows, or change data.split"
            )
    notes.append(f"split: {strategy}, {len(train):,} train, {len(valid):,} valid, {len(test):,} test")
    digest = fingerprint((train, valid, test), inference.roles)
    return SplitResult(Splits(train, valid, test, inference.roles, digest), strategy, tuple(notes))


def _natural(inference: Inference, time_chosen: bool) -> str:
    if inference.roles.group is not None:
        return "grouped"
    return "time" if time_chosen else "stratified"


def by_column(table: Table, column: str) -> tuple[Table, dict[str, Table]]:
    """(training rows, {"test": ..., "valid": ...} where the column has them)."""
    places: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for i, row in enumerate(table.rows):
        word = str(row.get(column) or "").strip().lower()
        if word not in SPLIT_VALUES:
            raise DataError(
                f"the split column {column!r} says {str(row.get(column))[:40]!r}",
                where=table.row_ids[i],
                expected="train, valid or test",
                next_step="correct it, or set data.split.strategy: stratified to divide the rows anew",
            )
        places[SPLIT_VALUES[word]].append(i)
    if not places["train"]:
        raise DataError(f"the split column {column!r} marks no row as train", where=table.name)
    held = {name: table.take(places[name]) for name in ("test", "valid") if places[name]}
    return table.take(places["train"]), held


def _complete(
    table: Table,
    test: Table | None,
    valid: Table | None,
    inference: Inference,
    config: SplitConfig,
    strategy: str,
    seed: int,
    notes: list[str],
) -> tuple[Table, Table, Table]:
    """(train, test, valid), dividing the rows for what is not given."""
    valid_share = min(config.valid * (1 - (0 if test else config.test)), config.max_valid / max(1, len(table)))
    wanted = [(_TEST, config.test, test), (_VALID, valid_share, valid)]
    missing = [(part, fraction) for part, fraction, given in wanted if given is None]
    if not missing:
        assert test is not None and valid is not None
        return table, test, valid
    if len(table) < _MIN_ROWS:
        raise DataError(
            f"{len(table)} rows are too few to hold some out",
            where=table.name,
            expected=f"at least {_MIN_ROWS}",
            next_step="add labelled rows",
        )
    inner = _natural(inference, time_chosen=False) if strategy == "given" else strategy
    divide = _in_time if inner == "time" else _at_random
    parts = divide(table, inference, [fraction for _, fraction in missing], inner, seed, notes)
    chosen = {part: table.take(np.flatnonzero(parts == i + 1)) for i, (part, _) in enumerate(missing)}
    return table.take(np.flatnonzero(parts == 0)), test or chosen[_TEST], valid or chosen[_VALID]


def _at_random(
    table: Table, inference: Inference, fractions: Sequence[float], strategy: str, seed: int, notes: list[str]
) -> np.ndarray:
    group = inference.roles.group
    if strategy == "grouped" and group is None:
        raise DataError("no group column", where="data.columns.group", expected="the column whose rows stay together")
    keys = [content_key(row, inference.roles) for row in table.rows]
    groups = [row.get(group) for row in table.rows] if group is not None else None
    tied = are_copies(keys, inference.roles)
    repeated = len(keys) - len(set(keys))
    if repeated and tied:
        notes.append(f"{repeated:,} rows repeat the content of another row; copies stay in one part")
    units = connected(len(table), *([keys] if tied else []), *([groups] if groups is not None else []))
    labels = _strata(targets(table.rows, inference))
    parts = stratified_parts(labels, units, fractions, np.random.default_rng(seed))
    if any(not (parts == part + 1).any() for part in range(len(fractions))):
        raise DataError(
            f"{len(table)} rows in {len(set(units.tolist()))} groups are too few to hold out "
            f"{' and '.join(f'{fraction:.0%}' for fraction in fractions)}",
            where=table.name,
            next_step="add rows, or raise data.split.test and data.split.valid",
        )
    return parts


def connected(count: int, *ties: Sequence[Any]) -> np.ndarray:
    """Number of the connected set of each row; rows with an equal value in one of the ties (content, group) connect."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for values in ties:
        first: dict[Any, int] = {}
        for i, value in enumerate(values):
            if value is None:
                continue
            parent[root(i)] = root(first.setdefault(value if isinstance(value, bytes) else str(value), i))
    return np.array([root(i) for i in range(count)])


def _strata(labels: Sequence[Any]) -> list[list[str]]:
    """Labels of each row as a list; numbers become quantile bins."""
    if labels and isinstance(labels[0], float):
        numbers = np.array(labels)
        edges = np.quantile(numbers, np.linspace(0, 1, _NUMBER_BINS + 1)[1:-1])
        return [[str(bin_)] for bin_ in np.searchsorted(edges, numbers, side="right")]
    return [label if isinstance(label, list) else [label] for label in labels]


def _in_time(
    table: Table, inference: Inference, fractions: Sequence[float], strategy: str, seed: int, notes: list[str]
) -> np.ndarray:
    """The newest rows are the test, those before them valid; rows of one moment stay together."""
    column = inference.roles.time
    if column is None:
        raise DataError("no time column", where="data.columns.time", expected="the column with the date of each row")
    moments = np.array([_moment(row, column, row_id) for row, row_id in zip(table.rows, table.row_ids, strict=True)])
    order = np.argsort(moments, kind="stable")
    ordered = moments[order]
    parts = np.zeros(len(table), np.int64)
    end = len(table)
    for number, fraction in enumerate(fractions, start=1):
        start = int(np.searchsorted(ordered, ordered[end - max(1, round(fraction * len(table)))], side="left"))
        if start == 0:
            raise DataError(
                f"column {column!r} has too few different moments to hold out the newest {fraction:.0%}",
                where=table.name,
                next_step="use data.split.strategy: stratified",
            )
        parts[order[start:end]] = number
        end = start
    return parts


def _drop_seen(train: Table, valid: Table, test: Table, inference: Inference, notes: list[str]) -> tuple[Table, Table]:
    """By time, a text may come again later; its earlier copies are dropped, so that the newest rows stay whole."""
    test_keys = {content_key(row, inference.roles) for row in test.rows}
    valid_keys = {content_key(row, inference.roles) for row in valid.rows}
    kept_valid = _without(valid, test_keys, inference)
    kept_train = _without(train, test_keys | valid_keys, inference)
    dropped = len(train) - len(kept_train) + len(valid) - len(kept_valid)
    if dropped:
        notes.append(f"dropped {dropped:,} earlier rows whose content comes again in a later part")
    return kept_train, kept_valid


def _warn_of_groups(train: Table, valid: Table, test: Table, inference: Inference, notes: list[str]) -> None:
    """By time and as given, rows of one group may stand in several parts."""
    column = inference.roles.group
    if column is None:
        return
    learned = {str(row[column]) for row in train.rows if row.get(column) is not None}
    shared = sum(str(row.get(column)) in learned for part in (valid, test) for row in part.rows)
    if shared:
        notes.append(
            f"warning: {shared:,} held-out rows have a {column!r} that is also learned from "
            "(data.split.strategy: grouped keeps them apart)"
        )


def _given_leaks(
    train: Table, valid: Table, test: Table, inference: Inference, config: SplitConfig, notes: list[str]
) -> tuple[Table, Table]:
    """A given split is kept as it is, unless the user wants leaks dropped: from training, and from validation."""
    keys = [[content_key(row, inference.roles) for row in part.rows] for part in (train, valid, test)]
    if not are_copies([key for part in keys for key in part], inference.roles):
        return train, valid
    tested = set(keys[2])
    held = tested | set(keys[1])
    train = _without_leaks(train, held, ("training", "of a held-out row"), inference, config, notes)
    return train, _without_leaks(valid, tested, ("validation", "of a test row"), inference, config, notes)


def _without_leaks(
    part: Table,
    keys: set[bytes],
    words: tuple[str, str],
    inference: Inference,
    config: SplitConfig,
    notes: list[str],
) -> Table:
    kept = _without(part, keys, inference)
    leaked = len(part) - len(kept)
    if not leaked:
        return part
    name, whose = words
    if config.drop_leaks:
        notes.append(f"dropped {leaked:,} {name} rows with the content {whose}")
        return kept
    notes.append(f"warning: {leaked:,} {name} rows have the content {whose} (data.split.drop_leaks removes them)")
    return part


def _without(table: Table, keys: set[bytes], inference: Inference) -> Table:
    return table.take([i for i, row in enumerate(table.rows) if content_key(row, inference.roles) not in keys])


def _moment(row: Mapping[str, Any], column: str, row_id: str) -> float:
    """The moment of a row, in seconds.

    Raises:
        DataError: no date.
    """
    value = row.get(column)
    moment = moment_of(value)
    if moment is None:
        raise DataError(
            f"column {column!r} holds {str(value)[:40]!r}", where=row_id, expected="a date such as 2026-05-11T09:30"
        )
    return moment


def moment_of(value: Any) -> float | None:
    """Seconds of a date, or the number itself, also as text; None where it is neither."""
    moment = parse_time(value)
    if moment is None and isinstance(value, str):
        try:
            moment = float(value)
        except ValueError:
            return None
    return moment
