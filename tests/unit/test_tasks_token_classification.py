"""Spans: cells, overlaps, windows, encoding and decoding, scores."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penjing.core.errors import ArtifactError, CapabilityError, DataError
from penjing.core.task import Prediction, Roles, Span, Stats, Task, TextSettings
from penjing.tasks.span_tokens import Granularity, SpanEncoder, window_bounds
from penjing.tasks.spans import Overlap, choose, observed_overlap, spans_cell
from penjing.tasks.token_classification import TokenClassification

ROOT = Path(__file__).resolve().parents[2]


def oracle(task, batch):
    """A run that scores exactly the spans of a training batch, 5 for them and -5 for all others."""
    state = {"at": 0}

    def run(piece):
        assert set(piece) == {spec.name for spec in task.signature.inputs}
        size, length = piece["input_ids"].shape
        logits = np.full((size, length, len(task.labels), 2), -20.0, np.float32)
        pairs = np.full((size, length, length), -20.0, np.float32)
        for w in range(size):
            for first, last, label in batch["targets"][state["at"] + w]:
                if first >= 0:
                    logits[w, first, label, 0] = logits[w, last, label, 1] = 0.0
                    pairs[w, first, last] = 5.0
        state["at"] += size
        return {"logits": logits, "pairs": pairs}

    return run


def gold(task, rows):
    return [list(spans_cell(row, task.spans_column, row[task.input.text], 0)) for row in rows]


def predict_with_oracle(task, rows):
    batch = task.encode(rows, training=True)
    return task.predict(oracle(task, batch), batch)


@pytest.fixture
def rows(task_rows):
    return task_rows("token-classification")[0]


@pytest.fixture(params=["wordpiece", "unigram"])
def task(request, tiny_tokenizers, rows):
    settings = TextSettings(tiny_tokenizers[request.param], max_length=48, prefix="query: ")
    return TokenClassification.from_rows(rows, Roles(text="text", spans="spans"), settings)


def test_fulfils_the_protocol_and_survives_json(task, rows, tmp_path):
    assert isinstance(task, Task)
    for name, source in task.files().items():
        (tmp_path / name).write_bytes(source.read_bytes())
    again = TokenClassification.from_state(json.loads(json.dumps(task.to_state())), tmp_path)
    assert again.to_state() == task.to_state()
    first, second = task.encode(rows, training=True), again.encode(rows, training=True)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_encoded_is_what_is_decoded(task, rows):
    task = replace(task, granularity=Granularity.CHARACTER)  # coarser tokens cut through a span of these rows
    predictions = predict_with_oracle(task, rows)
    assert [prediction.value for prediction in predictions] == gold(task, rows)
    assert sum(len(prediction.value) for prediction in predictions) > 10
    assert all(p.confidence == pytest.approx(1 / (1 + np.exp(-5))) for p in predictions if p.value)


def test_offsets_are_the_characters_of_the_tokens(task):
    texts = ["  Your  kettle\tbroke 😀!", "快递 在2024年8.5%到。", "", "   ", "\ud800 half a pair", "éö ﬁn"]
    batch = task.encoder.encode(texts)
    assert batch["window_row"].tolist() == list(range(len(texts)))
    for text, offsets, mask in zip(texts, batch["offsets"], batch["attention_mask"], strict=True):
        real = offsets[offsets[:, 0] >= 0]
        assert all(text[a:b].strip() == text[a:b] != "" for a, b in real)
        assert (offsets[mask == 0] == -1).all()
        missed = set(range(len(text))) - {i for a, b in real for i in range(a, b)}
        assert not "".join(text[i] for i in missed).replace("\ud800", "").strip()


def test_a_text_of_blanks_gives_no_span(task):
    rows = [{"text": text, "spans": []} for text in ("", " \n ")]
    assert [p.value for p in predict_with_oracle(task, rows)] == [[], []]


def test_long_texts_are_cut_into_windows_that_lose_no_span(task, rows):
    task = replace(task, granularity=Granularity.CHARACTER)
    text, spans = "", []
    for row in rows * 3:
        spans += [{**s, "start": s["start"] + len(text), "end": s["end"] + len(text)} for s in row["spans"]]
        text += row["text"] + " "
    long_row = {"text": text, "spans": spans}
    batch = task.encoder.encode([text])
    assert len(batch["window_row"]) > 16
    assert batch["input_ids"].shape[1] <= 48
    pieces = task.encode([long_row, rows[0]], training=True)
    assert (pieces["window_row"] == 0).sum() == 16  # training reads the first windows only
    found = predict_with_oracle(task, [long_row, rows[0]])
    seen = max(span.end for span in found[0].value)
    expected = [span for span in gold(task, [long_row])[0] if span.end <= seen]
    assert found[0].value == expected
    assert len(expected) > 5
    assert found[1].value == gold(task, [rows[0]])[0]


@given(st.integers(0, 400), st.integers(4, 60), st.integers(1, 60))
def test_cores_partition_the_tokens_and_their_spans_lie_inside_their_windows(num_tokens, room, longest):
    bounds = window_bounds(num_tokens, room, longest)
    covered = [token for _, _, first, last in bounds for token in range(first, last)]
    assert covered == list(range(num_tokens))
    for start, stop, first, last in bounds:
        assert 0 <= start <= first <= last <= stop <= num_tokens
        assert stop - start <= room
        assert stop == num_tokens or last - 1 + min(longest, room // 4 + 1) <= stop


def test_tokenizes_as_coarsely_as_the_spans_allow(tiny_tokenizers):
    text = "可以改送货地址吗？我搬家了。"  # of the corpus; its tokens include 送货 and 吗？
    roles, settings = Roles(text="text", spans="spans"), TextSettings(tiny_tokenizers["unigram"], max_length=64)
    pieces = {text[a:b] for a, b in SpanEncoder(settings, Granularity.SUBWORD).tokens([text])[0][1]}
    assert {"送货", "吗？"} <= pieces
    for word, expected in (("送货", "subword"), ("吗", "punctuation"), ("送", "character")):
        at = text.index(word)
        rows = [{"text": text, "spans": [{"start": at, "end": at + len(word), "label": "x"}]}]
        task = TokenClassification.from_rows(rows, roles, settings)
        assert task.granularity == expected
        assert predict_with_oracle(task, rows)[0].value == gold(task, rows)[0]


def test_spans_of_different_labels_may_overlap_where_training_had_it(tiny_tokenizers):
    text = "I want my money back for the broken kettle."
    spans = [{"start": 10, "end": 20, "label": a} for a in "xy"] + [{"start": 29, "end": 42, "label": "x"}]
    rows = [{"text": text, "spans": spans}]
    settings = TextSettings(tiny_tokenizers["wordpiece"], max_length=64)
    task = TokenClassification.from_rows(rows, Roles(text="text", spans="spans"), settings)
    assert task.overlap is Overlap.LABELS
    assert predict_with_oracle(task, rows)[0].value == gold(task, rows)[0]
    flat = replace(task, overlap=Overlap.NONE)
    assert [s.label for s in predict_with_oracle(flat, rows)[0].value] == ["x", "x"]


def test_what_overlaps_is_observed_and_slips_are_not():
    a, b, c = Span(0, 4, "x"), Span(2, 6, "y"), Span(1, 3, "x")
    apart = [[Span(i, i + 1, "x")] for i in range(300)]
    assert observed_overlap(apart) is Overlap.NONE
    assert observed_overlap([[a, b]]) is Overlap.LABELS
    assert observed_overlap([[a, c]]) is Overlap.ANY
    assert observed_overlap([*apart, [a, b], [a, c]]) is Overlap.NONE


def test_clashing_candidates_lose_to_better_ones():
    best, clash, other = (3.0, Span(0, 4, "x")), (2.0, Span(3, 5, "x")), (1.0, Span(3, 5, "y"))
    assert choose([clash, other, best], Overlap.LABELS) == [best, other]
    assert choose([clash, other, best], Overlap.NONE) == [best]
    assert choose([clash, best, best], Overlap.ANY) == [best, clash]


def test_reads_spans_from_lists_and_json_sorted_and_trimmed():
    cell = [{"start": 3, "end": 9, "label": " b "}, {"start": 0, "end": 2, "label": "a", "more": 1}]
    expected = (Span(0, 2, "a"), Span(4, 8, "b"))
    assert spans_cell({"s": cell}, "s", "ab  cdef  ", 0) == expected
    assert spans_cell({"s": json.dumps(cell * 2)}, "s", "ab  cdef  ", 0) == expected
    for nothing in (None, "", " ", [], "[]", float("nan")):
        assert spans_cell({"s": nothing}, "s", "ab", 0) == ()


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("[{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ({"start": 0}, "holds a dict"),
        (["x"], "span 0: is 'x'"),
        ([{"start": 0, "end": 1}], "span 0"),
        ([{"start": 0, "end": 9, "label": "x"}], "0 to 9"),
        ([{"start": 2, "end": 2, "label": "x"}], "2 to 2"),
        ([{"start": -1, "end": 2, "label": "x"}], "-1 to 2"),
        ([{"start": True, "end": 2, "label": "x"}], "True to 2"),
        ([{"start": 0.0, "end": 2, "label": "x"}], "0.0 to 2"),
        ([{"start": 0, "end": 2, "label": ""}], "label"),
        ([{"start": 2, "end": 3, "label": "x"}], "nothing but blanks"),
        ([{"start": 0, "end": 1, "label": "x"}] * 10_001, "10,001 spans"),
    ],
)
def test_refuses_spans_that_cannot_be_with_their_place(cell, words):
    with pytest.raises(DataError, match=words) as caught:
        spans_cell({"s": cell}, "s", "ab c", 7)
    assert str(caught.value).startswith("row 7")


def test_scores_exact_spans(task):
    rows = [
        {"text": "the kettle, Monday, shoes", "spans": [_entry(4, 10, "goods"), _entry(12, 18, "time")]},
        {"text": "the kettle", "spans": []},
        {"text": "the kettle", "spans": [_entry(4, 10, "planet"), _entry(0, 3, "article")]},
    ]
    found = [
        [Span(4, 10, "goods"), Span(12, 17, "time"), Span(20, 25, "goods")],
        [],
        [],
    ]
    stats = task.score(rows, [Prediction(spans) for spans in found])
    assert task.labels == ("goods", "time")
    assert stats.columns["tp"].tolist() == [[1, 0], [0, 0], [0, 0]]
    assert stats.columns["fp"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert stats.columns["fn"].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert stats.columns["unseen"].tolist() == [[0, 0], [0, 0], [1, 1]]
    values = task.aggregate(stats)
    assert values["precision"] == pytest.approx(1 / 3)
    assert values["recall"] == pytest.approx(1 / 4)  # the planet and the article are missed too
    assert values["f1"] == pytest.approx(2 / 7)
    assert values["macro_f1"] == pytest.approx((2 / 3 + 0 + 0 + 0) / 4)
    assert values["exact_match"] == pytest.approx(1 / 3)
    assert set(values) == set(task.metrics)
    assert all(np.isnan(v) for v in task.aggregate(stats.take(np.array([], int))).values())


def _entry(start, end, label):
    return {"start": start, "end": end, "label": label}


def test_renders_spans(task):
    assert task.render(Prediction([Span(0, 2, "time")], 0.75)) == {
        "spans": [{"start": 0, "end": 2, "label": "time"}],
        "confidence": 0.75,
    }


@pytest.mark.parametrize(
    ("rows", "roles", "reason"),
    [
        ([{"text": "a", "spans": []}], Roles(text="text", spans="spans"), "no row has a span"),
        ([{"text": "a"}], Roles(text="text"), "role 'spans'"),
        ([{"text": "a", "spans": "[{"}], Roles(text="text", spans="spans"), "is no JSON"),
        ([{"text": "", "spans": []}], Roles(text="text", spans="spans"), "every text"),
    ],
)
def test_says_why_rows_cannot_be_learned(rows, roles, reason, text_settings):
    assert reason in TokenClassification.supports(rows, roles)
    with pytest.raises(CapabilityError, match="token-classification cannot be learned"):
        TokenClassification.from_rows(rows, roles, text_settings)


@pytest.mark.parametrize(
    "change", [{"labels": []}, {"overlap": "often"}, {"granularity": "line"}, {"max_span_tokens": 0}, {"more": 1}]
)
def test_a_damaged_state_is_refused(task, change):
    with pytest.raises(ArtifactError, match="the task's state is damaged"):
        TokenClassification.from_state({**task.to_state(), **change}, Path())


def test_a_text_without_end_is_refused_with_its_place(task):
    with pytest.raises(DataError, match="row 1: the text has 600,000 characters"):
        task.encode([{"text": "short"}, {"text": "long " * 120_000}])


def _fewfc():
    spec = importlib.util.spec_from_file_location("fewfc_data", ROOT / "benchmarks" / "fewfc_data.py")
    fewfc = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fewfc)
    return fewfc


def test_event_scores_count_spans_of_unseen_labels_as_missed():
    counts = {"tp": [[1, 1]], "fp": [[0, 0]], "fn": [[0, 0]], "unseen": [[1, 2]]}
    stats = Stats({name: np.array(values) for name, values in counts.items()})
    scores = _fewfc().event_scores(("buy/trigger", "buy/who"), stats, ("sell/trigger", "sell/who"))
    assert (scores["trigger_recall"], scores["argument_recall"]) == (1 / 2, 1 / 3)


@pytest.mark.data
def test_fewfc_spans_are_all_found_again(data_dir, tiny_tokenizers):
    fewfc = _fewfc()
    test = fewfc.read_fewfc(data_dir / "fewfc" / "test_base.json")
    train = fewfc.without(fewfc.read_fewfc(data_dir / "fewfc" / "train_base.json"), test)
    assert len({row["text"] for row in [*train, *test]}) == len(train) + len(test)
    sample = test[:300]
    settings = TextSettings(tiny_tokenizers["wordpiece"], max_length=256)
    task = TokenClassification.from_rows(train[:500] + sample, fewfc.ROLES, settings)
    assert task.overlap is Overlap.LABELS
    scores = fewfc.event_scores(task.labels, task.score(sample, predict_with_oracle(task, sample)), ())
    assert scores["trigger_f1"] > 0.99
    assert scores["argument_f1"] > 0.98
