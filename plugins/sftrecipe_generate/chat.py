"""`answer.chat`: answers by a chat model, one or several, by the teacher that a row's tag calls for, perhaps until one
passes.

What a bare `answer` means. The request is the row's conversation without the answer that ends it, or `prompt`. `system`
belongs to the request alone: the row keeps its own. Answers that are cut at `max_tokens` are none: the row fails as
`truncated`, and among candidates they bear their `finish_reason`.

`until`: samples are drawn until one passes (with `n`, until n do), `max_attempts` at most, in the order of their
numbers, so that the same sample wins on every run. Cost: n calls a row; with `until`, up to max_attempts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sftrecipe import Answer, Chat, Column, Cost, Flow, Into, Operator, Param, RowError, Template
from sftrecipe.lazy import pl
from sftrecipe.models.asking import asks, demand, estimate, question, reads_of, render
from sftrecipe_generate.verifying import Verifier, problem_of

if TYPE_CHECKING:
    from sftrecipe.models import Reply

__all__ = ["AnswerChat", "candidate"]


def candidate(reply: Reply, model: str, **verdict: Any) -> dict[str, Any]:
    """A sampled answer as a row's `candidates` hold it."""
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "model": model,
        "finish_reason": reply.finish_reason,
        "tokens": reply.tokens_out,
        **verdict,
    }


class AnswerChat(Answer):
    """An answer from a chat model for each row: its last assistant turn; with `n`, its `candidates`; with `into`, a
    text column.

    Teachers by tag: `by: domain, models: {math: teacher_a}`; other rows are answered by `model`. A row fails with
    `no_query`, `no_teacher` (nobody is named for its tag, and there is no `model`), `never_passed` (`until` held for
    none of `max_attempts`), `empty` (no text came), or the codes of the model layer (`truncated`, `content_filter`,
    ...); its last assistant turn is gone then.
    """

    reads = ("messages",)

    model: Chat | None = Param(None, doc="Who answers.", positional=True)
    models: dict[str, Chat] = Param({}, doc="Who answers rows with this value of `by`: {value: model}.")
    by: Column | None = Param(None, doc="The text column that chooses among `models`.")
    n: int = Param(1, ge=1, doc="Answers of a row; more than one go to `candidates`.")
    until: Operator | None = Param(None, doc="A score or filter: samples are drawn until an answer passes.")
    at_least: float | None = Param(None, doc="From where on a score passes that is not true or false.")
    max_attempts: int = Param(8, ge=1, doc="Most samples of a row with `until`.")
    system: Template | None = Param(None, doc="System text of the request, in place of the row's own.")
    prompt: Template | None = Param(
        None, doc="What is asked in place of the conversation: text with {{column}} fields."
    )
    temperature: float | None = Param(None, ge=0, doc="Sampling temperature; left out: the server's.")
    top_p: float | None = Param(None, gt=0, le=1, doc="Nucleus sampling.")
    max_tokens: int | None = Param(None, ge=1, doc="Most tokens of an answer; left out: the server's.")
    stop: list[str] | None = Param(None, doc="Texts that end an answer.")
    sampling: dict[str, Any] = Param({}, doc="Further fields of the request, as the server calls them.")
    into: Into | None = Param(None, doc="A text column for the answer, in place of the last assistant turn.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The text column, the candidates, or the conversation."""
        plain = super().flow(columns)
        if self.params["into"]:
            reads = [r for r in plain.reads if r != "messages" or self.params["prompt"] is None]
            return Flow(reads, {str(self.params["into"]): "text"})
        if self.params["n"] > 1:
            return Flow(plain.reads, {"candidates": "candidates"})
        return Flow(plain.reads, {"messages": "messages"}, ("response",))

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone: the answer that ends the conversation is not sent."""
        return ("query",)

    def check(self) -> Iterable[str]:
        """Somebody who answers; a verifier that can verify; one place for what comes."""
        if self.model is None and not self.models:
            yield "name who answers: `model`, or `by` with `models`"
        if bool(self.models) != (self.by is not None):
            yield "`by` and `models` belong together: which column chooses, and among whom"
        if self.n > 1 and self.into is not None:
            yield "several answers go to `candidates`, not `into` a text column"
        if self.until is None and self.at_least is not None:
            yield "`at_least` is for `until`"
        if (problem := problem_of(self.until, "until")) is not None:
            yield problem

    def setup(self) -> None:
        """The verifier."""
        until, columns = self.until, self.context.columns
        self._verifier = Verifier(until, columns, self.at_least) if until is not None else None

    async def answer_row(self, row: Mapping[str, Any]) -> Mapping[str, Any] | list[dict[str, Any]]:
        """The samples of one row."""
        teacher = self._teacher(row)
        asked = self._asked(row)
        replies, passed = await self._drawn(teacher, asked, row)
        if self.n > 1:
            name = str(getattr(teacher, "name", ""))
            return [candidate(r, name, passed=p) for r, p in zip(replies, passed, strict=True)]
        reply = replies[passed.index(True) if True in passed else 0]
        if not reply.text.strip() and not reply.tool_calls:
            raise RowError("empty", reply.refusal or "the model wrote nothing")
        if self.into is not None:
            return {self.into: reply.text}
        return {"text": reply.text, "reasoning": reply.reasoning, "tool_calls": reply.tool_calls}

    def _teacher(self, row: Mapping[str, Any]) -> Chat:
        tag = row[self.by] if self.by is not None else None
        teacher = self.models.get(str(tag), self.model)
        if teacher is None:
            raise RowError("no_teacher", f"nobody answers rows with `{self.by}` = {tag!r}")
        return teacher

    def _asked(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        system = render(self.system, row) if self.system is not None else None
        if self.prompt is None:
            return question(row["messages"], system)
        demand(row, reads_of(self.prompt))
        return asks(render(self.prompt, row), system)

    async def _drawn(
        self, teacher: Chat, asked: Sequence[Mapping[str, Any]], row: Mapping[str, Any]
    ) -> tuple[list[Reply], list[bool | None]]:
        """Samples, and whether each passes (None: nobody asked)."""
        given = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens, "stop": self.stop}
        settings: dict[str, Any] = {**self.sampling, **given}
        if self._verifier is None:
            drawn = await teacher.chat(asked, n=self.n, complete=self.n == 1, **settings)
            return drawn, [None] * len(drawn)
        replies: list[Reply] = []
        passed: list[bool | None] = []
        while len(replies) < self.max_attempts and passed.count(True) < self.n:
            wanted = min(self.n - passed.count(True), self.max_attempts - len(replies))
            for reply in await teacher.chat(asked, n=wanted, first=len(replies), **settings):
                replies.append(reply)
                whole = reply.finish_reason != "length"
                passed.append(whole and await self._verifier.passes(row, reply.text))
        if True not in passed and self.n == 1:
            raise RowError("never_passed", f"none of {len(replies)} answers passed")
        if len(replies) > self.n:
            self.context.note(row["id"], "tried", samples=len(replies), passed=passed.count(True))
        return replies, passed

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """n calls a row; with `until`, up to max_attempts."""
        most = float(max(self.n, self.max_attempts)) if self.until is not None else float(self.n)
        texts = [self.prompt if self.prompt is not None else "{{conversation}}", self.system or ""]
        out = (50.0, 350.0, float(self.max_tokens or 1500))
        names = ["model"] if self.model is not None else []
        names += [f"models.{key}" for key in self.models]
        for name in names:
            share = len(names)
            calls = (self.n / share, (self.n + most) / 2 / share, most / share)
            yield estimate(sample, texts, model=name, calls=calls, tokens_out=out)
