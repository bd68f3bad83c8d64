"""Small things that every operator which asks a chat model needs: conversations, prompts, and what a row costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sftrecipe.errors import RowError
from sftrecipe.lazy import pl
from sftrecipe.models.keys import estimate_tokens
from sftrecipe.operators import Cost
from sftrecipe.rows import message

__all__ = ["asks", "demand", "estimate", "prompt_file", "question", "reads_of", "render", "with_answer", "with_query"]

FIELD = re.compile(r"\{\{\s*(\w+)\s*\}\}")
Range = tuple[float, float, float]
Messages = Sequence[Mapping[str, Any]]


def prompt_file(module: str, name: str) -> str:
    """The text of `prompts/NAME.txt` beside a module (`__file__`)."""
    return (Path(module).parent / "prompts" / f"{name}.txt").read_text(encoding="utf-8").strip()


def asks(text: str, system: str | None = None) -> list[dict[str, Any]]:
    """A conversation of one question."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": text}]


def question(messages: Messages | None, system: str | None = None) -> list[dict[str, Any]]:
    """A conversation without the answer that ends it; `system` stands in for its system text.

    Raises:
        RowError: `no_query` where nobody has asked anything.
    """
    kept = [dict(m) for m in messages or ()]
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    if not any(m["role"] == "user" and (m.get("content") or "").strip() for m in kept):
        raise RowError("no_query", "there is nothing to answer")
    if system is not None:
        kept = [message("system", system), *(m for m in kept if m["role"] != "system")]
    return kept


def with_answer(messages: Messages | None, text: str | None, **more: Any) -> list[dict[str, Any]]:
    """The conversation with `text` as its last assistant turn, in place of the one that ends it."""
    kept = [dict(m) for m in messages or ()]
    while kept and kept[-1]["role"] == "assistant":
        kept.pop()
    return [*kept, message("assistant", text, **more)]


def with_query(messages: Messages | None, text: str) -> list[dict[str, Any]]:
    """The conversation with `text` as its last question; what followed that question is gone."""
    kept = [dict(m) for m in messages or ()]
    while kept and kept[-1]["role"] != "user":
        kept.pop()
    return [*kept[:-1], message("user", text)]


def reads_of(template: Any) -> list[str]:
    """The fields of a template, bound or not."""
    return list(getattr(template, "columns", None) or FIELD.findall(str(template)))


def render(template: Any, row: Mapping[str, Any]) -> str:
    """A bound template's text for one row."""
    return str(template.render(row))


def demand(row: Mapping[str, Any], fields: Iterable[str]) -> None:
    """Raises RowError `no_query` or `no_response` where a prompt would ask about a text that is not there."""
    for name in ("query", "response"):
        if name in fields and not (row.get(name) or "").strip():
            raise RowError(f"no_{name}", "there is nothing to ask about")


def estimate(
    sample: pl.DataFrame, templates: Iterable[Any], *, model: str = "model", calls: Range, tokens_out: Range
) -> Cost:
    """The cost of one row, where each of `calls` sends all `templates`.

    Tokens in: the prompts' words and the texts of their fields, four characters a token. `tokens_out` is for one call.
    """
    tokens = 0.0
    for template in templates:
        text = getattr(template, "text", None) or str(template)
        tokens += estimate_tokens(text)
        for name in {*FIELD.findall(text)} & {*sample.columns}:
            if sample.height and sample[name].dtype == pl.String:
                tokens += float(sample[name].str.len_chars().mean() or 0) / 4
    low, likely, high = calls
    out = (low * tokens_out[0], likely * tokens_out[1], high * tokens_out[2])
    return Cost(model, calls, (low * tokens, likely * tokens, high * tokens), out)
