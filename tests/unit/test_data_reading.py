"""Every format gives the same rows; every damage gives one line that names the place."""

import gzip
import json
import os
import re
import sqlite3
import traceback
import tracemalloc
import zipfile

import pytest

from penjing.core.errors import DataError, FetchError, PenjingError, RecipeError
from penjing.core.recipe import parse_recipe
from penjing.data.config import ColumnsConfig, DataConfig, FormatConfig, LimitsConfig
from penjing.data.sources import open_source, read_table, stream_rows

ROWS = [
    {"text": "The parcel, as promised, came on time", "label": "good"},
    {"text": 'She said "never again" and left', "label": "bad"},
    {"text": "包装很好，下次还来", "label": "good"},
    {"text": "two\nlines", "label": "bad"},
]


def read(path, **settings):
    return read_table(DataConfig(source=str(path), **settings))


def csv_text(rows, delimiter=","):
    def cell(value):
        return '"' + value.replace('"', '""') + '"' if any(c in value for c in f'{delimiter}"\n') else value

    return "".join(delimiter.join(map(cell, row)) + "\n" for row in [list(rows[0]), *(r.values() for r in rows)])


@pytest.fixture
def write(tmp_path):
    def write_one(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_one


def as_sql(tmp_path):
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table reviews (text, label)")
        connection.executemany("insert into reviews values (:text, :label)", ROWS)
    connection.close()
    return f"sqlite:///{path}"


def as_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def as_excel(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["text", "label"])
    for row in ROWS:
        book.active.append(list(row.values()))
    book.save(tmp_path / "rows.xlsx")
    return tmp_path / "rows.xlsx"


def test_every_format_gives_the_same_rows(tmp_path, write):
    jsonl = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    sources = [
        write("rows.csv", csv_text(ROWS)),
        write("rows.tsv", csv_text(ROWS, "\t")),
        write("semicolon.csv", csv_text(ROWS, ";")),
        write("bom.csv", csv_text(ROWS).encode("utf-8-sig")),
        write("utf16.csv", csv_text(ROWS).encode("utf-16")),
        write("rows.csv.gz", gzip.compress(csv_text(ROWS).encode())),
        write("rows.jsonl", jsonl),
        write("rows.jsonl.gz", gzip.compress(jsonl.encode())),
        write("lines.json", jsonl),
        write("array.json", json.dumps(ROWS, indent=1)),
        write("one_line.json", json.dumps(ROWS)),
        write("wrapped.json", json.dumps({"version": 1, "data": ROWS})),
        as_parquet(tmp_path),
        as_excel(tmp_path),
    ]
    for source in sources:
        assert read(source).rows == ROWS, source
    assert read(as_sql(tmp_path), query="select text, label from reviews").rows == ROWS


def test_row_ids_are_the_lines_one_can_jump_to(write):
    table = read(write("rows.csv", csv_text(ROWS) + "last,good\n"))
    assert table.row_ids == ["rows.csv:2", "rows.csv:3", "rows.csv:4", "rows.csv:5", "rows.csv:7"]


def test_folder_per_class(tmp_path):
    for label, texts in {"good": ["很好", "nice"], "bad": ["差"]}.items():
        (tmp_path / "f" / label).mkdir(parents=True)
        for i, text in enumerate(texts):
            (tmp_path / "f" / label / f"{i}.txt").write_text(text, encoding="gb18030" if text == "很好" else "utf-8")
    rows = read(tmp_path / "f").rows
    assert {(r["text"], r["label"]) for r in rows} >= {("nice", "good"), ("差", "bad")}
    (tmp_path / "g").mkdir()
    (tmp_path / "f").rename(tmp_path / "g" / "train")
    (tmp_path / "g" / "test" / "good").mkdir(parents=True)
    (tmp_path / "g" / "test" / "bad").mkdir()
    (tmp_path / "g" / "test" / "good" / "0.txt").write_text("fine")
    assert {r["split"] for r in read(tmp_path / "g").rows} == {"train", "test"}


CHINESE = "手机很好用，物流也快，包装完整没有破损\n东西太差了，客服态度恶劣，再也不来了\n" * 20
FRENCH = "Le café était très agréable, où l'été dure\nDéçu par la qualité, ça ne marche pas\n" * 20


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(CHINESE, "gb18030"), (FRENCH, "latin-1"), (CHINESE, "utf-16-le"), (FRENCH, "utf-16-be"), (CHINESE, "utf-8")],
)
def test_encodings_are_detected(write, text, encoding):
    path = write("lines.txt", text.encode(encoding))
    table = read(path)
    assert [row["text"] for row in table.rows] == text.splitlines()
    assert encoding in open_source(str(path), DataConfig()).description


