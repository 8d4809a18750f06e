"""The documents say what is true: commands parse, names exist, links lead somewhere, both READMEs say the same."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import penjing
from penjing.cli.options import budget_of, overrides_of, settings_of
from penjing.cli.parser import parse
from penjing.cli.verbs import VERBS
from penjing.core import registry
from penjing.core.recipe import parse_recipe, read_recipe, recipe_type
from penjing.core.task import Roles, Table
from penjing.data.catalog import DEMOS
from penjing.data.infer import infer
from penjing.models.entries import ENTRIES
from penjing.pipeline.plan import resolve

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh.md")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
RECIPES = sorted(ROOT.glob("recipes/**/*.y*ml"))
NAME = re.compile(r"`(penjing(?:\.\w+)+:\w+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language; `sh` is what a reader types, `console` what a terminal showed."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def typed(text: str) -> list[str]:
    """Every command a page shows."""
    shown = [line for block in blocks(text, "sh") for line in block.splitlines() if line.strip()]
    return shown + [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line[:2] == "$ "]


def commands() -> Iterator[Any]:
    for page in PAGES:
        for i, line in enumerate(typed(page.read_text(encoding="utf-8"))):
            yield pytest.param(line, id=f"{page_id(page)}-{i}")
    for recipe in RECIPES:
        for i, line in enumerate(re.findall(r"^# +(penjing .*?)(?: {2,}#.*)?$", read(page_id(recipe)), re.MULTILINE)):
            yield pytest.param(line, id=f"{page_id(recipe)}-{i}")


def check_penjing(words: list[str]) -> None:
    chosen = parse(words)
    given = getattr(chosen, "source", None)
    if given is not None and (ROOT / "recipes") in (ROOT / given).parents:
        assert (ROOT / given).is_file()
    if hasattr(chosen, "settings"):
        read = overrides_of if hasattr(chosen, "recipe_task") else settings_of
        resolve("data.csv", read(chosen) | (budget_of(chosen) if hasattr(chosen, "budget") else {}))


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", read("Makefile"), re.MULTILINE))
    assert set(words) <= targets


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    found = re.fullmatch(r"\.\[([\w,]+)\]", words[1])
    assert found and set(found[1].split(",")) <= set(extras)


def check_python(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "penjing": check_penjing,
    "make": check_make,
    "pip": check_pip,
    "python": check_python,
}


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_exists(line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    CHECKS[program](words)


def test_a_wrong_command_would_be_found() -> None:
    for words in (["runn", "x.csv"], ["run", "x.csv", "--nonsense"], ["run", "x.csv", "--set", "train.nonsense=1"]):
        with pytest.raises(penjing.RecipeError):
            check_penjing(words)
    with pytest.raises(AssertionError):
        check_make(["nonsense"])


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_function_named_exists(page: Path) -> None:
    pytest.importorskip("torch")
    for target in NAME.findall(page.read_text(encoding="utf-8")):
        registry.load(target)


def test_concepts_and_tutorial_name_functions() -> None:
    assert len(set(NAME.findall(read("docs/concepts.md")))) >= 20
    assert len(set(NAME.findall(read("docs/tutorial.md")))) >= 10


def slug(heading: str) -> str:
    """The anchor that a heading gets on a page."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target} does not exist"
        assert path.is_relative_to(ROOT)
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{target}: no such heading"


def test_the_index_lists_every_page() -> None:
    listed = {(ROOT / "docs" / target).resolve() for target in LINK.findall(read("docs/README.md"))}
    benchmark_pages = set(ROOT.glob("docs/benchmarks/*.md"))  # the index is made from their JSON
    missing = {path for path in PAGES if path.name != "README.md"} - benchmark_pages - listed
    assert not missing


def test_both_readmes_have_the_same_sections_commands_and_links() -> None:
    english, chinese = (read(name) for name in READMES)
    for pattern in (r"^(#+) ", r"^(- )", r"^(\|(?: `[^`]*`|---))", r"^  (\w+/)  ", r"^(\w+/)  "):
        found = [re.findall(pattern, text, re.MULTILINE) for text in (english, chinese)]
        assert found[0] == found[1], pattern
        assert found[0], pattern
    assert typed(english) == typed(chinese)
    assert blocks(english, "python") == blocks(chinese, "python")
    assert len(blocks(english, "python")) >= 1
    bare = [[re.sub(r" +#.*", "", block) for block in blocks(text, "yaml")] for text in (english, chinese)]
    assert bare[0] == bare[1]
    links = [set(LINK.findall(text)) for text in (english, chinese)]
    assert {link.replace(".en.png", ".zh.png") for link in links[0]} - {"README.zh.md"} == links[1] - {"README.md"}
    # No paragraph was left untranslated.
    plain = [
        line for line in prose(chinese).splitlines() if len(line) > 60 and not line.startswith(("|", "<!--", "```"))
    ]
    assert all(re.search(r"[\u4e00-\u9fff]{4}", line) for line in plain)


