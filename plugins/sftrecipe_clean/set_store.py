"""Sets of shingles on disk, by row number: what pairs are verified against without holding every set in memory.

A shard's sets are two files named after its first row: `<row>.sets` (uint32, ascending, row after row) and
`<row>.bits` (the 128-byte bitmaps of `shingles.bitmaps`). Files are written whole and renamed, so a shard that is done
twice does no harm. The driver holds bitmaps and sizes (140 bytes a row); members are read for the pairs at hand only,
at most a few MB at a time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sftrecipe.lazy import np
from sftrecipe_clean.shingles import BITMAP_WORDS, chunks, counted_ranges, intersections, jaccard_bound, similarity

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint32]
    Bits = npt.NDArray[np.uint64]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["SetStore", "read_bitmaps", "write_sets"]


def write_sets(folder: Path, first_row: int, members: Words, bits: Bits) -> None:
    """Writes the sets and bitmaps of one shard."""
    for suffix, array in (("sets", members.astype("<u4")), ("bits", bits.astype("<u8"))):
        path = folder / f"{first_row:012d}.{suffix}"
        partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        array.tofile(partial)
        partial.replace(path)


def read_bitmaps(folder: Path, firsts: Ints) -> Bits:
    """uint64 [rows, 16]: the bitmaps of these shards (named by their first rows), one after the other."""
    paths = [folder / f"{first:012d}.bits" for first in firsts.tolist()]
    whole = np.empty(
        sum(p.stat().st_size for p in paths) // 8, np.uint64
    )  # filled in place: joining files would hold them twice
    at = 0
    for path in paths:
        part = np.fromfile(path, "<u8")
        whole[at : at + len(part)] = part
        at += len(part)
    return whole.reshape(-1, BITMAP_WORDS)


class SetStore:
    """The sets of rows 0..N-1 in the files of `folder`. `firsts` names the shards in row order, `sizes` counts members.

    Calling it with pairs of rows measures them: Jaccard similarity, or NaN where bitmaps say it is below `threshold`.
    """

    def __init__(self, folder: Path, firsts: Ints, sizes: Ints, threshold: float) -> None:
        self._folder, self._firsts, self._sizes, self._threshold = folder, firsts, sizes, threshold
        before = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._starts = before[:-1]
        self._file_starts = before[firsts]
        self._bits = read_bitmaps(folder, firsts)

    def __call__(self, a: Ints, b: Ints) -> Floats:
        """The similarity of each pair, or NaN: surely below the threshold."""
        value = np.full(len(a), np.nan)
        bound = jaccard_bound(self._bits[a], self._bits[b], self._sizes[a], self._sizes[b])
        likely = np.flatnonzero(bound >= self._threshold)
        for some in chunks(self._sizes[a[likely]] + self._sizes[b[likely]]):
            x, y = a[likely[some]], b[likely[some]]
            shared = intersections(self.members(x), self._sizes[x], self.members(y), self._sizes[y])
            value[likely[some]] = similarity(shared, self._sizes[x], self._sizes[y])
        return value

    def members(self, rows: Ints) -> Words:
        """The members of these rows, one row after the other."""
        sizes = self._sizes[rows]
        targets = np.cumsum(sizes) - sizes
        found = np.empty(int(sizes.sum()), np.uint32)
        shard = np.searchsorted(self._firsts, rows, "right") - 1
        for number in np.unique(shard).tolist():
            here = np.flatnonzero(shard == number)
            # mapped for this read only: pages that stay mapped would count as memory in use
            file = np.memmap(self._folder / f"{self._firsts[number]:012d}.sets", "<u4", "r")
            source, _ = counted_ranges(self._starts[rows[here]] - self._file_starts[number], sizes[here])
            target, _ = counted_ranges(targets[here], sizes[here])
            found[target] = file[source]
            del file
        return found
