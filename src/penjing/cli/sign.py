"""`penjing sign`: say who made an artifact."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options
from penjing.core.errors import RecipeError

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sign`."""
    parser.add_argument("artifact", nargs="?", metavar="ARTIFACT", help="the directory a run wrote")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--key", metavar="KEY", help="the private key (PEM)")
    keys.add_argument(
        "--new-key", metavar="KEY", help="make a private key there, the public one in KEY.pub, and use it"
    )
    add_output_options(parser)


def sign(args: argparse.Namespace, console: Console) -> int:
    """Make keys where asked, then sign the artifact that is given."""
    from penjing.core.artifact import open_artifact
    from penjing.core.signing import new_key, read_private_key
    from penjing.core.signing import sign as sign_manifest

    if args.artifact is None and args.new_key is None:
        raise RecipeError(
            "no artifact is given",
            where="penjing sign",
            expected="the directory a run wrote",
            next_step="penjing sign ARTIFACT --key KEY, or make a key first: penjing sign --new-key KEY",
        )
    artifact = None if args.artifact is None else open_artifact(args.artifact)
    public = None if args.new_key is None else new_key(Path(args.new_key))
    signature = None
    if artifact is not None:
        signature = sign_manifest(artifact.path, artifact.manifest, read_private_key(Path(args.new_key or args.key)))
    if console.json:
        paths = {"key": args.new_key, "public_key": public, "signature": signature}
        console.document({name: path and str(path) for name, path in paths.items()})
        return 0
    if public is not None:
        secret = args.new_key
        console.line(console.say(f"private key  {secret} (keep it to yourself)", f"私钥  {secret}（请妥善保管）"))
        console.line(console.say(f"public key   {public}", f"公钥  {public}"))
    if signature is not None:
        console.line(console.say(f"signature    {signature}", f"签名  {signature}"))
    return 0
