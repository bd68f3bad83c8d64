"""The local engine: threads for work that Polars and numpy do, a pool of spawned processes for Python-bound rows.

Processes are spawned, never forked: forking after threads were started hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sftrecipe.errors import StepError

__all__ = ["LocalEngine"]


class LocalEngine:
    """Runs jobs on `workers` threads or processes. Results do not depend on how many there are."""

    def __init__(self, workers: int = 0, pool: bool | None = None) -> None:
        self.workers = workers or available()
        self._force = pool
        self._pool: ProcessPoolExecutor | None = None

    def map(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], *, heavy: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """(number, result), as jobs end; at most two jobs a worker are handed out ahead."""
        processes = heavy if self._force is None else self._force
        if not processes and (self.workers == 1 or len(jobs) == 1):
            yield from ((n, function(job)) for n, job in enumerate(jobs))
            return
        if processes:
            yield from self._drive(self._processes(), function, jobs)
            return
        with ThreadPoolExecutor(self.workers) as threads:
            yield from self._drive(threads, function, jobs)

    def _drive(
        self, executor: Executor, function: Callable[[Any], Any], jobs: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        todo = iter(enumerate(jobs))
        running: dict[Future[Any], int] = {}
        try:
            while True:
                while len(running) < 2 * self.workers and (job := next(todo, None)) is not None:
                    running[executor.submit(function, job[1])] = job[0]
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            self._pool = None
            raise StepError(
                "a worker process died (killed, out of memory, or a crash in native code)", code="R601"
            ) from error
        finally:
            for future in running:
                future.cancel()

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=_start)
        return self._pool

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _start() -> None:
    # Ctrl-C reaches the whole process group: the driver alone decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def available() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