def test_windows_quotes_are_cp1252(write):
    text = "It’s “fine” – déjà vu\n" * 5
    assert read(write("a.txt", text.encode("cp1252"))).rows[0]["text"] == "It’s “fine” – déjà vu"


def test_text_at_label(write):
    lines = "".join(
        f"Sales, net of tax, rose {i}% in Q{i % 4}; see note@{'up' if i % 3 else 'down'}\n" for i in range(60)
    )
    table = read(write("phrases.txt", lines))
    assert table.rows[1] == {"column_1": "Sales, net of tax, rose 1% in Q1; see note", "column_2": "up"}
    named = read(write("phrases2.txt", lines), format=FormatConfig(header=("text", "label")))
    assert len(named) == 60 and named.rows[0]["label"] == "down"


def test_quotes_in_tsv_are_characters_unless_they_enclose(write):
    plain = "".join(f'"so{i} they said, and left\tlabel{i % 2}\n' for i in range(40))
    assert read(write("a.tsv", plain)).rows[3]["column_1"] == '"so3 they said, and left'
    enclosed = "".join(f'"He said ""no"" {i}"\tlabel{i % 2}\n' for i in range(40))
    assert read(write("b.tsv", enclosed)).rows[3]["column_1"] == 'He said "no" 3'


def test_cells_of_several_lines_and_stray_quotes_are_read(write):
    rows = 'label,text\n1,"one\ntwo ""2""\nthree, 3"\n0,"a "good" one"\n1,"x"\n' + '1,"a, b"\n' * 40
    assert [row["text"] for row in read(write("a.csv", rows)).rows[:3]] == [
        'one\ntwo "2"\nthree, 3',
        'a good" one"',
        "x",
    ]


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        ("text,label\nabc def,x\nghi jkl,y\n", True),
        ("Phrase,Mood\n" + "".join(f"something number {i},{'ab'[i % 2]}\n" for i in range(20)), True),
        ("".join(f"something number {i},{'ab'[i % 2]}\n" for i in range(20)), False),
        ("good stuff,1\nbad stuff,0\nfine stuff,1\n", False),
        ("a,b,c\n1,2,3\n4,5,6\n", True),
        ("1,2,3\n4,5,6\n", False),
        (",日期,数\n0,2020-01-01,5\n1,2020-01-02,6\n", True),
    ],
)
def test_header_is_recognised(write, lines, header):
    table = read(write("h.csv", lines))
    assert len(table) == len(lines.splitlines()) - header
    opposite = read(write("h.csv", lines), format=FormatConfig(header=not header))
    assert len(opposite) == len(lines.splitlines()) - (not header)


def test_a_first_row_that_names_a_wanted_column_is_a_header(write):
    path = write("h.csv", "phrase\ngood morning\nwhere is it\n")
    assert len(read(path)) == 3
    named = read(path, columns=ColumnsConfig(text="phrase"))
    assert [row["phrase"] for row in named.rows] == ["good morning", "where is it"]


