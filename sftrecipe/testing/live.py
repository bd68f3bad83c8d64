"""Operators made live for unit tests, as the interpreter makes them, and models that are functions.

op = live(AnswerChat(n=2), {"messages": "messages"}, model=FakeChat(lambda asked: asked.last.upper()))
asyncio.run(op.answer_row(row))
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sftrecipe import params as declared
from sftrecipe.errors import RowError
from sftrecipe.models.protocols import Reply
from sftrecipe.operators import Operator
from sftrecipe.rows import DERIVED

__all__ = ["Asked", "FakeChat", "FakeReward", "live", "row_of"]

Op = TypeVar("Op", bound=Operator)


@dataclass(frozen=True)
class Asked:
    """One question to a fake model: its messages, the number of the sample, the sampling parameters."""

    messages: list[dict[str, Any]]
    sample: int
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> str:
        """The text of the last message."""
        return str(self.messages[-1]["content"])


class FakeChat:
    """`Chat` out of a function of an Asked, which gives a text, a Reply, JSON-able data, or an exception to raise."""

    def __init__(self, answer: Callable[[Asked], Any], name: str = "fake") -> None:
        self.name, self.asked = name, list[Asked]()
        self._answer = answer

    async def chat(self, messages: Sequence[Mapping[str, Any]], *, n: int = 1, **sampling: Any) -> list[Reply]:
        """See `sftrecipe.Chat`."""
        first, complete = int(sampling.pop("first", 0)), bool(sampling.pop("complete", False))
        replies = []
        for sample in range(first, first + n):
            asked = Asked([dict(m) for m in messages], sample, {k: v for k, v in sampling.items() if v is not None})
            self.asked.append(asked)
            await asyncio.sleep(0)
            replies.append(self._reply(asked))
        if complete and any(r.finish_reason == "length" for r in replies):
            raise RowError("truncated", "the answer was cut at max_tokens")
        return replies

    async def complete(self, prompt: str, *, n: int = 1, **sampling: Any) -> list[Reply]:
        """See `sftrecipe.Chat`."""
        return await self.chat([{"role": "raw", "content": prompt}], n=n, **sampling)

    def _reply(self, asked: Asked) -> Reply:
        said = self._answer(asked)
        if isinstance(said, BaseException):
            raise said
        reply = said if isinstance(said, Reply) else Reply(said if isinstance(said, str) else json.dumps(said))
        if "schema" not in asked.sampling:
            return reply
        return Reply(**{**vars(reply), "parsed": json.loads(reply.text)})


class FakeReward:
    """`Reward` out of a function of the last text."""

    def __init__(self, score: Callable[[str], float]) -> None:
        self._score = score

    async def reward(self, messages: Sequence[Mapping[str, Any]]) -> float:
        """See `sftrecipe.Reward`."""
        await asyncio.sleep(0)
        return self._score(str(messages[-1]["content"]))


def live(
    operator: Op, columns: Mapping[str, str] | None = None, *, seed: int = 0, state: Mapping[str, Any] | None = None,
    scratch: Path | None = None, **given: Any,
) -> Op:  # fmt: skip
    """`operator` with expressions and templates bound, a context, and `setup()` called.

    Args:
        columns: the columns alive before it and their types; those derived from `messages` are added.
        given: what stands in for parameters: live models, live operators, Paths.
    """
    from sftrecipe.expressions import TemplateText, compile
    from sftrecipe.registry import Functions, Registry
    from sftrecipe.run.context import RunContext

    alive = {**DERIVED, "id": "text", **(columns or {})}
    bind: dict[str, Callable[[Any], Any]] = {
        "expr": lambda v: compile(str(v), alive, {}, Functions(Registry())),
        "template": TemplateText,
    }
    for spec in declared.specs(type(operator)).values():
        value = operator.params.get(spec.name)
        if spec.kind in bind and value is not None and spec.name not in given:
            setattr(operator, spec.name, _each(value, bind[spec.kind]))
    for name, value in given.items():
        setattr(operator, name, value)
    operator.context = RunContext("step", seed, scratch or Path("scratch"), columns=alive)
    operator.state = state or {}
    operator.setup()
    return operator


def _each(value: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {k: make(v) for k, v in value.items()}
    return [make(v) for v in value] if isinstance(value, list) else make(value)


def row_of(query: str | None, response: str | None = None, id: str = "r0", **columns: Any) -> dict[str, Any]:
    """One row as a row form gets it: a conversation of one turn, with `query` and `response`."""
    from sftrecipe.rows import message

    turns = [message(role, text) for role, text in (("user", query), ("assistant", response)) if text is not None]
    said = "\n".join(str(m["content"]) for m in turns)
    return {"id": id, "messages": turns, "query": query, "response": response, "conversation": said, **columns}
