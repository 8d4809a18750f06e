"""A data set of the model hub, by id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from penjing.core.errors import DataError, FetchError, MissingExtraError
from penjing.data.columnar import check_row, plain_value
from penjing.data.config import LimitsConfig
from penjing.data.naming import SPLIT_VALUES

_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(#[\w.-]+)?")


def read_hub(identifier: str, limits: LimitsConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("split:number", row) of every split, streamed; class numbers become class names.

    Args:
        identifier: "owner/name", or "owner/name#configuration".
        limits: bounds of a row.

    Raises:
        DataError: not an id.
        FetchError: the hub cannot be reached, or has no such data set.
        MissingExtraError: `datasets` is not installed.
    """
    if not _ID.fullmatch(identifier):
        raise DataError(f"{identifier!r} is not a data set id", where="data.source", expected="hub:owner/name#config")
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hub") from None
    name, _, configuration = identifier.partition("#")
    with _explained(identifier):
        loaded = datasets.load_dataset(name, configuration or None, streaming=True)
    for split, rows in loaded.items():
        features = rows.features or {}
        named = {column: f for column, f in features.items() if isinstance(f, datasets.ClassLabel)}
        tagged = {
            column: f.feature
            for column, f in features.items()
            if isinstance(getattr(f, "feature", None), datasets.ClassLabel)
        }
        for number, raw in enumerate(_fetched(rows, identifier), start=1):
            row = {column: plain_value(value) for column, value in raw.items()}
            for column, feature in named.items():
                # The hub writes -1 where a label is withheld.
                index = row[column]
                row[column] = feature.int2str(index) if index is not None and index >= 0 else None
            for column, feature in tagged.items():
                indices = row[column]
                withheld = indices is None or any(index is None or index < 0 for index in indices)
                row[column] = None if withheld else [feature.int2str(index) for index in indices]
            row.setdefault("split", _part(split))
            yield f"{split}:{number}", check_row(row, f"hub:{identifier}, {split} row {number}", limits)


def _part(split: str) -> str:
    """train, valid or test; "validation_matched" is a validation part, and "unsupervised" rows are set apart later."""
    name = split.lower()
    if name in {"unsupervised", "unlabelled", "unlabeled"}:
        return "train"
    return SPLIT_VALUES.get(name) or SPLIT_VALUES.get(name.partition("_")[0]) or split


def _fetched(rows: Iterable[dict[str, Any]], identifier: str) -> Iterator[dict[str, Any]]:
    """The rows as they come over the network, which may fail at any of them."""
    iterator = iter(rows)
    while True:
        with _explained(identifier):
            row = next(iterator, None)
        if row is None:
            return
        yield row


@contextmanager
def _explained(identifier: str) -> Iterator[None]:
    """Turn what the client raises into a `FetchError` of one line."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (OSError, ValueError, RuntimeError, HTTPError) as error:
        detail = " ".join(str(error).split())[:200]
        raise FetchError(
            f"the hub data set could not be read ({type(error).__name__}: {detail})",
            where=f"hub:{identifier}",
            next_step="check the id and the network, or download the data and give the file",
        ) from None
