"""An operator given as value (`verify: score.tests`, `until: {score.judge: {...}}`), asked about one answer.

A filter passes what it keeps. A score passes by its column `passed`, or else by its only column: true or 1 passes,
false, 0 and null do not, and any other number needs `at_least`. A row error of the operator is the row's error.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sftrecipe import Filter, Operator, Score, StepError
from sftrecipe.lazy import pl
from sftrecipe.models.asking import with_answer
from sftrecipe.rows import DERIVED, Rows, frame_of

__all__ = ["Verifier", "problem_of", "verdict_of"]


def problem_of(operator: Any, name: str) -> str | None:
    """What is wrong with an operator as verifier, for `check()`."""
    if isinstance(operator, (Filter, Score)) or operator is None:
        return None
    return f"`{name}` needs a score or a filter, not a {getattr(operator, 'verb', 'value')}"


def verdict_of(value: Any, at_least: float | None, name: str) -> bool:
    """Whether a score's value passes. Raises StepError for a number that says neither."""
    if value is None:
        return False
    if isinstance(value, bool):
        return value
    if at_least is not None:
        return float(value) >= at_least
    if value in (0, 1):
        return bool(value)
    raise StepError(
        f"`{name}` gave {value:g}, which is neither passed nor failed", help="say from where on it passes: `at_least`"
    )


class Verifier:
    """Asks `operator` (bound) whether an answer passes. `columns`: `self.context.columns`."""

    def __init__(self, operator: Operator, columns: Mapping[str, str], at_least: float | None = None) -> None:
        self._operator, self._at_least = operator, at_least
        self._columns = {n: w for n, w in {**DERIVED, **columns}.items() if n != "candidates"}
        flow = operator.flow(self._columns)
        self._reads = ["id", *(n for n in flow.reads if n != "id")]
        writes = list(flow.writes)
        self._verdict = "passed" if "passed" in writes or not writes else writes[0]
        if isinstance(operator, Score) and len(writes) > 1 and "passed" not in writes:
            raise StepError(f"`{operator.name}` writes {', '.join(writes)}: none of them says whether an answer passes")

    async def passes(self, row: Mapping[str, Any], text: str | None) -> bool:
        """Whether the row passes with `text` as its answer."""
        messages = with_answer(row.get("messages"), text)
        said = "\n".join(m["content"] for m in messages if m.get("content") is not None)
        return await self.holds({**row, "messages": messages, "response": text, "conversation": said})

    async def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row passes as it is."""
        operator = self._operator
        if isinstance(operator, Filter):
            if type(operator).keep_row is not Filter.keep_row:
                return (await _awaited(operator.keep_row(self._view(row)))) is True
            return self._kept(operator.keep(self._rows(row)), row)
        assert isinstance(operator, Score)
        if type(operator).score_row is not Score.score_row:
            given = await _awaited(operator.score_row(self._view(row)))
        else:
            given = {n: self._first(v, row) for n, v in operator.score(self._rows(row)).items()}
        value = given.get(self._verdict) if isinstance(given, Mapping) else given
        return verdict_of(value, self._at_least, operator.name)

    def _view(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row.get(name) for name in self._reads}

    def _rows(self, row: Mapping[str, Any]) -> Rows:
        return Rows(frame_of([row], {n: self._columns.get(n, "any") for n in self._reads}))

    def _first(self, value: Any, row: Mapping[str, Any]) -> Any:
        if isinstance(value, pl.Expr):
            value = self._rows(row).frame.select(value.alias("value"))["value"]
        if isinstance(value, (bool, int, float)) or value is None:
            return value
        found = value[0]
        return found.item() if hasattr(found, "item") else found

    def _kept(self, verdict: Any, row: Mapping[str, Any]) -> bool:
        named = verdict.values() if isinstance(verdict, Mapping) else [verdict]
        return all(self._first(m[0] if isinstance(m, tuple) else m, row) is True for m in named)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
