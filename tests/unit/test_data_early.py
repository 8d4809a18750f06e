"""What would only fail after hours of training is refused while the data is read, with its row."""

import json

import numpy as np
import pytest

from penjing.core.errors import DataError, RecipeError
from penjing.core.recipe import parse_recipe
from penjing.data.check import check_source
from penjing.data.config import ColumnsConfig, DataConfig
from penjing.data.hub import _part
from penjing.data.prepare import prepare


def saved(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataConfig(source=str(path))


def rows(count, **more):
    return [{"text": f"message number {i} about things", "label": "ab"[i % 2], **more} for i in range(count)]


def test_one_class_in_the_training_part(tmp_path):
    made = [{**row, "split": "train" if row["label"] == "a" else "test"} for row in rows(60)]
    with pytest.raises(DataError, match=r"one class only \('a'\).*") as caught:
        prepare(saved(tmp_path / "a.jsonl", made))
    assert "training part" in caught.value.message and "Next:" in caught.value.message


def test_ids_of_numbers_are_no_labels_of_texts(tmp_path):
    numbers = np.random.default_rng(0).choice(10**8, 80, replace=False).tolist()
    made = [{"text": row["text"], "label": number} for row, number in zip(rows(80), numbers, strict=True)]
    data = saved(tmp_path / "a.jsonl", made)
    with pytest.raises(DataError, match=r"looks like an id.*task: text-regression"):
        prepare(data)
    assert prepare(data, "text-regression").task_kind == "text-regression"
    assert check_source(data).find("unusable-label").count == 80
    assert check_source(data, "text-regression").ok


@pytest.mark.parametrize(
    ("span", "reason"), [({"start": 7, "end": 8}, "nothing but blanks"), ({"label": "x" * 400}, "400 characters")]
)
def test_spans_no_task_accepts_are_refused_with_their_row(tmp_path, span, reason):
    made = [{"text": row["text"], "spans": [{"start": 0, "end": 7, "label": "THING"}]} for row in rows(40)]
    made[12]["spans"] = [{**made[12]["spans"][0], **span}]
    with pytest.raises(DataError, match=reason) as caught:
        prepare(saved(tmp_path / "a.jsonl", made))
    assert "a.jsonl:13" in caught.value.message


def test_labels_too_long_are_refused_with_their_row(tmp_path):
    made = rows(40)
    made[3]["label"] = "b" * 301
    with pytest.raises(DataError, match=r"a\.jsonl:4, column 'label': the label has 301 characters"):
        prepare(saved(tmp_path / "a.jsonl", made))


def test_check_agrees_with_run_about_rare_classes(tmp_path):
    data = saved(tmp_path / "a.jsonl", [*rows(60), {"text": "one of its kind", "label": "odd"}])
    found = check_source(data).find("unusable-label")
    assert (found.count, found.examples[0].detail) == (1, "odd")
    dropping = data.model_copy(update={"rare_classes": "drop"})
    assert check_source(dropping).ok and prepare(dropping).task_kind == "text-classification"


def test_columns_that_give_the_label_away_are_shown(tmp_path):
    made = [{"age": i % 40, "visits": i % 7, "label": "ab"[i % 2], "closed": "yn"[i % 2]} for i in range(80)]
    data = saved(tmp_path / "a.jsonl", made).model_copy(update={"columns": ColumnsConfig(label="label")})
    assert [e.row_id for e in check_source(data).find("label-in-features").examples] == ["closed"]


def test_a_setting_without_its_stage_is_found():
    with pytest.raises(RecipeError, match=r"unknown key 'epochs', did you mean 'train\.epochs'\?"):
        parse_recipe({"epochs": 3})
    with pytest.raises(RecipeError, match=r"unknown key 'max_length', did you mean 'train\.max_length'\?"):
        parse_recipe({"max_length": 3})


@pytest.mark.parametrize(
    ("split", "part"),
    [("train", "train"), ("validation_matched", "valid"), ("test_mismatched", "test"), ("unsupervised", "train"),
     ("other", "other")],
)  # fmt: skip
def test_parts_of_hub_data(split, part):
    assert _part(split) == part
