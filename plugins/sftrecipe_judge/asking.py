"""A conversation as pairs, and where a judge of answers writes its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sftrecipe.models.asking import prompt_file

__all__ = ["pairs", "prompt_text", "scored_columns"]


def prompt_text(name: str) -> str:
    """The text of `prompts/NAME.txt`."""
    return prompt_file(__file__, name)


def pairs(messages: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, str | None]]:
    """(question, answer) of each turn: a user text and the assistant text that follows it, None where none does."""
    found: list[tuple[str, str | None]] = []
    for message in messages or ():
        text = message.get("content")
        if text is None:
            continue
        if message["role"] == "user":
            found.append((text, None))
        elif message["role"] == "assistant" and found and found[-1][1] is None:
            found[-1] = (found[-1][0], text)
    return found


def scored_columns(columns: Mapping[str, str], into: str | None) -> dict[str, str]:
    """What a judge of answers writes: into the candidates where there are any, else a number column."""
    if "candidates" in columns:
        return {"candidates": "candidates"}
    return {str(into): "float"}
