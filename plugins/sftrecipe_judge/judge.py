"""`tag.judge`: one label out of a list, by a chat model, by `votes` answers and their plurality.

The label that most votes name wins; two labels with equally many votes leave the row without one. Cost: `votes` calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sftrecipe import Chat, Cost, Into, Param, Tag, Template
from sftrecipe_judge.asking import asks, demand, estimate, prompt, reads_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Judge", "label_schema", "plurality"]


def plurality(votes: Sequence[str | None]) -> tuple[str | None, int]:
    """(the label that most votes name, how many do); None when no vote names one, or two share the first place."""
    ranked = Counter(v for v in votes if v is not None).most_common(2)
    if not ranked:
        return None, 0
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        return None, ranked[0][1]
    return ranked[0]


def label_schema(labels: Sequence[str]) -> dict[str, Any]:
    """{reason, label}: one of `labels`, or null."""
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "label": {"type": ["string", "null"], "enum": [*labels, None]}},
        "required": ["reason", "label"],
        "additionalProperties": False,
    }


class Judge(Tag):
    """A label for each row, chosen by a chat model; null where none of the labels fits (`no_label` in the row's story) or
    votes are tied (`tied`).

    A row fails with `no_query`, `no_response`, or the codes of the model layer (`invalid_json`, `truncated`, ...).
    """

    writes: ClassVar[Mapping[str, str]] = {"{into}": "text"}
    fills: ClassVar[Sequence[str]] = ("labels", "rubric")

    model: Chat = Param(doc="A chat model from `models:`.", positional=True)
    labels: list[str] = Param(doc="The labels there are, or {file: labels.txt} with one a line.")
    rubric: Template | None = Param(None, doc="What the labels mean: text, or {file: path}.")
    prompt: Template = Param(prompt("label"), doc="What is asked; {{labels}} and {{rubric}} are filled in.")
    system: str | None = Param(None, doc="System text of the request.")
    votes: int = Param(1, ge=1, doc="Answers a row; with more than one, give a temperature above 0.")
    temperature: float | None = Param(0, ge=0, doc="Sampling temperature; null leaves it to the server.")
    max_tokens: int | None = Param(512, ge=1, doc="Most tokens of an answer.")
    into: Into = Param("label", doc="The text column that is written.")

    def check(self) -> Iterable[str]:
        """At least two labels, each once; votes that can differ."""
        if isinstance(self.labels, list) and len(set(self.labels)) != len(self.labels):
            yield "a label stands twice in `labels`"
        if isinstance(self.labels, list) and len(self.labels) < 2:
            yield "`labels` needs at least two labels"
        if self.votes > 1 and self.temperature == 0:
            yield "`votes` above 1 are alike at `temperature: 0`: give a temperature"

    async def tag_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """`votes` requests and their plurality."""
        demand(row, reads_of(self.prompt))
        rubric = self.rubric.render(row) if self.rubric is not None else ""  # type: ignore[attr-defined]
        filled = {**row, "labels": ", ".join(self.labels), "rubric": rubric}
        asked = asks(self.prompt.render(filled), self.system)  # type: ignore[attr-defined]
        replies = await self.model.chat(
            asked,
            n=self.votes,
            schema=label_schema(self.labels),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
        )
        label, agree = plurality([r.parsed["label"] for r in replies])
        if label is None:
            self.context.note(row["id"], "tied" if agree else "no_label", reason=replies[0].parsed["reason"])
        elif self.votes > 1:
            self.context.note(row["id"], "voted", label=label, votes=agree, of=self.votes)
        return {self.into: label}

    def cost(self, sample: pl.DataFrame) -> Iterable[Cost]:
        """`votes` calls a row."""
        n = float(self.votes)
        yield estimate(sample, [self.prompt, self.rubric or ""], calls=(n, n, 1.1 * n), tokens_out=(15, 40, 120))
