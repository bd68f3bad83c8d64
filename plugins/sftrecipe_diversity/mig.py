"""`select.mig`: maximum information gain over a graph of tags (Chen et al. 2025, MIG).

A row with quality q and tags T is the vector v with v_t = q / |T| for t in T (`normalize: false`: q). Information
spreads along the tag graph: v' = v P, where W has 1 on the diagonal and w * sim(t, u) for tags with cosine >=
threshold, and P is W with columns that sum to 1. With x the sum of the chosen rows' v', the next row is argmax v' .
phi'(x), phi'(x) = b (x + a)^(b-1) (a = 1e-6, b = 0.8), or for `phi: exp` phi'(x) = r exp(-r x).

phi' only falls while x grows, so a row's last gain bounds its present one: lazy greedy over sparse rows, about O(K log
N) times the entries of a row, where the authors' dense code is O(K N T). Sums are float64 (there: float32); ties by id.

Deviations: a tag named twice in a row counts once.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Embedder, Expr, File, Param, StepError
from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Budget, Budgeted, Pool, column_of, numbers
from sftrecipe_diversity.greedy import Greedy, lazy_greedy
from sftrecipe_diversity.space import slices
from sftrecipe_diversity.tagsets import TagSets, tag_sets

__all__ = ["Graph", "Mig", "Rows", "information", "propagate", "read_graph", "tag_graph", "weighted_graph"]


@dataclass(frozen=True)
class Graph:
    """Edges of tags, those to themselves included: `weight` from `source` to `target`, sorted by source."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    tags: int

    def spread(self) -> Graph:
        """The same edges with weights into each target that sum to 1."""
        into = np.bincount(self.target, weights=self.weight, minlength=self.tags)
        return Graph(self.source, self.target, self.weight / into[self.target], self.tags)


@dataclass(frozen=True)
class Rows:
    """Sparse rows: row i has `values[starts[i]:starts[i+1]]` at `tags[...]`."""

    starts: np.ndarray
    tags: np.ndarray
    values: np.ndarray


def tag_graph(vectors: np.ndarray | None, tags: int, threshold: float, weight: float = 1.0) -> Graph:
    """Tags joined where the cosine of their vectors [T, d] is at least `threshold`; edges between tags are scaled by
    `weight`.

    Without vectors every tag stands alone. Cost: 2 T^2 d, float64, in blocks.
    """
    own = np.arange(tags)
    source, target, value = [own], [own], [np.ones(tags)]
    if vectors is not None:
        y = vectors.astype(np.float64)
        size = np.sqrt(np.einsum("ij,ij->i", y, y))
        y /= np.where(size == 0, 1.0, size)[:, None]
        for part in slices(tags, 1024):
            close = y[part] @ y.T
            a, b = np.nonzero(close >= threshold - 1e-12)
            keep = (a + part.start != b) & (close[a, b] > 0)
            source.append(a[keep] + part.start)
            target.append(b[keep])
            value.append(weight * close[a, b][keep])
    s, t, v = np.concatenate(source), np.concatenate(target), np.concatenate(value)
    order = np.lexsort((t, s))
    return Graph(s[order], t[order], v[order], tags)


def weighted_graph(weights: np.ndarray, weight: float = 1.0) -> Graph:
    """The edges of a matrix [T, T], those between tags scaled by `weight`; a tag without one to itself gets 1."""
    scaled = np.where(np.eye(len(weights), dtype=bool), np.where(weights == 0, 1.0, weights), weight * weights)
    source, target = np.nonzero(scaled)
    return Graph(source, target, scaled[source, target], len(weights))


def propagate(tags: TagSets, quality: np.ndarray, graph: Graph, *, normalize: bool = True) -> Rows:
    """The rows' vectors after one step along the graph, as sparse rows."""
    owner = np.repeat(np.arange(len(tags.counts)), tags.counts)
    value = quality[owner] / (tags.counts[owner] if normalize else 1)
    spread = graph.spread()
    starts = np.searchsorted(spread.source, np.arange(graph.tags + 1))
    fan = np.diff(starts)[tags.codes]
    edge = np.repeat(starts[tags.codes], fan) + np.arange(int(fan.sum())) - np.repeat(np.cumsum(fan) - fan, fan)
    cell = np.repeat(owner, fan) * graph.tags + spread.target[edge]
    cells, place = np.unique(cell, return_inverse=True)
    values = np.bincount(place, weights=np.repeat(value, fan) * spread.weight[edge], minlength=len(cells))
    rows = np.searchsorted(cells, np.arange(len(tags.counts) + 1) * graph.tags)
    return Rows(rows, cells % graph.tags, values)


def information(
    rows: Rows,
    among: np.ndarray,
    tags: int,
    budget: Budget,
    *,
    phi: str = "pow",
    a: float = 1e-6,
    b: float = 0.8,
    rate: float = 1.0,
    tie: np.ndarray | None = None,
) -> tuple[Greedy, np.ndarray]:
    """(the greedy choice among the rows `among`, every row's gain at the end). Information in `rows` must not be
    negative.
    """
    held = np.zeros(tags)

    def slope(x: Any) -> Any:
        return b * (x + a) ** (b - 1) if phi == "pow" else rate * np.exp(-rate * x)

    now = np.asarray(slope(held))

    def edges(row: int) -> slice:
        return slice(int(rows.starts[row]), int(rows.starts[row + 1]))

    def gain(row: int) -> float:
        at = edges(row)
        return float(rows.values[at] @ now[rows.tags[at]])

    def add(row: int) -> None:
        at = edges(row)
        touched = rows.tags[at]
        held[touched] += rows.values[at]
        now[touched] = slope(held[touched])

    def all_gains() -> np.ndarray:
        owner = np.repeat(np.arange(len(rows.starts) - 1), np.diff(rows.starts))
        return np.bincount(owner, weights=rows.values * now[rows.tags], minlength=len(rows.starts) - 1)

    tie = np.arange(len(rows.starts) - 1) if tie is None else tie
    made = lazy_greedy(all_gains(), among, gain, add, budget, tie=tie)
    return made, all_gains()


