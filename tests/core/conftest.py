"""Shared by the tests of the core: the command line in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Kitchen


@pytest.fixture
def cli(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs the command line in the kitchen. Returns (exit code, standard output, standard error)."""
    from sftrecipe.cli.app import run_app

    monkeypatch.chdir(kitchen.folder)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sftrecipe", *args])
        code = 0
        try:
            run_app()
        except SystemExit as end:
            code = int(end.code or 0)
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    before = list(logging.getLogger().handlers)
    yield call
    logging.getLogger().handlers[:] = before  # the terminal of a run that is over must not speak in the next
