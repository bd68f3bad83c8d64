"""Shared by all tests: a folder with a recipe in it, run in this process or by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from sftrecipe.session import Session

# shared machines are slow at times: a deadline would test the machine
hypothesis_settings.register_profile("sftrecipe", deadline=None)
hypothesis_settings.load_profile("sftrecipe")

collect_ignore = ["acme"]  # an outside package with tests of its own: test_acme.py installs it and runs them


@dataclass
class Kitchen:
    """A temporary folder with recipes and data."""

    folder: Path

    def recipe(self, steps: str, *, head: str = "", name: str = "recipe.yaml") -> Path:
        """A recipe file with these steps (YAML, indented as under `steps:`)."""
        path = self.folder / name
        path.write_text(f"recipe: test\ngrammar: 1\n{head}steps:\n{steps}", encoding="utf-8")
        return path

    def rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """A JSONL file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
        return path

    def session(self, recipe: Path | str = "recipe.yaml", **options: Any) -> Session:
        """A session whose store and outputs lie in the folder."""
        from sftrecipe.run.interpreter import Options

        settings = options.pop("options", None) or Options(out=self.folder)
        options.setdefault("store", self.folder / ".sftrecipe")
        return Session(self.folder / recipe, options=settings, **options)

    def run(self, recipe: Path | str = "recipe.yaml", **options: Any) -> Any:
        """Runs in this process. Returns the Outcome."""
        with self.session(recipe, **options) as session:
            return session.run()

    def cli(self, *args: str, env: Mapping[str, str] | None = None, timeout: float = 120, check: int | None = None) -> Any:
        """Runs the command line in the folder."""
        command = [sys.executable, "-c", "from sftrecipe.cli import script; script()", *args]
        merged = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(env or {})}
        done = subprocess.run(command, cwd=self.folder, env=merged, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    def read(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSONL output."""
        return [json.loads(line) for line in (self.folder / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def chat(query: str, response: str, **more: Any) -> dict[str, Any]:
    """One row as OpenAI messages."""
    return {"messages": [{"role": "user", "content": query}, {"role": "assistant", "content": response}], **more}


@pytest.fixture
def numbered() -> Callable[[int], list[dict[str, Any]]]:
    """n rows that differ, some of them doubled."""

    def make(n: int) -> list[dict[str, Any]]:
        rows = []
        for i in range(n):
            k = i - 1 if i % 10 == 9 else i
            rows.append(chat(f"Question {k}: what is {k} plus {k + 1}?", f"The sum of {k} and {k + 1} is {2 * k + 1}. " + "word " * (k % 17)))
        return rows

    return make
