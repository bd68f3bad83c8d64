"""`score.select_it`: a model's own rating of a row, made smaller where the model is unsure (Liu et al. 2024, SelectIT).

With P_1 .. P_K the probabilities of the digits 1 .. K as first token, renormalised, and b the likeliest digit:

    token level       s = b * 1/(K-1) sum_i |P_i - P_b|                 how clearly the best digit stands out
    sentence level    S = mean_j s_j / (1 + alpha std_j s_j)            over several wordings j of the question

(std over the wordings, not n-1). The paper's third level weights several models by their size: run the step once for
each and combine with `score: {select_it: ...}`.

`compat: original` reproduces the authors' code, which applies softmax to P once more: that squeezes all probabilities
into [1/(1 + (K-1) e), e/(K-1+e)] = [0.08, 0.40] for K = 5, so a certain model scores little more than an unsure one;
the order changes too. Shapes: P [J, K]. Cost: one call a wording.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from sftrecipe import Chat, Cost, Into, Param, RowError, Score, Template
from sftrecipe.lazy import np, pl
from sftrecipe.models.asking import asks, demand, estimate, reads_of, render
from sftrecipe_judge.asking import prompt_text
from sftrecipe_judge.token_expectation import first_token, unseen_shift

__all__ = ["SelectIt", "sentence_level", "token_level"]


def token_level(probabilities: np.ndarray, *, twice: bool = False) -> np.ndarray:
    """s of each row of float [J, K], K >= 2: float64 [J]. `twice` applies softmax to the probabilities again."""
    p = np.asarray(probabilities, dtype=np.float64)
    p = p / p.sum(axis=-1, keepdims=True)
    if twice:
        e = np.exp(p)
        p = e / e.sum(axis=-1, keepdims=True)
    best = p.max(axis=-1, keepdims=True)
    return np.asarray((p.argmax(axis=-1) + 1) * np.abs(p - best).sum(axis=-1) / (p.shape[-1] - 1))


def sentence_level(scores: np.ndarray, alpha: float) -> float:
    """mean / (1 + alpha std) of the scores of all wordings, float [J]."""
    s = np.asarray(scores, dtype=np.float64)
    return float(s.mean() / (1 + alpha * s.std()))


class SelectIt(Score):
    """A model's rating of each answer over several wordings, discounted by its uncertainty; larger is better.

    A row fails with `no_digit_probability` where the model tells no probabilities of the digits, with `no_query` and
    `no_response`, or with the codes of the model layer.
    """

    approximate = True
    source = "Liu et al. 2024, SelectIT: Selective Instruction Tuning for LLMs via Uncertainty-Aware Self-Reflection"
    writes: ClassVar[Mapping[str, str]] = {"{into}": "float"}

    model: Chat = Param(doc="The model that will be tuned: it tells log-probabilities.", positional=True)
    prompts: list[Template] = Param(
        [prompt_text(f"rating_{k}") for k in range(1, 6)],
        doc="Wordings of the question; each calls for a digit from 1 to `digits`.",
    )
    digits: int = Param(5, ge=2, le=9, doc="Best rating.")
    alpha: float = Param(0.2, ge=0, doc="How much disagreement between wordings costs.")
    compat: Literal["original"] | None = Param(None, doc="`original`: softmax twice, as the authors' code does.")
    system: str | None = Param(None, doc="System text of the requests.")
    top: int = Param(20, ge=1, doc="How many tokens the server is asked to tell.")
    max_tokens: int = Param(1, ge=1, doc="Tokens written; more where a model begins with white space.")
    tolerance: float = Param(0.05, ge=0, doc="How far digits that are not told may move the expected rating.")
    into: Into = Param("select_it", doc="The number column that is written.")

    def check(self) -> Iterable[str]:
        """At least one wording."""
        if not self.prompts:
            yield "`prompts` is empty"

    async def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request a wording."""
        for template in self.prompts:
            demand(row, reads_of(template))
        rows = np.array(await asyncio.gather(*(self._probabilities(row, template) for template in self.prompts)))
        scores = token_level(rows, twice=self.compat == "original")
        return {self.into: sentence_level(scores, self.alpha)}

    async def _probabilities(self, row: Mapping[str, Any], template: Any) -> list[float]:
        asked = asks(render(template, row), self.system)
        reply = (await self.model.chat(asked, logprobs=self.top, temperature=0, max_tokens=self.max_tokens))[0]
        if not reply.logprobs:
            raise RowError("no_digit_probability", "the model told no log-probabilities")
        values = [float(k) for k in range(1, self.digits + 1)]
        found, least = first_token(reply.logprobs, [str(k) for k in range(1, self.digits + 1)])
        if unseen_shift(found, least, values) > self.tolerance:
            raise RowError("no_digit_probability", "too many digits are missing among the likeliest tokens")
        return [math.exp(p) for p in found]

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """One call a wording."""
        for template in self.prompts:
            yield estimate(sample, [template], calls=(1, 1, 1), tokens_out=(1, 1, self.max_tokens))
