"""`tag.judge` and `score.judge`: a label out of a list, or a number on a scale, by a chat model and a rubric.

Labels: the label that most of `votes` answers name wins; two labels with equally many votes leave the row without one.
Scores: the mean of `votes` whole numbers, each asked for as JSON with the reason first. A score beyond the scale does
not satisfy the schema: it is asked for again once and then fails the row. Cost: `votes` calls a row (or a candidate).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar

from sftrecipe import Chat, Cost, Flow, Into, Param, Score, Tag, Template
from sftrecipe.lazy import pl
from sftrecipe.models.asking import asks, demand, estimate, reads_of, render
from sftrecipe_judge.asking import prompt_text, scored_columns

__all__ = ["ScoreJudge", "TagJudge", "label_schema", "plurality", "score_schema"]


def plurality(votes: Sequence[str | None]) -> tuple[str | None, int]:
    """(the label that most votes name, how many do); None when no vote names one, or two share the first place."""
    ranked = Counter(v for v in votes if v is not None).most_common(2)
    if not ranked:
        return None, 0
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        return None, ranked[0][1]
    return ranked[0]


def label_schema(labels: Sequence[str]) -> dict[str, Any]:
    """{reason, label}: one of `labels`, or null."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "label": {"type": ["string", "null"], "enum": [*labels, None]}},
        "required": ["reason", "label"],
        "additionalProperties": False,
    }


class TagJudge(Tag):
    """A label for each row, chosen by a chat model; null where none of the labels fits (`no_label` in the row's story)
    or votes are tied (`tied`).

    A row fails with `no_query`, `no_response`, or the codes of the model layer (`invalid_json`, `truncated`, ...).
    """

    writes: ClassVar[Mapping[str, str]] = {"{into}": "text"}
    fills: ClassVar[Sequence[str]] = ("labels", "rubric")

    model: Chat = Param(doc="A chat model from `models:`.", positional=True)
    labels: list[str] = Param(doc="The labels there are, or {file: labels.txt} with one a line.")
    rubric: Template | None = Param(None, doc="What the labels mean: text, or {file: path}.")
    prompt: Template = Param(prompt_text("label"), doc="What is asked; {{labels}} and {{rubric}} are filled in.")
    system: str | None = Param(None, doc="System text of the request.")
    votes: int = Param(1, ge=1, doc="Answers a row; with more than one, give a temperature above 0.")
    temperature: float | None = Param(0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    max_tokens: int | None = Param(512, ge=1, doc="Most tokens of an answer.")
    into: Into = Param("label", doc="The text column that is written.")

    def check(self) -> Iterable[str]:
        """At least two labels, each once; votes that can differ."""
        if isinstance(self.labels, list) and len(set(self.labels)) != len(self.labels):
            yield "a label stands twice in `labels`"
        if isinstance(self.labels, list) and len(self.labels) < 2:
            yield "`labels` needs at least two labels"
        if self.votes > 1 and self.temperature == 0:
            yield "`votes` above 1 are alike at `temperature: 0`: give a temperature"

    async def tag_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """`votes` requests and their plurality."""
        demand(row, reads_of(self.prompt))
        rubric = render(self.rubric, row) if self.rubric is not None else ""
        filled = {**row, "labels": ", ".join(self.labels), "rubric": rubric}
        asked = asks(render(self.prompt, filled), self.system)
        replies = await self.model.chat(
            asked,
            n=self.votes,
            schema=label_schema(self.labels),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        label, agree = plurality([r.parsed["label"] for r in replies])
        if label is None:
            self.context.note(row["id"], "tied" if agree else "no_label", reason=replies[0].parsed["reason"])
        elif self.votes > 1:
            self.context.note(row["id"], "voted", label=label, votes=agree, of=self.votes)
        return {self.into: label}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """`votes` calls a row."""
        n = float(self.votes)
        yield estimate(sample, [self.prompt, self.rubric or ""], calls=(n, n, 1.1 * n), tokens_out=(15, 40, 120))


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
    column `into` is written. The reasons stand in the row's story (`judged`). A row fails with `no_query`,
    `no_response`, or the codes of the model layer.
    """

    fills: ClassVar[Sequence[str]] = ("rubric", "low", "high")

    model: Chat = Param(doc="A chat model from `models:`.", positional=True)
    rubric: Template = Param(doc="What counts: text with {{column}} fields, or {file: path}.")
    scale: list[int] = Param([1, 5], doc="[lowest, highest] score.")
    prompt: Template = Param(prompt_text("score"), doc="What is asked; {{rubric}}, {{low}} and {{high}} are filled in.")
    system: str | None = Param(None, doc="System text of the request.")
    votes: int = Param(1, ge=1, doc="Answers a row; with more than one, give a temperature above 0.")
    temperature: float | None = Param(0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    max_tokens: int | None = Param(512, ge=1, doc="Most tokens of an answer.")
    into: Into = Param("score", doc="The number column that is written.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """Candidates where there are any, else the column `into`."""
        plain = super().flow(columns)
        writes = scored_columns(columns, self.params["into"])
        if "candidates" not in writes:
            return Flow(plain.reads, writes)
        return Flow((*(r for r in plain.reads if r != "response"), "candidates"), writes)

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
        candidates = [dict(c) for c in row["candidates"] or () if c is not None]
        found = await asyncio.gather(*(self._judged({**row, "response": c["text"]}) for c in candidates))
        for candidate, (score, reasons) in zip(candidates, found, strict=True):
            candidate |= {"score": score, "verdict": reasons[0]}
        return {"candidates": candidates if row["candidates"] is not None else None}

    async def _judged(self, row: Mapping[str, Any]) -> tuple[float, list[str]]:
        demand(row, reads_of(self.prompt))
        low, high = self.scale
        filled = {**row, "rubric": render(self.rubric, row), "low": low, "high": high}
        replies = await self.model.chat(
            asks(render(self.prompt, filled), self.system),
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
