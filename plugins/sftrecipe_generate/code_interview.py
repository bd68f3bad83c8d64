"""`evolve.code_interview`: interview-style programming questions from subjects (Roziere et al. 2023, Code Llama,
section 2.5).

The authors had Llama-2-70B write 62,000 questions, dropped exact repeats (52,000 left), and let the model to be tuned
write tests and ten solutions for each, keeping the first that passes: about 14,000 rows. This is the first step; the
others are `filter.duplicates`, `answer.chat` (tests, then solutions), `score.tests` and `answer.best_of`. The prompt is
our own.

`n` questions are shared out over the rows, the first rows taking one more where it does not come out even; each request
asks for at most `count`. Cost: n / count calls and more where answers bring fewer than asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Chat, Child, Cost, Dataset, Evolve, Param, RowError, Template, message
from sftrecipe.lazy import pl
from sftrecipe.models.asking import asks, estimate, prompt_file, render
from sftrecipe_generate.rules import plain
from sftrecipe_generate.self_instruct import requests_schema

__all__ = ["CodeInterview", "shares"]


def shares(n: int, rows: int) -> list[int]:
    """n shared out over `rows`, the first ones taking what is left over."""
    each, left = divmod(n, rows) if rows else (0, 0)
    return [each + (at < left) for at in range(rows)]


class CodeInterview(Evolve):
    """`n` programming questions in all, from the subjects that the rows' questions name: children without answers.

    Eliminated: `empty`, `duplicate` (said before under the same subject), `over_size` (more than were asked for), or
    the code of a failed request. A subject whose answers bring too little is asked `attempts` times; what is missing
    then is a warning.
    """

    reads = ("id", "query", "source", "license", "tools")
    fills: ClassVar[Sequence[str]] = ("count",)
    source = "Roziere et al. 2023, Code Llama: Open Foundation Models for Code"

    model: Chat = Param(doc="The chat model that writes.", positional=True)
    n: int = Param(doc="Questions in all.", ge=1)
    count: int = Param(5, ge=1, doc="Questions of a request, at most.")
    attempts: int = Param(3, ge=1, doc="How often a subject is asked again for what is missing.")
    parents: Literal["keep", "drop"] = Param("drop", doc="What becomes of the subjects.")
    prompt: Template = Param(
        prompt_file(__file__, "interview"), doc="What is asked; {{query}} is the subject, {{count}} filled in."
    )
    temperature: float | None = Param(1.0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    top_p: float | None = Param(None, gt=0, le=1, doc="Nucleus sampling.")
    max_tokens: int | None = Param(2048, ge=1, doc="Most tokens of an answer.")

    async def evolve(self, data: Dataset) -> Sequence[Child]:
        """All subjects at once, each asked in turns."""
        subjects = [
            r for r in data.frame("id", "query", "source", "license", "tools").iter_rows(named=True) if r["query"]
        ]
        wanted = shares(self.n, len(subjects))
        found = await asyncio.gather(*(self._subject(s, w) for s, w in zip(subjects, wanted, strict=True) if w))
        children = [child for one in found for child in one]
        made = sum(c.eliminated is None for c in children)
        if made < self.n:
            self.context.log.warning("%d of %d questions were made", made, self.n)
        return children

    async def _subject(self, row: Mapping[str, Any], wanted: int) -> list[Child]:
        children: list[Child] = []
        seen: set[str] = set()
        sample = made = 0
        for _ in range(self.attempts):
            sizes = [min(self.count, wanted - made - at) for at in range(0, wanted - made, self.count)]
            answers = await asyncio.gather(*(self._ask(row, size, sample + at) for at, size in enumerate(sizes)))
            sample += len(sizes)
            for answer in answers:
                for text in [answer] if isinstance(answer, RowError) else answer:
                    fault = text.code if isinstance(text, RowError) else _fault(text, seen, made >= wanted)
                    made += fault is None
                    said = "" if isinstance(text, RowError) else text
                    kept = {k: row[k] for k in ("source", "license", "tools")} if fault is None else {}
                    children.append(Child([message("user", said)], kept, [row["id"]], eliminated=fault))
            if made >= wanted:
                break
        return children

    async def _ask(self, row: Mapping[str, Any], count: int, sample: int) -> list[str] | RowError:
        asked = asks(render(self.prompt, {**row, "count": count}))
        settings: dict[str, Any] = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        schema = requests_schema("questions", count)
        try:
            reply = (await self.model.chat(asked, schema=schema, first=sample, **settings))[0]
        except RowError as error:
            return error
        return [text.strip() for text in reply.parsed["questions"]]

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """For the whole step, told as per row: n / count calls."""
        likely = self.n / self.count / max(1, sample.height)
        yield estimate(
            sample, [self.prompt], calls=(likely, likely, self.attempts * likely), tokens_out=(200, 500, 1200)
        )


def _fault(text: str, seen: set[str], full: bool) -> str | None:
    if full:
        return "over_size"
    if not text:
        return "empty"
    key = plain(text)
    if key in seen:
        return "duplicate"
    seen.add(key)
    return None
