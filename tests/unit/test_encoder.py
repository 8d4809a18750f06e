"""Our encoder against transformers', and the encoders that transformers runs."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from penjing.compress.prune_structure import without
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.models.encoder import Encoder, HubEncoder, load_bert, load_encoder
from penjing.models.padding import rung

PARTS = ["words", "positions", "types", "embedding_norm"]


@pytest.fixture
def batch(tiny_pretrained):
    generator = torch.Generator().manual_seed(5)
    vocabulary = json.loads((tiny_pretrained.directory / "config.json").read_text())["vocab_size"]
    ids = torch.randint(vocabulary, (4, 13), generator=generator)
    lengths = torch.tensor([13, 7, 1, 10])
    mask = (torch.arange(13)[None] < lengths[:, None]).long()
    return ids, mask


@pytest.fixture
def reference(tiny_pretrained):
    return transformers.BertModel.from_pretrained(tiny_pretrained.directory, attn_implementation="eager").eval()


@pytest.mark.parametrize("padded", [False, True])
def test_equals_transformers(tiny_pretrained, reference, batch, padded):
    ids, mask = batch
    encoder = load_bert(tiny_pretrained.directory).eval()
    with torch.no_grad():
        found = encoder(ids, mask if padded else None)
        expected = reference(
            input_ids=ids,
            attention_mask=mask if padded else None,
        ).last_hidden_state
    real = mask.bool() if padded else torch.ones_like(mask).bool()
    assert float((found - expected)[real].abs().max()) < 1e-5
    assert found.shape == expected.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_changes_nothing(tiny_pretrained, batch, dtype):
    ids, mask = batch
    encoder = load_bert(tiny_pretrained.directory).eval().to(dtype)
    with torch.no_grad():
        padded = encoder(ids, mask)[1, :7]
        alone = encoder(ids[1:2, :7])[0]
    assert float((padded - alone).abs().max()) < (1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("padded", [False, True])
def test_layers_of_unequal_sizes_train_at_few_lengths_and_say_the_same(tiny_pretrained, batch, padded):
    ids, mask = batch
    encoder = load_bert(tiny_pretrained.directory)
    sizes = encoder.config.intermediate_size
    heads = [list(range(encoder.config.num_attention_heads))] * 2
    uneven = without(encoder, heads, [list(range(sizes)), list(range(sizes - 8))]).bfloat16()
    seen = []
    uneven.layers[0].register_forward_hook(lambda layer, given, _: seen.append(given[0].shape[1]))
    given = (ids, mask if padded else None)
    with torch.no_grad():
        trained, answered = uneven.train()(*given), uneven.eval()(*given)
    assert seen == [16, 13] and trained.shape == answered.shape
    real = mask.bool() if padded else torch.ones_like(mask).bool()
    assert float((trained - answered)[real].abs().max()) < 0.05
    gradients = []
    for compute in (uneven.train(), uneven.eval()):
        compute.zero_grad()
        compute(*given)[real].float().square().sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten().float() for parameter in compute.layers.parameters()]))
    assert float(torch.cosine_similarity(*gradients, dim=0)) > 0.999
    seen.clear()
    uneven.float().train()(*given)  # nothing is compiled for products in 32 bits
    assert seen == [13] and not encoder.many_shapes
    equal = replace(encoder.config, ranks={"words": 4, **{f"layers.{i}.up": 4 for i in range(2)}})
    assert not Encoder(equal).many_shapes
    assert Encoder(replace(encoder.config, ranks={"layers.0.up": 4})).many_shapes
    assert [rung(n) for n in (1, 4, 5, 31, 33, 64, 65, 512)] == [4, 4, 8, 32, 40, 64, 80, 512]


def test_gradients_equal_those_of_transformers(tiny_pretrained, reference, batch):
    ids, mask = batch
    encoder = load_bert(tiny_pretrained.directory).double()
    reference = reference.double()
    weight = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (encoder(ids, mask)[mask.bool()] @ weight).sum().backward()
    (reference(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()] @ weight).sum().backward()
    theirs = reference.encoder.layer[0]
    query, key, value = encoder.layers[0].qkv.weight.grad.chunk(3)
    attention = theirs.attention.self
    for ours, expected in [
        (query, attention.query.weight.grad),
        (key, attention.key.weight.grad),
        (value, attention.value.weight.grad),
        (encoder.layers[1].down.weight.grad, reference.encoder.layer[1].output.dense.weight.grad),
        (encoder.words.weight.grad, reference.embeddings.word_embeddings.weight.grad),
    ]:
        assert float((ours - expected).abs().max()) < 1e-9
        assert float(expected.abs().max()) > 1e-6


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_activation_checkpointing_gives_the_same_gradients(tiny_pretrained, batch, dropout):
    ids, mask = batch

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        encoder = load_encoder(tiny_pretrained, dropout=dropout, checkpointing=checkpointing).double().train()
        torch.manual_seed(1)
        encoder(ids, mask).square().sum().backward()
        return [parameter.grad for parameter in encoder.parameters()]

    plain, recomputed = gradients(False), gradients(True)
    assert all(torch.equal(a, b) for a, b in zip(plain, recomputed, strict=True))


@pytest.fixture
def broken(tiny_pretrained, tmp_path):
    """A copy whose files a test may damage."""
    directory = tmp_path / "copy"
    shutil.copytree(tiny_pretrained.directory, directory)
    return directory


def test_other_shapes_are_refused(broken):
    config = json.loads((broken / "config.json").read_text())
    for change in ({"hidden_size": 32}, {"intermediate_size": 64}, {"num_hidden_layers": 3}, {"vocab_size": 7}):
        (broken / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ArtifactError, match=r"does not match config\.json"):
            load_bert(broken)


def test_missing_and_damaged_files_are_refused(broken):
    weights = load_file(broken / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if "layer.1.output" not in name}, broken / "x")
    (broken / "x").replace(broken / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"layer\.1\.output"):
        load_bert(broken)
    (broken / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ArtifactError, match="does not match"):
        load_bert(broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="does not match"):
        load_bert(broken)
    (broken / "config.json").write_text("[1, 2")
    with pytest.raises(ArtifactError, match=r"config\.json: cannot be read"):
        load_bert(broken)


def test_weights_of_a_model_with_a_head_are_found(broken, tiny_pretrained):
    weights = load_file(broken / "model.safetensors")
    save_file({f"bert.{name}": tensor for name, tensor in weights.items()}, broken / "model.safetensors")
    expected = load_bert(tiny_pretrained.directory).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_bert(broken).state_dict().items())


def test_code_from_a_hub_is_never_run(broken, tiny_pretrained):
    config = json.loads((broken / "config.json").read_text())
    config |= {"model_type": "mystery", "auto_map": {"AutoModel": "modeling_mystery.Mystery"}}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "modeling_mystery.py").write_text("raise SystemExit('executed')")
    with pytest.raises(CapabilityError, match="never executed"):
        load_encoder(replace(tiny_pretrained, directory=broken))


SMALL = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "distilbert": transformers.DistilBertConfig(vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=64),
    "roberta": transformers.RobertaConfig(**SMALL, intermediate_size=64, max_position_embeddings=40, type_vocab_size=1),
    "electra": transformers.ElectraConfig(**SMALL, intermediate_size=64, embedding_size=16),
}


@pytest.fixture(params=sorted(CONFIGS))
def other(request, tmp_path, tiny_pretrained):
    """A pretrained model of another architecture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = transformers.AutoModel.from_config(CONFIGS[request.param])
    model.save_pretrained(tmp_path / request.param)
    return replace(tiny_pretrained, name=request.param, directory=tmp_path / request.param, dimension=32), model.eval()


