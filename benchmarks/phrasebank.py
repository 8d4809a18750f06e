"""Accuracy and macro-F1 on Financial PhraseBank (50Agree) over five committed splits.

python benchmarks/phrasebank.py                 # some minutes a split on two cores
python benchmarks/phrasebank.py --smoke
"""

from __future__ import annotations

from typing import Any

from evaluation_data import MULTILINGUAL, Rows, phrasebank_rows, phrasebank_splits, shrunk, write_parts
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from intervals import resampled_interval
from measured_run import measured_run

ABOUT = """
`penjing.run` with default settings on the 4,846 sentences of Financial PhraseBank on whose sentiment at least half of
the annotators agree, model e5-small-multilingual, which beat minilm-l6-en on training rows of the first split held out
(85.4 against 83.5; docs/log.md). Five stratified 80/20 splits, written down in
benchmarks/phrasebank_splits.json (seeds, and digests of the rows and of each test part). Intervals of the means use the
corrected resampled t statistic (Nadeau and Bengio 2003), for the splits share rows.
"""
TEST_SHARE = 0.2


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "phrasebank", MULTILINGUAL)
    parser.add_argument("--splits", type=int, default=5, help="how many of the committed splits")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.splits = 1
    benchmark = Benchmark("phrasebank", "Financial PhraseBank 50Agree", ABOUT, arguments)
    rows = phrasebank_rows(arguments.data)
    splits = phrasebank_splits(rows)[: arguments.splits]

    def one(number: int) -> dict[str, Any]:
        train, test = splits[number]
        parts = {"train": [rows[i] for i in train], "test": [rows[i] for i in test]}
        overrides: dict[str, Any] = {"model": arguments.model}
        if arguments.smoke:
            parts, overrides = shrunk(parts), overrides | SMOKE
        source, columns = write_parts(parts, arguments.work / f"split-{number}")
        outcome = measured_run(source, arguments.work / f"model-{number}", overrides | columns)
        kept = {name: outcome[name] for name in ("metrics", "rows", "fingerprint", "train_minutes", "valid", "train")}
        return kept | {"copies": copies(parts["train"], parts["test"])}

    runs = [benchmark.step(f"split {number}", lambda n=number: one(n)) for number in range(len(splits))]
    benchmark.finish(*summary(runs))


def copies(train: Rows, test: Rows) -> int:
    """Test rows whose text is also a training row."""
    known = {row["text"] for row in train}
    return sum(row["text"] in known for row in test)


def summary(runs: list[dict[str, Any]]) -> tuple[list[Figure], list[TableOf], list[str]]:
    """Means over the splits, and each of them."""
    figures = [
        Figure(f"{words}, mean of {len(runs)} splits, %", *_over(runs, name), target=target)
        for name, words, target in (("accuracy", "accuracy", 88.0), ("macro_f1", "macro-F1", 86.0))
    ]
    rows = [
        [
            str(number),
            *(_with_interval(run["metrics"][name]) for name in ("accuracy", "macro_f1")),
            f"{run['train_minutes']:.1f}",
            str(run["copies"]),
        ]
        for number, run in enumerate(runs)
    ]
    columns = ("split", "accuracy, %", "macro-F1, %", "training, min", "test rows that are also training rows")
    notes = ["Copies are left as the publisher has them; the last column says how many."]
    return figures, [TableOf("Splits", columns, rows)], notes


def _over(runs: list[dict[str, Any]], name: str) -> tuple[float, float | None, float | None]:
    return resampled_interval([100 * run["metrics"][name]["value"] for run in runs], TEST_SHARE)


def _with_interval(metric: dict[str, float]) -> str:
    return f"{100 * metric['value']:.2f} ({100 * metric['low']:.2f} to {100 * metric['high']:.2f})"


if __name__ == "__main__":
    main()
