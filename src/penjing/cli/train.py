"""`penjing train`: train alone, without the test figures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_run_options, overrides_of

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `train`."""
    add_run_options(parser)


def train(args: argparse.Namespace, console: Console) -> int:
    """Train and export; the sealed test is written, never read."""
    from penjing.evaluate.page.words import metric
    from penjing.pipeline.run import train as train_pipeline
    from penjing.predict.task_file import read_task

    artifact = train_pipeline(
        args.source,
        out=args.out,
        overwrite=args.overwrite,
        overrides=overrides_of(args),
        sign_key=args.sign_key,
        listener=console.listen,
    )
    training = artifact.manifest["training"]
    if console.json:
        console.document({"out": str(artifact.path), "digest": artifact.digest, "training": training})
        return 0
    console.line(str(artifact.path))
    known = read_task(artifact.path).metrics
    rows = [
        (name, metric(value, percent=name in known and known[name].percent))
        for name, value in training["valid"].items()
    ]
    console.table((console.say("validation", "验证集"), ""), rows, right=(1,))
    console.line(console.say(f"next  penjing evaluate {artifact.path}", f"下一步  penjing evaluate {artifact.path}"))
    return 0
