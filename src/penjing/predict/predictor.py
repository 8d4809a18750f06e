"""Runs an artifact: inputs → predictions, in order, in constant memory, never dependent on batch-mates.

Everything that predicts goes through here (evaluation, serving, the command line), so that the number in the report is
the number in production. No task kind is named: a row is whatever the task's roles say it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from penjing.core import registry
from penjing.core.artifact import MANIFEST, Artifact
from penjing.core.errors import ArtifactError, DataError
from penjing.core.task import Batch, Outputs, Prediction, Row, Task
from penjing.predict.backend import Backend, Runner
from penjing.predict.cascade import CascadeBackend, with_first_stage
from penjing.predict.like_length import LikeLengthRunner, has_lengths, padded_lengths
from penjing.predict.setup import BATCH_ROWS, DEFAULT_BACKEND, Setup
from penjing.predict.task_file import TASK_FILE, read_task

# Rows sorted by length before they are cut into batches. More would pad less, hardly, and delay the first answers.
WINDOW_ROWS = 1024
WINDOW_CHARS = 8_000_000

Input = TypeVar("Input", bound=str | Sequence[str] | Row)
Answer = TypeVar("Answer")


class Predictor:
    """An artifact and a backend.

    Args:
        artifact: a verified artifact.
        backend: name of a registered backend.
        threads: threads of one run; None: one a physical core this process may use.
        setup: both, and all else that may be chosen; in place of `backend` and `threads`.

    Raises:
        RecipeError: `threads` is no number of threads.
    """

    def __init__(
        self,
        artifact: Artifact,
        backend: str = DEFAULT_BACKEND,
        threads: int | None = None,
        *,
        setup: Setup | None = None,
    ) -> None:
        self.artifact = artifact
        self.setup = setup or Setup.of_backend(backend, threads)

    @cached_property
    def task(self) -> Task:
        """The artifact's task.

        Raises:
            ArtifactError: it does not load, or needs a file the manifest does not list (so nobody checked it).
        """
        self.artifact.file(TASK_FILE)
        task = read_task(self.artifact.path)
        for name in task.files():
            self.artifact.file(name)
        if task.kind != self.artifact.kind:
            raise ArtifactError(
                f"{TASK_FILE} holds a {task.kind} and {MANIFEST} a {self.artifact.kind}",
                where=str(self.artifact.path),
                next_step="restore the artifact from a good copy",
            )
        return task

    @cached_property
    def backend(self) -> Runner:
        """The loaded model."""
        chosen: type[Backend] = registry.resolve("backends", self.setup.backend)
        setup = self.setup
        opened: Runner = chosen.open(self.artifact, self.task.signature, setup.threads, setup.precision, setup.workers)
        if setup.length_step and has_lengths(self.task.signature):
            opened = LikeLengthRunner(opened, self.task.signature, setup.length_step)
        return with_first_stage(self.artifact, self.task.signature, opened)

    def open(self) -> None:
        """Load task and model now, so that what is wrong with them shows now.

        Raises:
            ArtifactError: either does not load, or they do not fit each other.
        """
        self.task.encode([self._empty_row()])
        _ = self.backend

    def predict(self, inputs: Sequence[str | Sequence[str] | Row]) -> list[Prediction]:
        """Predict each input.

        Args:
            inputs: texts, pairs of texts, or rows (column → value), as the task needs; labels are not read.

        Returns:
            One prediction an input, in order. Equal inputs get equal predictions, whatever stands beside them, as
            far as the artifact's `batch_invariant` holds.

        Raises:
            DataError: an input cannot be used; the message has its position in `inputs`.
        """
        if isinstance(inputs, str | bytes | Mapping):
            raise DataError(
                f"predict takes a list of inputs, not one {type(inputs).__name__}", next_step="wrap it: predict([...])"
            )
        return [prediction for _, prediction in self.stream(inputs)]

    def stream(
        self, rows: Iterable[Input], *, window_rows: int = WINDOW_ROWS, batch_tokens: int | None = None
    ) -> Iterator[tuple[Input, Prediction]]:
        """Predict any number of inputs in constant memory.

        Args:
            rows: texts, pairs or rows; read only as far as needed.
            window_rows: inputs read ahead, sorted by length and cut into batches.
            batch_tokens: greatest rows × longest row of a batch; None: as set up.

        Yields:
            Each input with its prediction, in order.

        Raises:
            DataError: an input cannot be used; the message has its position. Those before its window have been
                yielded.
        """
        start = 0
        for window in _windows(rows, window_rows):
            ready = [self._as_row(value, start + i) for i, value in enumerate(window)]
            yield from zip(
                window, self._predict_window(ready, start, batch_tokens or self.setup.batch_tokens), strict=True
            )
            start += len(window)

    def _predict_window(self, rows: Sequence[Row], start: int, batch_tokens: int) -> list[Prediction]:
        found: list[Prediction | None] = [None] * len(rows)
        places, said = np.arange(len(rows)), dict[int, np.ndarray]()
        try:
            # A caller waiting for one answer need not wait for a length nobody compares.
            lengths = self.task.lengths(rows) if len(rows) > 1 else np.ones(1, np.int64)
            if isinstance(self.backend, CascadeBackend) and len(rows) > 1:
                # Few rows of a batch go on: those of all batches together fill batches of their own.
                said = self._answered_early(found, rows, lengths, batch_tokens)
                places = np.array(sorted(said), np.int64)

            def answer(chosen: np.ndarray) -> list[Prediction]:
                run = self.backend.run
                if said and isinstance(self.backend, CascadeBackend):
                    run = partial(self.backend.second, first_BC=np.stack([said[i] for i in chosen]))
                return self.task.predict(run, self.task.encode([rows[i] for i in chosen]))

            for chosen, predictions in self._of_batches(answer, places, lengths, batch_tokens):
                for i, prediction in zip(chosen, predictions, strict=True):
                    found[i] = prediction
        except DataError as error:
            raise self._at_position(error, rows, start) from None
        done = [prediction for prediction in found if prediction is not None]
        assert len(done) == len(rows)
        return done

    def _answered_early(
        self, found: list[Prediction | None], rows: Sequence[Row], lengths: np.ndarray, batch_tokens: int
    ) -> dict[int, np.ndarray]:
        """Put the first stage's answers that stand into `found`; of the others place → its logits."""
        cascade = self.backend
        assert isinstance(cascade, CascadeBackend)

        def answer(chosen: np.ndarray) -> tuple[list[Prediction], np.ndarray]:
            batch = self.task.encode([rows[i] for i in chosen])
            outputs = cascade.first.run(batch)
            return self.task.predict(partial(_given, outputs), batch), outputs["logits"]

        waiting: dict[int, np.ndarray] = {}
        everything = np.arange(len(rows))
        # The first stage is not padded by length: a batch of many lengths is as good.
        early = self._of_batches(answer, everything, lengths, batch_tokens, alike=False)
        for chosen, (predictions, logits_BC) in early:
            sure_B = cascade.rule.sure(logits_BC)
            for i, prediction, stands, logits_C in zip(chosen, predictions, sure_B, logits_BC, strict=True):
                if stands:
                    found[i] = prediction
                else:
                    waiting[int(i)] = logits_C
        return waiting

    def _of_batches(
        self,
        answer: Callable[[np.ndarray], Answer],
        places: np.ndarray,
        lengths: np.ndarray,
        batch_tokens: int,
        *,
        alike: bool = True,
    ) -> Iterator[tuple[np.ndarray, Answer]]:
        """Cut the rows at some places into batches, which as many workers answer as are set up.

        Yields:
            Places of a batch and what was answered; every place once.
        """
        lengths, step = lengths[places], self.setup.length_step
        alike = alike and step > 0 and has_lengths(self.task.signature)
        if alike:
            # Both texts of a pair are padded to the longer of them.
            lengths = padded_lengths(lengths, step * max(1, len(self._text_columns)), None)
        cut = [places[index] for index in batches(lengths, batch_tokens, self.setup.batch_rows, alike=alike)]
        alone = self.setup.workers == 1 or len(cut) < 2
        yield from zip(cut, map(answer, cut) if alone else self._workers.map(answer, cut), strict=True)

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.setup.workers, thread_name_prefix="penjing-predict")

    def _at_position(self, error: DataError, rows: Sequence[Row], start: int) -> DataError:
        """The same error with the position of the first input that causes it."""
        for i, row in enumerate(rows):
            try:
                self.task.encode([row])
            except DataError as found:
                return DataError(
                    found.what, where=_where(start + i), expected=found.expected, next_step=found.next_step
                )
        return error

    def _as_row(self, value: Any, position: int) -> Row:
        if isinstance(value, Mapping):
            return value
        wanted = self._text_columns
        given = [value] if isinstance(value, str) else value
        if (
            wanted
            and isinstance(given, list | tuple)
            and len(given) == len(wanted)
            and all(isinstance(text, str) for text in given)
        ):
            return dict(zip(wanted, given, strict=True))
        raise DataError(_describe(value), where=_where(position), expected=self._expected(wanted))

    def _expected(self, wanted: Sequence[str]) -> str:
        if not wanted:
            return f"a mapping with the columns {list(self.task.roles.features)[:20]}"
        alone = "a text" if len(wanted) == 1 else "a pair of texts"
        return f"{alone}, or a mapping with the column{'s' if len(wanted) > 1 else ''} " + " and ".join(
            repr(column) for column in wanted
        )

    @cached_property
    def _text_columns(self) -> list[str]:
        roles = self.task.roles
        return [column for column in (roles.text, roles.text_pair) if column is not None]

    def _empty_row(self) -> Row:
        return {**dict.fromkeys(self._text_columns, ""), **dict.fromkeys(self.task.roles.features)}


