"""`select.longest`: the rows with the longest answers, a baseline that is hard to beat (Zhao et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from sftrecipe import Choice, Dataset, Expr, Param, StepError
from sftrecipe.lazy import pl
from sftrecipe_diversity.budget import Budgeted, column_of, numbers

__all__ = ["Longest"]


class Longest(Budgeted):
    """Keep the rows with the longest text. The paper counts tokens: `unit: tokens` with `count` does so.

    Drops: `not_chosen` (value: its length), `over_budget` (it did not fit into the tokens left), `undefined` (no text).
    """

    source = "Zhao et al. 2024, Long Is More for Alignment"

    wants: ClassVar[Mapping[str, str]] = {"text": "text"}

    text: Expr = Param("response", doc="Which text is measured.")
    unit: Literal["words", "chars", "tokens"] = Param("words", doc="What is counted; `tokens` are read from `count`.")

    def check(self) -> Iterator[str]:
        """Tokens are counted by a column."""
        yield from super().check()
        if self.unit == "tokens" and self.count is None:
            yield "`unit: tokens` needs `count`, the column with the number of tokens of each row"

    def choose(self, data: Dataset) -> Choice:
        """Longest first."""
        pool = self.pool(data)
        lengths = numbers(self._length(data), pool, f"{self.title}: the length")
        return pool.spend(pool.order(-lengths), lengths)

    def _length(self, data: Dataset) -> pl.Series:
        if self.unit == "tokens" and self.count is not None:
            return column_of(data, self.count)
        text = column_of(data, self.text)
        if text.dtype not in (pl.String, pl.Null):
            raise StepError(f"{self.title}: `text` gives {text.dtype}; text is needed")
        whole = text.cast(pl.String).str
        return whole.len_chars() if self.unit == "chars" else whole.count_matches(r"\S+")
