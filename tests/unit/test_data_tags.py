"""Tagged tokens, as files and as lists, give the text and spans they were made from."""

import json
import random

import pytest

from penjing.core.errors import DataError
from penjing.data.config import ColumnsConfig, DataConfig, FormatConfig, LimitsConfig
from penjing.data.infer import infer
from penjing.data.profile import parse_spans
from penjing.data.sources import read_table, stream_rows
from penjing.data.tags import joined, tag_spans, text_of_tokens

ENGLISH = "Ada Lovelace wrote to the Royal Society in London , twice ."
SPANS = [(0, 2, "PER"), (5, 7, "ORG"), (8, 9, "LOC")]


def tags_of(length, spans, scheme):
    """Tags of spans that do not overlap, by the usual definitions of the schemes."""
    begin, middle, last, single = {
        "BIO": "BIIB", "IOB1": "IIII", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES", "names": "    ",
    }[scheme]  # fmt: skip
    tags = ["O"] * length
    for i, (start, end, label) in enumerate(spans):
        touches = scheme == "IOB1" and i and spans[i - 1][1] == start and spans[i - 1][2] == label
        for place in range(start, end):
            letter = middle if place > start else "B" if touches else begin
            if place == end - 1:
                letter = single if end - start == 1 and not touches else last if place > start else letter
            tags[place] = label if scheme == "names" else f"{letter}-{label}"
    return tags


def drawn(generator, apart):
    """Spans without overlap; with `apart`, no two of a label touch."""
    spans, place = [], 0
    while place < 20:
        place += generator.randrange(3)
        end = place + generator.randrange(1, 4)
        label = generator.choice(["PER", "ORG"])
        if apart and spans and spans[-1][1] == place and spans[-1][2] == label:
            place += 1
            end += 1
        spans.append((place, end, label))
        place = end
    return spans


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES", "BILOU", "BMES", "names"])
def test_spans_come_back_from_every_scheme(scheme):
    generator = random.Random(0)
    for _ in range(200):
        spans = drawn(generator, apart=scheme == "names")
        tokens = [generator.choice(["a", "bc", "中", "国", "."]) for _ in range(30)]
        text, starts = joined(tokens)
        found = tag_spans(tokens, starts, tags_of(30, spans, scheme))
        expected = [(starts[a], starts[b - 1] + len(tokens[b - 1]), label) for a, b, label in spans]
        assert [(s["start"], s["end"], s["label"]) for s in found] == expected
        assert all(text[starts[i] : starts[i] + len(token)] == token for i, token in enumerate(tokens))


def test_texts_look_as_people_write_them():
    assert joined(ENGLISH.split())[0] == "Ada Lovelace wrote to the Royal Society in London, twice."
    assert joined(list("他在北京大学"))[0] == "他在北京大学"
    assert joined(list("2010年iPhone卖得最好，涨了3.5倍"))[0] == "2010年iPhone卖得最好，涨了3.5倍"
    assert joined(["그는", "서울에", "갔다", "."])[0] == "그는 서울에 갔다."
    assert joined(["苹果", "iPhone", "15", "（", "黑", "）"])[0] == "苹果iPhone 15（黑）"


def as_lines(tokens, tags, separator):
    return "".join(f"{token}{separator}{tag}\n" for token, tag in zip(tokens, tags, strict=True)) + "\n"


@pytest.mark.parametrize("name", ["train.conll", "train.txt", "train.bio", "train"])
@pytest.mark.parametrize("separator", ["\t", " ", " NNP B-NP "])
def test_a_file_of_tagged_tokens_is_recognised(tmp_path, name, separator):
    path = tmp_path / name
    english, chinese = ENGLISH.split(), list("李雷去了北京 玩")
    path.write_text(
        "-DOCSTART- -X- O O\n\n"
        + as_lines(english, tags_of(len(english), SPANS, "BIO"), separator)
        + as_lines(chinese[:6], tags_of(6, [(0, 2, "PER"), (4, 6, "LOC")], "BIO"), separator)
    )
    table = read_table(DataConfig(source=str(path)))
    assert table.row_ids == [f"{name}:3", f"{name}:{3 + len(english) + 1}"]
    first, second = table.rows
    assert [first["text"][s["start"] : s["end"]] for s in first["spans"]] == ["Ada Lovelace", "Royal Society", "London"]
    assert second == {
        "text": "李雷去了北京",
        "spans": [{"start": 0, "end": 2, "label": "PER"}, {"start": 4, "end": 6, "label": "LOC"}],
    }
    assert infer(table, ColumnsConfig()).task_kind == "token-classification"