def test_other_architectures_run_behind_the_same_signature(other, batch):
    pretrained, model = other
    ids, mask = batch
    encoder = load_encoder(pretrained).eval()
    assert isinstance(encoder, HubEncoder) and not isinstance(encoder, Encoder)
    assert encoder.hidden_size == 32
    ids = ids % 98 + 2  # RoBERTa counts positions of tokens that are not its padding, 1
    with torch.no_grad():
        found, alone = encoder(ids, mask), encoder(ids[1:2, :7])
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert float((found - expected)[mask.bool()].abs().max()) < 1e-5
    assert float((found[1, :7] - alone[0]).abs().max()) < 1e-5
    assert not any("pooler" in name for name, _ in encoder.named_parameters())


def test_dropout_reaches_every_layer_of_other_architectures(other, batch):
    pretrained, _ = other
    ids = batch[0] % 98 + 2
    with torch.no_grad():
        still = load_encoder(pretrained, dropout=0.0).train()
        assert torch.equal(still(ids), still(ids))
        moving = load_encoder(pretrained, dropout=0.3).train()
        assert not torch.allclose(moving(ids), moving(ids), atol=1e-3)
        rates = {m.p for m in moving.modules() if isinstance(m, torch.nn.Dropout)}
        assert rates == {0.3}


def test_activation_checkpointing_of_other_architectures(other, batch):
    pretrained, _ = other
    ids, mask = batch[0] % 98 + 2, batch[1]
    found = []
    for checkpointing in (False, True):
        encoder = load_encoder(pretrained, checkpointing=checkpointing).double().train()
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_("embed" not in name)
        encoder(ids, mask).square().sum().backward()
        found.append({n: p.grad for n, p in encoder.named_parameters() if p.requires_grad})
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-9) for name in found[0])
    assert all(
        grad.abs().max() > 0 for name, grad in found[0].items() if "key.bias" not in name and "k_lin.bias" not in name
    )
