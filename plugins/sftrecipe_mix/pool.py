"""The rows that a mix may take from, and what each part draws of them.

A pool numbers all rows of all inputs 0..N-1. `ranked[part]` lists a part's rows in hash order, hash(seed, row id); a
sample is a prefix of it, so a larger sample contains the smaller and an edit upstream re-rolls no draw. A part that
asks for more than it has takes whole copies of its rows and then the first rows of the order once more: copies of two
rows of a part differ by at most one.

A token budget takes rows in hash order while they fit; the row that would cross it is left out, and so is everything
behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING

from sftrecipe import StepError
from sftrecipe.lazy import np
from sftrecipe_mix.allocation import allocate, largest_total
from sftrecipe_mix.asked import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

__all__ = ["Drawn", "Policy", "Pool", "draw"]


@dataclass(frozen=True)
class Policy:
    """What holds for all parts: see the parameters of `mix.parts`."""

    on_short: str = "error"
    max_repeat: int | None = None
    unit: str = "rows"
    total: int | None = None


@dataclass(frozen=True)
class Pool:
    """Rows of each part in hash order; `tokens` [N] counts the tokens of every row, if some part is measured in
    them."""

    ranked: Mapping[str, Rows]
    tokens: NDArray[np.int64] | None = None

    def size(self, name: str, unit: str) -> int:
        """Rows or tokens that the part has."""
        rows = self.ranked[name]
        return int(self.counts(rows).sum()) if unit == "tokens" else len(rows)

    def fitting(self, name: str, budget: int) -> int:
        """How many rows of the part, in hash order, fit a budget of tokens."""
        return int(np.searchsorted(np.cumsum(self.counts(self.ranked[name])), budget, side="right"))

    def counts(self, rows: Rows) -> NDArray[np.int64]:
        """Tokens of these rows."""
        if self.tokens is None:
            raise StepError(
                "this mix counts tokens and no column says how many a row has", help="give `tokens: COLUMN`"
            )
        return self.tokens[rows]


@dataclass(frozen=True)
class Drawn:
    """Rows of one part: pool numbers and which copy of the row each is (0 = the first)."""

    part: Part
    rows: Rows
    copies: NDArray[np.int64]


def draw(pool: Pool, parts: Sequence[Part], policy: Policy) -> list[Drawn]:
    """Every part's rows, in the order of `parts`. Raises StepError where a part cannot give what is asked."""
    fixed = {p.name: _fixed(pool, p, policy) for p in parts if p.kind != "weight"}
    shared = [p for p in parts if p.kind == "weight"]
    spent = sum(_measure(pool, drawn, policy.unit) for drawn in fixed.values()) if shared else 0
    drawn = fixed | (_weighted(pool, shared, policy, spent) if shared else {})
    return [drawn[p.name] for p in parts]


def _measure(pool: Pool, drawn: Drawn, unit: str) -> int:
    return int(pool.counts(drawn.rows).sum()) if unit == "tokens" else len(drawn.rows)


def _fixed(pool: Pool, part: Part, policy: Policy) -> Drawn:
    """A part that says its own amount (rows, fraction, tokens)."""
    in_tokens = part.kind == "tokens" or (part.kind == "fraction" and part.amount != 1 and policy.unit == "tokens")
    unit = "tokens" if in_tokens else "rows"  # the whole of a part is all its rows, those without tokens too
    have = pool.size(part.name, unit)
    asked = int(part.amount)
    if part.kind == "fraction":  # half up; a positive fraction of something is at least one
        asked = max(1, floor(part.amount * have + Fraction(1, 2)))
    if asked > have and policy.on_short == "error":
        raise _short(part, asked, have, unit)
    if policy.on_short == "all":
        asked = min(asked, have)
    if part.repeat == 1:
        return _take(pool, part, asked, unit, policy)
    if asked <= have:
        once = _take(pool, part, asked, unit, policy).rows
        return Drawn(part, np.tile(once, part.repeat), np.repeat(np.arange(part.repeat), len(once)))
    return _take(pool, part, asked * part.repeat, unit, policy)


def _weighted(pool: Pool, parts: Sequence[Part], policy: Policy, spent: int) -> dict[str, Drawn]:
    """Parts that share what the others leave of the total."""
    weights = {p.name: p.amount for p in parts}
    have = {p.name: pool.size(p.name, policy.unit) for p in parts}
    total = largest_total(weights, have) if policy.total is None else policy.total - spent
    if total <= 0:
        raise _nothing_left(policy, spent, have)
    if policy.on_short == "error":
        wanted = allocate(weights, total)
        for part in parts:
            if wanted[part.name] > have[part.name]:
                raise _short(part, wanted[part.name], have[part.name], policy.unit)
        counts = wanted
    else:
        again = 1 if policy.on_short == "all" else policy.max_repeat
        caps = {name: None if again is None else again * size for name, size in have.items()}
        if policy.on_short == "all":
            total = min(total, sum(have.values()))
        try:
            counts = allocate(weights, total, caps)
        except ValueError as error:
            raise StepError(
                f"the parts with a weight cannot fill the total, each row {again} times at most: {error} {policy.unit}",
                help="raise `max_repeat`, lower `total`, or write `on_short: all`",
            ) from error
    return {p.name: _take(pool, p, counts[p.name], policy.unit, policy) for p in parts}


def _take(pool: Pool, part: Part, amount: int, unit: str, policy: Policy) -> Drawn:
    """`amount` rows or tokens: whole copies of all rows, then a prefix of the hash order."""
    ranked, have = pool.ranked[part.name], pool.size(part.name, unit)
    if not have:
        if amount:
            raise StepError(f"part `{part.name}` asks for {amount:,} {unit}, its {len(ranked):,} rows have none")
        return Drawn(part, ranked[:0], np.zeros(0, dtype=np.int64))
    whole, left = divmod(amount, have)
    rest = left if unit == "rows" else pool.fitting(part.name, left)
    if unit == "tokens" and not left:
        rest = 0  # rows without tokens fit any budget: not once more when nothing is left
    most = whole + (rest > 0)
    if policy.max_repeat is not None and most > policy.max_repeat:
        raise StepError(
            f"part `{part.name}` asks for {amount:,} {unit} of {have:,}: "
            f"{most} copies of some rows, `max_repeat` is {policy.max_repeat}",
            help="raise `max_repeat`, ask for less, or write `on_short: all`",
        )
    rows = np.concatenate([np.tile(ranked, whole), ranked[:rest]])
    copies = np.concatenate([np.repeat(np.arange(whole), len(ranked)), np.full(rest, whole)])
    return Drawn(part, rows, copies)


def _nothing_left(policy: Policy, spent: int, have: Mapping[str, int]) -> StepError:
    if policy.total is None:
        sizes = ", ".join(f"{name} {size:,}" for name, size in have.items())
        return StepError(f"these weights share nothing without repeats: {sizes} {policy.unit}", help="give a `total`")
    text = (
        f"nothing is left for the parts with a weight: total {policy.total:,}, the others take {spent:,} {policy.unit}"
    )
    return StepError(text, help="raise `total`")


def _short(part: Part, asked: int, have: int, unit: str) -> StepError:
    return StepError(
        f"part `{part.name}` asks for {asked:,} {unit}, it has {have:,}",
        help="take what there is (`on_short: all`), use rows again (`on_short: repeat`), or ask for less",
    )
