"""`mix.stages`: a mix for each stage of a training run, in one output with a `stage` column.

Every stage draws its parts as `mix.parts` does, from one hash order of all rows. So a stage that takes 1/256 of a part
takes a subset of what a stage with 1/4 takes, and dual-stage mixing (Dong et al. 2023: all special data first, then
general data with a fraction k of the special) is nested in k. A row may be in several stages; no stage takes rows from
another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Column, Dataset, Expr, Flow, Mix, Param
from sftrecipe.lazy import pl
from sftrecipe_mix.asked import problems, read_parts
from sftrecipe_mix.gather import Gathered, arrange, gather, match, shares
from sftrecipe_mix.parts import count_of, counts_tokens, warn_shared
from sftrecipe_mix.pool import Policy, draw

__all__ = ["Stages"]


class Stages(Mix):
    """Mix for several stages; writes `stage`.

    Stages come out in the order written, each shuffled by itself. A part of a stage says the same as a part of
    `mix.parts` (`rows`, `fraction`, `tokens` or `weight`, and `repeat`). Asked and realised amounts are in the artefact
    `shares`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id",)
    wants: ClassVar[Mapping[str, str]] = {"tokens": "number"}
    writes: ClassVar[Mapping[str, str]] = {"stage": "text"}
    source: ClassVar[str] = "Dong et al. 2023, arXiv 2310.05492 (dual-stage mixing)"

    stages: dict[str, dict[str, dict[str, Any]]] = Param(
        positional=True, doc="Stage -> part -> {rows | fraction | tokens | weight: amount, repeat: times}."
    )
    by: Column | None = Param(None, doc="Column whose values are the parts; left out, the inputs are the parts.")
    total: int | None = Param(
        None, ge=1, doc="Rows (or tokens, by `unit`) of each stage, shared by its parts with a weight."
    )
    unit: Literal["rows", "tokens"] = Param("rows", doc="What `fraction`, `weight` and `total` count.")
    tokens: Expr | None = Param(
        None, doc="How many tokens a row has. Default: the column `tokens`, if some amount is in tokens."
    )
    on_short: Literal["error", "repeat", "all"] = Param(
        "error", doc="When a part has less than is asked: stop, use rows again, or take all there is."
    )
    max_repeat: int | None = Param(None, ge=1, doc="Most copies of one row within a stage.")
    shuffle: bool = Param(True, doc="Each stage in seeded order; otherwise in input order.")
    unlisted: Literal["error", "drop"] = Param(
        "error", doc="Rows that no part of any stage names: an error, or left out."
    )

    def flow(self, columns: Mapping[str, str]) -> Flow:
        flow = super().flow(columns)
        counts = any(counts_tokens(parts, self.unit) for parts in self.stages.values())
        extra = ("tokens",) if self.tokens is None and counts else ()
        return Flow(tuple(dict.fromkeys((*flow.reads, *extra))), flow.writes, flow.rewrites)

    def check(self) -> Iterable[str]:
        if not self.stages:
            yield "`stages` is empty: name at least one, for example `stages: {first: {math: {fraction: 1}}}`"
        for stage, parts in self.stages.items():
            if isinstance(parts, Mapping):
                yield from problems(parts, f"stages.{stage}")
            else:
                yield f"`stages.{stage}` is {parts!r}: write its parts, for example `{{math: {{fraction: 1}}}}`"
        weighted = [
            p
            for parts in self.stages.values()
            if isinstance(parts, Mapping)
            for p in parts.values()
            if isinstance(p, Mapping)
        ]
        if self.total is not None and not any("weight" in part for part in weighted):
            yield "`total` is shared by the parts with a `weight`, and none has one"

    def allot(self, inputs: Mapping[str, Dataset]) -> pl.DataFrame:
        named = {name: given for parts in self.stages.values() for name, given in parts.items()}
        tokens = next((c for p in self.stages.values() if (c := count_of(self.tokens, p, self.unit)) is not None), None)
        gathered = gather(inputs, self.by, tokens)
        match(gathered.names, named, self.by, self.unlisted, "stages")
        warn_shared(self, gathered.frame)
        made = [self._stage(gathered, stage, list(named)) for stage in self.stages]
        self.artefacts = {"shares": pl.concat([table for _, table in made])}
        return pl.concat([rows for rows, _ in made])

    def _stage(self, gathered: Gathered, stage: str, named: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows of one stage, and what was asked of it."""
        pool = gathered.pool(named, self.context.seed)
        drawn = draw(
            pool, read_parts(self.stages[stage]), Policy(self.on_short, self.max_repeat, self.unit, self.total)
        )
        rows = arrange(gathered, drawn, self.context.seed, self.shuffle)
        table = shares(gathered, drawn, {name: len(ranked) for name, ranked in pool.ranked.items()})
        return rows.with_columns(stage=pl.lit(stage)), table.select(pl.lit(stage).alias("stage"), pl.all())
