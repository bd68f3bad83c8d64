"""The recipes in tests/bad: one or more for every code that a check can tell, each with the exact text of its problems.

`python -m tests.core.bad_recipes` writes the texts anew; read the difference before you keep it. A recipe whose first line is
`# options: --variant x -p y=1` is checked with these options. `ops.py` beside them holds operators made for the purpose.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from sftrecipe.errors import Problem, RecipeError
from sftrecipe.report.problems import render_all
from sftrecipe.session import Session

__all__ = ["BAD", "check_text", "find_problems", "golden", "recipes"]

BAD = Path(__file__).parents[1] / "bad"


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working folder, for the time of the block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def recipes() -> list[Path]:
    """The bad recipes; other YAML files there are parts that they use."""
    return sorted(p for p in BAD.glob("*.yaml") if p.name[0] in "RP" or p.name.startswith("MANY"))


def options_of(path: Path) -> tuple[str, list[str]]:
    """(variant, overrides) of the first line."""
    first = path.read_bytes().split(b"\n", 1)[0].decode("utf-8", "replace")
    words = shlex.split(first.removeprefix("# options:")) if first.startswith("# options:") else []
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return next((v for k, v in pairs if k == "--variant"), ""), [v for k, v in pairs if k == "-p"]


def find_problems(path: Path) -> Sequence[Problem]:
    """All that a check tells of one bad recipe, seen from its folder."""
    with inside(path.parent):
        variant, overrides = options_of(Path(path.name))
        plugins = [Path("ops.py")] if Path("ops.py").is_file() else []
        session = Session(path.name, variant=variant, overrides=overrides, plugins=plugins)
        return _problems(session)


def check_text(text: str, folder: Path, name: str = "recipe.yaml") -> Sequence[Problem]:
    """All that a check tells of a recipe given as text."""
    (folder / name).write_text(text, encoding="utf-8")
    with inside(folder):
        return _problems(Session(name))


def _problems(session: Session) -> Sequence[Problem]:
    try:
        session.plan()
    except RecipeError as error:
        return error.problems
    return list(session.problems)


def golden(path: Path) -> str:
    """What the checker prints of a bad recipe."""
    with inside(path.parent):
        return render_all(find_problems(path)) + "\n"


def main() -> None:
    """Writes every golden text."""
    for path in recipes():
        path.with_suffix(".txt").write_text(golden(path), encoding="utf-8")
    for path in BAD.glob("*.txt"):
        if path.name[0] in "RPM" and not path.with_suffix(".yaml").exists():
            path.unlink()


if __name__ == "__main__":
    main()
