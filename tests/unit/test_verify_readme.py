"""The READMEs' figures against a new run: every number is compared, and each rule can fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": "en", "README.zh.md": "zh"}
NAMES = (
    "gen_benchmarks",
    "readme_claims",
    "readme_figures",
    "readme_session",
    "record_first_run",
    "verify_benchmark",
    "verify_readme",
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[ModuleType]:
    """The script, and beside it the modules that it uses."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import verify_readme

        yield verify_readme
    finally:
        sys.path.remove(str(ROOT / "scripts"))
        for name in NAMES:
            sys.modules.pop(name, None)


def session(scripts: ModuleType, page: str) -> str:
    found = scripts.gen_benchmarks.part("first-run").search((ROOT / page).read_text(encoding="utf-8"))
    assert found is not None
    return found[2]


SMALL = """```console
$ penjing run reviews.csv
data: split: stratified, 720 train, 80 valid, 200 test
select: Chosen: e5-small, because it is good. Expected accuracy after training 75.3%; p95 33.6 ms, 479 MB,
    69 rows/s.
quote: The model: 479 (469–489) MB on disk, 1,230 (1,106–1,368) MB of memory.
evaluate: confidence calibrated on 80 validation rows: temperature 1.13

 test, 200 rows               95%
 ────────────────────────────────
 accuracy *     83.0%   77.5–88.5
 R²             0.100   −0.120 … 0.300

 Some CPU 9000     cost
 ──────────────────────────────
 slowest 5%        48.5   ms
 throughput        55.3   rows/s
 on disk            479   MB
 memory           1,230   MB
 to train          2.61   min

 quote        expected                 actual
 ─────────────────────────────────────────────
 accuracy        75.3%   50.8–87.6      83.0%   held

$ penjing predict runs/reviews --input 'good'
{"text": "good", "prediction": {"label": "positive", "confidence": 0.88, "top": {"positive": 0.88, "negative": 0.12}}}
```

(1,000 random rows of `reviews-zh`; Some CPU 9000, 2 cores.)
"""


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_the_recorded_run_is_compared(scripts: ModuleType, page: str) -> None:
    shown = session(scripts, page)
    record = json.loads(scripts.record_first_run.RECORD.read_text(encoding="utf-8"))
    again = scripts.gen_benchmarks.first_run(PAGES[page], record)
    compared = scripts.compare(shown, again)
    assert [figure for figure in compared if figure.ok is False] == []
    values = [figure.readme for figure in compared]
    for metric in record["report"]["metrics"].values():
        for part in ("value", "low", "high"):
            assert any(
                isinstance(value, float) and abs(value - metric[part] * (100 if metric["percent"] else 1)) < 0.06
                for value in values
            )
    assert {record["rows"], "positive", "negative"} <= set(values)
    assert sum(isinstance(value, float) for value in values) >= 100


def test_the_recorded_commands_are_those_of_the_script(scripts: ModuleType) -> None:
    record = json.loads(scripts.record_first_run.RECORD.read_text(encoding="utf-8"))
    assert tuple(record["commands"]) == scripts.record_first_run.COMMANDS


def verdicts(scripts: ModuleType, old: str, new: str, **options: bool) -> dict[str, bool | None]:
    assert SMALL.count(old) >= 1
    return {figure.name: figure.ok for figure in scripts.compare(SMALL, SMALL.replace(old, new), **options)}


def test_the_same_session_holds(scripts: ModuleType) -> None:
    found = scripts.compare(SMALL, SMALL)
    assert {figure.ok for figure in found} == {True, None}
    assert [figure.name for figure in found if figure.ok is None] == ["accuracy, quote", "machine [1]", "machine [2]"]
    assert {figure.name: figure.readme for figure in found}["R², low"] == -0.12


