"""`expect:`: what a step promises about its own figures, checked when it is done."""

from __future__ import annotations

from typing import Any

from sftrecipe.artefacts import load, path_of
from sftrecipe.errors import StepError
from sftrecipe.expressions import ExpressionError, evaluate
from sftrecipe.ledger import Counts
from sftrecipe.plan.node import Node
from sftrecipe.run.result import Result

__all__ = ["check_expectations"]


def check_expectations(node: Node, counts: Counts, result: Result) -> None:
    """Raises StepError R651 when an expectation is not met, with the figures that decide."""
    for text in node.step.expect:
        names: dict[str, Any] = {**counts.names(), "params": node.step.constants, **_measured(result)}
        for code in _codes(text):
            names.setdefault(code, 0)
        try:
            met = evaluate(text, names)
        except ExpressionError as error:
            raise StepError(f"`expect: {text}`: {error}", step=node.id, code="R651", help=error.help) from error
        if not met:
            figures = ", ".join(
                f"{k} = {v}" for k, v in names.items() if k.split(".")[0] in text and not isinstance(v, dict)
            )
            raise StepError(f"`{node.id}` was expected to have {text}; {figures}", step=node.id, code="R651")


def _codes(text: str) -> list[str]:
    import re

    return re.findall(r"\bdropped\.\w+", text)


def _measured(result: Result) -> dict[str, Any]:
    """The numbers among a measure's artefacts."""
    found = {}
    for name in result.manifest.get("artefacts", {}):
        path = path_of(result.folder, name)
        if path is not None and path.suffix == ".json":
            value = load(path)
            if isinstance(value, (int, float, bool)):
                found[name] = value
    return found
