"""`select.rds`: rows like the examples of a target, by their vectors (Ivison et al. 2025, RDS+).

Vectors: the last hidden states h_1..h_T of a causal model over the whole row, pooled with weights i / sum(i), so that
later tokens, which saw more, count more (`weighted_mean`); then cosine.

Choice: every query takes its most similar row that is not yet taken, one after the other, round after round, until the
budget is spent. With tasks: a row's figure for a task is its largest cosine to the task's queries, and the tasks take
turns.

Cost: 2 Q N d; of each query only as many best rows are held as its turns can ask for, more when they run out. float32
products, float64 for rows that can be chosen; ties by id.

Deviation, which `compat: original` undoes: there a query whose best row is taken already loses its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Param, StepError
from sftrecipe.lazy import np, pl
from sftrecipe_diversity.budget import Budget, Budgeted, Pool
from sftrecipe_diversity.space import drop_zeros, nearest, norms, slices

__all__ = ["Ranking", "Rds", "Turns", "best_cosine", "last", "mean", "round_robin", "weighted_mean"]


def weighted_mean(hidden: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Position-weighted mean of token states [T, d] (or [B, T, d]), weights 1..T over the tokens that count (`mask` of
    0 and 1).
    """
    seen = np.ones(hidden.shape[:-1]) if mask is None else np.asarray(mask, dtype=np.float64)
    weight = np.cumsum(seen, axis=-1) * seen
    weight /= np.maximum(weight.sum(axis=-1, keepdims=True), 1e-300)
    return np.asarray((hidden * weight[..., None]).sum(axis=-2), dtype=np.float64)


