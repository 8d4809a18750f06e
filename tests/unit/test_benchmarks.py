"""The benchmarks' frame and arithmetic: what would make a wrong page out of right measurements."""

from __future__ import annotations

import importlib
import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from penjing.models.pretrained import Pretrained

pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "banking77_accuracy",
    "banking77_speed",
    "banking77_wall",
    "chinese",
    "default_settings",
    "evaluation_data",
    "fewfc",
    "frame",
    "goemotions",
    "intervals",
    "measured_run",
    "page",
    "phrasebank",
    "planted_label_errors",
    "provenance",
    "tfidf",
    "training_sides",
    "validation_sweep",
)


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """Scripts import their neighbours, so their folders are on the path while they are loaded, as when run."""
    folders = [str(ROOT / "benchmarks"), str(ROOT / "examples")]
    sys.path[:0] = folders
    loaded = {name: importlib.import_module(name) for name in (*MODULES, "bert_tutorial_loop", "three_lines")}
    yield loaded
    for folder in folders:
        sys.path.remove(folder)
    for name in loaded:
        del sys.modules[name]


def options(out: Path, **more: Any) -> Namespace:
    return Namespace(data=ROOT, out=out, work=out / "work", fresh=False, smoke=False, model="some-model", **more)


def test_every_script_says_what_it_does_and_has_a_main(modules: dict[str, ModuleType]) -> None:
    assert all(module.__doc__ for module in modules.values())
    scripts = [name for name in MODULES if "option_parser(__doc__" in Path(str(modules[name].__file__)).read_text()]
    assert len(scripts) == 8
    assert all(callable(modules[name].main) for name in scripts)