class Mig(Budgeted):
    """Keep the rows that add most information: good rows whose tags, and tags like them, are not yet well covered.

    The tag graph comes from `model` (an embedder reads the tags) or `graph` (a file); without either every tag stands
    alone. Drops: `not_chosen` (value: the gain it would still bring), `no_tags`,
    `undefined` (no quality), `over_budget` (it did not fit into the tokens left). A pool without any tag, or a negative
    quality, is an error.
    """

    source = "Chen et al. 2025, MIG: Data Selection by Maximizing Information Gain in Semantic Space"

    wants: ClassVar[Mapping[str, str]] = {"by": "number"}

    by: Expr = Param("quality", doc="Quality of a row: a number, 0 or more.")
    tags: Column = Param("tags", doc="List-of-text column.")
    model: Embedder | None = Param(None, doc="Embeds the tags for the graph.")
    graph: File | None = Param(
        None, doc="Or: .npz with `tags` (text [T]) and `vectors` [T, d] or `weights` [T, T]; other tags stand alone."
    )
    threshold: float = Param(0.9, gt=0, le=1, doc="Smallest cosine of two joined tags.")
    spread: float = Param(1.0, ge=0, doc="Weight of edges between tags, against 1 for a tag itself.")
    normalize: bool = Param(True, doc="Divide a row's quality among its tags.")
    phi: Literal["pow", "exp"] = Param("pow", doc="How returns diminish: (x + offset)^power, or 1 - exp(-rate x).")
    power: float = Param(0.8, gt=0, lt=1, doc="b of `phi: pow`.")
    offset: float = Param(1e-6, gt=0, doc="a of `phi: pow`.")
    rate: float = Param(1.0, gt=0, doc="r of `phi: exp`.")

    def check(self) -> Iterator[str]:
        """One source of the graph."""
        yield from super().check()
        if self.model is not None and self.graph is not None:
            yield "give `model` or `graph` for the tags, not both"

    def choose(self, data: Dataset) -> Choice:
        """By information gain."""
        pool = self.pool(data)
        tags = tag_sets(column_of(data, self.tags), f"{self.title}: `tags`")
        if len(pool) and not tags.names:
            raise StepError(
                f"{self.title}: no row has a tag in `{self.tags}`", help="tag the rows first (tag.judge, tag.normalize)"
            )
        pool.let_go(tags.counts == 0, "no_tags")
        quality = numbers(column_of(data, self.by), pool, f"{self.title}: `by`")
        if (quality[pool.alive] < 0).any():
            raise StepError(
                f"{self.title}: `by` gives negative numbers; information cannot be negative",
                help="shift or clip the score",
            )
        graph = self._graph(tags.names)
        rows = propagate(tags, np.where(pool.alive, quality, 0.0), graph, normalize=self.normalize)
        return self._choice(pool, rows, len(tags.names))

    def _choice(self, pool: Pool, rows: Rows, tags: int) -> Choice:
        made, still = information(
            rows,
            np.flatnonzero(pool.alive),
            tags,
            pool.budget,
            phi=self.phi,
            a=self.offset,
            b=self.power,
            rate=self.rate,
            tie=pool.tie,
        )
        return pool.choice(made.kept, [Dropped(made.passed, "over_budget", None, still[made.passed])], value=still)

    def _graph(self, names: list[str]) -> Graph:
        if self.model is not None:
            rows = self.model.fit_rows
            vectors = self.model.embed(names, self.model.fit(names[:rows]) if rows else None)
            return tag_graph(vectors, len(names), self.threshold, self.spread)
        if self.graph is None:
            return tag_graph(None, len(names), self.threshold)
        known, kind, values = read_graph(Path(self.graph))
        place = {name: at for at, name in enumerate(known)}
        here = np.array([place.get(name, -1) for name in names])
        if kind == "vectors":
            vectors = np.where((here >= 0)[:, None], values[here], 0.0)
            return tag_graph(vectors, len(names), self.threshold, self.spread)
        weights = np.where((here[:, None] >= 0) & (here[None, :] >= 0), values[np.ix_(here, here)], 0.0)
        return weighted_graph(weights, self.spread)


def read_graph(path: Path) -> tuple[list[str], str, np.ndarray]:
    """(tags, "vectors" or "weights", numbers [T, d] or [T, T]) of an .npz. Raises StepError for anything else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            kind = "weights" if "weights" in file.files else "vectors"
            tags, values = np.asarray(file["tags"]).astype(str).tolist(), np.asarray(file[kind], dtype=np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StepError(f"{path}: {error}", help="an .npz with `tags`, and `vectors` or `weights`") from error
    square = values.ndim == 2 and (kind == "vectors" or values.shape[1] == len(tags))
    if not square or not len(tags) or len(values) != len(tags) or not np.isfinite(values).all():
        raise StepError(f"{path}: `{kind}` has shape {values.shape} for {len(tags)} tags; finite numbers are needed")
    if kind == "weights" and (values < 0).any():
        raise StepError(f"{path}: `weights` holds negative numbers")
    return tags, kind, values
