"""Compiled character maps do in `tokenizers` what the table says, and nothing else."""

import sys
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import Precompiled

from penjing.models.charsmap import compile_charsmap

CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


def test_every_character_of_unicode():
    table = {
        char: normal
        for char in map(chr, range(1, sys.maxunicode + 1))
        if (normal := unicodedata.normalize("NFKC", char)) != char
    }
    table |= {"\x07": "", "\t": " "}
    assert len(table) > 4000
    normalizer = Precompiled(compile_charsmap(table))
    wrong = [
        char
        for code in range(1, sys.maxunicode + 1)
        if not 0xD800 <= code < 0xE000 and normalizer.normalize_str(char := chr(code)) != table.get(char, char)
    ]
    assert wrong == []


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(CHARACTERS, st.text(CHARACTERS, max_size=4), max_size=20), st.lists(CHARACTERS, max_size=20))
def test_any_table(table, others):
    normalizer = Precompiled(compile_charsmap(table))
    for char in [*table, *others]:
        assert normalizer.normalize_str(char) == table.get(char, char)
