"""Where each character of a text value stands in its YAML file.

A scalar's value differs from what is written: quotes, escapes, folded lines, indentation. `places` walks both in step
and gives, for every character of the value, the line and column (both from 0) and the width of what stands for it.
Cost: one pass over the scalar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Place", "Scalar", "places"]

_ANCHOR = re.compile(r"&\S+[ \t]*")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_LETTERS = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "\t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029",
}  # fmt: skip


class Scalar(NamedTuple):
    """A scalar as YAML reports it: value, style ("" plain, ' " | >), where it starts and ends (from 0)."""

    text: str
    style: str
    line: int
    column: int
    end_line: int
    end_column: int


class Place(NamedTuple):
    """One character of a value and what stands for it: `width` columns from `column` of `line`."""

    char: str
    line: int
    column: int
    width: int


def places(scalar: Scalar, lines: list[str]) -> list[Place]:
    """One place for each character of the value; as many as could be followed."""
    written = _block(scalar, lines) if scalar.style in ("|", ">") else _inline(scalar, lines)
    return _aligned(scalar.text, list(written))


def _aligned(value: str, written: list[Place]) -> list[Place]:
    """Steps through what is written, skipping the white space that folding and indentation drop."""
    found: list[Place] = []
    at = 0
    for char in value:
        while at < len(written) and written[at].char != char:
            place = written[at]
            if place.char == "\n" and char == " ":
                break
            if place.char not in ("", "\n", " ", "\t"):
                return found
            at += 1
        if at == len(written):
            return found
        found.append(written[at]._replace(char=char))
        at += 1
    return found


def _inline(scalar: Scalar, lines: list[str]) -> Iterator[Place]:
    """Characters of a plain or quoted scalar, quotes left out, escapes as one."""
    for number in range(scalar.line, scalar.end_line + 1):
        line = lines[number] if number < len(lines) else ""
        start = _start(line, scalar) if number == scalar.line else 0
        end = scalar.end_column - bool(scalar.style) if number == scalar.end_line else len(line)
        yield from _characters(line, number, start, end, scalar.style)
        if number < scalar.end_line:
            yield Place("\n", number, len(line), 1)


def _start(line: str, scalar: Scalar) -> int:
    anchor = _ANCHOR.match(line, scalar.column)
    return (anchor.end() if anchor else scalar.column) + bool(scalar.style)


def _characters(line: str, number: int, at: int, end: int, style: str) -> Iterator[Place]:
    while at < end:
        if style == '"' and line[at] == "\\":
            match = _ESCAPE.match(line, at)
            width = match.end() - at if match else 1
            yield Place(_decoded(match.group()) if match else "", number, at, width)
        else:
            width = 2 if style == "'" and line[at : at + 2] == "''" else 1
            yield Place(line[at], number, at, width)
        at += width


def _decoded(escape: str) -> str:
    digits = escape[2:]
    if digits:
        return chr(int(digits, 16))
    return _LETTERS.get(escape[1], escape[1])


def _block(scalar: Scalar, lines: list[str]) -> Iterator[Place]:
    """Characters of a `|` or `>` scalar below its header, indentation left out."""
    indent = _indent(scalar, lines)
    for number in range(scalar.line + 1, min(max(scalar.end_line + 1, scalar.line + 2), len(lines))):
        line = lines[number]
        for column in range(min(indent, len(line)), len(line)):
            yield Place(line[column], number, column, 1)
        yield Place("\n", number, len(line), 1)


def _indent(scalar: Scalar, lines: list[str]) -> int:
    """How far the block is indented: the blanks of its first line, less those that belong to the value."""
    written = next((line for line in lines[scalar.line + 1 :] if line.strip()), "")
    value = next((line for line in scalar.text.split("\n") if line.strip()), "")
    return len(written) - len(written.lstrip(" ")) - (len(value) - len(value.lstrip(" ")))
