"""Roles, task kinds and languages from names and contents; the user's word wins."""

import json
from pathlib import Path

import numpy as np
import pytest

from penjing.core.errors import DataError
from penjing.core.recipe import read_recipe
from penjing.core.task import Table
from penjing.data.config import ColumnsConfig
from penjing.data.conform import conform
from penjing.data.infer import infer, written_down
from penjing.data.language import detect_language
from penjing.data.numbers import warn_of_strays
from penjing.data.sources import read_table

SENTENCE = "the delivery was late and nobody answered my calls about this order again today please help"
WORDS = SENTENCE.split()


def sentences(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 9)) + f" {i}" for i in range(count)]


def table(**columns):
    names = list(columns)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Table(rows, [f"t.csv:{i + 2}" for i in range(len(rows))], "t.csv")


def understand(task="auto", columns=None, **data):
    return infer(table(**data), columns or ColumnsConfig(), task)


N = 60
AB = ["a", "b"] * (N // 2)


def test_text_classification_by_content_alone():
    found = understand(column_1=AB, column_2=sentences(N))
    assert (found.task_kind, found.roles.text, found.roles.label) == ("text-classification", "column_2", "column_1")
    assert any("set data.columns.label" in note for note in found.explanation)


def test_names_beat_position():
    found = understand(kind=AB, sentiment=["x", "y", "z"] * 20, review=sentences(N), notes=sentences(N, 1))
    assert (found.roles.text, found.roles.label) == ("review", "sentiment")
    assert any("'notes'" in note and "not used" in note for note in found.explanation)


def test_the_users_word_wins():
    found = understand(
        columns=ColumnsConfig(text="notes", label="kind"),
        kind=AB,
        sentiment=AB,
        review=sentences(N),
        notes=sentences(N, 1),
    )
    assert (found.roles.text, found.roles.label) == ("notes", "kind")
    with pytest.raises(DataError, match=r"data\.columns\.text names column 'reviw'.*did you mean 'review'"):
        understand(columns=ColumnsConfig(text="reviw"), review=sentences(N), label=AB)


@pytest.mark.parametrize("names", [("sentence1", "sentence2"), ("column_1", "column_2"), ("premise", "hypothesis")])
def test_pairs(names):
    found = understand(**{names[0]: sentences(N), names[1]: sentences(N, 1), "label": AB})
    assert (found.task_kind, found.roles.text, found.roles.text_pair) == ("text-pair", *names)
    with pytest.raises(DataError, match="two texts and a number"):
        understand(**{names[0]: sentences(N), names[1]: sentences(N, 1), "label": [str(i / 7) for i in range(N)]})


def test_title_and_body_are_no_pair():
    found = understand(title=sentences(N), content=[s * 20 for s in sentences(N, 1)], label=AB)
    assert (found.task_kind, found.roles.text, found.roles.text_pair) == ("text-classification", "content", None)


@pytest.mark.parametrize(
    ("labels", "kind", "shape"),
    [
        (["1", "0"] * 30, "text-classification", "classes"),
        ([str(i % 5) for i in range(N)], "text-classification", "classes"),
        ([f"{i / 7:.3f}" for i in range(N)], "text-regression", "numbers"),
        ([str(37 * i % 59) for i in range(N)], "text-regression", "numbers"),
        (["3", "4", "3,4"] * 20, "text-classification", "classes"),
        (["3", "4", "5", "3,4", "4,5", "3,5"] * 10, "text-classification", "sets"),
        (["joy|fear", "fear|anger", "joy|anger", "joy"] * 15, "text-classification", "sets"),
        ([["x"], ["x", "y"], []] * 20, "text-classification", "sets"),
        (["Books, Music", "Films", "Games, Toys"] * 20, "text-classification", "classes"),
        (["a/c repair", "plumbing"] * 30, "text-classification", "classes"),
    ],
)
def test_label_shapes(labels, kind, shape):
    found = understand(text=sentences(N), label=labels)
    assert (found.task_kind, found.label.kind) == (kind, shape)


def test_conform_gives_each_kind_its_type():
    many = table(text=sentences(N), label=["3", "4", "5", "3,4", "4,5", None] * 10)
    done = conform(many, infer(many, ColumnsConfig()))
    assert done.table.rows[3]["label"] == ["3", "4"] and len(done.unlabelled) == 10
    ints = table(text=[*sentences(N - 1), "  "], label=[1, 0.0] * 30)
    done = conform(ints, infer(ints, ColumnsConfig()))
    assert {row["label"] for row in done.table.rows} == {"1", "0"} and done.without_text == ("t.csv:61",)
    numbers = table(text=sentences(N), label=[f"{i / 7:.3f}" for i in range(N - 1)] + ["n/a"])
    with pytest.raises(DataError, match=r"t\.csv:61, column 'label': the label is 'n/a'. Expected a number"):
        conform(numbers, infer(numbers, ColumnsConfig()))


def test_empty_cells_of_several_labels():
    data = table(text=sentences(N), label=["joy|fear", "fear|anger", "joy|anger", "joy", None, "  "] * 10)
    guessed = infer(data, ColumnsConfig())
    assert len(conform(data, guessed).unlabelled) == 20
    assert any("20 empty cells mean not labelled yet" in note for note in guessed.explanation)
    said = infer(data, ColumnsConfig(label_separator="|"))
    assert [row["label"] for row in conform(data, said).table.rows[3:6]] == [["joy"], [], []]
    assert any("20 empty cells mean none of the labels" in note for note in said.explanation)


def test_the_lines_of_the_multi_label_recipe(tmp_path):
    recipe = Path(__file__).parents[2] / "recipes/text-classification-multi-label.yaml"
    shown = [line.removeprefix("#   ") for line in recipe.read_text().splitlines() if line.startswith("#   ")]
    path = tmp_path / "complaints.csv"
    path.write_text("\n".join(shown) + "\n")
    data = read_recipe(recipe).stage("data").model_copy(update={"source": str(path)})
    rows = read_table(data)
    done = conform(rows, infer(rows, data.columns, "text-classification"))
    assert [row["labels"] for row in done.table.rows] == [["delivery", "packaging"], []]


def test_spans():
    spans = [[{"start": 0, "end": 3, "label": "W"}], []] * (N // 2)
    for cells in (spans, [json.dumps(cell) for cell in spans]):
        data = table(text=sentences(N), entities=cells)
        found = infer(data, ColumnsConfig())
        assert (found.task_kind, found.roles.spans, found.label) == ("token-classification", "entities", None)
        assert conform(data, found).table.rows[0]["entities"] == spans[0]
    outside = table(text=sentences(N), entities=[[{"start": 0, "end": 3000, "label": "W"}]] * N)
    with pytest.raises(DataError, match=r"t\.csv:2.*the span 0\.\.3000 lies outside"):
        conform(outside, infer(outside, ColumnsConfig(spans="entities")))


def test_tabular():
    rng = np.random.default_rng(0)
    data = {
        "id": [f"c{i:03}" for i in range(N)],
        "age": [str(v) for v in rng.integers(18, 90, N)],
        "purpose": ["car (used)", "radio or television set", "new furniture for the home"] * 20,
        "amount": [f"{v:.2f}" for v in rng.random(N) * 1e4],
    }
    found = understand(**data, outcome=AB)
    assert (found.task_kind, found.roles.features) == ("tabular-classification", ("age", "purpose", "amount"))
    assert found.roles.row_id == "id"
    found = understand(columns=ColumnsConfig(label="amount", features=("age",)), **data, outcome=AB)
    assert (found.task_kind, found.roles.features) == ("tabular-regression", ("age",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"text": [str(i) for i in range(N)], "label": AB}, "the text column 'text' holds numbers"),
        ({"text": [None] * N, "label": AB}, "the text column 'text' is empty in every row"),
        ({"text": [" "] * N, "label": [None] * N}, "every row is empty"),
        ({"a": sentences(N), "b": sentences(N, 1)}, "no column looks like a label"),
        ({"text": sentences(N), "label": [None] * N}, "no column looks like a label"),
    ],
)
def test_what_cannot_be_understood_is_refused(data, message):
    with pytest.raises(DataError, match=message):
        understand(**data)


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (sentences(50), "en"),
        (["card_payment", "top up", "iPhone 12"], "en"),
        (["物流很快，包装很好", "iPhone 12 的屏幕不错"], "zh"),
        (["物流很快，包装很好"] * 5 + sentences(5), "mixed"),
        (["これはとても良いです", "悪くない商品でした"], "other"),
        (["Это очень хорошо", "Плохо"], "other"),
        (["le produit est très bon et je suis content", "la livraison des colis ne marche pas"], "other"),
        (["das ist nicht gut und ich bin nicht zufrieden"], "other"),
        (["12345", "!!!"], "other"),
    ],
)
def test_languages(texts, language):
    assert detect_language(texts).language == language


