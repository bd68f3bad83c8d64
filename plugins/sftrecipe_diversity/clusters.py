"""`select.clusters`: k-means over vectors, then a share for every cluster by quality.

`rule: top` (Ge et al. 2024, CaR): the `each` best rows of every cluster, then the best of all that is left until the
budget is spent. For a budget of K rows this is CaR's union of the top n1 overall and the top n2 of each cluster
whenever the union has K rows; `overall: n1` instead of a budget gives that union itself. Authors: k = sqrt(N / 2),
`variance: 0.95`, n1 = 1000, n2 = 1.

`rule: middle` (Li et al. 2024, IFD's pre-experience): of every cluster the rows between the `low` and `high` percentile
of `by`, every (n // each)-th of the n of them, `each` in all (in id order). Authors: k = 100, each = 10, 25 to 75.

k-means (`kmeans.py`) is seeded by the step and goes over rows in id order, so that neither the order of rows nor
threads matter; float32 sums may differ between machines, hence `approximate`. Cost: 2 N k d a pass, one copy of the
vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Param
from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Budget, Budgeted, Pool, column_of, numbers
from sftrecipe_diversity.kmeans import k_means, principal
from sftrecipe_diversity.space import drop_zeros

__all__ = ["Clusters", "best_of_each", "by_cluster", "middle"]


def by_cluster(order: np.ndarray, label: np.ndarray) -> list[np.ndarray]:
    """Rows of each cluster in the given order; clusters by number, empty ones left out."""
    own = label[order]
    sorted_rows = order[np.argsort(own, kind="stable")]
    return [g for g in np.split(sorted_rows, np.flatnonzero(np.diff(np.sort(own))) + 1) if len(g)]


def best_of_each(order: np.ndarray, label: np.ndarray, each: int) -> np.ndarray:
    """The first `each` rows of every cluster along `order` (best first): first all the best, then all the second best,
    and so on.
    """
    groups = by_cluster(order, label)
    place = np.full(int(order.max(initial=-1)) + 1, len(order))
    place[order] = np.arange(len(order))
    turns = [np.array([g[at] for g in groups if len(g) > at], dtype=np.int64) for at in range(each)]
    return np.asarray(np.concatenate([t[np.argsort(place[t])] for t in turns] or [order[:0]]))


def middle(rows: np.ndarray, values: np.ndarray, each: int, low: float = 25, high: float = 75) -> np.ndarray:
    """Of the rows of one cluster: all if fewer than `each`, else those between the percentiles of `values` [N], evenly
    `each` of them.
    """
    if len(rows) < each:
        return rows
    bounds = np.percentile(values[rows], [low, high])
    inside = rows[(values[rows] >= bounds[0]) & (values[rows] <= bounds[1])]
    return np.asarray(inside if len(inside) < each else inside[:: len(inside) // each][:each])


class Clusters(Budgeted):
    """Keep rows of every cluster: the best (`top`) or those of middling value (`middle`).

    Drops: `not_chosen` (other: the first row chosen from its cluster, value: its own figure), `over_budget` (it did not
    fit into the tokens left), `undefined` (no figure), `zero_vector` (the vector has length 0).
    """

    source = "Ge et al. 2024, Clustering and Ranking (CaR); Li et al. 2024, From Quantity to Quality (IFD)"
    version = 2
    approximate = True
    endless = True

    wants: ClassVar[Mapping[str, str]] = {"by": "number"}

    by: Expr = Param(doc="A number: quality for `top`, what should be middling for `middle`.")
    embedding: Column = Param("embedding", doc="Vector column.")
    clusters: int | None = Param(None, ge=1, doc="How many clusters. Default: the square root of half the rows.")
    rule: Literal["top", "middle"] = Param("top", doc="Which rows of a cluster.")
    each: int = Param(1, ge=1, doc="Rows of each cluster that come first.")
    overall: int | None = Param(
        None, ge=0, doc="With `rule: top`, instead of a budget: so many best rows of all, beside `each`."
    )
    low: float = Param(25.0, ge=0, le=100, doc="`middle`: lower percentile.")
    high: float = Param(75.0, ge=0, le=100, doc="`middle`: upper percentile.")
    variance: float | None = Param(
        None, gt=0, lt=1, doc="Cluster over the principal components that explain this share of the variance."
    )

    def check(self) -> Iterator[str]:
        """`top` needs to know how many."""
        yield from super().check()
        budget = self.size is not None or self.tokens is not None
        if self.rule == "top" and budget == (self.overall is not None):
            yield "`rule: top` needs a budget (`size` or `tokens`) or `overall`, one of them"
        if self.rule == "middle" and self.overall is not None:
            yield "`overall` belongs to `rule: top`"
        if self.low > self.high:
            yield "`low` is above `high`"

    def choose(self, data: Dataset) -> Choice:
        """Cluster, then by rule."""
        pool = self.pool(data)
        value = numbers(column_of(data, self.by), pool, f"{self.title}: `by`")
        if not len(pool):
            return pool.choice(np.empty(0, dtype=np.int64))
        label = self._labels(np.asarray(data.matrix(self.embedding)), pool)
        best = pool.order(-value)
        if self.rule == "top":
            kept, passed = self._top(best, label, pool.budget)
        else:
            picks = [middle(rows, value, self.each, self.low, self.high) for rows in by_cluster(pool.order(), label)]
            kept, passed = pool.budget.spend(np.concatenate(picks or [best[:0]]))
        return self._choice(pool, kept, passed, label, value)

    def _top(self, best: np.ndarray, label: np.ndarray, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
        first = best_of_each(best, label, self.each)
        rest = best if self.overall is None else best[: self.overall]
        return budget.spend(np.concatenate([first, rest[~np.isin(rest, first)]]))

    def _labels(self, x: np.ndarray, pool: Pool) -> np.ndarray:
        drop_zeros(pool, x)
        label = np.full(len(pool), -1, dtype=np.int64)
        rows = pool.order()
        if len(rows):
            count = self.clusters or max(1, math.isqrt(len(rows) // 2))
            own = x[rows] if self.variance is None else principal(x[rows], self.variance)
            label[rows] = k_means(own, count, self.context.seed)
        return label

    def _choice(self, pool: Pool, kept: np.ndarray, passed: np.ndarray, label: np.ndarray, value: np.ndarray) -> Choice:
        first = np.full(int(label.max(initial=-1)) + 2, -1, dtype=np.int64)
        for row in kept[::-1].tolist():
            first[label[row]] = row
        other = np.where(label >= 0, first[label], -1)
        if pool.budget.cost is None:
            passed = passed[:0]
        return pool.choice(
            kept, [Dropped(passed, "over_budget", other[passed], value[passed])], other=other, value=value
        )
