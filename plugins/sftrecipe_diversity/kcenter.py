"""`select.kcenter`: rows far from one another, by greedy k-center (Wu et al. 2023, DiverseEvol; Gonzalez 1985).

Formula: with S the rows chosen so far, the next is argmax_i min_{s in S} |x_i - x_s|^2 over the vectors x [N, d] as
they are (not normalised); ties go to the smaller id. The largest distance left is at most twice the best possible for
the same number of rows.

Exactness: distances are float32 products; rows within 1e-5 (times the largest squared norm) of the maximum are compared
again in float64, lazily: a row's last exact distance is an upper bound of its present one.

Speed: the next rows are guessed. The B rows farthest now get their distances to all rows in one matrix product, and
picks use them as long as the maximum stays among the guessed; B follows the hit rate. Cost O(N d) a pick, memory O(N
B), no N x N matrix.

Deviations from the original, which `compat: original` undoes: squared distances that rounding makes negative are 0
(there: NaN, which its argmax takes for the farthest, so that copies of chosen rows are picked first); ties by id, not
by place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, File, Flow, Given, Param, StepError, Taken
from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Budget, Budgeted, Pool, column_of, flags
from sftrecipe_diversity.draws import uniform
from sftrecipe_diversity.exchange import give_rows, read_ids, take_vectors
from sftrecipe_diversity.space import NEAR, SAME, distances, drop_zeros, medoid, norms, slices, whiten

__all__ = ["Centres", "KCenter", "k_center", "k_center_original"]

_FAR = 64


@dataclass(frozen=True)
class Centres:
    """`kept`: rows in order of choice. `nearest` [N]: the chosen row nearest to each, -1 without any. `passed`: did not
    fit.
    """

    kept: np.ndarray
    nearest: np.ndarray
    passed: np.ndarray


class _Field:
    """Squared distances of all rows to their nearest centre: float32 for all, float64 (lazily) where a decision needs
    it.
    """

    def __init__(self, x: np.ndarray, tie: np.ndarray, alive: np.ndarray) -> None:
        self.x, self.tie = x, tie
        self.square = (norms(x) ** 2).astype(np.float32)
        scale = float(self.square[alive].max(initial=0.0)) or 1.0
        self.doubt, self.same = np.float32(NEAR * scale), SAME * scale
        self.gap = np.where(alive, np.float32(np.inf), np.float32(-np.inf))
        self.mark = np.full(len(x), np.inf, dtype=np.float32)
        self.nearest = np.full(len(x), -1, dtype=np.int64)
        self.exact = np.full(len(x), np.inf)
        self.seen = np.zeros(len(x), dtype=np.int64)
        self.chosen: list[int] = []
        self._centres = np.empty((64, x.shape[1]), dtype=np.float32)

    def rows_to(self, rows: np.ndarray) -> np.ndarray:
        """Squared distances [len(rows), N], float32, none below 0."""
        out = self.x[rows] @ self.x.T
        out *= -2
        out += self.square
        out += self.square[rows][:, None]
        return np.asarray(np.maximum(out, 0, out=out))

    def add(self, row: int, gaps: np.ndarray) -> None:
        """`row` becomes a centre; `gaps` [N] are its squared distances."""
        if len(self.chosen) == len(self._centres):
            self._centres = np.concatenate([self._centres, np.empty_like(self._centres)])
        self._centres[len(self.chosen)] = self.x[row]
        self.chosen.append(row)
        np.minimum(self.gap, gaps, out=self.gap)
        # the first centre within the doubt of the nearest, so that equal distances name the same row on every machine
        closer = np.flatnonzero(gaps < self.mark - self.doubt)
        self.mark[closer] = gaps[closer]
        self.nearest[closer] = row
        self.gap[row] = -np.inf

    def farthest(self) -> int:
        """The open row farthest from all centres, exactly; -1 when none is open."""
        top = self.gap.max(initial=np.float32(-np.inf))
        if top == -np.inf:
            return -1
        near = np.flatnonzero(self.gap >= (top - self.doubt if np.isfinite(top) else top))
        if len(near) == 1:
            return int(near[0])
        if not self.chosen:
            return int(near[self.tie[near].argmin()])
        self._refresh(near[self.seen[near] == 0])
        while True:
            bound = self.exact[near]
            level = near[bound >= bound.max() - self.same]
            row = int(level[self.tie[level].argmin()])
            if self.seen[row] == len(self.chosen):
                return row
            self._refresh(np.array([row]))

    def _refresh(self, rows: np.ndarray) -> None:
        """Brings `exact` of `rows`, which have all seen the same centres, up to date."""
        if not len(rows):
            return
        since = int(self.seen[rows[0]])
        centres = self._centres[since : len(self.chosen)]
        square = self.square[self.chosen[since:]]
        named = np.array(self.chosen[since:])
        for part in slices(len(rows), max(1, 4_000_000 // len(centres))):
            some = rows[part]
            rough = self.square[some][:, None] + square - 2 * (self.x[some] @ centres.T)
            floor = np.minimum(self.exact[some], rough.min(axis=1)) + 2 * float(self.doubt)
            at, centre = np.nonzero(rough <= floor[:, None])
            np.minimum.at(self.exact, some[at], distances(self.x, some[at], named[centre]))
        self.seen[rows] = len(self.chosen)

    def guess(self, count: int, sure: int) -> np.ndarray:
        """About the `count` rows with the largest distance, `sure` first; of copies of one row (same distance, same
        centre) one.
        """
        count = min(count, int((self.gap > -np.inf).sum()))
        wide = min(max(8 * count, 1024), len(self.gap))
        least = np.partition(self.gap, -wide)[-wide]
        rows = np.flatnonzero(self.gap >= max(least - self.doubt, np.float32(0)))
        if self.chosen:
            level = np.floor(self.gap[rows] / self.doubt)
            order = np.lexsort((self.tie[rows], self.nearest[rows], -level))
            again = np.zeros(len(rows), dtype=bool)
            again[1:] = (np.diff(level[order]) == 0) & (np.diff(self.nearest[rows[order]]) == 0)
            rows, level = rows[order], level[order]
            rows = rows[np.lexsort((self.tie[rows], -level, again))]
        return np.concatenate([[sure], rows[rows != sure][: count - 1]])


def k_center(
    x: np.ndarray,
    start: np.ndarray,
    budget: Budget,
    *,
    tie: np.ndarray | None = None,
    alive: np.ndarray | None = None,
    block: int = _FAR,
) -> Centres:
    """Greedy k-center over x [N, d] float32 from the rows `start`, which come first and are not charged to `budget`.

    `tie` [N] settles equal distances (default: row number); rows outside `alive` [N] are never chosen. An empty `start`
    begins with the smallest tie.
    """
    tie = np.arange(len(x)) if tie is None else tie
    alive = np.ones(len(x), dtype=bool) if alive is None else alive
    field = _Field(x, tie, alive)
    for part in slices(len(start), block):
        for row, gaps in zip(start[part].tolist(), field.rows_to(start[part]), strict=True):
            field.add(row, gaps)
    passed = _walk(field, budget, block)
    return Centres(np.array(field.chosen, dtype=np.int64), field.nearest, np.array(passed, dtype=np.int64))


def _walk(field: _Field, budget: Budget, block: int) -> list[int]:
    """Adds centres until the budget or the rows are used up; returns the rows that did not fit."""
    left = len(field.x) if budget.limit is None else budget.limit
    passed: list[int] = []
    width = min(8, block)
    while left > 0:
        passed += _bar(field, budget, left)
        row = field.farthest()
        if row < 0:
            break
        guessed = field.guess(min(width, left) if budget.cost is None else width, row)
        gaps = field.rows_to(guessed)
        place = {r: at for at, r in enumerate(guessed.tolist())}
        hits = 0
        while row in place and left > 0:
            field.add(row, gaps[place[row]])
            left -= budget.price(row)
            hits += 1
            passed += _bar(field, budget, left)
            row = field.farthest()
        width = min(block, 2 * width) if 2 * hits >= len(guessed) else max(1, width // 2)
    return passed


def _bar(field: _Field, budget: Budget, left: int) -> list[int]:
    """Closes the rows that cost more than is left."""
    if budget.cost is None:
        return []
    rows = np.flatnonzero((budget.cost > left) & (field.gap > -np.inf))
    field.gap[rows] = -np.inf
    return list(rows.tolist())


def k_center_original(x: np.ndarray, start: np.ndarray, count: int) -> Centres:
    """As the authors' code: float32, NaN where rounding makes a square negative (NaN is the farthest), ties by row
    number.

    Which rows give NaN depends on the matrix product's last bits, as it does there. Cost O(N d) a pick.
    """
    square = np.einsum("ij,ij->i", x, x)
    gap = np.full(len(x), np.inf, dtype=np.float32)
    nearest = np.full(len(x), -1, dtype=np.int64)
    open_rows = np.ones(len(x), dtype=bool)
    chosen: list[int] = []
    with np.errstate(invalid="ignore"):
        for step in range(len(start) + count):
            if not open_rows.any():
                break
            row = int(start[step]) if step < len(start) else int(np.where(open_rows, gap, np.float32(-1)).argmax())
            away = np.sqrt(-2 * (x @ x[row]) + square + square[row])
            nearest[(away < gap) | np.isnan(away)] = row
            gap = np.minimum(gap, away)
            open_rows[row] = False
            chosen.append(row)
    return Centres(np.array(chosen, dtype=np.int64), nearest, np.empty(0, dtype=np.int64))


class KCenter(Budgeted):
    """Keep rows that are far from one another; the order of choice is nested, so 100 rows are the first 100 of 200.

    Without `rounds`, `size` is the whole budget: `init` sets the first rows, the walk does the rest. With `rounds` it
    is DiverseEvol: `size` rows by `init` (round 0), then `size` more in each round, with vectors from `take` where a
    trainer re-embeds between rounds (`give` gets the rows chosen so far). Drops, each with the nearest chosen row and
    the distance to it: `not_chosen`, `over_budget` (it did not fit into the tokens left); and `zero_vector` (the vector
    has length 0).
    """

    source = "Wu et al. 2023, DiverseEvol: Self-Evolved Diverse Data Sampling"

    embedding: Column | None = Param("embedding", doc="Vector column; not read where `take` brings the vectors.")
    init: Literal["random", "medoid", "ids"] = Param(
        "random", doc="The first rows: drawn, the most central one, or `keep` and `start`."
    )
    first: int = Param(1, ge=1, doc="How many rows `init: random` draws before the walk (without `rounds`).")
    keep: Column | None = Param(None, doc="True/false column: these rows are chosen first.")
    start: File | None = Param(
        None, doc="File with the ids chosen first: JSON list, JSON Lines with `id`, or one a line."
    )
    whiten: int | None = Param(None, ge=1, doc="Principal directions to keep, scaled to variance 1.")
    rounds: int | None = Param(None, ge=1, doc="Rounds after the initial one, each with a budget of its own.")
    give: Given | None = Param(None, doc="Path with {round}: the rows chosen so far, for the trainer.")
    take: Taken | None = Param(
        None, doc="Path with {round}: the trainer's vectors of all rows (.npz with `ids` and `vectors`)."
    )
    compat: Literal["original"] | None = Param(None, doc="`original`: float32 with its NaN, ties by place.")

    def __init__(self, **given: Any) -> None:
        if given.get("take") is not None:  # the vectors come from outside: no column is read for them
            given = {**given, "embedding": None}
        super().__init__(**given)

    def check(self) -> Iterator[str]:
        """`give`, `take` and `rounds` go together; ids need a source."""
        yield from super().check()
        if (self.give is None) != (self.take is None):
            yield "`give` and `take` go together"
        if self.take is not None and self.rounds is None:
            yield "`take` needs `rounds`"
        paths = [str(p) for p in (self.give, self.take) if p is not None]  # bound, they are Paths
        if not all("{round}" in path for path in paths):
            yield "`give` and `take` need {round} in their paths"
        if (self.init == "ids") != (self.keep is not None or self.start is not None):
            yield "`init: ids` goes with `keep` (a column) or `start` (a file)"
        if self.init == "medoid" and self.take is not None:
            yield "`init: medoid` needs vectors before the first round; with `take` use random or ids"
        if self.compat is not None and self.tokens is not None:
            yield "`compat: original` knows no token budget"

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """With `take`, the messages are read, to be given."""
        flow = super().flow(columns)
        if self.take is None or "messages" not in columns:
            return flow
        return Flow((*flow.reads, "messages"), flow.writes, flow.rewrites)

    def choose(self, data: Dataset) -> Choice:
        """One walk, or round after round."""
        pool = self.pool(data)
        if not len(pool):
            return pool.choice(np.empty(0, dtype=np.int64))
        space = None if self.take else self._space(data, pool)
        groups = [self._begin(data, pool, space)]
        if space is not None and self.rounds is None:
            return self._choice(pool, space, self._grow(space, pool, groups, self._rest(pool.budget, groups[0])))
        for number in range(1, (self.rounds or 0) + 1):
            vectors = self._taken(data, pool, groups) if space is None else space
            grown = self._grow(vectors, pool, groups, pool.budget)
            groups.append(grown.kept[sum(map(len, groups)) :])
            self.log.info("%s: round %d chose %d rows", self.title, number, len(groups[-1]))
        return self._choice(pool, vectors, grown)

    def _space(self, data: Dataset, pool: Pool) -> np.ndarray:
        vectors = np.asarray(data.matrix(str(self.embedding)))
        if self.compat is None:
            drop_zeros(pool, vectors)
        return self._whitened(vectors)

    def _whitened(self, vectors: np.ndarray) -> np.ndarray:
        if self.whiten is None:
            return vectors
        try:
            return whiten(vectors, self.whiten)
        except ValueError as error:
            raise StepError(f"{self.title}: `whiten: {self.whiten}`: {error}") from error

    def _taken(self, data: Dataset, pool: Pool, groups: Sequence[np.ndarray]) -> np.ndarray:
        number = str(len(groups) - 1)
        given, taken = (Path(str(p).replace("{round}", number)) for p in (self.give, self.take))
        give_rows(given, data, groups)
        return self._whitened(take_vectors(taken, pool.ids, given))

    def _begin(self, data: Dataset, pool: Pool, space: np.ndarray | None) -> np.ndarray:
        """The rows of round 0."""
        if self.init == "ids":
            return self._named(data, pool)
        if self.init == "medoid" and space is not None:
            return np.array([medoid(space, pool.alive, pool.tie)] if pool.alive.any() else [], dtype=np.int64)
        order = pool.order(uniform(self.context.seed, pool.ids, "init"))
        return pool.budget.spend(order[: self.first] if self.rounds is None else order)[0]

    def _named(self, data: Dataset, pool: Pool) -> np.ndarray:
        named = np.zeros(len(pool), dtype=bool)
        if self.keep is not None:
            named |= flags(column_of(data, self.keep), f"{self.title}: `keep`")
        if self.start is not None:
            wanted = read_ids(Path(self.start))
            known = set(pool.ids.to_list())
            missing = [i for i in wanted if i not in known]
            if missing:
                raise StepError(
                    f"{self.title}: {len(missing)} ids of `start` are not in the pool, the first is {missing[0]}"
                )
            named |= pool.ids.is_in(wanted).to_numpy()
        rows = pool.order()
        return np.asarray(rows[named[rows]])

    def _rest(self, budget: Budget, begun: np.ndarray) -> Budget:
        """What the first rows leave of the budget."""
        cost = sum(map(budget.price, begun.tolist()))
        limit = budget.limit or 0
        if cost > limit:
            raise StepError(
                f"{self.title}: the first rows alone take {cost} of a budget of {limit}",
                help="raise the budget or start with fewer",
            )
        return Budget(limit - cost, budget.cost)

    def _grow(self, space: np.ndarray, pool: Pool, groups: Sequence[np.ndarray], budget: Budget) -> Centres:
        start = np.concatenate(groups)
        if self.compat == "original":
            return k_center_original(space, start, budget.limit or 0)
        return k_center(space, start, budget, tie=pool.tie, alive=pool.alive)

    def _choice(self, pool: Pool, space: np.ndarray, grown: Centres) -> Choice:
        out = pool.alive.copy()
        out[grown.kept] = False
        rows = np.flatnonzero(out & (grown.nearest >= 0))
        away = np.full(len(pool), np.nan)
        away[rows] = np.round(np.sqrt(distances(space, rows, grown.nearest[rows])), 9)
        passed = Dropped(grown.passed, "over_budget", grown.nearest[grown.passed], away[grown.passed])
        return pool.choice(grown.kept, [passed], other=grown.nearest, value=away)
