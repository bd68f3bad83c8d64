"""PyYAML's events to a tree of nodes, with types, anchors, limits and the problems that are no errors of syntax.

Types are those of the YAML 1.2 core schema: `null ~` and nothing, `true false`, integers (decimal, `0o17`, `0x1f`;
`017` is 17) and floats (`2e-5` is one). `no`, `on`, `1:30`, `1_000` and dates are text. `.inf`, `.nan`, floats too
large for 64 bits and integers beyond 64 bits are errors: no parameter of a recipe has a use for them, and JSON, in
which recipes are hashed, has no sign for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from sftrecipe.errors import Problem, Span
from sftrecipe.yamlerrors import joined_by_comma
from sftrecipe.yamlplaces import Scalar, places

__all__ = ["MAX_DEPTH", "MAX_VALUES", "Builder", "Node", "TooMuchError", "resolve"]

MAX_DEPTH = 40
MAX_VALUES = 20_000

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def resolve(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema: `resolve("1e3") == 1000.0`, `resolve("no") == "no"`.

    Raises ValueError for what is written as a number and is none that 64 bits hold.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        # what has no more than 64 digits may fit, as hexadecimal; Python itself refuses to convert very long ones
        value = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(text) <= 70 else 1 << 64
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError("an integer beyond 64 bits")
        return value
    if _FLOAT.fullmatch(text):
        number = float(text)
        if abs(number) == float("inf"):
            raise ValueError("a number too large for 64 bits")
        return number
    if _NO_NUMBER.fullmatch(text):
        raise ValueError("no finite number")
    return text


class TooMuchError(Exception):
    """A limit was passed: what follows is not looked at."""


@dataclass(slots=True)
class Node:
    """A scalar, a mapping or sequence (`items`: key or None, and value), or an alias (`target`).

    Line and columns count from 0; `end` is the column behind it, or behind its first line. `values` counts what it
    expands to, `height` how many levels are below it.
    """

    line: int
    column: int
    end: int
    scalar: Scalar | None = None
    value: Any = None
    target: Node | None = None
    items: list[tuple[Node | None, Node]] = field(default_factory=list)
    keyed: bool = False
    flow: bool = False
    open: bool = False
    key: Node | None = None
    values: int = 1
    height: int = 0

    @property
    def plain(self) -> str | None:
        """The text of a scalar without quotes."""
        return self.scalar.text if self.scalar and not self.scalar.style else None

    def span(self, file: str) -> Span:
        """Its place for errors."""
        return Span(file, self.line + 1, self.column + 1, self.end + 1)


class Builder:
    """Events to nodes. Gathers problems; raises `TooMuchError` where going on could cost too much."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self.file, self.lines = file, lines
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self._anchors: dict[str, Node] = {}
        self._stack: list[Node] = []
        self._documents = 0
        self._seen = 0

    def take(self, event: Any) -> None:
        """One event of the stream."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                advice = "keep one recipe in one file, without a second `---`"
                self._problem("R006", "a second document begins here", self._mark(event.start_mark, 3), help=advice)
                raise TooMuchError
        elif isinstance(event, yaml.NodeEvent):
            self._seen += 1
            if self._seen > 2 * MAX_VALUES:  # keys count here too; the exact count is made where nodes close
                self._too_many(self._mark(event.start_mark, 1))
            self._node(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = self._stack.pop()
            node.open, node.end = False, self._end(node, event.end_mark)
            self._close(node)

    def _node(self, event: Any) -> None:
        start, end = event.start_mark, event.end_mark
        node = Node(start.line, start.column, start.column)
        node.end = self._end(node, end)
        if isinstance(event, yaml.AliasEvent):
            self._alias(node, str(event.anchor))
            self._add(node)
            return
        if event.tag is not None:
            self._tag(event)
        if event.anchor:
            self._anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(node, event)
            self._add(node)
            return
        node.keyed, node.flow, node.open = isinstance(event, yaml.MappingStartEvent), bool(event.flow_style), True
        if len(self._stack) == MAX_DEPTH:
            self._too_deep(self._mark(start, 1))
        self._stack.append(node)

    def _end(self, node: Node, mark: Any) -> int:
        last = mark.column if mark.line == node.line else len(self.lines[node.line].rstrip())
        return max(node.column, int(last))

    def _scalar(self, node: Node, event: Any) -> None:
        end, style = event.end_mark, event.style or ""
        node.value = event.value
        node.scalar = Scalar(event.value, style, node.line, node.column, end.line, end.column)
        for at, char in enumerate(event.value) if style == '"' else ():
            if "\ud800" <= char <= "\udfff":  # libyaml refuses the escape itself, the Python parser lets it through
                place = places(node.scalar, self.lines)[at]
                span = Span(self.file, place.line + 1, place.column + 1, place.column + 1 + place.width)
                advice = r"write the character itself, or \U and its eight digits"
                self._problem("R022", "half of a surrogate pair is no character", span, help=advice)
        if style:
            return
        try:
            node.value = resolve(event.value)
        except ValueError as error:
            shown = event.value if len(event.value) <= 30 else f"{event.value[:30]}..."
            self._problem("R014", f"`{shown}` is {error}", node.span(self.file), help="if text is meant, quote it")

    def _alias(self, node: Node, name: str) -> None:
        target = self._anchors.get(name)
        if target is None or target.open:
            why = "stands inside what it names" if target else "names nothing above"
            advice = "an anchor `&name` must stand above; if text is meant, quote it"
            self._problem("R013", f"the alias `*{name}` {why}", node.span(self.file), help=advice)
            return
        node.target, node.values, node.height = target, target.values, target.height
        if len(self._stack) + target.height > MAX_DEPTH:
            self._too_deep(node.span(self.file))

    def _tag(self, event: Any) -> None:
        line = self.lines[event.start_mark.line][event.start_mark.column :]
        word = re.match(r"(?:&\S+\s+)?(!\S*)", line)
        shown = word.group(1) if word else event.tag
        advice = "remove it; for text that begins with `!`, use quotes; the opposite of a condition is `not x`"
        self._problem(
            "R009", f"`{shown}` is a YAML tag; a recipe has none", self._mark(event.start_mark, len(shown)), help=advice
        )

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.root = node
            return
        parent = self._stack[-1]
        if not parent.keyed:
            parent.items.append((None, node))
        elif parent.key is None:
            parent.key = node
        else:
            parent.items.append((parent.key, node))
            parent.key = None

    def _close(self, node: Node) -> None:
        if node.flow:
            self._joined(node)
        if node.keyed:
            node.items = list(self._checked(node))
        node.values = 1 + sum(value.values for _, value in node.items)
        node.height = 1 + max((value.height for _, value in node.items), default=0)
        if node.values > MAX_VALUES:
            self._too_many(node.span(self.file))
        self._add(node)

    def _checked(self, node: Node) -> Iterator[tuple[Node | None, Node]]:
        """The items of a mapping whose keys are text, each once."""
        first: dict[str, Node] = {}
        for key, value in node.items:
            if key is None:
                continue
            if key.plain == "<<":
                self._problem(
                    "R010", "`<<` (merge) is not part of a recipe", key.span(self.file), help="write the keys out"
                )
            elif not isinstance(key.value, str):
                shown = (
                    f"`{key.plain}`" if key.plain else "an empty key" if key.scalar else "a list, a mapping or an alias"
                )
                advice = f'quote it: "{key.plain}":' if key.plain else "write a name before the colon"
                if key.flow and key.keyed:
                    advice = "text with {{...}} in it needs quotes"
                self._problem("R008", f"a key is text, and {shown} is none", key.span(self.file), help=advice)
            elif key.value in first:
                note = f"first given in line {first[key.value].line + 1}"
                advice = "keep one of the two; many YAML readers would silently use the last"
                self._problem("R007", f"`{key.value}` is given twice", key.span(self.file), note, advice)
            else:
                first[key.value] = key
                yield key, value

    def _joined(self, node: Node) -> None:
        """R019 where a comma inside {...} or [...] cut an expression in two and YAML saw nothing wrong."""
        entries: list[tuple[str | None, bool]] = []
        for key, value in node.items:
            bare = key is not None and value.plain == ""
            entries.append((key.plain if key and bare else value.plain, key is not None and not bare))
        for at in joined_by_comma(entries):
            key, value = node.items[at]
            place = key if key and value.plain == "" else value
            message = "a comma inside {...} or [...] ended this expression"
            advice = "quote the whole expression, or put it on its own line"
            self._problem("R019", message, place.span(self.file), help=advice)

    def _too_deep(self, span: Span) -> None:
        self._problem("R011", f"nested more than {MAX_DEPTH} levels deep", span, help="a recipe needs about six")
        raise TooMuchError

    def _too_many(self, span: Span) -> None:
        advice = "aliases count as often as they are used; put data into a file of its own"
        self._problem("R012", f"more than {MAX_VALUES:,} values", span, help=advice)
        raise TooMuchError

    def _problem(self, code: str, message: str, span: Span, note: str = "", help: str = "") -> None:
        self.problems.append(Problem(code, message, span, note, help))

    def _mark(self, mark: Any, width: int) -> Span:
        return Span(self.file, mark.line + 1, mark.column + 1, mark.column + 1 + width)
