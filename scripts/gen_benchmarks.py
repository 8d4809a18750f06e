#!/usr/bin/env python3
"""Fill the generated parts of the READMEs and of docs/ from JSON. With --check, only says whether they are fresh.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. Figures come from docs/benchmarks/*.json, which the
scripts under benchmarks/ write, and from docs/first-run.json, which scripts/record_first_run.py writes. A benchmark
that has not finished has no row; no figure is written by hand.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
Document = dict[str, Any]
OUTDATED = "†"
# What `verify_benchmark.py` measures again with every change: a README states no other benchmark's figures.
REPEATED = frozenset({"german_credit"})
_OUTDATED_WORDS = (
    f"{OUTDATED} Measured before the default settings last changed; the page says at which commit.",
    f"{OUTDATED} 测于默认设置最近一次改动之前；其页面写明了所测的提交。",
)

_VERDICTS = {
    "": ("", ""),
    "reached": ("", ""),
    "missed": (", not reached", "，未达到"),
    "open": (", undecided", "，尚不能断定"),
}
_OPEN_WORDS = (
    "Undecided: the figure reaches the goal, not all of its interval does; a budget would get INCONCLUSIVE. The "
    "test rows of Banking77, reviews-zh and AFQMC and the rows of German credit had been looked at while defaults were "
    "chosen; their pages say how.",
    "尚不能断定：数值达到目标，但区间没有完全达到，按预算的规则同样不算达标。Banking77、reviews-zh 和 AFQMC 的"
    "测试数据以及 German credit 的数据在选定默认设置的过程中已被看过，详见各自页面。",
)

# The words of this script's own tables and the benchmarks' titles and figures; what is not here stays English.
CHINESE: tuple[tuple[str, str], ...] = (
    (r"^Banking77: accuracy and memory$", "Banking77：准确率与内存"),
    (r"^Banking77: training speed$", "Banking77：训练速度"),
    (r"^Banking77: from CSV to a tested model$", "Banking77：从 CSV 到测试完毕"),
    (r"^Chinese reviews and question pairs$", "中文评论与问句对"),
    (r"^FewFC: triggers and arguments$", "FewFC：触发词与论元"),
    (r"^German credit: AUC$", "German credit（德国信贷）：AUC"),
    (r"^points above the tuned LightGBM$", "高出调优后 LightGBM 的百分点"),
    (r"^GoEmotions \(Ekman\), several labels$", "GoEmotions（Ekman 六类），多标签"),
    (r"^accuracy, mean of (\d+) (seeds|splits), %$", r"准确率（\1 次平均），%"),
    (r"^macro-F1, mean of (\d+) (seeds|splits), %$", r"宏 F1（\1 次平均），%"),
    (r"^peak memory until training ends, GB$", "训练结束前的内存峰值，GB"),
    (r"^peak memory of the whole run, GB$", "整个流程的内存峰值，GB"),
    (r"^penjing over HF Trainer \(bf16, grouped\), ×$", "快于 HF Trainer（bf16，按长度分批）的倍数"),
    (
        r"^tutorial loop to its best epoch \(extrapolated\) over penjing run, ×$",
        "快于教程循环（到其最佳一轮，按实测步速推算）的倍数",
    ),
    (r"^test accuracy of penjing run, %$", "penjing run 的测试准确率，%"),
    (r"^(\w[\w-]*): accuracy, %$", r"\1：准确率，%"),
    (r"^(\w[\w-]*): points above TF-IDF$", r"\1：高出 TF-IDF 的百分点"),
    (r"^(\w[\w-]*): points above TF-IDF, copies left out$", r"\1：高出 TF-IDF 的百分点（去掉与训练行相同的文本）"),
    (r"^macro-F1, %$", "宏 F1，%"),
    (r"^trigger F1, %$", "触发词 F1，%"),
    (r"^argument F1, %$", "论元 F1，%"),
    (r"^Compression: (\w+)$", r"压缩：\1"),
    (r"^throughput over torch fp32, ×$", "吞吐量：torch fp32 的倍数"),
    (r"^throughput over torch fp32, rows met for the first time, ×$", "吞吐量：torch fp32 的倍数（首次遇到的行）"),
    (r"^throughput over OpenVINO \+ NNCF int8, ×$", "吞吐量：OpenVINO + NNCF int8 的倍数"),
    (r"^p50 of one row over onnxruntime dynamic int8's, ×$", "单行 p50：onnxruntime 动态 int8 的倍数"),
    (r"^size, MB$", "磁盘占用，MB"),
    (r"^peak memory of a fresh predicting process, MB$", "全新预测进程的内存峰值，MB"),
    (r"^accuracy lost, points$", "准确率损失，百分点"),
    (r"^macro-F1 lost, which the budget limits, points$", "宏 F1 损失（预算所限），百分点"),
    (r"^AUROC of in scope against out of scope lost, points$", "区分范围内外的 AUROC 损失，百分点"),
    (r"^How often a quote holds$", "报价兑现的频率"),
    (r"^metric: share of (\d+) intervals that held$", r"指标：\1 个区间中兑现的比例"),
    (
        r"^metric, as a run quotes it: share of (\d+) intervals that held$",
        r"指标（run 自己的报价）：\1 个区间中兑现的比例",
    ),
    (r"^slowest quote, s$", "最慢的一次报价，秒"),
    (r"^slowest of (\d+) quotes, model chosen too, s$", r"\1 次报价（含选择模型）中最慢的一次，秒"),
)


def main(argv: list[str] | None = None) -> int:
    """Write or check the generated parts; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a part is stale")
    arguments = parser.parse_args(argv)
    stale = []
    for name, parts in PARTS.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        filled = fill(text, parts, name)
        if filled != text:
            stale.append(name)
            if not arguments.check:
                path.write_text(filled, encoding="utf-8")
    if stale:
        print(f"{'stale' if arguments.check else 'written'}: {', '.join(stale)}")
    return 1 if stale and arguments.check else 0