BAD = {
    "empty": ("a.csv", b"", "empty"),
    "spaces": ("a.csv", b" \n\n", "empty"),
    "header only": ("a.csv", b"text,label\n", "no rows"),
    "ragged": ("a.csv", b"text,label\nfine,1\na, b,1\n", "a.csv:3: the row has 3 fields. Expected 2"),
    "short": ("a.csv", b"text,label\nfine,1\nx\n", "a.csv:3: the row has 1 field."),
    "duplicate names": ("a.csv", b"text,label,label\nfine,1,2\n", "duplicate column names: 'label'"),
    "nulls": ("a.csv", b"text,label\nfi\0ne,1\n", "a.csv:2: null byte at"),
    "late null": ("a.csv", b"text,label\n" + b"fine,1\n" * 200_000 + b"b\0d,1\n", "a.csv:200002: null byte"),
    "binary": ("a.csv", bytes(range(256)) * 40, "null byte"),
    "huge cell": ("a.csv", b"text,label\nok,1\n" + b"x" * 5_000_000 + b",1\n", "a.csv:3"),
    "huge json": ("a.jsonl", b'{"text": "' + b"x" * 5_000_000 + b'"}\n', "a.jsonl:1"),
    "medium cell": ("a.csv", b"text,label\nok,1\n" + b"x" * 1_500_000 + b",1\n", "a.csv:3: the cell of column 'text'"),
    "open quote": (
        "a.csv",
        b"text,label\n" + b'"a, b",1\n' * 3_000 + b'"never closed,1\n' + b"ok,1\n" * 100,
        "a.csv:3002: the row that starts here cannot be parsed (unexpected end of data)",
    ),
    "open quote, text last": (
        "a.csv",
        b"label,text\n" + b'1,"a, b"\n' * 3_000 + b'1,"never closed\n' + b"1,ok\n" * 3,
        "a.csv:3002: the row that starts here cannot be parsed (unexpected end of data)",
    ),
    "open quote before a quoted text": (
        "a.csv",
        b"label,text\n" + b'1,"a, b"\n' * 3_000 + b'1,"never closed\n' + b'1,"a, b"\n' * 3,
        "a.csv:3002: the row that starts here cannot be parsed (',' expected after '\"')",
    ),
    "far quote": (
        "a.csv",
        b"text,label\n" + b'"a, b",1\n' * 3_000 + b'"never,1\n' + b"ok,1\n" * 1_000_000,
        "a.csv:3002",
    ),
    "bad json": ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl:2: not valid JSON"),
    "json scalar": ("a.jsonl", b'{"text": "a"}\n7\n', "a.jsonl:2: a JSON int"),
    "cut array": ("a.json", b'[{"text": "a"}, {"text": ', "element 2: not valid JSON"),
    "two lists": ("a.json", b'{\n"a": [{"x": 1}], "b": [{"x": 1}]}', "2 lists of objects"),
    "not gzip": ("a.csv.gz", b"text,label\n", "damaged gzip"),
    "not parquet": ("a.parquet", b"PAR1 nonsense", "cannot be read as Parquet"),
    "not excel": ("a.xlsx", b"nonsense", "not an Excel workbook"),
    "old excel": ("a.xls", b"nonsense", ".xls files are not read"),
}


@pytest.mark.parametrize("case", BAD)
def test_damage_is_one_line_with_the_place(write, case):
    name, content, expected = BAD[case]
    with pytest.raises(DataError) as caught:
        read(write(name, content))
    assert expected in caught.value.message
    assert "\n" not in caught.value.message and name in caught.value.message
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda text: text.replace("第7".encode(), "第".encode()[:2] + b"7", 1), ":9: byte 0xe7"),
        (lambda text: text[:-2], ""),
    ],
)
def test_utf8_with_a_slip_is_not_read_as_latin_1(write, damage, place):
    text = "text,label\n" + "".join(f"这家店第{i}次去，还会再来,好\n" for i in range(300)) + "结束了，好"
    with pytest.raises(DataError, match=r"a\.csv.*UTF-8") as caught:
        read(write("a.csv", damage(text.encode())))
    assert place in caught.value.message


def test_how_a_file_was_read_is_said(write):
    heard = []
    read_table(DataConfig(source=str(write("a.csv", "text;label\nfine;1\nbad;0\n"))), heard.append)
    assert any(getattr(event, "text", "").startswith("a.csv: read as ") for event in heard)


