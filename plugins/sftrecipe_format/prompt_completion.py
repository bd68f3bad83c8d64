"""`format.prompt_completion`: what is given and what is learnt, as two columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Flow, Format, Param, RowError, Rows
from sftrecipe.lazy import pl
from sftrecipe_format.each import formatted, pairs, reply
from sftrecipe_format.messages import flatten, fold, reasoned

__all__ = ["PromptCompletion"]


class PromptCompletion(Format):
    """`prompt` and `completion`; the completion is the last answer.

    With `style: messages` both are lists of messages (any conversation that ends with an answer). With `style: text`
    they are texts, the system text and the question with an empty line between, and the row must be one question and
    one answer. Rows that are not are null and noted: `no_messages`, `no_answer`, and for texts `several_turns`,
    `has_tools`, `not_alternating`, `unknown_role`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id", "messages", "tools")
    heavy: ClassVar[bool] = True
    source: ClassVar[str] = "TRL's prompt-completion data"

    style: Literal["text", "messages"] = Param("messages", positional=True, doc="Texts, or lists of messages.")
    keep_reasoning: Literal["field", "inline", "drop"] | None = Param(
        None,
        doc="Where the completion's reasoning goes. Default: `field` for messages, `inline` (<think> tags) for text.",
    )
    tools: bool = Param(False, doc="Also write `tools` (messages only).")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        kind = "messages" if self.style == "messages" else "text"
        return Flow(self.reads, {"prompt": kind, "completion": kind} | ({"tools": "json"} if self.tools else {}))

    def check(self) -> Sequence[str]:
        found = []
        if self.style == "text" and self.tools:
            found.append("`tools: true` needs `style: messages`: a text prompt has no place for tools")
        if self.style == "text" and self.keep_reasoning == "field":
            found.append("`keep_reasoning: field` needs `style: messages`: write `inline` or `drop`")
        return found

    def format(self, rows: Rows) -> Mapping[str, Any]:
        if self.style == "text":
            return formatted(rows, self._text, {"prompt": pl.String(), "completion": pl.String()}, self.context)
        return self._messages(rows) | ({"tools": rows["tools"]} if self.tools else {})

    def _text(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        talk = pairs(row["messages"], row.get("tools"))
        if len(talk.turns) > 1:
            raise RowError("several_turns")
        question, answer = talk.turns[0]
        prompt = "\n\n".join(t for t in (talk.system, question.get("content")) if t)
        return {"prompt": prompt, "completion": reply(answer, self.keep_reasoning or "inline")}

    def _messages(self, rows: Rows) -> dict[str, pl.Series]:
        messages = rows["messages"]
        size = messages.list.len().fill_null(0).cast(pl.Int64)
        answered = (messages.list.get(-1, null_on_oob=True).struct.field("role") == "assistant").fill_null(False)
        for at in (~answered).arg_true():
            self.context.note(rows["id"][at], "no_answer" if size[at] else "no_messages")
        last = flatten(messages.list.tail(1))
        if self.keep_reasoning in ("inline", "drop"):
            last = reasoned(last, self.keep_reasoning)
        bad = (~answered).arg_true()
        frame = pl.DataFrame({"m": messages, "n": (size - 1).clip(0), "ok": answered})
        prompt = frame.select(pl.when("ok").then(pl.col("m").list.head(pl.col("n")))).to_series()
        return {"prompt": prompt.alias("prompt"), "completion": fold(last, messages, bad).alias("completion")}
