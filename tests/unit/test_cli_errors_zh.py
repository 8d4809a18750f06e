"""Errors in Chinese: every text that the source can say in one has its pattern, and the command line says them."""

import json
import re

import pytest
import yaml
from error_texts import error_pieces, is_code, samples
from pydantic import BaseModel

from penjing.cli import main
from penjing.cli.failure import explain, tell
from penjing.cli.progress import notice_line
from penjing.cli.zh import compiled, error_in_chinese, in_chinese, piece_in_chinese
from penjing.cli.zh.errors import SENTENCES
from penjing.core.errors import Left, MissingExtraError, RecipeError, note_left
from penjing.core.events import Notice
from penjing.core.recipe import parse_recipe, recipe_type

HAN = re.compile("[\u4e00-\u9fff]")

# "file: expression" → what stands in that place of a text, where any word or number is not right.
KNOWN = {
    "cli/parser.py: self.prog": ("penjing", "penjing run"),
    "cli/parser.py: '; '.join(hints)": ("'--modle', did you mean '--model'?; 'm'",),
    "cli/predict.py: ' or '.join(_HOW_READ)": ("data.format. or data.limits. or data.query",),
    "compress/config.py: what": ("compressing method", "backend"),
    "core/fetch/index.py: host": ("index.example",),
    "core/fetch/index.py: _host(url)": ("index.example",),
    "core/fetch/index.py: path.parent.parent": ("/srv/mirror",),
    "core/fetch/index.py: f'{host}: {type(error).__name__}'": (),  # no words of ours
    "core/registry.py: kind.rstrip('s')": ("task", "stage", "backend"),
    "data/labels.py: reason": (
        "has 90 whole numbers, all different and in order",
        "has 90 whole numbers, all different",
        "has 89 different values in 90 rows",
    ),
    "data/sources.py: suffix": (".zip",),
    "data/split.py: name": ("train", "valid", "test"),
    "models/catalog.py: f'{first.what}; {error.what}'": (),  # two errors, each looked at itself
    "predict/signature.py: f'{spec.dtype} {list(spec.shape)}'": (),
    "models/local.py: key": ("hidden_size", "vocab_size", "max_position_embeddings"),
    "pipeline/labelled.py: role": ("text", "label"),
}
# Pieces that only their callers know → examples; none for what another error said, and for names and digests.
PASSED_ON = {
    "cli/failure.py: what": (
        "interrupted",
        "terminated; nothing was written yet",
        "interrupted; nothing half-made is left",
        "interrupted; what was trained so far is kept there",
    ),
    "cli/failure.py: reason": (
        "no such file or directory",
        "not a directory",
        "is a directory",
        "permission denied",
    ),
    "cli/parser.py: message": (
        "the following arguments are required: SOURCE",
        "argument --lang: invalid choice: 'fr' (choose from 'en', 'zh')",
        "argument --threads: invalid int value: 'two'",
        "argument --model: expected one argument",
        "argument --input: expected at least one argument",
        "argument --json: ignored explicit argument 'yes'",
    ),
    "cli/predict_rows.py: error.what": (),
    "cli/predict_rows.py: error.expected": (),
    "cli/predict_rows.py: error.next_step": (),
    "core/fetch/archive.py: sha256": (),
    "core/fetch/package.py: spec.sha256": (),
    "core/recipe.py: '; '.join(lines)": (),  # see the test of all keys
    "data/config.py: finding": (),  # of a validator, which is looked at itself
    "data/sources.py: _OTHER_BINARY[suffix]": ("save it as .xlsx", "unpack it"),
    "models/catalog.py: first.next_step or error.next_step": (),
    "models/catalog.py: str(entry.converted_sha256)": (),
    "models/catalog.py: sha256": (),
    "models/hub.py: ', '.join(REQUIRED_FILES)": (),
    "models/local.py: ', '.join(REQUIRED_FILES)": (),
    "pipeline/labelled.py: error.expected": (),
    "pipeline/labelled.py: error.next_step": (),
    "pipeline/training.py: found.what": (),
    "pipeline/training.py: found.expected": (),
    "pipeline/training.py: found.next_step": (),
    "predict/predictor.py: _describe(value)": ("is a list of 3", "is a int", "is NoneType"),
    "predict/predictor.py: self._expected(wanted)": (
        "a text, or a mapping with the column 'text'",
        "a pair of texts, or a mapping with the columns 'text' and 'text_pair'",
        "a mapping with the columns ['age', 'city']",
    ),
    "predict/predictor.py: found.what": (),
    "predict/predictor.py: found.expected": (),
    "predict/predictor.py: found.next_step": (),
    # another process's error, looked at where it is raised
    "predict/process.py: said['what']": (),
    "predict/process.py: said['expected']": (),
    "predict/process.py: said['next_step']": (),
    "predict/task_file.py: error.what": (),
    "select/quote.py: str(QUOTE_VERSION)": (),
    "select/serving.py: done.stderr.strip().splitlines()[-1]": (),  # another process's error, in English
    "train/gradient/sequence.py: ' or '.join(('auto', *accepted))": (
        "auto or bce or focal",
        "auto or cross_entropy or focal",
        "auto or mse",
    ),
}


