"""`select.diverse`: best first, skipping what is too near to a row already kept (Liu et al. 2024, Deita).

Walk the rows by falling score (ties by id); keep row i iff cos(x_i, x_s) <= max_similarity for every row s kept so far;
stop at the budget. No kept pair is nearer than max_similarity, and every row passed by before the end has a kept row
that is.

Exactness: similarities are float32 products of unit vectors; those within 1e-5 of the limit are computed again in
float64. Rows are looked at in blocks against all kept before, then among themselves, so that the block size has no part
in the result.

Cost: 2 M K d for M rows looked at and K kept; memory K d and a block.

Deviations, which `compat: original` undoes: with batches the authors' code drops a row for being near a batch mate that
was itself dropped; with its manhattan metric the same `>` drops the rows that are FAR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Param
from sftrecipe_diversity.budget import Budget, Budgeted, Pool, column_of, numbers
from sftrecipe_diversity.space import NEAR, SAME, cosines, drop_zeros, norms, slices, unit

__all__ = ["Diverse", "Walk", "diverse", "diverse_original"]


@dataclass
class Walk:
    """`kept` rows in order; `near` rows that were too near, the kept row each is nearest to, and the similarity."""

    kept: list[int] = field(default_factory=list)
    near: list[int] = field(default_factory=list)
    other: list[int] = field(default_factory=list)
    value: np.ndarray = field(default_factory=lambda: np.empty(0))


class _Kept:
    """Unit vectors of the rows kept so far, in one growing block."""

    def __init__(self, width: int) -> None:
        self.rows: list[int] = []
        self._units = np.empty((1024, width), dtype=np.float32)

    def add(self, rows: list[int], units: np.ndarray) -> None:
        end = len(self.rows) + len(rows)
        while end > len(self._units):
            self._units = np.concatenate([self._units, np.empty_like(self._units)])
        self._units[len(self.rows) : end] = units
        self.rows += rows

    def similarities(self, units: np.ndarray) -> np.ndarray:
        return np.asarray(units @ self._units[: len(self.rows)].T)


def diverse(
    x: np.ndarray,
    order: np.ndarray,
    max_similarity: float,
    budget: Budget,
    *,
    length: np.ndarray | None = None,
    block: int = 256,
) -> Walk:
    """The walk over x [N, d] float32 along `order` (row numbers, best first). `length` [N]: norms of x, none of them 0.

    A row that does not fit into what is left of the budget is passed over without a look at its likeness.
    """
    length = norms(x) if length is None else length
    walk, kept = Walk(), _Kept(x.shape[1])
    left = len(order) if budget.limit is None else budget.limit
    for part in slices(len(order), block):
        rows = order[part]
        if budget.cost is not None and budget.limit is not None:
            rows = rows[budget.cost[rows] <= left]
        if left <= 0:
            break
        if len(rows):
            left = _block(x, rows, unit(x[rows], length[rows]), max_similarity, budget, left, kept, walk)
    walk.kept = kept.rows
    walk.value = cosines(x, np.array(walk.near, dtype=np.int64), x, np.array(walk.other, dtype=np.int64))
    return walk


def _block(
    x: np.ndarray, rows: np.ndarray, units: np.ndarray, limit: float, budget: Budget, left: int, kept: _Kept, walk: Walk
) -> int:
    """Decides the rows of one block; returns what is left of the budget."""
    before = kept.similarities(units)
    blocked = _too_near(x, rows, np.array(kept.rows, dtype=np.int64), before, limit)
    inside = units @ units.T
    clash = _clashes(x, rows, inside, limit, np.flatnonzero(~blocked))
    chosen, near = [], []
    for at, price in enumerate([1] * len(rows) if budget.cost is None else budget.cost[rows].tolist()):
        if left <= 0:
            break
        if budget.limit is not None and price > left:
            continue
        if blocked[at]:
            near.append(at)
            continue
        chosen.append(at)
        blocked[clash[at]] = True
        left -= price if budget.limit is not None else 0
    if near:
        _explain(rows, near, chosen, before, inside, kept.rows, walk)
    kept.add(rows[chosen].tolist(), units[chosen])
    return left


def _too_near(x: np.ndarray, rows: np.ndarray, kept: np.ndarray, similar: np.ndarray, limit: float) -> np.ndarray:
    """bool [n]: a kept row is nearer than the limit. Similarities within NEAR of it are computed again."""
    if not len(kept):
        return np.zeros(len(rows), dtype=bool)
    top = similar.max(axis=1)
    out = np.asarray(top > limit + NEAR)
    for at in np.flatnonzero(~out & (top >= limit - NEAR)):
        close = np.flatnonzero(similar[at] >= limit - NEAR)
        out[at] = (cosines(x, np.full(len(close), rows[at]), x, kept[close]) > limit + SAME).any()
    return out


def _clashes(
    x: np.ndarray, rows: np.ndarray, inside: np.ndarray, limit: float, free: np.ndarray
) -> dict[int, np.ndarray]:
    """For each free row of the block, the places after it that are nearer than the limit."""
    over = np.triu(inside > limit, 1)
    a, b = np.nonzero(np.triu(np.abs(inside - limit) <= NEAR, 1))
    if len(a):
        over[a, b] = cosines(x, rows[a], x, rows[b]) > limit + SAME
    return {int(at): np.flatnonzero(over[at]) for at in free}


def _explain(
    rows: np.ndarray,
    near: list[int],
    chosen: list[int],
    before: np.ndarray,
    inside: np.ndarray,
    kept: list[int],
    walk: Walk,
) -> None:
    """Names for each near row the first of the kept rows before it that are nearest, within NEAR."""
    later = (
        np.where(np.array(chosen)[None, :] < np.array(near)[:, None], inside[np.ix_(near, chosen)], -2.0)
        if chosen
        else inside[near, :0]
    )
    all_before = np.concatenate([before[near], later], axis=1)
    first = (all_before >= all_before.max(axis=1, keepdims=True) - NEAR).argmax(axis=1)
    names = np.array(kept + rows[chosen].tolist(), dtype=np.int64)
    walk.near += rows[near].tolist()
    walk.other += names[first].tolist()


def diverse_original(
    x: np.ndarray,
    order: np.ndarray,
    threshold: float,
    size: int | None,
    *,
    batch: int = 1,
    metric: str = "cosine",
    normalize: bool = True,
) -> Walk:
    """As the authors' filter: the first row, then batches in which a row goes if any figure to a kept row or to an
    earlier batch mate, kept or not, is above the threshold. Manhattan distances (of unit vectors with `normalize`) are
    compared the same way.
    """
    length = norms(x)
    y = unit(x, np.where(length == 0, 1.0, length)) if normalize or metric == "cosine" else x.astype(np.float32)
    kept = order[:1].tolist()
    walk = Walk()
    for part in slices(max(0, len(order) - 1), batch):
        rows = order[1:][part]
        old = np.array(kept, dtype=np.int64)
        mates = np.tril(np.ones((len(rows), len(rows)), dtype=bool), -1)
        over = np.concatenate(
            [_above(y, rows, old, threshold, metric), _above(y, rows, rows, threshold, metric) & mates], axis=1
        )
        names = np.concatenate([old, rows])
        gone = over.any(axis=1)
        walk.near += rows[gone].tolist()
        walk.other += names[over[gone].argmax(axis=1)].tolist()
        kept += rows[~gone].tolist()
        if size is not None and len(kept) >= size:
            break
    walk.kept = kept if size is None else kept[:size]
    near, other = np.array(walk.near, dtype=np.int64), np.array(walk.other, dtype=np.int64)
    walk.value = (
        cosines(x, near, x, other)
        if metric == "cosine"
        else np.array([_manhattan(y, a, other[i : i + 1])[0] for i, a in enumerate(near)])
    )
    return walk


def _above(y: np.ndarray, rows: np.ndarray, others: np.ndarray, threshold: float, metric: str) -> np.ndarray:
    if metric == "manhattan":
        return np.stack([_manhattan(y, row, others) for row in rows]) > threshold
    similar = y[rows] @ y[others].T
    over = np.asarray(similar > threshold)
    a, b = np.nonzero(np.abs(similar - threshold) <= NEAR)
    if len(a):
        over[a, b] = cosines(y, rows[a], y, others[b]) > threshold
    return over


def _manhattan(y: np.ndarray, row: int, others: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(y[others].astype(np.float64) - y[row]).sum(axis=1))


class Diverse(Budgeted):
    """Keep the best rows by `by` that are not too near to a better one. Without a budget all rows are walked.

    Drops: `near` (other: the kept row it is nearest to, value: the cosine), `over_budget` (not reached, or it did not
    fit into the tokens left; value: its score), `undefined` (no score), `zero_vector` (the vector has length 0).
    """

    source = "Liu et al. 2024, What Makes Good Data for Alignment? (Deita)"
    endless = True

    by: Expr = Param(doc="A number: best first.")
    max_similarity: float = Param(
        0.9, ge=-1, doc="Highest cosine to a kept row. With `compat: original` any threshold of its metric."
    )
    embedding: Column = Param("embedding", doc="Vector column.")
    compat: Literal["original"] | None = Param(None, doc="`original`: the authors' batches and metrics.")
    batch_size: int = Param(1, ge=1, doc="With `compat: original`: rows a batch.")
    distance: Literal["cosine", "manhattan"] = Param("cosine", doc="With `compat: original`: the metric.")
    normalize: bool = Param(True, doc="With `compat: original`: unit vectors before the manhattan metric.")

    def check(self) -> Iterator[str]:
        """The authors' options need their mode."""
        yield from super().check()
        if self.compat is None and (self.batch_size, self.distance, self.normalize) != (1, "cosine", True):
            yield "`batch_size`, `distance` and `normalize` need `compat: original`"
        if self.compat is not None and self.tokens is not None:
            yield "`compat: original` knows no token budget"
        if self.distance == "cosine" and self.max_similarity > 1:
            yield "`max_similarity` is a cosine: at most 1"

    def choose(self, data: Dataset) -> Choice:
        """Best first, no near neighbours."""
        pool = self.pool(data)
        score = numbers(column_of(data, self.by), pool, f"{self.title}: `by`")
        if not len(pool):
            return pool.choice(np.empty(0, dtype=np.int64))
        walk = self._walk(data.matrix(self.embedding), score, pool)
        kept, near = np.array(walk.kept, dtype=np.int64), np.array(walk.near, dtype=np.int64)
        reached = np.zeros(len(pool), dtype=bool)
        reached[np.concatenate([kept, near])] = True
        late = np.flatnonzero(pool.alive & ~reached)
        reasons = [
            Dropped(near, "near", np.array(walk.other, dtype=np.int64), walk.value),
            Dropped(late, "over_budget", None, score[late]),
        ]
        return pool.choice(kept, reasons)

    def _walk(self, x: np.ndarray, score: np.ndarray, pool: Pool) -> Walk:
        if self.compat == "original":
            order = pool.order(-score)
            return diverse_original(
                x,
                order,
                self.max_similarity,
                self.size,
                batch=self.batch_size,
                metric=self.distance,
                normalize=self.normalize,
            )
        length = drop_zeros(pool, x)
        return diverse(x, pool.order(-score), self.max_similarity, pool.budget, length=length)
