"""`format.sharegpt`: conversations of {from, value}, with `system` and `tools` beside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Format, Param, RowError, Rows
from sftrecipe.lazy import pl
from sftrecipe_format.each import formatted, reply

__all__ = ["Sharegpt"]

_SIDES = {"human": 0, "observation": 0, "gpt": 1, "function_call": 1}


class Sharegpt(Format):
    """The ShareGPT columns: `conversations` (JSON: a list of {from, value}), `system`, `tools`.

    Words for `from`: human, gpt, observation (what a tool gave), function_call (a call in JSON; several calls are a
    list). Trainers that read this want the two sides in turn, human or observation first, and drop what is not: such
    rows are null here and noted as `not_alternating`, unless `merge_same_role` joins neighbours. Further codes:
    `no_messages`, `unknown_role`, `no_answer`, `text_beside_tool_call` (a turn has room for one of the two),
    `bad_tool_calls`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id", "messages", "tools")
    writes: ClassVar[Mapping[str, str]] = {"conversations": "json", "system": "text", "tools": "json"}
    heavy: ClassVar[bool] = True
    source: ClassVar[str] = "LLaMA-Factory's sharegpt format"

    keep_reasoning: Literal["inline", "drop"] = Param(
        "inline", doc="Reasoning goes before the answer in <think> tags, or is left out."
    )
    merge_same_role: bool = Param(False, doc="Join neighbouring turns of one role, an empty line between.")

    def format(self, rows: Rows) -> Mapping[str, Any]:
        return formatted(rows, self._row, dict.fromkeys(self.writes, pl.String()), self.context)

    def _row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        messages = row["messages"]
        if not messages:
            raise RowError("no_messages")
        heads = [m for m in messages if m["role"] in ("system", "developer")]
        if heads != list(messages[: len(heads)]):
            raise RowError("not_alternating", "a system turn in the middle")
        said: list[dict[str, str]] = []
        for message in messages[len(heads) :]:
            turn = self._turn(message)
            if said and said[-1]["from"] == turn["from"] != "function_call" and self.merge_same_role:
                said[-1]["value"] += "\n\n" + turn["value"]
            else:
                said.append(turn)
        for at, turn in enumerate(said):
            if _SIDES[turn["from"]] != at % 2:
                raise RowError("not_alternating", f"turn {at + 1} is of {turn['from']}")
        if not said or len(said) % 2:
            raise RowError("no_answer")
        system = "\n\n".join(m["content"] for m in heads if m.get("content")) or None
        return {"conversations": json.dumps(said, ensure_ascii=False), "system": system, "tools": row.get("tools")}

    def _turn(self, message: Mapping[str, Any]) -> dict[str, str]:
        role = message["role"]
        if role == "assistant" and message.get("tool_calls"):
            if (message.get("content") or "").strip():
                raise RowError("text_beside_tool_call")
            return {"from": "function_call", "value": _call(message["tool_calls"])}
        words = {"user": "human", "assistant": "gpt", "tool": "observation"}
        if role not in words:
            raise RowError("unknown_role", str(role))
        value = reply(message, self.keep_reasoning) if role == "assistant" else message.get("content") or ""
        return {"from": words[role], "value": value}


def _call(text: str) -> str:
    """Calls as {name, arguments: object}; one alone, several as a list."""
    try:
        calls = json.loads(text)
        calls = calls if isinstance(calls, list) else [calls]
        inner = [call.get("function", call) for call in calls]
        made = [
            {
                "name": c["name"],
                "arguments": json.loads(a) if isinstance(a := c.get("arguments", {}), str) and a else a or {},
            }
            for c in inner
        ]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RowError("bad_tool_calls", str(error)) from error
    if not made:
        raise RowError("bad_tool_calls", "an empty list")
    return json.dumps(made[0] if len(made) == 1 else made, ensure_ascii=False)
