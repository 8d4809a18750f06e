"""The safetensors reader and writer agree with the format's own library, and refuse damaged files."""

import json
import struct

import numpy as np
import pytest

from penjing.core.errors import ArtifactError
from penjing.models.safetensors_io import TensorHeader, TensorSource, read_safetensors_header, write_safetensors

VALUES = np.random.default_rng(5).normal(size=(7, 6))


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "model.safetensors"
    write_safetensors(
        path,
        {
            "matrix": TensorSource(TensorHeader("F16", (7, 6)), lambda: iter([VALUES[:3], VALUES[3:]])),
            "vector": TensorSource(TensorHeader("F32", (6,)), lambda: [VALUES[0]]),
        },
    )
    return path


def test_the_library_reads_what_is_written(written):
    safetensors = pytest.importorskip("safetensors.numpy")
    loaded = safetensors.load_file(written)
    np.testing.assert_array_equal(loaded["matrix"], VALUES.astype(np.float16))
    np.testing.assert_array_equal(loaded["vector"], VALUES[0].astype(np.float32))


def test_headers_are_read_whoever_wrote_them(written, tmp_path):
    expected = {"matrix": TensorHeader("F16", (7, 6)), "vector": TensorHeader("F32", (6,))}
    assert read_safetensors_header(written) == expected
    assert expected["matrix"].size == 42
    safetensors = pytest.importorskip("safetensors.numpy")
    other = tmp_path / "other.safetensors"
    safetensors.save_file({"ids": np.arange(5), "matrix": VALUES.astype(np.float32)}, other, {"format": "pt"})
    assert read_safetensors_header(other) == {"ids": TensorHeader("I64", (5,)), "matrix": TensorHeader("F32", (7, 6))}


def test_every_truncation_is_refused(written):
    data = written.read_bytes()
    for length in range(0, len(data), 7):
        written.write_bytes(data[:length])
        with pytest.raises(ArtifactError):
            read_safetensors_header(written)
    written.write_bytes(data + b"x")
    with pytest.raises(ArtifactError, match="disagree"):
        read_safetensors_header(written)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"a": 3},
        {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}},
    ],
)
def test_headers_that_lie_are_refused(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(ArtifactError):
        read_safetensors_header(path)
