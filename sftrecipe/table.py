"""Tables: rows that lie in the store, as layers of columns seen through row numbers.

A part (shard) is a stack of layers; a layer is a Parquet file, the columns it brings and, where rows were let go
since it was written, the numbers of those that stay. So a filter writes numbers, a score writes one column, and no
text is copied from stage to stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sftrecipe.lazy import np, pl
from sftrecipe.rows import DERIVED, derive
from sftrecipe.store import check_file

__all__ = ["Layer", "Part", "Table"]


@dataclass(frozen=True)
class Layer:
    """A file's columns. `index`: numbers of the file's rows that this part has, in order; None: all of them."""

    path: str
    sha: str
    columns: tuple[str, ...]
    index: np.ndarray | None = None

    def digest(self) -> str:
        """What the layer holds: the file's content and the numbers."""
        made = hashlib.sha256(self.sha.encode())
        if self.index is not None:
            made.update(self.index.tobytes())
        return made.hexdigest()


@dataclass(frozen=True)
class Part:
    """One shard: its number of rows and its layers; a later layer's column hides an earlier one's."""

    rows: int
    layers: tuple[Layer, ...] = ()

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """These stored columns, in this order. Every file is compared with its sha256 once a process."""
        found: dict[str, pl.Series] = {}
        for layer in reversed(self.layers):
            here = [c for c in columns if c in layer.columns and c not in found]
            if not here:
                continue
            check_file(Path(layer.path), layer.sha)
            frame = pl.read_parquet(layer.path, columns=here, parallel="none", use_statistics=False)
            if layer.index is not None:
                frame = frame[layer.index]
            found |= {c: frame[c] for c in here}
        missing = [c for c in columns if c not in found]
        if missing:
            raise KeyError(f"no column {', '.join(missing)} in the store")
        return pl.DataFrame([found[c] for c in columns]) if columns else pl.DataFrame(height=self.rows)

    def frame(self, columns: Sequence[str]) -> pl.DataFrame:
        """Stored and derived columns, in this order."""
        stored = self.stored(columns)
        return derive(self.read(stored), columns).select(columns)

    def stored(self, columns: Sequence[str]) -> list[str]:
        """The stored columns that these come from."""
        have = {c for layer in self.layers for c in layer.columns}
        wanted = ["messages" if c in DERIVED and c not in have else c for c in columns]
        return list(dict.fromkeys(wanted))

    def keep(self, index: np.ndarray) -> Part:
        """The rows with these numbers."""
        layers = []
        for layer in self.layers:
            inner = index if layer.index is None else layer.index[index]
            layers.append(Layer(layer.path, layer.sha, layer.columns, inner))
        return Part(len(index), tuple(layers))

    def add(self, layer: Layer) -> Part:
        """This part with one more layer, aligned with its rows."""
        return Part(self.rows, (*self.layers, layer))


@dataclass
class Table:
    """All rows of one output: parts in order, and the type of every column."""

    parts: list[Part] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(p.rows for p in self.parts)

    def digest(self) -> str:
        """The content: equal digests mean equal rows in equal shards."""
        made = hashlib.sha256()
        for part in self.parts:
            made.update(f"{part.rows}".encode())
            for layer in part.layers:
                made.update(f"{layer.columns}{layer.digest()}".encode())
        return made.hexdigest()

    def offsets(self) -> np.ndarray:
        """The number of each part's first row, and the total: int64 [parts + 1]."""
        return np.concatenate([[0], np.cumsum([p.rows for p in self.parts], dtype=np.int64)]).astype(np.int64)

    def frames(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns, part by part."""
        for part in self.parts:
            yield part.frame(columns)

    def frame(self, columns: Sequence[str]) -> pl.DataFrame:
        """These columns of all rows, in memory."""
        from sftrecipe.types import parse_type

        frames = list(self.frames(columns))
        if frames:
            return pl.concat(frames, how="vertical_relaxed")
        kinds: Mapping[str, str] = {**DERIVED, **self.columns}
        return pl.DataFrame(schema={c: parse_type(kinds.get(c, "any")).dtype() for c in columns})

    def keep(self, rows: np.ndarray) -> Table:
        """The rows with these numbers (sorted), in their order."""
        at = self.offsets()
        cuts = np.searchsorted(rows, at)
        parts = [
            part.keep((rows[cuts[i] : cuts[i + 1]] - at[i]).astype(np.uint32))
            if cuts[i + 1] - cuts[i] < part.rows
            else part
            for i, part in enumerate(self.parts)
        ]
        return Table(parts, dict(self.columns))
