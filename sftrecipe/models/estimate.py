"""What a step will ask of a model before anything is sent: calls, tokens, dollars, time, as low, likely and high.

Operators say what one row costs (`Operator.cost`, from a sample); here that is multiplied by the rows and by what is
known of the model. Time is the largest of three: calls times seconds over the concurrency, calls over the requests a
minute, tokens over the tokens a minute. Seconds a call come from recorded answers of the same model, or from its tokens
at 100, 50 or 20 a second plus half a second. An unknown price gives no dollars ("n/a"), never an error. Retries and
answers that are recorded already are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sftrecipe.models.budget import Price
from sftrecipe.models.provider import Limits
from sftrecipe.operators import Cost

__all__ = ["Estimate", "Range", "estimate_costs", "total"]

Range = tuple[float, float, float]
SPEEDS = (100.0, 50.0, 20.0)
"""Tokens a second of a model nobody has timed: fast for the low end, slow for the high."""
OVERHEAD = 0.5


@dataclass(frozen=True)
class Estimate:
    """Each figure as (low, likely, high). `dollars` is None without a price; `seconds` is wall time."""

    model: str
    calls: Range
    tokens_in: Range
    tokens_out: Range
    dollars: Range | None
    seconds: Range

    def __str__(self) -> str:
        dollars = "n/a" if self.dollars is None else _span(self.dollars, "{:.2f}")
        return (
            f"{self.model}: {_span(self.calls)} calls, {_span(self.tokens_in)} tokens in, "
            f"{_span(self.tokens_out)} out, {dollars} dollars, {_span(self.seconds)} s"
        )


def estimate_costs(
    costs: Iterable[Cost],
    rows: float,
    *,
    limits: Mapping[str, Limits] | None = None,
    concurrency: Mapping[str, int] | None = None,
    seconds: Mapping[str, Sequence[float]] | None = None,
) -> list[Estimate]:
    """One estimate for each Cost of an operator over `rows` rows.

    Args:
        costs: per row, as `Operator.cost` gives them.
        limits: rates and price by model parameter (`Provider.limits()`).
        concurrency: requests in flight by model parameter; 64 where it is not given.
        seconds: recorded seconds of answers by model parameter (`ChatSession.seconds()`).
    """
    found = []
    for cost in costs:
        known = (limits or {}).get(cost.model, Limits())
        times = sorted((seconds or {}).get(cost.model, ()))
        found.append(_one(cost, rows, known, (concurrency or {}).get(cost.model, 64), times))
    return found


def total(estimates: Sequence[Estimate]) -> Estimate:
    """All together: steps run one after another, so times add up. Dollars are unknown as soon as one is."""
    dollars = [e.dollars for e in estimates if e.dollars is not None]
    return Estimate(
        "total",
        _sum([e.calls for e in estimates]),
        _sum([e.tokens_in for e in estimates]),
        _sum([e.tokens_out for e in estimates]),
        _sum(dollars) if len(dollars) == len(estimates) else None,
        _sum([e.seconds for e in estimates]),
    )


def _one(cost: Cost, rows: float, limits: Limits, concurrency: int, times: Sequence[float]) -> Estimate:
    calls, tokens_in, tokens_out = _times(cost.calls, rows), _times(cost.tokens_in, rows), _times(cost.tokens_out, rows)
    price = Price.of(limits.price)
    dollars = tuple(price.dollars(i, o) for i, o in zip(tokens_in, tokens_out, strict=True)) if price else None
    per_call = _per_call(cost, times)
    lasts = []
    for n, tokens, one in zip(calls, map(sum, zip(tokens_in, tokens_out, strict=True)), per_call, strict=True):
        by_requests = 60 * n / limits.requests_per_minute if limits.requests_per_minute else 0.0
        by_tokens = 60 * tokens / limits.tokens_per_minute if limits.tokens_per_minute else 0.0
        lasts.append(max(n * one / max(1.0, min(concurrency, n)), by_requests, by_tokens))
    return Estimate(cost.model, calls, tokens_in, tokens_out, _range(dollars) if dollars else None, _range(lasts))


def _per_call(cost: Cost, times: Sequence[float]) -> Range:
    """Seconds an answer takes: quartiles of what was recorded, or from its length."""
    if times:
        last = len(times) - 1
        return times[last // 4], times[last // 2], times[last - last // 4]
    lengths = [out / calls if calls else 0.0 for out, calls in zip(cost.tokens_out, cost.calls, strict=True)]
    return _range([OVERHEAD + length / speed for length, speed in zip(lengths, SPEEDS, strict=True)])


def _times(figure: Range, rows: float) -> Range:
    return figure[0] * rows, figure[1] * rows, figure[2] * rows


def _sum(figures: Sequence[Range]) -> Range:
    return _range([sum(part) for part in zip(*figures, strict=True)] if figures else [0.0, 0.0, 0.0])


def _range(values: Sequence[float]) -> Range:
    low, likely, high = values
    return low, likely, high


def _span(figure: Range, form: str = "{:,.0f}") -> str:
    return f"{form.format(figure[1])} ({form.format(figure[0])} to {form.format(figure[2])})"
