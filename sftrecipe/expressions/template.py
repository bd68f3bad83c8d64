"""Texts with `{{column}}` fields: prompts and the like.

A field is a column, `params.name`, or a text in quotes (`{{"{{"}}` writes two braces). One brace is a brace; what a
value holds is never looked at again, so a row cannot smuggle a field into a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sftrecipe.errors import did_you_mean
from sftrecipe.expressions.language import ExpressionError

__all__ = ["TemplateText", "template_columns"]

_FIELD = re.compile(r"\{\{(?:\s*(\"[^\"\n]*\"|'[^'\n]*'|[^{}]*?)\s*\}\}|)")
_NAME = re.compile(r"[^\W\d]\w*")
_QUOTES = ("'", '"')


class TemplateText:
    """A template, read once: `TemplateText("Rate: {{response}}").render(row)`.

    `columns` are the columns that it reads. Raises ExpressionError: R540 for a `{{` that is not closed, R541 for what
    is no field, R522 for an unknown parameter.
    """

    def __init__(self, text: str, params: Mapping[str, Any] | None = None) -> None:
        self.text = text
        self._parts: list[tuple[str, str]] = []  # (fixed text, column behind it or "")
        at = 0
        for match in _FIELD.finditer(text):
            fixed, column = self._read(match, params)
            self._parts.append((text[at : match.start()] + fixed, column))
            at = match.end()
        self._parts.append((text[at:], ""))

    def _read(self, match: re.Match[str], params: Mapping[str, Any] | None) -> tuple[str, str]:
        """(fixed text, column) of one field."""
        field, start, end = match.group(1), match.start(), match.end()
        if field is None:
            advice = 'close it with }}; two braces as text are written {{"{{"}}'
            raise ExpressionError("R540", "this `{{` is never closed", start, end, advice)
        if field[:1] in _QUOTES and field[-1:] in _QUOTES and len(field) > 1:
            return field[1:-1], ""
        if field.startswith("params.") and _NAME.fullmatch(field[7:]):
            return self._param(field[7:], params, match.start(1), match.end(1)), ""
        if not _NAME.fullmatch(field):
            shown = f"`{field}` is no field" if field else "this field is empty"
            advice = "a field is a column or params.name; compute other things with `tag:` or `score:` first"
            raise ExpressionError("R541", shown, start, end, advice)
        return "", field

    def _param(self, name: str, params: Mapping[str, Any] | None, start: int, end: int) -> str:
        known = params or {}
        if name not in known:
            raise ExpressionError("R522", f"there is no parameter `{name}`", start, end, did_you_mean(name, known))
        return _shown(known[name])

    @property
    def columns(self) -> list[str]:
        """The columns that it reads, in order, each once."""
        return list(dict.fromkeys(column for _, column in self._parts if column))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text for one row. A null renders as nothing, a list with `, ` between, true and false in small letters.

        Raises KeyError for a column that the row does not have.
        """
        return "".join(fixed + (_shown(row[column]) if column else "") for fixed, column in self._parts)


def template_columns(text: str) -> list[str]:
    """The columns that a template reads. Raises ExpressionError like TemplateText; parameters are not looked up."""
    return TemplateText(text, _AnyParams()).columns


class _AnyParams(dict[str, Any]):
    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return ""

    def __bool__(self) -> bool:
        return True


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        import json

        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Sequence):
        return ", ".join(map(_shown, value))
    return str(value)
