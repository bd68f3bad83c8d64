"""Evaluation texts as an index for `ratio`: which of them a training text agrees with character by character.

The filters of `ratio` with the index on one side. A text of length m can lack at most K of its q-grams in an item, so a text with more than K
grams that no item at all holds is done: nearly all training texts end there, at 20 microseconds each. The few others go through gram
prefixes, letter counts and gram counts to the exact ratio. Complete: no pair at the threshold is missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sftrecipe_clean.eval_index import HashSet
from sftrecipe_clean.ratio import gram_length, grams, most_missing, prefix, tally
from sftrecipe_clean.ratio_pairs import TextRatio, gram_prefixes
from sftrecipe_clean.shingles import counted_ranges, distinct

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["RatioIndex"]


class RatioIndex:
    """The items' profiles (`gram_prefixes`), the order of grams, and all grams that items hold (`vocabulary`, ascending)."""

    def __init__(self, profiles: pl.DataFrame, frequency: Words, vocabulary: Words, texts: pl.Series, threshold: float) -> None:
        self._profiles, self._frequency, self._vocabulary = profiles, frequency, vocabulary
        self._texts, self._threshold = texts, threshold
        self._known = HashSet(vocabulary.astype(np.uint64) << np.uint64(32))
        self._q = gram_length(threshold)
        flat = profiles.select("row", "prefix").explode("prefix", empty_as_null=True, keep_nulls=True).drop_nulls().sort("prefix", "row")
        self._grams, self._items = flat["prefix"].to_numpy(), flat["row"].to_numpy().astype(np.int64)
        lengths = profiles["length"].to_numpy()
        self._few = np.flatnonzero((lengths - self._q + 1 <= most_missing(lengths, threshold, self._q)) & (lengths > 0))

    @classmethod
    def build(cls, texts: pl.Series, threshold: float) -> RatioIndex:
        """From the items' texts."""
        hashes, offsets, _ = grams(texts, gram_length(threshold))
        members, _ = distinct(hashes, offsets)
        frequency = tally(members)
        frame = pl.DataFrame({"text": texts}).with_row_index("row")
        return cls(gram_prefixes(frame, pl.col("text"), threshold, frequency, ""), frequency, np.unique(members), texts, threshold)

    @classmethod
    def load(cls, state: Mapping[str, Any], texts: pl.Series, threshold: float) -> RatioIndex:
        """From what `save` gave."""
        return cls(state["profiles"], np.asarray(state["frequency"]), np.asarray(state["vocabulary"]), texts, threshold)

    def save(self) -> dict[str, Any]:
        """Its tables by name."""
        return {"profiles": self._profiles, "frequency": self._frequency, "vocabulary": self._vocabulary}

    def best(self, texts: pl.Series) -> tuple[Floats, Ints]:
        """(ratio, item) of the item that each text agrees with most, of equals the first; 0 and -1 below the threshold."""
        share, item = np.zeros(len(texts)), np.full(len(texts), -1, np.int64)
        row, number = self._candidates(texts)
        if not len(row):
            return share, item
        some, place = np.unique(row, return_inverse=True)
        taken = texts.gather(some)
        frame = pl.DataFrame({"text": taken}).with_row_index("row")
        own = gram_prefixes(frame, pl.col("text"), self._threshold, self._frequency, "")
        both, words = pl.concat([own, self._profiles]), [*taken.to_list(), *self._texts.to_list()]
        value = TextRatio(both, lambda rows: {r: words[r] or "" for r in np.unique(rows).tolist()}, self._threshold)(place, number + len(some))
        order = np.lexsort((number, -np.nan_to_num(value, nan=-1.0), row))
        for at in order.tolist():
            if value[at] >= self._threshold and item[row[at]] < 0:
                share[row[at]], item[row[at]] = value[at], number[at]
        return share, item

    def _candidates(self, texts: pl.Series) -> tuple[Ints, Ints]:
        """(text, item) pairs that the gram filters leave."""
        hashes, offsets, lengths = grams(texts, self._q)
        members, sizes = distinct(hashes, offsets)
        most = most_missing(lengths, self._threshold, self._q)
        row = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
        held, _ = self._known.find(members.astype(np.uint64) << np.uint64(32))
        open_rows = (sizes - np.bincount(row[held], minlength=len(sizes)) <= most) & (lengths > 0)
        inside = open_rows[row]
        chosen, at = prefix(members[inside], np.where(open_rows, sizes, 0), most + 1, self._frequency)
        low, high = np.searchsorted(self._grams, chosen, "left"), np.searchsorted(self._grams, chosen, "right")
        posting, _ = counted_ranges(low, high - low)
        few = np.flatnonzero(open_rows & (lengths - self._q + 1 <= most))
        rows = np.concatenate([np.repeat(at, high - low), np.repeat(few, len(self._few))])
        items = np.concatenate([self._items[posting], np.tile(self._few, len(few))])
        pairs = np.unique(rows * max(len(self._profiles), 1) + items)
        return pairs // max(len(self._profiles), 1), pairs % max(len(self._profiles), 1)