def fill(text: str, parts: dict[str, Callable[[], str]], where: str) -> str:
    """The page with every part made again.

    Raises:
        ValueError: the page lacks a part, or has one twice.
    """
    for name, make in parts.items():
        pattern = part(name)
        body = make().strip("\n")
        text, count = pattern.subn(lambda found, body=body: f"{found[1]}{body}\n{found[3]}", text)
        if count != 1:
            raise ValueError(f"{where}: {count} parts called {name!r}, not one")
    return text


def part(name: str) -> re.Pattern[str]:
    """The generated part of a page; its groups are both marks and, between them, the content."""
    return re.compile(rf"(<!-- begin {name} -->\n)(.*?)(<!-- end {name} -->)", re.DOTALL)


def documents(folder: Path | None = None) -> list[Document]:
    """Every finished benchmark, by name; smoke runs are none."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder or DOCS / "benchmarks").glob("*.json"))
    ]
    return [document for document in found if document.get("figures") and not document["settings"].get("smoke")]


def benchmarks_table(
    chinese: bool = False, folder: Path | None = None, only: frozenset[str] | None = None, place: str = ""
) -> str:
    """Every figure that has a target or a figure of others beside it.

    Args:
        chinese: in Chinese, else in English.
        folder: of the JSON; None: the project's.
        only: names of benchmarks; None: all.
        place: of the benchmarks' pages, as seen from the page that the table is for.
    """
    rows, machines, outdated = [], set(), False
    for document in documents(folder):
        if only is not None and document["name"] not in only:
            continue
        figures = [f for f in document["figures"] if f["target"] is not None or f["reference"]]
        for i, figure in enumerate(figures):
            page = f"[{_said(document['title'], chinese)}]({place}{document['name']}.md)"
            page += f" {OUTDATED}" if _outdated(document) else ""
            rows.append([page if i == 0 else "", _said(figure["name"], chinese), *_cells(figure, chinese)])
        if figures:
            outdated |= _outdated(document)
            machine = document["environment"]
            machines.add(f"{machine['cpu']}, {machine['cores']} " + ("核" if chinese else "cores"))
    if not rows:
        return "还没有跑完的基准测试。" if chinese else "No benchmark has finished yet."
    head = (
        ("基准", "项目", "结果", "95% 区间", "目标")
        if chinese
        else ("benchmark", "figure", "result", "95% interval", "goal")
    )
    measured = "测试机器：" if chinese else "Measured on: "
    lines = [*_table(head, rows), "", measured + "; ".join(sorted(machines)) + ("。" if chinese else ".")]
    lines += ["", _OPEN_WORDS[chinese]]
    if outdated:
        lines += ["", _OUTDATED_WORDS[chinese]]
    return "\n".join(lines)


def repeated(chinese: bool) -> str:
    """The figures that a README may state."""
    return benchmarks_table(chinese, only=REPEATED, place="docs/benchmarks/")


def _outdated(document: Document) -> bool:
    """Whether the default settings are no longer those that were measured."""
    settings = _of_benchmarks("default_settings")
    return settings.measured(document) != {settings.digest(document["name"])}


def _of_benchmarks(name: str) -> ModuleType:
    """A module of the benchmarks, which are scripts and no package."""
    folder = str(ROOT / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def _cells(figure: Document, chinese: bool) -> list[str]:
    low, target = figure["low"], figure["target"]
    interval = "" if low is None else f"{_number(low)} – {_number(figure['high'])}"
    goal = "" if target is None else f"{'≥' if figure['at_least'] else '≤'} {_number(target)}"
    word = _VERDICTS[_of_benchmarks("page").verdict(figure)][chinese]
    return [f"**{_number(figure['value'])}**", interval, goal + word]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 200 else f"{value:.2f}"


def _said(text: str, chinese: bool) -> str:
    for pattern, words in CHINESE if chinese else ():
        if re.match(pattern, text):
            return re.sub(pattern, words, text)
    return text


def _table(head: tuple[str, ...] | list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, ["---"] * len(head), *rows]
    ]


def comparison(folder: Path | None = None) -> str:
    """The tutorial loop and the three lines side by side: time and accuracy, and samples a second."""
    named = {document["name"]: document for document in documents(folder)}
    parts = []
    if "banking77_wall" in named:
        figures = {f["name"].partition(" to epoch")[0]: f for f in named["banking77_wall"]["figures"]}
        epoch = next(f["name"] for f in figures.values() if f["name"].startswith("tutorial loop to epoch"))
        value = {name: _number(figure["value"]) for name, figure in figures.items()}
        rows = [
            [
                epoch.partition(", minutes")[0],
                value["tutorial loop"],
                value["test accuracy of the tutorial loop at that epoch, %"],
            ],
            [
                "penjing run (what the three lines call), start to end",
                value["penjing run, start to end, minutes"],
                value["test accuracy of penjing run, %"],
            ],
        ]
        parts += [*_table(("Banking77, minilm-l6-en", "minutes", "test accuracy, %"), rows), ""]
        parts += [
            "The loop's minutes are extrapolated from measured steps: [how](benchmarks/banking77_wall.md).",
            "",
        ]
    if "banking77_speed" in named:
        speed = next(table for table in named["banking77_speed"]["tables"] if table["title"] == "Speed")
        rows = [[row[0], row[1]] for row in speed["rows"]]
        parts += [*_table(("training", "samples/s"), rows), "", "[How it was measured](benchmarks/banking77_speed.md)"]
    return "\n".join(parts) or "No finished measurement yet: `python benchmarks/banking77_wall.py` makes it."


def pages() -> str:
    """A list of the benchmarks' own pages."""
    found = [f"- [{document['title']}](benchmarks/{document['name']}.md)" for document in documents()]
    return "\n".join(found) or "No benchmark has finished yet."


