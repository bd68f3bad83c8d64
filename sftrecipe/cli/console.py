"""The terminal: problems in colour, progress with rates, plain lines where nobody watches."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import Problem, SftRecipeError, StepError

if TYPE_CHECKING:
    from rich.console import Console

    from sftrecipe.ledger import Counts
    from sftrecipe.plan.node import Node

__all__ = ["Terminal", "err", "out", "print_error", "print_problems", "quiet_text"]

EVERY = 2.0
"""Seconds between lines where there is no terminal."""


def out() -> Console:
    """Standard output. Its reader may go away (`| head`): BrokenPipeError then, where rich would leave with 1."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise BrokenPipeError

    return Pipe(highlight=False, soft_wrap=True)


def err() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def quiet_text(text: str) -> str:
    """Text of a row without control characters: data must not drive the terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def print_problems(problems: Sequence[Problem]) -> None:
    """All problems with their lines and carets."""
    from rich.text import Text

    from sftrecipe.report.problems import render_all

    console = err()
    text = Text(render_all(problems))
    text.highlight_regex(r"^error(\[\w+\])?:.*$", "bold red")
    text.highlight_regex(r"^warning(\[\w+\])?:.*$", "bold yellow")
    text.highlight_regex(r"\^+", "bold red")
    text.highlight_regex(r"= help:", "bold cyan")
    console.print(text)


def print_error(error: SftRecipeError) -> None:
    """An error that is no Problem: what failed, in which step, what to do."""
    from rich.text import Text

    step = f" in step `{error.step}`" if isinstance(error, StepError) and error.step else ""
    code = f"[{error.code}]" if isinstance(error, StepError) else ""
    text = Text.assemble((f"error{code}{step}: ", "bold red"), quiet_text(str(error)))
    help = getattr(error, "help", "")
    if help:
        text.append(f"\n = help: {help}", style="cyan")
    err().print(text)


class Terminal:
    """Progress: a live line with rows a second and time left; where nobody watches, a plain line now and then."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = not quiet and self.console.is_terminal
        self.cached: dict[str, bool] = {}
        self._bar: Any = None
        self._task: Any = None
        self._started = self._told = time.monotonic()
        self._rows = self._parts = self._of = 0
        self._name = ""
        logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines(self)])

    @cached_property
    def console(self) -> Console:
        """Standard error, once there is something to say."""
        return err()

    def begin(self, name: str, parts: int, done: int) -> None:
        """A stage starts."""
        self._name, self._of, self._parts, self._rows = name, parts, done, 0
        self._started = self._told = time.monotonic()
        if done:
            self.say(f"{name}: {done} of {parts} shards were done before")
        if self.live:
            self._show(name, parts, done)

    def _show(self, name: str, parts: int, done: int) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        if self._bar is None:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
        if self._task is not None:
            self._bar.remove_task(self._task)
        short = name if len(name) <= 40 else name[:37] + "..."
        self._task = self._bar.add_task(short, total=parts, completed=done, rate="")

    def advance(self, name: str, rows: int) -> None:
        """One shard is done."""
        self._rows += rows
        self._parts += 1
        seconds = max(1e-6, time.monotonic() - self._started)
        rate = f"{self._rows / seconds:,.0f} rows/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._parts, rate=rate)
        elif not self.quiet and time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            left = seconds / self._parts * max(0, self._of - self._parts) if self._parts else 0
            self._line(f"{name}: {self._rows:,} rows, {rate}, about {left:.0f} s left")

    def within(self, name: str, done: int, of: int) -> None:
        """A whole-data step came further."""
        if self._bar is not None and of:
            self._bar.update(self._task, total=of, completed=done)

    def step(self, node: Node, counts: Counts, cached: bool) -> None:
        """A step is done."""
        self.cached[node.id] = cached

    def say(self, text: str) -> None:
        """A line of its own."""
        if not self.quiet:
            self._line(text)

    def _line(self, text: str) -> None:
        from rich.text import Text

        (self._bar.console if self._bar is not None else self.console).print(Text(quiet_text(text)))

    def close(self) -> None:
        """Takes the live line away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Lines(logging.Handler):
    """Warnings of operators and observers, as lines above the progress."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self.terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        name = record.name.removeprefix("sftrecipe.step.").removeprefix("sftrecipe.")
        self.terminal._line(f"{record.levelname.lower()}: {name}: {record.getMessage()}")
