"""The local engine: threads for work that Polars and numpy do, a pool of spawned processes for Python-bound rows.

Processes are spawned, never forked: forking after threads were started hangs.
"""

from __future__ import annotations

import atexit
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any

from sftrecipe.engines import FILE_PREFIX
from sftrecipe.errors import StepError, UsageError

__all__ = ["LocalEngine"]


class LocalEngine:
    """Runs jobs on `workers` threads or processes. Results do not depend on how many there are."""

    def __init__(self, workers: int = 0) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise UsageError(
                "a worker process reads this script again: what runs the recipe must stand under "
                "`if __name__ == '__main__':`"
            )
        self.workers = workers or available()
        self._pool: ProcessPoolExecutor | None = None

    def map(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], *, heavy: bool = False, here: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """(number, result), as jobs end."""
        if (here or not heavy) and (self.workers == 1 or len(jobs) == 1):
            yield from ((n, function(job)) for n, job in enumerate(jobs))
        elif here and (heavy or self._pool is not None):
            # this process has its imports done when the others only start; so many jobs, so many are started
            with ThreadPoolExecutor(1) as thread:
                yield from self._drive([(thread, 1), (self._processes(), self.workers - 1)], function, jobs)
        elif heavy:
            yield from self._drive([(self._processes(), 2 * self.workers)], function, jobs)
        else:
            with ThreadPoolExecutor(self.workers) as threads:
                yield from self._drive([(threads, 2 * self.workers)], function, jobs)

    def _drive(
        self, executors: Sequence[tuple[Executor, int]], function: Callable[[Any], Any], jobs: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Hands jobs out, to each executor at most so many at a time."""
        todo = iter(enumerate(jobs))
        running: dict[Future[Any], tuple[int, int]] = {}
        free = [room for _, room in executors]
        _heed_signals()
        try:
            while True:
                for who, (executor, _) in enumerate(executors):
                    while free[who] and (job := next(todo, None)) is not None:
                        running[executor.submit(function, job[1])] = job[0], who
                        free[who] -= 1
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    number, who = running.pop(future)
                    free[who] += 1
                    yield number, future.result()
        except BrokenProcessPool as error:
            self._pool = None
            raise StepError(
                "a worker process died (killed, out of memory, or a crash in native code)",
                code="R601",
                help="try fewer --workers, or a smaller --shard-mb; a script of yours must run recipes under "
                "`if __name__ == '__main__':`",
            ) from error
        finally:
            for future in running:
                future.cancel()

    def warm(self, modules: Sequence[str]) -> None:
        """Starts the processes that heavy jobs will need, and has them import these modules meanwhile."""
        for _ in range(self.workers - 1):
            self._processes().submit(_import, tuple(modules))

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            files = {n: str(m.__file__) for n, m in sys.modules.items() if n.startswith(FILE_PREFIX)}
            self._pool = ProcessPoolExecutor(self.workers, mp_context=spawn, initializer=_start, initargs=(files,))
        return self._pool

    def close(self) -> None:
        """Ends the processes."""
        _heed_signals()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _heed_signals() -> None:
    """Importing polars puts a handler before Python's that restarts waits: Ctrl-C would be heard only when they end."""
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.siginterrupt(getattr(signal, name), True)


class _PluginFiles(MetaPathFinder):
    """Finds the modules of `--plugin file.py`: they lie on no path that a worker would look at."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """The module of that name, if it is one of the files."""
        return spec_from_file_location(name, self.files[name]) if name in self.files else None


def _start(files: Mapping[str, str]) -> None:
    sys.meta_path.append(_PluginFiles(files))
    # Ctrl-C and a hang-up reach the whole process group: the driver alone decides what they mean
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)
    # whatever a job made is on disk when it returns: taking Polars and its threads down is work for nobody
    atexit.register(os._exit, 0)
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    """Ends this worker when the driver is gone: a killed driver cannot tell its workers to go, and they wait for jobs
    on a pipe that they hold open themselves."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        importlib.import_module(name)


def available() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
