"""`sftrecipe check` and `sftrecipe test`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from sftrecipe.cli.console import out, print_problems, quiet_text
from sftrecipe.errors import Problem, RecipeError
from sftrecipe.session import Session

__all__ = ["check_files", "test_files"]


def check_files(sessions: Sequence[Session], format: str) -> None:
    """All problems of all files. Exit code 1 if anything stops."""
    problems: list[Problem] = []
    for session in sessions:
        found: Sequence[Problem]
        try:
            plan = session.plan()
            found = list(session.problems)
            if format == "text":
                part = ", a part for other recipes" if plan.is_part() else ""
                typer.echo(f"{session.file}: {len(plan.nodes)} steps, no errors{part}")  # importing rich takes longer
        except RecipeError as error:
            found = error.problems
        problems += found
    _show(problems, format)
    if any(p.severity == "error" for p in problems):
        sys.exit(1)


def _show(problems: Sequence[Problem], format: str) -> None:
    if format == "text":
        if problems:
            print_problems(problems)
        return
    from sftrecipe.report.problems import as_github, as_json

    text = as_json(problems) if format == "json" else as_github(problems)
    if text:
        out().print(text, markup=False)


def test_files(sessions: Sequence[Session]) -> None:
    """Runs `tests:`. Exit code 3 if one fails."""
    from sftrecipe.run.casework import run_tests

    console = out()
    failed = total = 0
    for session in sessions:
        for result in run_tests(session):
            total += 1
            failed += not result.passed
            console.print(f"{'ok    ' if result.passed else 'FAILED'} {session.file}: {result.name}", markup=False)
            if not result.passed:
                console.print(quiet_text("       " + result.detail.replace("\n", "\n       ")), markup=False)
    console.print(f"{total - failed} passed, {failed} failed" if total else "no tests in these recipes", markup=False)
    if failed:
        sys.exit(3)
