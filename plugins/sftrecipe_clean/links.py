"""Which of many candidate pairs are true, without looking at a pair twice or at pairs that cannot change anything.

Candidates come as buckets: rows that share a key. `Links.within_groups` goes through the pairs of a bucket by
distance, rows sorted by size (neighbour and neighbour, then every second row, ...), and asks `measure` for those not
yet in one group; what is at or above the threshold joins its two groups. A bucket whose rows have all become one group
is done: ten thousand copies cost ten thousand looks, not fifty million. `Links.to_leaders` instead compares every row
with the first of its bucket, takes out those that are like it, and goes on with the rest.

What is guaranteed: every edge was measured and is true; a pair of one bucket is passed over only if it is in one group
already, if their sizes rule it out, or if the bucket has more than LIMIT + 1 rows and the two lie further apart than
LIMIT. Passing over a pair can only keep more rows. The order in which pairs are looked at does not change groups of
buckets within the limit.

`measure(a, b)` gives the similarity of pairs of rows; NaN says "below the threshold, found without an exact look".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sftrecipe.lazy import np
from sftrecipe_clean.groups import join, runs

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]
    Measure = Callable[[Ints, Ints], Floats]

__all__ = ["LIMIT", "Links", "PairSet", "buckets"]

LIMIT = 256
_AT_ONCE = 1 << 16


class PairSet:
    """A set of pair numbers as two sorted arrays: adding rebuilds the small one, the large one only now and then."""

    def __init__(self) -> None:
        self._large = self._small = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._large) + len(self._small)

    def add(self, pairs: Ints) -> None:
        """Adds pairs that are not in it."""
        self._small = np.union1d(self._small, pairs)
        if len(self._small) > 4096 + len(self._large) // 8:
            self._large, self._small = np.union1d(self._large, self._small), self._small[:0]

    def has(self, pairs: Ints) -> Bools:
        """Which of these pairs are in it."""
        return _in_sorted(self._large, pairs) | _in_sorted(self._small, pairs)


def _in_sorted(values: Ints, wanted: Ints) -> Bools:
    if not len(values):
        return np.zeros(len(wanted), bool)
    found: Bools = values[np.minimum(np.searchsorted(values, wanted), len(values) - 1)] == wanted
    return found


def buckets(keys: npt.NDArray[np.generic], rows: Ints, order_by: Ints) -> tuple[Ints, Ints]:
    """(members, bucket): rows that share their key with another, by bucket, then by `order_by[row]`, then by row."""
    order = np.argsort(keys, kind="stable")
    _, lengths = runs(keys[order])
    many = lengths > 1
    members = rows[order[np.repeat(many, lengths)]]
    bucket = np.repeat(np.arange(int(many.sum()), dtype=np.int64), lengths[many])
    within = np.lexsort((members, order_by[members], bucket))
    return members[within], bucket


class Links:
    """The true pairs among the rows 0..rows-1, and the groups that they form.

    `joined`: whether pairs inside one group may be passed over; False is for those who need each row's own partners.
    `repeats`: whether a row may lie in several buckets of one call, so that pairs come up again.
    """

    def __init__(
        self, rows: int, threshold: float, measure: Measure | None, *, joined: bool = True, repeats: bool = False
    ) -> None:
        self.labels: Ints = np.arange(rows, dtype=np.int64)
        self.measured = self.oversized = 0
        self._rows, self._threshold, self._measure = rows, threshold, measure
        self._joined, self._repeats = joined, repeats
        self._seen, self._true = PairSet(), PairSet()
        self._edges: list[tuple[Ints, Ints, Floats]] = []

    def edges(self) -> tuple[Ints, Ints, Floats]:
        """(a, b, similarity) of all true pairs found; similarity is NaN where nothing was measured."""
        if not self._edges:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        a, b, value = zip(*self._edges, strict=True)
        return np.concatenate(a), np.concatenate(b), np.concatenate(value)

    def within_groups(self, members: Ints, bucket: Ints, sizes: Ints, least: float, limit: int = LIMIT) -> None:
        """Looks at the pairs of each bucket, members ascending by size; a ratio of sizes below `least` is false."""
        size, least = sizes[members], least - 1e-9  # rounding must not cost a pair at the threshold
        alive = np.arange(max(len(members) - 1, 0), dtype=np.int64)
        distance, block = 0, 1
        while len(alive) and distance < limit:
            pairs = []
            until = min(distance + block, limit)
            while distance < until:
                distance += 1
                alive = alive[alive + distance < len(members)]
                alive = alive[
                    (bucket[alive + distance] == bucket[alive]) & (size[alive] >= least * size[alive + distance])
                ]
                pairs.append((alive, alive + distance))
            first, second = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
            self.check(members[first], members[second])
            if self._joined and len(alive):
                alive = alive[self._open(members, bucket)[bucket[alive]]]
            block = distance
        further = alive[alive + distance + 1 < len(members)]
        self.oversized += len(np.unique(bucket[further[bucket[further + distance + 1] == bucket[further]]]))

    def to_leaders(self, members: Ints, bucket: Ints, limit: int = LIMIT) -> None:
        """Looks at the pairs of each bucket's first row, takes the rows like it out, and goes on with what is left."""
        turn = 0
        while len(members) and turn < limit:
            turn += 1
            starts, lengths = runs(bucket)
            leader = np.repeat(members[starts], lengths)
            rest = members != leader
            leader, members, bucket = leader[rest], members[rest], bucket[rest]
            self.check(leader, members)
            apart = ~self._true.has(self._pairs(leader, members))
            members, bucket = members[apart], bucket[apart]
        self.oversized += len(np.unique(bucket))

    def unchecked(self, members: Ints, bucket: Ints) -> None:
        """Takes every pair of a bucket as true: the plain collisions of locality-sensitive hashing."""
        starts, lengths = runs(bucket)
        first = np.repeat(members[starts], lengths)
        rest = members != first
        self._take(first[rest], members[rest], np.full(int(rest.sum()), np.nan))

    def check(self, a: Ints, b: Ints) -> None:
        """Measures pairs that are new and may matter; the true ones join. Unless `repeats`, no pair may come twice."""
        if self._measure is None:
            raise ValueError("there is no measure to check pairs by")
        for at in range(0, len(a), _AT_ONCE):
            self._check(a[at : at + _AT_ONCE], b[at : at + _AT_ONCE], self._measure)

    def _check(self, a: Ints, b: Ints, measure: Measure) -> None:
        if self._joined:
            apart = self.labels[a] != self.labels[b]
            a, b = a[apart], b[apart]
        pairs = self._pairs(a, b)
        if self._repeats:
            pairs, at = np.unique(pairs, return_index=True)
            a, b = a[at], b[at]
        new = ~self._seen.has(pairs)
        a, b, pairs = a[new], b[new], pairs[new]
        value = measure(a, b)
        looked = ~np.isnan(value)
        true = value >= self._threshold
        self.measured += int(looked.sum())
        # pairs in one group are passed over anyway, so only refused ones need be remembered then
        self._seen.add(pairs[looked & ~true] if self._joined else pairs[looked])
        if not self._joined:
            self._true.add(pairs[true])
        self._take(a[true], b[true], value[true])

    def _take(self, a: Ints, b: Ints, value: Floats) -> None:
        if len(a):
            self._edges.append((a, b, value))
            join(self.labels, a, b)

    def _pairs(self, a: Ints, b: Ints) -> Ints:
        return np.minimum(a, b) * self._rows + np.maximum(a, b)

    def _open(self, members: Ints, bucket: Ints) -> Bools:
        """Which buckets still hold rows of more than one group."""
        labels = self.labels[members]
        starts, _ = runs(bucket)
        several: Bools = np.minimum.reduceat(labels, starts) != np.maximum.reduceat(labels, starts)
        return several
