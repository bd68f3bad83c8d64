"""Groups of rows that belong together, and which row of a group stays.

Rows are joined by pairs (a, b). A group is a connected component of the pairs: `join` keeps, for every row, the
smallest row number of its group. Hooking to the smaller root with pointer jumping (Shiloach, Vishkin 1982, on arrays);
about log(rows) passes of 5 ns a row.

Which row stays is a matter of `rank`, a permutation of the rows, best first (`preference`):

    first    the row that comes first
    longest  the row with the most characters, of equals the first
    best     the row with the highest score, of equals the first; a row without a score comes last
    strictest  the row with the strictest licence, of equals the first
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftrecipe.lazy import np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["join", "kept_of_group", "kept_of_pairs", "preference", "runs"]


def join(labels: Ints, a: Ints, b: Ints) -> None:
    """Joins the groups of each pair, in place. `labels` begins as arange and holds each row's smallest group member."""
    while True:
        of_a, of_b = labels[a], labels[b]
        apart = of_a != of_b
        if not apart.any():
            return
        low, high = np.minimum(of_a, of_b)[apart], np.maximum(of_a, of_b)[apart]
        np.minimum.at(labels, high, low)
        while True:
            further = labels[labels]
            if np.array_equal(further, labels):
                break
            labels[:] = further


def preference(rows: int, worth: Floats | None) -> Ints:
    """rank[row]: 0 for the row to keep before all others. Higher `worth` first (NaN last), then the smaller number."""
    if worth is None:
        return np.arange(rows, dtype=np.int64)
    order = np.argsort(-worth, kind="stable")
    rank = np.empty(rows, np.int64)
    rank[order] = np.arange(rows)
    return rank


def kept_of_group(labels: Ints, rank: Ints) -> Ints:
    """For each row, the row of its group with the least rank (itself if it stands alone)."""
    least = np.full(len(labels), len(labels), np.int64)
    np.minimum.at(least, labels, rank)
    row_of = np.empty(len(rank), np.int64)
    row_of[rank] = np.arange(len(rank))
    kept: Ints = row_of[least[labels]]
    return kept


def kept_of_pairs(a: Ints, b: Ints, value: Floats, rank: Ints) -> tuple[Ints, Floats]:
    """(kept, value): a row goes only for a kept row that it forms a pair with, the most alike; else itself and NaN.

    Greedy in order of rank: a row stays if no pair joins it to a row that stayed before.
    """
    kept = np.arange(len(rank), dtype=np.int64)
    alike = np.full(len(rank), np.nan)
    worse, better = np.where(rank[a] > rank[b], a, b), np.where(rank[a] > rank[b], b, a)
    order = np.lexsort((rank[better], -value, rank[worse]))
    for row, other, how in zip(worse[order].tolist(), better[order].tolist(), value[order].tolist(), strict=True):
        if kept[row] == row and kept[other] == other:
            kept[row], alike[row] = other, how
    return kept, alike


def runs(values: npt.NDArray[np.generic]) -> tuple[Ints, Ints]:
    """(starts, lengths) of the runs of equal neighbours."""
    if not len(values):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return starts, np.diff(np.append(starts, len(values)))
