"""score.expr and tag.expr: new columns from expressions, as in `score: {evol: complexity * quality}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from sftrecipe import Expr, Flow, Param, Score, StepError, Tag
from sftrecipe.lazy import pl
from sftrecipe.rows import DERIVED
from sftrecipe_clean.texts import column_of

if TYPE_CHECKING:
    from sftrecipe.operators import Operator
    from sftrecipe.rows import Rows

__all__ = ["ScoreExpr", "TagExpr"]


def _typed(columns: Mapping[str, str], expressions: Mapping[str, str]) -> dict[str, str]:
    """The type of each expression over `columns`, as a word: `any` where it is not known from the columns alone."""
    from sftrecipe.expressions import ExpressionError, check

    alive = {**columns, **(DERIVED if "messages" in columns else {})}
    types = {}
    for name, text in expressions.items():
        try:
            types[name] = str(check(str(text), alive).type)
        except ExpressionError:  # it uses params or a plugin's function, or the planner has told what is wrong
            types[name] = "any"
    return types


def _missing(operator: Operator) -> list[str]:
    return [] if operator.params["columns"] else ["name at least one column: `{column: expression}`"]


class ScoreExpr(Score):
    """Number columns computed from others; each is `float`, or `int` where the expression is.

    All expressions see the columns as they were before the step. Without a value (x / 0, a null that is read) the
    number is null.
    """

    wants: ClassVar[Mapping[str, str]] = {"columns": "number"}

    columns: dict[str, Expr] = Param({}, rest=True, doc="Column: expression.")

    def check(self) -> list[str]:
        return _missing(self)

    def flow(self, columns: Mapping[str, str]) -> Flow:
        plain = super().flow(columns)
        types = _typed(columns, self.params["columns"])
        return Flow(
            plain.reads, {name: "int" if kind == "int" else "float" for name, kind in types.items()}, plain.rewrites
        )

    def score(self, rows: Rows) -> dict[str, pl.Series]:
        return {name: self._number(name, column_of(rows, expression)) for name, expression in self.columns.items()}

    def _number(self, name: str, values: pl.Series) -> pl.Series:
        if values.dtype.is_integer():
            return values.cast(pl.Int64)
        if values.dtype.is_float() or values.dtype == pl.Null:
            return values.cast(pl.Float64)
        raise StepError(
            f"`{name}: {self.params['columns'][name]}` gives {values.dtype}, not a number",
            step=self.name,
            help="a label belongs to `tag`; `1 if condition else 0` makes a number of a condition",
        )


class TagExpr(Tag):
    """Columns of any type computed from others. All expressions see the columns as they were before the step."""

    columns: dict[str, Expr] = Param({}, rest=True, doc="Column: expression.")

    def check(self) -> list[str]:
        return _missing(self)

    def flow(self, columns: Mapping[str, str]) -> Flow:
        plain = super().flow(columns)
        return Flow(plain.reads, _typed(columns, self.params["columns"]), plain.rewrites)

    def tag(self, rows: Rows) -> dict[str, pl.Series]:
        return {name: column_of(rows, expression) for name, expression in self.columns.items()}
