"""`mix.parts`: several inputs, or one input by a column, to one output with exact shares.

Counts follow Hamilton's largest remainder (`allocation`), rows are prefixes of hash order (`pool`), the output is
shuffled by hash(seed, id, copy): nothing depends on shards, and nothing is sampled with noise. Held in memory: ids and
the columns named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

from sftrecipe import Column, Dataset, Expr, Flow, Mix, Param
from sftrecipe.lazy import pl
from sftrecipe_mix.asked import Part, problems, read_parts
from sftrecipe_mix.gather import arrange, gather, match, shares
from sftrecipe_mix.pool import Policy, draw

__all__ = ["Parts"]


class Parts(Mix):
    """Mix parts in exact amounts.

    A part says one of `rows` (how many), `fraction` (of its rows; 1/256, 2% and 0.5 are exact), `tokens` (a budget; the
    row that would cross it stays out) and `weight` (its share of `total`), and may say `repeat` (write each row drawn
    so often; alone: all rows). `{rows: 240, repeat: 10}` writes 2,400 rows. Which rows: the first in the order of
    hash(seed, id), so larger samples contain smaller.

    With `by`, parts are the values of that column, over all inputs; without, they are the inputs. Without `parts` the
    inputs are concatenated in order. Asked and realised amounts are in the artefact `shares`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id",)
    wants: ClassVar[Mapping[str, str]] = {"tokens": "number"}
    source: ClassVar[str] = "Hamilton's largest remainder; Raffel et al. 2020 (examples in declared proportions)"

    by: Column | None = Param(None, doc="Column whose values are the parts; left out, the inputs are the parts.")
    parts: dict[str, dict[str, Any]] | None = Param(
        None, positional=True, doc="Part -> {rows | fraction | tokens | weight: amount, repeat: times}."
    )
    total: int | None = Param(
        None,
        ge=1,
        doc="Rows (or tokens, by `unit`) of the mix, shared by the parts with a weight. Default: no repeats needed.",
    )
    unit: Literal["rows", "tokens"] = Param("rows", doc="What `fraction`, `weight` and `total` count.")
    tokens: Expr | None = Param(
        None, doc="How many tokens a row has. Default: the column `tokens`, if some amount is in tokens."
    )
    on_short: Literal["error", "repeat", "all"] = Param(
        "error", doc="When a part has less than is asked: stop, use rows again, or take all there is."
    )
    max_repeat: int | None = Param(None, ge=1, doc="Most copies of one row.")
    shuffle: bool | None = Param(
        None, doc="Output in seeded order. Default: yes with `parts`, no without (inputs one after the other)."
    )
    unlisted: Literal["error", "drop", "keep"] = Param(
        "drop", doc="Rows that no part names: left out (and said so), an error, or all taken."
    )

    def flow(self, columns: Mapping[str, str]) -> Flow:
        flow = super().flow(columns)
        extra = ("tokens",) if self.tokens is None and counts_tokens(self.parts or {}, self.unit) else ()
        return Flow(tuple(dict.fromkeys((*flow.reads, *extra))), flow.writes, flow.rewrites)

    def check(self) -> Iterable[str]:
        if self.parts is not None:
            yield from problems(self.parts)
            yield from weight_problems(self.parts, self.total, self.max_repeat)
        elif self.by or self.total:
            given = "by" if self.by else "total"
            yield f"`{given}` is given and no `parts`: name them, for example `parts: {{flan: {{rows: 1000}}}}`"

    def allot(self, inputs: Mapping[str, Dataset]) -> pl.DataFrame:
        parts = read_parts(self.parts) if self.parts is not None else [_whole(name) for name in inputs]
        gathered = gather(
            inputs, self.by if self.parts is not None else None, count_of(self.tokens, self.parts or {}, self.unit)
        )
        if self.parts is not None:
            named = [p.name for p in parts]
            parts += [_whole(name) for name in match(gathered.names, named, self.by, self.unlisted)]
            left = [name for name in gathered.names if name not in named]
            if left and self.unlisted == "drop":
                self.context.log.warning("`parts` leaves out %s", ", ".join(left))
        else:
            parts = [p for p in parts if p.name in gathered.names]  # an empty input adds nothing
        warn_shared(self, gathered.frame)
        pool = gathered.pool([p.name for p in parts], self.context.seed)
        drawn = draw(pool, parts, Policy(self.on_short, self.max_repeat, self.unit, self.total))
        self.artefacts = {"shares": shares(gathered, drawn, {name: len(rows) for name, rows in pool.ranked.items()})}
        shuffle = self.shuffle if self.shuffle is not None else self.parts is not None
        return arrange(gathered, drawn, self.context.seed, shuffle)


def counts_tokens(parts: Mapping[str, Mapping[str, Any]], unit: str) -> bool:
    """Whether some amount is in tokens."""
    return unit == "tokens" or any("tokens" in given for given in parts.values() if isinstance(given, Mapping))


def count_of(tokens: Any, parts: Mapping[str, Mapping[str, Any]], unit: str) -> pl.Expr | None:
    """The expression that counts a row's tokens: the one given, or the column `tokens` where it is needed."""
    if tokens is not None:
        return tokens if isinstance(tokens, pl.Expr) else pl.lit(tokens)
    return pl.col("tokens") if counts_tokens(parts, unit) else None


def weight_problems(parts: Mapping[str, Any], total: int | None, max_repeat: int | None) -> Iterable[str]:
    """`total` without weights, and a `repeat` above `max_repeat`."""
    given = {name: p for name, p in parts.items() if isinstance(p, Mapping)}
    if total is not None and not any("weight" in p for p in given.values()):
        yield "`total` is shared by the parts with a `weight`, and none has one"
    for name, part in given.items():
        repeat = part.get("repeat")
        if max_repeat is not None and isinstance(repeat, int) and repeat > max_repeat:
            yield f"`parts.{name}` has `repeat: {repeat}`, and `max_repeat` is {max_repeat}"


def warn_shared(operator: Mix, frame: pl.DataFrame) -> None:
    """Says so when rows are in several inputs: two inputs that are one step, or a source listed twice."""
    twice = frame.height - frame["id"].n_unique()
    if twice:
        names = frame.filter(pl.col("id").is_duplicated())["input"].unique(maintain_order=True).to_list()
        operator.context.log.warning(
            "%d rows are in several inputs (%s): is one of them given twice?", twice, ", ".join(names)
        )


def _whole(name: str) -> Part:
    return Part(name, "fraction", Fraction(1))
