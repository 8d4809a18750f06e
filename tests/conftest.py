"""What the tests share: a tiny pretrained encoder, and small real rows for each task kind.

The encoder has random weights from a fixed seed: it predicts nothing well, but every part that touches it is the real
one, and hundreds of cells of the contract suite take minutes instead of hours. Texts are written for these tests.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from penjing.core.artifact import Artifact
from penjing.core.task import Roles, TextSettings
from penjing.models.pretrained import Pretrained
from tiny_artifacts import make_artifact, make_task

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
SEED = 20240229
MAX_LENGTH = 48

# (text, intent, stars): customers of a small shop, in English and Chinese.
MESSAGES: list[tuple[str, str, float]] = [
    ("Where is my parcel? It should have come on Monday.", "delivery", 2.0),
    ("The courier left the box in the rain and it is soaked.", "delivery", 1.0),
    ("Can you deliver to the second floor?", "delivery", 3.0),
    ("My order says delivered, but nothing is at the door.", "delivery", 1.0),
    ("Thanks, the parcel came a day early!", "delivery", 5.0),
    ("I want my money back for the broken kettle.", "refund", 1.0),
    ("How long does a refund take to reach my card?", "refund", 3.0),
    ("You charged me twice, please return one payment.", "refund", 1.5),
    ("The refund arrived within two days, well done.", "refund", 4.5),
    ("I sent the shoes back, where is my refund?", "refund", 2.0),
    ("Does the lamp come with a bulb?", "product", 3.0),
    ("Which size should I take if I am 180 cm tall?", "product", 3.5),
    ("The tea tastes wonderful and the tin is pretty.", "product", 5.0),
    ("The zip broke after one week of careful use.", "product", 1.0),
    ("Is this coat warm enough for a northern winter?", "product", 3.0),
    ("快递什么时候能到？已经等了五天了。", "delivery", 1.5),
    ("送货的师傅很有礼貌，还帮我搬上楼。", "delivery", 5.0),
    ("物流信息三天没有更新了，请查一下。", "delivery", 2.0),
    ("包裹外包装破了，里面的杯子也碎了。", "delivery", 1.0),
    ("可以改送货地址吗？我搬家了。", "delivery", 3.0),
    ("我要退款，收到的水壶是坏的。", "refund", 1.0),
    ("退款多久到账？我用的是银行卡。", "refund", 3.0),
    ("同一个订单扣了两次钱，请退回一笔。", "refund", 1.5),
    ("退款第二天就到了，服务真好。", "refund", 4.5),
    ("鞋子已经寄回去了，钱怎么还没退？", "refund", 2.0),
    ("这盏灯带灯泡吗？", "product", 3.0),
    ("身高一米八应该买哪个尺码？", "product", 3.5),
    ("茶叶很香，罐子也漂亮，会再买。", "product", 5.0),
    ("拉链用了一个星期就坏了。", "product", 1.0),
    ("这件大衣在东北的冬天够暖和吗？", "product", 3.0),
]


# How long one example takes says more of the machine's other work than of the code.
settings.register_profile("penjing", deadline=None)
settings.load_profile("penjing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that read evaluation data where it is absent."""
    if not DATA.is_dir():
        absent = pytest.mark.skip(reason="the evaluation data is absent")
        for item in items:
            if item.get_closest_marker("data"):
                item.add_marker(absent)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The evaluation data; tests that ask for it carry `@pytest.mark.data`."""
    return DATA


@pytest.fixture(scope="session")
def tiny_tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """tokenizer.json files trained on `MESSAGES`: "wordpiece" (two segments, as BERT) and "unigram" (one, as XLM-R)."""
    directory = tmp_path_factory.mktemp("tokenizers")
    paths = {"wordpiece": directory / "wordpiece.json", "unigram": directory / "unigram.json"}
    texts = [text for text, _, _ in MESSAGES]
    _wordpiece(texts).save(str(paths["wordpiece"]))
    _unigram(texts).save(str(paths["unigram"]))
    return paths


def _wordpiece(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer, cutter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in cutter.pre_tokenize_str(normalizer.normalize_str(text))}
    letters = {letter for word in words for letter in word}
    # The library's own trainer breaks ties by chance, and every process would have another vocabulary.
    parts = {word[:4] for word in words if len(word) > 6} | {f"##{word[4:]}" for word in words if len(word) > 6}
    pieces = sorted(words | letters | {f"##{letter}" for letter in letters} | parts)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: place for place, piece in enumerate([*special, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, cutter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _unigram(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    # Sums in another order in every process: scores differ in their last digits, and so does the order of the pieces.
    scores = {piece: round(score, 2) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]}
    ordered = [*special, *sorted(scores.keys() - set(special), key=lambda piece: (-scores[piece], piece))]
    tokenizer.model = models.Unigram([(piece, scores[piece]) for piece in ordered], unk_id=special.index("<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return tokenizer


@pytest.fixture(scope="session")
def tiny_pretrained(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizers: dict[str, Path]) -> Pretrained:
    """A Hugging Face directory: BERT of 2 layers, 64 wide, with the WordPiece tokenizer."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer

    directory = tmp_path_factory.mktemp("tiny-bert")
    tokenizer = Tokenizer.from_file(str(tiny_tokenizers["wordpiece"]))
    tokenizer.save(str(directory / "tokenizer.json"))
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = transformers.BertModel(config)
    model.save_pretrained(directory, safe_serialization=True)
    return Pretrained(
        name="tiny-bert",
        directory=directory,
        dimension=64,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        languages=("en", "zh"),
        max_length=64,
        licence="Apache-2.0",
    )


