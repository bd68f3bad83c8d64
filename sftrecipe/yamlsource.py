"""Text to plain data, with the place of every value: YAML 1.2 core types on PyYAML's event stream.

PyYAML splits the text into events (libyaml where it is built in, the Python parser elsewhere); types, anchors, limits
and places are ours (`sftrecipe.yamlnodes`). The result is plain data (dict, list, str, int, float, bool, None), never
an object of a class that the file names.

Anchors and aliases are expanded to copies. Refused, each with its own code and place: R001 to R022 (`sftrecipe explain
R007`). Three characters that YAML 1.1 took for line breaks and 1.2 does not (U+0085, U+2028, U+2029) are refused as
they are (R015): a reader of either version would change the text around them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from sftrecipe.errors import Problem, RecipeError, Span
from sftrecipe.yamlerrors import cut_at, explain
from sftrecipe.yamlnodes import MAX_DEPTH, MAX_VALUES, Builder, Node, TooMuchError, resolve
from sftrecipe.yamlplaces import Scalar, places

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "Source", "cut_by_comment", "load", "read", "resolve"]

MAX_BYTES = 1_000_000

_BREAK = re.compile("\r\n|[\r\n]")
_PLAIN = re.compile("[\t\x20-\x7e]*")
_FORBIDDEN = "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
"""Takes long to compile: only for lines that are not plain."""

Where = tuple[Any, ...]


@dataclass(frozen=True)
class Source:
    """A YAML file as data and places. A path is the tuple of keys and list indexes that leads to a value.

    `marks`: path -> where the value stands; `keys`: path -> where its key stands; `lines`: the text, line by line.
    A value that spans lines is marked on its first; a value that is not there (`steps:`) is marked at its key.
    """

    data: Any
    marks: dict[Where, Span]
    keys: dict[Where, Span]
    lines: list[str]
    file: str
    scalars: dict[Where, Scalar] = field(default_factory=dict, repr=False)

    def span(self, path: Where = ()) -> Span:
        """Where the value stands, or the nearest parent that is in the file."""
        for size in range(len(path), -1, -1):
            if found := self.marks.get(tuple(path[:size])):
                return found
        return Span(self.file, 1, 1, 1)

    def key_span(self, path: Where = ()) -> Span:
        """Where the key stands (for a list item: the item), or the nearest parent that is in the file."""
        for size in range(len(path), 0, -1):
            part = tuple(path[:size])
            if found := self.keys.get(part) or (self.marks.get(part) if isinstance(part[-1], int) else None):
                return found
        return self.span(())

    def at(self, path: Where, offset: int, length: int = 1) -> Span:
        """The place of `length` characters at `offset` inside the text value at `path`.

        Right for plain, quoted and block scalars, escapes and folded lines included; the span ends with its first line.
        For what is no text in the file, the place of the value.
        """
        scalar = self.scalars.get(tuple(path))
        found = places(scalar, self.lines) if scalar else []
        if not found:
            return self.span(path)
        inside = found[offset : offset + max(length, 1)]
        if not inside:  # behind the last character: where more is missing
            last = found[-1]
            return Span(self.file, last.line + 1, last.column + last.width + 1, last.column + last.width + 2)
        line, column = inside[0].line, inside[0].column
        ends = [p.column + p.width for p in inside if p.line == line and p.column < len(self.lines[line])]
        return Span(self.file, line + 1, column + 1, max(ends, default=column + 1) + 1)


def read(path: str | Path) -> Source:
    """Reads and loads a file. Raises RecipeError: R001 if it cannot be read, R002 if it is not UTF-8, and all that
    `load` raises.
    """
    name = str(path)
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RecipeError([Problem("R001", f"`{name}` cannot be read: {reason}", help="check the path")]) from error
    if len(raw) > MAX_BYTES:
        raise _too_large(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        before = _BREAK.split(raw[: error.start].decode("utf-8"))
        span = Span(name, len(before), len(before[-1]) + 1, len(before[-1]) + 2)
        message = f"byte {error.start} (0x{raw[error.start]:02x}) is not UTF-8"
        raise RecipeError([Problem("R002", message, span, help="save the file in the encoding UTF-8")]) from error
    return load(text, name)


def load(text: str, file: str) -> Source:
    """Text to data and places. `file` names the text in errors. No text at all gives None as data.

    Raises:
        RecipeError: with every problem found; the reading stops at the first error of syntax, after which nothing is
        sure.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _too_large(file)
    text = text.removeprefix("\ufeff")
    lines = _BREAK.split(text)
    if bad := list(islice(_forbidden(lines, file), 20)):
        raise RecipeError(bad)
    builder = Builder(file, lines)
    problems = builder.problems
    try:
        for event in _events(text):
            builder.take(event)
    except yaml.YAMLError as error:
        found = explain(error, lines, file)
        # the parsers differ in how far they come before they stop: of two problems in one place, the syntax is the
        # cause
        problems = [p for p in problems if p.span is None or found.span is None or _start(p.span) != _start(found.span)]
        problems.append(found)
    except TooMuchError:
        pass
    if problems:
        raise RecipeError(problems)
    source = Source(None, {}, {}, lines, file)
    data = _emit(builder.root, (), source) if builder.root else None
    return Source(data, source.marks, source.keys, lines, file, source.scalars)


