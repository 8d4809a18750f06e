"""The 4-bit file of multilingual-e5-small: a small one is written here, converted, and compared with its own values."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from penjing.core.errors import ArtifactError
from penjing.core.task import TextSettings
from penjing.models.e5_q4 import convert_e5_q4
from penjing.models.e5_q4_file import E5File, dequantize
from penjing.models.local import read_local
from penjing.models.safetensors_io import read_safetensors_header
from penjing.models.tokenizer import TextEncoder

HIDDEN, LAYERS, HEADS, WIDE, VOCABULARY, POSITIONS, TYPES = 64, 2, 4, 96, 24, 16, 2
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁tree", "▁a", "tree", "s", "盆", "景", "盆景", "▁盆景", "é", "(", ")"]
PIECES += ["<mask>"]
SCORES = [0.0] * 4 + [-2.0, -3.0, -3.5, -4.0, -2.5, -5.0, -5.5, -6.0, -6.5, -4.0, -4.0, -4.0, 0.0]
NORMALIZATION = {"\t": " ", "\u3000": " ", "\x07": "", "（": "(", "）": ")", "ſ": "s"}


def quantize(values: np.ndarray) -> bytes:
    """q4_0: one fp16 scale for 32 values, and their halves-of-a-byte."""
    blocks = values.reshape(-1, 32)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = (extreme / -8).astype("<f2")
    levels = np.clip(np.rint(blocks / scale.astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = levels[:, :16] | (levels[:, 16:] << 4)
    return np.concatenate([scale.view(np.uint8), packed], axis=1).tobytes()


def tensors() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    shapes = {
        "emb.word": (VOCABULARY, HIDDEN), "emb.pos": (POSITIONS, HIDDEN), "emb.type": (TYPES, HIDDEN),
        "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,),
    }  # fmt: skip
    for i in range(LAYERS):
        for name, rows, columns in (("q", HIDDEN, HIDDEN), ("k", HIDDEN, HIDDEN), ("v", HIDDEN, HIDDEN),
                                    ("ao", HIDDEN, HIDDEN), ("fi", WIDE, HIDDEN), ("fo", HIDDEN, WIDE)):  # fmt: skip
            shapes |= {f"l{i}.{name}.w": (rows, columns), f"l{i}.{name}.b": (rows,)}
        for name in ("aln", "oln"):
            shapes |= {f"l{i}.{name}.w": (HIDDEN,), f"l{i}.{name}.b": (HIDDEN,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def is_matrix(name: str) -> bool:
    return name == "emb.word" or (name.endswith(".w") and name.split(".")[1] not in {"ln", "aln", "oln"})


def file_bytes(**sizes: int) -> bytes:
    """A whole file; `sizes` replace what the header says."""
    said = {"hidden": HIDDEN, "layers": LAYERS, "heads": HEADS, "wide": WIDE, "vocabulary": VOCABULARY,
            "positions": POSITIONS, "types": TYPES} | sizes  # fmt: skip
    header = b"E5S1" + struct.pack("<I7ifi", 1, *said.values(), 1e-12, 32)
    text = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, text)]).astype("<u4")
    header += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes()
    header += np.array(SCORES, "<f4").tobytes() + b"".join(text)
    table = b"".join(
        struct.pack(f"<IB{len(target)}I", ord(source), len(target), *map(ord, target))
        for source, target in NORMALIZATION.items()
    )
    header += struct.pack("<iI", len(NORMALIZATION), len(table)) + table
    values = tensors()
    data = {name: quantize(value) if is_matrix(name) else value.tobytes() for name, value in values.items()}
    header += struct.pack("<i", len(data))
    offset = len(header) + sum(2 + len(name) + 21 for name in data)
    for name, raw in data.items():
        header += struct.pack("<H", len(name)) + name.encode()
        header += struct.pack("<BIQQ", int(is_matrix(name)), values[name].size, offset, len(raw))
        offset += len(raw)
    return header + b"".join(data.values())


WHOLE = file_bytes()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("e5") / "small.bin"
    path.write_bytes(WHOLE)
    return path


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    directory = tmp_path_factory.mktemp("converted")
    convert_e5_q4(source, directory)
    return directory


def test_dequantization_follows_the_layout():
    scale = np.array([0.5], "<f2").tobytes()
    halves = bytes(j | ((15 - j) << 4) for j in range(16))
    expected = [(j - 8) * 0.5 for j in range(16)] + [(15 - j - 8) * 0.5 for j in range(16)]
    assert dequantize(np.frombuffer(scale + halves, np.uint8)).tolist() == expected


def test_the_directory_is_a_model_that_can_be_used(converted):
    pretrained = read_local("small", converted)
    assert (pretrained.dimension, pretrained.max_length) == (HIDDEN, POSITIONS)
    assert pretrained.parameters == sum(value.size for value in tensors().values())
    config = json.loads((converted / "config.json").read_text())
    assert (config["num_hidden_layers"], config["intermediate_size"], config["layer_norm_eps"]) == (LAYERS, WIDE, 1e-12)


def test_every_tensor_arrives_under_its_name(converted):
    safetensors = pytest.importorskip("safetensors.numpy")
    loaded = safetensors.load_file(converted / "model.safetensors")
    original = tensors()
    assert len(loaded) == len(original) == len(read_safetensors_header(converted / "model.safetensors"))
    pairs = {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "encoder.layer.1.attention.self.query.weight": "l1.q.w",
        "encoder.layer.1.attention.self.value.bias": "l1.v.b",
        "encoder.layer.0.attention.output.dense.weight": "l0.ao.w",
        "encoder.layer.0.intermediate.dense.weight": "l0.fi.w",
        "encoder.layer.1.output.dense.weight": "l1.fo.w",
        "encoder.layer.1.output.LayerNorm.weight": "l1.oln.w",
        "encoder.layer.0.attention.output.LayerNorm.bias": "l0.aln.b",
    }
    for name, short in pairs.items():
        if is_matrix(short):  # 4 bits lose up to half a level in every block of 32
            level = np.abs(original[short].reshape(-1, 32)).max(1, keepdims=True) / 8
            error = np.abs(loaded[name].astype(np.float32) - original[short]).reshape(-1, 32)
            assert (error <= level * 1.05).all() and error.mean() < level.mean() / 3
        else:
            np.testing.assert_array_equal(loaded[name], original[short])


def test_transformers_and_our_encoder_agree_on_it(converted):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from penjing.models.encoder import load_bert

    reference = transformers.BertModel.from_pretrained(converted, add_pooling_layer=False).eval()
    ids = torch.tensor([[0, 5, 11, 2], [0, 6, 2, 1]])
    mask = (ids != 1).long()
    with torch.no_grad():
        ours = load_bert(converted).eval()(ids, mask)
        theirs = reference(ids, mask).last_hidden_state
    assert reference.dtype == torch.float32
    torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a tree", ["▁a", "▁tree"]),
        ("  a\t\u3000tree s ", ["▁a", "▁tree", "▁", "s"]),
        ("盆景（trees）", ["▁盆景", "(", "tree", "s", ")"]),
        ("a\x07", ["▁a"]),
        ("e\u0301", ["▁", "é"]),
        ("a?!", ["▁a", "<unk>"]),
        ("", []),
    ],
)
def test_the_tokenizer_normalizes_and_splits_as_xlm_r(converted, text, pieces):
    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))
    ids = tokenizer.encode(text).ids
    assert [PIECES[i] for i in ids] == ["<s>", *pieces, "</s>"]


def test_pairs_and_padding_are_those_of_xlm_r(converted):
    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))
    assert [tokenizer.encode(*pair).ids for pair in (("a", "tree"), ("a tree", "tree"))] == [
        [0, 6, 2, 2, 5, 2],
        [0, 6, 5, 2, 2, 5, 2],
    ]
    batch = TextEncoder(TextSettings(converted / "tokenizer.json", 16)).encode(["a", "a tree"])
    assert batch["input_ids"].tolist() == [[0, 6, 2, 1], [0, 6, 5, 2]]


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden": 0}, {"hidden": 65}, {"hidden": 2**31 - 1}, {"layers": -1}, {"layers": 3}, {"heads": 5}, {"wide": 64},
        {"vocabulary": 25}, {"vocabulary": 2**31 - 1}, {"positions": 15}, {"types": 3}, {"types": 1000},
    ],
)  # fmt: skip
def test_headers_that_do_not_fit_the_tensors_are_refused(tmp_path, sizes):
    path = tmp_path / "wrong.bin"
    path.write_bytes(file_bytes(**sizes))
    with pytest.raises(ArtifactError, match="not a 4-bit E5 file"):
        convert_e5_q4(path, tmp_path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "short.bin"
    for length in range(0, len(WHOLE), 997):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(ArtifactError, match="not a 4-bit E5 file"), E5File(path):
            pass


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2500), st.binary(min_size=1, max_size=8))
def test_altered_headers_are_read_or_refused_but_never_crash(tmp_path_factory, position, patch):
    path = tmp_path_factory.mktemp("altered") / "altered.bin"
    path.write_bytes(WHOLE[:position] + patch + WHOLE[position + len(patch) :])
    try:
        convert_e5_q4(path, path.parent)
    except ArtifactError as error:
        assert "not a 4-bit E5 file" in error.message


def test_values_that_are_no_numbers_are_refused(tmp_path):
    path = tmp_path / "nan.bin"
    path.write_bytes(WHOLE[:-4] + np.array([np.nan], "<f4").tobytes())
    with pytest.raises(ArtifactError, match="no numbers"):
        convert_e5_q4(path, tmp_path)