@pytest.fixture(scope="session")
def text_settings(tiny_tokenizers: dict[str, Path]) -> TextSettings:
    """The settings that go with `tiny_pretrained`."""
    return TextSettings(tokenizer_file=tiny_tokenizers["wordpiece"], max_length=MAX_LENGTH)


@pytest.fixture(scope="session")
def task_rows() -> Callable[[str], tuple[list[dict[str, Any]], Roles]]:
    """kind → (rows, roles): a few dozen learnable rows for each registered task kind.

    Also under "text-classification/binary" and "text-classification/multi-label".
    """
    return rows_for


@pytest.fixture(scope="session")
def tiny_artifact(
    tmp_path_factory: pytest.TempPathFactory, tiny_pretrained: Pretrained, text_settings: TextSettings
) -> Callable[[str], Artifact]:
    """kind → a sealed artifact of that kind, made once a session; copy it before changing anything."""
    made: dict[str, Artifact] = {}

    def artifact(kind: str) -> Artifact:
        if kind not in made:
            rows, roles = rows_for(kind)
            directory = tmp_path_factory.mktemp("artifacts") / kind.replace("/", "-")
            made[kind] = make_artifact(make_task(kind, rows, roles, text_settings), rows, tiny_pretrained, directory)
        return made[kind]

    return artifact


def rows_for(kind: str) -> tuple[list[dict[str, Any]], Roles]:
    """See `task_rows`."""
    return ROWS[kind]()


def _intent_rows() -> tuple[list[dict[str, Any]], Roles]:
    rows = [{"text": text, "label": intent} for text, intent, _ in MESSAGES]
    return rows, Roles(text="text", label="label")


def _binary_rows() -> tuple[list[dict[str, Any]], Roles]:
    rows = [{"review": text, "good": int(stars >= 3)} for text, _, stars in MESSAGES]
    return rows, Roles(text="review", label="good")


def _multi_label_rows() -> tuple[list[dict[str, Any]], Roles]:
    rows = []
    for text, intent, stars in MESSAGES:
        labels = [intent, *(["angry"] if stars <= 1.5 else []), *(["pleased"] if stars >= 4.5 else [])]
        rows.append({"text": text, "labels": labels if stars != 3.0 else []})
    return rows, Roles(text="text", label="labels")


def _star_rows() -> tuple[list[dict[str, Any]], Roles]:
    return [{"text": text, "stars": stars} for text, _, stars in MESSAGES], Roles(text="text", label="stars")


def _pair_rows() -> tuple[list[dict[str, Any]], Roles]:
    rows = []
    for i, (text, intent, _) in enumerate(MESSAGES):
        for step in (1, 7):
            other, other_intent, _ = MESSAGES[(i + step) % len(MESSAGES)]
            rows.append({"left": text, "right": other, "same": "yes" if intent == other_intent else "no"})
    return rows, Roles(text="left", text_pair="right", label="same")


def _span_rows() -> tuple[list[dict[str, Any]], Roles]:
    words = {"parcel": "goods", "kettle": "goods", "shoes": "goods", "杯子": "goods", "水壶": "goods", "鞋子": "goods"}
    words |= {"two days": "time", "Monday": "time", "五天": "time", "三天": "time", "第二天": "time"}
    rows = []
    for text, _, _ in MESSAGES:
        found = [(text.find(word), word, label) for word, label in words.items() if word in text]
        spans = [{"start": at, "end": at + len(word), "label": label} for at, word, label in sorted(found)]
        rows.append({"text": text, "spans": spans})
    return rows, Roles(text="text", spans="spans")


def _table_rows(label: str) -> tuple[list[dict[str, Any]], Roles]:
    """Sixty loan applications; the label follows from income, age and housing, with some noise."""
    rows: list[dict[str, Any]] = []
    for i in range(60):
        noise = int(hashlib.sha256(f"{SEED}:{i}".encode()).hexdigest()[:8], 16) / 2**32
        income, age = 1000 + (i * 377) % 4000, 20 + (i * 13) % 45
        housing = ("own", "rent", "free")[i % 3]
        limit = income * (1.5 if housing == "own" else 1.0) + 10 * age + 300 * noise
        approved = "yes" if limit > 3300 else "no"
        missing = i % 11 == 0
        row = {"income": None if missing else income, "age": age, "housing": None if i % 17 == 3 else housing}
        rows.append({**row, label: approved if label == "approved" else round(limit, 2)})
    return rows, Roles(features=("income", "age", "housing"), label=label)


ROWS: dict[str, Callable[[], tuple[list[dict[str, Any]], Roles]]] = {
    "text-classification": _intent_rows,
    "text-classification/binary": _binary_rows,
    "text-classification/multi-label": _multi_label_rows,
    "text-regression": _star_rows,
    "text-pair": _pair_rows,
    "token-classification": _span_rows,
    "tabular-classification": lambda: _table_rows("approved"),
    "tabular-regression": lambda: _table_rows("limit"),
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts file systems of so many MB."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)
