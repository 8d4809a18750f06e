"""The data sets of `quote_coverage`: unlike in language, task, number of classes and number of labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation_data import (
    ENGLISH,
    MULTILINGUAL,
    Parts,
    Rows,
    afqmc,
    banking77,
    eighty_twenty,
    goemotions,
    phrasebank_rows,
    reviews_zh,
    sample,
    smp2020,
    waimai,
)
from fewfc import read as fewfc_parts

SCRATCH = "scratch"


@dataclass(frozen=True)
class Case:
    """One data set at one size, learned from one model.

    Args:
        name: of the case.
        family: where its rows come from; cases of a family are not independent.
        model: catalog name, "scratch", or None for tables.
        load: evaluation data folder → parts; None where rows come from a demo data set.
        rows: training rows, at most.
        overrides: further recipe keys.
        demo: name of a demo data set that is given whole.
    """

    name: str
    family: str
    model: str | None
    load: Callable[[Path], Parts] | None = None
    rows: int | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    demo: str | None = None

    @property
    def quick(self) -> bool:
        """Whether training takes minutes at most."""
        return self.demo is not None or (self.rows is not None and self.rows <= 1_500)


def banking77_shots(shots: int) -> Callable[[Path], Parts]:
    """The few-shot split of Banking77 with the official test rows."""

    def load(data: Path) -> Parts:
        folder = data / "banking77" / "fewshot" / f"train_{shots}"
        texts, labels = ((folder / name).read_text(encoding="utf-8").splitlines() for name in ("seq.in", "label"))
        train = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
        return {"train": train, "test": banking77(data)["test"]}

    return load


def phrasebank_50(data: Path) -> Parts:
    """Half of the annotators agree; stratified 80/20."""
    return eighty_twenty(phrasebank_rows(data))


def phrasebank_all(data: Path) -> Parts:
    """All annotators agree; the file is Latin-1."""
    lines = (data / "phrasebank" / "Sentences_AllAgree.txt").read_text(encoding="latin-1").splitlines()
    pairs = [line.rpartition("@") for line in lines if line.strip()]
    return eighty_twenty([{"text": text, "label": label.strip()} for text, _, label in pairs])


def eprstmt(data: Path) -> Parts:
    """32 labelled shop reviews."""

    def read(name: str) -> Rows:
        lines = (data / "eprstmt" / name).read_text(encoding="utf-8").splitlines()
        return [{"text": row["sentence"], "label": row["label"]} for row in map(json.loads, lines)]

    return {"train": read("train_0.json"), "valid": read("dev_0.json"), "test": read("test_public.json")}


def goemotions_single(data: Path) -> Parts:
    """Comments with exactly one emotion."""
    parts = goemotions(data)
    return {
        part: [{"text": row["text"], "label": row["label"][0]} for row in rows if len(row["label"]) == 1]
        for part, rows in parts.items()
    }


def finance_news(data: Path) -> Parts:
    """Chinese company news, good or bad, by title and beginning of the body; stratified 80/20."""
    with (data / "finance_news_zh" / "news.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [{"text": f"{row['标题']} {row['正文'][:100]}", "label": row["正负面"]} for row in csv.DictReader(file)]
    return eighty_twenty(rows)


CASES = (
    Case("banking77, 5 a class", "banking77", ENGLISH, banking77_shots(5), 385),
    Case("banking77, 10 a class", "banking77", ENGLISH, banking77_shots(10), 770),
    Case("banking77", "banking77", ENGLISH, banking77),
    Case("phrasebank 50Agree, 400 rows", "phrasebank", ENGLISH, phrasebank_50, 400),
    Case("phrasebank 50Agree", "phrasebank", ENGLISH, phrasebank_50),
    Case("phrasebank AllAgree", "phrasebank", ENGLISH, phrasebank_all),
    Case("waimai, 500 rows", "waimai", MULTILINGUAL, waimai, 500),
    Case("waimai", "waimai", MULTILINGUAL, waimai),
    Case("eprstmt, 32 rows", "eprstmt", MULTILINGUAL, eprstmt, 32),
    Case("smp2020, 1,500 rows", "smp2020", MULTILINGUAL, smp2020, 1_500),
    Case("smp2020", "smp2020", MULTILINGUAL, smp2020),
    Case("goemotions, one label, 3,000 rows", "goemotions", ENGLISH, goemotions_single, 3_000),
    Case("goemotions, 3,000 rows", "goemotions", ENGLISH, goemotions, 3_000),
    Case("finance news", "finance news", MULTILINGUAL, finance_news),
    Case("finance news, 300 rows", "finance news", MULTILINGUAL, finance_news, 300),
    Case("reviews-zh, 2,000 rows", "reviews-zh", MULTILINGUAL, reviews_zh, 2_000),
    Case("afqmc, 4,000 pairs", "afqmc", MULTILINGUAL, afqmc, 4_000),
    Case("fewfc, 1,500 sentences", "fewfc", MULTILINGUAL, fewfc_parts, 1_500, (("task", "token-classification"),)),
    Case("german-credit", "german-credit", None, demo="german-credit"),
    Case("phrasebank 50Agree, scratch", "phrasebank", SCRATCH, phrasebank_50),
    Case("waimai, scratch", "waimai", SCRATCH, waimai),
    Case("banking77, 10 a class, scratch", "banking77", SCRATCH, banking77_shots(10), 770),
)


def parts_of(case: Case, data: Path) -> Parts:
    """The rows of a case, cut to its size; test rows to 4,000."""
    assert case.load is not None
    parts = case.load(data)
    if case.rows is not None:
        parts["train"] = sample(parts["train"], case.rows, seed=0)
        parts = {
            part: sample(rows, max(32, case.rows // 4), 0) if part == "valid" else rows for part, rows in parts.items()
        }
    parts["test"] = sample(parts["test"], 4_000, seed=0)
    return parts
