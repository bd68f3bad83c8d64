"""filter.where: keep the rows for which an expression is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from sftrecipe import Expr, Filter, Param, StepError
from sftrecipe.lazy import pl
from sftrecipe_clean.texts import column_of

if TYPE_CHECKING:
    from sftrecipe.rows import Rows

__all__ = ["Where"]


class Where(Filter):
    """Keep rows for which the condition holds: `filter: words(response) >= 5 and source != "flan"`.

    Codes: `where` (the condition is false), `undefined` (it has no value, because something that it reads is null).
    """

    wants: ClassVar[Mapping[str, str]] = {"condition": "bool"}

    condition: Expr = Param(positional=True, doc="A condition over the columns; rows for which it is true stay.")

    def keep(self, rows: Rows) -> pl.Series:
        values = column_of(rows, self.condition)
        if values.dtype == pl.Null:
            return values.cast(pl.Boolean)
        if values.dtype != pl.Boolean:
            raise StepError(
                f"`{self.params['condition']}` gives {values.dtype}, not true or false",
                step=self.name,
                help="compare it with something, as in `quality > 3`",
            )
        return values
