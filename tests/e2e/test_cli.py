"""The command line itself: parsing, help, errors, JSON, completion, recipes."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from penjing.cli import chinese, main
from penjing.cli.failure import explain
from penjing.cli.options import add_output_options, add_recipe_options, overrides_of
from penjing.cli.parser import build_parser, language_of
from penjing.cli.progress import Lines, LiveBars
from penjing.cli.recipe_keys import recipe_keys
from penjing.cli.terminal import duration, printable
from penjing.cli.verbs import VERBS
from penjing.core.errors import Left, RecipeError, note_left
from penjing.core.events import Notice, Progress, Standings
from penjing.core.recipe import parse_recipe, recipe_type

ROOT = Path(__file__).resolve().parents[2]


def penjing(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penjing", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert all(re.search(rf"\n    {verb}\s", shown) for verb in VERBS)
    assert "130  interrupted" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["predict", "--help"]])
def test_help_is_chinese_where_the_environment_is(words, capsys, monkeypatch):
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    with pytest.raises(SystemExit) as left:
        main(words)
    shown = capsys.readouterr().out
    assert left.value.code == 0
    assert shown.startswith("用法：penjing") and "显示本帮助" in shown
    assert not re.search(r"usage:|options:|the |show this", shown)


def test_every_text_of_the_help_is_translated():
    parser = build_parser()
    parts = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices.values()
    texts = {parser.description}
    for part in (parser, *parts):
        texts |= {group.title for group in part._action_groups} | {action.help for action in part._actions}
    assert texts - {None} == set(chinese.HELP)


def test_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    import penjing as package

    assert capsys.readouterr().out == f"penjing {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu", "x.csv"], "unknown verb 'rnu'"),
        (["rnu", "x.csv"], "did you mean 'run'?"),
        (["run", "x.csv", "--modle", "m"], "unknown argument '--modle', did you mean '--model'?"),
        (["run"], "the following arguments are required: SOURCE"),
        (["run", "x.csv", "--lang", "fr"], "invalid choice: 'fr'"),
        (["run", "x.csv", "--budget", "p95"], "'p95' is no KEY=VALUE"),
        (["compress", "x", "--budget", "drop=0.5,size_mb=5,drop=2"], "'drop' is given twice"),
        (["run", "x.csv", "--set", "epochs"], "'epochs' is no KEY=VALUE"),
        (["models", "get"], "get needs the name of a model"),
        (["models", "get", "minilm-l6"], "did you mean 'minilm-l6-en'?"),
        (["predict", "x"], "nothing to predict is given"),
        ([], "required: VERB"),
    ],
)
def test_mistakes_exit_with_2_and_one_line(words, said, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err


def test_errors_are_json_where_json_is_asked_for(capsys):
    assert main(["run", "nothing-here.csv", "--json"]) == 2
    out, _ = capsys.readouterr()
    document = json.loads(out)
    assert document["error"] == "DataError"
    assert document["where"] == "nothing-here.csv"
    assert document["exit_code"] == 2
    assert document["message"].startswith("nothing-here.csv: no such file.")


def test_unknown_recipe_keys_are_said_all_at_once(capsys):
    assert main(["run", "x.csv", "--set", "train.epoch=3", "--set", "trian.epochs=3", "--budget", "p95=3"]) == 2
    err = capsys.readouterr().err
    assert "'train.epoch', did you mean 'epochs'?" in err
    assert "'trian', did you mean 'train'?" in err
    assert "'budget.p95', did you mean 'p95_ms'?" in err


def test_options_become_recipe_keys():
    parser = argparse.ArgumentParser()
    add_recipe_options(parser)
    add_output_options(parser)
    words = [
        "--task",
        "text-pair",
        "--label",
        "1",
        "--epochs",
        "2.5",
        "--seed",
        "7",
        "--budget",
        "p95_ms=5, size_mb=30",
    ]
    words += ["--set", "train.schedule=cosine", "--set", "evaluate.slices=[city, age]", "--set", "data.columns.text=no"]
    assert overrides_of(parser.parse_args(words)) == {
        "task": "text-pair",
        "data.columns.label": "1",
        "train.epochs": 2.5,
        "seed": 7,
        "budget.p95_ms": 5,
        "budget.size_mb": 30,
        "train.schedule": "cosine",
        "evaluate.slices": ["city", "age"],
        "data.columns.text": False,
    }


def test_a_wrong_type_is_refused_by_the_recipe(capsys):
    assert main(["run", "x.csv", "--epochs", "many"]) == 2
    assert "'train.epochs' = 'many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "environment", "language"),
    [(["--lang", "zh"], "en_US.UTF-8", "zh"), (["--lang=en"], "zh_CN.UTF-8", "en"), ([], "zh_CN.UTF-8", "zh")],
)
def test_language(words, environment, language, monkeypatch):
    monkeypatch.setenv("LC_ALL", environment)
    assert language_of(["run", *words]) == language


def test_demo_data_is_listed_in_both_languages(capsys):
    assert main(["demos", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["german-credit"]["rows"] == 1_000
    assert len(listed["reviews-zh"]["sha256"]) == 64
    for language, words in (("en", "loan applicants"), ("zh", "贷款申请人")):
        assert main(["demos", "--lang", language]) == 0
        out = capsys.readouterr().out
        assert words in out and all(name in out for name in listed)


def test_models_as_json(capsys):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} >= {"minilm-l6-en", "e5-small-multilingual"}
    assert all(len(row["sha256"]) == 64 and row["licence"] for row in rows)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "budget" in script and "stdin-format" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path):
    script = penjing("completion", "bash").stdout
    (tmp_path / "penjing.bash").write_text(script)
    ask = f"source {tmp_path}/penjing.bash; COMP_WORDS=(penjing ver); COMP_CWORD=1; _shtab_penjing; "
    ask += "echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["verify"], done.stderr


def test_init_writes_a_recipe_that_is_read_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "reviews.csv"]) == 2
    assert "no such file" in capsys.readouterr().err and not Path("recipe.yaml").exists()
    Path("reviews.csv").write_text("text,label\ngood,1\n", encoding="utf-8")
    assert main(["init", "reviews.csv"]) == 0
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert parse_recipe(yaml.safe_load(text)) == parse_recipe({"data": {"source": "reviews.csv"}})
    assert main(["init"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_init_without_its_comment_marks_is_the_default_recipe(tmp_path, monkeypatch):
    """Every commented line is a valid key with its default, indented as it must be."""
    monkeypatch.chdir(tmp_path)
    Path("reviews.csv").write_text("text,label\ngood,1\n", encoding="utf-8")
    target = tmp_path / "all.yaml"
    assert main(["init", "reviews.csv", "--out", str(target)]) == 0
    lines = []
    keys = {key.path.rpartition(".")[2] for key in recipe_keys()}
    for line in target.read_text(encoding="utf-8").splitlines():
        bare = line.replace("# ", "", 1)
        is_key = ":" in bare and bare.strip().partition(":")[0] in keys and "# " in line
        lines.append(bare if is_key else line)
    assert parse_recipe(yaml.safe_load("\n".join(lines))) == parse_recipe({"data": {"source": "reviews.csv"}})


def test_recipe_keys_cover_the_recipe():
    paths = {key.path for key in recipe_keys()}
    dumped = parse_recipe({}).model_dump()

    def flat(values: dict[str, object], prefix: str = "") -> set[str]:
        found = set()
        for name, value in values.items():
            found.add(prefix + name)
            if isinstance(value, dict):
                found |= flat(value, f"{prefix}{name}.")
        return found

    assert flat(dumped) == paths
    assert all(key.about for key in recipe_keys()), "every key has a description"
    assert set(recipe_type().model_fields) <= paths


def test_references_are_fresh():
    """docs/cli.md and docs/recipe.md are what the code says today."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "gen_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_full_parser_has_no_clash():
    parser = build_parser()
    assert parser.parse_args(["run", "a.csv", "--set", "a=1", "--set", "b=2"]).settings == ["a=1", "b=2"]


