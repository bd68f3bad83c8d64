"""Whole numbers in given proportions: Hamilton's largest remainder under caps.

Input: weights w_s > 0, a total N, caps c_s (None: no cap). Output: n_s with sum(n_s) = N exactly.

1. Water-filling. The quota of an open part is q_s = R * w_s / sum(w of open parts), where R is what the closed parts
   leave. Every part with q_s >= c_s is closed at c_s; the rest share again, until no quota passes its cap.
2. Largest remainder. Open parts get floor(q_s); the units still missing go to the largest fractional parts, ties to the
   smaller name.

So |n_s - q_s| < 1 for every open part, and n_s <= c_s everywhere: a cap is whole, hence ceil(q_s) <= c_s.
Arithmetic is exact (fractions), so shares such as 1/3 cannot drift. Cost: O(k^2) for k parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import floor

__all__ = ["allocate", "largest_total"]


def allocate(
    weights: Mapping[str, Fraction], total: int, caps: Mapping[str, int | None] | None = None
) -> dict[str, int]:
    """`total` units over the parts. Raises ValueError when all caps together hold less than `total`."""
    limits = {name: (caps or {}).get(name) for name in weights}
    bounded = [cap for cap in limits.values() if cap is not None]
    if len(bounded) == len(limits) and sum(bounded) < total:
        raise ValueError(f"{total:,} asked for, {sum(bounded):,} can be had")
    counts: dict[str, int] = {}
    quotas = _shares(weights, total)
    while full := {s: c for s in quotas if (c := limits[s]) is not None and quotas[s] >= c}:
        counts |= full
        quotas = _shares({s: weights[s] for s in quotas if s not in full}, total - sum(counts.values()))
    lower = {s: floor(q) for s, q in quotas.items()}
    missing = total - sum(counts.values()) - sum(lower.values())
    for s in sorted(quotas, key=lambda s: (lower[s] - quotas[s], s))[:missing]:
        lower[s] += 1
    counts |= lower
    return {s: counts[s] for s in weights}


def largest_total(weights: Mapping[str, Fraction], available: Mapping[str, int]) -> int:
    """The largest total that these weights can share without any part giving more than it has."""
    whole = sum(weights.values(), Fraction(0))
    return min((floor(available[s] * whole / w) for s, w in weights.items()), default=0)


def _shares(weights: Mapping[str, Fraction], total: int) -> dict[str, Fraction]:
    whole = sum(weights.values(), Fraction(0))
    return {s: total * w / whole for s, w in weights.items()}
