"""`select.facility`: rows that stand for the whole pool, with a quality term (Bukharin et al. 2024, QDIT).

Formula: F(S) = (1 - alpha) sum_v max(0, max_{s in S} sim(v, s)) + alpha sum_{s in S} q_s, chosen greedily by gain. q is
`by`, scaled over the pool to 0..1. F is monotone and submodular, so the greedy value is at least (1 - 1/e) of the best
for the same number of rows.

Kernels: cosine; euclidean exp(-|v - s| / d) with d the width of the vectors (what submodlib computes; almost flat for
wide vectors: at d = 384 all values of unit vectors are above 0.994).

Up to `exact_up_to` rows all N^2 similarities are held (float64, N = 5,000: 200 MB). Above, only each row's `neighbors`
nearest rows count (float32 products, float64 for those that matter), 2 N^2 d operations and 8 bytes an edge, no N x N
matrix.

Deviation from QDIT's paper: quality is scaled, so that alpha means the same for any score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Param
from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Budget, Budgeted, Pool, column_of, numbers
from sftrecipe_diversity.greedy import Greedy, lazy_greedy
from sftrecipe_diversity.space import drop_zeros, nearest, slices

__all__ = ["Dense", "Facility", "Sparse", "facility", "kernel", "neighbours"]


class Dense:
    """Facility location over a full similarity matrix, float64 [N, N], symmetric."""

    def __init__(self, similar: np.ndarray) -> None:
        self.similar = similar
        self.cover = np.zeros(len(similar))
        self.chosen = np.full(len(similar), -1, dtype=np.int64)

    def first(self) -> np.ndarray:
        """Each row's gain before anything is chosen."""
        return np.concatenate(
            [np.maximum(self.similar[p], 0).sum(axis=1) for p in slices(len(self.similar), 512)] or [np.empty(0)]
        )

    def gain(self, row: int) -> float:
        """How much better the pool would be covered."""
        return float(np.maximum(self.similar[row] - self.cover, 0).sum())

    def add(self, row: int) -> None:
        """The row stands for those it is nearest to."""
        better = self.similar[row] > self.cover
        self.cover[better] = self.similar[row][better]
        self.chosen[better] = row


class Sparse:
    """Facility location where row v can only be covered by its nearest rows: edges (v, s) with their similarity,
    grouped by s.
    """

    def __init__(self, covered: np.ndarray, by: np.ndarray, similar: np.ndarray, n: int) -> None:
        order = np.argsort(by, kind="stable")
        self.covered, self.similar = covered[order], similar[order]
        self.starts = np.searchsorted(by[order], np.arange(n + 1))
        self._first = np.bincount(by, weights=np.maximum(similar, 0), minlength=n)
        self.cover = np.zeros(n)
        self.chosen = np.full(n, -1, dtype=np.int64)

    def first(self) -> np.ndarray:
        """Each row's gain before anything is chosen."""
        return self._first

    def gain(self, row: int) -> float:
        """How much better the pool would be covered."""
        edges = slice(self.starts[row], self.starts[row + 1])
        return float(np.maximum(self.similar[edges] - self.cover[self.covered[edges]], 0).sum())

    def add(self, row: int) -> None:
        """The row stands for those it is nearest to."""
        edges = slice(self.starts[row], self.starts[row + 1])
        better = self.similar[edges] > self.cover[self.covered[edges]]
        rows = self.covered[edges][better]
        self.cover[rows] = self.similar[edges][better]
        self.chosen[rows] = row


def kernel(x: np.ndarray, length: np.ndarray, name: str) -> np.ndarray:
    """All similarities of x [N, d], float64 [N, N]: `cosine`, or `euclidean` exp(-distance / d)."""
    y = x.astype(np.float64)
    if name == "cosine":
        y /= length[:, None]
        return np.asarray(y @ y.T)
    square = np.einsum("ij,ij->i", y, y)
    out = y @ y.T
    out *= -2
    out += square
    out += square[:, None]
    np.maximum(out, 0, out=out)
    np.fill_diagonal(out, 0)
    np.sqrt(out, out=out)
    out /= -x.shape[1]
    return np.asarray(np.exp(out, out=out))


def neighbours(
    x: np.ndarray, rows: np.ndarray, k: int, name: str = "cosine", *, length: np.ndarray, tie: np.ndarray
) -> Sparse:
    """The sparse form over `rows` of x: each row's k nearest by cosine, itself included."""
    size = np.full(len(x), np.inf)
    size[rows] = length[rows]
    covered, by, similar = [], [], []
    for part in slices(len(rows), 4096):
        asked = rows[part]
        for inner, found, cosine in nearest(x[asked], x, k, length=size, tie=tie):
            owner = np.repeat(asked[inner], found.shape[1])
            covered.append(owner.astype(np.int32))
            by.append(found.ravel().astype(np.int32))
            similar.append(
                (
                    cosine.ravel()
                    if name == "cosine"
                    else _flat(length, owner, found.ravel(), cosine.ravel(), x.shape[1])
                ).astype(np.float32)
            )
    return Sparse(np.concatenate(covered), np.concatenate(by), np.concatenate(similar), len(x))


