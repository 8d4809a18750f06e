"""Token classification: labelled spans of a text (entities, event triggers and arguments), which may overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from penjing.core.errors import CapabilityError, DataError
from penjing.core.task import (
    Batch,
    Metric,
    Outputs,
    Prediction,
    Roles,
    Row,
    Run,
    Signature,
    Span,
    Stats,
    TensorSpec,
    TextSettings,
)
from penjing.tasks.metrics import mean, ratio
from penjing.tasks.span_decoding import sigmoid, window_candidates
from penjing.tasks.span_tokens import Granularity, SpanEncoder, choose_granularity, token_spans
from penjing.tasks.spans import Overlap, choose, observed_overlap, spans_cell
from penjing.tasks.state import TaskState
from penjing.tasks.supervised import require_support
from penjing.tasks.text_input import TextInput, TextInputState, text_cell, why_no_text

MAX_LABELS = 1_000
MAX_SPAN_TOKENS = 256
# Training reads this many windows of a text; more would be one row's weight over all others in a batch.
MAX_TRAIN_WINDOWS = 16
RUN_WINDOWS = 32


class State(TaskState):
    """What an artifact keeps of a token classification."""

    input: TextInputState
    spans: str | None = Field(max_length=1000)
    labels: tuple[str, ...] = Field(min_length=1, max_length=MAX_LABELS)
    overlap: Overlap
    max_span_tokens: int = Field(ge=1, le=MAX_SPAN_TOKENS)
    granularity: Granularity


@dataclass(frozen=True)
class TokenClassification:
    """A text → labelled spans of it.

    Args:
        input: which column is the text, and how it becomes token ids.
        labels: [C] names.
        overlap: which spans of one text may share characters.
        max_span_tokens: tokens of the longest span that can be found.
        granularity: how finely texts are tokenized.
        spans_column: column of the spans; None in an artifact that only predicts.
    """

    kind: ClassVar[str] = "token-classification"
    trainer: ClassVar[str] = "penjing.train.gradient.tokens:TokenTrainer"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "f1": Metric(),
        "precision": Metric(),
        "recall": Metric(),
        "macro_f1": Metric(),
        "exact_match": Metric(share=True),
    }
    primary: ClassVar[str] = "f1"
    calibration: ClassVar[None] = None
    temperature: ClassVar[float] = 1.0

    input: TextInput
    labels: tuple[str, ...]
    overlap: Overlap
    max_span_tokens: int
    granularity: Granularity
    spans_column: str | None

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(text=self.input.text, spans=self.spans_column)

    @property
    def signature(self) -> Signature:
        """Token ids in; begin and end scores of each token and label, and scores of token pairs out."""
        return Signature(
            tuple(TensorSpec(name, ("batch", "length"), "int64") for name in ("input_ids", "attention_mask")),
            (
                TensorSpec("logits", ("batch", "length", len(self.labels), 2), "float32"),
                TensorSpec("pairs", ("batch", "length", "length"), "float32"),
            ),
            self.input.longest,
        )

    @cached_property
    def encoder(self) -> SpanEncoder:
        """The tokenizer, loaded on first use."""
        return SpanEncoder(self.input.settings, self.granularity, self.max_span_tokens)

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Texts, and at least one span."""
        reason = why_no_text(rows, roles, pair=False)
        if reason:
            return reason
        if roles.spans is None:
            return "no column plays the role 'spans'"
        try:
            names = {span.label for spans in _all_spans(rows, roles.text, roles.spans) for span in spans}
        except DataError as error:
            return error.finding
        if not names:
            return f"no row has a span in column {roles.spans!r}"
        if len(names) > MAX_LABELS:
            return f"column {roles.spans!r} has {len(names):,} different labels; at most {MAX_LABELS:,} can be learned"
        return None

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Self:
        """Learn labels, how spans overlap, how long they are, and how finely to tokenize.

        Raises:
            CapabilityError: these rows cannot be learned; the message says why.
        """
        require_support(cls, rows, roles)
        assert text is not None and roles.text is not None
        all_spans = _all_spans(rows, roles.text, roles.spans)
        labels = tuple(sorted({span.label for spans in all_spans for span in spans}))
        texts = [text_cell(row, roles.text, i) for i, row in enumerate(rows)]
        granularity, longest = choose_granularity(text, texts, all_spans)
        # Half as long again as any seen, for the spans of rows to come.
        max_tokens = min(MAX_SPAN_TOKENS, longest + longest // 2 + 2)
        overlap = observed_overlap(all_spans)
        return cls(TextInput(text, roles.text), labels, overlap, max_tokens, granularity, roles.spans)

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] tokens a row, all its windows together."""
        return self.encoder.lengths(self._texts(rows))

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Rows → windows, see `SpanEncoder.encode`; the model reads `input_ids` and `attention_mask` only.

        With `training` also `targets` [W, P, 3] int64: first token, last token and label of each span, -1 where a
        window has fewer than P.
        """
        if not training:
            return self.encoder.encode(self._texts(rows))
        batch = self.encoder.encode(self._texts(rows), MAX_TRAIN_WINDOWS)
        spans = _all_spans(rows, self.input.text, self.spans_column)
        places = {label: i for i, label in enumerate(self.labels)}
        found = [
            [t for t in token_spans(spans[row], offsets, places) if t[1] - t[0] < self.max_span_tokens]
            for row, offsets in zip(batch["window_row"], batch["offsets"], strict=True)
        ]
        targets = np.full((len(found), max(1, max(map(len, found), default=1)), 3), -1, np.int64)
        for w, triples in enumerate(found):
            targets[w, : len(triples)] = np.array(triples, np.int64).reshape(-1, 3)
        return {**batch, "targets": targets}

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Run over the windows, few at a time, and put each row's spans together."""
        rows = batch["window_row"]
        num_rows = int(rows[-1]) + 1 if len(rows) else 0
        candidates: list[list[tuple[float, Span]]] = [[] for _ in range(num_rows)]
        highest = np.full(num_rows, -np.inf)
        names = [spec.name for spec in self.signature.inputs]
        for start in range(0, len(rows), RUN_WINDOWS):
            piece = slice(start, start + RUN_WINDOWS)
            outputs = run({name: batch[name][piece] for name in names})
            for w in range(len(batch["core"][piece])):
                found, best = self._decode_window(outputs, w, batch, start + w)
                candidates[rows[start + w]] += found
                highest[rows[start + w]] = max(highest[rows[start + w]], best)
        return [self._prediction(found, best) for found, best in zip(candidates, highest, strict=True)]

    def _decode_window(self, outputs: Outputs, w: int, batch: Batch, window: int) -> tuple[list[Any], float]:
        first, last = batch["core"][window].tolist()
        return window_candidates(
            outputs["logits"][w],
            outputs["pairs"][w],
            batch["offsets"][window],
            (first, last),
            self.labels,
            self.max_span_tokens,
        )

    def _prediction(self, candidates: list[tuple[float, Span]], highest: float) -> Prediction:
        """Confidence is that of the least certain span; without spans, that there is none."""
        kept = choose(candidates, self.overlap)
        confidence = min((sigmoid(score) for score, _ in kept), default=sigmoid(-highest))
        return Prediction([span for _, span in kept], confidence)

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """Columns: tp, fp, fn [N, C] spans a label, right only with equal label and borders; unseen [N, U], spans of
        each label that training did not have, in order.
        """
        places = {label: i for i, label in enumerate(self.labels)}
        counts = {name: np.zeros((len(rows), len(self.labels)), np.int64) for name in ("tp", "fp", "fn")}
        gold = _all_spans(rows, self.input.text, self.spans_column)
        unknown = sorted({span.label for truth in gold for span in truth if span.label not in places})
        unseen = np.zeros((len(rows), len(unknown)), np.int64)
        for i, (truth, prediction) in enumerate(zip(gold, predictions, strict=True)):
            found = set(prediction.value)
            for span in found:
                counts["tp" if span in truth else "fp"][i, places[span.label]] += 1
            for span in truth:
                if span.label not in places:
                    unseen[i, unknown.index(span.label)] += 1
                elif span not in found:
                    counts["fn"][i, places[span.label]] += 1
        return Stats({**counts, "unseen": unseen})

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Micro precision, recall and F1; F1 averaged over labels that occur; share of texts without any error."""
        tp, fp, fn, missed = (stats.columns[name].sum(axis=0) for name in ("tp", "fp", "fn", "unseen"))
        unseen = missed.sum()
        occurs = tp + fp + fn > 0
        by_label = np.concatenate([2 * tp[occurs] / (2 * tp + fp + fn)[occurs], np.zeros((missed > 0).sum())])
        wrong = sum(stats.columns[name].sum(axis=1) for name in ("fp", "fn", "unseen"))
        return {
            "f1": ratio(2 * tp.sum(), 2 * tp.sum() + fp.sum() + fn.sum() + unseen),
            "precision": ratio(tp.sum(), tp.sum() + fp.sum()),
            "recall": ratio(tp.sum(), tp.sum() + fn.sum() + unseen),
            "macro_f1": mean(by_label),
            "exact_match": mean(wrong == 0),
        }

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """JSON-able."""
        spans = [{"start": span.start, "end": span.end, "label": span.label} for span in prediction.value]
        return {"spans": spans, "confidence": round(float(prediction.confidence or 0.0), 6)}

    def to_state(self) -> dict[str, Any]:
        """JSON-able; the tokenizer is in `files`."""
        return State(
            input=self.input.to_state(),
            spans=self.spans_column,
            labels=self.labels,
            overlap=self.overlap,
            max_span_tokens=self.max_span_tokens,
            granularity=self.granularity,
        ).to_json()

    def files(self) -> dict[str, Path]:
        """The tokenizer."""
        return self.input.files()

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        kept = State.read(state)
        source = TextInput.from_state(kept.input, directory)
        return cls(source, kept.labels, kept.overlap, kept.max_span_tokens, kept.granularity, kept.spans)

    def with_temperature(self, temperature: float) -> Self:
        """Spans have no distribution over classes to soften.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(f"{self.kind} has no class probabilities, so no temperature ({temperature})")

    def _texts(self, rows: Sequence[Row]) -> list[str]:
        return [text_cell(row, self.input.text, i) for i, row in enumerate(rows)]


def _all_spans(rows: Sequence[Row], text: str | None, column: str | None) -> list[tuple[Span, ...]]:
    assert text is not None
    return [spans_cell(row, column, text_cell(row, text, i), i) for i, row in enumerate(rows)]
