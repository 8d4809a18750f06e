"""`penjing completion`: a script that teaches a shell the verbs and options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options

if TYPE_CHECKING:
    from penjing.cli.console import Console

SHELLS = ("bash", "zsh", "fish")
_INSTALL = {
    "bash": "penjing completion bash > ~/.local/share/bash-completion/completions/penjing",
    "zsh": "penjing completion zsh > a directory of your fpath, as _penjing",
    "fish": "penjing completion fish > ~/.config/fish/completions/penjing.fish",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `completion`."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["to install:", *(f"  {line}" for line in _INSTALL.values())])
    add_output_options(parser)


def completion(args: argparse.Namespace, console: Console) -> int:
    """Print the script."""
    import shtab

    from penjing.cli.parser import build_parser

    script = shtab.complete(build_parser(), shell=args.shell)
    if console.json:
        console.document({"shell": args.shell, "script": script, "install": _INSTALL[args.shell]})
    else:
        console.block(script)
    return 0
