"""Evaluation texts as an index for `ratio`: which of them a training text agrees with character by character.

The filters of `ratio` with the index on one side. A text of another length than all items is done. An item can lack at
most K of the q-grams of a text of length m, so a text with more than K grams that no item at all holds is done: nearly
all training texts end there, after one look-up a character. The few others go through gram prefixes, letter counts and
gram counts to the exact ratio. Complete: no pair at the threshold is missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import np, pl
from sftrecipe_clean.eval_index import HashSet
from sftrecipe_clean.groups import runs
from sftrecipe_clean.ratio import gram_length, grams, most_missing, plain_grams, tally
from sftrecipe_clean.ratio_pairs import TextRatio, gram_prefixes
from sftrecipe_clean.shingles import counted_ranges, distinct
from sftrecipe_clean.texts import row_counts

if TYPE_CHECKING:
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Words = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["RatioIndex"]

_LOST = 0.8  # longer grams than for prefixes: chance hits on other texts are what costs here


class RatioIndex:
    """The items' profiles (`gram_prefixes`), the order of grams, and all grams that items hold (`vocabulary`)."""

    def __init__(
        self, profiles: pl.DataFrame, frequency: Words, vocabulary: Hashes, texts: pl.Series, threshold: float
    ) -> None:
        self._profiles, self._frequency, self._vocabulary = profiles, frequency, vocabulary
        self._texts, self._threshold = texts, threshold
        self._known = HashSet(vocabulary)
        self._q = gram_length(threshold)
        flat = (
            profiles.select("row", "prefix")
            .explode("prefix", empty_as_null=True, keep_nulls=True)
            .drop_nulls()
            .sort("prefix", "row")
        )
        self._grams, self._items = flat["prefix"].to_numpy(), flat["row"].to_numpy().astype(np.int64)
        lengths = profiles["length"].to_numpy()
        self._lengths = np.unique(lengths[lengths > 0])
        self._few = np.flatnonzero((lengths - self._q + 1 <= most_missing(lengths, threshold, self._q)) & (lengths > 0))

    @classmethod
    def build(cls, texts: pl.Series, threshold: float) -> RatioIndex:
        """From the items' texts."""
        q = gram_length(threshold)
        hashes, offsets, _ = grams(texts, q)
        frequency = tally(distinct(hashes, offsets)[0])
        frame = pl.DataFrame({"text": texts}).with_row_index("row")
        return cls(
            gram_prefixes(frame, pl.col("text"), threshold, frequency, ""),
            frequency,
            np.unique(plain_grams(texts, gram_length(threshold, _LOST))[0]),
            texts,
            threshold,
        )

    @classmethod
    def load(cls, state: Mapping[str, Any], texts: pl.Series, threshold: float) -> RatioIndex:
        """From what `save` gave."""
        return cls(state["profiles"], np.asarray(state["frequency"]), np.asarray(state["vocabulary"]), texts, threshold)

    def save(self) -> dict[str, Any]:
        """Its tables by name."""
        return {"profiles": self._profiles, "frequency": self._frequency, "vocabulary": self._vocabulary}

    def best(self, texts: pl.Series) -> tuple[Floats, Ints]:
        """(ratio, item) that each text agrees with most, of equals the first; 0 and -1 below the threshold."""
        share, item = np.zeros(len(texts)), np.full(len(texts), -1, np.int64)
        some = self._possible(texts)
        if not len(some):
            return share, item
        taken = texts.gather(some)
        frame = pl.DataFrame({"text": taken}).with_row_index("row")
        own = gram_prefixes(frame, pl.col("text"), self._threshold, self._frequency, "")
        row, number = self._candidates(own)
        words = [*taken.to_list(), *self._texts.to_list()]
        measure = TextRatio(
            pl.concat([own, self._profiles]),
            lambda rows: {r: words[r] for r in np.unique(rows).tolist()},
            self._threshold,
        )
        value = measure(row, number + len(some))
        order = np.lexsort((number, -np.nan_to_num(value, nan=-1.0), row))
        order = order[value[order] >= self._threshold]
        best = order[runs(row[order])[0]]
        share[some[row[best]]], item[some[row[best]]] = value[best], number[best]
        return share, item

    def _possible(self, texts: pl.Series) -> Ints:
        """Texts that some item may agree with: near it in length, and not too many grams that no item holds."""
        lengths = texts.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
        shortest, longest = (
            lengths * self._threshold / (2 - self._threshold),
            lengths * (2 - self._threshold) / self._threshold,
        )
        near = np.searchsorted(self._lengths, shortest - 1, "left") < np.searchsorted(
            self._lengths, longest + 1, "right"
        )
        some = np.flatnonzero(near & (lengths > 0))
        q = gram_length(self._threshold, _LOST)
        hashes, offsets, _ = plain_grams(texts.gather(some), q)
        strange = row_counts(~self._known.perhaps(hashes), offsets)
        return some[strange <= most_missing(lengths[some], self._threshold, q)]

    def _candidates(self, own: pl.DataFrame) -> tuple[Ints, Ints]:
        """(text, item) pairs that share a gram of their prefixes, or have too few grams to be sure to."""
        flat = own.select("row", "prefix").explode("prefix", empty_as_null=True, keep_nulls=True).drop_nulls()
        chosen, at = flat["prefix"].to_numpy(), flat["row"].to_numpy().astype(np.int64)
        low, high = np.searchsorted(self._grams, chosen, "left"), np.searchsorted(self._grams, chosen, "right")
        posting, _ = counted_ranges(low, high - low)
        lengths = own["length"].to_numpy()
        few = np.flatnonzero(lengths - self._q + 1 <= most_missing(lengths, self._threshold, self._q))
        rows = np.concatenate([np.repeat(at, high - low), np.repeat(few, len(self._few))])
        items = np.concatenate([self._items[posting], np.tile(self._few, len(few))])
        pairs = np.sort(rows * max(len(self._profiles), 1) + items)  # faster here than the hashing of np.unique
        pairs = pairs[runs(pairs)[0]]
        return pairs // max(len(self._profiles), 1), pairs % max(len(self._profiles), 1)
