"""Bad input: one line with the reason, the place and the next step; exit code 2; nothing half-written.

Each case goes through `penjing run` with a model that is on disk, so that only the bad input stands in the way.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penjing.cli import main
from penjing.cli.console import Console
from penjing.core.events import Event
from penjing.models.pretrained import Pretrained

GOOD = [(f"where is my parcel number {i}, please?", "delivery") for i in range(12)]
GOOD += [(f"I want my money back for order {i}", "refund") for i in range(12)]


def csv_of(rows: list[tuple[object, ...]], header: str = "text,label") -> bytes:
    lines = [header, *(",".join(f'"{cell}"' for cell in row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


# name of the case → (file name, content, what the line must say)
FILES: dict[str, tuple[str, bytes, list[str]]] = {
    "empty file": ("rows.csv", b"", ["rows.csv: the file is empty", "Next:"]),
    "header only": ("rows.csv", b"text,label\n", ["rows.csv", "no rows", "Next:"]),
    "one class only": ("rows.csv", csv_of([(text, "refund") for text, _ in GOOD]), ["rows.csv", "'refund'", "Next:"]),
    "a class with one row": ("rows.csv", csv_of([*GOOD, ("is it red?", "colour")]), ["rows.csv", "'colour'", "Next:"]),
    "a label column that is an id": (
        "rows.csv",
        csv_of([(text, f"id-{i:05}") for i, (text, _) in enumerate(GOOD)]),
        ["rows.csv", "label", "Next:"],
    ),
    "a text column of numbers": (
        "rows.csv",
        csv_of([(i * 1.5, label) for i, (_, label) in enumerate(GOOD)]),
        ["rows.csv", "'text'", "number", "Next:"],
    ),
    "all rows empty": ("rows.csv", b"text,label\n" + b",\n" * 20, ["rows.csv: every row is empty", "Next:"]),
    "a text of 5 MB in one row": (
        "rows.csv",
        csv_of([*GOOD, ("x" * 5_000_000, "refund")]),
        ["rows.csv:26", "longer than 4,000,000 characters", "Next: shorten the row"],
    ),
    "null bytes": (
        "rows.csv",
        csv_of(GOOD).replace(b"parcel number 3", b"parcel\0number 3"),
        ["rows.csv:5", "null", "Next:"],
    ),
    "ragged CSV": (
        "rows.csv",
        csv_of(GOOD) + b'"one","two","three"\n',
        ["rows.csv:26", "3", "Next:"],
    ),
    "duplicate column names": (
        "rows.csv",
        csv_of(GOOD, header="text,text"),
        ["rows.csv", "'text'", "Next:"],
    ),
    "broken JSON lines": (
        "rows.jsonl",
        b'{"text": "a b c", "label": "x"}\n{"text": "a b',
        ["rows.jsonl:2", "Next:"],
    ),
    "unknown file type": ("rows.zip", b"PK\x03\x04" + b"\0" * 50, ["rows.zip", "Next: unpack it"]),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; whatever a case leaves there is seen."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def listing(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def refused(words: list[str], said: list[str], capsys: pytest.CaptureFixture[str], directory: Path) -> str:
    """Run a command that must fail cleanly; return its one line."""
    before = listing(directory)
    code = main([*words, "--quiet"])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert err.splitlines()[-1] == lines[0]
    assert "Traceback" not in err
    assert [part for part in said if part not in lines[0]] == [], lines[0]
    assert listing(directory) == before
    return lines[0]


@pytest.mark.parametrize("case", FILES)
def test_bad_file(case, here, capsys, tiny_pretrained: Pretrained):
    name, content, said = FILES[case]
    (here / name).write_bytes(content)
    words = ["run", name, "--label", "label", "--model", str(tiny_pretrained.directory)]
    if case == "duplicate column names":
        words = ["run", name, "--model", str(tiny_pretrained.directory)]
    line = refused(words, said, capsys, here)
    assert len(line) < 600


def test_missing_file_with_the_closest_name(here, capsys):
    (here / "reviews.csv").write_bytes(csv_of(GOOD))
    refused(["run", "revews.csv"], ["revews.csv: no such file", "did you mean 'reviews.csv'?"], capsys, here)
    refused(["run", "reviews-hz"], ["did you mean 'reviews-zh'?"], capsys, here)
    # Two names that share their ending only are not alike.
    (here / "idint.csv").write_bytes(csv_of(GOOD))
    refused(["run", "missing.csv"], ["missing.csv: no such file", "Next: check the path"], capsys, here)


def test_missing_recipe(here, capsys):
    refused(["run", "recipe.yaml"], ["recipe.yaml: no such recipe file", "Next: check the path"], capsys, here)


def test_wrong_encoding(here, capsys):
    """The user says UTF-8, and line 3 is not."""
    text = csv_of(GOOD).decode().replace("number 1,", "numéro 1,")
    (here / "rows.csv").write_bytes(text.encode("latin-1"))
    words = ["run", "rows.csv", "--set", "data.format.encoding=utf-8"]
    refused(words, ["rows.csv", "utf-8", "Next:"], capsys, here)
    refused(["run", "rows.csv", "--set", "data.format.encoding=klingon"], ["klingon"], capsys, here)


def test_unknown_recipe_keys_all_at_once(here, capsys):
    (here / "recipe.yaml").write_text("modle: x\ntrain:\n  epoch: 3\nbudget:\n  p95: 5\ndata: {source: rows.csv}\n")
    said = ["recipe.yaml", "'modle', did you mean 'model'?", "'train.epoch', did you mean 'epochs'?"]
    said += ["'budget.p95', did you mean 'p95_ms'?", "Next: correct these keys"]
    refused(["run", "recipe.yaml"], said, capsys, here)


def test_a_password_in_an_address_is_refused_and_not_repeated(here, capsys):
    line = refused(["run", "postgresql://bob:hunter2@db/shop"], ["data.source", "holds a password"], capsys, here)
    assert "hunter2" not in line and "bob:***@db" in line


def test_recipe_that_is_not_yaml(here, capsys):
    (here / "recipe.yaml").write_text("train: [1,\n")
    refused(["run", "recipe.yaml"], ["recipe.yaml: not valid YAML", "Next:"], capsys, here)


def test_a_model_that_does_not_exist(here, capsys):
    (here / "rows.csv").write_bytes(csv_of(GOOD))
    said = ["unknown model 'minilm-l6-eng'", "did you mean 'minilm-l6-en'?"]
    refused(["run", "rows.csv", "--model", "minilm-l6-eng", "--out", "x"], said, capsys, here)
    refused(["run", "rows.csv", "--model", "minilm-l6-eng"], said, capsys, here)  # nor is an empty runs/ left


def test_a_column_that_does_not_exist(here, capsys):
    (here / "rows.csv").write_bytes(csv_of(GOOD))
    refused(["run", "rows.csv", "--label", "lable"], ["'lable'", "did you mean 'label'?"], capsys, here)


def test_no_network_and_a_cold_cache(here, capsys, monkeypatch, tmp_path_factory):
    """The package index is at an address where nobody listens."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PENJING_CACHE", str(cache))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (here / "rows.csv").write_bytes(csv_of(GOOD))
    words = ["run", "rows.csv", "--model", "minilm-l6-en", "--out", "x"]
    refused(words, ["cannot be fetched", "Next: connect to the network"], capsys, here)
    refused(["run", "reviews-zh"], ["cannot be fetched", "Next: connect to the network"], capsys, here)
    left = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []


