"""The event loop of a run, for callers that have none: rows through coroutines from ordinary code.

The loop lives in the calling thread and runs while results are asked for. Nothing goes on in the background, and Ctrl-C raises
KeyboardInterrupt here: what is in flight is cancelled, what was answered is committed, connections close.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import closing
from typing import Any
from weakref import WeakKeyDictionary

from sftrecipe.models.pull import Item, Pull

__all__ = ["on_loop_end", "run_rows", "stream_rows"]

Farewell = Callable[[], Awaitable[None]]
_FAREWELLS: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Farewell]] = WeakKeyDictionary()


def on_loop_end(close: Farewell) -> None:
    """Has `close` awaited before the running loop ends, where that loop is one of this module's."""
    _FAREWELLS.setdefault(asyncio.get_running_loop(), []).append(close)


def stream_rows(
    rows: Iterable[Any], work: Callable[[Any], Awaitable[Any]], in_flight: int | Callable[[], int] = 256
) -> Generator[Item, None, None]:
    """Yields (index, result or RowError) as rows get done; arguments as for `sftrecipe.models.pull.Pull`.

    The loop stands still while the caller works on a result, so keep that short (writing a shard is fine). Closing the generator
    cancels what is in flight. Inside a running loop (a notebook) all rows are done first, on a thread of their own.
    """
    if _loop_runs_here():
        yield from _on_thread(lambda: list(stream_rows(rows, work, in_flight)))
        return
    loop = asyncio.new_event_loop()
    run = Pull(rows, work, in_flight)
    try:
        while items := loop.run_until_complete(run.ready()):
            yield from items
    finally:
        _wind_up(loop, run)


def run_rows(
    rows: Iterable[Any], work: Callable[[Any], Awaitable[Any]], in_flight: int | Callable[[], int] = 256
) -> list[Any]:
    """The outcome (result or RowError) of each row, in the order of the rows."""
    with closing(stream_rows(rows, work, in_flight)) as done:
        return [outcome for _, outcome in sorted(done, key=lambda item: item[0])]


def _wind_up(loop: asyncio.AbstractEventLoop, run: Pull) -> None:
    try:
        for task in asyncio.all_tasks(loop):  # after Ctrl-C: whoever waited for results
            task.cancel()
        loop.run_until_complete(run.aclose())
        for close in _FAREWELLS.pop(loop, []):
            loop.run_until_complete(close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _on_thread(job: Callable[[], list[Item]]) -> list[Item]:
    got: list[list[Item]] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            got.append(job())
        except BaseException as error:  # noqa: BLE001  (carried over to the thread that asked, whatever it is)
            failed.append(error)

    thread = threading.Thread(target=run, name="sftrecipe-rows")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return got[0]