def decisions() -> str:
    """A list of the decisions, by number."""
    found = []
    for path in sorted((DOCS / "decisions").glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        found.append(f"- [{title}](decisions/{path.name})")
    return "\n".join(found)


def first_run(language: str, record: Document | None = None) -> str:
    """The recorded terminal session, or another record of it."""
    path = DOCS / "first-run.json"
    if record is None and not path.is_file():
        return "还没有记录。" if language == "zh" else "Not recorded yet."
    record = record or json.loads(path.read_text(encoding="utf-8"))
    run, predict = record["commands"]
    folded = [part for line in record["notices"] for part in _folded(line)]
    lines = ["```console", f"$ {run}", *folded, "", *_block(record["summary"][language])]
    lines += [f"$ {predict}", *record["predictions"], "```", ""]
    machine = record["hardware"]
    about = f"{machine['cpu']}, {machine['cores']}"
    if language == "zh":
        return "\n".join([*lines, f"（数据：`reviews-zh` 中随机抽取的 {record['rows']:,} 条；机器：{about} 核。）"])
    return "\n".join([*lines, f"({record['rows']:,} random rows of `reviews-zh`; {about} cores.)"])


def _folded(line: str) -> list[str]:
    """A long line as a terminal would break it, so that nobody has to scroll sideways."""
    return textwrap.wrap(line, 110, subsequent_indent="    ", break_on_hyphens=False)


def _block(lines: list[str]) -> list[str]:
    """With one empty line between tables, so that the session fits a page."""
    return [*re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n")).split("\n"), ""]


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"first-run": lambda: first_run("en"), "benchmarks": lambda: repeated(chinese=False)},
    "README.zh.md": {"first-run": lambda: first_run("zh"), "benchmarks": lambda: repeated(chinese=True)},
    "docs/benchmarks/README.md": {
        "benchmarks": benchmarks_table,
        "benchmarks-zh": lambda: benchmarks_table(chinese=True),
    },
    "docs/README.md": {"decision-pages": decisions, "benchmark-pages": pages},
    "docs/tutorial.md": {"comparison": comparison},
}


if __name__ == "__main__":
    sys.exit(main())
