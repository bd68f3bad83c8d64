"""A Dataset over one DataFrame in memory, for unit tests of whole-data operators."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pl
from sftrecipe.rows import DERIVED, derive

__all__ = ["MemoryDataset"]


class MemoryDataset:
    """The protocol of `sftrecipe.Dataset` over `frame`, cut into `shards` pieces so that tests see what borders do."""

    def __init__(self, frame: pl.DataFrame, shards: int = 1) -> None:
        self._frame, self._shards = frame, max(1, min(shards, max(1, frame.height)))

    def __len__(self) -> int:
        return self._frame.height

    @property
    def columns(self) -> dict[str, str]:
        """Column names; types are `any` here."""
        return dict.fromkeys(self._frame.columns, "any")

    def map(self, function: Callable[..., pl.DataFrame], *args: Any, columns: Sequence[str] = ()) -> MemoryDataset:
        """As in the protocol; the function and its arguments travel through pickle."""
        call, given = pickle.loads(pickle.dumps((function, args)))
        frame = self._pick(columns or self._frame.columns).with_row_index("row")
        step = -(-frame.height // self._shards) or 1
        parts = [call(frame.slice(at, step), *given) for at in range(0, max(1, frame.height), step)]
        return MemoryDataset(pl.concat(parts), self._shards)

    def exchange(self, by: str) -> MemoryDataset:
        """As in the protocol: rows sorted by `by`."""
        return MemoryDataset(self._frame.sort(by, maintain_order=True), self._shards)

    def frame(self, *columns: str) -> pl.DataFrame:
        """These columns of all rows."""
        return self._pick(columns)

    def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
        """These columns, a shard at a time."""
        frame = self._pick(columns)
        step = -(-frame.height // self._shards) or 1
        yield from (frame.slice(at, step) for at in range(0, max(1, frame.height), step))

    def take(self, rows: np.ndarray, *columns: str) -> pl.DataFrame:
        """These columns of these rows, in that order."""
        return self._pick(columns)[rows]

    def matrix(self, column: str) -> np.ndarray:
        """A vector column as float32 [N, d]."""
        from sftrecipe.vectors import as_matrix

        try:
            return as_matrix(self._frame[column])
        except ValueError as error:
            raise StepError(f"column `{column}`: {error}") from error

    def eval(self, expression: Any) -> pl.Series:
        """An expression over all rows."""
        names = [n for n in expression.meta.root_names() if n in DERIVED]
        value = expression.alias("value") if isinstance(expression, pl.Expr) else pl.lit(expression).alias("value")
        return derive(self._frame, names).select(value)["value"]

    def _pick(self, columns: Sequence[str]) -> pl.DataFrame:
        return derive(self._frame, columns).select(columns)
