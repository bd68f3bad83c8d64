"""What can go wrong, as the API says it.

SftRecipeError                  exit code
|-- RecipeError    1            the recipe is wrong; carries every Problem at once
|-- UsageError     2            the command line is wrong
|-- StepError      3            a step failed while it ran
|   `-- StoreDamaged            a stored file is not what was written (the run evicts it and goes on)
|-- BudgetReached  4            a model's budget is used up; running again with more goes on
`-- Waiting        5            something outside must happen first

RowError                        raised by operators: this one row fails, with a code
Pending                         raised by operators: the world must act (becomes Waiting)
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "BudgetReached",
    "Pending",
    "Problem",
    "Problems",
    "RecipeError",
    "RowError",
    "SftRecipeError",
    "Span",
    "StepError",
    "StoreDamaged",
    "UsageError",
    "Waiting",
    "did_you_mean",
    "nearest",
    "described",
    "raised_at",
]


@dataclass(frozen=True, order=True)
class Span:
    """A place in a text file. Lines and columns count from 1; `end` is the column after the last."""

    file: str
    line: int
    column: int
    end: int = 0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do about it.

    `code` is explained by `sftrecipe explain CODE`; `note` stands behind the caret; `help` is the advice.
    """

    code: str
    message: str
    span: Span | None = None
    note: str = ""
    help: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        place = f"{self.span.file}:{self.span.line}:{self.span.column}: " if self.span else ""
        advice = f" ({self.help})" if self.help else ""
        return f"{place}{self.severity}[{self.code}]: {self.message}{advice}"


class Problems(list[Problem]):
    """A collector: checks add to it and go on, so that all problems are told at once."""

    def error(self, code: str, message: str, span: Span | None = None, *, note: str = "", help: str = "") -> None:
        """Adds an error."""
        self.append(Problem(code, message, span, note, help))

    def warning(self, code: str, message: str, span: Span | None = None, *, note: str = "", help: str = "") -> None:
        """Adds a warning: told, and the run goes on."""
        self.append(Problem(code, message, span, note, help, "warning"))

    @property
    def errors(self) -> list[Problem]:
        """Those that stop."""
        return [p for p in self if p.severity == "error"]

    def raise_errors(self) -> None:
        """Raises RecipeError with everything found, if anything stops."""
        if self.errors:
            raise RecipeError(self)


class SftRecipeError(Exception):
    """The root of all errors that are told, not traced back."""

    exit_code = 3


class RecipeError(SftRecipeError):
    """The recipe is wrong. `problems` holds all that was found, in the order of the file."""

    exit_code = 1

    def __init__(self, problems: Iterable[Problem]) -> None:
        # a part that is used twice is read twice, and its problems are found twice
        self.problems: Sequence[Problem] = sorted(dict.fromkeys(problems), key=_place)
        super().__init__("\n".join(str(p) for p in self.problems))


class UsageError(SftRecipeError):
    """The command line is wrong."""

    exit_code = 2


class StepError(SftRecipeError):
    """A step failed. `step` is its id, `code` one of R6xx or P0xx, `help` what to do."""

    exit_code = 3

    def __init__(self, message: str, *, step: str = "", code: str = "R600", help: str = "") -> None:
        super().__init__(message)
        self.step, self.code, self.help = step, code, help

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_step_error, (type(self), str(self), self.step, self.code, self.help)


class StoreDamaged(StepError):
    """A stored file differs from what was written: it is evicted and computed again."""


class BudgetReached(SftRecipeError):
    """A model's budget is used up. Nothing is lost: raise it and run again."""

    exit_code = 4


class Waiting(SftRecipeError):
    """Something outside must happen first (people, a trainer, a batch service). Run again to go on."""

    exit_code = 5


class RowError(Exception):
    """This row fails with `code`; the step's `on_error` decides what becomes of it.

    Raised by operators (row forms); `Load.read` yields it, or better a `BadRow`, which says where.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class Pending(Exception):
    """Raised by operators: something outside must happen first. The message says what is awaited, and where."""


_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARY = re.compile(r"[/\\](importlib|pickle\.py|asyncio|(site-packages[/\\](polars|numpy|pyarrow)))\b")


def described(error: BaseException) -> str:
    """What somebody else's code raised, and where: `KeyError: 'text' (file.py:12)`."""
    return f"{type(error).__name__}: {error}{raised_at(error)}"


def raised_at(error: BaseException) -> str:
    """` (file.py:12)`: the innermost line of a traceback that is neither ours nor a library of columns; or empty."""
    if isinstance(error, SyntaxError):
        return ""  # its own text says where
    frame, place = error.__traceback__, ""
    while frame:
        file = frame.tb_frame.f_code.co_filename
        if not (file.startswith(("<frozen", _HERE)) or _LIBRARY.search(file)):
            place = f" ({os.path.basename(file)}:{frame.tb_lineno})"
        frame = frame.tb_next
    return place


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean `x`?` for the nearest of `known`, or an empty string."""
    near = nearest(word, known)
    return f"did you mean `{near}`?" if near else ""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The name that was probably meant, or an empty string. `cutoff`: least likeness, 1 for the same word."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=cutoff)
    if (
        not near and cutoff <= 0.6
    ):  # a dropped prefix or suffix (`kcentre` for `select.kcenter`) is far in ratio, near in meaning
        near = [n for n in names if (len(word) > 2 and word in n) or (len(n) > 3 and n in word)][:1]
    return near[0] if near else ""


def _place(problem: Problem) -> tuple[str, int, int, str]:
    span = problem.span
    return (span.file, span.line, span.column, problem.code) if span else ("", 0, 0, problem.code)


def _rebuild_step_error(kind: type[StepError], message: str, step: str, code: str, help: str) -> StepError:
    return kind(message, step=step, code=code, help=help)
