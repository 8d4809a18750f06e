"""The evaluation data sets as rows, and their division into parts. Their rows are read in place and never copied here.

Each loader returns parts: "train", "test", and "valid" where the publisher gives one. `training_rows` is what settings
may be chosen on: no row that any benchmark tests on.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit, train_test_split

Rows = list[dict[str, Any]]
Parts = dict[str, Rows]
ENGLISH, MULTILINGUAL = "minilm-l6-en", "e5-small-multilingual"
SPLITS = Path(__file__).with_name("phrasebank_splits.json")
# The model that each data set is learned with.
MODELS = {
    "banking77": ENGLISH,
    "phrasebank": ENGLISH,
    "goemotions": ENGLISH,
    "waimai": MULTILINGUAL,
    "reviews-zh": MULTILINGUAL,
    "afqmc": MULTILINGUAL,
    "smp2020": MULTILINGUAL,
}


def banking77(data: Path) -> Parts:
    """Bank customers' queries, 77 intents; the official split."""
    parts = {}
    for part in ("train", "test"):
        with (data / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            parts[part] = [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]
    return parts


def phrasebank_rows(data: Path) -> Rows:
    """Financial sentences on whose sentiment half of the annotators agree, in the file's order."""
    lines = (data / "phrasebank" / "Sentences_50Agree.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.rpartition("@") for line in lines if line.strip()]
    return [{"text": text, "label": label.strip()} for text, _, label in pairs]


def phrasebank_agreed(data: Path) -> set[str]:
    """The sentences on whose sentiment all annotators agree, as `ascii_letters` has them."""
    lines = (data / "phrasebank" / "Sentences_AllAgree.txt").read_text(encoding="latin-1").splitlines()
    return {ascii_letters(line.rpartition("@")[0]) for line in lines if line.strip()}


def ascii_letters(text: str) -> str:
    """What two files agree on that keep names like Pöyry differently."""
    return re.sub(r"[^A-Za-z0-9]+", "", text)


def phrasebank_splits(rows: Rows) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, test) row numbers of the five committed splits.

    Raises:
        ValueError: the rows, or scikit-learn's draw, are not those the splits were committed for.
    """
    committed = json.loads(SPLITS.read_text(encoding="utf-8"))
    if rows_digest(rows) != committed["rows_sha256"]:
        raise ValueError("these are not the PhraseBank rows that the splits were made for")
    labels, found = [row["label"] for row in rows], []
    for split in committed["splits"]:
        drawn = StratifiedShuffleSplit(1, test_size=committed["test_size"], random_state=split["seed"])
        train, test = next(drawn.split(np.zeros(len(rows)), labels))
        if indices_digest(test) != split["test_sha256"]:
            raise ValueError(f"the split of seed {split['seed']} came out differently")
        found.append((np.sort(train), np.sort(test)))
    return found


def rows_digest(rows: Rows) -> str:
    """sha256 over texts and labels, in order."""
    return hashlib.sha256("\n".join(f"{row['text']}\t{row['label']}" for row in rows).encode()).hexdigest()


def indices_digest(indices: np.ndarray) -> str:
    """sha256 over row numbers in ascending order."""
    return hashlib.sha256(",".join(map(str, sorted(indices.tolist()))).encode()).hexdigest()


def waimai(data: Path) -> Parts:
    """Chinese food-delivery reviews, good or bad; stratified 80/20, seed 42."""
    with (data / "waimai" / "waimai_10k.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [{"text": row["review"], "label": row["label"]} for row in csv.DictReader(file)]
    return eighty_twenty([row for row in rows if row["text"].strip()])


def reviews_zh(data: Path) -> Parts:
    """Chinese shop reviews of the demo catalog, positive or negative; stratified 80/20, seed 42."""
    from penjing.data.catalog import demo_rows
    from penjing.data.config import LimitsConfig

    rows = [row for _, row in demo_rows("reviews-zh", LimitsConfig())]
    return eighty_twenty([row for row in rows if (row["text"] or "").strip()])


def eighty_twenty(rows: Rows, seed: int = 42) -> Parts:
    """Stratified 80/20, by scikit-learn."""
    train, test = train_test_split(rows, test_size=0.2, random_state=seed, stratify=[row["label"] for row in rows])
    return {"train": train, "test": test}


def afqmc(data: Path) -> Parts:
    """Pairs of customers' questions, same meaning or not; the test labels are not public, so dev is the test."""
    parts = {}
    for part, file in (("train", "train.txt"), ("test", "dev.txt")):
        lines = (data / "afqmc" / file).read_text(encoding="utf-8").splitlines()
        cells = [line.split("\t") for line in lines if line.strip()]
        parts[part] = [{"text": a, "text_pair": b, "label": label} for a, b, label in cells]
    return parts


def goemotions(data: Path) -> Parts:
    """Reddit comments, seven labels (Ekman's six and neutral), one or several a comment; the official split."""
    folder = data / "goemotions_ekman"
    names = (folder / "labels.txt").read_text(encoding="utf-8").split()
    parts = {}
    for part, file in (("train", "train.tsv"), ("valid", "dev.tsv"), ("test", "test.tsv")):
        cells = [line.split("\t") for line in (folder / file).read_text(encoding="utf-8").split("\n") if line]
        parts[part] = [{"text": text, "label": [names[int(i)] for i in ids.split(",")]} for text, ids, _ in cells]
    return parts


def smp2020(data: Path) -> Parts:
    """Chinese posts about the epidemic, six emotions."""
    parts = {}
    for part, file in (("train", "virus_train.txt"), ("test", "virus_test_labeled.txt")):
        rows = json.loads((data / "smp2020_emotion" / file).read_text(encoding="utf-8"))
        parts[part] = [{"text": row["content"], "label": row["label"]} for row in rows if row["content"].strip()]
    return parts


def phrasebank(data: Path) -> Parts:
    """Train: the rows that none of the five committed splits tests on; test: those of the first split."""
    rows = phrasebank_rows(data)
    splits = phrasebank_splits(rows)
    tested = set(np.concatenate([test for _, test in splits]).tolist())
    return {
        "train": [row for i, row in enumerate(rows) if i not in tested],
        "test": [rows[i] for i in splits[0][1]],
    }


def phrasebank_split(data: Path) -> Parts:
    """The first of the five committed splits, of which the other four test on some training rows."""
    rows = phrasebank_rows(data)
    train, test = phrasebank_splits(rows)[0]
    return {"train": [rows[i] for i in train], "test": [rows[i] for i in test]}


LOADERS: dict[str, Callable[[Path], Parts]] = {
    "banking77": banking77,
    "phrasebank": phrasebank,
    "goemotions": goemotions,
    "waimai": waimai,
    "reviews-zh": reviews_zh,
    "afqmc": afqmc,
    "smp2020": smp2020,
}


def training_rows(name: str, data: Path) -> Rows:
    """Rows on which settings may be chosen."""
    return LOADERS[name](data)["train"]


def write_parts(parts: Parts, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write the parts as JSON Lines; return the source for penjing and the recipe keys that name parts and columns."""
    folder.mkdir(parents=True, exist_ok=True)
    overrides: dict[str, Any] = {}
    for part, rows in parts.items():
        path = folder / f"{part}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        if part != "train":
            overrides[f"data.{part}"] = str(path)
    for role in ("text", "text_pair", "label", "spans"):
        if role in parts["train"][0]:
            overrides[f"data.columns.{role}"] = role
    return folder / "train.jsonl", overrides


def shrunk(parts: Parts, rows: int = 320, classes: int = 4, seed: int = 0) -> Parts:
    """A few hundred rows of the commonest classes, for smoke runs."""
    common = {label for label, _ in Counter(_key(row) for row in parts["train"]).most_common(classes)}
    return {
        part: sample([row for row in kept if _key(row) in common], rows if part == "train" else rows // 2, seed)
        for part, kept in parts.items()
    }


def sample(rows: Sequence[dict[str, Any]], num: int, seed: int) -> Rows:
    """At most `num` rows, drawn at random, in their order."""
    if len(rows) <= num:
        return list(rows)
    return [rows[i] for i in sorted(np.random.default_rng(seed).choice(len(rows), num, replace=False))]


def _key(row: dict[str, Any]) -> str:
    return str(row.get("label"))
