"""What the formats share: rows that cannot be formatted, and a conversation as pairs of question and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sftrecipe import Context, RowError, Rows
from sftrecipe.chat import think
from sftrecipe.lazy import pl

__all__ = ["Pairs", "fail", "formatted", "pairs", "reply"]


class Pairs:
    """A conversation that alternates: `system` (or None) and `turns`, each (question, answer) as messages."""

    def __init__(self, system: str | None, turns: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        self.system, self.turns = system, turns


def formatted(
    rows: Rows, make: Callable[[Mapping[str, Any]], Mapping[str, Any]], kinds: Mapping[str, Any], context: Context
) -> dict[str, pl.Series]:
    """The columns `kinds` (name -> Polars type) that `make` gives for each row.

    A row for which it raises RowError is null in all of them, and its code is noted in the row's story.
    """
    columns: dict[str, list[Any]] = {name: [] for name in kinds}
    for row in rows:
        try:
            made = make(row)
        except RowError as error:
            fail(context, row["id"], error)
            made = {}
        for name, values in columns.items():
            values.append(made.get(name))
    return {name: pl.Series(name, values, dtype=kinds[name]) for name, values in columns.items()}


def fail(context: Context, row_id: str, error: RowError) -> None:
    """Notes why a row could not be formatted."""
    context.note(row_id, error.code, **({"why": error.message} if error.message else {}))


def reply(message: Mapping[str, Any], keep_reasoning: str) -> str:
    """An answer as one text."""
    return think(message.get("reasoning") if keep_reasoning == "inline" else None, message.get("content"))


def pairs(messages: Sequence[Mapping[str, Any]] | None, tools: str | None = None) -> Pairs:
    """System text and pairs of question and answer.

    Raises RowError: no_messages, has_tools (tool calls, tool turns or tools: the format has no place for them),
    unknown_role, not_alternating, no_answer (the conversation does not end with one).
    """
    if not messages:
        raise RowError("no_messages")
    if tools or any(m.get("tool_calls") or m["role"] == "tool" for m in messages):
        raise RowError("has_tools")
    heads = [m for m in messages if m["role"] in ("system", "developer")]
    rest = list(messages[len(heads) :])
    if list(messages[: len(heads)]) != heads:
        raise RowError("not_alternating", "a system turn in the middle")
    for at, message in enumerate(rest):
        if message["role"] not in ("user", "assistant"):
            raise RowError("unknown_role", str(message["role"]))
        if message["role"] != ("assistant" if at % 2 else "user"):
            raise RowError("not_alternating", f"turn {at + 1} is of the {message['role']}")
    if not rest or len(rest) % 2:
        raise RowError("no_answer")
    system = "\n\n".join(m["content"] for m in heads if m.get("content")) or None
    return Pairs(system, list(zip(rest[::2], rest[1::2], strict=True)))
