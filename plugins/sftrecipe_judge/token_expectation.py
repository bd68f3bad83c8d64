"""`score.token_expectation`: the expected value of a digit that a model is about to write, read off its
log-probabilities.

With p_k the probability of answer token k at the first position and v_k its value (Liu et al. 2023, Deita):

    score = sum_k v_k p_k / sum_k p_k            = sum_k v_k softmax(logit_k)

so one call gives a number with a fine grain, and nothing is sampled. Servers tell the `top` likeliest tokens only (20
at most with OpenAI). A token that they leave out has at most the probability q of the last one they tell, so leaving it
out moves the score by at most (how many are left out) q (v_max - v_min) / (what is known): up to `tolerance` that is
taken, above it the row has no score. The authors' code takes 3.0 there (`fallback: 3`).

Differences: tokens that differ by white space alone count together ("3", " 3"); blank tokens before the first visible
one are skipped. Cost: one call a turn.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sftrecipe import Chat, Cost, Into, Param, RowError, Score, StepError, Template
from sftrecipe.lazy import np, pl
from sftrecipe.models.asking import asks, estimate, reads_of, render
from sftrecipe_judge.asking import pairs

__all__ = ["TokenExpectation", "expectation", "first_token", "unseen_shift"]

BLANKS = " \t\r\n\u2581\u0120\u010a"
"""White space, and what SentencePiece and byte-level vocabularies write for it."""


def expectation(logits: Sequence[float], values: Sequence[float]) -> float:
    """sum_k values[k] softmax(logits)[k]. Log-probabilities will do for logits; -inf is a token that cannot come."""
    x = np.asarray(logits, dtype=np.float64)
    p = np.exp(x - x.max())
    return float(p @ np.asarray(values, dtype=np.float64) / p.sum())


def first_token(steps: Sequence[Mapping[str, float]], tokens: Sequence[str]) -> tuple[list[float], float]:
    """(log-probability of each of `tokens` at the first visible position, that of the least likely token told there).

    -inf for a token that is not told. `steps`: per position {token: log-probability}.
    """
    for tops in steps:
        if not max(tops, key=lambda t: tops[t]).strip(BLANKS):
            continue
        sums = dict.fromkeys(tokens, -math.inf)
        for token, value in tops.items():
            bare = token.strip(BLANKS)
            if bare in sums:
                sums[bare] = float(np.logaddexp(sums[bare], value))
        return [sums[t] for t in tokens], min(tops.values())
    return [-math.inf] * len(tokens), 0.0


def unseen_shift(logprobs: Sequence[float], least: float, values: Sequence[float]) -> float:
    """How far the tokens that are not told could move the expectation, at most."""
    missing = sum(1 for p in logprobs if p == -math.inf)
    known = float(np.exp([p for p in logprobs if p > -math.inf]).sum())
    if not missing:
        return 0.0
    return missing * math.exp(least) * (max(values) - min(values)) / known if known else math.inf


class TokenExpectation(Score):
    """The expected value of the answer's first token over `tokens`, by a model that tells log-probabilities.

    `prompt` is asked of every turn by itself; {{query}} and {{response}} are the turn's. A row fails with
    `no_digit_probability` where the model tells none, or too few of the tokens (or gets `fallback`, noted as
    `fallback`); with `no_turns` where there is nothing to ask about. The step fails when the share of such rows is
    above `max_fallback`.
    """

    reads = ("messages",)
    approximate = True
    source = "Liu et al. 2023, What Makes Good Data for Alignment? (Deita), section 3"

    model: Chat = Param(doc="A chat model that tells log-probabilities.", positional=True)
    prompt: Template = Param(doc="What is asked; it should call for one of `tokens` and nothing else.")
    tokens: list[str] = Param(["1", "2", "3", "4", "5", "6"], doc="The answers that count.")
    values: list[float] | None = Param(None, doc="What each token is worth; left out: 1, 2, 3, ...")
    turns: Literal["mean", "sum", "max", "first", "last"] = Param(
        "mean", doc="How the turns of a conversation become one number; the authors add them up."
    )
    system: str | None = Param(None, doc="System text of the request.")
    top: int = Param(20, ge=1, doc="How many tokens the server is asked to tell.")
    max_tokens: int = Param(1, ge=1, doc="Tokens written; more where a model begins with white space.")
    tolerance: float = Param(0.05, ge=0, doc="How far tokens that are not told may move the score.")
    fallback: float | None = Param(None, doc="The score where there are no probabilities; left out: null.")
    max_fallback: float = Param(0.05, ge=0, le=1, doc="Largest share of rows without probabilities.")
    into: Into = Param("score", doc="The number column that is written.")

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The questions alone, where the prompt does not show answers."""
        return ("query", "response") if "response" in reads_of(self.params["prompt"]) else ("query",)

    def check(self) -> Iterable[str]:
        """Tokens that differ, a value for each."""
        if len(self.tokens) < 2 or len({t.strip(BLANKS) for t in self.tokens}) != len(self.tokens):
            yield "`tokens` needs at least two different tokens"
        if self.values is not None and len(self.values) != len(self.tokens):
            yield f"`values` has {len(self.values)} entries for {len(self.tokens)} tokens"

    async def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request a turn."""
        fields = reads_of(self.prompt)
        turns = [(q, a) for q, a in pairs(row["messages"]) if a is not None or "response" not in fields]
        if not turns:
            raise RowError("no_turns", "there is no turn to ask about")
        if self.turns in ("first", "last"):
            turns = turns[:1] if self.turns == "first" else turns[-1:]
        try:
            found = await asyncio.gather(*(self._turn(row, query, answer) for query, answer in turns))
        except RowError as error:
            if error.code != "no_digit_probability" or self.fallback is None:
                raise
            self.context.note(row["id"], "fallback", why=error.message)
            return {self.into: self.fallback}
        return {self.into: {"sum": sum(found), "max": max(found)}.get(self.turns, sum(found) / len(found))}

    async def _turn(self, row: Mapping[str, Any], query: str, answer: str | None) -> float:
        text = render(self.prompt, {**row, "query": query, "response": answer})
        reply = (
            await self.model.chat(asks(text, self.system), logprobs=self.top, temperature=0, max_tokens=self.max_tokens)
        )[0]
        if not reply.logprobs:
            raise RowError("no_digit_probability", "the model told no log-probabilities")
        values = self.values or [float(k) for k in range(1, len(self.tokens) + 1)]
        found, least = first_token(reply.logprobs, [t.strip(BLANKS) for t in self.tokens])
        shift = unseen_shift(found, least, values)
        if shift > self.tolerance:
            told = ", ".join(repr(t) for t in list(reply.logprobs[0])[:4])
            raise RowError("no_digit_probability", f"among the likeliest tokens ({told}, ...) too many are missing")
        return expectation(found, values)

    def review(self, figures: Mapping[str, Any]) -> None:
        """Fails the step when too many rows had no probabilities."""
        bare = figures["nulls"].get("no_digit_probability", 0) + figures["notes"].get("fallback", 0)
        bare += figures["codes"].get("no_digit_probability", 0)
        if bare > self.max_fallback * figures["rows_in"]:
            raise StepError(
                f"`{self.name}`: {bare} of {figures['rows_in']} rows have no probabilities of the answer tokens, "
                f"more than max_fallback = {self.max_fallback:g}",
                code="R643",
                help="does the server give log-probabilities? Else use score.judge, or raise `max_fallback`",
            )

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """One call a turn."""
        turns = 1.0
        if sample.height and "messages" in sample.columns and self.turns not in ("first", "last"):
            turns = max(1.0, float(np.mean([len(pairs(m)) for m in sample["messages"].to_list()])))
        yield estimate(sample, [self.prompt], calls=(turns, turns, turns), tokens_out=(1, 1, self.max_tokens))
