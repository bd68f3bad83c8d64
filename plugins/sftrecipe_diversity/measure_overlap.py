"""`measure.overlap`: which rows several arms have in common, pair by pair.

For sets A and B of row ids: both = |A n B|, jaccard = both / |A u B|, share = both / min(|A|, |B|) (1: the smaller lies
within the larger).
Two random draws of a and b rows from a pool of n have a * b / n in common: give `pool` to see that
figure as `by_chance`.
Cost: one join of ids a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from sftrecipe import Column, Dataset, Measure, Param, StepError
from sftrecipe.lazy import pl

__all__ = ["Overlap", "overlaps"]

_PAIR = {
    "a": str, "b": str, "size_a": int, "size_b": int,
    "both": int, "jaccard": float, "share": float, "by_chance": float,
}  # fmt: skip


def overlaps(sets: Mapping[str, pl.Series], pool: int | None = None) -> pl.DataFrame:
    """`a b size_a size_b both jaccard share by_chance` for each pair of named sets of distinct keys, in their order."""
    return pl.DataFrame(list(_pairs(sets, pool)), schema=_PAIR, orient="row")


def _pairs(sets: Mapping[str, pl.Series], pool: int | None) -> Iterator[Sequence[Any]]:
    for (a, left), (b, right) in combinations(sets.items(), 2):
        both = int(left.is_in(right.implode()).sum())
        union, smaller = len(left) + len(right) - both, min(len(left), len(right))
        chance = len(left) * len(right) / pool if pool else None
        yield (
            a,
            b,
            len(left),
            len(right),
            both,
            both / union if union else None,
            both / smaller if smaller else None,
            chance,
        )


class Overlap(Measure):
    """Rows in common, for each pair of inputs.

    Artefacts: `table` (a line for each pair: `a b size_a size_b both jaccard share by_chance`), `jaccard` (the same as
    a square table, one line and one column for each input), `everywhere` (rows that all inputs have), `anywhere` (rows
    that at least one has) and `summary`. A share of nothing is null. Keys that are null are left out.
    """

    source = "Jaccard 1912"

    by: Column = Param("id", doc="The column that says which rows are the same.", positional=True)
    pool: int | None = Param(None, ge=1, doc="Rows that all arms chose from: adds the overlap that chance alone gives.")

    def measure(self, inputs: Mapping[str, Dataset]) -> Mapping[str, Any]:
        """The tables and their summary. Raises StepError for fewer than two inputs."""
        if len(inputs) < 2:
            raise StepError("`measure.overlap` compares inputs, and there is one", help="`from: [one, other]`")
        sets = {
            name: data.frame(self.by)[self.by].drop_nulls().unique(maintain_order=True) for name, data in inputs.items()
        }
        table = overlaps(sets, self.pool)
        counts = pl.concat(sets.values()).value_counts()["count"]
        facts = {"everywhere": int((counts == len(sets)).sum()), "anywhere": len(counts)}
        lines = [_sentence(pair) for pair in table.iter_rows(named=True)]
        lines.append(f"in all {len(sets)}: {facts['everywhere']} of {facts['anywhere']} rows")
        return {"table": table, "jaccard": _square(list(sets), table), **facts, "summary": lines}


def _square(names: Sequence[str], table: pl.DataFrame) -> pl.DataFrame:
    known = {frozenset((a, b)): value for a, b, value in table.select("a", "b", "jaccard").iter_rows()}
    columns = {name: [1.0 if name == other else known[frozenset((name, other))] for other in names] for name in names}
    label = "input"
    while label in names:
        label += "_"
    return pl.DataFrame({label: list(names)}).hstack([pl.Series(n, v, dtype=pl.Float64) for n, v in columns.items()])


def _sentence(pair: Mapping[str, Any]) -> str:
    if pair["jaccard"] is None:
        return f"{pair['a']} and {pair['b']}: both empty"
    chance = f", {pair['by_chance']:.1f} by chance" if pair["by_chance"] is not None else ""
    return f"{pair['a']} and {pair['b']}: {pair['both']} rows in common (Jaccard {pair['jaccard']:.3f}{chance})"