def test_an_output_directory_with_something_else(here, capsys):
    (here / "rows.csv").write_bytes(csv_of(GOOD))
    (here / "x").mkdir()
    (here / "x" / "thesis.txt").write_text("years of work")
    said = ["x: ", "not a run of penjing", "Next: give another --out"]
    refused(["run", "rows.csv", "--out", "x", "--model", "minilm-l6-en"], said, capsys, here)
    refused(["run", "rows.csv", "--out", "x", "--model", "minilm-l6-en", "--overwrite"], said, capsys, here)


def test_an_output_directory_that_holds_another_run(here, capsys):
    (here / "rows.csv").write_bytes(csv_of(GOOD))
    (here / "x.partial" / "training").mkdir(parents=True)
    (here / "x.partial" / "training" / "checkpoint.safetensors").write_bytes(b"hours of work")
    (here / "x.partial" / "run.json").write_text(json.dumps({"identity": "of another run", "pid": 1}))
    said = ["x.partial", "holds an interrupted run with other settings, data", "--overwrite to discard it"]
    refused(["run", "rows.csv", "--out", "x", "--model", "minilm-l6-en"], said, capsys, here)


def training(directory: Path, model: Path, *more: str) -> list[str]:
    """A training long enough to be interrupted, that writes a checkpoint after every step."""
    rows = [(f"{text} {i}", label) for i in range(20) for text, label in GOOD]
    (directory / "rows.csv").write_bytes(csv_of(rows))
    words = ["train", "rows.csv", "--model", str(model), "--out", "x", "--epochs", "4"]
    return [*words, "--set", "train.checkpoint_seconds=0", "--set", "train.batch_rows=8", *more]


