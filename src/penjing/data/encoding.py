"""Which encoding a text file has.

UTF-8 proves itself (other text hardly ever decodes as UTF-8 by chance); UTF-16 shows in its zero bytes. Between the
rest, high bytes decide: in GB 18030 they come in pairs whose first byte names a common character, in Latin-1 they
stand alone.
"""

from __future__ import annotations

import codecs
import gzip
import importlib.util
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from penjing.core.errors import DataError

PROBE_BYTES = 256_000_000
SAMPLE_BYTES = 1_000_000
_BLOCK = 1_000_000
_MIN_HIGH = 12  # bytes beyond ASCII from which UTF-8 with a slip is told from another encoding
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ASIAN = {"big5", "big5hkscs", "cp950", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949", "johab"}


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, decompressed when its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged or forbidden file raises into a `DataError`."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"damaged gzip file ({error})", where=str(path), next_step="copy it again") from None
    except PermissionError:
        raise DataError("no permission to read it", where=str(path), next_step="check the file's rights") from None


def detect_encoding(path: Path) -> str:
    """A Python codec name that decodes the file.

    Raises:
        DataError: the file is empty or binary, or nearly but not quite UTF-8.
    """
    with reading(path), open_bytes(path) as handle:
        sample = handle.read(SAMPLE_BYTES)
        if not sample.strip():
            raise DataError("the file is empty", where=str(path), expected="rows of data", next_step="check the export")
        for mark, name in _BYTE_ORDER_MARKS:
            if sample.startswith(mark):
                return name
        zeros = sample.count(0)
        if zeros:
            return _utf16_without_mark(sample, zeros, path)
        if _is_utf8(sample, handle):
            return "utf-8"
    return _legacy_encoding(path)


def _is_utf8(sample: bytes, rest: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = len(sample)
    try:
        decoder.decode(sample)
        while read < PROBE_BYTES and (block := rest.read(_BLOCK)):
            decoder.decode(block)
            read += len(block)
        if read < PROBE_BYTES:
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _utf16_without_mark(sample: bytes, zeros: int, path: Path) -> str:
    """UTF-16 has its zero bytes at even or at odd places only; anything else with zeros is no text."""
    odd = sample[1::2].count(0)
    for name, share in (("utf-16-le", odd / zeros), ("utf-16-be", 1 - odd / zeros)):
        if share < 0.99 or zeros < len(sample) / 100:
            continue
        try:
            text = sample[: len(sample) // 2 * 2].decode(name)
        except UnicodeDecodeError:
            continue
        if "\n" in text and sum(c.isprintable() or c.isspace() for c in text) > 0.95 * len(text):
            return name
    at = sample.index(0)
    line = sample.count(b"\n", 0, at) + 1
    raise DataError(
        f"null byte at byte {at}, so this is no text",
        where=f"{path}:{line}",
        expected="a text file (or .parquet, .xlsx)",
        next_step="export the data again as UTF-8 text, or delete the null bytes",
    )


def _legacy_encoding(path: Path) -> str:
    """Choose among encodings older than Unicode, looking at the first lines that hold high bytes."""
    sample = _high_lines(path)
    high = sum(byte >= 0x80 for byte in sample)
    # Of a file in two encodings a part is UTF-8; of Chinese text in GB 18030 up to a third looks so by chance.
    if high >= _MIN_HIGH and _valid_utf8(sample) >= 0.45 * high:
        raise _nearly_utf8(path)
    if _paired(sample) >= 0.9 * high and _decodes(sample, "gb18030") and not _private(sample.decode("gb18030")):
        guess = _guess_by_statistics(sample)
        return guess if guess in _ASIAN and _common_hanzi(sample) < 0.8 else "gb18030"
    # Of the pairs of Big5 the second byte is an ASCII letter in two cases of five.
    if _paired(sample) >= 0.4 * high and _decodes(sample, "cp950") and _han_share(sample.decode("cp950")) > 0.7:
        return "big5"
    if any(0x80 <= byte <= 0x9F for byte in sample) and _decodes(sample, "cp1252"):
        return "cp1252"
    return "latin-1"


def _private(text: str) -> bool:
    """Whether many characters have no meaning of their own, as where "üß" of Latin-1 is taken for a pair."""
    beyond = [character for character in text if not character.isascii()]
    return sum("\ue000" <= character <= "\uf8ff" for character in beyond) > 0.1 * len(beyond)


def _han_share(text: str) -> float:
    """Chinese characters and their punctuation among the characters beyond ASCII."""
    beyond = [character for character in text if not character.isascii()]
    found = sum("\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" for c in beyond)
    return found / max(1, len(beyond))


def _valid_utf8(sample: bytes) -> int:
    """High bytes that belong to a valid UTF-8 sequence; in other encodings hardly any do."""
    return sum(byte >= 0x80 for byte in sample.decode("utf-8", "ignore").encode())


def _nearly_utf8(path: Path) -> DataError:
    """Read as an older encoding, every character beyond ASCII would be wrong."""
    where, what = str(path), "the file ends within a character"
    with open_bytes(path) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                where, what = f"{path}:{number}", f"byte 0x{line[error.start]:02x} is not UTF-8, as the rest is"
                break
    return DataError(
        what,
        where=where,
        expected="one encoding throughout",
        next_step="export the data again as UTF-8, or name its encoding in data.format.encoding",
    )


def _high_lines(path: Path) -> bytes:
    kept, size = [], 0
    with open_bytes(path) as handle:
        while size < SAMPLE_BYTES and (line := handle.readline(_BLOCK)):
            if not line.isascii():
                kept.append(line)
                size += len(line)
    return b"".join(kept)


def _paired(sample: bytes) -> int:
    """High bytes that belong to a pair of high bytes, as every common Chinese character does."""
    count, at = 0, 0
    while at < len(sample) - 1:
        if sample[at] >= 0x81 and sample[at + 1] >= 0xA1:
            count += 2
            at += 2
        else:
            at += 1
    return count


def _common_hanzi(sample: bytes) -> float:
    """Share of pairs in the first level of GB 2312 (3,755 common characters) or its punctuation."""
    pairs = common = at = 0
    while at < len(sample) - 1:
        if sample[at] >= 0x81:
            pairs += 1
            common += 0xB0 <= sample[at] <= 0xD7 or 0xA1 <= sample[at] <= 0xA3
            at += 2
        else:
            at += 1
    return common / max(1, pairs)


def _decodes(sample: bytes, name: str) -> bool:
    try:
        sample.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _guess_by_statistics(sample: bytes) -> str | None:
    """What charset-normalizer says, where it is installed."""
    if importlib.util.find_spec("charset_normalizer") is None:
        return None
    from charset_normalizer import from_bytes

    best = from_bytes(sample[:100_000]).best()
    return best.encoding if best else None
