"""`penjing check`: what is wrong with the data, and what to do about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_recipe_options, add_source, overrides_of

if TYPE_CHECKING:
    from penjing.cli.console import Console
    from penjing.data.check import CheckReport

# Findings whose examples are the user's own texts and nothing else, which are not for translating.
_QUOTING = {"control-characters", "wrong-decoding", "html-tags", "language-mix", "conflicting-label", "unusable-label"}
_MARKS = {"error": "✗", "warning": "!", "info": "·"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`."""
    add_source(parser)
    add_recipe_options(parser)
    add_output_options(parser)


def check(args: argparse.Namespace, console: Console) -> int:
    """Show every finding; a finding that stands in the way of training is a mistake of the data, and exits with 2."""
    from penjing.api import check as check_data

    found = check_data(args.source, overrides=overrides_of(args), listener=console.listen)
    if console.json:
        console.document(found.to_json())
    else:
        _show(console, found)
    return 0 if found.ok else 2


def _show(console: Console, found: CheckReport) -> None:
    for sentence in found.explanation:
        console.line(console.tell(sentence))
    console.line()
    for finding in found.findings:
        counted = f" ({finding.count:,}, {finding.share:.1%})" if finding.count else ""
        console.line(f"{_MARKS[finding.severity]} {console.tell(finding.message)}{counted}")
        for example in finding.examples:
            detail = example.detail if finding.code in _QUOTING else console.tell(example.detail)
            console.line(f"    {example.row_id}: {detail}")
        if finding.what_to_do != "nothing":
            console.line(f"    → {console.tell(finding.what_to_do)}")
    for name, reason in found.skipped.items():
        zh = f"· 未检查：{console.tell(name)}（{console.tell(reason)}）"
        console.line(console.say(f"· not checked: {name} ({reason})", zh))
    if not found.findings:
        console.line(console.say("nothing found", "未发现问题"))
    console.line()
    rows, seconds = f"{found.num_rows:,}", f"{found.seconds:.1f}"
    console.line(console.say(f"{rows} rows in {seconds} s", f"{rows} 行，用时 {seconds} 秒"))
