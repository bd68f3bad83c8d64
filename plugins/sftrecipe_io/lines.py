"""Lines of a byte stream, in blocks, within a byte range.

A line ends at a newline byte and nowhere else; it belongs to the range in which it *starts*. So any cut of a file
into ranges gives the same lines, each once. A line longer than `longest` bytes is reported and skipped without being
held.

Memory: a block of 2 MiB (measured as fastest: larger blocks leave the processor's cache) plus at most one line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from sftrecipe import BadRow
from sftrecipe.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK", "CHUNK_ROWS", "Chunk", "joined", "quote", "read_lines"]

BLOCK = 2 << 20
CHUNK_ROWS = 8192
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Chunk:
    """JSON texts that are not parsed yet, at most 8,192.

    `block` holds them all, text i from `starts[i]` on; `lines` counts from 1 within the piece, `offsets` are bytes of
    the file.
    """

    block: bytes
    starts: NDArray[np.int64]
    texts: list[bytes]
    lines: NDArray[np.int64]
    offsets: NDArray[np.int64]


def quote(text: bytes) -> str:
    """The first 200 characters of a bad row, for people."""
    return text[:800].decode("utf-8", "replace")[:200]


def joined(texts: list[bytes], lines: list[int], offsets: list[int]) -> Chunk:
    """A chunk of texts that came one by one."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    starts = np.zeros(len(texts), np.int64)
    np.cumsum(lengths[:-1] + 1, out=starts[1:])
    return Chunk(b"\n".join(texts), starts, texts, np.array(lines, np.int64), np.array(offsets, np.int64))


def read_lines(
    stream: BinaryIO, start: int, stop: int | None, longest: int, *, seek: bool = True
) -> Generator[Chunk | BadRow, None, int]:
    """The lines that start in [start, stop), as chunks, with a `too_long` BadRow for each line over `longest` bytes.

    Returns how many lines there were, blank and bad ones included. `seek=False` is for streams that cannot
    (compressed ones).
    """
    at = _first_line(stream, start) if seek else 0
    count, carry, pending = 0, b"", b""  # `carry` is the open line so far, `pending` what was read past a skipped one
    base, ended = at or 0, at is None
    while not ended and (stop is None or base < stop):
        data = pending or stream.read(BLOCK)
        cut, pending, ended = data.rfind(b"\n") + 1, b"", not data
        if cut and stop is not None and base + len(carry) + cut > stop:
            # our last line ends at the first newline that is not before `stop - 1`
            cut, ended = data.find(b"\n", max(stop - 1 - base - len(carry), 0), cut) + 1, True
        if cut or ended:
            block = b"".join((carry, memoryview(data)[:cut]))
            count = yield from _chunks(block, base, count, longest)
            base, carry = base + len(block), data[cut:]
        else:
            carry += data
        if len(carry) > longest and not ended and (stop is None or base < stop):
            count += 1
            yield BadRow("too_long: more than " + _bytes(longest), line=count, offset=base, raw=quote(carry))
            base, pending = _skip_line(stream, base + len(carry))
            carry = b""
    return count


def _first_line(stream: BinaryIO, start: int) -> int | None:
    """Puts the stream on the first line that starts at or after `start`; None where there is none."""
    if not start:
        stream.seek(0)
        return 0
    stream.seek(start - 1)
    at = start - 1
    while data := stream.read(1 << 16):
        found = data.find(b"\n")
        if found >= 0:
            stream.seek(at + found + 1)
            return at + found + 1
        at += len(data)
    return None


def _skip_line(stream: BinaryIO, at: int) -> tuple[int, bytes]:
    """Reads on to the end of the line: (offset of the next one, what was read of it)."""
    while data := stream.read(BLOCK):
        found = data.find(b"\n")
        if found >= 0:
            return at + found + 1, data[found + 1 :]
        at += len(data)
    return at, b""


def _chunks(block: bytes, base: int, count: int, longest: int) -> Generator[Chunk | BadRow, None, int]:
    """Whole lines as chunks. `base` is the block's place in the file, `count` the lines before it."""
    if not block:
        return count
    texts = block.split(b"\n")
    if not texts[-1]:
        texts.pop()
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
    starts = np.zeros(len(texts), np.int64)
    starts[1:] = ends[: len(texts) - 1] + 1
    if base == 0 and texts[0].startswith(BOM):
        texts[0] = texts[0][len(BOM) :]
        starts[0] = len(BOM)
    for first in range(0, len(texts), CHUNK_ROWS):
        part = slice(first, first + CHUNK_ROWS)
        yield from _bounded(block, starts[part], texts[part], base=base, before=count + first, longest=longest)
    return count + len(texts)


def _bounded(
    block: bytes, starts: NDArray[np.int64], texts: list[bytes], *, base: int, before: int, longest: int
) -> Iterator[Chunk | BadRow]:
    """One chunk, without the lines that are too long."""
    lines = np.arange(before + 1, before + 1 + len(texts), dtype=np.int64)
    offsets = starts + base
    begin, end = int(starts[0]), int(starts[-1]) + len(texts[-1])
    inside = block if (begin, end) == (0, len(block)) else block[begin:end]
    if end - begin > longest and max(map(len, texts)) > longest:
        fit = np.array([len(text) <= longest for text in texts])
        for i in np.flatnonzero(~fit).tolist():
            yield BadRow("too_long: more than " + _bytes(longest), int(lines[i]), int(offsets[i]), raw=quote(texts[i]))
        texts = [text for text in texts if len(text) <= longest]
        starts, lines, offsets = starts[fit], lines[fit], offsets[fit]
    if texts:
        yield Chunk(inside, starts - begin, texts, lines, offsets)


def _bytes(count: int) -> str:
    return f"{count:,} bytes"
