"""`evolve.expand`: n new questions from each row, by a prompt. What a bare `evolve` means. Cost: n calls a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sftrecipe import Chat, Child, Cost, Evolve, Evolved, Param, Template, message
from sftrecipe.lazy import pl
from sftrecipe.models.asking import asks, demand, estimate, prompt_file, reads_of, render
from sftrecipe_generate.instruct import fate
from sftrecipe_generate.rules import plain

__all__ = ["Expand"]


class Expand(Evolve):
    """n children of each row: each is what the model answers to `prompt`, as a question without an answer.

    Eliminated: `empty`, `duplicate` (it says what an earlier child of the row says), `same_as_parent`, `truncated`.
    Parents leave as `replaced`, or as `no_child` with `parents: drop` where no child was left. A row fails with
    `no_query` or `no_response` where the prompt would ask about nothing, and with the codes of the model layer.
    """

    reads = ("query",)

    model: Chat = Param(doc="The chat model that writes.", positional=True)
    prompt: Template = Param(prompt_file(__file__, "expand"), doc="What is asked; the answer is the new question.")
    n: int = Param(1, ge=1, doc="Children of a row.")
    system: str | None = Param(None, doc="System text of the request.")
    parents: Literal["keep", "drop", "replace"] = Param(
        "keep", doc="`replace`: a parent gives way to its children, if any."
    )
    temperature: float | None = Param(1.0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    top_p: float | None = Param(None, gt=0, le=1, doc="Nucleus sampling.")
    max_tokens: int | None = Param(1024, ge=1, doc="Most tokens of an answer.")

    async def evolve_row(self, row: Mapping[str, Any]) -> Evolved:
        """n samples of one request."""
        demand(row, reads_of(self.prompt))
        asked = asks(render(self.prompt, row), self.system)
        settings = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        replies = await self.model.chat(asked, n=self.n, **settings)
        seen = {plain(row.get("query") or ""): "same_as_parent"}
        children = []
        for reply in replies:
            text = reply.text.strip()
            fault = "truncated" if reply.finish_reason == "length" else "empty" if not text else seen.get(plain(text))
            seen.setdefault(plain(text), "duplicate")
            children.append(Child([message("user", text)], eliminated=fault))
        return Evolved(children, **fate(self.parents, sum(c.eliminated is None for c in children)))

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """n calls a row."""
        n = float(self.n)
        yield estimate(sample, [self.prompt], calls=(n, n, n), tokens_out=(30, 100, 400))
