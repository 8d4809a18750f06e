"""Runs every check over one source of data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from penjing.core.errors import CapabilityError, DataError, MissingExtraError
from penjing.core.events import Listener, Progress, ignore
from penjing.core.task import Table
from penjing.data.check import duplicates, label_errors, labels, texts
from penjing.data.check.report import CheckReport, Finding, Material, ranked
from penjing.data.check.texts import TokensOf
from penjing.data.config import DataConfig
from penjing.data.conform import conform
from penjing.data.infer import infer
from penjing.data.prepare import Prepared, language_of
from penjing.data.sources import read_table
from penjing.data.split import by_column

Check = Callable[[], Iterator[Finding]]


def check(
    prepared: Prepared, tokens_of: TokensOf | None = None, *, seed: int = 42, listener: Listener = ignore
) -> CheckReport:
    """Check data that `prepare` has split. Labels of the sealed test are not read.

    Args:
        prepared: the data.
        tokens_of: language → the model whose tokens count; without it, lengths are estimated from characters.
        seed: of folds and hash functions.
        listener: told of progress.
    """
    splits = prepared.splits
    readable = Table(
        splits.train.rows + splits.valid.rows, splits.train.row_ids + splits.valid.row_ids, splits.train.name
    )
    material = Material(
        readable,
        prepared.inference,
        num_train=len(splits.train),
        sealed=splits.open_test("check"),
        without_text=prepared.without_text,
        unlabelled=tuple(prepared.unlabelled.row_ids),
        divided=True,
        task_given=True,  # or `prepare` would have refused it
    )
    return _run(material, prepared.explanation, tokens_of, seed, listener)


def check_source(
    config: DataConfig,
    task: str = "auto",
    tokens_of: TokensOf | None = None,
    *,
    seed: int = 42,
    listener: Listener = ignore,
) -> CheckReport:
    """Check a source before anything is split; what `prepare` would refuse becomes a finding.

    Raises:
        DataError: the source cannot be read, or its columns cannot be understood.
    """
    table = read_table(config, listener)
    inference = infer(table, config.columns, task)
    held = {name: read_table(config, listener, s) for name in ("valid", "test") if (s := getattr(config, name))}
    if inference.roles.split is not None and config.split.strategy in {"auto", "given"}:
        table, marked = by_column(table, inference.roles.split)
        held = {**marked, **held}
    done = conform(table, inference)
    rest = {name: conform(part, inference).table for name, part in held.items()}
    valid = rest.get("valid", Table([], []))
    readable = Table(done.table.rows + valid.rows, done.table.row_ids + valid.row_ids, table.name)
    if not len(done.table):
        raise DataError("no row has both a text and a label", where=table.name, next_step="fill the columns")
    material = Material(
        readable,
        inference,
        num_train=len(done.table),
        sealed=rest.get("test"),
        without_text=done.without_text,
        unlabelled=tuple(done.unlabelled.row_ids),
        divided=bool(rest),
        drops_rare=config.rare_classes == "drop",
        task_given=task != "auto",
    )
    return _run(material, inference.explanation, tokens_of, seed, listener)


def _run(
    material: Material, explanation: tuple[str, ...], tokens_of: TokensOf | None, seed: int, listener: Listener
) -> CheckReport:
    started = time.perf_counter()
    inference = material.inference
    mix = language_of(material.table, inference.roles)
    skipped: dict[str, str] = {}
    checks: dict[str, Check] = {
        "missing": lambda: texts.missing(material),
        "labels": lambda: labels.unusable(material),
        "balance": lambda: labels.balance(material),
        "duplicates": lambda: duplicates.repeated(material),
        "leaks": lambda: duplicates.leaks(material),
    }
    if inference.roles.text is not None:
        checks |= {
            "broken texts": lambda: texts.broken(material),
            "lengths": lambda: texts.lengths(material, tokens_of, mix),
            "languages": lambda: texts.language_mix(material, mix),
            "near duplicates": lambda: duplicates.near(material, seed),
        }
    else:
        checks["features"] = lambda: labels.features(material)
    reason = label_errors.why_not(material)
    if reason is None:
        checks["label errors"] = lambda: label_errors.suspects(material, seed)
    else:
        skipped["label errors"] = reason
    findings = _findings(checks, skipped, listener)
    return CheckReport(
        material.table.name,
        len(material.table) + len(material.sealed or ()),
        inference.task_kind,
        mix.language,
        ranked(findings),
        skipped,
        explanation,
        time.perf_counter() - started,
    )


def _findings(checks: dict[str, Check], skipped: dict[str, str], listener: Listener) -> list[Finding]:
    findings: list[Finding] = []
    for number, (name, run) in enumerate(checks.items()):
        listener(Progress("check", number, len(checks), unit="checks", note=name))
        try:
            findings += run()
        except (MissingExtraError, CapabilityError) as error:
            skipped[name] = error.finding
    listener(Progress("check", len(checks), len(checks), unit="checks"))
    return findings