def known(text):
    return is_code(text) or HAN.search(piece_in_chinese(text) or "")


@pytest.fixture(scope="module")
def pieces():
    return error_pieces(KNOWN)


def test_every_error_of_the_source_has_its_pattern(pieces):
    assert len(pieces) > 700  # or the walk no longer finds them
    texts = [(piece.place, samples(text)) for piece in pieces for text in piece.texts or ()]
    texts += [("PASSED_ON", [example]) for examples in PASSED_ON.values() for example in examples]
    missing = [f"{place}: {said[0]}" for place, said in texts if not any(map(known, said))]
    assert not missing, "no Chinese for\n" + "\n".join(missing)


def test_what_only_callers_know_is_written_down_here(pieces):
    assert {piece.key for piece in pieces if piece.texts is None} == PASSED_ON.keys()


def settings(model, prefix=()):
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings(kind, (*prefix, name))
        else:
            yield (*prefix, name)


@pytest.mark.parametrize(
    "value", ["zzz", -5, 1e12, 0.55, None, [], {"a": 1}, float("nan"), "a://b:c@d"], ids=lambda value: str(value)
)
def test_every_key_of_the_recipe_with_a_wrong_value(value):
    refused = 0
    for path in settings(recipe_type()):
        recipe = value
        for name in reversed(path):
            recipe = {name: recipe}
        try:
            parse_recipe(recipe)
        except RecipeError as error:
            refused += 1
            said = piece_in_chinese(error.what)
            assert said and not re.search("should|value error|valid ", said), error.what
    assert refused > 3


def test_templates_use_what_their_pattern_finds():
    for pattern, template in SENTENCES:
        used = {int(number) for number in re.findall(r"(?<!\{)\{(\d)\}", template)}
        assert used == set(range(1, compiled(pattern).groups + 1)), pattern


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        # several at once, each by itself
        (
            "unknown key 'modle', did you mean 'model'?; 'train.epochs' = 'x': input should be a valid number, "
            "unable to parse string as a number; 'seed' = -5: input should be greater than or equal to 0",
            "未知的键 'modle'（是否应为 'model'？）；'train.epochs' = 'x'：应为数字；'seed' = -5：不得小于 0",
        ),
        (
            "'data.source' = 'a://b:***@d': value error, holds a password; write ${NAME} in its place and set that "
            "environment variable; unknown key 'x', accepted: a, b",
            "'data.source' = 'a://b:***@d'：含有密码；请以 ${NAME} 代替，并设置该环境变量；未知的键 'x'，可用的有 a, b",
        ),
        (
            "cannot be fetched: no connection to a.org; b.org has no x.whl; c.org answers with status 503",
            "无法获取：无法连接 a.org；b.org 没有 x.whl；c.org 返回状态码 503",
        ),
        ("the archive holds no a.bin; the model hub cannot be reached", "压缩包中没有 a.bin；无法连接模型站"),
        (
            "unknown arguments '--modle', did you mean '--model'?; 'm'",
            "未知的参数 '--modle'（是否应为 '--model'？）；'m'",
        ),
        # a sentence's own semicolon
        ("is already sealed; artifacts are immutable", "已封存，模型目录不可更改"),
        ("the columns the artifact was trained on; there are 'a', 'b'", "模型训练时所用的列，现有 'a', 'b'"),
        # one error within another
        (
            "text-regression cannot be learned: row 3: 'price' is 'cheap'. Expected a number.",
            "无法学习 text-regression：row 3：'price' 为 'cheap'。应为数字",
        ),
        ("columns 'a', 'b' missing (as runs/x reads it)", "缺少 'a', 'b' 列（按 runs/x 的读法）"),
        # the user's words stay as they are, though they are words of ours elsewhere
        ("column 'time' (split) does not exist", "'time' 列（split）不存在"),
        ("one of train, test", "train, test 之一"),
        ("a JSON list", "是 JSON 列表"),
        ("is a RSAPrivateKey", "是 RSAPrivateKey"),
        ("a sentence of tomorrow", None),
        ("a sentence of tomorrow; no rows", None),
    ],
)
def test_pieces(english, chinese):
    assert piece_in_chinese(english) == chinese


def test_a_line_ends_and_joins_as_chinese_does():
    assert error_in_chinese("no rows", "a.csv", "at least one row of data", "check the export") == (
        "a.csv：没有数据行。应为至少一行数据。下一步：检查导出的数据。"
    )
    assert error_in_chinese("no sheet 'x'", "a.xlsx", "one of a, b", "did you mean 'a'?") == (
        "a.xlsx：没有工作表 'x'。应为 a, b 之一。下一步：是否应为 'a'？"
    )
    assert error_in_chinese("all wrong.", None, None, "think") == "all wrong.下一步：think。"


