"""The check finds what was planted, says how much, and keeps quiet about clean data."""

import importlib.util
import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from penjing.core.task import TextSettings
from penjing.data.check import ModelTokens, check, check_source, label_errors
from penjing.data.config import ColumnsConfig, DataConfig
from penjing.data.minhash import near_duplicates, signatures
from penjing.data.prepare import prepare
from penjing.data.textkey import normalise_text


def words(line):
    return line.split()


GOOD = words("fast friendly helpful clean fresh warm tasty kind quick bright lovely gentle honest smooth")
BAD = words("slow rude broken dirty stale cold bitter harsh late dull awful rough false noisy")
PLAIN = words("the a room meal staff driver box street phone order day hotel price door table street light water")


def review(rng, label, number):
    own = GOOD if label == "good" else BAD
    words = [*rng.choice(own, 4), *rng.choice(PLAIN, 8)]
    rng.shuffle(words)
    return " ".join([*words, f"n{number}"])


def reviews(count, seed=0):
    rng = np.random.default_rng(seed)
    labels = ["good" if i % 2 else "bad" for i in range(count)]
    return [{"text": review(rng, label, i), "label": label} for i, label in enumerate(labels)]


def save(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return DataConfig(source=str(path))


def codes(report, severities=("error", "warning")):
    return {finding.code for finding in report.findings if finding.severity in severities}


def test_clean_data_has_no_complaints(tmp_path):
    report = check_source(save(tmp_path / "a.jsonl", reviews(400)))
    assert report.ok and not codes(report)
    assert (report.num_rows, report.task_kind, report.language) == (400, "text-classification", "en")
    json.dumps(report.to_json(), allow_nan=False)


def test_what_was_planted_is_found_and_counted(tmp_path):
    rows = reviews(400)
    rows += [{"text": row["text"].upper(), "label": row["label"]} for row in rows[:30]]
    rows += [{"text": rows[i]["text"], "label": "bad" if rows[i]["label"] == "good" else "good"} for i in range(50, 57)]
    rows += [{"text": "", "label": "good"}] * 6 + [{"text": "no label here, sadly", "label": None}] * 5
    rows += [{"text": f"rare words of kind {i}", "label": "odd"} for i in range(3)]
    rows += [{"text": f"Ã©tÃ© broken\x07 <br> text {i} " + "long " * 800, "label": "good"} for i in range(4)]
    rows += [{"text": f"这家店的东西很好，下次还会再来{i}", "label": "good"} for i in range(60)]
    report = check_source(save(tmp_path / "a.jsonl", rows))
    counts = {finding.code: finding.count for finding in report.findings}
    assert counts["duplicate-text"] == 37
    assert counts["conflicting-label"] == 14
    assert (counts["missing-text"], counts["missing-label"]) == (6, 5)
    assert counts["small-class"] == 1 and report.find("small-class").examples[0].row_id == "odd"
    assert report.find("class-imbalance") is not None
    assert counts["control-characters"] == counts["wrong-decoding"] == counts["html-tags"] == counts["too-long"] == 4
    assert report.find("language-mix").examples[0].detail.startswith("这家店")
    assert all(len(finding.examples) <= 5 and finding.what_to_do for finding in report.findings)


def test_lengths_are_counted_in_the_models_tokens(tmp_path):
    vocabulary = {"[UNK]": 0}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows = reviews(100) + [{"text": "word " * 20 + str(i), "label": "good"} for i in range(9)]
    model = ModelTokens("mine", TextSettings(tmp_path / "tokenizer.json", max_length=16))
    report = check_source(save(tmp_path / "a.jsonl", rows), tokens_of=lambda language: model)
    found = report.find("too-long")
    assert found.count == 9 and found.examples[0].detail == "21 tokens"
    assert "16 tokens (what mine is to read)" in found.message
    assert "13 tokens of mine (median)" in report.find("text-length").message


def test_lengths_without_a_tokenizer_are_estimated_and_say_how_to_get_one(tmp_path):
    data, asked = save(tmp_path / "a.jsonl", reviews(100)), []
    report = check_source(data, tokens_of=lambda language: asked.append(language) or ModelTokens("small"))
    found = report.find("text-length")
    assert asked == ["en"] and "characters (median)" in found.message
    assert "penjing models get small" in found.what_to_do and "--model" in found.what_to_do
    assert check_source(data).find("text-length").what_to_do == "nothing"


def test_long_texts_are_tokenized_in_part_and_counted_in_full(tmp_path, monkeypatch):
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = ModelTokens("mine", TextSettings(tmp_path / "tokenizer.json", max_length=12))
    monkeypatch.setattr("penjing.data.check.texts._TOKENIZED_CHARS", 2_000)
    found = check_source(save(tmp_path / "a.jsonl", reviews(200)), tokens_of=lambda language: model).find("too-long")
    assert found.count == 200  # all have 13 words


def test_unusable_labels_become_findings(tmp_path):
    rows = [row | {"label": f"id{i}"} for i, row in enumerate(reviews(60))]
    report = check_source(save(tmp_path / "a.jsonl", rows))
    assert not report.ok and "looks like an id" in report.find("unusable-label").message
    rows = [row | {"label": "same"} for row in reviews(60)]
    assert "one class only" in check_source(save(tmp_path / "b.jsonl", rows)).find("unusable-label").message


def test_leaks_between_given_parts(tmp_path):
    rows = reviews(200)
    near = [{"text": row["text"] + " indeed", "label": row["label"]} for row in rows[:8]]
    config = save(tmp_path / "a.jsonl", rows[:150])
    config = config.model_copy(update={"test": save(tmp_path / "t.jsonl", rows[140:] + near).source})
    report = check_source(config)
    assert report.find("leakage").count == 10
    assert report.find("leakage").examples[0].row_id == "t.jsonl:1"
    assert report.find("near-leakage").count == 8


def test_prepared_data_does_not_leak_and_its_test_labels_stay_sealed(tmp_path):
    rows = reviews(200)
    rows += rows[:40]
    prepared = prepare(save(tmp_path / "a.jsonl", rows))
    assert check(prepared).find("leakage") is None
    for row in prepared.splits.sealed_test.rows:
        del row["label"]  # reading one would now fail
    report = check(prepared)
    sealed = set(prepared.splits.sealed_test.row_ids)
    shown = {example.row_id for finding in report.findings for example in finding.examples}
    assert report.num_rows == 240 and not shown & sealed


def test_tables_are_checked_by_column(tmp_path):
    rng = np.random.default_rng(0)
    outcome = rng.integers(0, 2, 300)
    rows = [
        {"age": int(rng.integers(18, 80)) if i % 10 else None, "same": "x", "closed": f"r{y}", "outcome": f"o{y}"}
        for i, y in enumerate(outcome)
    ]
    config = save(tmp_path / "a.jsonl", rows).model_copy(update={"columns": ColumnsConfig(label="outcome")})
    report = check_source(config)
    assert report.find("missing-value").count == 30
    assert report.find("constant-feature").examples[0].row_id == "same"
    assert "closed" in report.find("label-in-features").message
    assert report.find("label-error") is None  # a column that says all finds every label right


def test_rows_of_few_categories_are_neither_copies_nor_leaks(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"plan": f"p{rng.integers(3)}", "paid": f"y{rng.integers(2)}", "outcome": f"o{rng.integers(2)}"}
        for _ in range(300)
    ]
    for i, row in enumerate(rows):
        row["split"] = "test" if i % 5 == 0 else "train"
    config = save(tmp_path / "a.jsonl", rows)
    report = check_source(config.model_copy(update={"columns": ColumnsConfig(label="outcome")}))
    assert report.ok and not {"leakage", "duplicate-text", "conflicting-label"} & {f.code for f in report.findings}


