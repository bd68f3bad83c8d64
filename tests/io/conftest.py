"""Loading a file in one call, as the interpreter does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sftrecipe import BadRow
from sftrecipe_io.load_auto import Auto


@dataclass
class Loaded:
    """All rows of a load, its bad rows with their lines in the whole file, and how many lines there were."""

    frame: pl.DataFrame
    bad: list[BadRow] = field(default_factory=list)
    lines: int = 0
    sizes: list[int] = field(default_factory=list)

    @property
    def turns(self) -> list[list[tuple[str, str | None]]]:
        return [[(m["role"], m["content"]) for m in messages] for messages in self.frame["messages"]]

    @property
    def extra(self) -> list[Any]:
        return [None if text is None else json.loads(text) for text in self.frame["extra"]]

    @property
    def reasons(self) -> list[tuple[int, int, str]]:
        """(line, byte, code) of each bad row."""
        return [(row.line, row.offset, row.reason.partition(":")[0]) for row in self.bad]


def read_all(operator: Auto, shard_bytes: int = 1 << 40) -> Loaded:
    frames, made = [], Loaded(pl.DataFrame())
    for piece in operator.pieces(shard_bytes):
        json.dumps(piece)
        before, ended = made.lines, False
        for item in operator.read(piece):
            assert not ended, "something follows the line count"
            if isinstance(item, pl.DataFrame):
                frames.append(item)
                made.sizes.append(item.height)
            elif item.reason:
                item.line += before
                made.bad.append(item)
            else:
                made.lines, ended = before + item.line, True
        assert ended
    made.frame = pl.concat(frames) if frames else pl.DataFrame()
    return made


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Loaded]:
    """Writes `data` (bytes, text, or rows) to a file and loads it."""

    def run(data: bytes | str | list[Any], name: str = "x.jsonl", shard_bytes: int = 1 << 40, **params: Any) -> Loaded:
        if isinstance(data, list):
            data = "".join(json.dumps(row) + "\n" for row in data)
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_all(Auto(path=str(path), **params), shard_bytes)

    return run