def _flat(length: np.ndarray, a: np.ndarray, b: np.ndarray, cosine: np.ndarray, width: int) -> np.ndarray:
    square = length[a] ** 2 + length[b] ** 2 - 2 * cosine * length[a] * length[b]
    return np.asarray(np.exp(-np.sqrt(np.maximum(square, 0)) / width))


def facility(
    cover: Dense | Sparse,
    budget: Budget,
    *,
    quality: np.ndarray | None = None,
    alpha: float = 0.0,
    rows: np.ndarray | None = None,
    tie: np.ndarray | None = None,
) -> Greedy:
    """Greedy choice over `rows` (default: all). `quality` [N] counts with weight alpha, coverage with 1 - alpha."""
    n = len(cover.cover)
    bonus = np.zeros(n) if quality is None else alpha * quality
    weight = 1.0 if quality is None else 1.0 - alpha
    rows = np.arange(n) if rows is None else rows
    tie = np.arange(n) if tie is None else tie
    return lazy_greedy(
        weight * cover.first() + bonus,
        rows,
        lambda row: weight * cover.gain(row) + float(bonus[row]),
        cover.add,
        budget,
        tie=tie,
    )


class Facility(Budgeted):
    """Keep the rows that best represent the pool; with `by`, good rows count more. 100 rows are the first 100 of 200.

    Drops: `not_chosen` (other: the chosen row that stands for it, value: their similarity), `over_budget` (the same, it
    did not fit into the tokens left), `undefined` (no quality), `zero_vector` (the vector has length 0).
    """

    source = "Bukharin et al. 2024, Data Diversity Matters for Robust Instruction Tuning (QDIT)"

    wants: ClassVar[Mapping[str, str]] = {"by": "number"}

    embedding: Column = Param("embedding", doc="Vector column.")
    by: Expr | None = Param(None, doc="Quality: a number, the higher the better; scaled to 0..1 over the pool.")
    alpha: float = Param(0.5, ge=0, le=1, doc="Weight of quality, where `by` is given; coverage has 1 - alpha.")
    kernel: Literal["cosine", "euclidean"] = Param(
        "cosine", doc="Similarity; `euclidean` is submodlib's exp(-distance / width)."
    )
    exact_up_to: int = Param(5000, ge=0, doc="Pools up to this many rows use all similarities (8 N^2 bytes).")
    neighbors: int = Param(64, ge=1, doc="Above: only so many nearest rows of each row count.")

    def choose(self, data: Dataset) -> Choice:
        """By gain."""
        pool = self.pool(data)
        quality = None if self.by is None else numbers(column_of(data, self.by), pool, f"{self.title}: `by`")
        if not len(pool):
            return pool.choice(np.empty(0, dtype=np.int64))
        x = np.asarray(data.matrix(self.embedding))
        length = drop_zeros(pool, x)
        rows = np.flatnonzero(pool.alive)
        if not len(rows):
            return pool.choice(rows)
        if quality is not None:
            low, high = quality[rows].min(), quality[rows].max()
            quality = (quality - low) / (high - low) if high > low else np.zeros(len(quality))
        return self._choose(x, length, rows, quality, pool)

    def _choose(
        self, x: np.ndarray, length: np.ndarray, rows: np.ndarray, quality: np.ndarray | None, pool: Pool
    ) -> Choice:
        cover: Dense | Sparse
        if len(rows) <= self.exact_up_to:
            similar = kernel(x[rows], length[rows], self.kernel)
            cost = pool.budget.cost
            inner = Budget(pool.budget.limit, None if cost is None else cost[rows])
            cover = Dense(similar)
            made = facility(
                cover, inner, quality=None if quality is None else quality[rows], alpha=self.alpha, tie=pool.tie[rows]
            )
            other, value = np.full(len(pool), -1, dtype=np.int64), np.full(len(pool), np.nan)
            other[rows] = np.where(cover.chosen < 0, -1, rows[cover.chosen])
            value[rows] = cover.cover
            kept, passed = rows[made.kept], rows[made.passed]
        else:
            cover = neighbours(x, rows, self.neighbors, self.kernel, length=length, tie=pool.tie)
            made = facility(cover, pool.budget, quality=quality, alpha=self.alpha, rows=rows, tie=pool.tie)
            other, value, kept, passed = cover.chosen, cover.cover, made.kept, made.passed
        value = np.where(other < 0, np.nan, np.round(value, 6))
        return pool.choice(
            kept, [Dropped(passed, "over_budget", other[passed], value[passed])], other=other, value=value
        )