def test_control_characters_never_reach_the_terminal():
    assert printable("a\x1b[31mred\x07\nb\u202e") == "a\\x1b[31mred\\x07\\nb\\u202e"
    assert printable("快递 ok") == "快递 ok"


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (200, "3:20"), (3723, "1:02:03")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_lines_for_pipes():
    stream = io.StringIO()
    lines = Lines(stream, quiet=False)
    for done in (0, 50, 100):
        lines(Progress("train", done, 100, "steps", values={"loss": 0.5 - done / 1000, "samples_per_s": 210.0}))
    lines(Progress("train", 0, 50, "steps"))
    lines(Progress("train", 50, 50, "steps"))
    lines(Notice("data", "label: column\x1b[0m 'stars'"))
    lines(Progress("fetch", 3_000_000, 3_000_000, "bytes"))
    assert stream.getvalue().splitlines() == [
        "train: 100 of 100 steps, loss 0.4  samples/s 210",
        "train: 50 of 50 steps",
        "data: label: column\\x1b[0m 'stars'",
        "fetch: 3.0 of 3.0 MB",
    ]


def test_quiet_lets_only_warnings_through():
    stream = io.StringIO()
    lines = Lines(stream, quiet=True)
    lines(Progress("train", 1, 1))
    lines(Notice("data", "chosen"))
    lines(Notice("data", "left out: 3 rows", "warning"))
    assert stream.getvalue() == "data: warning: left out: 3 rows\n"


