"""The span trainer: its loss, its gradient's sum, learning, and the export."""

import numpy as np
import onnxruntime
import pytest
import torch

from penjing.core.task import Table
from penjing.export.onnx import check_parity, export_onnx
from penjing.tasks.token_classification import TokenClassification
from penjing.train.config import TrainConfig
from penjing.train.gradient.tokens import TokenTrainer, band_scores, real_band, zlpr
from penjing.train.loop import to_tensors
from penjing.train.validation import evaluate_model


@pytest.fixture
def rows(task_rows):
    return task_rows("token-classification")[0]


@pytest.fixture
def task(task_rows, text_settings):
    return TokenClassification.from_rows(*task_rows("token-classification"), text_settings)


@pytest.fixture
def model(task, tiny_pretrained):
    return TokenTrainer().build_model(task, tiny_pretrained, TrainConfig(), seed=1)


def test_loss_is_the_formula_over_every_possible_span():
    generator = torch.Generator().manual_seed(0)
    batch, length, labels, width = 2, 6, 3, 4
    logits = torch.randn(batch, length, labels, 2, generator=generator)
    pairs = torch.randn(batch, length, length, generator=generator)
    real = torch.tensor([[False, True, True, True, True, False], [False, True, True, False, False, False]])
    targets = torch.tensor([[[1, 3, 0], [2, 2, 2], [1, 3, 2]], [[1, 2, 1], [-1, -1, -1], [-1, -1, -1]]])
    scores = band_scores(logits, pairs, width)
    losses = zlpr(scores, real_band(real, width), targets)
    assert losses.shape == (batch, labels)
    for b in range(batch):
        true = {tuple(t) for t in targets[b].tolist()}
        for c in range(labels):
            positive = negative = 0.0
            for i in range(length):
                for j in range(i, min(length, i + width)):
                    s = float(logits[b, i, c, 0] + logits[b, j, c, 1] + pairs[b, i, j])
                    if (i, j, c) in true:
                        positive += np.exp(-s)
                    elif real[b, i] and real[b, j]:
                        negative += np.exp(s)
            assert float(losses[b, c]) == pytest.approx(np.log1p(positive) + np.log1p(negative), rel=1e-4)


def test_the_sum_of_single_rows_is_the_batch(task, model, rows):
    trainer, model = TokenTrainer(), model.double().eval()  # no dropout, which draws anew for each batch
    total, weight = trainer.loss(model, to_tensors(task.encode(rows, training=True), "cpu"))
    singles = [trainer.loss(model, to_tensors(task.encode([row], training=True), "cpu")) for row in rows]
    assert float(weight) == len(rows) == sum(float(w) for _, w in singles)
    assert float(total.detach()) == pytest.approx(sum(float(loss.detach()) for loss, _ in singles), rel=1e-5)


def test_the_same_seed_gives_the_same_head_and_leaves_the_generator_alone(task, tiny_pretrained):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (TokenTrainer().build_model(task, tiny_pretrained, TrainConfig(), seed=9) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_learns_the_spans_of_a_few_rows(task, model, rows):
    trainer = TokenTrainer()
    batch = to_tensors(task.encode(rows, training=True), "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    table = Table(rows, [str(i) for i in range(len(rows))])
    before = evaluate_model(model, task, table, "cpu")["f1"]
    model.train()
    for _ in range(60):
        loss, weight = trainer.loss(model, batch)
        (loss / weight).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = evaluate_model(model, task, table, "cpu")["f1"]
    assert not before > 0.3
    assert after > 0.95


def test_export_agrees_and_predicts_the_same_spans(task, model, rows, tmp_path):
    model.eval()
    with torch.no_grad():
        model.head.borders.bias.fill_(0.5)  # so that there are spans to compare
    path = tmp_path / "model.onnx"
    export_onnx(model, task, rows, path)
    assert check_parity(model, task, rows, path, 1e-3).rows == len(rows)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == [spec.name for spec in task.signature.outputs]

    def run(batch):
        return dict(zip(names, session.run(names, batch), strict=True))

    one_by_one = [task.predict(run, task.encode([row]))[0].value for row in rows]
    together = [prediction.value for prediction in task.predict(run, task.encode(rows))]
    assert together == one_by_one
    assert sum(map(len, together)) > 0
