"""`score.pass_rate`: how often a model answers a row rightly, from a few samples, with an interval.

With c of n sampled answers passing, p = c/n, and z the normal quantile of the confidence (Wilson 1927):

    centre = (p + z^2/2n) / (1 + z^2/n)      half = z/(1 + z^2/n) sqrt(p(1-p)/n + z^2/4n^2)      [centre - half, centre
    + half]

With a `band` the sampling is sequential: n at a time, until the interval lies above the band, below it or within it, or
`max_n` samples are drawn. Looking again and again makes the interval's confidence nominal: it is a rule for stopping,
not a test at that level.

What passes: an operator (`verify`), a final answer equal to a column (`gold`), or, where nothing says what is right,
the answer that the samples themselves give most often (`agreement`), which is at least 1/n and says how sure the model
is, not how right. Cost: n to max_n calls a row.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

from sftrecipe import Chat, Column, Cost, Flow, Into, Operator, Param, Score
from sftrecipe.lazy import pl
from sftrecipe.models.asking import estimate, question
from sftrecipe_generate.finals import agreement, final_answer, normal
from sftrecipe_generate.verifying import Verifier, problem_of

__all__ = ["PassRate", "Probe", "Rate", "band_problem", "sample_until", "settled", "wilson"]

Verdict = Literal["easy", "band", "hard"]


def wilson(passed: int, n: int, confidence: float) -> tuple[float, float]:
    """The Wilson score interval of a share; [0, 1] for n = 0."""
    if not n:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p, square = passed / n, z * z
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Rate:
    """passed of n samples, and the interval of the share."""

    passed: int
    n: int
    low: float
    high: float

    @classmethod
    def of(cls, passed: int, n: int, confidence: float) -> Rate:
        """The rate with its Wilson interval."""
        return cls(passed, n, *wilson(passed, n, confidence))

    @property
    def share(self) -> float:
        """passed / n."""
        return self.passed / self.n if self.n else math.nan

    def facts(self) -> dict[str, Any]:
        """The figures for a row's story."""
        return {"p": round(self.share, 4), "low": round(self.low, 4), "high": round(self.high, 4), "n": self.n}


def settled(rate: Rate, band: Sequence[float]) -> Verdict | None:
    """Where the interval lies: above the band (`easy`), below it (`hard`), within it (`band`), or across a border
    (None).
    """
    low, high = band
    if rate.low > high:
        return "easy"
    if rate.high < low:
        return "hard"
    return "band" if low <= rate.low and rate.high <= high else None


def by_share(rate: Rate, band: Sequence[float]) -> Verdict:
    """The verdict where no more samples are drawn: by the interval, or else by the share itself."""
    low, high = band
    return settled(rate, band) or ("easy" if rate.share > high else "hard" if rate.share < low else "band")


async def sample_until(
    draw: Callable[[int, int], Awaitable[None]], passed: Callable[[], int], *, n: int, max_n: int,
    band: Sequence[float] | None, confidence: float,
) -> Rate:  # fmt: skip
    """Draws n samples at a time until the band settles it or max_n are drawn.

    `draw(first, count)` draws samples number first, first + 1, ...; `passed()` counts those that pass so far.
    """
    drawn = 0
    while True:
        count = min(n, max_n - drawn)
        await draw(drawn, count)
        drawn += count
        rate = Rate.of(passed(), drawn, confidence)
        if drawn >= max_n or (band is not None and settled(rate, band)):
            return rate


def band_problem(band: Sequence[float] | None) -> str | None:
    """What is wrong with a band, for `check()`."""
    if band is None or (len(band) == 2 and 0 <= band[0] < band[1] <= 1):
        return None
    return "`band` needs two shares between 0 and 1, the lower first: [0.25, 0.75]"


