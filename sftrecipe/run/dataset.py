"""The Dataset that whole-data operators see: a table in the store, with the engine behind `map`."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sftrecipe.engines import Engine
from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pl
from sftrecipe.rows import DERIVED, derive
from sftrecipe.table import Part, Table

__all__ = ["FrameDataset", "StoredDataset"]


class StoredDataset:
    """All rows of a table, numbered 0..N-1."""

    def __init__(self, table: Table, engine: Engine, scratch: Path, heavy: bool = False) -> None:
        self._table, self._engine, self._scratch, self._heavy = table, engine, scratch, heavy

    def __len__(self) -> int:
        return len(self._table)

    @property
    def columns(self) -> dict[str, str]:
        """The stored columns and their types."""
        return dict(self._table.columns)

    def map(self, function: Callable[..., pl.DataFrame], *args: Any, columns: Sequence[str] = ()) -> FrameDataset:
        """function(frame, *args) once per shard; the frame carries `row`."""
        wanted = tuple(columns) or tuple(self._table.columns)
        try:
            packed = pickle.dumps((function, args))  # pickled in-process too: what works here works in a pool
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            text = f"`map` cannot send its function and arguments to where rows are: {error}"
            help = (
                "give a function of the module or a method (no lambda, none made inside another), and plain arguments"
            )
            raise StepError(text, code="P010", help=help) from error
        offsets = self._table.offsets()
        jobs = [(packed, part, wanted, int(offsets[n])) for n, part in enumerate(self._table.parts)]
        if not jobs:  # one empty frame, so that its columns are known
            return FrameDataset([_mapped((packed, Part(0), (), 0), self._table.frame(wanted))])
        frames: list[Any] = [None] * len(jobs)
        for number, frame in self._engine.map(_mapped, jobs, heavy=self._heavy and len(self) > 50_000):
            frames[number] = frame
        return FrameDataset(frames)

    def exchange(self, by: str) -> FrameDataset:
        """All stored columns sorted by `by`, in memory."""
        return FrameDataset([self.frame(*self._table.columns).sort(by, maintain_order=True)])

    def frame(self, *columns: str) -> pl.DataFrame:
        """These columns of all rows."""
        return self._table.frame(columns)

    def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
        """These columns, shard by shard, in order. The next shard is read meanwhile, unless there is one worker."""
        parts = self._table.parts
        if self._engine.workers == 1 or len(parts) < 2:
            yield from self._table.frames(columns)
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(parts[0].frame, columns)
            for part in parts[1:]:
                frame = ahead.result()
                ahead = reader.submit(part.frame, columns)
                yield frame
            yield ahead.result()

    def take(self, rows: np.ndarray, *columns: str) -> pl.DataFrame:
        """These columns of these rows, in that order: only the shards that hold them are read."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            wrong = int(rows.min()) if rows.min() < 0 else int(rows.max())
            raise StepError(f"`take` asks for row {wrong}; there are {len(self)}, counted from 0", code="P010")
        offsets = self._table.offsets()
        part_of = np.searchsorted(offsets, rows, side="right") - 1
        frames, places = [], []
        for number in np.unique(part_of):
            at = np.flatnonzero(part_of == number)
            local = (rows[at] - offsets[number]).astype(np.uint32)
            frames.append(self._table.parts[number].keep(local).frame(columns))
            places.append(at)
        if not frames:
            return self._table.keep(rows).frame(columns)
        back = np.argsort(np.concatenate(places), kind="stable")
        whole: pl.DataFrame = pl.concat(frames, how="vertical_relaxed")
        return whole[back]

    def matrix(self, column: str) -> np.ndarray:
        """A vector column as a read-only memory map [N, d] of 32-bit floats, in the step's scratch folder."""
        from sftrecipe.vectors import as_matrix

        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / f"{column}.f32"
        width, at = -1, 0
        with path.open("wb") as file:
            for frame in self._table.frames((column,)):
                try:
                    block = as_matrix(frame[column])
                except ValueError as error:
                    raise StepError(
                        f"column `{column}`: {error}; rows are counted from {at} here", code="R641"
                    ) from error
                if not len(block):
                    continue
                if width not in (-1, block.shape[1]):
                    text = f"column `{column}`: row {at} has {block.shape[1]} components, the first row {width}"
                    raise StepError(text, code="R641", help="one width is needed")
                width, at = block.shape[1], at + len(block)
                file.write(np.ascontiguousarray(block).tobytes())
        if at == 0:
            return np.zeros((0, 0), dtype=np.float32)
        return np.memmap(path, dtype=np.float32, mode="r", shape=(at, width))

    def eval(self, expression: Any) -> pl.Series:
        """A bound expression over all rows."""
        return self.map(_evaluated, expression, columns=self._columns_of(expression)).frame("value")["value"]

    def _columns_of(self, expression: Any) -> list[str]:
        names = expression.meta.root_names()
        return list(dict.fromkeys(names)) or ["id"]


