"""The elements of a JSON list, one by one, without holding the file.

The standard decoder finds where an element ends; the element's bytes then go the way of a JSONL line
(`decode.decode`), so both formats have the same checks. An element too deep for that decoder is measured by its
brackets. What is wrong *between* elements (no comma, text after the end) cannot be stepped over: it is StepError
R613, with the byte.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Generator
from typing import BinaryIO

from sftrecipe import BadRow, StepError
from sftrecipe_io.lines import BLOCK, CHUNK_ROWS, Chunk, joined, quote

__all__ = ["read_elements"]

_SPACE = re.compile(r"[ \t\r\n]*")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_NEAR_END = 16  # a broken literal or escape this close to the end of what was read may only be cut


class _Text:
    """A byte stream as a window of text; `byte` is the place in the file of `text[at]`."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._decoder = stream, codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.name, self.text, self.at, self.byte, self.ended = name, "", 0, 0, False

    def more(self) -> None:
        """Reads on; each time as much again as there is, so that a large element is looked at a few times only."""
        data = self._stream.read(max(BLOCK, len(self.text) - self.at))
        self.ended = not data
        self.text, self.at = self.text[self.at :] + self._decoder.decode(data, final=not data), 0

    def skip_space(self) -> str:
        """Goes to the next character that is no white space, and says which ("" at the end)."""
        while True:
            end = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]
            self.byte, self.at = self.byte + end - self.at, end
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()

    def take(self, end: int) -> bytes:
        """The bytes up to `end`, and goes there."""
        data = self.text[self.at : end].encode("utf-8", "surrogateescape")
        self.byte, self.at = self.byte + len(data), end
        return data

    def broken(self, what: str) -> StepError:
        advice = "repair the file, or make it JSONL, where one bad row spoils no other"
        return StepError(f"{self.name} is no list of rows: {what} at byte {self.byte:,}", code="R613", help=advice)


def read_elements(stream: BinaryIO, name: str, longest: int) -> Generator[Chunk | BadRow, None, int]:
    """The elements as chunks, with a `too_long` BadRow for each over `longest` bytes. Returns how many there were.

    `lines` of the chunks number the elements from 1.
    """
    window = _Text(stream, name)
    if window.skip_space() == "\ufeff" and not window.byte:  # a byte order mark, at the start only
        window.take(window.at + 1)
    if window.skip_space() != "[":
        raise window.broken("no opening bracket")
    window.take(window.at + 1)
    count, texts, lines, offsets, size = 0, [], [], [], 0
    closed = window.skip_space() == "]"
    while not closed:
        count, offset = count + 1, window.byte
        text = window.take(_end_of_element(window))
        if len(text) > longest:
            yield BadRow(f"too_long: more than {longest:,} bytes", count, offset, raw=quote(text))
        else:
            texts.append(text)
            lines.append(count)
            offsets.append(offset)
            size += len(text)
        if size >= BLOCK or len(texts) == CHUNK_ROWS:
            yield joined(texts, lines, offsets)
            texts, lines, offsets, size = [], [], [], 0
        closed = _after_element(window)
    window.take(window.at + 1)
    if window.skip_space():
        raise window.broken("text after the closing bracket")
    if texts:
        yield joined(texts, lines, offsets)
    return count


def _after_element(window: _Text) -> bool:
    """Goes past the comma; True at the closing bracket."""
    follows = window.skip_space()
    if follows == "]":
        return True
    if follows != ",":
        raise window.broken("no comma" if follows else "the list never ends")
    window.take(window.at + 1)
    if window.skip_space() == "]":
        raise window.broken("a comma before the closing bracket")
    return False


def _end_of_element(window: _Text) -> int:
    """Where the element that starts here ends, reading on as far as it takes."""
    decoder = json.JSONDecoder()
    while True:
        try:
            end = decoder.raw_decode(window.text, window.at)[1]
        except RecursionError:
            end = _end_by_brackets(window)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated") or error.pos >= len(window.text) - _NEAR_END
            if window.ended or not cut:
                window.take(min(error.pos, len(window.text)))
                raise window.broken(error.msg) from error
            window.more()
            continue
        except ValueError as error:  # a number of more digits than Python is willing to read
            raise window.broken(str(error)) from error
        if window.ended or end + 2 < len(window.text):  # `1`, `1.` and `1e+` at the very end may go on
            return end
        window.more()


def _end_by_brackets(window: _Text) -> int:
    while True:
        depth = 0
        for match in _BRACKETS.finditer(window.text, window.at):
            mark = match.group()
            depth += (mark in "[{") - (mark in "]}")
            if depth == 0:
                return match.end()
        if window.ended:
            raise window.broken("an element never ends")
        window.more()
