"""The command line. typer and rich are imported here and nowhere else but in report/."""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

__all__ = ["main", "script"]


def main() -> None:
    """Runs the command line of this process."""
    from sftrecipe.cli.app import run_app

    run_app()


def script() -> None:
    """Entry point of `sftrecipe`: `main`, then the short way out.

    Everything is written by then, and taking Polars and Arrow down costs more than starting Python.
    """
    code: list[object] = []
    atexit.register(_leave, code)  # the first to register is the last to be called
    try:
        main()
        code.append(0)
    except SystemExit as end:
        code.append(end.code or 0)
        raise


def _leave(code: list[object]) -> None:
    """Ends the process with its exit code, unless it ends with an exception, which Python tells."""
    if code and isinstance(code[0], int):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the reader has gone
                stream.flush()
        os._exit(code[0])
