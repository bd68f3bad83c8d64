"""`sftrecipe run`: progress, the funnel, the outputs, and how to go on when it stops."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from sftrecipe.cli.console import Terminal, out, print_problems, quiet_text
from sftrecipe.errors import BudgetReached, StepError
from sftrecipe.report.funnel import funnel
from sftrecipe.session import Session

__all__ = ["run_recipe"]


def run_recipe(session: Session, quiet: bool) -> None:
    """Runs and reports. Exit codes: 0 ok, 1 recipe wrong, 2 usage, 3 step failed, 4 budget, 5 waiting, 130
    interrupted."""
    terminal = Terminal(quiet)
    started = time.monotonic()
    try:
        with _Stops(), session:
            outcome = session.run(
                terminal, on_damage=lambda text: terminal.say(f"warning: {text}: it is computed again")
            )
    except KeyboardInterrupt:
        terminal.close()
        terminal.say(f"interrupted; what is finished is kept: run the same command to go on ({_command()})")
        sys.exit(130)
    except (StepError, BudgetReached):
        terminal.close()
        terminal.say("what is finished is kept: run again to go on from there")
        raise
    finally:
        terminal.close()
    warnings = [p for p in session.problems if p.severity == "warning"]
    if warnings and not quiet:
        print_problems(warnings)
    if not quiet:
        _report(session, outcome, terminal, time.monotonic() - started)
    if outcome.waiting:
        console = out()
        for step, what in outcome.waiting.items():
            console.print(f"{step} {quiet_text(what)}", markup=False)
        console.print("everything that does not need it is done; run again when it is there", markup=False)
        sys.exit(5)


class _Stops:
    """Ctrl-C, a termination and a hang-up: the first stops the run once what is under way has come to its end, the
    second at once. What is ignored already (nohup) stays ignored.
    """

    raises_interrupt = True
    """For those who hold Ctrl-C back for a moment (models.pull): calling this raises KeyboardInterrupt."""

    def __init__(self) -> None:
        found = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        self.before = {n: h for n in found if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)}

    def __enter__(self) -> None:
        for number in self.before:
            signal.signal(number, self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not KeyboardInterrupt:
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for other in self.before:
            signal.signal(other, _leave)
        with suppress(OSError):  # no print: this may come in the middle of one
            os.write(2, b"\nstopping; once more to stop at once\n")
        raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(130)  # workers end with their driver


def _command() -> str:
    return " ".join(["sftrecipe", *sys.argv[1:]])


def _report(session: Session, outcome: Any, terminal: Terminal, seconds: float) -> None:
    console = out()
    console.print(funnel(outcome.counts, terminal.cached))
    for text in _sections(session, outcome):
        console.print(quiet_text(text), markup=False)
    for id, result in outcome.results.items():
        for text in result.manifest.get("remarks", ()):
            console.print(f"{id}: {quiet_text(text)}", markup=False)
    for written in outcome.outputs:
        names = list(written["files"])
        more = f" ({len(names)} files)" if len(names) > 1 else ""
        console.print(f"wrote {written['target']}{more}: {written['rows']:,} rows", markup=False)
    for name, used in outcome.usage.items():
        console.print(_usage(name, used), markup=False)
    hidden = [name for name, path in outcome.artefacts.items() if not _artefact(console, name, path)]
    if hidden:
        console.print(
            f"{len(hidden)} more artefacts are in the store; `step.name` is a file to other steps", markup=False
        )
    if outcome.evicted:
        console.print(f"{len(outcome.evicted)} stored results were damaged and were computed again", markup=False)
    console.print(f"{seconds:.1f} s; `sftrecipe trace {session.file} ROW` tells what became of a row", markup=False)


def _usage(name: str, used: dict[str, Any]) -> str:
    """What a model was asked in this run."""
    failed = sum(used["failed"].values())
    parts = [f"{used['requests']:,} answers", f"{used['cached']:,} of them recorded before" if used["cached"] else ""]
    parts += [f"{failed:,} failed" if failed else "", f"{used['tokens_in']:,} tokens in, {used['tokens_out']:,} out"]
    return f"model {name}: {', '.join(p for p in parts if p)}, {used['dollars']} dollars"


def _sections(session: Session, outcome: Any) -> list[str]:
    if not session.observers:
        return []
    from sftrecipe.hooks import RunEvent

    event = RunEvent(
        recipe=str(session.file),
        file=str(session.file),
        seed=0,
        steps=tuple(c.step for c in outcome.counts),
        outputs=tuple(outcome.outputs),
    )
    answers = session.watchers().call("report_section", event=event, counts=[vars(c) for c in outcome.counts])
    return [a for a in answers if a]


def _artefact(console: Any, name: str, path: Any) -> bool:
    """Shows small tables and figures. Returns whether it did; indexes and long reports stay in the store."""
    from sftrecipe.artefacts import load

    value = load(path) if path.suffix in (".json", ".parquet") and path.stat().st_size < 20_000 else None
    if isinstance(value, dict) and 0 < len(value) <= 16:
        plain = {k: v for k, v in value.items() if isinstance(v, (int, float, str, bool))}
        value = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in plain.items())
    if isinstance(value, (int, float, str, bool)) and value != "":
        console.print(f"{name}: {quiet_text(str(value))}", markup=False)
    elif value is not None and hasattr(value, "iter_rows") and _small(value):
        console.print(_table(name, value))
    else:
        return False
    return True


def _small(frame: Any) -> bool:
    return 0 < frame.height <= 20 and frame.width <= 10 and not any(t.is_nested() for t in frame.dtypes)


def _table(name: str, frame: Any) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(name), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        table.add_column(Text(column), justify="right" if dtype.is_numeric() else "left")
    for row in frame.iter_rows():
        table.add_row(
            *(Text("" if v is None else f"{v:.4g}" if isinstance(v, float) else quiet_text(str(v))) for v in row)
        )
    return table
