"""Operators of an outside package. It imports nothing of sftrecipe but its public names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftrecipe import Expr, Filter, Into, Param, Rows, Score


class Short(Filter):
    """Keep rows whose response has enough words."""

    reads = ("response",)
    words: int = Param(20, ge=1, doc="Fewest words kept.", positional=True)

    def keep_row(self, row: Mapping[str, Any]) -> bool | str:
        """True, or `short`."""
        return len((row["response"] or "").split()) >= self.words or "short"


class Questions(Score):
    """Count the question marks of a text."""

    writes = {"{into}": "int"}
    text: Expr = Param("query", doc="Where to look.")
    into: Into = Param("questions", doc="The column written.")

    def score(self, rows: Rows) -> Mapping[str, Any]:
        """One number a row."""
        import polars as pl

        return {self.into: rows.select(self.text.str.count_matches("?", literal=True).cast(pl.Int64).alias("n"))["n"]}