def test_bars_on_a_terminal():
    stream = io.StringIO()
    bars = LiveBars(stream)
    for done in range(0, 101, 10):
        bars(Progress("train", done, 100, "steps", values={"loss": 1 / (done + 1)}))
    bars(Notice("train", "[red]not markup[/red]"))
    bars(Progress("data", 12, note="reading \x1b[2J"))
    bars.close()
    shown = stream.getvalue()
    assert "100%" in shown and "loss 0.0099" in shown
    assert "[red]not markup[/red]" in shown
    assert "\x1b[2J" not in shown


STANDINGS = Standings("compress", "best so far: a", ("name", "lost", "fits"), (("a \x1b[2J", "+0.20", "yes"),), 0)


def test_standings_are_a_table_on_a_terminal_and_a_sentence_elsewhere():
    terminal, pipe, quiet = io.StringIO(), io.StringIO(), io.StringIO()
    bars = LiveBars(terminal, "zh")
    bars(STANDINGS)
    bars(Progress("compress", 1, 4, "trials"))
    bars.close()
    shown = terminal.getvalue()
    assert "损失（估计）" in shown and "+0.20" in shown and "是" in shown and "\x1b[2J" not in shown
    Lines(pipe, quiet=False)(STANDINGS)
    Lines(quiet, quiet=True)(STANDINGS)
    assert (pipe.getvalue(), quiet.getvalue()) == ("compress: best so far: a\n", "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RecipeError("wrong"), 2, "wrong."),
        (KeyboardInterrupt(), 130, "penjing quote: interrupted. Next: run the same command again."),
        (OSError(28, "No space left on device", "/big/file"), 2, "/big/file: the disk is full."),
        (NotADirectoryError(20, "Not a directory", "/afile/x"), 2, "/afile/x: not a directory. Next: check the path"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "the disk is full."),
    ],
)
def test_what_ends_a_command(error, code, said):
    failure = explain(error, place="penjing quote")
    assert failure is not None
    assert failure.exit_code == code
    assert failure.message.startswith(said)


def test_what_was_left_is_said_where_it_is_known():
    full = OSError(28, "No space left on device", "/big/file")
    for error, said in (
        (
            KeyboardInterrupt(),
            "x.partial: interrupted; weights are there. Next: run the same command again; it goes on",
        ),
        (full, "/big/file: the disk is full. Next: free some space and run the same command again; it goes on"),
    ):
        note_left(error, Left("x.partial", "weights are there", resumes=True))
        note_left(error, Left("x", "nothing is left", resumes=False))  # by who knows less
        failure = explain(error, place="penjing run")
        assert failure is not None and failure.message.startswith(said)
        assert error.__notes__ == ["x.partial: weights are there"]
    assert explain(full).document["next_step"].endswith("it goes on where it was")


def test_a_bug_keeps_its_traceback():
    assert explain(ZeroDivisionError("ours"), place="penjing run") is None


def test_a_closed_pipe_is_no_error():
    """`penjing init ... | head -n 1`, with more output than a pipe holds."""
    command = f"{sys.executable} -m penjing completion bash | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("# AUTOMATICALLY")
    assert lines[-1] in {"0", "141"}
    assert done.stderr == ""


def test_a_terminated_command_exits_with_143(tmp_path):
    """SIGTERM while reading from a pipe that nobody fills."""
    fifo = tmp_path / "rows.jsonl"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfrom penjing.cli.entry import main, _termination_raises\n"
         "from penjing.cli.failure import explain, tell\n"
         "with_signal = _termination_raises()\n"
         "try:\n  with with_signal:\n    print('ready', flush=True); open(sys.argv[1]).read()\n"
         "except BaseException as error:\n  failure = explain(error); tell(failure, as_json=False)\n"
         "  sys.exit(failure.exit_code)", str(fifo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (
        143,
        "error: terminated. Next: run the same command again.\n",
    )
