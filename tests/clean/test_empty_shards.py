"""A shard without rows gives the columns of any other shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sftrecipe_clean import duplicates
from sftrecipe_clean.near_duplicates import sketched
from sftrecipe_clean.ratio import FREQUENCIES
from sftrecipe_clean.ratio_pairs import gram_prefixes

FRAME = pl.DataFrame({"text": ["one two three four five six", None]}).with_row_index("row")
TEXT = pl.col("text")


@pytest.mark.parametrize(
    "function",
    [
        lambda frame, folder: duplicates._hashed(frame, TEXT, "none", ""),
        lambda frame, folder: duplicates._hashed(frame, TEXT, "text", ""),
        lambda frame, folder: sketched(frame, TEXT, 5, 16, 4, str(folder), ""),
        lambda frame, folder: sketched(frame, TEXT, 5, 16, 4, None, ""),
        lambda frame, folder: gram_prefixes(
            frame, TEXT, 0.95, pl.zeros(FREQUENCIES, pl.UInt32, eager=True).to_numpy(), ""
        ),
    ],
)
def test_an_empty_shard(function: Callable[[pl.DataFrame, Path], pl.DataFrame], tmp_path: Path) -> None:
    full, empty = function(FRAME, tmp_path), function(FRAME.clear(), tmp_path)
    assert empty.schema == full.schema
    assert (empty.height, full.height) == (0, 2)
    assert pl.concat([empty, full, empty]).height == 2
