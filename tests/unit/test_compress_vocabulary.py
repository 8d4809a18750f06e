"""A pruned tokenizer reads the texts it was pruned for as before, and spells what it does not know."""

import json

import numpy as np
import pytest

from penjing.compress.vocabulary import prune_vocabulary
from penjing.core.errors import CapabilityError
from penjing.models.scratch import build_scratch

TEXTS = ["Where is my parcel?", "the kettle leaks", "我要退款", "杯子碎了!"]


@pytest.fixture(params=["wordpiece", "unigram", "bpe"])
def tokenizer_file(request, tiny_tokenizers, task_rows, tmp_path):
    if request.param != "bpe":
        return tiny_tokenizers[request.param]
    texts = [row["text"] for row in task_rows("text-classification")[0]]
    build_scratch(texts, tmp_path / "scratch", layers=1, width=64)
    return tmp_path / "scratch" / "tokenizer.json"


def tokenizers_of(path, tmp_path, texts):
    from tokenizers import Tokenizer

    before = Tokenizer.from_file(str(path))
    used = {i for encoding in before.encode_batch(texts) for i in encoding.ids}
    pruned = prune_vocabulary(path, used)
    (tmp_path / "pruned.json").write_text(json.dumps(pruned.values))
    return before, Tokenizer.from_file(str(tmp_path / "pruned.json")), pruned


def test_texts_of_kept_pieces_are_read_as_before(tokenizer_file, tmp_path):
    before, after, pruned = tokenizers_of(tokenizer_file, tmp_path, TEXTS)
    assert after.get_vocab_size() == len(pruned.kept) < before.get_vocab_size()
    for text in TEXTS:
        old, new = before.encode(text), after.encode(text)
        assert old.tokens == new.tokens and old.ids == pruned.kept[new.ids].tolist()
        assert old.offsets == new.offsets


def test_other_words_are_spelled(tokenizer_file, tmp_path):
    before, after, _ = tokenizers_of(tokenizer_file, tmp_path, TEXTS)
    unknown = {token for token in ("[UNK]", "<unk>") if after.token_to_id(token) is not None}
    for text in ("shoes arrived on Monday", "parcels", "水壶"):
        if not unknown & set(before.encode(text).tokens):
            assert not unknown & set(after.encode(text).tokens), text


def test_what_is_not_met_goes_but_special_tokens_stay(tokenizer_file, tmp_path):
    before, after, pruned = tokenizers_of(tokenizer_file, tmp_path, TEXTS[:1])
    special = {token.content for token in before.get_added_tokens_decoder().values()}
    assert special and all(after.token_to_id(token) is not None for token in special)
    assert np.array_equal(pruned.kept, np.unique(pruned.kept))
    assert after.token_to_id("退") is None


def test_a_tokenizer_of_words_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}}}))
    with pytest.raises(CapabilityError, match="'WordLevel' tokenizer cannot be pruned"):
        prune_vocabulary(path, [0])
