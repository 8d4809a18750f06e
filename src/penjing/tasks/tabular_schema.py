"""Columns of a table → one float32 matrix, learned from training rows only.

Numbers stay numbers, clipped to the range seen in training, so that neither a typing error nor 1e300 reaches a linear
model. Categories become one 0/1 feature each; rare and unseen ones share "other". Dates become days, month and weekday.
A missing value is NaN in every numeric feature, and all zeros but "missing" in a categorical one. No label is read
here: statistics of the label belong to the model, which can be cross-fitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from penjing.core.errors import DataError
from penjing.core.task import Batch, Roles, TensorSpec
from penjing.data.numbers import MISSING_NUMBER, is_missing, parse_number

MAX_CATEGORIES = 40
MIN_CATEGORY_ROWS = 3
MAX_FEATURES = 2_000
MAX_VALUE_CHARS = 200
_DAY_ONE = date(1970, 1, 1).toordinal()
DATE_PARTS = ("days", "month", "weekday")
Kind = Literal["numeric", "categorical", "date"]


@dataclass(frozen=True, slots=True)
class Column:
    """What is known of one input column.

    Args:
        name: as in the rows.
        kind: how its values become features.
        low: least number seen in training (numeric) or earliest day (date).
        high: greatest one.
        categories: kept categories, most frequent first.
        other: whether training rows held further, rarer categories; unseen ones then share that feature.
        missing: whether training rows lacked a value.
    """

    name: str
    kind: Kind
    low: float = 0.0
    high: float = 0.0
    categories: tuple[str, ...] = ()
    other: bool = False
    missing: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features it gives."""
        if self.kind == "numeric":
            return (self.name,)
        if self.kind == "date":
            return tuple(f"{self.name}.{part}" for part in DATE_PARTS)
        extra = (("other",) if self.other else ()) + (("missing",) if self.missing else ())
        return tuple(f"{self.name}={value}" for value in self.categories + extra)


