"""Rows of an SQL database by URL: one SELECT, in a transaction that cannot write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError, MissingExtraError
from penjing.data.columnar import check_row, plain_value
from penjing.data.config import LimitsConfig

_URL = re.compile(r"^[a-z][a-z0-9]*(\+[a-z0-9_]+)?://", re.IGNORECASE)
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET TRANSACTION READ ONLY",
    "mysql": "SET TRANSACTION READ ONLY",
    "mariadb": "SET TRANSACTION READ ONLY",
}


def is_database_url(source: str) -> bool:
    """Whether the source is a URL, such as postgresql://... or sqlite:///file.db."""
    return bool(_URL.match(source))


def read_database(source: str, query: str | None, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, row) of a query's result.

    ``${NAME}`` in the URL is replaced by that environment variable, so that recipes hold no password.

    Raises:
        DataError: not one SELECT, a dialect without read-only transactions, no connection, or an SQL error.
        MissingExtraError: SQLAlchemy or the database's driver is not installed.
    """
    try:
        import sqlalchemy as sql
    except ImportError:
        raise MissingExtraError("sqlalchemy", "data") from None
    try:
        url = sql.engine.make_url(_with_environment(source))
    except (sql.exc.ArgumentError, ValueError):
        raise DataError("not a database URL", where="data.source", expected="dialect://user:${NAME}@host/db") from None
    shown = _without_password(source)
    dialect = url.get_backend_name()
    if dialect not in _READ_ONLY:
        raise DataError(f"{dialect!r} is not read", where=shown, expected="one of " + ", ".join(sorted(_READ_ONLY)))
    if dialect == "sqlite" and not Path(url.database or "").is_file():
        raise DataError("no such database file", where=shown, next_step="check the path")
    statement = _checked_query(query, shown)
    try:
        engine = sql.create_engine(url)
    except ModuleNotFoundError as error:
        raise DataError(
            f"the database driver {error.name!r} is not installed", where=shown, next_step=f"pip install {error.name}"
        ) from None
    try:
        yield from _rows(engine, dialect, statement, shown, limits)
    except sql.exc.SQLAlchemyError as error:
        detail = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        raise DataError(f"the database answered: {detail}", where=shown, next_step="check data.query") from None
    finally:
        engine.dispose()


def _rows(
    engine: Any, dialect: str, statement: str, shown: str, limits: LimitsConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    import sqlalchemy as sql

    with engine.connect() as connection:
        connection.execute(sql.text(_READ_ONLY[dialect]))
        # A colon in the query is the user's, not a bind parameter.
        result = connection.execution_options(stream_results=True).execute(sql.text(statement.replace(":", r"\:")))
        names = list(result.keys())
        if len(set(names)) < len(names):
            raise DataError("duplicate column names in the result", where=shown, next_step="name them with AS")
        for number, record in enumerate(result.yield_per(1_024), start=1):
            row = {name: plain_value(value) for name, value in zip(names, record, strict=True)}
            yield number, check_row(row, f"{shown}, row {number}", limits)
        connection.rollback()


def _without_password(source: str) -> str:
    """The URL as it was written, ``${NAME}`` and all, so that no value of the environment comes into a message."""
    masked = re.sub(r"(://[^/:]*:)(?!\$\{)[^@]*@", r"\1***@", source)
    return re.sub(r"([?&;](?:password|passwd|pwd)=)(?!\$\{)[^&;]*", r"\1***", masked, flags=re.IGNORECASE)


def _with_environment(source: str) -> str:
    from urllib.parse import quote

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise DataError(
                f"the environment variable {name} is not set",
                where="data.source",
                next_step=f"set it before you call penjing: export {name}=...",
            )
        return quote(os.environ[name], safe="")

    return re.sub(r"\$\{(\w+)\}", value, source)


def _checked_query(query: str | None, shown: str) -> str:
    if not query or not query.strip():
        raise DataError("data.query is missing", where=shown, expected="a SELECT statement")
    statement = query.strip().rstrip(";").rstrip()
    # What is a string, a comment or a quoted name differs between databases: no semicolon is let through in any.
    if ";" in statement:
        raise DataError(
            "more than one statement, or a semicolon inside of one",
            where="data.query",
            expected="one SELECT statement",
            next_step="leave the semicolon out; in a text or a pattern, write CHR(59) (CHAR(59) in MySQL and SQLite)",
        )
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", statement, flags=re.DOTALL).strip()
    if not re.match(r"\(*\s*(select|with)\b", text, re.IGNORECASE):
        first = (text.split() or ["an empty text"])[0]
        raise DataError(f"{first!r} is not a query", where="data.query", expected="one SELECT statement")
    return statement