class Probe:
    """Samples of one model and how many pass: by `verifier`, by equality with `gold`, or by agreement."""

    def __init__(
        self, model: Chat, settings: Mapping[str, Any], verifier: Verifier | None, *, system: str | None = None
    ) -> None:
        self._model, self._settings, self._verifier, self._system = model, settings, verifier, system

    async def rate(
        self,
        row: Mapping[str, Any],
        gold: str | None,
        *,
        n: int,
        max_n: int,
        band: Sequence[float] | None,
        confidence: float,
    ) -> Rate:
        """The pass rate of a row. Without verifier and gold: the share of the most frequent answer."""
        asked = question(row["messages"], self._system)
        answers: list[str | None] = []
        verdicts: list[bool] = []
        wanted = normal(gold) if gold is not None else None

        async def draw(first: int, count: int) -> None:
            replies = await self._model.chat(asked, n=count, first=first, **self._settings)
            texts = [r.text if r.finish_reason != "length" else None for r in replies]  # a cut answer has not passed
            answers.extend(final_answer(t) for t in texts)
            if self._verifier is not None:
                verdicts.extend([t is not None and await self._verifier.passes(row, t) for t in texts])

        def passed() -> int:
            if self._verifier is not None:
                return sum(verdicts)
            return sum(a == wanted for a in answers) if wanted is not None else agreement(answers)[1]

        return await sample_until(draw, passed, n=n, max_n=max_n, band=band, confidence=confidence)


class PassRate(Score):
    """The share of a model's sampled answers that pass, with its Wilson interval and the number of samples: columns
    `into`, `into_low`, `into_high`, `into_n`.

    Say what passes: `verify`, `gold`, or `agreement: true`. A row fails with `no_query`, `no_gold`, the verifier's
    codes or those of the model layer. Answers that were cut at `max_tokens` do not pass.
    """

    reads = ("messages",)
    approximate = True

    model: Chat = Param(doc="The model whose ability is measured.", positional=True)
    verify: Operator | None = Param(None, doc="A score or filter that says whether an answer passes.")
    at_least: float | None = Param(None, doc="From where on a score passes that is not true or false.")
    gold: Column | None = Param(None, doc="A column with the right final answer.")
    agreement: bool = Param(False, doc="Count the most frequent final answer instead.")
    n: int = Param(4, ge=1, doc="Samples drawn at a time.")
    max_n: int | None = Param(None, ge=1, doc="Most samples of a row; left out: n.")
    band: list[float] | None = Param(None, doc="[low, high]: stop as soon as the interval lies within, above or below.")
    confidence: float = Param(0.8, gt=0, lt=1, doc="Of the interval.")
    temperature: float | None = Param(0.8, ge=0, doc="Sampling temperature; null leaves it to the server.")
    top_p: float | None = Param(0.95, gt=0, le=1, doc="Nucleus sampling; null leaves it to the server.")
    max_tokens: int | None = Param(1024, ge=1, doc="Most tokens of an answer.")
    system: str | None = Param(None, doc="System text in place of the row's own.")
    into: Into = Param("pass_rate", doc="The number column that is written; _low, _high and _n are added.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """Four columns."""
        plain, name = super().flow(columns), str(self.params["into"])
        return Flow(plain.reads, {name: "float", f"{name}_low": "float", f"{name}_high": "float", f"{name}_n": "int"})

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone."""
        return ("query",)

    def check(self) -> Iterable[str]:
        """One way to pass; a band; enough samples."""
        if sum((self.verify is not None, self.gold is not None, self.agreement)) != 1:
            yield "say what passes, in one way: `verify`, `gold` or `agreement: true`"
        yield from filter(None, (problem_of(self.verify, "verify"), band_problem(self.band)))
        if self.max_n is not None and self.max_n < self.n:
            yield "`max_n` is less than `n`"

    def setup(self) -> None:
        """The probe."""
        settings = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        verifier = Verifier(self.verify, self.context.columns, self.at_least) if self.verify is not None else None
        self._probe = Probe(self.model, settings, verifier, system=self.system)

    async def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """n to max_n samples."""
        gold = gold_of(row, self.gold)
        most = self.max_n or self.n
        rate = await self._probe.rate(row, gold, n=self.n, max_n=most, band=self.band, confidence=self.confidence)
        name = self.into
        return {name: rate.share, f"{name}_low": rate.low, f"{name}_high": rate.high, f"{name}_n": rate.n}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """n to max_n calls a row."""
        low, high = float(self.n), float(self.max_n or self.n)
        yield estimate(
            sample, ["{{query}}"], calls=(low, (low + high) / 2, high), tokens_out=(50, 250, self.max_tokens or 1000)
        )


def gold_of(row: Mapping[str, Any], column: str | None) -> str | None:
    """The right answer of a row as text. Raises RowError `no_gold` where it is blank."""
    from sftrecipe import RowError

    if column is None:
        return None
    value = row.get(column)
    if value is None or not str(value).strip():
        raise RowError("no_gold", f"`{column}` is empty")
    return str(value)
