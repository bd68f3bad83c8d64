"""Evaluation items as an index of token n-grams, and how much of an item a training row holds.

    coverage(item, row) = share of the item's tokens that lie in n-grams which the row holds too    (Tulu 3, 2024)

Coverage counts one row at a time: n-grams scattered over many rows do not add up. Any shared n-gram at all is coverage
above zero (the rule of s1 and open-r1). An item of fewer than n tokens has no n-gram: `contained` looks for it as a
whole run of tokens.

Layout: `grams` uint64 [G] ascending; gram g stands in items item[first[g]:first[g + 1]] at tokens at[...], shorter
items first. A batch costs one look into a bit table per n-gram (5 ns) and a binary search for the few that pass; rows
without a hit cost nothing more.

Long lists of postings (a stock phrase in ten thousand items) are cut by a bound that loses nothing: a row with k
different hits covers at most n * k * repeats tokens of an item, so items longer than that over the threshold are left
out.

Hashes have 64 bits. A false hit needs two different n-grams to meet: chance 1e-6 for ten million n-grams of rows
against two million of items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import np
from sftrecipe_clean.groups import runs
from sftrecipe_clean.shingles import counted_ranges
from sftrecipe_clean.words import WordTable, ngrams

if TYPE_CHECKING:
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

__all__ = ["Anchors", "GramIndex", "HashSet", "coverage"]

_POSTINGS_AT_ONCE = 1 << 22
_REACH_BITS = 24


def coverage(item: list[str], row: list[str], n: int) -> float:
    """The definition, on token lists: the share of the item's tokens inside n-grams that the row holds."""
    held = {tuple(row[i : i + n]) for i in range(len(row) - n + 1)}
    covered = {k for i in range(len(item) - n + 1) if tuple(item[i : i + n]) in held for k in range(i, i + n)}
    return len(covered) / len(item) if item else 0.0


class HashSet:
    """A sorted array of hashes behind a table of bits, which turns most values that are not in it away at once."""

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        bits = int(np.clip(np.ceil(np.log2(max(len(hashes), 1) * 32)), 12, 24))
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)
        self._table[hashes >> self._shift] = True

    def perhaps(self, wanted: Hashes) -> Bools:
        """Which may be in the set: all that are, and few (3 %) of those that are not."""
        found: Bools = self._table[wanted >> self._shift]
        return found

    def find(self, wanted: Hashes) -> tuple[Ints, Ints]:
        """(at, number): places in `wanted` that are in the set, and each one's number there."""
        at = np.flatnonzero(self.perhaps(wanted))
        number = np.searchsorted(self.hashes, wanted[at])
        real = (
            self.hashes[np.minimum(number, max(len(self.hashes) - 1, 0))] == wanted[at]
            if len(self.hashes)
            else np.zeros(0, bool)
        )
        return at[real], number[real]


