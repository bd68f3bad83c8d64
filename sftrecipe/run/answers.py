"""What an `answer` step hands back, as columns: the last assistant turn, candidates, or a text column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sftrecipe.rows import message
from sftrecipe.types import CANDIDATE_FIELDS

if TYPE_CHECKING:
    from sftrecipe.run.batch import Live

__all__ = ["after_failure", "as_columns", "with_turn"]


def as_columns(live: Live, row: Mapping[str, Any], answer: Any) -> Mapping[str, Any]:
    """{column: value} of one row. A dict with `text` is the turn, a list the candidates, any other dict columns."""
    if isinstance(answer, Sequence) and not isinstance(answer, (str, bytes)):
        if not all(isinstance(c, Mapping) for c in answer):
            raise live.fault("answered a list of other things than dicts", str(row.get("id")))
        return {"candidates": [{f: c.get(f) for f in CANDIDATE_FIELDS} for c in answer]}
    if not isinstance(answer, Mapping):
        raise live.fault(f"answered {type(answer).__name__}; a dict or a list of dicts is needed", str(row.get("id")))
    text = answer.get("text", answer.get("content"))
    if "messages" not in live.spec.writes or (text is None and "tool_calls" not in answer):
        return answer
    if not isinstance(text, (str, type(None))):
        raise live.fault(f"answered {type(text).__name__} as `text`", str(row.get("id")))
    turn = message("assistant", text, reasoning=answer.get("reasoning"), tool_calls=answer.get("tool_calls"))
    return {"messages": with_turn(row["messages"], turn), **answer.get("columns", {})}


def after_failure(live: Live, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The conversation of a row that got no answer: without its last assistant turn, unless the operator keeps it."""
    messages = row.get("messages")
    if messages is None or getattr(live.operator, "keeps_turn", False):
        return None if messages is None else [dict(m) for m in messages]
    return with_turn(messages, {})[:-1]


def with_turn(messages: Sequence[Mapping[str, Any]] | None, turn: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation with `turn` as its last assistant message, in place of the one that ends it now."""
    kept = [dict(m) for m in messages or ()]
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    return [*kept, turn]