# what the new run says instead → whether that holds, and of which figure
CHANGES = [
    (" 83.0%   77.5–88.5", " 78.0%   77.5–88.5", True, "accuracy *"),
    (" 83.0%   77.5–88.5", " 77.4%   77.5–88.5", False, "accuracy *"),
    (" 83.0%   77.5–88.5", " 88.6%   77.5–88.5", False, "accuracy *"),
    ("77.5–88.5", "66.0–88.5", False, "accuracy *, low"),
    ("0.100   −0.120 … 0.300", "−0.200   −0.120 … 0.300", False, "R²"),
    ("48.5   ms", "242   ms", True, "slowest 5%, ms"),
    ("48.5   ms", "243   ms", False, "slowest 5%, ms"),
    ("55.3   rows/s", "11.1   rows/s", True, "throughput, rows/s"),
    ("55.3   rows/s", "11.0   rows/s", False, "throughput, rows/s"),
    ("            479   MB", "            483   MB", True, "on disk, MB"),
    ("            479   MB", "            485   MB", False, "on disk, MB"),
    ("            479   MB", "            120   MB", False, "on disk, MB"),
    ("1,230   MB", "1,800   MB", True, "memory, MB"),
    ("1,230   MB", "1,850   MB", False, "memory, MB"),
    ("1,230   MB", "800   MB", False, "memory, MB"),
    ("2.61   min", "13.1   min", False, "to train, min"),
    ("720 train", "719 train", False, "data: split: stratified, # train, # valid, # test [1]"),
    ('"label": "positive"', '"label": "negative"', False, "good label"),
    ('"confidence": 0.88', '"confidence": 0.6', False, "good confidence"),
    (
        "temperature 1.13",
        "temperature 2.3",
        False,
        "evaluate: confidence calibrated on # validation rows: temperature # [2]",
    ),
    ("(1,000 random", "(900 random", False, "rows"),
    ("held", "missed", None, "accuracy, quote"),
    ("2 cores", "64 cores", None, "machine [2]"),
]


@pytest.mark.parametrize(("old", "new", "holds", "name"), CHANGES)
def test_a_figure_holds_within_what_its_kind_allows(
    scripts: ModuleType, old: str, new: str, holds: bool | None, name: str
) -> None:
    found = verdicts(scripts, old, new)
    assert found[name] is holds
    assert all(ok is not False for other, ok in found.items() if other != name)


def test_folded_lines_and_their_units(scripts: ModuleType) -> None:
    line = next(name for name in verdicts(scripts, "x", "x") if name.startswith("select: Chosen"))[:-4]
    assert verdicts(scripts, "69 rows/s", "13 rows/s")[f"{line} [4]"] is False
    assert verdicts(scripts, "33.6 ms", "169 ms")[f"{line} [2]"] is False
    assert verdicts(scripts, "training 75.3%", "training 70.0%")[f"{line} [1]"] is False
    assert verdicts(scripts, "training 75.3%", "training 71.0%")[f"{line} [1]"] is True
    model = "quote: The model: # (#–#) MB on disk, # (#–#) MB of memory."
    assert verdicts(scripts, "479 (", "600 (")[f"{model} [1]"] is False
    assert verdicts(scripts, "1,230 (1,106", "600 (1,106")[f"{model} [4]"] is False


def test_what_the_run_no_longer_says_fails(scripts: ModuleType) -> None:
    found = verdicts(scripts, "temperature 1.13", "no temperature")
    assert sum(ok is False for ok in found.values()) == 2
    assert verdicts(scripts, "accuracy *", "recall *")["accuracy *"] is False


def test_other_rows_are_shown_and_not_judged(scripts: ModuleType) -> None:
    changed = verdicts(scripts, "83.0%   77.5–88.5", "50.0%   40.0–60.0", same_rows=False)
    assert changed["accuracy *"] is None and changed["to train, min"] is None
    assert changed["on disk, MB"] is True
    assert verdicts(scripts, "            479   MB", "            900   MB", same_rows=False)["on disk, MB"] is False


