"""Macro-F1 on GoEmotions with Ekman's emotions, several labels a comment.

python benchmarks/goemotions.py                 # about twenty minutes on two cores
python benchmarks/goemotions.py --smoke
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation_data import ENGLISH, goemotions, shrunk, write_parts
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from measured_run import discard, measured_run

ABOUT = """
`penjing.run` with default settings on GoEmotions at the level of Ekman's emotions: 43,410 Reddit comments to train on,
5,426 for validation and 5,427 to test, as published; anger, disgust, fear, joy, sadness, surprise and neutral, one or
several a comment; model minilm-l6-en. Macro-F1 is over the seven labels.
"""
HALF = 0.5


def main() -> None:
    arguments = option_parser(__doc__.splitlines()[0], "goemotions", ENGLISH).parse_args()
    benchmark = Benchmark("goemotions", "GoEmotions (Ekman), several labels", ABOUT, arguments)
    parts = goemotions(arguments.data)
    overrides: dict[str, Any] = {"model": arguments.model}
    if arguments.smoke:
        parts, overrides = shrunk(parts), overrides | SMOKE

    def measure() -> dict[str, Any]:
        source, columns = write_parts(parts, arguments.work / "data")
        out = arguments.work / "model"
        outcome = measured_run(source, out, overrides | columns, keep=True)
        decision = thresholds(out)
        discard(out)
        kept = {name: outcome[name] for name in ("metrics", "rows", "fingerprint", "train_minutes", "valid", "train")}
        return kept | {"thresholds": decision}

    benchmark.finish(*summary(benchmark.step("default run", measure)))


def thresholds(out: Path) -> dict[str, float]:
    """Label → probability from which the artifact gives it."""
    import penjing

    task = penjing.load(out).task
    return dict(zip(task.labels, task.decision.thresholds, strict=True))


def summary(run: dict[str, Any]) -> tuple[list[Figure], list[TableOf], list[str]]:
    """The test metrics, and how labels were decided."""
    metrics = run["metrics"]
    figures = [
        Figure(f"{name}, %", *(100 * metrics[key][part] for part in ("value", "low", "high")), target=target)
        for name, key, target in (
            ("macro-F1", "macro_f1", 62.4),
            ("micro-F1", "micro_f1", None),
            ("F1 of a comment's labels, mean", "samples_f1", None),
            ("comments with exactly the right labels", "subset_accuracy", None),
        )
    ]
    chosen = any(value != HALF for value in run["thresholds"].values())
    how = (
        "Each label has a threshold of its own, chosen by the run on the validation rows."
        if chosen
        else "Every threshold is 0.5: the run did not choose thresholds on the validation rows."
    )
    rows = [[label, f"{value:.3f}"] for label, value in run["thresholds"].items()]
    return figures, [TableOf("Thresholds", ("label", "given from this probability on"), rows)], [how, _rows(run)]


def _rows(run: dict[str, Any]) -> str:
    rows = run["rows"]
    return (
        f"{rows['train']:,} training, {rows['valid']:,} validation and {rows['test']:,} test rows; "
        f"{run['train_minutes']:.1f} minutes of training."
    )


if __name__ == "__main__":
    main()
