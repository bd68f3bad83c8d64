"""`evolve.self_instruct`: new questions from a few seeds, round by round, each unlike all before (Wang et al. 2023).

A request shows `human` seeds and `machine` questions made in earlier rounds, drawn from (seed, round, request), and
asks for `count` more. A round sends all its requests at once; when every answer is there, the questions are looked at
in the order of the requests: the rules, then the similarity gate (ROUGE-L F above `max_similarity` to any seed or any
question let in). So neither the order in which answers arrive nor concurrency changes anything. Rounds end at `size`
questions, or when `max_rounds` are over.

Original: 175 seeds, 6 human and 2 machine examples, 52,000 questions, threshold 0.7, rules on length (4 to 150 words),
on words that call for other media, on a first character that is no ASCII letter. Differences: the answer is JSON;
several questions a request (as Alpaca does); no rule on ASCII, which would delete other languages. Cost: about 1 call
for `count`/2 questions; the gate compares each with all before, O(size^2) pairs, most ruled out by their words.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sftrecipe import Chat, Child, Cost, Dataset, Evolve, Expr, Param, RowError, Template, message
from sftrecipe.lazy import np, pl
from sftrecipe.models.asking import asks, estimate, prompt_file, render
from sftrecipe_generate.rules import words
from sftrecipe_generate.similarity import Gate

__all__ = ["SelfInstruct", "drawn", "joint_license", "query_fault", "requests_schema"]

MEDIA = re.compile(
    r"\b(?:images?|pictures?|photos?|graphs?|plots?|charts?|diagrams?|drawings?|videos?|audios?|recordings?|files?|attach\w*)\b",
    re.I,
)
FEWEST, MOST = 4, 150
"""Words of a question."""


def requests_schema(key: str, count: int) -> dict[str, Any]:
    """{key: [text, ...]}."""
    return {
        "type": "object",
        "properties": {key: {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4 * count}},
        "required": [key],
        "additionalProperties": False,
    }


def query_fault(text: str) -> str | None:
    """The code of the first rule that a question breaks: too_short, too_long, needs_media, starts_oddly; or None."""
    length = words(text)
    if length < FEWEST:
        return "too_short"
    if length > MOST:
        return "too_long"
    if MEDIA.search(text):
        return "needs_media"
    first = text.strip()[0]
    return None if first.isalnum() or first in "\"'(“「¿" else "starts_oddly"


def drawn(rng: np.random.Generator, seeds: int, made: int, human: int, machine: int) -> tuple[list[int], list[int]]:
    """Numbers of the seeds and of the questions made before that a request shows, without repeats."""
    ours = rng.permutation(seeds)[:human].tolist()
    return ours, rng.permutation(made)[:machine].tolist()


def joint_license(licenses: Iterable[str | None]) -> str | None:
    """The licence of what was made from several rows: theirs, `A AND B`, or None where one is not known."""
    found = sorted({x or "" for x in licenses})
    if not found or "" in found:
        return None
    return found[0] if len(found) == 1 else " AND ".join(f"({x})" if " " in x else x for x in found)


@dataclass
class _Pool:
    """The seeds, and what has been let in."""

    ids: list[str]
    texts: list[str]
    licenses: list[str | None]
    sources: list[str | None]
    made: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    @classmethod
    def of(cls, data: Dataset, text: Any) -> _Pool:
        frame = data.frame("id", "license", "source")
        texts = data.eval(text).to_list()
        rows = [r for r, t in zip(frame.iter_rows(), texts, strict=True) if t and t.strip()]
        said = [t for t in texts if t and t.strip()]
        return cls([r[0] for r in rows], said, [r[1] for r in rows], [r[2] for r in rows])


class SelfInstruct(Evolve):
    """New questions in the manner of the seeds, none of them like a seed or another: children without answers.

    Each child names the seeds that its request showed as parents, has their licence (`A AND B` where they differ) and
    the first one's source. Eliminated: too_short (under 4 words), too_long (over 150), needs_media (speaks of images,
    files and the like), starts_oddly (begins with a sign), too_similar, over_size (came after `size` was reached), or
    the code of a failed request. Fewer than `size` after `max_rounds` is a warning.
    """

    reads = ("id", "license", "source")
    wants: ClassVar[Mapping[str, str]] = {"text": "text"}
    fills: ClassVar[Sequence[str]] = ("examples", "count")
    source = "Wang et al. 2023, Self-Instruct: Aligning Language Models with Self-Generated Instructions"

    model: Chat = Param(doc="The chat model that writes.", positional=True)
    size: int = Param(doc="How many new questions.", ge=1)
    text: Expr = Param("query", doc="The text of a seed.")
    max_similarity: float = Param(0.7, gt=0, le=1, doc="Highest ROUGE-L F to any question that is there.")
    human: int = Param(6, ge=1, doc="Seeds shown in a request.")
    machine: int = Param(2, ge=0, doc="New questions shown in a request, as soon as there are some.")
    count: int = Param(8, ge=1, doc="Questions asked for in a request.")
    per_round: int = Param(16, ge=1, doc="Requests of a round; all are answered before the next begins.")
    max_rounds: int | None = Param(
        None, ge=1, doc="Most rounds; left out: what four times `size` would take, and one more."
    )
    parents: Literal["keep", "drop"] = Param("keep", doc="What becomes of the seeds.")
    prompt: Template = Param(
        prompt_file(__file__, "self_instruct"), doc="What is asked; {{examples}} and {{count}} are filled in."
    )
    temperature: float | None = Param(0.7, ge=0, doc="Sampling temperature; null leaves it to the server.")
    top_p: float | None = Param(None, gt=0, le=1, doc="Nucleus sampling; the original takes 0.5.")
    max_tokens: int | None = Param(2048, ge=1, doc="Most tokens of an answer.")

    async def evolve(self, data: Dataset) -> Sequence[Child]:
        """Round after round."""
        pool, gate = _Pool.of(data, self.text), Gate(self.max_similarity)
        for text in pool.texts:
            gate.add(text)
        rounds = self.max_rounds or 1 + math.ceil(4 * self.size / (self.per_round * self.count))
        for number in range(rounds if pool.texts else 0):
            if len(pool.made) >= self.size:
                break
            asked = [self._shown(pool, number, at) for at in range(self.per_round)]
            answers = await asyncio.gather(*(self._ask(pool, *shown, at) for at, shown in enumerate(asked)))
            for (ours, _), answer in zip(asked, answers, strict=True):
                self._take(pool, gate, ours, answer)
        if len(pool.made) < self.size:
            self.context.log.warning("%d of %d questions were made: raise max_rounds", len(pool.made), self.size)
        return pool.children

    def _shown(self, pool: _Pool, number: int, at: int) -> tuple[list[int], list[int]]:
        rng = self.context.random("", f"round {number} request {at}")
        return drawn(rng, len(pool.texts), len(pool.made), self.human, self.machine)

    async def _ask(self, pool: _Pool, ours: list[int], theirs: list[int], at: int) -> list[str] | RowError:
        """The questions of one answer. A failed request costs itself alone."""
        shown = [*(pool.texts[i] for i in ours), *(pool.made[i] for i in theirs)]
        examples = "\n".join(f"{n}. {text}" for n, text in enumerate(shown, 1))
        asked = asks(render(self.prompt, {"examples": examples, "count": self.count}))
        settings: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        try:
            # few seeds: two requests may show the same examples, and shall get answers of their own
            reply = (
                await self.model.chat(asked, schema=requests_schema("requests", self.count), first=at, **settings)
            )[0]
        except RowError as error:
            return error
        return [" ".join(text.split()) for text in reply.parsed["requests"]]

    def _take(self, pool: _Pool, gate: Gate, ours: list[int], answer: list[str] | RowError) -> None:
        """Judges the questions of one answer, in their order."""
        parents = [pool.ids[i] for i in sorted(ours)]
        columns = {"license": joint_license(pool.licenses[i] for i in ours), "source": pool.sources[min(ours)]}
        if isinstance(answer, RowError):
            pool.children.append(Child([], {}, parents, eliminated=answer.code))
            return
        for text in answer:
            fault = "over_size" if len(pool.made) >= self.size else query_fault(text) if text else "too_short"
            facts: dict[str, Any] = {}
            if fault is None:
                near, at = gate.nearest(text)
                if at >= 0:
                    fault, facts = "too_similar", {"similarity": round(near, 3), "text": text}
            if fault is None:
                gate.add(text)
                pool.made.append(text)
            given = columns if fault is None else facts
            pool.children.append(Child([message("user", text)], given, parents, eliminated=fault))

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """For the whole step, told as per row: about size / (count / 2) calls."""
        rows = max(1, sample.height)
        likely = self.size / (self.count / 2) / rows
        fields = ["{{query}}"] * (self.human + self.machine)
        yield estimate(
            sample, [self.prompt, *fields], calls=(likely / 2, likely, 4 * likely), tokens_out=(100, 250, 500)
        )
