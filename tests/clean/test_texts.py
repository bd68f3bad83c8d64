"""Flat UTF-8 columns: bytes, code points, counts between offsets."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.rows import Rows
from sftrecipe_clean.texts import (
    beyond_ascii,
    blocks,
    column_of,
    flat_messages,
    is_ascii,
    mask_of,
    row_counts,
    text_of,
    utf8,
)

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=12)


@given(TEXTS)
def test_utf8_gives_each_row_its_bytes(texts):
    data, offsets = utf8(pl.Series(texts, dtype=pl.String))
    rows = [data[a:b].tobytes().decode() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    assert rows == [text or "" for text in texts]


def test_utf8_of_a_slice_starts_at_zero():
    data, offsets = utf8(pl.Series(["aa", "bbb", None, "cc"])[1:4])
    assert (data.tobytes(), offsets.tolist()) == (b"bbbcc", [0, 3, 3, 5])


@given(TEXTS)
def test_code_points_beyond_ascii(texts):
    codes, at = beyond_ascii(*utf8(pl.Series(texts, dtype=pl.String)))
    rows = [[chr(c) for c in codes[a:b].tolist()] for a, b in zip(at[:-1], at[1:], strict=True)]
    assert rows == [[c for c in text or "" if ord(c) > 127] for text in texts]


@given(TEXTS)
def test_is_ascii_is_pythons(texts):
    assert is_ascii(pl.Series(texts, dtype=pl.String)).tolist() == [text is None or text.isascii() for text in texts]


@given(st.lists(st.lists(st.booleans(), max_size=200), max_size=8))
def test_row_counts_are_sums(rows):
    offsets = np.cumsum([0, *map(len, rows)])
    mask = np.array([flag for row in rows for flag in row], dtype=bool)
    assert row_counts(mask, offsets).tolist() == [sum(row) for row in rows]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 60))
def test_blocks_cover_all_rows_once(sizes, limit):
    offsets = np.cumsum([0, *sizes])
    made = list(blocks(offsets, limit))
    assert [row for low, high in made for row in range(low, high)] == list(range(len(sizes)))
    assert all(offsets[high] - offsets[low] <= limit or high == low + 1 for low, high in made)


def test_constants_are_as_long_as_the_batch():
    rows = Rows(pl.DataFrame({"a": [1, 2, 3]}))
    assert column_of(rows, pl.lit(7)).to_list() == [7, 7, 7]
    assert column_of(rows, True).to_list() == [True] * 3
    assert column_of(Rows(rows.frame.clear()), pl.lit(7)).to_list() == []


def test_text_that_is_no_text_is_told():
    rows = Rows(pl.DataFrame({"a": [1], "empty": [None]}))
    with pytest.raises(StepError, match="Int64, not text"):
        text_of(rows, pl.col("a"), "step")
    assert text_of(rows, pl.col("empty"), "step").dtype == pl.String


def test_masks_are_null_where_the_text_is():
    assert mask_of(np.array([True, False, True]), pl.Series(["a", "b", None])).to_list() == [True, False, None]


def test_messages_flat_with_null_and_empty_rows():
    kind = pl.List(pl.Struct({"role": pl.String}))
    flat, offsets = flat_messages(pl.Series([None, [], [{"role": "user"}, {"role": "tool"}], None, [{"role": "x"}]], dtype=kind))
    assert flat.struct.field("role").to_list() == ["user", "tool", "x"]
    assert offsets.tolist() == [0, 0, 0, 2, 2, 3]