def cut_by_comment(source: Source, path: Where) -> Problem | None:
    """R017, if a ` #` ended the expression at `path` early: what is left of it is not complete, and a comment follows.

    YAML sees no error there (`filter: contains(response, "C #")`), so the reader of expressions asks. A comment behind
    a complete expression (`filter: a > 3  # good ones`) is a comment.
    """
    scalar = source.scalars.get(tuple(path))
    if scalar is None or scalar.style:
        return None
    found = places(scalar, source.lines)
    line, end = (found[-1].line, found[-1].column + found[-1].width) if found else (scalar.line, scalar.column)
    return cut_at(source.lines, source.file, line, end, scalar.text)


class _PurePython(Reader, Scanner, Parser):
    """PyYAML's parser without its resolver and constructor."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


def _parser_class() -> Any:
    try:
        from yaml._yaml import CParser
    except ImportError:  # PyYAML was built without libyaml: the same events, about eight times slower
        return _PurePython
    return CParser


_PARSER: Any = _parser_class()


def _events(text: str) -> Iterator[Any]:
    parser = _PARSER(text)
    while parser.check_event():
        yield parser.get_event()


def _emit(node: Node, path: Where, into: Source) -> Any:
    """The data of a node; writes its places below `path`. Depth is bounded by MAX_DEPTH."""
    into.marks.setdefault(path, node.span(into.file))
    node = node.target or node
    if node.scalar:
        into.scalars[path] = node.scalar
        return node.value
    if not node.keyed:
        return [_emit(value, (*path, at), into) for at, (_, value) in enumerate(node.items)]
    data = {}
    for key, value in node.items:
        if key is not None:
            below = (*path, key.value)
            into.keys[below] = key.span(into.file)
            if value.plain == "":
                into.marks[below] = into.keys[below]  # nothing stands there: point at its key
            data[key.value] = _emit(value, below, into)
    return data


def _forbidden(lines: list[str], file: str) -> Iterator[Problem]:
    for number, line in enumerate(lines, 1):
        for match in () if _PLAIN.fullmatch(line) else re.finditer(_FORBIDDEN, line):
            code = ord(match.group())
            advice = "remove it" if 0xD800 <= code <= 0xDFFF else f'inside double quotes write "\\u{code:04x}"'
            span = Span(file, number, match.start() + 1, match.end() + 1)
            yield Problem("R015", f"the character U+{code:04X} may not stand in YAML as it is", span, help=advice)


def _start(span: Span) -> tuple[int, int]:
    return span.line, span.column


def _too_large(file: str) -> RecipeError:
    advice = "put data into files of its own and load them"
    return RecipeError([Problem("R003", f"larger than {MAX_BYTES:,} bytes", Span(file, 1, 1, 2), help=advice)])
