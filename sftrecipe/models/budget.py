"""What a model may cost: dollars, tokens, requests; checked before a request is sent.

A request reserves its worst case (its prompt by estimate, its answer by `max_tokens` or twice the longest seen) and
pays what it really took. A request that does not fit waits while others are on their way, whose refund may make room;
if none is, the budget is reached. Spending is counted per store and scope, over all runs: a run that is killed or
stopped and started again does not begin at zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sftrecipe.errors import BudgetReached
from sftrecipe.models.cache import Spent

__all__ = ["Budget", "Price", "UnknownPriceError"]

FIRST_GUESS = 1024
"""Tokens assumed for an answer without max_tokens before one was seen."""


class UnknownPriceError(ValueError):
    """A budget in dollars for a model whose price nobody said."""


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens."""

    input: float
    output: float

    def dollars(self, tokens_in: float, tokens_out: float) -> float:
        """The price of so many tokens."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Price | None:
        """From `{input, output}`; None where unknown."""
        return None if given is None else cls(float(given["input"]), float(given["output"]))


class Budget:
    """The limits of one model.

    Args:
        limits: {dollars, tokens, requests}, each optional; None for no limit.
        price: what tokens cost; needed where dollars are limited.
        before: what earlier runs have spent.
        name: of the model, for the message.
    """

    def __init__(self, limits: Mapping[str, float] | None, price: Price | None, before: Spent, name: str = "") -> None:
        self.limits = dict(limits or {})
        unknown = set(self.limits) - {"dollars", "tokens", "requests"}
        if unknown:
            raise ValueError(f"a budget has dollars, tokens and requests, not {', '.join(sorted(unknown))}")
        if "dollars" in self.limits and price is None:
            raise UnknownPriceError(
                f"model `{name}` has a budget in dollars and no known price: give `price: {{input: ..., output: ...}}` "
                "(dollars a million tokens), or limit tokens or requests"
            )
        self.price, self.name = price, name
        self.before = before
        self._spent = {"requests": before.requests, "tokens": before.tokens, "dollars": before.dollars}
        self._held = {"requests": 0.0, "tokens": 0.0, "dollars": 0.0}
        self._longest = 0
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.limits)

    def worst(self, tokens_in: int, max_tokens: int | None) -> Mapping[str, float]:
        """What a request costs at most, to hand to `reserve` and back to `settle`."""
        out = max_tokens or 2 * self._longest or FIRST_GUESS
        dollars = self.price.dollars(tokens_in, out) if self.price else 0.0
        return {"requests": 1.0, "tokens": float(tokens_in + out), "dollars": dollars}

    async def reserve(self, need: Mapping[str, float]) -> None:
        """Holds `need` back, waiting for refunds if it must. Raises BudgetReached."""
        while over := [k for k, top in self.limits.items() if self._spent[k] + self._held[k] + need[k] > top]:
            if not self._held["requests"]:
                raise BudgetReached(self._message(over[0]))
            refund: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(refund)
            await refund
        for kind, amount in need.items():
            self._held[kind] += amount

    def settle(
        self, need: Mapping[str, float], tokens_in: int = 0, tokens_out: int = 0, answered: bool = True
    ) -> Spent:
        """Gives the reserve back and books what was really spent, which is returned. `answered=False`: nothing."""
        for kind, amount in need.items():
            self._held[kind] -= amount
        if not self._held["requests"] or abs(self._held["requests"]) < 0.5:
            self._held = dict.fromkeys(self._held, 0.0)  # sums of floats drift: with nothing in flight nothing is held
        dollars = self.price.dollars(tokens_in, tokens_out) if self.price else 0.0
        spent = Spent(1, tokens_in + tokens_out, dollars) if answered else Spent()
        self._spent["requests"] += spent.requests
        self._spent["tokens"] += spent.tokens
        self._spent["dollars"] += spent.dollars
        self._longest = max(self._longest, tokens_out)
        waiting, self._waiting = self._waiting, []
        for refund in waiting:
            if not refund.done():
                refund.set_result(None)
        return spent

    def _message(self, kind: str) -> str:
        now, top = self._spent[kind], self.limits[kind]
        figure = f"{now:.4f} of {top:g}" if kind == "dollars" else f"{now:.0f} of {top:g}"
        earlier = getattr(self.before, kind)
        runs = f", {earlier:.4g} of it in earlier runs" if earlier else ""
        return (
            f"model `{self.name}` has spent {figure} {kind}{runs}, and the next request might cross the budget. "
            "Nothing is lost: raise `budget` and run again"
        )