def test_damage_inside_a_gzip_file_is_one_line(write):
    packed = bytearray(gzip.compress(b"text,label\n" + b"".join(b"text %d,1\n" % i for i in range(2_000))))
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) - len(packed) // 2)
    with pytest.raises(DataError, match=r"a\.csv\.gz: damaged gzip file"):
        read(write("a.csv.gz", bytes(packed)))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # Without the dimension, which is optional, rows are read to the end.
        (rb'<dimension[^>]*>(.*)<row r="2"', rb'\1<row r="2000000000"', "a row number above 1,048,576"),
        (rb"</sheetData>", b"", "damaged Excel workbook"),
    ],
)
def test_damage_inside_a_workbook_is_one_line(tmp_path, old, new, expected):
    whole, broken = as_excel(tmp_path), tmp_path / "broken.xlsx"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("sheet1.xml"):
                content, changes = re.subn(old, new, content, flags=re.DOTALL)
                assert changes == 1
            target.writestr(name, content)
    with pytest.raises(DataError, match=expected):
        read(broken)


def test_cells_merged_over_rows_are_refused(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.load_workbook(as_excel(tmp_path))
    book.active.merge_cells("A1:B1")  # a title's cells may be merged
    book.active.merge_cells("B3:B5")
    book.save(tmp_path / "merged.xlsx")
    with pytest.raises(DataError, match=r"merged\.xlsx:3: cells of rows 3 to 5 are merged.*Next: undo the merging"):
        read(tmp_path / "merged.xlsx")


def test_neighbouring_accents_of_latin_1_are_no_chinese(write):
    assert (
        read(write("a.csv", "text,label\nviele Grüße aus Köln,1\n".encode("latin-1"))).rows[0]["text"].endswith("Köln")
    )
    assert "Grüße" in read(write("b.csv", "text,label\nviele Grüße,1\nok,2\n".encode("latin-1"))).rows[0]["text"]


def test_a_rare_character_does_not_make_chinese_latin_1(write):
    text = "text,label\n" + "这家店的东西很好，下次还会再来,1\n" * 5 + "符号\ue3ea在这里,0\n"
    assert "\ue3ea" in read(write("a.csv", text.encode("gb18030"))).rows[-1]["text"]


def test_wrong_encoding_names_the_line(write):
    path = write("a.csv", b"text,label\n" + b"fine,1\n" * 3 + "très bien,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv:5: byte 0xe8 cannot be read as utf-8"):
        read(path, format=FormatConfig(encoding="utf-8"))
    assert read(path).rows[-1]["text"] == "très bien"


def test_missing_file_names_the_closest(write):
    path = write("reviews.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match=r"no such file.*reviews\.csv"):
        read(path.with_name("review.csv"))
    with pytest.raises(DataError, match="did you mean 'reviews-zh'"):
        read("demo:review-zh")
    with pytest.raises(DataError, match="not downloaded from the web"):
        read("https://example.org/a.csv")


def test_limits(write):
    path = write("a.csv", "text,label\n" + "a b,1\n" * 50)
    with pytest.raises(DataError, match="more than 20 rows"):
        read(path, limits=LimitsConfig(max_rows=20))
    with pytest.raises(DataError, match="2 columns"):
        read(path, limits=LimitsConfig(max_columns=1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(write):
    path = write("a.csv", "text,label\na,1\n")
    path.chmod(0)
    with pytest.raises(DataError, match="no permission"):
        read(path)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (None, "data.query is missing"),
        ("drop table reviews", "'drop' is not a query"),
        ("select 1; drop table reviews", "more than one statement"),
        ("with x as (select 1) delete from reviews", "the database answered"),
        ("select * from nowhere", "no such table"),
        ("select text, text from reviews", "duplicate column names"),
    ],
)
def test_sql_is_read_only(tmp_path, query, message):
    source = as_sql(tmp_path)
    with pytest.raises(DataError, match=message):
        read(source, query=query)
    assert len(read(source, query="select * from reviews where text not like ':x'")) == len(ROWS)


def test_sql_password_comes_from_the_environment(monkeypatch):
    with pytest.raises(ValueError, match="holds a password"):
        DataConfig(source="postgresql://me:secret@host/db")
    for query in ("password=s3cret", "sslmode=require&PWD=s3cret", "passwd=${A}s3cret"):
        with pytest.raises(RecipeError, match="holds a password") as refused:
            DataConfig.of(f"postgresql://host/db?{query}")
        assert "s3cret" not in "".join(traceback.format_exception(refused.value))
        with pytest.raises(RecipeError) as refused:
            parse_recipe({"data": {"source": f"postgresql://host/db?{query}"}})
        assert "s3cret" not in refused.value.message
    DataConfig.of("postgresql://host/db?password=${SECRET}&user=me")
    source = "oracle://me:${PENJING_TEST_PASSWORD}@host/db"
    monkeypatch.delenv("PENJING_TEST_PASSWORD", raising=False)
    with pytest.raises(DataError, match="PENJING_TEST_PASSWORD is not set"):
        read(source, query="select 1")
    monkeypatch.setenv("PENJING_TEST_PASSWORD", "s3cr/t")
    with pytest.raises(PenjingError) as caught:
        read(source, query="select 1")
    assert "s3cr" not in caught.value.message and "'oracle' is not read" in caught.value.message
    with pytest.raises(PenjingError) as caught:
        read("oracle://host/db?user=me&password=${PENJING_TEST_PASSWORD}", query="select 1")
    assert "s3cr" not in caught.value.message and "password=${PENJING_TEST_PASSWORD}" in caught.value.message


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_streaming_takes_constant_memory(tmp_path, suffix):
    path = tmp_path / f"large.{suffix}"
    row = {"text": "the same sentence again, with some words in it " * 16, "label": "x"}
    with path.open("w") as handle:
        handle.write({"csv": "text,label\n", "jsonl": "", "json": "["}[suffix])
        for i in range(15_000):
            line = f'"{row["text"]}",x' if suffix == "csv" else json.dumps(row)
            handle.write(line + ("," if suffix == "json" and i < 14_999 else "") + "\n")
        handle.write("]" if suffix == "json" else "")
    tracemalloc.start()
    try:
        count = sum(len(table) for table in stream_rows(str(path), DataConfig()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 15_000
    assert path.stat().st_size > 11_000_000
    assert peak < 8_000_000


def test_hub_data_set_from_a_local_clone(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    # The environment variable is read when these are imported, which another test may have done.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    (tmp_path / "owner" / "set").mkdir(parents=True)
    (tmp_path / "owner" / "set" / "train.csv").write_text(csv_text(ROWS))
    (tmp_path / "owner" / "set" / "test.csv").write_text(csv_text(ROWS[:1]))
    monkeypatch.chdir(tmp_path)
    table = read("hub:owner/set")
    assert [row["split"] for row in table.rows] == ["train"] * 4 + ["test"]
    assert table.rows[0] == {**ROWS[0], "split": "train"} and table.row_ids[-1] == "hub:owner/set:test:1"
    with pytest.raises(FetchError, match="hub:owner/gone: the hub data set could not be read"):
        read("hub:owner/gone")
    with pytest.raises(DataError, match="is not a data set id"):
        read("hub:../../etc/passwd")

    def broken(_):
        yield ROWS[0]
        raise ConnectionError("the line went dead")

    monkeypatch.setattr("datasets.IterableDataset.__iter__", broken)
    with pytest.raises(FetchError, match=r"hub:owner/set: the hub data set could not be read .*the line went dead"):
        read("hub:owner/set")


def test_traditional_chinese_in_big5(write):
    text = "手機很好用，物流也快，包裝完整沒有破損\n東西太差了，客服態度惡劣，再也不來了\n" * 20
    assert [row["text"] for row in read(write("a.txt", text.encode("big5"))).rows] == text.splitlines()


def test_half_a_file_in_another_encoding_is_refused(write):
    content = CHINESE.encode("utf-8") + CHINESE.encode("gb18030")
    with pytest.raises(DataError, match=r"a\.txt:41: byte 0x\w\w is not UTF-8, as the rest is"):
        read(write("a.txt", content))
