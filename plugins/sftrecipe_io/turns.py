"""One message of a conversation, whatever its source calls things, as one `Turn`.

| here | read from |
|---|---|
| role | `role`, `from`: human is user; gpt, model, bot are assistant; observation, function, ipython are tool |
| content | `content`, `value`, `text`; a list of text parts is joined without a separator, as chat templates do |
| reasoning | `reasoning`, `reasoning_content`, `thinking`; `<think>` inside content stays where it is |
| tool_calls | `tool_calls` or `function_call` (list, object, JSON text), or a turn whose role is function_call |
| name, tool_call_id | the same |

`tool_calls` is JSON text of a list. What a message holds beside is handed back, never lost; only nulls are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sftrecipe import RowError
from sftrecipe_io.jsonio import dump, kind, loads

__all__ = ["ROLES", "Turn", "json_list", "read_turn", "read_turns"]

ROLES: Mapping[str, str] = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "chatbot"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response", "ipython"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "call"),
    "system": "system",
    "developer": "developer",
}
"""Role words as sources write them, and ours; `call` becomes an assistant turn with tool calls."""

_TEXT = ("content", "value", "text")
_REASONING = ("reasoning", "reasoning_content", "thinking")


class Turn(NamedTuple):
    """A message; `tool_calls` is JSON text."""

    role: str
    content: str | None
    reasoning: str | None = None
    tool_calls: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


def read_turns(items: list[Any]) -> tuple[list[Turn], list[Any] | None]:
    """Every message of a list, and what they held beside (aligned, null where nothing), or None where none did."""
    made = [read_turn(item) for item in items]
    rests = [rest for _, rest in made]
    return [turn for turn, _ in made], rests if any(rests) else None


def read_turn(item: Any) -> tuple[Turn, dict[str, Any] | None]:
    """One message and what it held beside. Raises RowError: wrong_schema, unknown_role, bad_content, bad_tool_calls."""
    if item.__class__ is not dict:
        raise RowError("wrong_schema", f"a message is {kind(item)}, not an object")
    rest = {key: value for key, value in item.items() if value is not None}
    word = rest.pop("role", None) if "role" in rest else rest.pop("from", None)
    role = ROLES.get(word.lower()) if word.__class__ is str else None
    if role is None:
        raise RowError("unknown_role", f"`{word}`" if word is not None else "a message has no role")
    text = next((key for key in _TEXT if key in rest), None)
    if role == "call":
        turn = Turn("assistant", None, None, _called(rest.pop(text) if text else None))
    else:
        content = _content(role, rest, text)
        turn = Turn(role, content, _reasoning(rest), _calls(rest), _word(rest, "name"), _word(rest, "tool_call_id"))
    return turn, rest or None


def json_list(value: Any, code: str) -> str | None:
    """A list, an object (a list of one), or JSON text of either, as JSON text; None where there is nothing in it."""
    if value.__class__ is str:
        if not value.strip():
            return None
        parsed = _parse(value, code)
        if parsed.__class__ is list:
            return value.strip() if parsed else None
        value = parsed
    if value.__class__ is dict:
        return dump([value]).decode()
    if value.__class__ is not list:
        raise RowError(code, f"is {kind(value)}, not a list")
    return dump(value).decode() if value else None


def _content(role: str, rest: dict[str, Any], key: str | None) -> str | None:
    """The text of a message. Parts that hold more than text stay in `rest` beside the text."""
    value = rest.pop(key) if key else None
    if value is None or value.__class__ is str:
        return value
    if role == "tool" and not _is_parts(value):
        return dump(value).decode()  # a result that is no text: its JSON
    if not _is_parts(value):
        raise RowError("bad_content", f"`{key}` is {kind(value)}, not text")
    texts = []
    for part in value:
        text = part if part.__class__ is str else part.get("text")
        if text.__class__ is not str or (part.__class__ is dict and part.get("type", "text") != "text"):
            raise RowError("bad_content", f"a part of type `{part.get('type')}`, not text")
        texts.append(text)
    if any(part.__class__ is dict and set(part) - {"type", "text"} for part in value):
        rest[str(key)] = value
    return "".join(texts)


def _is_parts(value: Any) -> bool:
    if value.__class__ is not list:
        return False
    return all(
        part.__class__ is str or (part.__class__ is dict and ("type" in part or "text" in part)) for part in value
    )


def _reasoning(rest: dict[str, Any]) -> str | None:
    found = next((key for key in _REASONING if rest.get(key).__class__ is str), None)
    return rest.pop(found) if found else None


def _word(rest: dict[str, Any], key: str) -> str | None:
    return rest.pop(key) if rest.get(key).__class__ is str else None


def _calls(rest: dict[str, Any]) -> str | None:
    if "tool_calls" in rest:
        return json_list(rest.pop("tool_calls"), "bad_tool_calls")
    return _called(rest.pop("function_call")) if "function_call" in rest else None


def _called(value: Any) -> str:
    """What a turn of role function_call holds (one call or a list of them), in the shape of OpenAI's tool_calls."""
    parsed = _parse(value, "bad_tool_calls") if value.__class__ is str else value
    calls = parsed if parsed.__class__ is list else [parsed]
    if not calls or not all(call.__class__ is dict and call.get("name").__class__ is str for call in calls):
        raise RowError("bad_tool_calls", "a call is no object with a `name`")
    return dump([{"type": "function", "function": call} for call in calls]).decode()


def _parse(text: str, code: str) -> Any:
    try:
        return loads(text)
    except RowError as error:
        raise RowError(code, f"no JSON ({error})") from error
