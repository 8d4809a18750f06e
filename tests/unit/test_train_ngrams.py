"""The linear model over n-grams: its features, its fit, its share, and its place in the exported graph."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from sklearn.svm import LinearSVC
from unit_training import make_model, split, train_tiny

from penjing.cli.zh import in_chinese
from penjing.core.events import Notice
from penjing.core.task import Table
from penjing.export.onnx import check_parity, export_onnx, trace_onnx
from penjing.models.ngrams import NgramScores, token_hashes
from penjing.tasks.text_classification import TextClassification
from penjing.tasks.text_pair import TextPair
from penjing.tasks.text_regression import TextRegression
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.gradient.ngrams import PENALTY, Shares, affordable_rows, expected_ngrams, fit_ngrams, fit_shares
from penjing.train.gradient.objective import Objective
from penjing.train.gradient.sequence import describe

pytest_plugins = ["training_fixtures"]


def rows_of(rows) -> Table:
    return Table(rows, [str(i) for i in range(len(rows))], "rows")


def fitted(task, rows, **settings) -> NgramScores:
    """`fit_ngrams` to its end."""
    work = fit_ngrams(task, rows, **settings)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def features_of(ids: list[int]) -> Counter:
    """Tokens and pairs, counted one by one: no hash, no padding; what repeats the one before it counts once."""
    pairs = list(itertools.pairwise(ids))
    single = [token for i, token in enumerate(ids) if i == 0 or token != ids[i - 1]]
    return Counter(single) + Counter(pair for i, pair in enumerate(pairs) if i == 0 or pair != pairs[i - 1])


def vectors(task, rows, known=None):
    """[N, F] TF-IDF vectors, and feature → idf."""
    counts = [features_of(task.encode([row])["input_ids"][0].tolist()) for row in rows]
    if known is None:
        found = Counter(feature for count in counts for feature in count)
        known = {feature: 1 + np.log((1 + len(rows)) / (1 + n)) for feature, n in found.items()}
    matrix = np.zeros((len(rows), len(known)))
    place = {feature: i for i, feature in enumerate(known)}
    for row, count in enumerate(counts):
        square = sum(n * known[f] ** 2 for f, n in count.items() if f in known)
        for feature, n in count.items():
            if feature in known:
                matrix[row, place[feature]] = n * known[feature] / square**0.5
    return matrix, known


def scores_of(ngrams: NgramScores, task, rows) -> np.ndarray:
    batch = task.encode(rows)
    return ngrams(*(torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask"))).numpy()


def test_scores_are_those_of_a_linear_model_on_tfidf(tiny_task, tiny_splits, monkeypatch):
    monkeypatch.setattr("penjing.models.ngrams.MIN_SLOTS", 2**22)  # no two features want the same one
    again = {"text": "refund refund refund refund my my parcel", "label": "refund"}
    train, valid = [*tiny_splits.train.rows, again], [*tiny_splits.valid.rows, again]
    ngrams = fitted(tiny_task, train, seed=1)
    inputs, known = vectors(tiny_task, train)
    targets = tiny_task.encode(train, training=True)["targets"]
    for rows in (train, valid):
        expected = np.stack(
            [
                LinearSVC(C=PENALTY, random_state=1)
                .fit(inputs, targets == k)
                .decision_function(vectors(tiny_task, rows, known)[0])
                for k in range(3)
            ],
            axis=1,
        )
        assert np.abs(scores_of(ngrams, tiny_task, rows) - expected).max() < 0.01  # weights have 16 bits


def test_what_was_never_seen_changes_nothing_but_where_it_stands_between(tiny_task, tiny_splits, monkeypatch):
    """Few slots, many unknown tokens: those that meet a learned slot must not be taken for its feature."""
    monkeypatch.setattr("penjing.models.ngrams.MIN_SLOTS", 2)
    ngrams = fitted(tiny_task, tiny_splits.train.rows)
    learned = set(ngrams.hashes.tolist())
    ids = torch.arange(100)[None]
    unknown = torch.tensor([[i for i in range(5, 100) if int(token_hashes(ids)[0][0, i]) not in learned]])
    assert unknown.numel() > 10
    pairs = token_hashes(unknown)[1]
    assert not learned & set(pairs.flatten().tolist())
    assert torch.equal(ngrams(unknown)[0], ngrams.bias)


def test_padding_and_company_change_nothing(tiny_task, tiny_splits):
    ngrams = fitted(tiny_task, tiny_splits.train.rows)
    together = scores_of(ngrams, tiny_task, tiny_splits.valid.rows)
    alone = np.concatenate([scores_of(ngrams, tiny_task, [row]) for row in tiny_splits.valid.rows])
    assert np.abs(together - alone).max() < 1e-5


def test_the_strongest_features_alone_say_what_they_said(tiny_task, tiny_splits, monkeypatch):
    monkeypatch.setattr("penjing.models.ngrams.MIN_SLOTS", 2**16)  # no two features want the same one
    rows = tiny_splits.train.rows
    ngrams = fitted(tiny_task, rows)
    whole = ngrams.strongest(10_000)
    assert sorted(whole.hashes.tolist()) == sorted(ngrams.hashes.tolist())
    assert np.abs(scores_of(whole, tiny_task, rows) - scores_of(ngrams, tiny_task, rows)).max() < 1e-5
    part = ngrams.strongest(20)
    assert len(part.hashes) == 21 and set(part.hashes.tolist()) < set(ngrams.hashes.tolist())
    known = {int(value): i for i, value in enumerate(part.hashes.tolist())}
    ids = torch.from_numpy(tiny_task.encode(rows[:1])["input_ids"])
    single, pairs = (part_BL[0].tolist() for part_BL in token_hashes(ids))
    met = [value for side in (single, pairs) for i, value in enumerate(side) if i == 0 or value != side[i - 1]]
    found = sum((part.table[known[value]].float() for value in met if value in known), torch.zeros(4))
    expected = found[:-1] / found[-1].clamp(min=1e-6).sqrt() + part.bias
    assert torch.allclose(part(ids)[0], expected, atol=1e-4)
    monkeypatch.setattr("penjing.models.ngrams.MIN_SLOTS", 4)
    crowded = ngrams.strongest(20)
    assert len(crowded.hashes) <= 21 and int(crowded.slots.max()) == len(crowded.hashes) - 1


def test_two_classes_are_mirrored(task_rows, text_settings):
    rows, roles = task_rows("text-classification/binary")
    task = TextClassification.from_rows(rows, roles, text_settings)
    found = scores_of(fitted(task, rows), task, rows)
    assert np.abs(found.sum(1)).max() < 0.01
    assert (found.argmax(1) == task.encode(rows, training=True)["targets"]).mean() > 0.9


def test_a_class_without_a_row_is_never_the_likeliest(tiny_task, tiny_splits):
    """Some at random of many rows may leave a rare class out."""
    names = sorted({row["label"] for row in tiny_splits.train.rows})
    rest = [row for row in tiny_splits.train.rows if row["label"] != names[0]]
    found = scores_of(fitted(tiny_task, rest), tiny_task, tiny_splits.valid.rows)
    assert (found[:, 0] == -1).all()
    assert (found.argmax(1) != 0).all()


def test_of_too_many_rows_some_are_drawn(tiny_task, tiny_splits, monkeypatch):
    rows = tiny_splits.train.rows
    assert affordable_rows(tiny_task, rows, 1) == rows
    for bound, value in (("MAX_TOKENS", 100), ("MAX_TOKEN_CLASSES", 3 * 100)):
        with monkeypatch.context() as patch:
            patch.setattr(f"penjing.train.gradient.ngrams.{bound}", value)
            drawn = affordable_rows(tiny_task, rows, 1)
        assert 80 < tiny_task.lengths(drawn).sum() <= 100
        assert [row for row in rows if row in drawn] == drawn


def test_of_too_many_features_the_commonest_stay(tiny_task, tiny_splits, monkeypatch):
    monkeypatch.setattr("penjing.train.gradient.ngrams.MAX_WEIGHTS", 4 * 20)
    ngrams = fitted(tiny_task, tiny_splits.train.rows)
    assert 10 < len(ngrams.table) <= 21
    ids = tiny_task.encode(tiny_splits.train.rows)["input_ids"]
    start = int(token_hashes(ids)[0][0, 0])  # of the token every text starts with
    assert start in ngrams.hashes.tolist()


def test_features_of_all_rows_are_foreseen_from_some(task_rows, text_settings):
    """Words drawn as words are (Zipf), so that distinct pairs grow by a power below one."""
    rows, roles = task_rows("text-classification")
    task = TextClassification.from_rows(rows, roles, text_settings)
    words = " ".join(row["text"] for row in rows).split()
    random = np.random.default_rng(3)
    chance = 1 / np.arange(1, len(words) + 1)
    many = [{"text": " ".join(random.choice(words, 12, p=chance / chance.sum()))} for _ in range(4_000)]
    found = len(fitted(task, [{**row, "label": rows[i % 30]["label"]} for i, row in enumerate(many)]).table)
    assert abs(np.log(expected_ngrams(task, many[:500], 4_000) / found)) < 0.35


def test_the_untrained_model_weighs_what_the_trained_one_will(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    trainer, blank = make_model(tiny_task, tiny_pretrained, TrainConfig())
    rows = tiny_splits.train.rows
    before = logits_of(blank, tiny_task, rows)
    trainer.foresee(blank, tiny_task, rows, len(rows))
    assert np.array_equal(logits_of(blank, tiny_task, rows), before)
    model, _ = mixed(tiny_task, tiny_splits, tiny_pretrained)
    for name, made in (("blank", blank), ("mixed", model)):
        export_onnx(made, tiny_task, rows, tmp_path / name)
    sizes = [(tmp_path / name).stat().st_size for name in ("blank", "mixed")]
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[1]


def test_hashes_of_arrays_and_tensors_are_the_same_and_stay_within_31_bits():
    ids = np.random.default_rng(0).integers(0, 2**31 - 1, (5, 9))
    for array, tensor in zip(token_hashes(ids), token_hashes(torch.from_numpy(ids)), strict=True):
        assert (array == tensor.numpy()).all()
        assert array.min() >= 0
        assert array.max() < 2**31


PLAIN = {"one": Objective("cross_entropy"), "several": Objective("bce")}


def drawn(kind: str, num_rows: int, seed: int = 0):
    """Logits of two models that err independently, and the truth."""
    random = np.random.default_rng(seed)
    if kind == "several":
        targets = (random.random((num_rows, 4)) < 0.3).astype(np.float32)
        truth = 2 * targets - 1
    else:
        targets = random.integers(0, 4, num_rows)
        truth = np.eye(4)[targets] * 2
    noisy = (truth + random.normal(0, 1, truth.shape) for _ in range(2))
    return (*(torch.from_numpy(logits) for logits in noisy), torch.from_numpy(targets))


@pytest.mark.parametrize("kind", ["one", "several"])
def test_equally_good_parts_get_equal_shares(kind):
    deep, wide, targets = drawn(kind, 5_000)
    shares = fit_shares(deep, wide, targets, PLAIN[kind])
    assert abs(shares.deep - shares.wide) < 0.15 * shares.deep
    noise = torch.from_numpy(np.random.default_rng(9).normal(0, 1, wide.shape))
    assert fit_shares(deep, noise, targets, PLAIN[kind]).wide < 0.1 * shares.wide


def test_a_part_that_is_wrong_is_left_out():
    deep, wide, targets = drawn("one", 500)
    assert fit_shares(deep, -wide, targets, PLAIN["one"]) == Shares(1.0, 0.0)


def test_few_rows_move_the_shares_little():
    """Six rows that both get right would justify any confidence."""
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    logits = torch.eye(3)[targets] * 8.0
    shares = fit_shares(logits, logits, targets, PLAIN["one"])
    assert 0.5 < shares.deep < 2
    assert shares.wide < 2


def test_classes_that_weigh_more_choose_the_share():
    """The linear model is right on the rare class alone."""
    targets = torch.tensor([0] * 90 + [1] * 10)
    deep = torch.stack([torch.ones(100), torch.zeros(100)], 1)
    wide = torch.stack([torch.zeros(100), torch.where(targets == 1, 1.0, 0.4)], 1)
    even, balanced = (
        fit_shares(deep, wide, targets, Objective("cross_entropy", class_weights=w)) for w in (None, (0.1, 5.0))
    )
    assert balanced.wide / balanced.deep > 1.5 * even.wide / even.deep


def logits_of(model, task, rows) -> np.ndarray:
    with torch.no_grad():
        batch = {name: torch.from_numpy(array) for name, array in task.encode(rows).items()}
        return model.eval()(batch)["logits"].numpy()


def mixed(task, splits, pretrained):
    """An untrained encoder under a random head, a linear model, and the two mixed."""
    _, model = make_model(task, pretrained, TrainConfig())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.nn.init.normal_(model.head.weight)
        torch.nn.init.normal_(model.head.bias)
    ngrams = fitted(task, splits.train.rows)
    expected = 0.5 * logits_of(model, task, splits.valid.rows) + 2 * scores_of(ngrams, task, splits.valid.rows)
    model.mix(ngrams, Shares(0.5, 2.0))
    return model, expected


def test_logits_are_both_parts_in_their_shares(tiny_task, tiny_splits, tiny_pretrained):
    model, expected = mixed(tiny_task, tiny_splits, tiny_pretrained)
    assert np.abs(logits_of(model, tiny_task, tiny_splits.valid.rows) - expected).max() < 0.01


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_the_graph_has_both_parts(tiny_task, tiny_splits, tiny_pretrained, tmp_path, opset):
    model, expected = mixed(tiny_task, tiny_splits, tiny_pretrained)
    rows, path = tiny_splits.valid.rows, tmp_path / "model.onnx"
    export_onnx(model, tiny_task, rows, path, opset=opset)
    check_parity(model, tiny_task, rows, path, 1e-4)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert np.abs(session.run(["logits"], tiny_task.encode(rows))[0] - expected).max() < 0.01
    ids = np.random.default_rng(1).integers(5, 100, (4, 1))  # no neighbours at all
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    with torch.no_grad():
        alone = model({name: torch.from_numpy(array) for name, array in feed.items()})["logits"].numpy()
    assert np.abs(session.run(["logits"], feed)[0] - alone).max() < 1e-4


@pytest.mark.slow  # the exporter follows the model for some seconds
def test_tracing_gives_what_writing_gives(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    model, _ = mixed(tiny_task, tiny_splits, tiny_pretrained)
    trace_onnx(model, tiny_task, tiny_splits.train.rows, tmp_path / "model.onnx")
    check_parity(model, tiny_task, tiny_splits.valid.rows, tmp_path / "model.onnx", 1e-4)


@pytest.mark.parametrize("kind", ["text-classification", "text-classification/multi-label"])
def test_a_run_mixes_unless_told_not_to(task_rows, text_settings, tiny_pretrained, tmp_path, kind):
    rows, roles = task_rows(kind)
    task = TextClassification.from_rows(rows, roles, text_settings)
    splits = split(rows, roles)
    config = TrainConfig(epochs=1, precision="fp32")
    plain = train_tiny(task, splits, tiny_pretrained, config.model_copy(update={"ngrams": False}), tmp_path / "plain")
    both = train_tiny(task, splits, tiny_pretrained, config, tmp_path / "both")
    assert plain.model.ngrams is None
    assert not any("ngrams" in name for name in load_file(tmp_path / "plain" / WEIGHTS))
    assert describe(plain.model)["ngrams"] == 0
    assert torch.equal(load_file(tmp_path / "both" / WEIGHTS)["ngrams.table"], both.model.ngrams.table)
    assert describe(both.model)["ngrams"] > 50


def test_labels_no_training_row_had_do_not_stop_the_mix(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    valid = rows_of([*tiny_splits.valid.rows, {**tiny_splits.valid.rows[0], "label": "never heard of"}])
    found = train_tiny(
        tiny_task, replace(tiny_splits, valid=valid), tiny_pretrained, TrainConfig(epochs=1), tmp_path / "run"
    )
    assert found.model.ngrams is not None


def test_a_probe_stays_a_probe_and_the_run_says_what_it_mixed(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    for method, expected in (("probe", None), ("lora", "learned from 24 of 24 rows; logits are")):
        events: list = []
        config = TrainConfig(method=method, epochs=1)
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / method, events=events)
        said = [event.text for event in events if isinstance(event, Notice) and "n-grams" in event.text]
        assert (said == []) if expected is None else (expected in said[0])
        assert not [text for text in said if "编码器" not in in_chinese(text)]


def test_numbers_and_pairs_have_no_such_setting(task_rows, text_settings, tiny_pretrained, tmp_path):
    for kind, cls in (("text-regression", TextRegression), ("text-pair", TextPair)):
        rows, roles = task_rows(kind)
        task = cls.from_rows(rows, roles, text_settings)
        found = train_tiny(task, split(rows, roles), tiny_pretrained, TrainConfig(epochs=1), tmp_path / kind)
        assert found.model.ngrams is None
