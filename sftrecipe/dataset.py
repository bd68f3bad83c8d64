"""All rows of one port, as whole-data operators see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from sftrecipe.lazy import np, pl

__all__ = ["Dataset"]


@runtime_checkable
class Dataset(Protocol):
    """All rows of one port, in order, numbered 0..N-1. Rows are read when asked for, never held as a whole.

    Functions given to `map` are module-level or methods: they are pickled, in-process too.
    """

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    @property
    def columns(self) -> dict[str, str]:
        """The columns there are, and their types as words."""
        ...

    def map(self, function: Callable[..., pl.DataFrame], *args: Any, columns: Sequence[str] = ()) -> Dataset:
        """function(frame, *args) once per shard, on the engine; the frame also carries `row`, the row's number.

        The only fan-out. What it returns is small: hashes, counts, signatures. Row counts may change.
        """
        ...

    def exchange(self, by: str) -> Dataset:
        """Equal values of column `by` in one shard, shards sorted by it: the group of map, group, reduce."""
        ...

    def frame(self, *columns: str) -> pl.DataFrame:
        """These columns of all rows, in memory."""
        ...

    def frames(self, *columns: str) -> Iterator[pl.DataFrame]:
        """These columns of all rows, in order, a bounded frame at a time; at least one, perhaps empty, so that they
        show their types.
        """
        ...

    def take(self, rows: np.ndarray, *columns: str) -> pl.DataFrame:
        """These columns of the rows with these numbers, in that order."""
        ...

    def matrix(self, column: str) -> np.ndarray:
        """A vector column as a read-only float32 array [N, d]. Rows without a vector are an error that names one."""
        ...

    def eval(self, expression: Any) -> pl.Series:
        """A bound `Expr` parameter over all rows."""
        ...