def _given(outputs: Outputs, _: Batch) -> Outputs:
    return outputs


def batches(
    lengths: np.ndarray, batch_tokens: int, batch_rows: int = BATCH_ROWS, *, alike: bool = False
) -> Iterator[list[int]]:
    """Cut rows of similar length into batches.

    Args:
        lengths: [N] tokens a row.
        batch_tokens: greatest rows × longest row; a row longer than that goes alone.
        batch_rows: greatest number of rows.
        alike: whether all rows of a batch are of the same length.

    Yields:
        Positions; every position once.
    """
    batch: list[int] = []
    for i in np.argsort(lengths, kind="stable").tolist():
        # Ascending, so that this row would be the longest of its batch.
        full = len(batch) == batch_rows or (len(batch) + 1) * int(lengths[i]) > batch_tokens
        if batch and (full or (alike and lengths[i] != lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _windows(rows: Iterable[Input], window_rows: int) -> Iterator[list[Input]]:
    """Runs of consecutive inputs, bounded in number and in characters."""
    window: list[Input] = []
    chars = 0
    for value in rows:
        window.append(value)
        chars += _num_chars(value)
        if len(window) == window_rows or chars >= WINDOW_CHARS:
            yield window
            window, chars = [], 0
    if window:
        yield window


def _num_chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(len(part) for part in parts if isinstance(part, str))


def _describe(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"is a {type(value).__name__} of {len(value)}"
    return f"is {'a ' if value is not None else ''}{type(value).__name__}"


def _where(position: int) -> str:
    return f"inputs[{position}]"
