"""Figures in the documents come from JSON: fresh, complete, and never of a run that has not finished."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "first-run.json"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return load(ROOT / "scripts" / "gen_benchmarks.py")


@pytest.fixture
def frame() -> Iterator[ModuleType]:
    """The benchmarks' own frame, so that the JSON read here is the JSON they write."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield load(ROOT / "benchmarks" / "frame.py")
    sys.path.remove(str(ROOT / "benchmarks"))
    for name in ("frame", "page"):
        sys.modules.pop(name, None)


def start(frame: ModuleType, name: str, folder: Path, **settings: Any) -> Any:
    options = {"data": ROOT, "out": folder, "work": folder, "fresh": False, "smoke": False, "model": "some-model"}
    benchmark = frame.Benchmark(name, f"Title of {name}", "About it.", Namespace(**(options | settings)))
    benchmark.step("only", lambda: 1)
    return benchmark


def test_generated_parts_are_fresh(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().out + "run: python scripts/gen_benchmarks.py"


def test_a_row_stands_in_the_table_once_its_benchmark_has_finished(
    generator: ModuleType, frame: ModuleType, tmp_path: Path
) -> None:
    assert generator.benchmarks_table(folder=tmp_path) == "No benchmark has finished yet."
    assert generator.comparison(tmp_path).startswith("No finished measurement yet")
    begun = start(frame, "begun", tmp_path)
    assert begun.path.is_file()
    smoke = start(frame, "smoke", tmp_path, smoke=True)
    smoke.finish([frame.Figure("speed, ×", 9.99, target=1.0)])
    assert generator.benchmarks_table(folder=tmp_path) == "No benchmark has finished yet."
    done = start(frame, "done", tmp_path)
    figures = [
        frame.Figure("macro-F1, %", 61.25, 60.5, 62.0, target=62.4),
        frame.Figure("peak memory of the whole run, GB", 1.5, target=2.0, at_least=False),
        frame.Figure("of no interest, %", 12.34),
    ]
    done.finish(figures)
    table = generator.benchmarks_table(folder=tmp_path)
    assert "| [Title of done](done.md) | macro-F1, % | **61.25** | 60.50 – 62.00 | ≥ 62.40, not reached |" in table
    assert "|  | peak memory of the whole run, GB | **1.50** |  | ≤ 2.00 |" in table
    assert "no interest" not in table
    assert "9.99" not in table
    chinese = generator.benchmarks_table(chinese=True, folder=tmp_path)
    assert "| 宏 F1，% | **61.25** | 60.50 – 62.00 | ≥ 62.40，未达到 |" in chinese


def test_a_row_measured_with_other_defaults_says_so(
    generator: ModuleType, frame: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [frame.Figure("macro-F1, %", 61.25, target=62.4)]
    start(frame, "now", tmp_path).finish(figures)
    assert "†" not in generator.benchmarks_table(folder=tmp_path)
    monkeypatch.setattr(frame, "digest", lambda benchmark: "f" * 64)
    start(frame, "then", tmp_path).finish(figures)
    table, chinese = (generator.benchmarks_table(said, tmp_path) for said in (False, True))
    assert "(now.md) |" in table and "(then.md) † |" in table
    assert "† Measured before the default settings last changed" in table and "† 测于默认设置" in chinese


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_a_readme_states_what_is_measured_again_with_every_change(generator: ModuleType, name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    stated = generator.part("benchmarks").search(text)[2]
    verified = load(ROOT / "scripts" / "verify_benchmark.py").NAME
    assert re.findall(r"\(docs/benchmarks/(\w+)\.md\)", stated) == [verified]
    whole = generator.benchmarks_table()
    assert len(re.findall(r"\]\(\w+\.md\)", whole)) == len(generator.documents())


def test_the_tutorial_compares_what_was_measured(generator: ModuleType, frame: ModuleType, tmp_path: Path) -> None:
    wall = start(frame, "banking77_wall", tmp_path)
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        script = load(ROOT / "benchmarks" / "banking77_wall.py")
    finally:
        sys.path.remove(str(ROOT / "examples"))
    run = {"wall_s": 120.0, "accuracy": 0.934, "train_minutes": 1.5}
    epochs = {"dev": [0.5, 0.9, 0.8], "test_at_best": 0.925, "steps_an_epoch": 600, "dev_rows": 1000}
    wall.finish(*script.summary([run], [1.5], {"timeline": [], "wall_s": 120.0}, epochs))
    compared = generator.comparison(tmp_path)
    assert "| tutorial loop to epoch 2 | 30.00 | 92.50 |" in compared
    assert "| penjing run (what the three lines call), start to end | 2.00 | 93.40 |" in compared


def test_a_page_without_its_part_is_refused(generator: ModuleType) -> None:
    page = "before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n"
    assert generator.fill(page, {"x": lambda: "new"}, "page") == page.replace("old", "new")
    with pytest.raises(ValueError, match="0 parts called 'y'"):
        generator.fill(page, {"y": lambda: "new"}, "page")
    with pytest.raises(ValueError, match="2 parts called 'x'"):
        generator.fill(page + page, {"x": lambda: "new"}, "page")


def test_the_first_run_is_recorded_with_its_pictures() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    accuracy = record["report"]["metrics"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert any(f"{100 * accuracy['value']:.1f}%" in line for line in record["summary"]["en"])
    for language in ("en", "zh"):
        picture = (ROOT / "docs" / "images" / f"report.{language}.png").read_bytes()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(picture) < 400_000
