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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Param
from sftrecipe.lazy import np
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


class _Walker:
    """The rows kept so far, their unit vectors in one growing block, and what is left of the budget."""

    def __init__(self, x: np.ndarray, length: np.ndarray, limit: float, budget: Budget) -> None:
        self.x, self.length, self.limit, self.budget = x, length, limit, budget
        self.left = len(x) if budget.limit is None else budget.limit
        self.walk = Walk()
        self._units = np.empty((1024, x.shape[1]), dtype=np.float32)

    def block(self, rows: np.ndarray) -> None:
        """Decides these rows, in order."""
        prices = [0 if self.budget.limit is None else self.budget.price(r) for r in rows.tolist()]
        units = unit(self.x[rows], self.length[rows])
        before = units @ self._units[: len(self.walk.kept)].T
        inside = units @ units.T
        blocked, clash = self._too_near(rows, before), self._clashes(rows, inside)
        chosen, near = [], []
        for at, price in enumerate(prices):
            if self.left <= 0:
                break
            if price > self.left:
                continue
            if blocked[at]:
                near.append(at)
                continue
            chosen.append(at)
            self.left -= price
            blocked |= clash[at]  # of rows before this one, decided already, nothing more is asked
        self._explain(rows, near, chosen, before, inside)
        self._keep(rows[chosen].tolist(), units[chosen])

    def _keep(self, rows: list[int], units: np.ndarray) -> None:
        start = len(self.walk.kept)
        while start + len(rows) > len(self._units):
            self._units = np.concatenate([self._units, np.empty_like(self._units)])
        self._units[start : start + len(rows)] = units
        self.walk.kept += rows

    def _too_near(self, rows: np.ndarray, similar: np.ndarray) -> np.ndarray:
        """bool [n]: a kept row is nearer than the limit. Similarities within NEAR of it are computed again."""
        kept = np.array(self.walk.kept, dtype=np.int64)
        top = similar.max(axis=1, initial=-2.0)
        out = np.asarray(top > self.limit + NEAR)
        for at in np.flatnonzero(~out & (top >= self.limit - NEAR)):
            close = np.flatnonzero(similar[at] >= self.limit - NEAR)
            exact = cosines(self.x, np.full(len(close), rows[at]), self.x, kept[close])
            out[at] = (exact > self.limit + SAME).any()
        return out

    def _clashes(self, rows: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """bool [n, n], right above the diagonal: rows of the block that are nearer than the limit."""
        over = np.asarray(inside > self.limit)
        a, b = np.nonzero(np.abs(inside - self.limit) <= NEAR)
        a, b = a[a < b], b[a < b]
        if len(a):
            over[a, b] = cosines(self.x, rows[a], self.x, rows[b]) > self.limit + SAME
        return over

    def _explain(
        self, rows: np.ndarray, near: list[int], chosen: list[int], before: np.ndarray, inside: np.ndarray
    ) -> None:
        """Names for each near row the first of the kept rows before it that are nearest, within NEAR."""
        if not near:
            return
        later = inside[near][:, chosen]
        later[np.array(chosen, dtype=np.int64)[None, :] > np.array(near)[:, None]] = -2.0
        similar = np.concatenate([before[near], later], axis=1)
        first = (similar >= similar.max(axis=1, keepdims=True) - NEAR).argmax(axis=1)
        names = np.array(self.walk.kept + rows[chosen].tolist(), dtype=np.int64)
        self.walk.near += rows[near].tolist()
        self.walk.other += names[first].tolist()


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
    walker = _Walker(x, norms(x) if length is None else length, max_similarity, budget)
    for part in slices(len(order), block):
        rows = order[part]
        if budget.cost is not None and budget.limit is not None:
            rows = rows[budget.cost[rows] <= walker.left]
        if walker.left <= 0:
            break
        if len(rows):
            walker.block(rows)
    walk = walker.walk
    near, other = np.array(walk.near, dtype=np.int64), np.array(walk.other, dtype=np.int64)
    walk.value = np.round(cosines(x, near, x, other), 9)
    return walk


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

    wants: ClassVar[Mapping[str, str]] = {"by": "number"}

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
        walk = self._walk(np.asarray(data.matrix(self.embedding)), score, pool)
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
