"""What all selectors share: a budget in rows or tokens, ties to the smaller row id, a reason for each row that goes.

Rules, the same for every `select.*` of this package:

- Exactly one budget: `size` (rows), or `tokens` with `count` (the column that holds each row's number of tokens).
- A row that does not fit into what is left of a token budget is passed over (`over_budget`); the walk goes on with the
  next.
- A budget above the pool keeps every row that qualifies, with a warning.
- A row whose figure is null, NaN or infinite goes as `undefined`; a column of another type is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sftrecipe import Choice, Column, Dataset, Dropped, Param, Select, StepError
from sftrecipe.lazy import np, pl

__all__ = ["Budget", "Budgeted", "Pool", "column_of", "flags", "numbers"]


@dataclass(frozen=True)
class Budget:
    """`limit` units (None: no limit); `cost` is each row's price in them (None: one each)."""

    limit: int | None
    cost: np.ndarray | None = None

    def price(self, row: int) -> int:
        """What this row costs."""
        return 1 if self.cost is None else int(self.cost[row])

    def spend(self, order: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """(rows kept, in order; rows that did not fit) of a walk along `order`."""
        rows = np.fromiter(order, dtype=np.int64)
        if self.limit is None:
            return rows, rows[:0]
        if self.cost is None:
            return rows[: self.limit], rows[self.limit :]
        left, fits = self.limit, np.zeros(len(rows), dtype=bool)
        for at, price in enumerate(self.cost[rows].tolist()):
            if price <= left:
                fits[at], left = True, left - price
        return rows[fits], rows[~fits]


@dataclass
class Pool:
    """The rows to choose from. `tie` [N]: the place of each row's id in sorted order. `alive` [N]: rows that may still
    be chosen.
    """

    ids: pl.Series
    budget: Budget
    tie: np.ndarray
    alive: np.ndarray
    gone: list[Dropped] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.alive)

    def let_go(self, mask: np.ndarray, code: str, value: np.ndarray | None = None) -> None:
        """Rows under `mask` may not be chosen, for this reason. `value` [N] is the figure to tell."""
        rows = np.flatnonzero(mask & self.alive)
        if len(rows):
            self.alive[rows] = False
            self.gone.append(Dropped(rows, code, None, None if value is None else value[rows]))

    def order(self, *keys: np.ndarray) -> np.ndarray:
        """Rows alive, ascending by the keys [N] (first counts most), then by id."""
        rows = np.flatnonzero(self.alive)
        return rows[np.lexsort((self.tie[rows], *(k[rows] for k in reversed(keys))))]

    def spend(self, order: np.ndarray, value: np.ndarray) -> Choice:
        """The answer of a walk along `order`. Rows that go carry `value` [N], as `not_chosen`, or as `over_budget` in
        tokens.
        """
        kept, left = self.budget.spend(order)
        reasons = [] if self.budget.cost is None else [Dropped(left, "over_budget", None, value[left])]
        return self.choice(kept, reasons, value=value)

    def choice(
        self,
        kept: np.ndarray,
        reasons: Sequence[Dropped] = (),
        *,
        other: np.ndarray | None = None,
        value: np.ndarray | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> Choice:
        """The answer. Rows alive that stand neither in `kept` nor in `reasons` go as `not_chosen` with `other` and
        `value` [N].
        """
        rest = self.alive.copy()
        rest[kept] = False
        for reason in reasons:
            rest[reason.rows] = False
        rows = np.flatnonzero(rest)
        last = Dropped(
            rows, "not_chosen", None if other is None else other[rows], None if value is None else value[rows]
        )
        dropped = [d for d in (*self.gone, *reasons, last) if len(d.rows)]
        return Choice(np.asarray(kept, dtype=np.int64), dropped, columns or {})


class Budgeted(Select):
    """The base of all selectors here: the budget and its check."""

    reads = ("id",)
    endless: ClassVar[bool] = False

    size: int | None = Param(None, ge=1, positional=True, doc="Rows to keep.")
    tokens: int | None = Param(None, ge=1, doc="Tokens to keep, instead of `size`; `count` says what each row costs.")
    count: Column | None = Param(None, doc="Column with the number of tokens of each row, for `tokens`.")

    def check(self) -> Iterator[str]:
        """One budget, and the column that it needs."""
        if self.size is not None and self.tokens is not None:
            yield "give `size` (rows) or `tokens`, not both"
        if self.size is None and self.tokens is None and self.needs_budget():
            yield "a budget is missing: give `size` (rows), or `tokens` with `count`"
        if self.tokens is not None and self.count is None:
            yield "`tokens` needs `count`, the column with the number of tokens of each row"

    def needs_budget(self) -> bool:
        """Whether nothing but a budget says how many rows to keep."""
        return not self.endless

    def pool(self, data: Dataset) -> Pool:
        """The rows with their costs. Raises StepError for a parameter or a `count` column that makes no sense."""
        for problem in self.check():
            raise StepError(f"{self.title}: {problem}")
        ids = data.frame("id")["id"]
        tie = np.empty(len(ids), dtype=np.int64)
        tie[ids.arg_sort().to_numpy()] = np.arange(len(ids))
        pool = Pool(ids, Budget(self.size), tie, np.ones(len(ids), dtype=bool))
        if self.tokens is not None and self.count is not None:
            cost = np.ceil(numbers(column_of(data, self.count), pool, f"{self.title}: `count`"))
            if (cost[pool.alive] < 0).any():
                raise StepError(f"{self.title}: column `{self.count}` holds a negative number of tokens")
            pool.budget = Budget(self.tokens, np.where(pool.alive, cost, 0).astype(np.int64))
        self._warn_if_short(pool)
        return pool

    @property
    def title(self) -> str:
        """How messages name this operator."""
        return self.name if self.name.startswith("select.") else f"select.{self.name or type(self).__name__.lower()}"

    @property
    def log(self) -> Any:
        """The run's logger, or the package's where an operator is used by hand."""
        context = getattr(self, "context", None)
        return context.log if context is not None else logging.getLogger("sftrecipe_diversity")

    def _warn_if_short(self, pool: Pool) -> None:
        limit, cost = pool.budget.limit, pool.budget.cost
        whole = len(pool) if cost is None else int(cost.sum())
        if limit is not None and limit > whole:
            unit = "rows" if cost is None else "tokens"
            self.log.warning(
                "%s: a budget of %d %s, the pool holds %d: all that qualify are kept", self.title, limit, unit, whole
            )


def column_of(data: Dataset, by: Any) -> pl.Series:
    """A column by name, or a bound expression, over all rows."""
    return data.frame(by)[by] if isinstance(by, str) else data.eval(by)


def numbers(column: pl.Series, pool: Pool, what: str) -> np.ndarray:
    """A column as float64 [N]; rows without a finite number go as `undefined`. Raises StepError where it holds no
    numbers.
    """
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise StepError(
            f"{what} gives {column.dtype}; numbers are needed", help="score the rows first, or cast the column"
        )
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    pool.let_go(~np.isfinite(values), "undefined")
    return values


def flags(column: pl.Series, what: str) -> np.ndarray:
    """A true/false column as bool [N]; null counts as false. Raises StepError for another type."""
    if column.dtype not in (pl.Boolean, pl.Null):
        raise StepError(f"{what} gives {column.dtype}; true or false is needed")
    return column.cast(pl.Boolean).fill_null(False).to_numpy().astype(bool)
