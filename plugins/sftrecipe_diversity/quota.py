"""`select.quota`: so many rows from each group, by given shares, by temperature, or the same from each.

Seats are given one by one to the group that is furthest behind its share (Sainte-Lague's method): the group with the
smallest (spent + cost / 2) / share, ties to the first name. Given enough rows, whole-numbered quotas are met exactly,
and a larger budget contains the smaller one's rows, which largest remainders would not promise. Cost: O(K log G) for K
seats and G groups.

Temperature (Zhou et al. 2023, LIMA: tau = 3): a group of n rows has the share n^(1/tau), so 1 is proportional and a
large tau even.

Decay (Muennighoff et al. 2025, s1: 0.5): within a group the row at place r (from 0) is drawn with weight decay^r,
without replacement, as the k largest of r*log(decay) + Gumbel noise of its id.

Bounds: `least` rows of each group come first, a row of each group in turn, before shares say anything; `most` caps a
group, and its place goes to the others. `most` alone needs no budget: so many rows of each source, and no more.

Deviation from s1: groups take turns instead of being drawn at random, so that quotas are met rather than expected.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from sftrecipe import Choice, Column, Dataset, Expr, Param, StepError
from sftrecipe.lazy import np, pl
from sftrecipe_diversity.budget import Budget, Budgeted, Pool, column_of, flags, numbers
from sftrecipe_diversity.draws import gumbel, uniform

__all__ = ["Quota", "decayed", "seats", "shares_of"]


def shares_of(sizes: Mapping[str, int], temperature: float | None) -> dict[str, float]:
    """Group -> share: n^(1/temperature), or 1 for each without a temperature."""
    return {g: 1.0 if temperature is None else round(float(n) ** (1.0 / temperature), 9) for g, n in sizes.items()}


def seats(
    groups: Mapping[str, Sequence[int]], shares: Mapping[str, float], budget: Budget, spent: Mapping[str, int]
) -> list[int]:
    """Rows in order of choice. `groups`: each group's rows, best first; `spent`: what each has had of the budget
    already.
    """
    used = {g: spent.get(g, 0) for g in groups}
    left = None if budget.limit is None else budget.limit - sum(used.values())
    at = dict.fromkeys(groups, 0)
    kept: list[int] = []
    heap: list[tuple[float, str]] = []

    def queue(group: str) -> None:
        rows = groups[group]
        while at[group] < len(rows) and left is not None and budget.price(rows[at[group]]) > left:
            at[group] += 1
        if at[group] < len(rows):
            heapq.heappush(heap, ((used[group] + budget.price(rows[at[group]]) / 2) / shares[group], group))

    for group in sorted(groups):
        queue(group)
    while heap:
        _, group = heapq.heappop(heap)
        row = groups[group][at[group]]
        price = budget.price(row)
        if left is None or price <= left:
            kept.append(row)
            at[group] += 1
            used[group] += price
            left = None if left is None else left - price
        queue(group)
    return kept


def decayed(places: np.ndarray, decay: float, noise: np.ndarray) -> np.ndarray:
    """Sort keys (ascending) of a draw in which the row at place r weighs decay^r; `noise` is standard Gumbel, float64
    [n].
    """
    return np.asarray(-(places * np.log(decay) + noise))


class Quota(Budgeted):
    """Keep rows by group: even, by `shares`, or by `temperature`. Rows under `keep` come first and count to their
    group.

    Within a group rows come in hash order, or by `rank` (highest first; with `decay`, drawn with weights that fall by
    place). Drops: `not_chosen` and `capped` (its group has its `most`; value of both: its place within its group),
    `no_share` (its group is not in `shares`), `undefined` (no group or rank).
    """

    source = "Zhou et al. 2023, LIMA; Muennighoff et al. 2025, s1; SWE-smith (so many of each instance)"

    by: Expr = Param(doc='The group of a row: text, whole numbers or truth values. Two columns: `source + "/" + tag`.')
    shares: dict[str, float] | None = Param(
        None, doc="Group to share (any positive scale: counts, weights). Others stay out."
    )
    temperature: float | None = Param(
        None, gt=0, doc="A group of n rows gets n^(1/temperature); 1 is proportional. Default: all the same."
    )
    least: int | None = Param(None, ge=1, doc="Rows that each group gets first, where it has them.")
    most: int | None = Param(None, ge=1, doc="Rows that a group gets at most; with it `size` may be left out.")
    keep: Column | None = Param(None, doc="True/false column: these rows are always kept, before all others.")
    rank: Column | None = Param(None, doc="Number that orders a group, highest first.")
    decay: float | None = Param(None, gt=0, le=1, doc="With `rank`: the row at place r is drawn with weight decay^r.")
    on_short: Literal["fill", "error"] = Param(
        "fill", doc="When a group has fewer rows than its quota: others fill up, or an error."
    )

    def check(self) -> Iterator[str]:
        """Shares or temperature; decay needs a rank."""
        yield from super().check()
        if self.shares is not None and self.temperature is not None:
            yield "give `shares` or `temperature`, not both"
        if self.shares is not None and (not self.shares or min(self.shares.values()) <= 0):
            yield "`shares` needs at least one group, and every share above 0"
        if self.decay is not None and self.rank is None:
            yield "`decay` needs `rank`, the column that orders a group"
        if self.least is not None and self.most is not None and self.least > self.most:
            yield f"`least` ({self.least}) is more than `most` ({self.most})"

    def needs_budget(self) -> bool:
        """A cap a group is a budget too."""
        return self.most is None

    def choose(self, data: Dataset) -> Choice:
        """Kept rows, then seat by seat."""
        pool = self.pool(data)
        always = self._always(data, pool)
        names = self._groups(data, pool, always)
        order = self._order(data, pool)
        groups: dict[str, list[int]] = {}
        for row in order.tolist():
            groups.setdefault(names[row], []).append(row)
        place = np.full(len(pool), np.nan)
        for rows in groups.values():
            place[rows] = np.arange(len(rows))
        first = self._first(pool, always, order)
        taken = set(first)
        have = {g: sum(r in taken for r in rows) for g, rows in groups.items()}
        open_rows = {g: [r for r in rows if r not in taken] for g, rows in groups.items()}
        self._cap(pool, open_rows, have, place)
        kept = first + self._least_first(pool, open_rows, have, first)
        taken = set(kept)
        spent = {g: sum(pool.budget.price(r) for r in rows if r in taken) for g, rows in groups.items()}
        open_rows = {g: [r for r in rows if r not in taken] for g, rows in open_rows.items()}
        shares = self._shares(groups)
        self._complain({g: [*open_rows[g], *(r for r in groups[g] if r in taken)] for g in groups}, shares, pool.budget)
        kept += seats(open_rows, shares, pool.budget, spent)
        return pool.choice(np.array(kept, dtype=np.int64), value=place)

    def _cap(self, pool: Pool, open_rows: dict[str, list[int]], have: Mapping[str, int], place: np.ndarray) -> None:
        """Leaves each group so many rows as `most` allows beside those it has; the others go."""
        if self.most is None:
            return
        over = np.zeros(len(pool), dtype=bool)
        for group, rows in open_rows.items():
            room = max(0, self.most - have[group])
            over[rows[room:]] = True
            del rows[room:]
        pool.let_go(over, "capped", place)

    def _least_first(
        self, pool: Pool, open_rows: Mapping[str, Sequence[int]], have: Mapping[str, int], first: Sequence[int]
    ) -> list[int]:
        """A row of each group in turn, until each has its `least`; what does not fit into the budget is passed over."""
        left = None if pool.budget.limit is None else pool.budget.limit - sum(map(pool.budget.price, first))
        kept = []
        for turn in range(self.least or 0):
            for group in sorted(open_rows):
                at = turn - have[group]
                if not 0 <= at < len(open_rows[group]):
                    continue
                row = open_rows[group][at]
                price = pool.budget.price(row)
                if left is None or price <= left:
                    kept.append(row)
                    left = None if left is None else left - price
        return kept

    def _always(self, data: Dataset, pool: Pool) -> np.ndarray:
        if self.keep is None:
            return np.zeros(len(pool), dtype=bool)
        return flags(column_of(data, self.keep), f"{self.title}: `keep`")

    def _groups(self, data: Dataset, pool: Pool, always: np.ndarray) -> list[str]:
        column = column_of(data, self.by)
        if not (column.dtype in (pl.String, pl.Boolean, pl.Null, pl.Categorical) or column.dtype.is_integer()):
            raise StepError(f"{self.title}: `by` gives {column.dtype}; text, whole numbers or truth values are needed")
        column = column.cast(pl.String)
        pool.let_go(column.is_null().to_numpy(), "undefined")
        if self.shares is not None:
            pool.let_go(~column.is_in(list(self.shares)).fill_null(False).to_numpy() & ~always, "no_share")
        return list(column.to_list())

    def _order(self, data: Dataset, pool: Pool) -> np.ndarray:
        if self.rank is None:
            return pool.order(uniform(self.context.seed, pool.ids))
        values = numbers(column_of(data, self.rank), pool, f"{self.title}: `rank`")
        order = pool.order(-values)
        if self.decay is None:
            return order
        names = column_of(data, self.by).cast(pl.String).to_list()
        place, seen = np.zeros(len(pool)), dict.fromkeys(names, 0)
        for row in order.tolist():
            place[row] = seen[names[row]]
            seen[names[row]] += 1
        return pool.order(decayed(place, self.decay, gumbel(self.context.seed, pool.ids)))

    def _first(self, pool: Pool, always: np.ndarray, order: np.ndarray) -> list[int]:
        rows = [r for r in order.tolist() if always[r]]
        cost = sum(pool.budget.price(r) for r in rows)
        if pool.budget.limit is not None and cost > pool.budget.limit:
            raise StepError(
                f"{self.title}: `keep` marks {cost}, the budget is {pool.budget.limit}",
                help="raise the budget or keep fewer",
            )
        return rows

    def _shares(self, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
        if self.shares is None:
            return shares_of({g: len(rows) for g, rows in groups.items()}, self.temperature)
        return {g: float(s) for g, s in self.shares.items()}

    def _complain(self, groups: Mapping[str, Sequence[int]], shares: Mapping[str, float], budget: Budget) -> None:
        if budget.limit is None:
            return
        whole = sum(shares.values())
        short = []
        for group in sorted(shares):
            held = sum(budget.price(r) for r in groups.get(group, ()))
            quota = budget.limit * shares[group] / whole
            if held < int(quota):
                short.append(f"{group} ({held} of {int(quota)})")
        if short and self.on_short == "error":
            raise StepError(
                f"{self.title}: groups with less than their quota: {', '.join(short)}",
                help="`on_short: fill` takes others",
            )
        if short:
            self.log.warning(
                "%s: groups with less than their quota, filled by others: %s", self.title, ", ".join(short)
            )
