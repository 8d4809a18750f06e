"""Rows of a real PostgreSQL server, read through the URL a user would give."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from penjing.core.errors import DataError
from penjing.data.config import DataConfig
from penjing.data.sources import read_table

ROWS = [("The parcel came on time", "good", 4.5), ("包装很好，下次还来", "good", None), ("it's: broken", "bad", 1.0)]


# As root, pgserver adds a user of that name to the machine, and opens the folders above its files and ours to all.
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0 and "PENJING_TEST_POSTGRES" not in os.environ
pytestmark = pytest.mark.skipif(ROOT, reason="as root a user would be added: set PENJING_TEST_POSTGRES=1 to allow it")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a server of our own, with one table and a function that writes."""
    pgserver = pytest.importorskip("pgserver")
    psycopg = pytest.importorskip("psycopg")
    with tempfile.TemporaryDirectory(prefix="pj-", ignore_cleanup_errors=True) as directory:
        try:
            running = pgserver.get_server(directory)
        except subprocess.TimeoutExpired:
            pytest.skip("PostgreSQL did not start within the ten seconds that pgserver gives it")
        try:
            uri = running.get_uri()
            with psycopg.connect(uri) as connection:
                connection.execute("create table reviews (text text, label text, stars numeric)")
                connection.execute(
                    "create function clear_reviews() returns text language sql as 'delete from reviews returning text'"
                )
                connection.cursor().executemany("insert into reviews values (%s, %s, %s)", ROWS)
            yield uri.replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            running.cleanup()


def test_rows_come_as_they_were_put(server: str) -> None:
    table = read_table(DataConfig(source=server, query="select text, label, stars from reviews order by label, text"))
    found = [(row["text"], row["label"], row["stars"]) for row in table.rows]
    assert sorted(found, key=str) == sorted(ROWS, key=str)


def test_a_colon_in_the_query_is_not_a_parameter(server: str) -> None:
    table = read_table(DataConfig(source=server, query="select text, label::text from reviews where text like '%:%'"))
    assert [row["text"] for row in table.rows] == ["it's: broken"]


def test_a_second_statement_is_refused_before_it_is_sent(server: str) -> None:
    for query in (
        "select text, label from reviews; delete from reviews",
        "select '--' as text; commit; delete from reviews",
        "select '/*' as text; commit; delete from reviews where label <> '*/'",
        "select $$'$$ as text; commit; delete from reviews; select $$'$$",
    ):
        with pytest.raises(DataError, match="more than one statement"):
            read_table(DataConfig(source=server, query=query))


def test_a_query_that_writes_is_refused_by_the_server(server: str) -> None:
    for query, answer in (
        ("with gone as (delete from reviews returning text, label) select * from gone", "data-modifying statements"),
        ("select clear_reviews() as text", "cannot execute DELETE in a read-only transaction"),
    ):
        with pytest.raises(DataError, match=answer):
            read_table(DataConfig(source=server, query=query))
    assert len(read_table(DataConfig(source=server, query="select text, label from reviews")).rows) == len(ROWS)


def test_what_the_server_says_is_passed_on_without_the_password(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"column .*nowhere.* does not exist"):
        read_table(DataConfig(source=server, query="select nowhere from reviews"))
    monkeypatch.setenv("SHOP_PASSWORD", "s3cret")
    source = "postgresql+psycopg://clerk:${SHOP_PASSWORD}@127.0.0.1:1/shop"
    with pytest.raises(DataError) as raised:
        read_table(DataConfig(source=source, query="select 1"))
    assert "s3cret" not in str(raised.value)
    assert "127.0.0.1" in str(raised.value)