def test_a_hash_may_be_a_token_and_a_comment_is_none(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(
        "# id = 7\n# newdoc\n# text = Plan B-2\n# # B-NP O\n1 CD I-NP B-X\n#begin document (x); part 000\n\n"
    )
    assert read_table(DataConfig(source=str(path))).rows == [
        {"text": "# 1", "spans": [{"start": 2, "end": 3, "label": "X"}]}
    ]
    path.write_text("# newdoc\n# B-X\n1 O\n2 O\n\n")
    assert read_table(DataConfig(source=str(path))).rows == [
        {"text": "# 1 2", "spans": [{"start": 0, "end": 1, "label": "X"}]}
    ]


def test_a_blank_may_be_a_token(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("李 B-PER\n雷 I-PER\n  O\n北 B-LOC\n京 I-LOC\n\n")
    row = read_table(DataConfig(source=str(path))).rows[0]
    assert row["text"] == "李雷 北京" and [s["start"] for s in row["spans"]] == [0, 3]


@pytest.mark.parametrize(
    "content",
    ["good parcel\tO\nbad parcel\tO\n", "one text a line\n\nanother text\n", "x B-PER\n\ny\n", "id\ttext\n\n1\tO\n"],
    ids=["no tag but O", "prose", "lone words", "a table"],
)
def test_other_text_files_are_not_taken_for_tags(tmp_path, content):
    path = tmp_path / "rows.txt"
    path.write_text(content)
    assert all("spans" not in row for row in read_table(DataConfig(source=str(path))).rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\tAda\tPROPN\t_\n2\twrote\tVERB\t_\n\n", r"a\.conll: the last column holds no tags\. Expected a token"),
        ("a DT\nb NN\n\n", r"a\.conll: the last column holds no tags"),
        ("李 B-PER\n雷\n", r"a\.conll:2: the line has one field, '雷'\. Expected a token and its tag"),
        ("字 O\n" * 600, r"a\.conll:1: the sentence is longer than 1,000 characters.*blank line"),
    ],
)
def test_damage_names_the_line(tmp_path, content, message):
    path = tmp_path / "a.conll"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_table(DataConfig(source=str(path), limits=LimitsConfig(max_cell_chars=1_000)))


def rows_of_lists():
    english = ENGLISH.split()
    tags = tags_of(len(english), SPANS, "BIO")
    return [{"id": i, "tokens": english, "pos_tags": ["NN"] * len(tags), "ner_tags": tags} for i in range(3)]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataConfig(source=str(path))


def test_lists_of_tokens_and_tags_become_text_and_spans(tmp_path):
    config = write_jsonl(tmp_path / "a.jsonl", rows_of_lists())
    row = read_table(config).rows[0]
    assert [row["text"][s["start"] : s["end"]] for s in row["spans"]] == ["Ada Lovelace", "Royal Society", "London"]
    assert "tokens" not in row and "ner_tags" not in row and row["id"] == 0


def test_a_text_beside_the_tokens_stays_as_it_is(tmp_path):
    rows = [{**row, "text": ENGLISH.replace(" ,", ",")} for row in rows_of_lists()]
    row = read_table(write_jsonl(tmp_path / "a.jsonl", rows)).rows[0]
    assert row["text"] == rows[0]["text"]
    assert [row["text"][s["start"] : s["end"]] for s in row["spans"]] == ["Ada Lovelace", "Royal Society", "London"]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Great phone", "words": ["great", "phone"], "label": "pos"},
        {"review": "Great phone", "tokens": ["a", "b"], "label": "pos"},
        {"text": "Great phone", "tokens": ["Great", "phone"], "pos_tags": ["JJ", "NN"], "labels": ["x", "y"]},
    ],
)
def test_tokens_without_tags_beside_a_text_change_nothing(tmp_path, row):
    assert read_table(write_jsonl(tmp_path / "a.jsonl", [row] * 3)).rows == [row] * 3


