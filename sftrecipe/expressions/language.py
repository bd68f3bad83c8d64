"""What the parts of the expression language share: its error, its limits, and functions as plugin authors declare
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sftrecipe.errors import Problem, Span
from sftrecipe.lazy import pl
from sftrecipe.types import Type

__all__ = [
    "MAX_CHARACTERS",
    "MAX_DEPTH",
    "MAX_INTEGER",
    "MAX_NODES",
    "Argument",
    "Counts",
    "ExpressionError",
    "Function",
]

MAX_CHARACTERS = 2_000
MAX_NODES = 200
MAX_DEPTH = 60
MAX_INTEGER = 9 * 10**18
"""Integer results beyond this are null: 64 bits end a little above, and would wrap around silently."""

REQUIRED: Any = ...


class ExpressionError(Exception):
    """An expression or template is wrong. `start` and `end` are offsets in its text; `code` is one of R5xx."""

    def __init__(self, code: str, message: str, start: int = 0, end: int = 0, help: str = "") -> None:
        super().__init__(code, message, start, end, help)
        self.code, self.message, self.start, self.end, self.help = code, message, start, max(end, start), help

    def __str__(self) -> str:
        advice = f" ({self.help})" if self.help else ""
        return f"{self.code}: {self.message}{advice}"

    def problem(self, span: Span | None = None) -> Problem:
        """The same as a Problem at `span` (`source.at(path, error.start, error.end - error.start)`)."""
        return Problem(self.code, self.message, span, help=self.help)


@dataclass(frozen=True)
class Argument:
    """One argument of a function.

    Attributes:
        name: for messages and docs.
        accepts: types, `|` between: `text int number bool list list[number] list[bool] list[text] messages any same`.
            `any` takes every value as it is; arguments that say `same` are brought to one type.
        constant: must be a literal or a parameter; `build` is given the Python value.
        default: makes it optional; `build` is given this constant when it is left out.
        many: may be repeated (the last argument only).
        implied: the column that is read when it is left out.
        raw: a constant given here reaches `build` as its Python value (a list as a list), anything else as an
        expression.
    """

    name: str
    accepts: str = "any"
    constant: bool = False
    default: Any = REQUIRED
    many: bool = False
    implied: str = ""
    raw: bool = False

    @property
    def optional(self) -> bool:
        return self.default is not REQUIRED or bool(self.implied)


@dataclass(frozen=True)
class Function:
    """A function that expressions may call: an entry point in the group `sftrecipe.function`.

    Attributes:
        name: as it is called.
        doc: one sentence.
        arguments: in order.
        returns: a type as a word, or a function from the types of the arguments to a Type.
        build: Polars expressions (constants: Python values) -> Polars expression. Row by row: no window, shift or
            aggregate over rows, and an unknown value in gives null out. With `typed`, the types come first:
            `build(types, a, b)`.
        check: (types, constants or None each) -> what is wrong with them, or an empty string. Called before the run.
        evaluate: the same on plain Python values, for `when:` and `expect:`. None: not to be used there.
        nulls: whether `evaluate` is given nulls; without, any null in is null out.
        version: raised when results change; part of the key of each step that uses the function.
    """

    name: str
    doc: str
    arguments: Sequence[Argument]
    returns: str | Callable[[Sequence[Type]], Type]
    build: Callable[..., pl.Expr]
    typed: bool = False
    check: Callable[[Sequence[Type], Sequence[Any]], str] | None = None
    evaluate: Callable[..., Any] | None = None
    nulls: bool = False
    version: int = 1

    @property
    def signature(self) -> str:
        """`contains(text, needle...)`, for docs and messages."""
        shown = [a.name + "..." * a.many + "?" * a.optional for a in self.arguments]
        return f"{self.name}({', '.join(shown)})"


class Counts(int):
    """A count with its parts by code: in `expect:`, `dropped` is all of them, `dropped.too_short` those with one code.

    A code that did not occur counts 0. As a column type the word is `counts`.
    """

    codes: Mapping[str, int]

    def __new__(cls, total: int, codes: Mapping[str, int] | None = None) -> Counts:
        made = super().__new__(cls, total)
        made.codes = dict(codes or {})
        return made