@dataclass
class GramIndex:
    """Where each n-gram of the items stands; `reach` of a posting: item length over the item's most repeated gram."""

    grams: Hashes
    first: Ints
    item: Ints
    at: Ints
    length: Ints
    reach: Ints

    def __post_init__(self) -> None:
        top = (1 << _REACH_BITS) - 1
        gram = np.repeat(np.arange(len(self.grams), dtype=np.int64), np.diff(self.first))
        self._keys = (gram << _REACH_BITS) | np.minimum(self.reach, top)
        self._known = HashSet(self.grams)

    @classmethod
    def build(cls, items: WordTable, n: int) -> GramIndex:
        """From the tokens of all items."""
        hashes, offsets = ngrams(items, n)
        counts = np.diff(offsets)
        item = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        reach = items.counts // np.maximum(_most_repeated(hashes, item, len(counts)), 1)
        order = np.lexsort((item, reach[item], hashes))
        starts, _ = runs(hashes[order])
        at = (np.arange(len(hashes)) - offsets[item])[order]
        sorted_items = item[order]
        first = np.append(starts, len(hashes)).astype(np.int64)
        return cls(hashes[order][starts], first, sorted_items, at, items.counts, reach[sorted_items])

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> GramIndex:
        """From what `save` gave."""
        return cls(*(np.asarray(state[f"index_{f.name}"]) for f in fields(cls)))

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Its arrays by name."""
        return {f"index_{f.name}": getattr(self, f.name) for f in fields(self)}

    def best(self, rows: WordTable, n: int, threshold: float) -> tuple[Floats, Ints]:
        """(share, item) that each row covers most, of equals the first; 0 and -1 where none is above `threshold`."""
        hashes, offsets = ngrams(rows, n)
        place, gram = self._known.find(hashes)
        row = np.searchsorted(offsets, place, "right") - 1
        pairs = np.unique(row * max(len(self.grams), 1) + gram)
        row, gram = pairs // max(len(self.grams), 1), pairs % max(len(self.grams), 1)
        share, item = np.zeros(len(rows)), np.full(len(rows), -1, np.int64)
        for r, g, counts in self._wanted(row, gram, len(rows), n, threshold):
            _best_of(*self._covered(r, g, counts, n), threshold, share, item)
        return share, item

    def _wanted(self, row: Ints, gram: Ints, rows: int, n: int, threshold: float) -> Iterator[tuple[Ints, Ints, Ints]]:
        """(row, gram, postings to look at), whole rows together, a few million postings at a time."""
        hits = np.bincount(row, minlength=rows)[row]
        top = (1 << _REACH_BITS) - 1
        most = np.minimum(n * hits / threshold, top).astype(np.int64) if threshold > 0 else np.full(len(row), top)
        counts = np.searchsorted(self._keys, (gram << _REACH_BITS) | most, "right") - self.first[gram]
        starts, lengths = runs(row)
        ends = np.cumsum(np.add.reduceat(counts, starts)) if len(starts) else starts
        at = 0
        while at < len(starts):
            done = ends[at - 1] if at else 0
            stop = max(at + 1, int(np.searchsorted(ends, done + _POSTINGS_AT_ONCE, "right")))
            some = slice(int(starts[at]), int(starts[stop - 1] + lengths[stop - 1]))
            yield row[some], gram[some], counts[some]
            at = stop

    def _covered(self, row: Ints, gram: Ints, counts: Ints, n: int) -> tuple[Ints, Ints, Floats]:
        """(row, item, share) of every row and item that meet in these postings."""
        posting, _ = counted_ranges(self.first[gram], counts)
        pair = np.repeat(row, counts) * len(self.length) + self.item[posting]
        at = self.at[posting]
        order = np.lexsort((at, pair))
        pair, at = pair[order], at[order]
        new = np.full(len(at), n, np.int64)  # an n-gram adds n tokens, or as many as lie before the next one
        same = pair[1:] == pair[:-1]
        new[:-1][same] = np.minimum(n, (at[1:] - at[:-1])[same])
        starts, _ = runs(pair)
        covered = np.add.reduceat(new, starts) if len(starts) else new
        item = pair[starts] % len(self.length) if len(starts) else starts
        row = pair[starts] // max(len(self.length), 1) if len(starts) else starts
        return row, item, covered / self.length[item]


def _best_of(row: Ints, item: Ints, share: Floats, threshold: float, best: Floats, best_item: Ints) -> None:
    """Writes each row's highest share above the threshold into `best`, of equals the first item."""
    above = share > threshold
    row, item, share = row[above], item[above], share[above]
    order = np.lexsort((item, -share, row))
    starts, _ = runs(row[order])
    top = order[starts]
    best[row[top]], best_item[row[top]] = share[top], item[top]


def _most_repeated(hashes: Hashes, item: Ints, items: int) -> Ints:
    """How often each item's most frequent gram stands in it: int64 [items]."""
    order = np.lexsort((hashes, item))
    pairs, who = hashes[order], item[order]
    if not len(pairs):
        return np.zeros(items, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], (pairs[1:] != pairs[:-1]) | (who[1:] != who[:-1])]))
    most = np.zeros(items, np.int64)
    np.maximum.at(most, who[starts], np.diff(np.append(starts, len(pairs))))
    return most


class Anchors:
    """Items to be found whole: by the hash of their first `width` tokens, and then token by token."""

    def __init__(self, hashes: Hashes, items: Ints, widths: Ints) -> None:
        self._arrays = {"anchor_hashes": hashes, "anchor_items": items, "anchor_widths": widths}
        self._by_width: list[tuple[int, HashSet, Ints, Ints]] = []
        for width in np.unique(widths).tolist():
            here = np.flatnonzero(widths == width)
            here = here[np.lexsort((items[here], hashes[here]))]
            starts, _ = runs(hashes[here])
            first = np.append(starts, len(here)).astype(np.int64)
            self._by_width.append((width, HashSet(hashes[here][starts]), first, items[here]))

    @classmethod
    def build(cls, items: WordTable, wanted: Ints, n: int) -> Anchors:
        """For the items with these numbers, which have tokens; the anchor is the item, or its first n tokens."""
        widths = np.minimum(items.counts[wanted], n)
        hashes = np.zeros(len(wanted), np.uint64)
        for width in np.unique(widths).tolist():
            grams, offsets = ngrams(items, width)
            here = widths == width
            hashes[here] = grams[offsets[:-1][wanted[here]]]
        return cls(hashes, wanted, widths)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Anchors:
        """From what `save` gave."""
        return cls(*(np.asarray(state[name]) for name in ("anchor_hashes", "anchor_items", "anchor_widths")))

    def save(self) -> dict[str, npt.NDArray[Any]]:
        """Its arrays by name."""
        return dict(self._arrays)

    def candidates(self, rows: WordTable) -> tuple[Ints, Ints]:
        """(row, item): rows that hold the anchor of an item, by row and item."""
        found = [np.zeros((0, 2), np.int64)]
        for width, known, first, items in self._by_width:
            hashes, offsets = ngrams(rows, width)
            place, number = known.find(hashes)
            row = np.searchsorted(offsets, place, "right") - 1
            counts = np.diff(first)[number]
            at, _ = counted_ranges(first[number], counts)
            found.append(np.stack([np.repeat(row, counts), items[at]], axis=1))
        pairs = np.unique(np.concatenate(found), axis=0)
        return pairs[:, 0], pairs[:, 1]
