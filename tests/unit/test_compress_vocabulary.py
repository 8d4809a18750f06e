"""A pruned tokenizer reads the texts it was pruned for as before, and spells what it does not know."""

import json

import numpy as np
import pytest
import torch
from unit_compress import finish, trained_intents

from penjing.compress.prune_vocabulary import VocabularyConfig, apply, vocabulary_step
from penjing.compress.vocabulary import pieces_of, prune_vocabulary
from penjing.core.budget import Budget
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


def test_digits_and_signs_stay_though_no_row_had_any(tokenizer_file, tmp_path):
    before, after, _ = tokenizers_of(tokenizer_file, tmp_path, ["only words"])
    known = [char for char in map(chr, range(33, 127)) if before.token_to_id(char) is not None]
    assert len(known) > 5 and all(after.token_to_id(char) is not None for char in known)


def test_what_is_not_met_goes_but_special_tokens_stay(tokenizer_file, tmp_path):
    before, after, pruned = tokenizers_of(tokenizer_file, tmp_path, TEXTS[:1])
    special = {token.content for token in before.get_added_tokens_decoder().values()}
    assert special and all(after.token_to_id(token) is not None for token in special)
    assert np.array_equal(pruned.kept, np.unique(pruned.kept))
    assert after.token_to_id("退") is None
    assert pruned.lending({}).values == pruned.values


def test_a_tokenizer_of_words_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}}}))
    with pytest.raises(CapabilityError, match="'WordLevel' tokenizer cannot be pruned"):
        prune_vocabulary(path, [0])


def test_pieces_share_the_id_of_another_and_offsets_stay(tiny_tokenizers, tmp_path):
    before, after, pruned = tokenizers_of(tiny_tokenizers["wordpiece"], tmp_path, TEXTS[:2])
    lost = next(i for i, piece in pruned.lendable.items() if piece.isalpha() and before.encode(piece).ids[1] == i)
    word, other = pruned.lendable[lost], before.token_to_id("the")
    (tmp_path / "lent.json").write_text(json.dumps(pruned.lending({lost: other}).values))
    lent = type(after).from_file(str(tmp_path / "lent.json"))
    text = f"where is {word}?"
    read = lent.encode(text)
    assert pruned.kept[read.ids].tolist() == [other if i == lost else i for i in before.encode(text).ids]
    assert read.offsets == before.encode(text).offsets and read.tokens == before.encode(text).tokens
    assert len(after.encode(text).ids) > len(read.ids)  # which spells it
    assert pieces_of(json.loads((tmp_path / "lent.json").read_text())["model"]) == pieces_of(pruned.values["model"])


def test_the_step_lends_the_commonest_of_near_pieces(task_rows, text_settings, tiny_pretrained, tmp_path):
    trained = trained_intents(task_rows, text_settings, tiny_pretrained, tmp_path / "training")

    def made(**settings):
        material = trained.material(tmp_path / str(settings))
        changed = finish(apply(VocabularyConfig(**settings), trained.model(), material))
        vocabulary = json.loads(changed.task.files()["tokenizer.json"].read_text())["model"]["vocab"]
        return changed.facts["pieces_read_as_others"], vocabulary

    old = json.loads(trained.task.files()["tokenizer.json"].read_text())["model"]["vocab"]
    never, vocabulary = made(near=1.0)
    few, lent = made(near=0.0, most_near=3)
    some, _ = made(near=0.3)
    assert never == 0 and few == 3
    vectors = trained.teacher.encoder.table.weight.detach()
    unit = torch.nn.functional.normalize(vectors - vectors.mean(0), dim=1)
    words = [name for name in old if len(name.strip("#")) > 1 and name.strip("#").isalnum()]
    met = {i for text in trained.splits.train.rows for i in trained.task.encode([text])["input_ids"].ravel()}
    kept, left = [name for name in words if old[name] in met], [name for name in words if name not in vocabulary]
    assert set(kept) <= set(vocabulary)
    cosines = unit[[old[name] for name in left]] @ unit[[old[name] for name in kept]].T
    assert few < some == int((cosines.max(1).values >= 0.3).sum())
    for piece in list(lent)[len(vocabulary) :]:
        nearest = kept[int((unit[[old[name] for name in kept]] @ unit[old[piece]]).argmax())]
        assert lent[piece] == vocabulary[nearest]
        assert old[piece] <= max(old[name] for name in list(lent)[-3:])


def test_a_search_bounds_what_names_take():
    assert vocabulary_step(Budget(size_mb=5), "speed").most_near == 10_000
    assert vocabulary_step(Budget(size_mb=6), "speed") == vocabulary_step(Budget(size_mb=5), "speed")
    assert (
        vocabulary_step(Budget(drop=1), "speed") == vocabulary_step(Budget(size_mb=500), "speed") == VocabularyConfig()
    )
    assert vocabulary_step(Budget(size_mb=0.1), "speed").most_near == 0
    assert vocabulary_step(Budget(drop=1), "size").most_near == 0


def test_names_that_share_an_id_are_kept_when_it_is_pruned_again(tiny_tokenizers, tmp_path):
    before, _, pruned = tokenizers_of(tiny_tokenizers["wordpiece"], tmp_path, TEXTS[:2])
    lost = next(i for i, piece in pruned.lendable.items() if piece.isalpha() and before.encode(piece).ids[1] == i)
    word = pruned.lendable[lost]
    lent = tmp_path / "lent.json"
    lent.write_text(json.dumps(pruned.lending({lost: before.token_to_id("the")}).values))
    first, second, again = tokenizers_of(lent, tmp_path, ["the kettle"])
    assert len(again.kept) < len(pruned.kept)
    assert again.kept[second.encode(word).ids].tolist() == first.encode(word).ids
    _, third, _ = tokenizers_of(lent, tmp_path, ["kettle"])  # without the piece it shared, it is spelled
    assert len(third.encode(word).ids) > len(first.encode(word).ids)
