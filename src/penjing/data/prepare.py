"""From a data source to splits a task can learn from: the data stage's one entry."""

from __future__ import annotations

from dataclasses import dataclass, field

from penjing.core.errors import DataError
from penjing.core.events import Listener, Notice, ignore
from penjing.core.task import Roles, Splits, Table
from penjing.data.config import DataConfig
from penjing.data.conform import Conformed, conform, explain_left_out, targets
from penjing.data.infer import Inference, infer, written_down
from penjing.data.labels import class_counts, require_learnable
from penjing.data.language import Language, LanguageMix, detect_language
from penjing.data.numbers import warn_of_strays
from penjing.data.sources import read_table
from penjing.data.split import split_table
from penjing.data.textkey import content_key


@dataclass(frozen=True)
class Prepared:
    """Data ready for the stages.

    Args:
        splits: train, valid and sealed test.
        task_kind: a name of the task registry.
        language: of the texts; "other" for tables.
        explanation: what was decided and why, one sentence each.
        inference: how further tables of this kind are to be read (`conform`).
        unlabelled: rows with a text and no label, for continued pretraining.
        without_text: ids of rows left out.
        languages: language → share of the texts.
        config: what was asked for, with every guess about columns and split written down.
    """

    splits: Splits
    task_kind: str
    language: Language
    explanation: tuple[str, ...]
    inference: Inference = field(repr=False)
    unlabelled: Table = field(repr=False)
    without_text: tuple[str, ...] = field(repr=False)
    languages: dict[str, float]
    config: DataConfig = field(repr=False)


def prepare(config: DataConfig, task: str = "auto", seed: int = 42, listener: Listener = ignore) -> Prepared:
    """Read, understand, check and split.

    Args:
        config: the data stage's part of a recipe.
        task: a task kind, or auto.
        seed: of the split.
        listener: told of progress and of every decision.

    Raises:
        DataError: the data cannot be read or learned from; one line with place, finding and next step.
        FetchError: demo or hub data could not be obtained.
        MissingExtraError: a format needs an optional dependency.
    """
    table = read_table(config, listener)
    given = {name: read_table(config, listener, s) for name in ("test", "valid") if (s := getattr(config, name))}
    inference = infer(table, config.columns, task)
    notes = list(inference.explanation)
    done = conform(table, inference)
    _require_rows(done, inference, table.name)
    notes += explain_left_out(done)
    held = {name: _held_out(part, inference, notes) for name, part in given.items()}
    divides = not held and inference.roles.split is None
    learnable, dropped = _without_rare(done.table, inference, drop=config.rare_classes == "drop" and divides)
    notes += dropped
    if inference.label is not None:
        labels = targets(learnable.rows, inference)
        column = inference.roles.label or ""
        of_texts = inference.roles.text is not None and task == "auto"
        require_learnable(labels, inference.label.kind, column, table.name, rare=divides, of_texts=of_texts)
    result = split_table(
        learnable,
        inference,
        config.split,
        seed,
        test=held.get("test"),
        valid=held.get("valid"),
        time_chosen=config.columns.time is not None,
    )
    if inference.label is not None:  # a given split, or one by time, may leave one class to learn from
        learned, where = targets(result.splits.train.rows, inference), f"{table.name}, training part"
        require_learnable(learned, inference.label.kind, inference.roles.label or "", where, rare=False)
    mix = language_of(result.splits.train, inference.roles)
    if inference.roles.text is not None:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in mix.shares.items())
        notes.append(f"language: {mix.language} ({shares})")
    notes += result.explanation + tuple(warn_of_strays(result.splits.train.rows, inference.roles.features))
    unlabelled = _unlabelled(done.unlabelled, config, inference, listener)
    unlabelled = _not_held_out(unlabelled, result.splits, notes)
    for note in notes:
        warns = note.startswith(("warning", "left out", "dropped"))
        listener(Notice("data", note.removeprefix("warning: "), "warning" if warns else "info"))
    return Prepared(
        result.splits,
        inference.task_kind,
        mix.language,
        tuple(notes),
        inference,
        unlabelled,
        done.without_text,
        mix.shares,
        config.model_copy(
            update={
                "columns": written_down(inference),
                "split": config.split.model_copy(update={"strategy": result.strategy}),
            }
        ),
    )


def language_of(table: Table, roles: Roles) -> LanguageMix:
    """Language of a table's texts; "other" where it has none."""
    names = [name for name in (roles.text, roles.text_pair) if name is not None]
    if not names:
        return LanguageMix("other", {})
    return detect_language([" ".join(str(row.get(name) or "") for name in names) for row in table.rows])


def _require_rows(done: Conformed, inference: Inference, where: str) -> None:
    if len(done.table):
        return
    lacking = len(done.without_text)
    raise DataError(
        f"no row has both a text and a label ({lacking:,} without a text, {len(done.unlabelled):,} without a label)",
        where=where,
        expected="labelled rows",
        next_step="fill the label column, or name other columns under data.columns",
    )


def _held_out(table: Table, inference: Inference, notes: list[str]) -> Table:
    """A given test or validation table, read as the training rows are."""
    roles = inference.roles
    needed = [name for name in (roles.text, roles.text_pair, roles.label, roles.spans, *roles.features) if name]
    present = {name for row in table.rows[:1_000] for name in row}
    missing = [name for name in needed if name not in present]
    if missing:
        raise DataError(
            f"column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing[:10]))} missing",
            where=table.name,
            expected="the columns of the training data: " + ", ".join(map(repr, needed[:20])),
            next_step="rename the columns, or list names under data.format.header",
        )
    done = conform(table, inference)
    notes += [f"{table.name}: {note}" for note in explain_left_out(done)]
    if not len(done.table):
        raise DataError("no row has both a text and a label", where=table.name)
    return done.table


def _without_rare(table: Table, inference: Inference, *, drop: bool) -> tuple[Table, list[str]]:
    """Without the classes of one row, where the user wants them dropped."""
    if not drop or inference.label is None or inference.label.kind == "numbers":
        return table, []
    labels = targets(table.rows, inference)
    rare = {name for name, count in class_counts(labels).items() if count == 1}
    if not rare:
        return table, []
    keep = [i for i, label in enumerate(labels) if not rare & set(label if isinstance(label, list) else [label])]
    return table.take(keep), [f"dropped {len(table) - len(keep):,} rows of {len(rare):,} classes with one row each"]


def _unlabelled(own: Table, config: DataConfig, inference: Inference, listener: Listener) -> Table:
    if config.unlabelled is None:
        return own
    more = read_table(config, listener, config.unlabelled)
    column = inference.roles.text
    if column is None or all(column not in row for row in more.rows[:1_000]):
        raise DataError(f"no text column {column!r}", where=more.name, expected="the text column of the training data")
    keep = [i for i, row in enumerate(more.rows) if str(row.get(column) or "").strip()]
    more = more.take(keep)
    return Table(own.rows + more.rows, own.row_ids + more.row_ids, own.name)


def _not_held_out(unlabelled: Table, splits: Splits, notes: list[str]) -> Table:
    """Without the texts of validation and test rows, which no part of training may read."""
    if splits.roles.text is None:
        return unlabelled
    held = {content_key(row, splits.roles) for part in (splits.valid, splits.sealed_test) for row in part.rows}
    keep = [i for i, row in enumerate(unlabelled.rows) if content_key(row, splits.roles) not in held]
    if len(keep) == len(unlabelled):
        return unlabelled
    notes.append(f"dropped {len(unlabelled) - len(keep):,} unlabelled rows with the content of a held-out row")
    return unlabelled.take(keep)