@pytest.mark.parametrize("name", READMES)
def test_the_readme_lists_what_there_is(name: str) -> None:
    text = read(name)
    assert re.findall(r"^\| `penjing (\w+)` \|", text, re.MULTILINE) == list(VERBS)
    tree = blocks(text, "text")[0]
    packages = {path.parent.name for path in ROOT.glob("src/penjing/*/__init__.py")}
    assert set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) == packages
    assert all((ROOT / folder).is_dir() for folder in re.findall(r"^(\w+)/ ", tree, re.MULTILINE))
    demo = re.search(r"^DEMO_ROWS \?= (\d+)$", read("Makefile"), re.MULTILINE)
    assert demo is not None and f"{int(demo[1]):,}" in text
    licences = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \| ([^|]*) \|$", text, re.MULTILINE))
    known = {entry.name: entry.licence for entry in ENTRIES.values()}
    assert licences == known | {demo: about.licence for demo, about in DEMOS.items()}


def python_blocks() -> Iterator[Any]:
    for name in (*READMES, "docs/tutorial.md"):
        for i, block in enumerate(blocks(read(name), "python")):
            yield pytest.param(block, id=f"{name}-{i}")


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_snippets_compile_and_fit_the_functions_they_call(block: str) -> None:
    # `return` is allowed: a snippet may be the body of a function.
    indented = "\n".join(f"    {line}" for line in block.splitlines())
    tree = ast.parse(f"def snippet():\n{indented}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id == "penjing":
            function = getattr(penjing, node.func.attr)
            options = {word.arg: None for word in node.keywords if word.arg}
            inspect.signature(function).bind(*[None] * len(node.args), **options)
            for word in node.keywords:
                if word.arg == "overrides":
                    assert isinstance(word.value, ast.Dict)
                    keys = [key.value for key in word.value.keys if isinstance(key, ast.Constant)]
                    assert keys and all(key_exists(str(key)) for key in keys)


def key_exists(key: str) -> bool:
    model: Any = recipe_type()
    for part in key.split("."):
        if part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


def test_the_readme_snippet_reads_what_a_report_has() -> None:
    assert not key_exists("budget.p95")
    fields: Any = penjing.RunResult.__dataclass_fields__
    assert {"report", "out", "artifact"} <= set(fields)
    evaluation = penjing.Report.model_fields["evaluation"].annotation
    assert evaluation is not None and "metrics" in evaluation.model_fields


def test_the_tutorial_quotes_the_examples() -> None:
    examples = {line.strip() for path in (ROOT / "examples").glob("*.py") for line in read(page_id(path)).splitlines()}
    quoted = [line.strip() for block in blocks(read("docs/tutorial.md"), "python") for line in block.splitlines()]
    assert len(quoted) >= 10
    assert [line for line in quoted if line not in examples] == []


@pytest.mark.parametrize("name", READMES)
def test_recipes_of_the_readme_are_valid(name: str) -> None:
    import yaml

    found = blocks(read(name), "yaml")
    assert found
    for block in found:
        parse_recipe(yaml.safe_load(block))


def test_there_is_a_recipe_for_each_kind_of_task() -> None:
    assert len(RECIPES) == 8
    assert {read_recipe(path).task for path in RECIPES} == set(registry.TASKS)


@pytest.mark.parametrize("path", RECIPES, ids=page_id)
def test_a_recipe_fits_rows_of_its_kind(
    path: Path, task_rows: Callable[[str], tuple[list[dict[str, Any]], Roles]]
) -> None:
    recipe = resolve(path)
    columns = recipe.stage("data").columns
    rows, roles = task_rows(recipe.task + ("/multi-label" if columns.label_separator else ""))
    names = {
        given: getattr(columns, role)
        for role in ("text", "text_pair", "label", "spans")
        if (given := getattr(roles, role))
    }
    names |= dict(zip(roles.features, columns.features or (), strict=False))
    assert all(names.values()), "the recipe names every column that its task needs"
    table = []
    for i, row in enumerate(rows):
        renamed = {names.get(name, name): value for name, value in row.items()}
        if columns.label_separator and columns.label:
            renamed[columns.label] = columns.label_separator.join(row["labels"])
        extra = {columns.group: f"customer {i // 3}", columns.time: f"2024-05-{i % 28 + 1:02}"}
        others = dict.fromkeys((columns.features or ())[len(roles.features) :], i)
        table.append({**others, **renamed, **{name: value for name, value in extra.items() if name}})
    ids = [str(i) for i in range(len(table))]
    found = infer(Table(table, ids, path.name), columns, recipe.task)
    assert found.task_kind == recipe.task
    named = {role: getattr(columns, role) for role in ("text", "text_pair", "label", "spans", "group", "time")}
    assert replace(found.roles, **named, features=()) == replace(found.roles, features=())
    assert (found.label is not None and found.label.kind == "sets") == (columns.label_separator is not None)
