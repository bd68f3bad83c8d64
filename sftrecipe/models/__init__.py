"""Models as operators see them: small protocols. Providers (`sftrecipe.model` entry points) implement them.

`ChatSession` puts record, limits, budget and retries around a provider; `run_rows` and `stream_rows` bring rows to it.
Both load when first asked for: importing this package opens nothing and starts nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sftrecipe.models.protocols import PROTOCOLS, Chat, Embedder, Likelihood, Reply, Reward, Sandbox, Tokenizer

if TYPE_CHECKING:
    from sftrecipe.models.estimate import Estimate, estimate_costs, total
    from sftrecipe.models.failures import Broken, Failure, Fatal, Refused, Unreachable, Unusable
    from sftrecipe.models.provider import Limits, Provider
    from sftrecipe.models.pull import run_rows, stream_rows
    from sftrecipe.models.session import ChatSession, Policy
    from sftrecipe.models.transport import Request, Transport

_HOME = {
    "sftrecipe.models.estimate": ("Estimate", "estimate_costs", "total"),
    "sftrecipe.models.failures": ("Broken", "Failure", "Fatal", "Refused", "Unreachable", "Unusable"),
    "sftrecipe.models.pull": ("run_rows", "stream_rows"),
    "sftrecipe.models.provider": ("Limits", "Provider"),
    "sftrecipe.models.session": ("ChatSession", "Policy"),
    "sftrecipe.models.transport": ("Request", "Transport"),
}
_WHERE = {name: home for home, names in _HOME.items() for name in names}

__all__ = [
    "PROTOCOLS",
    "Broken",
    "Chat",
    "ChatSession",
    "Embedder",
    "Estimate",
    "Failure",
    "Fatal",
    "Likelihood",
    "Limits",
    "Policy",
    "Provider",
    "Refused",
    "Reply",
    "Request",
    "Reward",
    "Sandbox",
    "Tokenizer",
    "Transport",
    "Unreachable",
    "Unusable",
    "estimate_costs",
    "run_rows",
    "stream_rows",
    "total",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module `sftrecipe.models` has no attribute `{name}`")
    return getattr(import_module(_WHERE[name]), name)
