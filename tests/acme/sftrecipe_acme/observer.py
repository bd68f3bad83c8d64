"""An observer: writes down what it is told, adds a line below the funnel and a command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sftrecipe import hookimpl


class Observer:
    """Appends events to the file that ACME_LOG names."""

    def _log(self, kind: str, **facts: Any) -> None:
        path = os.environ.get("ACME_LOG")
        if path:
            with Path(path).open("a") as file:
                file.write(json.dumps({"kind": kind, **facts}) + "\n")

    @hookimpl
    def run_started(self, event: Any) -> None:
        """A run begins."""
        self._log("run_started", recipe=event.recipe, steps=list(event.steps))

    @hookimpl
    def step_finished(self, event: Any) -> None:
        """A step is done."""
        self._log("step_finished", step=event.step, rows_out=event.counts["rows_out"], cached=event.cached)

    @hookimpl
    def run_finished(self, event: Any) -> None:
        """A run is over."""
        self._log("run_finished", error=event.error, outputs=len(event.outputs))

    @hookimpl
    def report_section(self, counts: Any) -> str:
        """A line below the funnel."""
        return f"acme saw {len(counts)} steps"

    @hookimpl
    def commands(self, app: Any) -> None:
        """A command of its own."""

        @app.command("acme")
        def acme() -> None:
            """Say hello."""
            print("hello from acme")  # noqa: T201
