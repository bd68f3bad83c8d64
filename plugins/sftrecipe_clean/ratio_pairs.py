"""All pairs of rows whose texts agree on a share of their characters: the filters of `ratio` over a Dataset.

Shards are turned into gram prefixes and bitmaps (`gram_prefixes`); rows that share a gram of their prefixes are
candidates (`gram_buckets`); `TextRatio` measures candidates, taking their texts from the Dataset when they are needed.
Memory: 200 bytes a row, 4 bytes a gram of a prefix (at 0.95 about half of a text's characters), and a cache of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sftrecipe import Dataset
from sftrecipe.lazy import np, pl
from sftrecipe_clean.duplicates import columns_read, text_column
from sftrecipe_clean.links import buckets
from sftrecipe_clean.ratio import (
    gram_length,
    grams,
    letter_counts,
    missing_allowed,
    missing_letters,
    most_missing,
    prefix,
    ratio,
    tally,
)
from sftrecipe_clean.shingles import BITMAP_WORDS, bitmaps, distinct, missing_bits, shared_members

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]
    Frequencies = npt.NDArray[np.uint32]

__all__ = ["TextRatio", "TextReader", "gram_buckets", "gram_prefixes", "tally_of_some"]

_SAMPLE = 4096
_CACHE = 1 << 25  # characters
_ENTRIES_AT_ONCE = 1 << 21


class TextReader:
    """Texts of rows by number, those read last kept at hand."""

    def __init__(self, data: Dataset, by: Any, step: str) -> None:
        self._data, self._by, self._step = data, by, step
        self._texts: dict[int, str] = {}
        self._size = 0

    def __call__(self, rows: Ints) -> dict[int, str]:
        """Row number -> text, for these rows at least. A null is empty."""
        missing = [row for row in np.unique(rows).tolist() if row not in self._texts]
        if missing:
            if self._size > _CACHE:
                self._texts, self._size = {}, 0
                missing = np.unique(rows).tolist()
            frame = self._data.take(np.array(missing), *columns_read(self._by)).with_row_index("row")
            texts = text_column(frame, self._by, self._step).fill_null("").to_list()
            self._texts |= zip(missing, texts, strict=True)
            self._size += sum(map(len, texts))
        return self._texts


def tally_of_some(reading: TextReader, rows: int, threshold: float) -> Frequencies:
    """How common grams are, from 4,096 rows spread evenly. It orders prefixes: cost depends on it, results do not."""
    some = np.unique(np.linspace(0, rows - 1, min(rows, _SAMPLE)).astype(np.int64))
    texts = reading(some)
    hashes, offsets, _ = grams(
        pl.Series([texts[row] for row in some.tolist()], dtype=pl.String), gram_length(threshold)
    )
    return tally(distinct(hashes, offsets)[0])


def gram_prefixes(frame: pl.DataFrame, by: Any, threshold: float, frequency: Frequencies, step: str) -> pl.DataFrame:
    """row, length (characters), prefix (list of grams), bits (bitmap of grams), letters (counts) of a shard's rows."""
    q = gram_length(threshold)
    texts = text_column(frame, by, step)
    hashes, offsets, lengths = grams(texts, q)
    members, sizes = distinct(hashes, offsets)
    chosen, rows = prefix(members, sizes, most_missing(lengths, threshold, q) + 1, frequency)
    listed = pl.DataFrame({"at": rows, "prefix": chosen}).group_by("at", maintain_order=True).agg("prefix")
    bits = bitmaps(members, sizes)
    made = pl.DataFrame({"row": frame["row"], "length": lengths}).with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("at"),
        pl.Series("bits", bits, dtype=pl.Array(pl.UInt64, BITMAP_WORDS)),
        pl.Series("letters", letter_counts(texts), dtype=pl.Array(pl.UInt8, 64)),
    )
    return made.join(listed, on="at", how="left", maintain_order="left").drop("at")


def gram_buckets(index: pl.DataFrame, threshold: float) -> Iterator[tuple[Ints, Ints]]:
    """(members, bucket) of rows that share a gram of their prefixes, a few million at a time, shorter rows first.

    The last bucket holds the rows with so few grams that no prefix is sure to meet.
    """
    lengths = index["length"].to_numpy()
    flat = index.select("row", "prefix").explode("prefix", empty_as_null=True, keep_nulls=True).drop_nulls()
    rows, keys = flat["row"].to_numpy().astype(np.int64), flat["prefix"].to_numpy()
    del flat
    members, bucket = buckets(keys, rows, lengths)
    at = 0
    while at < len(members):
        stop = int(np.searchsorted(bucket, bucket[min(at + _ENTRIES_AT_ONCE, len(bucket)) - 1], "right"))
        yield members[at:stop], bucket[at:stop] - bucket[at]
        at = stop
    q = gram_length(threshold)
    few = np.flatnonzero((lengths - q + 1 <= most_missing(lengths, threshold, q)) & (lengths > 0))
    yield buckets(np.zeros(len(few), np.int64), few, lengths)


class TextRatio:
    """Measures pairs of rows by `ratio`; NaN where lengths or grams rule the pair out."""

    def __init__(self, index: pl.DataFrame, reading: Callable[[Ints], dict[int, str]], threshold: float) -> None:
        self.lengths: Ints = index["length"].to_numpy()
        self._bits, self._letters = index["bits"].to_numpy(), index["letters"].to_numpy()
        self._reading, self._threshold, self._q = reading, threshold, gram_length(threshold)

    def __call__(self, a: Ints, b: Ints) -> Floats:
        """The ratio of each pair, or NaN: surely below the threshold."""
        value = np.full(len(a), np.nan)
        likely = self._letters_allow(a, b)
        likely = likely[self._bitmaps_allow(a[likely], b[likely])]
        if len(likely):
            texts = self._reading(np.concatenate([a[likely], b[likely]]))
            likely = likely[self._grams_allow(a[likely], b[likely], texts)]
            value[likely] = [
                ratio(texts[x], texts[y]) for x, y in zip(a[likely].tolist(), b[likely].tolist(), strict=True)
            ]
        return value

    def _letters_allow(self, a: Ints, b: Ints) -> Ints:
        letters_a, letters_b = self._letters[a], self._letters[b]
        return np.flatnonzero(
            self._allowed(a, b, 1, missing_letters(letters_a, letters_b), missing_letters(letters_b, letters_a))
        )

    def _bitmaps_allow(self, a: Ints, b: Ints) -> Bools:
        bits_a, bits_b = self._bits[a], self._bits[b]
        return self._allowed(a, b, self._q, missing_bits(bits_a, bits_b), missing_bits(bits_b, bits_a))

    def _grams_allow(self, a: Ints, b: Ints, texts: dict[int, str]) -> Bools:
        rows, place = np.unique(np.concatenate([a, b]), return_inverse=True)
        hashes, offsets, _ = grams(pl.Series([texts[row] for row in rows.tolist()], dtype=pl.String), self._q)
        members, sizes = distinct(hashes, offsets)
        shared = shared_members(members, sizes, place[: len(a)], place[len(a) :])
        return self._allowed(a, b, self._q, sizes[place[: len(a)]] - shared, sizes[place[len(a) :]] - shared)

    def _allowed(self, a: Ints, b: Ints, q: int, lacks_b: Ints, lacks_a: Ints) -> Bools:
        """Whether b may lack so many q-grams of a, and a of b."""
        long, other = self.lengths[a], self.lengths[b]
        fits: Bools = lacks_b <= missing_allowed(long, other, self._threshold, q)
        return fits & (lacks_a <= missing_allowed(other, long, self._threshold, q))
