"""Lazy greedy choice for gains that can only fall (Minoux 1978): a row's last known gain bounds its present one.

Gains are compared after rounding to ten digits of the largest first gain, so that sums which differ in the last bits
tie, and ties go to the smaller id. Cost: a heap of N, and as many fresh gains as are asked for, in practice a few for
each row chosen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Budget

__all__ = ["Greedy", "lazy_greedy"]


@dataclass(frozen=True)
class Greedy:
    """`kept` rows in order with the `gains` each brought; `passed` rows did not fit into the budget."""

    kept: np.ndarray
    gains: np.ndarray
    passed: np.ndarray


def lazy_greedy(
    bounds: np.ndarray,
    rows: np.ndarray,
    gain: Callable[[int], float],
    add: Callable[[int], None],
    budget: Budget,
    *,
    tie: np.ndarray,
) -> Greedy:
    """Again and again the one of `rows` with the largest gain. `bounds` [N] are the gains before anything is chosen.

    `gain(row)` is its gain now; `add(row)` makes it chosen.
    """
    scale = float(np.abs(bounds[rows]).max(initial=0.0)) or 1.0
    keys = np.round(bounds[rows] / scale, 10)
    heap = list(zip((-keys).tolist(), tie[rows].tolist(), rows.tolist(), [0] * len(rows), strict=True))
    heapq.heapify(heap)
    left = len(rows) if budget.limit is None else budget.limit
    kept: list[int] = []
    gains: list[float] = []
    passed: list[int] = []
    while heap and left > 0:
        key, place, row, fresh = heap[0]
        price = budget.price(row)
        if price > left:
            passed.append(row)
            heapq.heappop(heap)
        elif fresh == len(kept):
            heapq.heappop(heap)
            add(row)
            kept.append(row)
            gains.append(-key * scale)
            left -= price
        else:
            heapq.heapreplace(heap, (-round(gain(row) / scale, 10), place, row, len(kept)))
    if budget.cost is not None:
        passed += [row for _, _, row, _ in heap]
    return Greedy(np.array(kept, dtype=np.int64), np.array(gains), np.array(sorted(passed), dtype=np.int64))