@dataclass(frozen=True)
class TabularSchema:
    """The columns of a task's input, in order."""

    columns: tuple[Column, ...]

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(features=tuple(column.name for column in self.columns))

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The model's one input."""
        return (TensorSpec("features", ("batch", len(self.features)), "float32"),)

    @property
    def longest(self) -> None:
        """Every row is of the same length."""
        return None

    @property
    def features(self) -> tuple[str, ...]:
        """Name of each column of the encoded matrix."""
        return tuple(name for column in self.columns for name in column.features)

    def lengths(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """[N] ones: every row costs the same."""
        return np.ones(len(rows), np.int64)

    def encode(self, rows: Sequence[Mapping[str, Any]], *, again: bool = False) -> Batch:
        """Rows → `features`, see `matrix`; nothing is gained by remembering rows that come `again`."""
        return {"features": self.matrix(rows)}

    def files(self) -> dict[str, Path]:
        """None needed."""
        return {}

    def matrix(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Rows → [N, F] float32, NaN where a number or a date is missing.

        Raises:
            DataError: a column is absent, or a value cannot be read as the column's kind.
        """
        if not rows:
            return np.zeros((0, len(self.features)), np.float32)
        return np.concatenate([_encode_column(column, rows) for column in self.columns], axis=1)


def learn_schema(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> TabularSchema:
    """Decide the kind, the categories and the bounds of each named column from training rows.

    Columns with a single value carry nothing and are left out.

    Raises:
        DataError: no column is left, a column is absent, or there are too many features.
    """
    columns = [_learn_column(name, [_value(row, name, i) for i, row in enumerate(rows)]) for name in names]
    schema = TabularSchema(tuple(column for column in columns if column is not None))
    if not schema.columns:
        raise DataError(
            f"no feature column has two different values (looked at {len(names)})",
            expected="at least one column that varies",
            next_step="name the feature columns in the recipe",
        )
    if len(schema.features) > MAX_FEATURES:
        raise DataError(f"{len(schema.features)} features", expected=f"at most {MAX_FEATURES}")
    return schema


def parse_day(value: Any) -> float | None:
    """Days since 1970-01-01 of an ISO date or date-time ("2024-05-01", "2024/05/01 13:00"); None if it is none.

    The day is the one in UTC where a time zone is given, of text and of `datetime` alike.
    """
    if isinstance(value, datetime):
        value = value.astimezone(UTC).date() if value.tzinfo else value.date()
    if isinstance(value, date):
        return float(value.toordinal() - _DAY_ONE)
    if not isinstance(value, str) or not 8 <= len(value.strip()) <= 40:
        return None
    try:
        moment = datetime.fromisoformat(value.strip().replace("/", "-"))
    except ValueError:
        return None
    return parse_day(moment)


def _value(row: Mapping[str, Any], name: str, index: int) -> Any:
    try:
        return row[name]
    except KeyError:
        raise DataError(
            f"column {name!r} is absent",
            where=f"row {index}",
            expected="every feature column in every row, empty where the value is not known",
        ) from None


def _learn_column(name: str, values: list[Any]) -> Column | None:
    known = [value for value in values if not is_missing(value, MISSING_NUMBER)]
    missing = len(known) < len(values)
    for kind, parse in (("numeric", parse_number), ("date", parse_day)):
        numbers = _parse_all(known, parse)
        if numbers:
            low, high = min(numbers), max(numbers)
            limit = float(np.finfo(np.float32).max)
            low, high = max(low, -limit), min(high, limit)
            return Column(name, kind, low, high, missing=missing) if low < high or missing else None  # type: ignore[arg-type]
    known = [value for value in values if not is_missing(value)]
    return _learn_categories(name, [_category(value, name) for value in known], len(known) < len(values))


def _parse_all(values: list[Any], parse: Any) -> list[float] | None:
    numbers = []
    for value in values:
        number = parse(value)
        if number is None:
            return None
        numbers.append(number)
    return numbers


def _learn_categories(name: str, values: list[str], missing: bool) -> Column | None:
    counts = Counter(values)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = tuple(value for value in ranked[:MAX_CATEGORIES] if counts[value] >= MIN_CATEGORY_ROWS)
    if not kept or (len(ranked) == 1 and not missing):
        return None
    return Column(name, "categorical", categories=kept, other=len(kept) < len(ranked), missing=missing)


def _category(value: Any, name: str) -> str:
    text = " ".join(str(value).split())
    if len(text) > MAX_VALUE_CHARS:
        raise DataError(
            f"a value of {len(text)} characters in column {name!r} of categories",
            expected=f"at most {MAX_VALUE_CHARS} characters",
            next_step="leave this column out of the features, or use a text task for it",
        )
    return text


def _encode_column(column: Column, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    values = [_value(row, column.name, i) for i, row in enumerate(rows)]
    if column.kind == "categorical":
        return _encode_categories(column, values)
    parse = parse_number if column.kind == "numeric" else parse_day
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        if is_missing(value, MISSING_NUMBER):
            continue
        number = parse(value)
        if number is None:
            raise DataError(
                f"{str(value)[:60]!r} in column {column.name!r} is not a "
                f"{'number' if column.kind == 'numeric' else 'date'}",
                where=f"row {i}",
                expected="the kind of value the model was trained on, or nothing where it is not known",
                next_step="correct or empty the cell",
            )
        numbers[i] = number
    if column.kind == "date":
        return _date_parts(numbers, column)
    return np.clip(numbers, column.low, column.high).astype(np.float32)[:, None]


def _date_parts(days: np.ndarray, column: Column) -> np.ndarray:
    parts = np.full((len(days), len(DATE_PARTS)), np.nan, np.float32)
    for i in np.flatnonzero(~np.isnan(days)):
        day = date.fromordinal(int(days[i]) + _DAY_ONE)
        parts[i] = (min(max(days[i], column.low), column.high), day.month, day.weekday())
    return parts


def _encode_categories(column: Column, values: list[Any]) -> np.ndarray:
    encoded = np.zeros((len(values), len(column.features)), np.float32)
    place = {value: i for i, value in enumerate(column.categories)}
    other = len(column.categories) if column.other else None
    missing = encoded.shape[1] - 1 if column.missing else other
    for i, value in enumerate(values):
        at = missing if is_missing(value) else place.get(_category(value, column.name), other)
        if at is not None:
            encoded[i, at] = 1.0
    return encoded
