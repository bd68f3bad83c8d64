"""Where rows go: one file, or a folder in Hugging Face layout.

The folder holds `data/train-00000-of-00003.parquet` and so on, README.md, and recipe.yaml where its text is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sftrecipe.lazy import pl
from sftrecipe_io.outfiles import open_out

if TYPE_CHECKING:
    from sftrecipe_io.outfiles import OutFile

__all__ = ["FilePlace", "FolderPlace", "Make", "Place"]


@dataclass(frozen=True)
class Make:
    """How files are made: format, packing (gz, zst or none) and which columns hold JSON text."""

    format: str
    packed: str
    json_columns: frozenset[str]

    def open(self, path: Path, frame: pl.DataFrame) -> OutFile:
        """A new file with the columns of `frame`."""
        return open_out(path, self.format, self.packed, self.json_columns, frame.clear())


class Place(Protocol):
    """What takes rows in order."""

    def add(self, frame: pl.DataFrame) -> None:
        """The next rows."""
        ...

    def close(self, frame: pl.DataFrame) -> dict[Path, int]:
        """Each file and how many rows it has. `frame` shows the columns, in case no row came."""
        ...


@dataclass
class FilePlace:
    """One file."""

    path: Path
    make: Make
    rows: int = 0
    _file: OutFile | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """The next rows."""
        if self._file is None:
            self._file = self.make.open(self.path, frame)
        self._file.add(frame)
        self.rows += frame.height

    def close(self, frame: pl.DataFrame) -> dict[Path, int]:
        """Ends the file; one without rows has its header or schema all the same."""
        if self._file is None:
            self._file = self.make.open(self.path, frame)
        self._file.close()
        return {self.path: self.rows}


@dataclass
class FolderPlace:
    """A folder of `total` rows in files of `shard_rows`, with its card, and the recipe's text where it is known."""

    folder: Path
    make: Make
    total: int
    shard_rows: int
    recipe: str
    about: Callable[[str], str]
    _done: dict[Path, int] = field(default_factory=dict)
    _open: FilePlace | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """The next rows, cut where a file is full."""
        while frame.height:
            if self._open is None:
                self._open = FilePlace(self._path(len(self._done)), self.make)
            room = self.shard_rows - self._open.rows
            self._open.add(frame.head(room))
            if self._open.rows == self.shard_rows:
                self._finish(frame)
            frame = frame.slice(room)

    def close(self, frame: pl.DataFrame) -> dict[Path, int]:
        """Ends the last file and writes card and recipe."""
        if self._open is None and not self._done:
            self._open = FilePlace(self._path(0), self.make)
        self._finish(frame)
        pattern = f"data/train-*.{self.make.format}"
        made = {self.folder / "README.md": self.about(pattern)}
        if self.recipe:
            made[self.folder / "recipe.yaml"] = self.recipe
        for path, text in made.items():
            path.write_text(text, encoding="utf-8", newline="\n")
        return {**self._done, **dict.fromkeys(made, 0)}

    def _finish(self, frame: pl.DataFrame) -> None:
        if self._open is not None:
            self._done |= self._open.close(frame)
            self._open = None

    def _path(self, at: int) -> Path:
        count = max(1, -(-self.total // self.shard_rows))
        return self.folder / "data" / f"train-{at:05d}-of-{count:05d}.{self.make.format}"