def mean(hidden: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Plain mean of token states, as `weighted_mean`."""
    seen = np.ones(hidden.shape[:-1]) if mask is None else np.asarray(mask, dtype=np.float64)
    total = np.maximum(seen.sum(axis=-1, keepdims=True), 1e-300)
    return np.asarray((hidden * (seen / total)[..., None]).sum(axis=-2), dtype=np.float64)


def last(hidden: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The state of the last token that counts, as `weighted_mean`."""
    if mask is None:
        return np.asarray(hidden[..., -1, :], dtype=np.float64)
    at = np.asarray(mask).shape[-1] - 1 - np.argmax(np.asarray(mask)[..., ::-1] != 0, axis=-1)
    return np.asarray(np.take_along_axis(hidden, at[..., None, None], axis=-2)[..., 0, :], dtype=np.float64)


@dataclass
class Turns:
    """Rows taken, in order; which player took each, and with what figure."""

    kept: list[int] = field(default_factory=list)
    player: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    passed: list[int] = field(default_factory=list)


Ranking = Callable[[int, int], "tuple[np.ndarray, np.ndarray]"]
"""(player, k) -> (its k best rows, best first; their figures). Fewer than k: there are no more."""


def round_robin(players: int, ranking: Ranking, budget: Budget, rows: int, *, lose_turn: bool = False) -> Turns:
    """Players take turns, each its best row not yet taken. `rows`: how many there are.

    With `lose_turn` a player whose next row is taken already takes none in this round.
    """
    turns, taken = Turns(), set[int]()
    left = rows if budget.limit is None else budget.limit
    width = [first_width(players, left, rows)] * players
    lists = [ranking(p, width[p]) for p in range(players)]
    at = [0] * players

    def following(player: int) -> tuple[int, float] | None:
        """The player's next row, taken or not; None when it has seen all."""
        if at[player] == len(lists[player][0]):
            if width[player] >= rows:
                return None
            width[player] = min(rows, 4 * width[player])
            lists[player] = ranking(player, width[player])
        at[player] += 1
        return int(lists[player][0][at[player] - 1]), float(lists[player][1][at[player] - 1])

    playing = list(range(players))
    while left > 0 and playing:
        for player in list(playing):
            while left > 0:
                found = following(player)
                if found is None:
                    playing.remove(player)
                    break
                row, value = found
                if row in taken:
                    if lose_turn:
                        break
                    continue
                taken.add(row)
                if budget.price(row) > left:
                    turns.passed.append(row)
                    continue
                turns.kept.append(row)
                turns.player.append(player)
                turns.value.append(value)
                left -= budget.price(row)
                break
    return turns


def first_width(players: int, left: int, rows: int) -> int:
    """How many of its best rows each player is given at first."""
    return min(rows, 2 * (min(left, rows) // max(1, players)) + 32)


def best_cosine(x: np.ndarray, length: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The largest cosine of each row of x [N, d] to any query, float64 [N] rounded to 12 digits. Cost 2 N Q d in
    float64, in blocks.
    """
    y = queries.astype(np.float64) / norms(queries)[:, None]
    return np.concatenate(
        [np.round((x[p].astype(np.float64) @ y.T).max(axis=1) / length[p], 12) for p in slices(len(x), 2048)]
    )


class Rds(Budgeted):
    """Keep the rows most like the examples of `against` (a side port with the same vector column), by turns.

    Drops: `not_chosen` (value: its largest cosine to an example), `over_budget` (the same, it did not fit into the
    tokens left), `zero_vector` (the vector has length 0). Examples of length 0, or none at all, are an error.
    """

    source = "Ivison et al. 2025, Large-Scale Data Selection for Instruction Tuning (RDS+)"

    against: Dataset
    embedding: Column = Param("embedding", doc="Vector column of both ports.")
    task: str | None = Param(None, doc="Column of `against`: its values take turns instead of the single examples.")
    compat: Literal["original"] | None = Param(None, doc="`original`: who finds its best row taken loses the turn.")

    def choose(self, data: Dataset) -> Choice:
        """Turn by turn."""
        pool = self.pool(data)
        queries = self._examples()
        if not len(pool):
            return pool.choice(np.empty(0, dtype=np.int64))
        x = np.asarray(data.matrix(self.embedding))
        if x.shape[1] != queries.shape[1]:
            raise StepError(f"{self.title}: vectors of width {x.shape[1]}, those of `against` have {queries.shape[1]}")
        length = drop_zeros(pool, x)
        rows = int(pool.alive.sum())
        players, ranking = (
            self._tasks(x, length, queries, pool) if self.task else self._single(x, length, queries, pool, rows)
        )
        turns = round_robin(players, ranking, pool.budget, rows, lose_turn=self.compat == "original")
        best = best_cosine(x, length, queries)
        passed = np.array(sorted(turns.passed), dtype=np.int64)
        kept = np.array(turns.kept, dtype=np.int64)
        return pool.choice(kept, [Dropped(passed, "over_budget", None, best[passed])], value=best)

    def _examples(self) -> np.ndarray:
        queries = np.asarray(self.against.matrix(self.embedding))
        if not len(queries):
            raise StepError(
                f"{self.title}: `against` has no rows", help="give examples of the target: `from: {against: targets}`"
            )
        size = norms(queries)
        if not size.all():
            raise StepError(f"{self.title}: row {int((size == 0).argmax())} of `against` has a vector of length 0")
        return queries

    def _single(
        self, x: np.ndarray, length: np.ndarray, queries: np.ndarray, pool: Pool, rows: int
    ) -> tuple[int, Ranking]:
        """Every example plays; the first lists are made for all at once."""
        barred = np.where(pool.alive, length, np.inf)
        begin = first_width(len(queries), rows if pool.budget.limit is None else pool.budget.limit, rows)
        first = [
            pair
            for _, r, v in nearest(queries, x, begin, length=barred, tie=pool.tie)
            for pair in zip(r, v, strict=True)
        ]

        def ranking(player: int, k: int) -> tuple[np.ndarray, np.ndarray]:
            if k == begin:
                return first[player]
            _, found, values = next(nearest(queries[player : player + 1], x, k, length=barred, tie=pool.tie))
            return found[0], values[0]

        return len(queries), ranking

    def _tasks(self, x: np.ndarray, length: np.ndarray, queries: np.ndarray, pool: Pool) -> tuple[int, Ranking]:
        """Every task plays, with the largest cosine to any of its examples."""
        column = self.against.frame(str(self.task))[str(self.task)].cast(pl.String).fill_null("").to_list()
        names = np.array(column)
        scores = [best_cosine(x, length, queries[names == name]) for name in sorted(set(column))]
        orders = [pool.order(-score) for score in scores]
        return len(scores), lambda player, k: (orders[player][:k], scores[player][orders[player][:k]])
