"""Which default settings a figure was measured with, and whether they are still the defaults."""

from __future__ import annotations

import ast
import hashlib
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SPLIT, DIRECT, PROBE, NGRAMS = (
    "src/penjing/data/config.py",
    "src/penjing/train/direct/config.py",
    "src/penjing/train/head_start.py",
    "src/penjing/train/gradient/ngrams.py",
)
# Where the settings of trees and linear models, and how the two are blended, are written.
TABLES = {f"src/penjing/train/direct/{name}.py" for name in ("blend", "boosting", "folds", "linear", "trees")}
# File → the one class that counts, all of it, or all but what only a quote asks for.
FILES: dict[str, str | frozenset[str] | None] = {
    SPLIT: "SplitConfig",
    DIRECT: None,
    PROBE: None,
    NGRAMS: frozenset({"expected_ngrams", "_distinct"}),
    **dict.fromkeys(sorted(TABLES)),
    **dict.fromkeys(f"src/penjing/train/{name}.py" for name in ("config", "defaults", "method")),
}
# Tables are learned without gradients; token classification has no head that starts from a probe, and no n-grams.
FILES_OF = {"german_credit": {SPLIT, DIRECT, *TABLES}, "fewfc": set(FILES) - {DIRECT, PROBE, NGRAMS, *TABLES}}


@cache
def digest(benchmark: str, commit: str | None = None) -> str | None:
    """sha256 of the code of the default settings that bear on a benchmark, words about them left out.

    Args:
        benchmark: its name.
        commit: of the files; None: as they are now.

    Returns:
        None where git does not know the commit, or one of the files in it.
    """
    found = hashlib.sha256()
    chosen = FILES_OF.get(benchmark, set(FILES) - TABLES)
    for name, wanted in ((name, wanted) for name, wanted in FILES.items() if name in chosen):
        try:
            text = (ROOT / name).read_text(encoding="utf-8") if commit is None else _git("show", f"{commit}:{name}")
        except subprocess.CalledProcessError:
            return None
        tree = ast.parse(text)
        if isinstance(wanted, str):
            tree.body = [part for part in tree.body if getattr(part, "name", None) == wanted]
        elif wanted is not None:
            tree.body = [part for part in tree.body if getattr(part, "name", None) not in wanted]
        found.update(ast.unparse(_WithoutWords().visit(tree)).encode())
    return found.hexdigest()


def measured(document: dict[str, Any]) -> set[str | None]:
    """The digests of the defaults a benchmark's steps were measured with; a rival's do not depend on any."""
    return {step.get("defaults") for step in document["steps"].values() if not step.get("rival")}


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings and descriptions; comments are no part of the tree."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [word for word in node.keywords if word.arg != "description"]
        return self.generic_visit(node)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
