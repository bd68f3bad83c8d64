"""What every judging operator needs: prompts as files, a conversation as pairs, and what a row costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe import Cost, RowError
from sftrecipe.models.keys import estimate_tokens

if TYPE_CHECKING:
    import polars as pl

__all__ = ["asks", "demand", "estimate", "pairs", "prompt", "reads_of", "scored_columns"]

FIELD = re.compile(r"\{\{\s*(\w+)\s*\}\}")
Range = tuple[float, float, float]


def prompt(name: str) -> str:
    """The text of `prompts/NAME.txt`."""
    return (Path(__file__).parent / "prompts" / f"{name}.txt").read_text(encoding="utf-8").strip()


def asks(text: str, system: str | None = None) -> list[dict[str, Any]]:
    """A conversation of one question."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": text}]


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


def reads_of(template: Any) -> list[str]:
    """The fields of a template, bound or not."""
    return list(getattr(template, "columns", None) or FIELD.findall(str(template)))


def demand(row: Mapping[str, Any], fields: Iterable[str]) -> None:
    """Raises RowError `no_query` or `no_response` where a prompt would ask about a text that is not there."""
    for name in ("query", "response"):
        if name in fields and not (row.get(name) or "").strip():
            raise RowError(f"no_{name}", "there is nothing to ask about")


def scored_columns(columns: Mapping[str, str], into: str | None) -> dict[str, str]:
    """What a judge of answers writes: into the candidates where there are any, else a number column."""
    if "candidates" in columns:
        return {"candidates": "candidates"}
    return {str(into): "float"}


def estimate(
    sample: pl.DataFrame, templates: Iterable[Any], *, model: str = "model", calls: Range, tokens_out: Range
) -> Cost:
    """Tokens in: each prompt's words and the texts of its fields, four characters a token. Tokens out: as given, a call."""
    tokens = 0.0
    for template in templates:
        text = getattr(template, "text", None) or str(template)
        tokens += estimate_tokens(text)
        for name in {*FIELD.findall(text)} & {*sample.columns}:
            if sample.height and sample[name].dtype == _text():
                tokens += float(sample[name].str.len_chars().mean() or 0) / 4  # type: ignore[arg-type]
    low, likely, high = calls
    out = (low * tokens_out[0], likely * tokens_out[1], high * tokens_out[2])
    return Cost(model, calls, (low * tokens, likely * tokens, high * tokens), out)


def _text() -> Any:
    import polars as pl

    return pl.String
