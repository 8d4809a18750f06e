"""The command line: one module a verb; `verbs.VERBS` says which. Start-up imports neither numpy nor torch."""

from penjing.cli.entry import main

__all__ = ["main"]
