"""Dollars for a million tokens (input, output) at api.openai.com, as published in June 2026.

Prices change: `price: {input: ..., output: ...}` on the model overrides this table. A model that is not here has no
known price, which is reported as "n/a" and hurts only a budget in dollars. Elsewhere than at api.openai.com no price is
assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["PRICES", "known_price"]

PRICES: Mapping[str, tuple[float, float]] = {
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-5": (1.25, 10.00),
    "gpt-5-mini": (0.25, 2.00),
    "gpt-5-nano": (0.05, 0.40),
    "gpt-5.1": (1.25, 10.00),
    "o3": (2.00, 8.00),
    "o4-mini": (1.10, 4.40),
}


def known_price(base_url: str, model: str) -> Mapping[str, float] | None:
    """{input, output} of a model, or None. A dated name (`gpt-4o-2024-08-06`) costs what its family costs."""
    if urlsplit(base_url).hostname != "api.openai.com":
        return None
    for name in (model, model[:-11] if len(model) > 11 and model[-11] == "-" else ""):
        if name in PRICES:
            return {"input": PRICES[name][0], "output": PRICES[name][1]}
    return None
