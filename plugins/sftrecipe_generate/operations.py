"""The ways of Evol-Instruct to change a question (Xu et al. 2023), in our own words, and how one is chosen.

Five go deeper (constraints, deepen, concretize, reasoning, complicate), one goes broader (breadth). The released code
of WizardLM lacks `complicate`; the paper shows it by examples, here it is asked for in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import np
from sftrecipe.models.asking import asks, render

if TYPE_CHECKING:
    from sftrecipe import Chat

__all__ = ["BREADTH", "DEPTH", "choose", "propose", "weights_of"]

BREADTH = "breadth"
DEPTH: Mapping[str, str] = {
    "constraints": (
        "Add one condition or requirement that the answer must meet, and that really changes what a good answer is."
    ),
    "deepen": "Make it go further into what it asks about: causes, limits, consequences, or how it compares.",
    "concretize": "Put the particular in place of the general: a named case, a definite situation, exact quantities.",
    "reasoning": (
        "Change it so that it can only be answered by several steps of thought that build on each other; do not say so."
    ),
    "complicate": (
        "Add material that must be worked on to answer it: a table, a piece of JSON or XML, code, an SQL schema, a "
        "formula, a log. Write the material out in full and make the request about it."
    ),
}


def weights_of(operations: Mapping[str, float], methods: Mapping[str, str]) -> dict[str, float]:
    """The operations that may be drawn and their weights, in the order of their names. Raises ValueError for unknown
    ones.
    """
    unknown = sorted(set(operations) - {*DEPTH, *methods, BREADTH})
    if unknown:
        raise ValueError(f"unknown operation `{unknown[0]}`; there are {', '.join([*DEPTH, BREADTH, *methods])}")
    if any(w < 0 for w in operations.values()) or not sum(operations.values()):
        raise ValueError("weights of operations are positive numbers, and not all 0")
    return {name: float(operations[name]) for name in sorted(operations) if operations[name] > 0}


def choose(drawn: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One operation, with probability proportional to its weight."""
    at = drawn.random() * sum(weights.values())
    for name, weight in weights.items():
        at -= weight
        if at < 0:
            return name
    return next(reversed(dict(weights)))


async def propose(
    model: Chat,
    template: Any,
    row: Mapping[str, Any],
    query: str,
    settings: Mapping[str, Any],
    *,
    sample: int = 0,
    **fields: Any,
) -> str:
    """A model's rewriting of `query`. Raises RowError, `truncated` where it was cut."""
    asked = asks(render(template, {**row, "query": query, **fields}))
    text = (await model.chat(asked, first=sample, complete=True, **settings))[0].text.strip()
    return unwrapped(text, ("```", '"""', '"'))


def unwrapped(text: str, marks: Sequence[str]) -> str:
    """A text without quotes around the whole of it, which models like to put there."""
    for mark in marks:
        inner = text[len(mark) : -len(mark)]
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and mark not in inner:
            return inner.strip()
    return text