class FrameDataset:
    """What a `map` gave: frames in memory, one a shard."""

    def __init__(self, frames: Sequence[pl.DataFrame]) -> None:
        self._frames = [f for f in frames if f is not None]

    def __len__(self) -> int:
        return sum(f.height for f in self._frames)

    @property
    def columns(self) -> dict[str, str]:
        """Column names; their types are not tracked here."""
        return dict.fromkeys(self._frames[0].columns, "any") if self._frames else {}

    def map(self, function: Callable[..., pl.DataFrame], *args: Any, columns: Sequence[str] = ()) -> FrameDataset:
        """function(frame, *args) once per shard."""
        call, given = pickle.loads(pickle.dumps((function, args)))
        made, at = [], 0
        for frame in self._frames:
            part = derive(frame, columns).select(columns) if columns else frame
            made.append(call(part.drop("row", strict=False).with_row_index("row", offset=at), *given))
            at += frame.height
        return FrameDataset(made)

    def exchange(self, by: str) -> FrameDataset:
        """Sorted by `by`."""
        return FrameDataset([pl.concat(self._frames, how="vertical_relaxed").sort(by, maintain_order=True)])

    def frame(self, *columns: str) -> pl.DataFrame:
        """These columns (all, if none is named) of all rows."""
        whole = pl.concat(self._frames, how="vertical_relaxed") if self._frames else pl.DataFrame()
        return derive(whole, columns).select(columns) if columns else whole

    def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
        """These columns, shard by shard."""
        return (derive(f, columns).select(columns) if columns else f for f in self._frames)

    def take(self, rows: np.ndarray, *columns: str) -> pl.DataFrame:
        """These columns of these rows."""
        return self.frame(*columns)[rows]

    def matrix(self, column: str) -> np.ndarray:
        """A vector column as float32 [N, d]."""
        from sftrecipe.vectors import as_matrix

        try:
            return as_matrix(self.frame(column)[column])
        except ValueError as error:
            raise StepError(f"column `{column}`: {error}", code="R641") from error

    def eval(self, expression: Any) -> pl.Series:
        """A bound expression over all rows."""
        names = [n for n in expression.meta.root_names() if n in DERIVED]
        return derive(self.frame(), names).select(expression.alias("value"))["value"]


def _mapped(job: tuple[bytes, Part, tuple[str, ...], int], frame: pl.DataFrame | None = None) -> pl.DataFrame:
    packed, part, columns, at = job
    function, args = pickle.loads(packed)
    given = part.frame(columns) if frame is None else frame
    made = function(given.with_row_index("row", offset=at), *args)
    if not isinstance(made, pl.DataFrame):
        text = f"`map`: {getattr(function, '__qualname__', function)} gave {type(made).__name__}; a DataFrame is needed"
        raise StepError(text, code="P010")
    return made


def _evaluated(frame: pl.DataFrame, expression: pl.Expr) -> pl.DataFrame:
    value = frame.select(expression.alias("value"))
    if value.height != frame.height:  # a constant expression gives one value
        value = frame.select(pl.lit(value["value"][0]).alias("value"), pl.first())[["value"]]
    return value
