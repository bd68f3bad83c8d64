"""`format.alpaca`: instruction, input, output, and what came before as history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Format, Param, Rows
from sftrecipe.lazy import pl
from sftrecipe_format.each import formatted, pairs, reply

__all__ = ["Alpaca"]


class Alpaca(Format):
    """The Alpaca columns: `instruction` (last question), `input` (always empty: a loaded row holds both as one
    question), `output` (last answer), `system`, `history` (earlier [question, answer] pairs).

    Rows without a place in this format are null and noted: `no_messages`, `has_tools`, `not_alternating`,
    `unknown_role`, `no_answer`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id", "messages", "tools")
    writes: ClassVar[Mapping[str, str]] = {
        "instruction": "text",
        "input": "text",
        "output": "text",
        "system": "text",
        "history": "list[list[text]]",
    }
    heavy: ClassVar[bool] = True
    source: ClassVar[str] = "LLaMA-Factory's alpaca format (instruction, input, output, system, history)"

    keep_reasoning: Literal["inline", "drop"] = Param(
        "inline", doc="Reasoning goes before the answer in <think> tags, or is left out."
    )

    def format(self, rows: Rows) -> Mapping[str, Any]:
        text = pl.String()
        kinds = {"instruction": text, "input": text, "output": text, "system": text, "history": pl.List(pl.List(text))}
        return formatted(rows, self._row, kinds, self.context)

    def _row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        talk = pairs(row["messages"], row.get("tools"))
        said = [[question.get("content") or "", reply(answer, self.keep_reasoning)] for question, answer in talk.turns]
        return {
            "instruction": said[-1][0],
            "input": "",
            "output": said[-1][1],
            "system": talk.system,
            "history": said[:-1],
        }