def test_prices_with_commas_are_numbers():
    prices = [f"{price:,}" for price in np.random.default_rng(0).integers(500, 90_000, 2_000)]
    data = table(text=sentences(2_000), label=prices)
    found = infer(data, ColumnsConfig())
    assert (found.task_kind, found.label.kind) == ("text-regression", "numbers")
    assert any("numbers with commas between thousands" in note for note in found.explanation)
    conformed = conform(data, found).table
    assert conformed.rows[0]["label"] == float(prices[0].replace(",", ""))
    apart = infer(data, ColumnsConfig(label_separator=","))
    assert apart.task_kind == "text-classification"  # the user's word wins


def test_codes_with_commas_are_labels():
    codes = ["034,101", "101", "034", "101,205", "205", "034,205"] * 20
    found = understand(text=sentences(120), label=codes)
    assert (found.label.kind, found.label.separator) == ("sets", ",")


def test_cells_that_keep_a_column_from_being_numbers_are_told():
    rows = [{"age": str(i), "gap": "?" if i % 9 == 0 else str(i), "job": "ab"[i % 2]} for i in range(100)]
    rows[7]["age"] = "12 years"
    (warning,) = warn_of_strays(rows, ("age", "gap", "job"))
    assert warning.startswith("warning: column 'age' holds numbers but for 1 cell ('12 years')")


