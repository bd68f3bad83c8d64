"""What `format.template` and `format.tokens` share: a template from their parameters, and each row as the template sees
it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sftrecipe import RowError, Rows, StepError, Tokenizer
from sftrecipe.chat import ChatTemplate, Turns, chat_template, turns
from sftrecipe.lazy import pl

__all__ = ["conversations", "problems", "template_of"]


def template_of(tokenizer: Tokenizer | None, name: str | None, file: Any) -> ChatTemplate:
    """The template that parameters name: a file, a built-in, the tokenizer's own."""
    if file is None:
        return chat_template(tokenizer, name)
    try:
        source = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StepError(f"cannot read the chat template {file}: {error}") from error
    return chat_template(tokenizer, source=source)


def problems(template: str | None, file: Any, date: str | None) -> Iterator[str]:
    """What is wrong with these parameters together."""
    if template and file:
        yield "`template` and `file` are both given: keep one"
    try:
        datetime.fromisoformat(date or "2026-01-31")
    except ValueError:
        yield f"`date: {date}` is no date: write it as 2026-01-31"


def conversations(rows: Rows, enable_thinking: Any, date: str | None) -> list[Turns | RowError]:
    """Each row's messages and tools for the template, or why they are none."""
    thinking = _values(rows, enable_thinking)
    tools = rows["tools"].to_list() if "tools" in rows else [None] * len(rows)
    made: list[Turns | RowError] = []
    for messages, tool, thought in zip(rows["messages"].to_list(), tools, thinking, strict=True):
        try:
            made.append(turns(messages, tool, enable_thinking=thought, date=date))
        except RowError as error:
            made.append(error)
    return made


def _values(rows: Rows, expression: Any) -> list[bool | None]:
    if expression is None:
        return [None] * len(rows)
    value = expression if isinstance(expression, pl.Expr) else pl.lit(expression)
    column = rows.frame.with_columns(value.alias("_enable_thinking"))["_enable_thinking"]
    if column.dtype not in (pl.Boolean, pl.Null):
        raise StepError(
            f"`enable_thinking` is {column.dtype}, not true or false", help='write a comparison: `mode == "think"`'
        )
    return column.to_list()