def test_tags_of_other_tokens_than_those_of_the_text_name_the_row(tmp_path):
    rows = rows_of_lists()
    rows[1] = {**rows[1], "text": "Ada wrote nothing"}
    with pytest.raises(DataError, match=r"a\.jsonl:2: the tokens of column 'tokens' are not those of the text"):
        read_table(write_jsonl(tmp_path / "a.jsonl", rows))


def test_tokens_alone_are_a_text_to_predict(tmp_path):
    rows = [{"id": str(i), "tokens": row["tokens"]} for i, row in enumerate(rows_of_lists())]
    tables = list(stream_rows(str(tmp_path / "a.jsonl"), write_jsonl(tmp_path / "a.jsonl", rows)))
    expected = {"id": "0", "text": "Ada Lovelace wrote to the Royal Society in London, twice."}
    assert tables[0].rows[0] == expected == text_of_tokens(rows[0], "text")


def test_lists_of_different_lengths_name_the_row(tmp_path):
    for place in (5, 250):
        rows = rows_of_lists() * 100
        rows[place] = {**rows[place], "ner_tags": ["O"]}
        message = rf"a\.jsonl:{place + 1}: 12 tokens and 1 tags\. Expected one tag a token"
        with pytest.raises(DataError, match=message):
            read_table(write_jsonl(tmp_path / "a.jsonl", rows))


def test_tags_without_names_are_refused(tmp_path):
    rows = [{**row, "ner_tags": [0] * len(row["tokens"])} for row in rows_of_lists()]
    with pytest.raises(
        DataError, match=r"a\.jsonl: column 'ner_tags' holds the numbers of tags\. Expected their names"
    ):
        read_table(write_jsonl(tmp_path / "a.jsonl", rows))


def test_tags_of_a_hub_data_set_get_their_names(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    names = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC"]
    rows = [{"tokens": row["tokens"], "ner_tags": [names.index(t) for t in row["ner_tags"]]} for row in rows_of_lists()]
    rows[2]["ner_tags"] = [-1] * len(rows[2]["tokens"])  # withheld
    tags = datasets.List(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": tags})
    (tmp_path / "owner" / "set").mkdir(parents=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "owner" / "set" / "train.parquet")
    monkeypatch.chdir(tmp_path)
    row, _, withheld = read_table(DataConfig(source="hub:owner/set")).rows
    assert withheld["spans"] is None and withheld["text"] == row["text"]
    assert [(row["text"][s["start"] : s["end"]], s["label"]) for s in row["spans"]] == [
        ("Ada Lovelace", "PER"),
        ("Royal Society", "ORG"),
        ("London", "LOC"),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        [{"start": 0, "end": 2, "label": "X"}],
        [[0, 2, "X"]],
        '[[0, 2, "X"]]',
        [{"id": 7, "start_offset": 0, "end_offset": 2, "label": "X"}],
        [{"start": 0, "end": 2, "text": "ab", "labels": ["X"]}],
    ],
)
def test_spans_as_annotation_tools_write_them(cell):
    assert parse_spans(cell) == [{"start": 0, "end": 2, "label": "X"}]


@pytest.mark.parametrize(
    "cell",
    [
        [[0, 2]],
        [1, 2, 3],
        [[255, 0, 0]],
        [["0", 2, "X"]],
        [{"start": 0, "label": "X"}],
        [[0, 2, ["X", "Y"]]],
        [[0, 2, None]],
    ],
)
def test_what_is_no_list_of_spans(cell):
    assert parse_spans(cell) is None


def test_the_format_can_be_named(tmp_path):
    path = tmp_path / "train.dat"
    path.write_text("a B-X\nb O\n")
    table = read_table(DataConfig(source=str(path), format=FormatConfig(kind="conll")))
    assert table.rows == [{"text": "a b", "spans": [{"start": 0, "end": 1, "label": "X"}]}]