def start(directory: Path, words: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "penjing", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A shell that runs the tests in the background has its children ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the training has not begun"
        time.sleep(0.02)


KEPT = (
    "x.partial: {}; what was trained so far is kept there. Next: run the same command again; it goes on where it was."
)
NOTHING_LEFT = "x: {}; nothing half-made is left. Next: run the same command again."


def interrupt(
    directory: Path, words: list[str], there: Callable[[Path], bool], number: signal.Signals, code: int, said: str
) -> None:
    """Start a training, send it a signal once something is there, and read what it says."""
    process = start(directory, words)
    wait_for(lambda: there(directory), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, ""), err
    assert err.splitlines()[-1] == f"error: {said}"
    assert "Traceback" not in err
    assert not (directory / "x").exists()


def test_ctrl_c_says_that_the_training_resumes_and_it_does(here, tiny_pretrained):
    words = training(here, tiny_pretrained.directory)
    interrupt(here, words, has_checkpoint, signal.SIGINT, 130, KEPT.format("interrupted"))
    again = start(here, words)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "resumed at step" in err
    assert (here / "x" / "manifest.json").is_file()
    assert not (here / "x.partial").exists()


@pytest.mark.slow
def test_sigterm_ends_a_training_as_cleanly(here, tiny_pretrained):
    words = training(here, tiny_pretrained.directory)
    interrupt(here, words, has_checkpoint, signal.SIGTERM, 143, KEPT.format("terminated"))


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(here, tiny_pretrained, number, code, word):
    words = training(here, tiny_pretrained.directory, "--set", "train.checkpoint_seconds=1e9")
    before = listing(here)
    interrupt(here, words, has_begun, number, code, NOTHING_LEFT.format(word))
    assert listing(here) == before


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("data", "runs/rows: interrupted; nothing was written yet. Next: run the same command again."),
        ("quote", "runs/rows: interrupted; nothing half-made is left. Next: run the same command again."),
    ],
)
def test_ctrl_c_while_reading_or_quoting(here, capsys, monkeypatch, tiny_pretrained, stage, said):
    def listen(console: Console, event: Event) -> None:
        if event.stage == stage:
            raise KeyboardInterrupt

    (here / "rows.csv").write_bytes(csv_of(GOOD))
    before = listing(here)
    monkeypatch.setattr(Console, "listen", listen)
    words = ["run", "rows.csv", "--model", str(tiny_pretrained.directory), "--set", "select.quote_seconds=10"]
    assert main(words) == 130
    assert capsys.readouterr().err.splitlines() == [f"error: {said}"]
    assert listing(here) == before
    assert main([*words, "--json"]) == 130
    document = json.loads(capsys.readouterr().out)
    assert (document["error"], document["where"], document["exit_code"]) == ("Interrupted", "runs/rows", 130)


def test_ctrl_c_while_reading_again_leaves_the_training_and_promises_nothing(here, capsys, monkeypatch):
    """Whether the checkpoint is of this run is known only when its data is read."""
    (here / "rows.csv").write_bytes(csv_of(GOOD))
    (here / "x.partial" / "training").mkdir(parents=True)
    (here / "x.partial" / "training" / "checkpoint.safetensors").write_bytes(b"hours of work")
    (here / "x.partial" / "run.json").write_text(json.dumps({"identity": "of some run", "pid": 1}))
    before = listing(here)

    def listen(console: Console, event: Event) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "listen", listen)
    assert main(["run", "rows.csv", "--out", "x"]) == 130
    said = "x.partial: interrupted; what was trained so far is kept there. Next: run the same command again."
    assert capsys.readouterr().err.splitlines() == [f"error: {said}"]
    assert listing(here) == before


def has_begun(directory: Path) -> bool:
    return (directory / "x.partial" / "run.json").is_file()


def has_checkpoint(directory: Path) -> bool:
    from penjing.train import checkpoint

    return (directory / "x.partial" / "training" / checkpoint.FILE).is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk(small_disk, tiny_pretrained):
    disk = small_disk(1)
    process = start(disk, training(disk, tiny_pretrained.directory))
    _, err = process.communicate(timeout=240)
    last = err.splitlines()[-1]
    assert process.returncode == 2, err
    assert last.startswith("error: ") and "the disk is full" in last and "Next: free some space" in last
    assert "Traceback" not in err
    assert not (disk / "x").exists()