@pytest.mark.parametrize("mark", ["%s%%", "¥%s", "$%s"])
def test_labels_are_read_as_features_are(mark):
    found = understand(text=sentences(N), label=[mark % (i + 0.5) for i in range(N)])
    assert found.task_kind == "text-regression"


@pytest.mark.parametrize("kind", ["text-classification", "text-pair", "token-classification", "tabular-classification"])
def test_what_was_inferred_can_be_written_down_and_is_then_the_same(kind, task_rows):
    rows, _ = task_rows(kind)
    more = [
        {"row_id": f"A-{i}", "customer": f"c{i // 3}", "created_at": f"2024-05-{i % 28 + 1:02}", **row}
        for i, row in enumerate(rows)
    ]
    data = Table(more, [str(i) for i in range(len(more))], "rows")
    found = infer(data, ColumnsConfig())
    again = infer(data, written_down(found), found.task_kind)
    assert (again.roles, again.label, again.task_kind) == (found.roles, found.label, kind)
    assert written_down(again) == written_down(found)


def test_a_task_of_numbers_learns_the_column_of_numbers():
    prices = [f"{i * 7.31:.2f}" for i in range(N)]
    found = understand("text-regression", description=sentences(N), price=prices)
    assert (found.task_kind, found.roles.text, found.roles.label) == ("text-regression", "description", "price")
    with pytest.raises(DataError, match=r"no column looks like a label.*a column of numbers"):
        understand("text-regression", description=sentences(N), name=sentences(N, 1))
