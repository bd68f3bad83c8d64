"""`select.top`: the rows with the highest (or lowest) value of an expression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from sftrecipe import Choice, Dataset, Expr, Param
from sftrecipe_diversity.budget import Budgeted, column_of, numbers

__all__ = ["Top"]


class Top(Budgeted):
    """Keep the rows with the best value; ties go to the smaller row id.

    Drops: `not_chosen` (value: the row's own figure), `over_budget` (it did not fit into the tokens left), `undefined`
    (no figure).
    """

    wants: ClassVar[Mapping[str, str]] = {"by": "number"}

    by: Expr = Param(doc="A number: the column or expression to rank by.")
    order: Literal["descending", "ascending"] = Param("descending", doc="Which end is best.")

    def choose(self, data: Dataset) -> Choice:
        """Best first."""
        pool = self.pool(data)
        values = numbers(column_of(data, self.by), pool, f"{self.title}: `by`")
        return pool.spend(pool.order(values if self.order == "ascending" else -values), values)
