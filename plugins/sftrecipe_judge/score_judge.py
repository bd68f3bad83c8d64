"""`score.judge`: a number from a chat model for each answer, by a rubric that stands in the recipe.

The mean of `votes` whole numbers on a scale, each asked for as JSON with the reason first. Scores beyond the scale do not
satisfy the schema, so they are asked for again once and then fail the row. Cost: `votes` calls a row (or a candidate).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from sftrecipe import Chat, Cost, Flow, Into, Param, Score, Template
from sftrecipe_judge.asking import asks, demand, estimate, prompt, reads_of, scored_columns

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ScoreJudge", "score_schema"]


def score_schema(low: int, high: int) -> dict[str, Any]:
    """{reason, score}: a whole number from low to high."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "minimum": low, "maximum": high}},
        "required": ["reason", "score"],
        "additionalProperties": False,
    }


class ScoreJudge(Score):
    """A score of each answer by a chat model and a rubric: the mean of `votes`.

    Where rows have `candidates`, each candidate is scored and bears its `score`, with the reason as `verdict`; else the
    column `into` is written. The reasons stand in the row's story (`judged`). A row fails with `no_query`, `no_response`,
    or the codes of the model layer.
    """

    fills: ClassVar[Sequence[str]] = ("rubric", "low", "high")

    model: Chat = Param(doc="A chat model from `models:`.", positional=True)
    rubric: Template = Param(doc="What counts: text with {{column}} fields, or {file: path}.")
    scale: list[int] = Param([1, 5], doc="[lowest, highest] score.")
    prompt: Template = Param(prompt("score"), doc="What is asked; {{rubric}}, {{low}} and {{high}} are filled in.")
    system: str | None = Param(None, doc="System text of the request.")
    votes: int = Param(1, ge=1, doc="Answers a row; with more than one, give a temperature above 0.")
    temperature: float | None = Param(0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    max_tokens: int | None = Param(512, ge=1, doc="Most tokens of an answer.")
    into: Into = Param("score", doc="The number column that is written.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """Candidates where there are any, else the column `into`."""
        plain = super().flow(columns)
        writes = scored_columns(columns, self.params["into"])
        more = ("candidates",) if "candidates" in writes else ()
        return Flow((*plain.reads, *more), writes, plain.rewrites)

    def check(self) -> Iterable[str]:
        """A scale of two rising numbers; votes that can differ."""
        if len(self.scale) != 2 or self.scale[0] >= self.scale[1]:
            yield "`scale` needs two numbers, the lower first: [1, 5]"
        if self.votes > 1 and self.temperature == 0:
            yield "`votes` above 1 are alike at `temperature: 0`: give a temperature"

    async def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row's answer, or each of its candidates."""
        if "candidates" not in self.context.columns:
            score, reasons = await self._judged(row)
            self.context.note(row["id"], "judged", score=score, reasons=reasons)
            return {self.into: score}
        candidates = [dict(c) for c in row["candidates"] or ()]
        found = await asyncio.gather(*(self._judged({**row, "response": c["text"]}) for c in candidates))
        for candidate, (score, reasons) in zip(candidates, found, strict=True):
            candidate |= {"score": score, "verdict": reasons[0]}
        return {"candidates": candidates if row["candidates"] is not None else None}

    async def _judged(self, row: Mapping[str, Any]) -> tuple[float, list[str]]:
        demand(row, reads_of(self.prompt))
        low, high = self.scale
        filled = {**row, "rubric": self.rubric.render(row), "low": low, "high": high}  # type: ignore[attr-defined]
        replies = await self.model.chat(
            asks(self.prompt.render(filled), self.system),  # type: ignore[attr-defined]
            n=self.votes,
            schema=score_schema(low, high),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        return fmean(r.parsed["score"] for r in replies), [r.parsed["reason"] for r in replies]

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """`votes` calls a row."""
        n = float(self.votes)
        yield estimate(sample, [self.prompt, self.rubric], calls=(n, n, 1.1 * n), tokens_out=(20, 60, 200))
