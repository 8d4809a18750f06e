"""A model made from nothing but the user's texts."""

import hashlib

import pytest

from penjing.core.errors import DataError
from penjing.core.task import TextSettings
from penjing.models.local import read_local
from penjing.models.scratch import SPECIAL_TOKENS, build_scratch, scripts_of
from penjing.models.tokenizer import TextEncoder

SIZES = {"layers": 2, "width": 64, "vocabulary": 800, "max_length": 64}


@pytest.fixture
def messages(task_rows):
    """Language → texts."""
    texts = [row["text"] for row in task_rows("text-classification")[0]]
    return {"en": texts[:15], "zh": texts[15:], "zh en": texts}


def digest(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def test_it_is_a_hugging_face_directory_that_loads(tmp_path, messages):
    torch = pytest.importorskip("torch")
    from penjing.models.encoder import load_encoder

    made = build_scratch(messages["en"], tmp_path / "s", languages=("en",), **SIZES)
    read = read_local("scratch", made.directory)
    assert (read.dimension, read.parameters, read.max_length) == (made.dimension, made.parameters, made.max_length)
    encoder = load_encoder(made)
    assert sum(p.numel() for p in encoder.parameters()) == made.parameters
    hidden = encoder(torch.tensor([[2, 7, 8, 3]]))
    assert hidden.shape == (1, 4, 64) and torch.isfinite(hidden).all()


def test_transformers_reads_the_same_weights(tmp_path, messages):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from penjing.models.encoder import load_encoder

    made = build_scratch(messages["en"], tmp_path / "s", **SIZES)
    theirs = transformers.BertModel.from_pretrained(made.directory, add_pooling_layer=False).eval()
    ids = torch.tensor([[2, 9, 10, 11, 3]])
    with torch.no_grad():
        assert torch.allclose(load_encoder(made).eval()(ids), theirs(ids).last_hidden_state, atol=1e-5)


def test_equal_seeds_give_equal_files_and_others_do_not(tmp_path, messages):
    first = digest(build_scratch(messages["en"], tmp_path / "a", seed=1, **SIZES).directory)
    assert digest(build_scratch(messages["en"], tmp_path / "b", seed=1, **SIZES).directory) == first
    for attempt in range(5):  # tokenizer trainers use hash tables with random seeds
        again = build_scratch(messages["zh en"], tmp_path / f"t{attempt}", seed=1, **SIZES)
        assert digest(again.directory) == digest(
            build_scratch(messages["zh en"], tmp_path / "t", seed=1, **SIZES).directory
        )
    other = digest(build_scratch(messages["en"], tmp_path / "c", seed=2, **SIZES).directory)
    assert other["model.safetensors"] != first["model.safetensors"]
    assert other["tokenizer.json"] == first["tokenizer.json"]


@pytest.mark.parametrize("languages", ["en", "zh", "zh en"])
def test_its_own_texts_are_mostly_known_to_its_tokenizer(tmp_path, messages, languages):
    texts, languages = messages[languages], tuple(languages.split())
    assert set(scripts_of(texts)) == set(languages)
    made = build_scratch(texts * 2, tmp_path / "s", languages=languages, **SIZES)  # characters seen once are unknown
    encoder = TextEncoder(TextSettings(made.directory / "tokenizer.json", max_length=64))
    unknown = encoder.tokenizer.token_to_id("[UNK]")
    rows = encoder.tokens(texts)
    assert sum((row == unknown).sum() for row in rows) <= 0.02 * sum(len(row) for row in rows)
    assert [encoder.tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]


def test_latin_words_are_lower_cased(tmp_path, messages):
    made = build_scratch(messages["en"], tmp_path / "s", languages=("en",), **SIZES)
    encoder = TextEncoder(TextSettings(made.directory / "tokenizer.json", max_length=64))
    upper, lower = encoder.tokens(["WHERE IS MY PARCEL", "where is my parcel"])
    assert upper.tolist() == lower.tolist()


def test_empty_texts_are_refused(tmp_path):
    with pytest.raises(DataError, match="every text is empty"):
        build_scratch(["", "  "], tmp_path / "s")
    assert not (tmp_path / "s").exists()