def test_a_killed_benchmark_goes_on_where_it_was(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    frame = modules["frame"]

    def dies() -> float:
        raise KeyboardInterrupt

    first = frame.Benchmark("b", "B", "About.", options(tmp_path))
    assert first.step("one", lambda: {"value": 1.5}) == {"value": 1.5}
    with pytest.raises(KeyboardInterrupt):
        first.step("two", dies)
    second = frame.Benchmark("b", "B", "About.", options(tmp_path))
    assert second.step("one", dies) == {"value": 1.5}
    assert second.step("two", lambda: 2) == 2
    with pytest.raises(SystemExit, match="other settings"):
        frame.Benchmark("b", "B", "About.", options(tmp_path, seeds=[1]))
    arguments = options(tmp_path, seeds=[1])
    arguments.fresh = True
    assert frame.Benchmark("b", "B", "About.", arguments).document["steps"] == {}


@pytest.mark.parametrize(("name", "value"), [("cpu", "another"), ("libraries", {"torch": "9"}), ("defaults", "f" * 64)])
def test_steps_of_another_machine_or_of_other_defaults_are_not_mixed(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    frame = modules["frame"]
    first = frame.Benchmark("b", "B", "About.", options(tmp_path))
    first.step("one", lambda: 1)
    first.finish([])
    page = (tmp_path / "b.json").read_text(encoding="utf-8")
    there = {**first.document["environment"], "defaults_commit": "of other words"}
    if name == "defaults":
        monkeypatch.setattr(frame, "digest", lambda benchmark: value)
    else:
        there[name] = value
    monkeypatch.setattr(frame, "environment", lambda: there)
    again = frame.Benchmark("b", "B", "About.", options(tmp_path))
    again.step("one", lambda: 1)
    again.finish([])  # nothing was measured here, so the page still says where it was
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == page
    with pytest.raises(SystemExit, match=f"other {name} than here"):
        again.step("two", lambda: 2)
    arguments = options(tmp_path)
    arguments.fresh = True
    fresh = frame.Benchmark("b", "B", "About.", arguments)
    fresh.step("two", lambda: 2)
    assert fresh.document["environment"] == there


def test_a_rival_is_what_it_was_when_our_defaults_change(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = modules["frame"]
    frame.Benchmark("b", "B", "About.", options(tmp_path)).step("theirs", lambda: 1, rival=True)
    monkeypatch.setattr(frame, "digest", lambda benchmark: "f" * 64)
    again = frame.Benchmark("b", "B", "About.", options(tmp_path))
    assert [again.step("theirs", lambda: 2, rival=True), again.step("ours", lambda: 3)] == [1, 3]
    assert frame.measured(again.document) == {"f" * 64}


def test_defaults_are_the_same_until_their_code_changes(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = modules["default_settings"]
    assert settings.digest("b", "0" * 40) is None
    monkeypatch.setattr(settings, "ROOT", tmp_path)
    monkeypatch.setattr(settings, "FILES", {"config.py": "C"})
    found = {}
    for text in (
        '"""A."""\nclass C:\n    """B."""\n    x = Field(1, description="C.")\n',
        '"""D."""\nclass C:\n    """E."""\n    x = Field(1, description="F.")  # G\nOTHER = 3\n',
        '"""A."""\nclass C:\n    """B."""\n    x = Field(2, description="C.")\n',
    ):
        (tmp_path / "config.py").write_text(text, encoding="utf-8")
        found[text] = settings.digest.__wrapped__("b")  # not kept for other tests
    first, reworded, changed = found.values()
    assert first == reworded != changed
    monkeypatch.setattr(settings, "FILES", {"config.py": frozenset({"C"})})
    all_but_it = []
    for text in ("class C:\n    x = 1\ndef f(): return 1\n", "def f(): return 1\n", "def f(): return 2\n"):
        (tmp_path / "config.py").write_text(text, encoding="utf-8")
        all_but_it.append(settings.digest.__wrapped__("b"))
    assert all_but_it[0] == all_but_it[1] != all_but_it[2]
    monkeypatch.setattr(settings, "FILES", {"config.py": "C"})
    (tmp_path / "config.py").write_text(list(found)[-1], encoding="utf-8")
    monkeypatch.setattr(settings, "FILES_OF", {"other": set()})
    assert settings.digest.__wrapped__("other") != changed == settings.digest.__wrapped__("b")


def test_a_result_that_is_not_a_number_is_refused(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    benchmark = modules["frame"].Benchmark("b", "B", "About.", options(tmp_path))
    with pytest.raises(ValueError, match="JSON compliant"):
        benchmark.step("one", lambda: math.nan)


def test_the_page_says_reached_or_not_and_comes_from_the_json(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    frame = modules["frame"]
    benchmark = frame.Benchmark("b", "A title", "About\nit.", options(tmp_path, seeds=[1, 2], quick=None))
    benchmark.step("one", lambda: 1)
    figures = [
        frame.Figure("speed, ×", 1.99, 1.9, 2.1, target=2.0),
        frame.Figure("memory, GB", 1.99, target=2.0, at_least=False),
        frame.Figure("rows", 12345.0, reference="theirs 1"),
    ]
    benchmark.finish(figures, [frame.TableOf("T", ("a", "b"), [["1", "x|y"]])], ["A note."])
    page = (tmp_path / "b.md").read_text(encoding="utf-8")
    assert page == modules["page"].markdown(json.loads((tmp_path / "b.json").read_text(encoding="utf-8")))
    assert "| speed, × | 1.99 | 1.90 to 2.10 | ≥ 2.00 | **not reached** | – |" in page
    assert "| memory, GB | 1.99 | – | ≤ 2.00 | reached | – |" in page
    verdict = modules["page"].verdict
    sides = {"value": 3.0, "target": 2.0, "at_least": True, "reached": True, "high": 4.0}
    assert [verdict(sides | {"low": low}) for low in (None, 2.5, 1.5)] == ["reached", "reached", "open"]
    ceiling = {"value": 1.0, "target": 2.0, "at_least": False, "reached": True, "low": 0.5}
    assert [verdict(ceiling | {"high": high}) for high in (1.9, 2.1)] == ["reached", "open"]
    assert verdict(sides | {"low": 1.0, "reached": False}) == "missed"
    assert verdict(sides | {"low": 1.0, "reached": None}) == ""
    assert "| rows | 12,345 | – | – |  | theirs 1 |" in page
    assert r"| 1 | x\|y |" in page
    assert "python benchmarks/b.py --model some-model --seeds 1 2`" in page
    assert str(ROOT) not in page
    assert str(tmp_path) not in page


def test_committed_pages_are_those_of_their_json(modules: dict[str, ModuleType]) -> None:
    for path in sorted((ROOT / "docs" / "benchmarks").glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        # Other benchmarks have pages of their own form.
        if {"steps", "figures", "environment"} <= document.keys():
            page = path.with_suffix(".md").read_text(encoding="utf-8")
            assert page == modules["page"].markdown(document), path.name
            assert "smoke run" not in page


def test_intervals(modules: dict[str, ModuleType]) -> None:
    intervals = modules["intervals"]
    mean, low, high = intervals.mean_interval([1.0, 2.0, 3.0])
    # t(0.975, 2 degrees of freedom) = 4.302653, standard error 1 / sqrt(3).
    assert (mean, low, high) == pytest.approx((2.0, 2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert intervals.mean_interval([4.0]) == (4.0, None, None)
    mean, low, high = intervals.resampled_interval([1.0, 2.0, 3.0], 0.2)
    assert high - mean == pytest.approx(4.302653 * math.sqrt(1 / 3 + 0.25), abs=1e-5)
    assert mean - low == pytest.approx(high - mean)


def test_paired_difference_agrees_with_a_bootstrap_over_rows(modules: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random(400) < 0.9, rng.random(400) < 0.8
    found = modules["intervals"].paired_difference(ours.tolist(), theirs.tolist())
    gain = ours.astype(float) - theirs.astype(float)
    drawn = gain[rng.integers(0, 400, (4000, 400))].mean(axis=1)
    assert found[0] == pytest.approx(100 * gain.mean())
    assert found[1:] == pytest.approx(100 * np.quantile(drawn, [0.025, 0.975]), abs=0.5)
    assert modules["intervals"].paired_difference([True, False], [True, False]) == (0.0, 0.0, 0.0)


def test_speed_leaves_the_warm_up_out(modules: dict[str, ModuleType]) -> None:
    speed = modules["banking77_speed"]
    stamps = [10.0, 20.0, 21.0, 22.0, 23.0]
    assert speed.steady_rate(stamps, 32, 2) == pytest.approx(32.0)
    assert speed.steady_rate(stamps, 32, 0) == pytest.approx(32 * 4 / 13)
    timeline = [[1.0, "fetch", 1, 1, None], [2.0, "probe", 64, 128, None], [3.0, "train", 0, 4, 0.5]]
    assert speed.preparation_seconds(timeline) == 1.0
    assert speed.preparation_seconds([timeline[0], timeline[2]]) == 0.0
    timeline += [[9.0, "train", 4, 4, 0.9], [10.0, "n-grams", 4, 4, None]]
    notices = [[0.5, "data"], [10.2, "train"], [10.5, "export"], [14.0, "export"]]
    assert speed.completion_seconds(timeline, notices) == 1.5


def test_speed_ratios(modules: dict[str, ModuleType]) -> None:
    speed = modules["banking77_speed"]

    def turns(*rates: float, **more: Any) -> list[dict[str, Any]]:
        return [{"samples_per_s": rate, "wall_s": 10.0, "rows": 100, **more} for rate in rates]

    measured = {
        speed.PENJING: turns(
            90.0,
            100.0,
            300.0,
            steps_only_samples_per_s=120.0,
            preparation_s=8.0,
            completion_s=3.5,
            settings={"epochs": 4},
        ),
        speed.HF_GROUPED: turns(50.0, 50.0, 10.0),
        speed.HF_DEFAULT: turns(20.0, 25.0, 40.0),
        speed.TUTORIAL: turns(5.0, 4.0, 10.0),
    }
    figures, _, notes = speed.summary(measured)
    assert [figure.value for figure in figures] == pytest.approx([2.0, 4.5, 25.0, 2.4])
    assert "epochs 4" in notes[0] and "8.0 s, after its last 3.5 s" in notes[1]
    assert figures[0].reached


def test_wall_time_is_extrapolated_to_the_first_best_epoch(modules: dict[str, ModuleType]) -> None:
    wall = modules["banking77_wall"]
    assert wall.best_epoch([0.1, 0.9, 0.8, 0.9]) == 2
    assert wall.extrapolated_seconds(0.5, 100, 2) == pytest.approx(100.0)
    runs = [{"wall_s": seconds, "accuracy": 0.94} for seconds in (5.0, 4.0, 90.0)]
    epochs = {"dev": [0.1, 0.9, 0.8], "test_at_best": 0.9, "steps_an_epoch": 100, "dev_rows": 10}
    timeline = {"timeline": [[1.0, "train", 1, 2, 0.5], [2.0, "fetch", 7, None, None]], "wall_s": 5.0}
    figures, tables, _ = wall.summary(runs, [0.5, 0.6, 0.4], timeline, epochs)
    assert figures[0].value == pytest.approx(100 / 5)
    assert not figures[0].reached
    assert figures[1].reached
    assert tables[0].rows == [["1.0", "train", "1 of 2", "50.00"], ["2.0", "fetch", "7", ""]]


def test_sweep_ranks_candidates(modules: dict[str, ModuleType]) -> None:
    sweep = modules["validation_sweep"]
    assert sweep.mean_ranks(np.array([[90.0, 70.0], [91.0, 70.0], [80.0, 60.0]])).tolist() == [1.75, 1.25, 3.0]
    assert sweep.parse_setting("train.dropout=0.1, train.optimizer=lion") == {
        "train.dropout": 0.1,
        "train.optimizer": "lion",
    }
    with pytest.raises(SystemExit, match="KEY=VALUE"):
        sweep.parse_setting("train.dropout")
    one = {"metric": 0.8, "minutes": 2.0, "valid": 0.8}
    better = {"metric": 0.9, "minutes": 4.0, "valid": 0.8}
    figures, tables, _ = sweep.summary({"defaults": {"a": [one], "b": [one]}, "x": {"a": [better], "b": [one]}})
    assert figures[0].value == pytest.approx(5.0)
    assert [row[0] for row in tables[0].rows] == ["x", "defaults"]
    assert tables[0].rows[0][-1] == "1.41"


def test_sweep_divides_rows_without_overlap(modules: dict[str, ModuleType]) -> None:
    rows = [{"text": str(i), "label": i % 3} for i in range(100)]
    parts = modules["validation_sweep"].inner_parts(rows, 50, seed=1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 36, "valid": 4, "test": 10}
    assert len({row["text"] for part in parts.values() for row in part}) == 50


def test_baseline_learns_what_characters_tell(modules: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef好差" if i % 2 else "abcdefgh"), 12)) + ("!" * (i % 2)) for i in range(60)]
    labels = [str(i % 2) for i in range(60)]
    found = modules["tfidf"].tuned_tfidf(texts[:40], labels[:40], texts[40:], quick=True)
    assert found["predictions"] == labels[40:]
    assert found["tried"] > 60


def test_baseline_of_pairs(modules: dict[str, ModuleType]) -> None:
    tfidf = modules["tfidf"]
    columns = tfidf.overlap([("abc", "abc"), ("abc", "def")], [("abc", "abc"), ("abc", "def"), ("abcd", "ab")])
    assert columns[0].tolist() == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0, 1])
    assert columns[1, :6].tolist() == pytest.approx([0] * 6)
    assert columns[2, 1] == pytest.approx(0.5)
    assert columns[2, -2:].tolist() == pytest.approx([2, 0.5])
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 8)) for _ in range(81)]
    pairs = [(words[i], words[i] if i % 2 else words[i + 1]) for i in range(80)]
    labels = [str(i % 2) for i in range(80)]
    found = tfidf.tuned_pairs(pairs[:60], labels[:60], pairs[60:], quick=True)
    assert found["predictions"] == labels[60:]


@pytest.mark.data
def test_committed_splits_are_those_of_the_data(modules: dict[str, ModuleType], data_dir: Path) -> None:
    data = modules["evaluation_data"]
    rows = data.phrasebank_rows(data_dir)
    splits = data.phrasebank_splits(rows)
    assert [(len(train), len(test)) for train, test in splits] == [(3876, 970)] * 5
    assert all(not set(train.tolist()) & set(test.tolist()) for train, test in splits)
    with pytest.raises(ValueError, match="not the PhraseBank rows"):
        data.phrasebank_splits(rows[::-1])


@pytest.mark.data
def test_sentences_all_annotators_agree_on_are_found_in_spite_of_encodings(
    modules: dict[str, ModuleType], data_dir: Path
) -> None:
    data = modules["evaluation_data"]
    agreed, rows = data.phrasebank_agreed(data_dir), data.phrasebank_rows(data_dir)
    assert agreed <= {data.ascii_letters(row["text"]) for row in rows}
    assert len(agreed) == 2_259  # 2,264 rows, five of them twice


def test_a_missed_margin_says_what_the_copies_leave_to_be_reached(modules: dict[str, ModuleType]) -> None:
    chinese = modules["chinese"]
    train = [{"text": "known", "label": "1"}]
    test = [{"text": "known" if i < 8 else f"new {i}", "label": "1"} for i in range(10)]
    ours, theirs = {"right": "1111111011"}, {"right": "1111111110"}
    parts = {"train": train, "test": test}
    (note,) = chinese.limit("reviews-zh", ours, theirs, parts)
    assert "on the 8 copies TF-IDF has 100.0%, penjing 87.5%; on the 2 other rows 50.0% and 100.0%" in note
    assert "60.0% on the others would be needed" in note  # two points of ten rows are ten points of two
    assert "N-grams" in note and "N-grams" not in chinese.limit("waimai", ours, theirs, parts)[0]
    assert chinese.limit("reviews-zh", {"right": "1" * 10}, {"right": "1" * 9 + "0"}, parts) == []


def test_accuracy_is_told_apart_by_agreement(modules: dict[str, ModuleType]) -> None:
    phrasebank = modules["phrasebank"]
    test = [{"text": f"text {i}", "label": "good"} for i in range(5)]
    agreed = {modules["evaluation_data"].ascii_letters(row["text"]) for row in test[:2]}
    ours = phrasebank.by_agreement(test, ["good", "good", "bad", "bad", "good"], agreed)
    theirs = phrasebank.by_agreement(test, ["bad"] * 5, agreed)
    assert ours == {"agreed": {"rows": 2, "right": 2}, "disputed": {"rows": 3, "right": 1}}
    table, note = phrasebank.agreement_of([ours], [theirs])
    assert [list(row) for row in table.rows] == [
        ["all of them", "40.0", "100.00", "0.00"],
        ["not all", "60.0", "33.33", "0.00"],
    ]
    assert "asks for 80.0% on the others; penjing has 33.3%" in note


@pytest.mark.data
def test_settings_are_never_chosen_on_rows_that_are_tested(modules: dict[str, ModuleType], data_dir: Path) -> None:
    data = modules["evaluation_data"]
    rows = data.phrasebank_rows(data_dir)
    tested = {i for _, test in data.phrasebank_splits(rows) for i in test.tolist()}
    chosen = data.training_rows("phrasebank", data_dir)
    assert len(chosen) == len(rows) - len(tested)
    sizes = {name: len(data.training_rows(name, data_dir)) for name in modules["validation_sweep"].NAMES}
    assert sizes["banking77"] == 10_003
    assert sizes["goemotions"] == 43_410
    assert sizes["afqmc"] == 34_334
    assert len(sizes) >= 5


@pytest.mark.slow
def test_a_measured_run_is_a_fresh_process(
    modules: dict[str, ModuleType], tiny_pretrained: Pretrained, tmp_path: Path
) -> None:
    words = ("red", "blue")
    rows = [{"text": f"{words[i % 2]} parcel number {i}", "label": words[i % 2]} for i in range(96)]
    parts = {"train": rows[:64], "valid": rows[64:80], "test": rows[80:]}
    source, overrides = modules["evaluation_data"].write_parts(parts, tmp_path / "data")
    overrides |= {"model": str(tiny_pretrained.directory), "train.epochs": 2}
    outcome = modules["measured_run"].measured_run(source, tmp_path / "model", overrides, prove=False)
    assert [step for step, _ in outcome["steps"]] == [0, 1, 2, 3, 4]
    seconds = [stamp for _, stamp in outcome["steps"]]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] <= seconds[-1] < outcome["wall_s"]
    assert 50 < outcome["peak_mb"]["train"] <= outcome["peak_mb"]["whole"]
    assert set(outcome["valid"]) >= {"accuracy", "macro_f1"}
    assert not (tmp_path / "model").exists()
    with pytest.raises(RuntimeError, match=r"unknown key 'train\.nonsense'"):
        modules["measured_run"].measured_run(source, tmp_path / "model", {"train.nonsense": 1}, prove=False)


def test_the_tutorial_loop_pads_in_two_ways_with_one_loss(
    modules: dict[str, ModuleType], tiny_pretrained: Pretrained
) -> None:
    import torch

    loop = modules["bert_tutorial_loop"]
    examples = [("where is my parcel", "a"), ("refund", "b"), ("the tea tastes wonderful", "a")]
    losses = []
    for padding in ("max_length", "longest"):
        settings = loop.Settings(epochs=1, padding=padding, max_length=32)
        tutorial = loop.Tutorial(str(tiny_pretrained.directory), ["a", "b"], settings)
        batch = next(iter(tutorial.loader(examples, shuffle=False)))
        assert batch["input_ids"].shape[1] == 32 if padding == "max_length" else batch["input_ids"].shape[1] < 32
        tutorial.model.eval()
        with torch.no_grad():
            losses.append(float(tutorial.model(**batch).loss))
        steps: list[int] = []
        assert list(tutorial.epochs(tutorial.loader(examples, shuffle=True), lambda seen=steps: seen.append(1))) == [1]
        assert len(steps) == 1
        assert 0.0 <= tutorial.accuracy(tutorial.loader(examples, shuffle=False)) <= 1.0
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    train, dev = loop.hold_out(examples, 1 / 3, seed=1)
    assert sorted([*train, *dev]) == sorted(examples)
    assert len(dev) == 1


def test_chinese_compares_the_same_rows(modules: dict[str, ModuleType]) -> None:
    chinese = modules["chinese"]
    test = [{"text": text, "label": label} for text, label in (("好", "1"), ("差", "0"), ("一般", "0"), ("行", "1"))]
    parts = {"train": [{"text": "好", "label": "1"}], "test": test}
    assert chinese.marks(["1", "1", None, "1"], test) == "1001"
    metric = {"value": 0.75, "low": 0.5, "high": 1.0}
    ours = {"metrics": {"accuracy": metric}, "right": "1110", "train_minutes": 2.0}
    theirs = {"right": "1000", "settings": {"model": "LinearSVC"}, "seconds": 60.0}
    figures, row = chinese.compared("waimai", ours, theirs, parts)
    assert [figure.value for figure in figures] == pytest.approx([75.0, 50.0, 66.7], abs=0.1)
    assert row == ["waimai", "1 + 4", "75.00", "25.00", "50.00", "1", "66.67; 0.00", "model LinearSVC", "2.0; 1.0"]
    figures, row = chinese.compared("waimai", ours, theirs, {"train": test, "test": test})
    assert [len(figures), row[6]] == [2, ""]  # nothing but copies
    assert chinese.disagreement("waimai", ours) == []
    assert "75.000%" in chinese.disagreement("waimai", ours | {"right": "1111"})[0]
