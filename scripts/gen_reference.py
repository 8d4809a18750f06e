"""Writes docs/cli.md and docs/recipe.md from the code. With --check, only says whether they are fresh."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from penjing.cli.reference import cli_reference, recipe_reference

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(argv: list[str] | None = None) -> int:
    """Write or check the generated documents; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a file is stale")
    args = parser.parse_args(argv)
    stale = []
    for name, text in (("cli.md", cli_reference()), ("recipe.md", recipe_reference())):
        path = DOCS / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not args.check:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'stale' if args.check else 'written'}: {', '.join(stale)}")
        if args.check:
            print("run: python scripts/gen_reference.py")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
