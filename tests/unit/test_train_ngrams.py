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

from penjing.core.task import Table
from penjing.export.onnx import check_parity, export_onnx, trace_onnx
from penjing.models.ngrams import NgramScores, token_hashes
from penjing.tasks.text_classification import TextClassification
from penjing.tasks.text_pair import TextPair
from penjing.tasks.text_regression import TextRegression
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.gradient.ngrams import PENALTY, Shares, fit_ngrams, fit_shares
from penjing.train.gradient.sequence import describe

pytest_plugins = ["training_fixtures"]


def rows_of(rows) -> Table:
    return Table(rows, [str(i) for i in range(len(rows))], "rows")


def vectors(task, rows, known=None):
    """Feature → value of each row, computed from token ids one by one: no hash, no padding."""
    counts = []
    for row in rows:
        ids = task.encode([row])["input_ids"][0].tolist()
        counts.append(Counter(ids) + Counter(itertools.pairwise(ids)))
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
    monkeypatch.setattr("penjing.train.gradient.ngrams._SLOTS", (2**22, 2**22))  # no two features share one
    train, valid = tiny_splits.train, tiny_splits.valid
    ngrams = fit_ngrams(tiny_task, train, seed=1)
    inputs, known = vectors(tiny_task, train.rows)
    targets = tiny_task.encode(train.rows, training=True)["targets"]
    for rows in (train.rows, valid.rows):
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


def test_padding_and_company_change_nothing(tiny_task, tiny_splits):
    ngrams = fit_ngrams(tiny_task, tiny_splits.train)
    together = scores_of(ngrams, tiny_task, tiny_splits.valid.rows)
    alone = np.concatenate([scores_of(ngrams, tiny_task, [row]) for row in tiny_splits.valid.rows])
    assert np.abs(together - alone).max() < 1e-5


def test_two_classes_are_mirrored(task_rows, text_settings):
    rows, roles = task_rows("text-classification/binary")
    task = TextClassification.from_rows(rows, roles, text_settings)
    table = rows_of(rows)
    found = scores_of(fit_ngrams(task, table), task, rows)
    assert np.abs(found.sum(1)).max() < 0.01
    assert (found.argmax(1) == task.encode(rows, training=True)["targets"]).mean() > 0.9


def test_rows_of_one_class_tell_nothing(tiny_task, tiny_splits):
    same = [row for row in tiny_splits.train.rows if row["label"] == tiny_splits.train.rows[0]["label"]]
    assert fit_ngrams(tiny_task, rows_of(same)) is None


def test_of_too_many_rows_some_are_drawn(tiny_task, tiny_splits, monkeypatch):
    whole = fit_ngrams(tiny_task, tiny_splits.train)
    for bound, value in (("MAX_TOKENS", 100), ("MAX_ROW_CLASSES", 3 * 10)):
        with monkeypatch.context() as patch:
            patch.setattr(f"penjing.train.gradient.ngrams.{bound}", value)
            fewer = fit_ngrams(tiny_task, tiny_splits.train)
        assert 0 < len(fewer.table) < len(whole.table)


def test_hashes_of_arrays_and_tensors_are_the_same_and_stay_within_31_bits():
    ids = np.random.default_rng(0).integers(0, 2**31 - 1, (5, 9))
    for array, tensor in zip(token_hashes(ids), token_hashes(torch.from_numpy(ids)), strict=True):
        assert (array == tensor.numpy()).all()
        assert array.min() >= 0
        assert array.max() < 2**31


def drawn(kind: str, num_rows: int, seed: int = 0):
    """Logits of two models that err independently, and the truth."""
    random = np.random.default_rng(seed)
    if kind == "several":
        targets = (random.random((num_rows, 4)) < 0.3).astype(np.float32)
        truth = 2 * targets - 1
    else:
        targets = random.integers(0, 4, num_rows)
        truth = np.eye(4)[targets] * 2
    return truth + random.normal(0, 1, truth.shape), truth + random.normal(0, 1, truth.shape), targets


@pytest.mark.parametrize("kind", ["one", "several"])
def test_equally_good_parts_get_equal_shares(kind):
    deep, wide, targets = drawn(kind, 5_000)
    shares = fit_shares(deep, wide, targets)
    assert abs(shares.deep - shares.wide) < 0.15 * shares.deep
    noise = np.random.default_rng(9).normal(0, 1, wide.shape)
    assert fit_shares(deep, noise, targets).wide < 0.1 * shares.wide


def test_a_part_that_is_wrong_is_left_out():
    deep, wide, targets = drawn("one", 500)
    assert fit_shares(deep, -wide, targets).wide == 0
    assert fit_shares(deep, -wide, targets).deep == 1


def test_few_rows_move_the_shares_little():
    """Six rows that both get right would justify any confidence."""
    deep = wide = np.eye(3)[[0, 1, 2, 0, 1, 2]] * 8.0
    shares = fit_shares(deep, wide, np.array([0, 1, 2, 0, 1, 2]))
    assert 0.5 < shares.deep < 2
    assert shares.wide < 2


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
    ngrams = fit_ngrams(task, splits.train)
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


def test_numbers_and_pairs_have_no_such_setting(task_rows, text_settings, tiny_pretrained, tmp_path):
    for kind, cls in (("text-regression", TextRegression), ("text-pair", TextPair)):
        rows, roles = task_rows(kind)
        task = cls.from_rows(rows, roles, text_settings)
        found = train_tiny(task, split(rows, roles), tiny_pretrained, TrainConfig(epochs=1), tmp_path / kind)
        assert found.model.ngrams is None
