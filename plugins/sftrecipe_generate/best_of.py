"""`answer.best_of`: one of a row's candidates becomes its answer (rejection sampling, best of n).

    by passed      the first that passes                                   (Code Llama: first solution that passes its
    tests) by score       the largest `score`, of equal ones the first            (Llama 2, Magpie: by a reward model)
    by reward      the same, with rewards asked of `model` here
    by majority    the first whose final answer is the most frequent one   (self-consistency)

`margin` is best minus worst: `min_margin` drops rows whose candidates hardly differ, and `worst` keeps the worst text,
so that preference pairs come from the same step. Cost: with `model`, one request a candidate.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Answer, Into, Param, Reward, RowError
from sftrecipe.models.asking import with_answer
from sftrecipe_generate.finals import agreement, final_answer

__all__ = ["BestOf", "best_and_worst", "pick"]


def best_and_worst(scores: Sequence[float]) -> tuple[int, int, float]:
    """(number of the largest, of the smallest, their difference); of equal scores the first counts. N >= 1."""
    best = max(range(len(scores)), key=lambda i: (scores[i], -i))
    worst = min(range(len(scores)), key=lambda i: (scores[i], i))
    return best, worst, scores[best] - scores[worst]


def pick(texts: Sequence[str], good: Sequence[int], take: str, draw: float) -> int:
    """One of the numbers in `good`: the first, the one with the shortest or longest text (of equals the first), or one
    at random by `draw` in [0, 1).
    """
    if take == "random":
        return good[int(draw * len(good))]
    lengths = {"shortest": 1, "longest": -1}.get(take, 0)
    return min(good, key=lambda i: (lengths * len(texts[i]), i))


def _whole(candidate: Mapping[str, Any] | None) -> bool:
    """Whether a candidate is an answer: it has text, and was not cut."""
    return candidate is not None and bool((candidate["text"] or "").strip()) and candidate["finish_reason"] != "length"


class BestOf(Answer):
    """The row's answer, chosen among its `candidates`. Candidates without text, or cut at max_tokens, never win.

    A row fails with `no_candidates`, `none_passed`, `no_score` (a candidate bears none), `small_margin`; its last
    assistant turn is gone then. The choice stands in the row's story (`chosen`).
    """

    reads = ("messages", "candidates")
    rewrites = ("response",)
    writes: ClassVar[Mapping[str, str]] = {"messages": "messages", "{worst}": "text"}

    by: Literal["passed", "score", "reward", "majority"] = Param("passed", doc="What decides.", positional=True)
    take: Literal["first", "max", "min", "shortest", "longest", "random"] = Param(
        "first", doc="Among equally good ones; `max` and `min` are for scores: the best, or the worst."
    )
    model: Reward | None = Param(None, doc="The reward model, for `by: reward`.")
    passed: bool = Param(False, doc="Whether only candidates that passed may win, whatever decides.")
    min_margin: float | None = Param(None, ge=0, doc="Smallest difference of best and worst score.")
    worst: Into | None = Param(None, doc="A text column for the candidate with the lowest score.")

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone."""
        return ("query",)

    def check(self) -> Iterable[str]:
        """A reward model where one is asked; scores where scores are compared."""
        scored = self.by in ("score", "reward")
        if (self.by == "reward") != (self.model is not None):
            yield "`model` and `by: reward` belong together"
        if self.take in ("max", "min") and not scored:
            yield f"`take: {self.take}` needs scores: `by: score` or `by: reward`"
        if not scored and (self.min_margin is not None or self.worst is not None):
            yield "`min_margin` and `worst` need scores: `by: score` or `by: reward`"

    async def answer_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The chosen candidate as the answer."""
        candidates = [c for c in row["candidates"] or () if _whole(c)]
        if not candidates:
            raise RowError("no_candidates", "there is no whole answer to choose from")
        if self.passed or self.by == "passed":
            candidates = [c for c in candidates if c["passed"]]
            if not candidates:
                raise RowError("none_passed", "no candidate passed")
        columns: dict[str, Any] = {}
        if self.by in ("score", "reward"):
            at, columns, facts = await self._by_score(row, candidates)
        else:
            at, facts = self._by_rule(row, candidates)
        self.context.note(row["id"], "chosen", candidate=at, of=len(candidates), **facts)
        chosen = candidates[at]
        return {"text": chosen["text"], "reasoning": chosen["reasoning"], "columns": columns}

    async def _by_score(
        self, row: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]
    ) -> tuple[int, dict[str, Any], dict[str, Any]]:
        """(number, further columns, figures)."""
        scores = await self._scores(row, candidates)
        best, worst, margin = best_and_worst(scores)
        if self.min_margin is not None and margin < self.min_margin:
            raise RowError("small_margin", f"best and worst differ by {margin:.4g}")
        extreme = scores[worst if self.take == "min" else best]
        good = [i for i, s in enumerate(scores) if s == extreme]
        at = pick([c["text"] for c in candidates], good, self.take, self._draw(row))
        columns = {str(self.worst): candidates[worst]["text"]} if self.worst is not None else {}
        return at, columns, {"score": scores[at], "margin": margin}

    async def _scores(self, row: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> list[float]:
        if self.model is not None:
            asked = (self.model.reward(with_answer(row["messages"], c["text"])) for c in candidates)
            return list(await asyncio.gather(*asked))
        scores = [c["score"] for c in candidates]
        if any(s is None or math.isnan(s) for s in scores):
            raise RowError("no_score", "a candidate has no score: score the candidates first")
        return scores

    def _by_rule(self, row: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> tuple[int, dict[str, Any]]:
        texts = [c["text"] for c in candidates]
        good, facts = list(range(len(texts))), {}
        if self.by == "majority":
            finals = [final_answer(text) for text in texts]
            answer, votes = agreement(finals)
            good, facts = [i for i, f in enumerate(finals) if f == answer], {"votes": votes}
        return pick(texts, good, self.take, self._draw(row)), facts

    def _draw(self, row: Mapping[str, Any]) -> float:
        return float(self.context.random(row["id"], "best_of").random()) if self.take == "random" else 0.0
