"""The word table: Python's words to the letter, hashes as documented."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.rows import Rows
from sftrecipe_clean import words as module
from sftrecipe_clean.words import WordTable, ngrams, shared_words, word_counts, word_table

ODD = "aB \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x00\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000ÉßİΣσςẞŒœ中文é\u0307\u200b\U0001d400\U00010400"
TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=60), st.text(ODD, max_size=60)), max_size=10)
MASK = (1 << 64) - 1


def reference(word: str) -> int:
    """The hash of a word as the module's page defines it, in plain Python."""
    data = word.encode()
    if len(data) > 128:
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    value = 0
    for at in range(0, max(len(data), 1), 8):
        chunk = int.from_bytes(data[at : at + 8], "little")
        value = ((value ^ (value >> 29)) + chunk) & MASK if at else chunk
        value = value * 0x9E3779B97F4A7C15 & MASK
        value = (value ^ (value >> 32)) * 0xC2B2AE3D27D4EB4F & MASK
    return value


def rows_of(table: WordTable) -> list[list[int]]:
    flat, offsets = table.hashes.tolist(), table.offsets.tolist()
    return [flat[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


@given(TEXTS)
def test_words_are_pythons(texts):
    table = word_table(pl.Series(texts, dtype=pl.String))
    assert rows_of(table) == [[reference(word) for word in (text or "").lower().split()] for text in texts]


@given(TEXTS)
def test_counts_are_those_of_split(texts):
    assert word_counts(pl.Series(texts, dtype=pl.String)).tolist() == [len((text or "").split()) for text in texts]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 127, 128, 129, 5000])
def test_words_of_any_length(length):
    word = ("Abcdefg1" * (length // 8 + 1))[:length]
    assert rows_of(word_table(pl.Series([f"x {word}", word]))) == [[reference("x"), reference(word.lower())], [reference(word.lower())]]


def test_every_character_is_lowered_and_split_as_python_does():
    characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    special = [c for c in characters if c.lower() != c or c.isspace()]
    plain = "".join(c for c in characters if c.lower() == c and not c.isspace())
    # a text for each capital and space, so that none hides behind another; all others in texts that hold no such character
    texts = [f"a{c}b" for c in special] + [" ".join(plain[at : at + 400]) for at in range(0, len(plain), 400)]
    table = word_table(pl.Series(texts))
    expected = [text.lower().split() for text in texts]
    assert table.counts.tolist() == [len(words) for words in expected]
    assert rows_of(table)[: len(special)] == [[reference(word) for word in words] for words in expected[: len(special)]]


def test_blocks_do_not_show(monkeypatch):
    texts = pl.Series([f"some words é {i} " * (i % 7) for i in range(100)] + [None, ""])
    whole = rows_of(word_table(texts))
    monkeypatch.setattr(module, "_BLOCK", 64)
    assert rows_of(word_table(texts)) == whole
    assert word_counts(texts).tolist() == [len(row) for row in whole]


@given(TEXTS, st.integers(1, 6))
def test_ngrams_are_equal_where_words_are(texts, n):
    table = word_table(pl.Series(texts, dtype=pl.String))
    flat, offsets = ngrams(table, n)
    seen: dict[tuple[str, ...], int] = {}
    for row, text in enumerate(texts):
        words = (text or "").lower().split()
        expected = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        found = flat[offsets[row] : offsets[row + 1]].tolist()
        assert len(found) == len(expected)
        for gram, value in zip(expected, found, strict=True):
            # words that differ in trailing NUL alone share a hash, which the page says
            assert seen.setdefault(tuple(w.rstrip("\x00") for w in gram), value) == value
    assert len(set(seen.values())) == len(seen)


def test_ngrams_are_the_polynomial():
    table = word_table(pl.Series(["a b c d e", "a b"]))
    base = 0xD6E8FEB86659FD93
    a, b, c, d, e = (reference(w) for w in "abcde")
    expected = [(x * base * base + y * base + z) & MASK for x, y, z in ((a, b, c), (b, c, d), (c, d, e))]
    flat, offsets = ngrams(table, 3)
    assert (flat.tolist(), offsets.tolist()) == (expected, [0, 3, 3])


def test_filter_is_lazy_and_right():
    table = word_table(pl.Series(["one two", "three", "", "four five six"]))
    expected = rows_of(table)
    once = table.filter(pl.Series([True, False, True, True]))
    twice = once.filter(np.array([False, True, True]))
    assert (len(once), len(twice)) == (3, 2)
    assert rows_of(twice) == [expected[2], expected[3]]
    assert rows_of(once) == [expected[0], expected[2], expected[3]]
    assert rows_of(table) == expected


def test_rows_share_the_table_and_cut_it():
    rows = Rows(pl.DataFrame({"text": ["one two", "three", "four"]}))
    table = shared_words(rows, pl.col("text"), "text", "step")
    assert shared_words(rows, pl.col("text"), "text", "step") is table
    kept = rows.keep(pl.Series([True, False, True]))
    assert rows_of(shared_words(kept, pl.col("text"), "text", "step")) == [rows_of(table)[0], rows_of(table)[2]]