def test_notices_quote_errors():
    finding = "no quote before this run: a: 3 training rows. Expected at least 20."
    assert in_chinese(finding) == "本次运行前没有报价：a：只有 3 行训练数据。应为至少 20"
    assert in_chinese("e5 is left out: the disk is full.") == "略过 e5：磁盘已满"
    assert in_chinese("e5 is left out: who knows.") == "略过 e5：who knows."
    assert in_chinese("2 classes have one row only: 'a', 'b'") == "有 2 类只有一行：'a', 'b'"  # a finding of `check`


def test_warnings_have_their_mark_in_chinese():
    assert notice_line(Notice("data", "略过 3 行", "warning"), "zh") == "data: 警告：略过 3 行"
    assert notice_line(Notice("data", "3 rows", "warning")) == "data: warning: 3 rows"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def said(words, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_missing_file(here, capsys):
    expected = "应为数据文件、每类一个子目录的目录、SQL 地址、hub:ID 或示例名。"
    assert said(["run", "nothing.csv", "--lang", "zh"], capsys) == (
        f"错误：nothing.csv：没有这个文件。{expected}下一步：检查路径。\n"
    )
    (here / "reviews.csv").write_text("text,label\n")
    assert said(["run", "revews.csv", "--lang=zh"], capsys) == (
        f"错误：revews.csv：没有这个文件。{expected}下一步：是否应为 'reviews.csv'？\n"
    )


def test_an_empty_file(here, capsys):
    (here / "a.csv").write_bytes(b"")
    assert said(["check", "a.csv", "--lang", "zh"], capsys) == (
        "错误：a.csv：文件是空的。应为数据行。下一步：检查导出的数据。\n"
    )


def test_unknown_keys_of_a_recipe(here, capsys):
    (here / "recipe.yaml").write_text(
        yaml.safe_dump({"data": {"source": "a.csv"}, "modle": "x", "train": {"epoch": 3}})
    )
    assert said(["run", "recipe.yaml", "--lang", "zh"], capsys) == (
        "错误：recipe.yaml：未知的键 'train.epoch'（是否应为 'epochs'？）；未知的键 'modle'（是否应为 'model'？）。"
        "下一步：更正这些键（docs/recipe.md 列有所有的键）。\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["run", "a.csv", "--modle", "m"],
            "penjing run：未知的参数 '--modle'（是否应为 '--model'？）。下一步：用法见 penjing run --help。",
        ),
        (["run"], "penjing run：缺少参数 SOURCE。下一步：用法见 penjing run --help。"),
        (["run", "a.csv", "--set", "epochs"], "--set：'epochs' 不是 KEY=VALUE 的写法。应为 --set train.epochs=3 之类。"
         "下一步：更正后重试；可用的写法见 --help 和 docs/recipe.md。"),
        (["predict", "m", "--threads", "two"], "penjing predict：--threads 应为整数，而不是 'two'。"
         "下一步：用法见 penjing predict --help。"),
    ],
)  # fmt: skip
def test_mistakes_in_the_arguments_themselves(here, capsys, monkeypatch, words, line):
    assert said([*words, "--lang", "zh"], capsys) == f"错误：{line}\n"
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert said(words, capsys) == f"错误：{line}\n"
    assert said([*words, "--lang", "en"], capsys).startswith("error: ")


def test_an_unknown_verb(here, capsys, monkeypatch):
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    line = said(["rnu", "x.csv"], capsys)
    assert line.startswith("错误：penjing：没有 'rnu' 这个命令。应为 run, ")
    assert line.endswith("之一。下一步：是否应为 'run'？\n")


def test_json_stays_english(here, capsys):
    assert main(["run", "nothing.csv", "--lang", "zh", "--json"]) == 2
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == "" and not HAN.search(out)
    assert document["message"].startswith("nothing.csv: no such file. Expected a data file")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "x.partial：已中断；已完成的训练保留在那里。下一步：再次运行同一命令，将从中断处继续。"),
        (
            OSError(28, "No space left on device", "/big/file"),
            "/big/file：磁盘已满。下一步：腾出一些空间，再次运行同一命令，将从中断处继续。",
        ),
        (PermissionError(13, "Permission denied", "/a"), "/a：没有权限。下一步：检查路径。"),
        (
            MissingExtraError("torch", "train"),
            "未安装可选依赖 'torch'。下一步：在 penjing 的目录中运行 pip install \".[train]\"。",
        ),
    ],
)
def test_what_ends_a_command_early(capsys, error, line):
    note_left(error, Left("x.partial", "what was trained so far is kept there", resumes=True))
    tell(explain(error), as_json=False, language="zh")
    assert capsys.readouterr().err == f"错误：{line}\n"