def test_what_a_clock_decides_is_judged_on_the_same_processor_alone(scripts: ModuleType) -> None:
    assert verdicts(scripts, "48.5   ms", "999   ms", same_machine=False)["slowest 5%, ms"] is None
    assert verdicts(scripts, "2.61   min", "99   min", same_machine=False)["to train, min"] is None
    line = next(name for name in verdicts(scripts, "x", "x") if name.startswith("select: Chosen"))
    assert verdicts(scripts, "training 75.3%", "training 50.0%", same_machine=False)[line] is None
    third = line.replace("[1]", "[3]")
    assert verdicts(scripts, "33.6 ms, 479 MB", "33.6 ms, 900 MB", same_machine=False)[third] is False
    wider = ("75.3%   50.8–87.6", "35.3%   20.8–99.6")
    quoted = verdicts(scripts, *wider, same_machine=False)
    assert quoted["accuracy, quote: low"] is None and quoted["accuracy, quote: expected"] is False
    assert verdicts(scripts, *wider)["accuracy, quote: low"] is False
    # What the rows decide is judged on every processor.
    assert verdicts(scripts, "83.0%   77.5–88.5", "50.0%   77.5–88.5", same_machine=False)["accuracy *"] is False
    assert verdicts(scripts, "            479   MB", "            900   MB", same_machine=False)["on disk, MB"] is False


def test_a_session_without_figures_is_an_error(scripts: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs figures"):
        scripts.compare("Not recorded yet.", SMALL)


def test_what_does_not_hold_is_shown_and_given_back(scripts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert scripts.show("README.md", scripts.compare(SMALL, SMALL)) == []
    (missed,) = scripts.show("README.md", scripts.compare(SMALL, SMALL.replace("48.5   ms", "999   ms")))
    assert missed.startswith("README.md: ✗ slowest 5%, ms")
    out = capsys.readouterr().out
    assert "✗ slowest 5%, ms: README 48.5, now 999 (at most 5 ×)" in out
    assert "– machine [1]" in out


@pytest.mark.parametrize(
    "claim",
    [
        *("it reaches 93.7% here", "3× faster", "two times faster", "in five minutes", "a tenth of the size", "480 MB"),
        *("20 ms a row", "1,200 rows/s", "准确率 93%", "快三倍", "五分钟就好", "只有十分之一", "九成以上"),
    ],
)
def test_a_figure_stated_by_hand_is_found(scripts: ModuleType, claim: str) -> None:
    page = f"first\n<!-- begin x -->\n12% 3 ms\n<!-- end x -->\n```sh\nsleep 5 ms\n```\nIt is so: {claim}.\n"
    assert [line for line, _ in scripts.stray_claims(page)] == [8]


@pytest.mark.parametrize(
    "text", ["4,000 of them on two cores", "256 tokens", "Python 3.11", "三行代码，生成报告，几分钟"]
)
def test_what_is_no_claim_is_left_alone(scripts: ModuleType, text: str) -> None:
    assert scripts.stray_claims(text) == []


def test_the_readmes_state_no_figure_by_hand(scripts: ModuleType) -> None:
    pages = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    assert {page: scripts.stray_claims(text) for page, text in pages.items()} == {page: [] for page in PAGES}
    allowed = scripts.stray_claims.__globals__["ALLOWED"]
    assert [phrase for phrase in allowed if not any(phrase in text for text in pages.values())] == []


def test_a_repeated_benchmark_has_to_come_near(scripts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    import verify_benchmark

    stated = [{"name": "AUC", "value": 79.1}, {"name": "gain", "value": 0.5}]
    assert verify_benchmark.compare(stated, [{"name": "gain", "value": 0.9}, {"name": "AUC", "value": 78.7}]) == []
    assert verify_benchmark.compare(stated, [{"name": "AUC", "value": 78.5}]) == ["AUC", "gain"]
    assert "✗ gain: stated 0.50, now nothing" in capsys.readouterr().out
