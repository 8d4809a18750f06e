"""A student comes to say what its teacher says, of labelled texts, altered ones and others; killed, it goes on."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from unit_training import SEED, make_model, train_tiny

from penjing.compress.distil import DistilSettings, distil
from penjing.compress.disturb import Disturber
from penjing.compress.guide import Guide
from penjing.compress.lessons import IDS, MASK, OFFSETS, TAUGHT, Lessons, Taught, read_lessons
from penjing.compress.student import Shape, keep_ngrams, make_student
from penjing.compress.teach import hidden_moments
from penjing.compress.vocabulary import prune_vocabulary
from penjing.core.events import Progress
from penjing.core.memory import existing_objects_kept
from penjing.core.runtime import Runtime
from penjing.models.ngrams import blank_ngrams
from penjing.tasks.text_pair import TextPair
from penjing.tasks.token_classification import TokenClassification
from penjing.train.checkpoint import read_position
from penjing.train.config import TrainConfig
from penjing.train.gradient.objective import Objective
from penjing.train.gradient.sequence import SequenceTrainer
from penjing.train.gradient.tokens import band_scores, real_band, span_scores
from penjing.train.loop import to_tensors

pytest_plugins = ["training_fixtures"]
CONFIG = TrainConfig(epochs=30, batch_rows=8, learning_rate=1e-3, precision="fp32", dropout=0.0)
SETTINGS = DistilSettings(epochs=12, learning_rate=1e-3, batch_rows=8)
UNLABELLED = [{"text": "the kettle leaks and the parcel is late"}, {"text": "我要退款"}]


@pytest.fixture(scope="module")
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def teacher(threads, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    return train_tiny(tiny_task, tiny_splits, tiny_pretrained, CONFIG, tmp_path / "teacher").model


def lessons_of(teacher, task, rows, unlabelled=(), altered=2):
    *events, lessons = read_lessons(
        teacher, task, rows, unlabelled, altered=altered, seed=SEED, device="cpu", dtype=torch.float32
    )
    assert all(isinstance(event, Progress) for event in events) and isinstance(lessons, Lessons)
    return lessons


def taught(task, splits, student, lessons, out, settings=SETTINGS, stop_at=None):
    work = distil(
        task, splits, student, lessons, Objective("cross_entropy"), settings, out, Runtime(), identity="t", seed=SEED
    )
    with existing_objects_kept():
        while True:
            try:
                event = next(work)
            except StopIteration as stop:
                return stop.value
            if stop_at is not None and isinstance(event, Progress) and event.stage == "train" and event.done >= stop_at:
                work.close()
                return None


def student_of(teacher):
    config = teacher.encoder.config
    return make_student(teacher, Shape(1, config.hidden_size, config.intermediate_size // 2))


def test_the_teacher_reads_words_that_its_students_only_spell(teacher, tiny_task, tiny_splits, tmp_path):
    rows = tiny_splits.train.rows
    used = np.unique(np.concatenate([one[one > 0] for one in tiny_task.encode(rows)[IDS]]))
    pruned = prune_vocabulary(tiny_task.files()["tokenizer.json"], used.tolist())
    (tmp_path / "tokenizer.json").write_text(json.dumps(pruned.values), encoding="utf-8")
    task = dataclasses.replace(tiny_task, input=tiny_task.input.with_tokenizer(tmp_path / "tokenizer.json"))
    *_, lessons = read_lessons(
        teacher, task, rows, (), altered=2, seed=SEED, device="cpu", dtype=torch.float32, reader=tiny_task
    )
    generator, disturb = np.random.default_rng([SEED, len(rows), 2]), Disturber.of(tiny_task, rows)
    read = [*rows, *(disturb(row, generator) for _ in range(2) for row in rows)]
    spelled = 0
    for row, one, said in zip(read, lessons.inputs, lessons.said, strict=True):
        np.testing.assert_array_equal(one[IDS], task.encode([row])[IDS][0])
        with torch.no_grad():
            expected = teacher(to_tensors(tiny_task.encode([row]), "cpu"))["logits"][0]
        np.testing.assert_allclose(said["logits"], expected, atol=1e-4)
        spelled += one[IDS].size > tiny_task.encode([row])[IDS].size
    assert spelled > len(rows) / 6 and max(one[IDS].max() for one in lessons.inputs) < len(pruned.kept)


def test_lessons_hold_what_the_teacher_says(teacher, tiny_task, tiny_splits):
    rows = tiny_splits.train.rows
    lessons = lessons_of(teacher, tiny_task, rows, UNLABELLED)
    assert len(lessons) == 3 * len(rows) + 2 and len(lessons.targets) == len(rows)
    batch = tiny_task.encode(rows[:1])
    np.testing.assert_array_equal(lessons.inputs[0][IDS], batch[IDS][0])
    with torch.no_grad():
        said = teacher({name: torch.from_numpy(batch[name]) for name in (IDS, MASK)})["logits"]
    np.testing.assert_allclose(lessons.said[0]["logits"], said[0].numpy(), atol=1e-5)
    again = lessons_of(teacher, tiny_task, rows, UNLABELLED)
    assert all(np.array_equal(a[IDS], b[IDS]) for a, b in zip(lessons.inputs, again.inputs, strict=True))


def test_altered_texts_differ_and_keep_their_frame(teacher, tiny_task, tiny_splits):
    rows = tiny_splits.train.rows
    lessons = lessons_of(teacher, tiny_task, rows, altered=1)
    pairs = list(zip(lessons.inputs[: len(rows)], lessons.inputs[len(rows) :], strict=True))
    assert all(made[IDS][0] == own[IDS][0] and made[IDS][-1] == own[IDS][-1] for own, made in pairs)
    assert sum(not np.array_equal(own[IDS], made[IDS]) for own, made in pairs) > len(rows) // 2


def test_a_student_comes_nearer_to_its_teacher(teacher, tiny_task, tiny_splits, tmp_path):
    lessons = lessons_of(teacher, tiny_task, tiny_splits.train.rows, UNLABELLED)

    def distance(model):
        batch = tiny_task.encode(tiny_splits.train.rows)
        with torch.no_grad():
            said = model.eval()({name: torch.from_numpy(batch[name]) for name in (IDS, MASK)})["logits"]
        other = torch.from_numpy(np.stack([one["logits"] for one in lessons.said[: len(said)]]))
        return float((other.softmax(1) - said.softmax(1)).abs().mean())

    student = student_of(teacher)
    # Knowing nothing, and judged by many rows: of six, one that has learned nothing may be the best.
    torch.nn.init.zeros_(student.head.weight)
    splits = dataclasses.replace(tiny_splits, valid=tiny_splits.train)
    before = distance(student)
    result = taught(tiny_task, splits, student, lessons, tmp_path / "student")
    assert distance(result.model) < 0.5 * before
    assert result.model.ngrams is None


def test_inner_states_are_learned_from_batches_with_and_without_padding(teacher, tiny_task, tiny_splits):
    guide = Guide(teacher, None, hidden=1.0, relations=1.0)
    student = student_of(teacher)
    rows = tiny_splits.train.rows[:1] * 2  # of one length: batches of such have no mask while training
    encoded = to_tensors(tiny_task.encode(rows), "cpu")
    ids, whole = encoded[IDS], {IDS: encoded[IDS], "labelled": torch.ones(2)}
    padded = {IDS: F.pad(ids, (0, 3)), MASK: F.pad(torch.ones_like(ids), (0, 3)), "labelled": torch.ones(2)}
    found = []
    for batch in (whole, padded):
        with guide.watching(student) as inner:
            student(batch)
        found.append(guide.losses(inner, batch).detach())
    assert float(found[0].min()) > 0
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_the_strongest_ngrams_stay_beside_a_student(teacher, tiny_task, tiny_splits, tmp_path):
    teacher.ngrams = blank_ngrams(60, len(tiny_task.labels))
    teacher.ngrams.hashes = torch.arange(61)
    teacher.ngrams.table[1:] = torch.rand(60, len(tiny_task.labels) + 1).half()
    lessons = lessons_of(teacher, tiny_task, tiny_splits.train.rows)
    student = student_of(teacher)
    keep_ngrams(student, teacher, 30)
    kept = student.ngrams.table.clone()
    result = taught(tiny_task, tiny_splits, student, lessons, tmp_path / "student")
    assert len(kept) <= 31 and torch.equal(result.model.ngrams.table, kept), "they are not taught"
    assert torch.equal(teacher.ngrams.table[0], kept[0]) and len(teacher.ngrams.table) > 31
    alone = student_of(teacher)
    keep_ngrams(alone, teacher, 0)
    assert alone.ngrams is None


def test_hidden_states_of_texts_with_and_without_padding(teacher, tiny_task, tiny_splits):
    rows = tiny_splits.train.rows[:2]
    alone = [hidden_moments(teacher, lessons_of(teacher, tiny_task, [row], altered=0)) for row in rows]
    together = hidden_moments(teacher, lessons_of(teacher, tiny_task, rows, altered=0))
    assert together.count == sum(one.count for one in alone) > 0
    torch.testing.assert_close(together.square_II, sum(one.square_II for one in alone), rtol=1e-3, atol=1e-3)


def test_a_killed_student_ends_with_the_same_weights(teacher, tiny_task, tiny_splits, tmp_path):
    lessons = lessons_of(teacher, tiny_task, tiny_splits.train.rows)
    settings = dataclasses.replace(SETTINGS, checkpoint_seconds=0.0)
    whole = taught(tiny_task, tiny_splits, student_of(teacher), lessons, tmp_path / "whole", settings)
    assert taught(tiny_task, tiny_splits, student_of(teacher), lessons, tmp_path / "cut", settings, stop_at=20) is None
    assert 0 < read_position(tmp_path / "cut").step < read_position(tmp_path / "whole").step
    resumed = taught(tiny_task, tiny_splits, student_of(teacher), lessons, tmp_path / "cut", settings)
    assert read_position(tmp_path / "cut").step == read_position(tmp_path / "whole").step
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, atol=0, rtol=0)


def test_pairs_are_altered_side_by_side(threads, task_rows, text_settings, tiny_pretrained):
    rows, roles = task_rows("text-pair")
    task = TextPair.from_rows(rows, roles, text_settings)
    model = SequenceTrainer().build_model(task, tiny_pretrained, TrainConfig(), SEED).eval()
    lessons = lessons_of(model, task, rows[:6], altered=1)
    assert len(lessons) == 12
    assert all(one[IDS].shape == one[MASK].shape and one[IDS].shape[0] == 2 for one in lessons.inputs)
    assert all((one[MASK].sum(1) >= 2).all() for one in lessons.inputs)


def test_what_is_said_of_spans_grows_with_a_text_and_not_with_its_square(
    threads, task_rows, text_settings, tiny_pretrained
):
    rows, roles = task_rows("token-classification")
    task = dataclasses.replace(TokenClassification.from_rows(rows, roles, text_settings), max_span_tokens=3)
    _, model = make_model(task, tiny_pretrained, TrainConfig())
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter)  # fresh scores are zero: it would say nothing
    lessons = lessons_of(model.eval(), task, rows[:6], altered=0)
    length = max(one[IDS].size for one in lessons.inputs)
    assert all(
        one["pairs"].shape == (mine[IDS].size, 3) for one, mine in zip(lessons.said, lessons.inputs, strict=True)
    )
    batch = to_tensors(Taught(task, lessons).encode(lessons.table().rows), "cpu")
    with torch.no_grad():
        outputs = model(batch)
        whole = band_scores(outputs["logits"], outputs["pairs"], 3)
    kept = span_scores(batch[TAUGHT + "logits"], batch[TAUGHT + "pairs"])
    allowed = real_band(batch[OFFSETS][:, :, 0] >= 0, 3).unsqueeze(1).expand_as(whole)
    assert whole.shape == (6, len(task.labels), length, 3) and whole[allowed].std() > 0.1
    torch.testing.assert_close(kept[allowed], whole[allowed], atol=1e-2, rtol=1e-2)  # 16 bits
