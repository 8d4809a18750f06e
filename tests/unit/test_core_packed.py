import gzip

import numpy as np
import pytest

from penjing.core import packed
from penjing.core.errors import ArtifactError

DATA = np.random.default_rng(0).normal(0, 18, 100_000).round().astype(np.int8).tobytes()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(DATA)
    return packed.pack(path)


def test_what_was_packed_is_found_under_its_name_and_is_the_same(file, tmp_path):
    assert file.name == "model.onnx.gz" and [path.name for path in tmp_path.iterdir()] == [file.name]
    assert packed.stored(tmp_path / "model.onnx") == file and packed.is_packed(file)
    assert packed.unpack(file, len(DATA)) == DATA == gzip.decompress(file.read_bytes())
    assert file.stat().st_size < 0.85 * len(DATA)


def test_a_file_that_is_not_packed_is_itself(file, tmp_path):
    plain = tmp_path / "model.onnx"
    plain.write_bytes(b"another")
    assert packed.stored(plain) == plain and not packed.is_packed(plain)
    assert packed.stored(tmp_path / "neither") == tmp_path / "neither"


def test_the_same_bytes_give_the_same_file_under_any_name_at_any_time(file, tmp_path):
    other = tmp_path / "first.onnx"
    other.write_bytes(DATA)
    assert packed.pack(other).read_bytes() == file.read_bytes()
    assert file.read_bytes()[4:8] == bytes(4)  # no time


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data[:2],
        lambda data: b"",
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data + b"more",
        lambda data: data[:-4] + (len(DATA) - 1).to_bytes(4, "little"),
        lambda data: data[:-4] + (len(DATA) + 1).to_bytes(4, "little"),
        lambda data: data + data,
    ],
)
def test_a_damaged_file_is_refused(change, file):
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(ArtifactError, match=r"is damaged|larger than") as caught:
        packed.unpack(file, 10 * len(DATA))
    assert caught.value.where == str(file)


def test_more_than_is_allowed_is_refused_before_it_is_unpacked(file, monkeypatch):
    monkeypatch.setattr(gzip, "open", lambda path: pytest.fail("it is unpacked"))
    with pytest.raises(ArtifactError, match="larger than 99,999 bytes"):
        packed.unpack(file, 99_999)
