"""Files as they lie on disk: unpacked, cut into pieces, opened by format, watched while they are read."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from sftrecipe import BadRow, StepError
from sftrecipe.lazy import pa

if TYPE_CHECKING:
    from sftrecipe_io.decode import Parsed
    from sftrecipe_io.lines import Chunk

__all__ = ["changed", "list_or_lines", "open_piece", "row_groups", "state", "told", "unpacked"]


def open_piece(
    piece: Mapping[str, Any], longest: int, warn: Callable[[str, int], None]
) -> Generator[Chunk | Parsed | BadRow, None, int]:
    """What a piece of a file holds, by its format. Returns how many lines, elements or rows it has."""
    file, format_ = str(piece["file"]), piece["format"]
    if format_ == "parquet":
        from sftrecipe_io.tabular import read_parquet

        return (yield from read_parquet(file, piece["groups"], lambda text, count: warn(f"{file}: {text}", count)))
    with unpacked(file, str(piece["packed"])) as stream:
        if format_ == "jsonl":
            from sftrecipe_io.lines import read_lines

            plain = not piece["packed"]
            start, stop = (int(piece["start"]), piece["stop"]) if plain else (0, None)
            return (yield from read_lines(stream, start, stop, longest, seek=plain))
        if format_ == "json":
            from sftrecipe_io.elements import read_elements

            return (yield from read_elements(stream, file, longest))
        from sftrecipe_io.tabular import read_csv

        return (yield from read_csv(stream, file, "," if format_ == "csv" else "\t", longest))


def row_groups(file: str, shard_bytes: int) -> Iterator[list[int]]:
    """Neighbouring row groups of about this many bytes together; one empty list for a file without rows."""
    from sftrecipe_io.tabular import open_parquet

    with open_parquet(file) as opened:
        sizes = [opened.metadata.row_group(at).total_byte_size for at in range(opened.metadata.num_row_groups)]
    groups: list[int] = []
    for at in range(len(sizes)):
        if groups and sum(sizes[g] for g in groups) + sizes[at] > shard_bytes:
            yield groups
            groups = []
        groups.append(at)
    yield groups


def list_or_lines(file: str, packed: str) -> str:
    """`json` for a file whose first character opens a list, else `jsonl`: many `.json` files hold lines."""
    with unpacked(file, packed) as stream:
        head = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"{") and head[1:].lstrip(b" \t\r").startswith(b"\n"):
        what = f"{file} holds one object over several lines, not a list of rows"
        advice = "put the rows into a list, or write one a line; of `{data: [...]}` that is `jq -c '.data[]'`"
        raise StepError(what, code="R613", help=advice)
    return "json" if head.startswith(b"[") else "jsonl"


@contextmanager
def unpacked(file: str, packed: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked."""
    if packed == "zst":
        with pa.OSFile(file) as raw, pa.CompressedInputStream(raw, "zstd") as stream:
            yield stream
    elif packed == "gz":
        with gzip.open(file) as stream:
            yield stream  # type: ignore[misc]
    else:
        with open(file, "rb", buffering=0) as stream:
            yield stream


@contextmanager
def told(file: str) -> Iterator[None]:
    """What the system and the decompressors raise, as StepError R613 that names the file."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise StepError(f"{file} cannot be read: {error}", code="R613") from error


def state(file: str) -> tuple[int, int, int]:
    """(size, time of change, inode): what differs once somebody wrote to a file or put another in its place."""
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns, found.st_ino


def changed(file: str) -> StepError:
    """The error for a file that is not what it was when it was looked at."""
    return StepError(f"{file} changed while it was read", code="R612", help="run again when nobody writes to it")