def edited(rng, text, width):
    """One word of English, or one character of Chinese, replaced."""
    words = text.split(" ") if width > 1 else list(text)
    words[int(rng.integers(len(words)))] = "zebra" if width > 1 else "鑫"
    return (" " if width > 1 else "").join(words)


@pytest.mark.parametrize("width", [1, 5])
def test_planted_near_duplicates_are_found(width):
    rng = np.random.default_rng(0)
    if width == 1:
        letters = np.array([chr(code) for code in range(0x4E00, 0x4E00 + 900)])
        texts = ["".join(rng.choice(letters, 30)) for _ in range(2_000)]
    else:
        words = np.array(["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 6)) for _ in range(3_000)])
        texts = [" ".join(rng.choice(words, 20)) for _ in range(2_000)]
    planted = {(i, len(texts) + i) for i in range(300)}
    texts += [edited(rng, texts[i], width) for i in range(300)]
    found = {(pair.first, pair.second) for pair in near_duplicates(texts)}
    assert len(found & planted) >= 0.97 * len(planted)
    assert not found - planted


def test_clusters_stay_connected():
    rng = np.random.default_rng(0)
    stem = " ".join("".join(rng.choice(list("abcdefghij"), 6)) for _ in range(30))
    texts = [f"{stem} {i}" for i in range(500)]
    pairs = near_duplicates(texts)
    assert {i for pair in pairs for i in (pair.first, pair.second)} == set(range(500))
    assert len(pairs) < 20_000


def test_signatures_estimate_jaccard():
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 2**63, 1_500, dtype=np.uint64)
    for shared in (200, 500, 800):
        first, second = np.unique(pool[:1_000]), np.unique(pool[1_000 - shared : 2_000 - shared])
        true = len(np.intersect1d(first, second)) / len(np.union1d(first, second))
        sig = signatures([first, second], seed=3)
        assert abs((sig[0] == sig[1]).mean() - true) < 0.17  # three standard errors of 80 hashes


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="needs the train extra")
def test_planted_label_errors_are_found(tmp_path):
    rows = reviews(1_200)
    rng = np.random.default_rng(1)
    wrong = set(rng.choice(len(rows), 60, replace=False).tolist())
    for i in wrong:
        rows[i]["label"] = "bad" if rows[i]["label"] == "good" else "good"
    report = check_source(save(tmp_path / "a.jsonl", rows))
    found = report.find("label-error")
    assert 50 <= found.count <= 75
    assert all(int(example.row_id.split(":")[1]) - 1 in wrong for example in found.examples)
    assert "looks like" in found.examples[0].detail


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="needs the train extra")
def test_planted_errors_in_sets_of_labels_are_found(tmp_path):
    words = {"delivery": "the courier brought it", "price": "far too expensive", "quality": "broke after a day"}
    rng = np.random.default_rng(2)
    rows = []
    for i in range(900):
        chosen = [name for name in words if rng.random() < 0.5]
        text = ", ".join([f"order {i}", *(words[name] for name in chosen)])
        rows.append({"text": text, "labels": chosen})
    wrong = set(rng.choice(len(rows), 45, replace=False).tolist())
    for i in wrong:
        rows[i]["labels"] = sorted(set(rows[i]["labels"]) ^ {"price"})
    found = check_source(save(tmp_path / "a.jsonl", rows)).find("label-error")
    assert 36 <= found.count <= 60 and found.severity == "info"
    assert all(int(example.row_id.split(":")[1]) - 1 in wrong for example in found.examples)
    assert all("looks as if price" in example.detail for example in found.examples)


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="needs the train extra")
def test_sets_of_labels_that_teach_nothing_are_skipped_or_believed(tmp_path):
    def report(sets):
        rows = [{"text": f"order {i} came with the {i % 7} courier", "labels": labels} for i, labels in enumerate(sets)]
        return check_source(save(tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl", rows))

    few = report([["late"]] + [[]] * 99)
    assert "5 rows have" in few.skipped["label errors"]
    one = report([["late"] if i % 2 else [] for i in range(100)])  # one label, there or not, can be learned
    assert "label errors" not in one.skipped
    rare = report([["late"] if i % 2 else ["torn"] if i == 50 else [] for i in range(100)])
    assert rare.find("label-error") is None or all("torn" not in e.detail for e in rare.find("label-error").examples)


def loans(count, seed=0):
    """Who pays back follows from income, home and the day of asking; one income in seven is not known."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        row = {"income": int(rng.integers(10, 90)), "home": str(rng.choice(["own", "rent", "free"])), "age": i % 50}
        row["asked"] = f"2024-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
        paid = row["income"] > (60 if row["home"] == "rent" else 30) or row["asked"] > "2024-10"
        if rng.random() < 1 / 7:
            row["income"] = None
        rows.append({**row, "paid": "yes" if paid else "no"})
    return rows


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="needs the train extra")
def test_planted_errors_in_a_table_are_found(tmp_path, monkeypatch):
    rows = loans(2_000)
    wrong = set(np.random.default_rng(1).choice(len(rows), 100, replace=False).tolist())
    for i in wrong:
        rows[i]["paid"] = "yes" if rows[i]["paid"] == "no" else "no"
    config = save(tmp_path / "a.jsonl", rows)
    found = check_source(config).find("label-error")
    assert found.severity == "info" and 30 <= found.count <= 100  # those it is sure of
    assert all(int(example.row_id.split(":")[1]) - 1 in wrong for example in found.examples)
    assert "looks like" in found.examples[0].detail and "home " in found.examples[0].detail
    monkeypatch.setattr(label_errors, "MAX_ROWS", 1_000)
    assert "labels among 1,000 rows drawn look wrong" in check_source(config).find("label-error").message


@pytest.mark.skipif(importlib.util.find_spec("cleanlab") is None, reason="needs the train extra")
def test_no_label_is_suspected_where_the_columns_say_nothing(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"a": int(rng.integers(99)), "b": int(rng.integers(99)), "outcome": "rare" if i % 30 == 0 else "usual"}
        for i in range(900)
    ]
    report = check_source(save(tmp_path / "a.jsonl", rows))
    assert report.find("label-error") is None
    assert "learned nothing of the classes" in report.skipped["label errors"]


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="needs the train extra")
def test_tables_with_gaps_lists_and_huge_numbers_are_judged(tmp_path):
    from penjing.data.check.out_of_fold import encode, table_probs

    rows = [
        {"none": None, "one": "x", "huge": (-1) ** i * 1e308, "list": ["k", i % 3], "gap": i if i % 100 == 0 else "n/a"}
        for i in range(150)
    ]
    matrix, nominal = encode(rows, ["none", "one", "huge", "list", "gap"])
    assert np.isfinite(matrix).all() and nominal.tolist() == [False, True, False, True, False]
    given = np.arange(150) % 3
    assert (table_probs(matrix, nominal, given, 3, 0).argmax(axis=1) == given).all()


def test_pairs_are_not_searched_for_label_errors(tmp_path):
    rows = [
        {"text": f"where is parcel {i}", "text_pair": f"the parcel {i * 7 % 90} is late", "label": i % 2}
        for i in range(90)
    ]
    assert "pairs" in check_source(save(tmp_path / "a.jsonl", rows)).skipped["label errors"]


def test_normalised_text():
    assert normalise_text("Ｈｅｌｌｏ,  World!") == normalise_text("hello world") == "hello world"
    assert normalise_text("很好！！") == normalise_text("很好。")
    assert normalise_text("!!!") != normalise_text("???")
    assert normalise_text("well-known, 9-5") == normalise_text("Well known 9 5")
    for first, second in [
        ("profit +5%", "profit -5%"),
        ("C++", "C#"),
        ("great 😀", "great 😡"),
        ("-5", "5"),
        ("a €5", "a 5"),
    ]:
        assert normalise_text(first) != normalise_text(second)
