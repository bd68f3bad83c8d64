"""`score.reward`: what a reward model gives for each answer. Cost: one request a row (or a candidate)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sftrecipe import Flow, Into, Param, Reward, RowError, Score
from sftrecipe.models.asking import with_answer
from sftrecipe_judge.asking import scored_columns

__all__ = ["ScoreReward"]


class ScoreReward(Score):
    """The reward of each answer, on the model's own scale: higher is better.

    Where rows have `candidates`, each candidate bears its `score`; else the column `into` is written. A row without an
    answer fails with `no_response`.
    """

    reads = ("messages",)
    approximate = True

    model: Reward = Param(doc="A model from `models:` that serves Reward.", positional=True)
    into: Into = Param("reward", doc="The number column that is written.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """Candidates where there are any, else the column `into`."""
        plain = super().flow(columns)
        writes = scored_columns(columns, self.params["into"])
        return Flow((*plain.reads, *(c for c in ("candidates",) if c in writes)), writes)

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone, where candidates are looked at in place of the answer."""
        return ("query",) if "candidates" in columns else ("query", "response")

    async def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request for each answer."""
        messages = row["messages"]
        if "candidates" not in self.context.columns:
            if not messages or messages[-1]["role"] != "assistant":
                raise RowError("no_response", "the conversation does not end in an answer")
            return {self.into: await self.model.reward(messages)}
        candidates = [dict(c) for c in row["candidates"] or () if c is not None]
        asked = (self.model.reward(with_answer(messages, c["text"] or "")) for c in candidates)
        for candidate, reward in zip(candidates, await asyncio.gather(*asked), strict=True):
            candidate["score"] = reward
        return {"candidates": candidates if row["candidates"] is not None else None}
