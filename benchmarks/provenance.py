"""Where a figure comes from: the machine, its libraries, and the commit that was measured."""

from __future__ import annotations

import ast
import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penjing.evaluate.hardware import describe_hardware

ROOT = Path(__file__).resolve().parent.parent
_TRAIN = ("config", "defaults", "direct/config", "head_start", "method")
_DEFAULTS = ("src/penjing/data/config.py", *(f"src/penjing/train/{name}.py" for name in _TRAIN))


def environment() -> dict[str, Any]:
    """The machine, its libraries, and the default settings: the commit that last touched them, and what they are."""
    frozen = _git("log", "-1", "--format=%H %cI", "--", *_DEFAULTS)
    machine = describe_hardware().model_dump(mode="json")
    return {**machine, "defaults_commit": frozen, "defaults": defaults_digest()}


def defaults_digest(commit: str | None = None) -> str | None:
    """sha256 of the code of the default settings, words about them left out.

    Args:
        commit: of the files; None: as they are now.

    Returns:
        None where git does not know the commit, or one of the files in it.
    """
    digest = hashlib.sha256()
    for name in _DEFAULTS:
        try:
            text = (ROOT / name).read_text(encoding="utf-8") if commit is None else _git("show", f"{commit}:{name}")
        except subprocess.CalledProcessError:
            return None
        digest.update(ast.unparse(_WithoutWords().visit(ast.parse(text))).encode())
    return digest.hexdigest()


class _WithoutWords(ast.NodeTransformer):
    """Drops docstrings and descriptions; comments are no part of the tree."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [word for word in node.keywords if word.arg != "description"]
        return self.generic_visit(node)


def source_state() -> dict[str, Any]:
    """The commit being measured, whether its files are as committed, and the time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    clean = not _git("status", "--porcelain", "--", "src", "benchmarks")
    return {"commit": _git("rev-parse", "HEAD"), "clean": clean, "finished": now}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
