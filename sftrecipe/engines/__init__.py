"""Who runs a function over shards: this machine, or Ray (entry points in `sftrecipe.engine`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

__all__ = ["FILE_PREFIX", "Engine"]

FILE_PREFIX = "sftrecipe_file_"
"""How the modules of `--plugin file.py` are called; an engine must find them on its workers."""


class Engine(Protocol):
    """Sees functions that pickle and small arguments; rows travel through the store, never through a pipe.

    One that starts processes may have `warm(modules)` too: heavy jobs will follow soon, whose code these modules are.
    """

    workers: int

    def map(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], *, heavy: bool = False, here: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """(number, result) of every job, as they end. `heavy`: Python-bound work, worth processes. `here`: the driver's
        process may do jobs too; not for code that might take it down.
        """
        ...

    def close(self) -> None:
        """Ends its workers."""
        ...
