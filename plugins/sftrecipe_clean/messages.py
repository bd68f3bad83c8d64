"""What can be wrong inside a message or conversation: tags, fences, endings, results, tool calls. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["boxed_answers", "fences_closed", "finished", "tags_closed", "tool_calls", "tool_names", "tool_problem"]

_TAG = re.compile(r"</?think>")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$", re.MULTILINE)
_MARK = re.compile(r"(\d{1,3})([.)、])|([-*+])")
# ruff: noqa: RUF001  (full-width marks are meant)
_OPENINGS = "，、：（【「『《"
_ENDINGS = frozenset(".!?…。！？｡；;\"'”’»)]}）】」』》>*_`$|~")


def tags_closed(text: str) -> bool:
    """Whether <think> and </think> come in pairs, one after the other."""
    inside = False
    for tag in _TAG.findall(text):
        if (tag == "<think>") == inside:
            return False
        inside = not inside
    return not inside


def fences_closed(text: str) -> bool:
    """Whether every fenced code block is closed.

    CommonMark: a fence opens with three or more backticks or tildes and is closed by as many of the same kind, or
    more, with nothing behind them; an opening fence of backticks has no backtick behind it.
    """
    opened = ""
    for marks, rest in _FENCE.findall(text):
        if not opened:
            opened = marks if marks[0] == "~" or "`" not in rest else ""
        elif marks[0] == opened[0] and len(marks) >= len(opened) and not rest.strip():
            opened = ""
    return not opened


def finished(text: str) -> bool:
    """Whether a text ends as finished texts do: full stop, closing quote or bracket, fence, formula, emoji.

    A last line with the mark of the list above and nothing more (`3.`, `*`) announces an item that never came.
    """
    end = text.rstrip()[-1:]
    if _bare_mark(text.rstrip()):
        return False
    emoji = end >= "\u2600" and not end.isalnum() and end not in _OPENINGS
    return end != "" and (end in _ENDINGS or emoji)


def _bare_mark(text: str) -> bool:
    above, _, last = text.rpartition("\n")
    mark = _MARK.fullmatch(last.strip())
    if mark is None:
        return False
    before = rf"{int(mark[1]) - 1}{re.escape(mark[2])}" if mark[1] else rf"{re.escape(mark[3])}[ \t]"
    return re.search(rf"^[ \t]*{before}", above, re.MULTILINE) is not None


def boxed_answers(text: str) -> list[str]:
    """What stands in \\boxed{...}, braces balanced, behind the last </think>. Empty and unclosed boxes do not count."""
    answer = text.rpartition("</think>")[2]
    found = []
    for match in re.finditer(r"\\boxed\s*\{", answer):
        depth, at = 1, match.end()
        while at < len(answer) and depth:
            depth += {"{": 1, "}": -1}.get(answer[at], 0) if answer[at - 1] != "\\" else 0
            at += 1
        if not depth and answer[match.end() : at - 1].strip():
            found.append(answer[match.end() : at - 1])
    return found


def tool_calls(text: str) -> list[tuple[str, str | None]] | None:
    """(name, id) of each call in a message's tool_calls; null if they are not JSON objects with a name and arguments.

    Both the bare form {name, arguments} and OpenAI's {id, type, function: {name, arguments}} are read; arguments are
    an object or its JSON text.
    """
    try:
        calls = json.loads(text)
    except ValueError:
        return None
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        inner = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
            return None
        if not _is_object(inner.get("arguments")):
            return None
        found.append((inner["name"], call.get("id")))
    return found


def _is_object(arguments: Any) -> bool:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return False
    return isinstance(arguments, dict)


def tool_names(text: str | None) -> set[str] | None:
    """The names in a row's `tools`; null if it offers none that can be read."""
    try:
        tools = json.loads(text) if text else None
    except ValueError:
        return None
    if not isinstance(tools, list):
        return None
    inner = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    names = {tool["name"] for tool in inner if isinstance(tool, dict) and isinstance(tool.get("name"), str)}
    return names or None


def tool_problem(messages: Sequence[Mapping[str, Any]], tools: str | None) -> str | None:
    """The code of the first thing wrong with the tool calls of one conversation, or null."""
    offered = tool_names(tools)
    asked = False  # whether the assistant's latest message calls tools
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if not asked:
                return "tool_result_unasked"
            continue
        text = (message.get("tool_calls") or "").strip() if message["role"] == "assistant" else ""
        asked = text not in ("", "null", "[]")
        if asked:
            problem = _call_problem(text, messages[at + 1 :], offered)
            if problem:
                return problem
    return None


def _call_problem(text: str, after: Sequence[Mapping[str, Any]], offered: set[str] | None) -> str | None:
    calls = tool_calls(text)
    if not calls:
        return "tool_call_invalid"
    if offered is not None and any(name not in offered for name, _ in calls):
        return "tool_unknown"
    results = []
    for message in after:
        if message["role"] != "tool":
            break
        results.append(message.get("tool_call_id"))
    if not after:
        return None
    wanted = {call for _, call in calls if call}
    named = {result for result in results if result}
    # results without ids (older data sets) cannot be told apart, and one message may hold several
    return "tool_call_unanswered" if not results or (wanted and named and not wanted <= named) else None
