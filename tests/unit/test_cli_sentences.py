"""What the work below says in English reaches a Chinese user in Chinese, and the user's own words as they are."""

import ast
import json
import re
from pathlib import Path

import pytest

import penjing
from penjing.cli.console import Console
from penjing.cli.entry import main
from penjing.cli.progress import UNITS
from penjing.cli.zh import compiled, in_chinese
from penjing.cli.zh.notices import SENTENCES
from penjing.core.events import Notice, Progress
from penjing.data.check import ModelTokens, check, check_source
from penjing.data.config import ColumnsConfig, DataConfig
from penjing.data.prepare import prepare

HAN = re.compile("[\u4e00-\u9fff]")


def reviews(count):
    """Two kinds of texts with every damage that `check` looks for."""
    rows = [{"text": f"good room number {i}, staff {i * i}", "label": "good"} for i in range(count)]
    rows += [{"text": f"awful and cold food {i}, never {i * 7}", "label": "bad"} for i in range(count)]
    rows += rows[: count // 3] + [{"text": "hello ad there", "label": "ad"}] * 2
    rows += [{"text": rows[i]["text"], "label": "bad"} for i in range(5)]
    rows += [{"text": f"bad number {i}, staff {i * i} is good as well as the room", "label": "bad"} for i in range(9)]
    rows += [{"text": "", "label": "good"}] * 6 + [{"text": "no label here, sadly", "label": None}] * 5
    rows += [{"text": f"Ã©tÃ© broken\x07 <br> text {i} " + "long " * 800, "label": "good"} for i in range(4)]
    return rows + [{"text": f"这家店的东西很好，下次还会再来{i}", "label": "good"} for i in range(30)]


def table(count):
    return [
        {"age": i % 50, "city": "ab"[i % 2], "same": 1, "paid": "yn"[i % 3 == 0], "gap": i if i % 4 else None,
         "closed": "no" if i % 3 == 0 else "yes", "key": f"id-{i}", "mixed": i if i % 40 else "n/a"}
        for i in range(count)
    ]  # fmt: skip


def saved(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return DataConfig(source=str(path))


def test_all_that_check_finds(tmp_path, text_settings):
    data = saved(tmp_path / "a.jsonl", reviews(60))
    features = saved(tmp_path / "b.jsonl", table(200)).model_copy(update={"columns": ColumnsConfig(label="paid")})
    leaky = data.model_copy(update={"test": str(saved(tmp_path / "c.jsonl", reviews(20)).source)})
    noise = [{"a": (i * 7) % 11, "b": (i * 5) % 13, "paid": "yn"[(i // 3) % 2]} for i in range(200)]
    pairs = [{"text": f"parcel {i} is late", "text_pair": f"parcel {i * 7}", "label": i % 2} for i in range(90)]
    reports = [check_source(data), check_source(features), check_source(leaky), check(prepare(data))]
    reports += [check_source(saved(tmp_path / "d.jsonl", noise)), check_source(saved(tmp_path / "e.jsonl", pairs))]
    counted = (ModelTokens("small"), ModelTokens("small", text_settings))
    reports += [check_source(data, tokens_of=lambda language, model=model: model) for model in counted]
    said = {f.message for r in reports for f in r.findings} | {f.what_to_do for r in reports for f in r.findings}
    said |= {sentence for r in reports for sentence in (*r.explanation, *r.skipped, *r.skipped.values())}
    codes = {finding.code for report in reports for finding in report.findings}
    assert len(codes) >= 16, codes
    assert not [sentence for sentence in said if not HAN.search(in_chinese(sentence))]


def test_notices_about_the_data(tmp_path):
    heard = []
    prepare(saved(tmp_path / "a.jsonl", reviews(60)), listener=heard.append)
    texts = [event.text for event in heard if isinstance(event, Notice)]
    assert len(texts) >= 6
    assert not [text for text in texts if not HAN.search(in_chinese(text))]


def test_the_terminal_speaks_chinese_and_quotes_as_it_is(tmp_path, capsys):
    data = saved(tmp_path / "a.jsonl", reviews(60))
    assert main(["check", data.source, "--lang", "zh"]) == 0
    shown = capsys.readouterr().out
    assert "行与其他行内容相同" in shown and "→ 请" in shown
    assert "Ã©tÃ© broken\\x07 <br> text 0" in shown
    assert not [
        line for line in shown.splitlines() if line.startswith(("!", "·", "✗", "    →")) and not HAN.search(line)
    ]


@pytest.mark.parametrize(("pattern", "template"), SENTENCES)
def test_templates_use_what_their_pattern_finds(pattern, template):
    groups = compiled(pattern).groups
    used = {int(number) for number in re.findall(r"\{(\d)\}", template)}
    assert used <= set(range(1, groups + 1))
    assert len(used) == groups  # nothing that was said is left out


def test_what_is_not_known_stays():
    assert in_chinese("a sentence of tomorrow") == "a sentence of tomorrow"
    assert in_chinese("about 3 min of training ahead") == "训练大约还需 3 分钟"


def test_progress_is_chinese(capsys):
    console = Console(json=False, quiet=False, language="zh")
    with console:
        console.listen(Progress("select", 144, 144, "rows", "encoding with minilm-l6-en"))
        console.listen(Progress("train", 40, 40, "steps", values={"loss": 0.5}))
    said = capsys.readouterr().err
    assert "select: 144/144 行，用 minilm-l6-en 编码" in said and "train: 40/40 步，loss 0.5" in said


def test_every_unit_and_note_of_progress_has_its_chinese():
    """What is passed on from elsewhere (a file's name, a check's) has none."""
    places = []
    for path in sorted(Path(penjing.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Progress":
                given = {word.arg: word.value for word in node.keywords} | dict(zip(ORDER, node.args, strict=False))
                places.append((path.name, given))
    assert len(places) > 15
    for name, given in places:
        unit, note = given.get("unit"), given.get("note")
        if isinstance(unit, ast.Constant) and unit.value != "bytes":
            assert unit.value in UNITS, name
        if isinstance(note, ast.Constant | ast.JoinedStr):
            text = eval_text(note)
            assert in_chinese(text) != text, f"{name}: {text}"


ORDER = ("stage", "done", "total", "unit", "note", "values")


def eval_text(node):
    if isinstance(node, ast.Constant):
        return node.value
    return "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
