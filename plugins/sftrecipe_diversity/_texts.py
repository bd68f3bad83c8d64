"""What embedding and measuring share: the Chinese, Japanese and Korean characters, and which rows a sample takes."""

from __future__ import annotations

from sftrecipe.draws import hashes, order
from sftrecipe.lazy import np, pl

__all__ = ["CJK", "sample_rows"]

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0002ffff"
"""A character class (without brackets, for `re` and Polars alike): Han, kana and Hangul."""


def sample_rows(ids: pl.Series, size: int) -> np.ndarray:
    """Numbers of the `size` rows lowest in hash(id), lowest first: int64 [min(size, N)].

    The hash knows the id alone, so the sample depends neither on the order of the rows nor on a seed, and a larger one
    contains the smaller.
    """
    return order(hashes(ids, 0, "sample"))[:size]
