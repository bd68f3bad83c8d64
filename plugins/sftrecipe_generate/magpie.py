"""`load.magpie`: questions out of nothing but a chat template's beginning (Xu et al. 2024, Magpie).

An aligned model that is given its template up to where a user would begin to speak goes on as a user: what it writes
until it would end the turn is a question. That takes a request for a raw continuation, which chat endpoints do not
offer: servers with /completions do (vLLM, SGLang, llama.cpp, Ollama's, TGI), `transformers` does, most hosted chat
services do not, and then the step says so (R631). `prefix` must be the template of the very model, special tokens
included; some servers put a beginning-of-text token in front of their own accord: leave it out of the prefix then.

Sizes of the paper: 4 and 3 million questions from Llama-3 70B and 8B at temperature 1; then tags, rewards,
near-duplicates (`tag.judge`, `score.reward`, `filter.near_duplicates`) and 300,000 rows. Answers come from an `answer`
step. Cost: one call a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from sftrecipe import BadRow, Chat, Load, Param, RowError, message
from sftrecipe.lazy import pl
from sftrecipe.models import run_rows
from sftrecipe.rows import content_hash, frame_of

__all__ = ["PREFIXES", "Magpie", "first_turn"]

PREFIXES: Mapping[str, tuple[str, list[str]]] = {
    "chatml": ("<|im_start|>user\n", ["<|im_end|>", "<|im_start|>"]),
    "llama3": (
        "<|start_header_id|>user<|end_header_id|>\n\n",
        ["<|eot_id|>", "<|start_header_id|>", "<|end_of_text|>"],
    ),
}
"""Template -> (its words up to the user's text, what ends that text)."""
PIECE = 2048
"""Questions of a piece: what is done again if a run is killed (answers that were paid for are not asked again)."""


def first_turn(text: str, stops: Sequence[str]) -> str:
    """What was written up to the first of `stops`."""
    for stop in stops:
        text = text.partition(stop)[0]
    return text.strip()


class Magpie(Load):
    """`size` questions that an aligned model writes after its template's user prefix: rows without answers.

    Quarantined, with the number of the question as line: `truncated` (no end within `max_tokens`), `empty`,
    `unfinished` (it ends in a colon, so that something should follow), or the code of a failed request. Shares are as
    in other loads: more than `max_bad` bad ones stop the run. Rows may repeat: `filter.duplicates`.
    """

    writes: ClassVar[Mapping[str, str]] = {}
    source = "Xu et al. 2024, Magpie: Alignment Data Synthesis from Scratch by Prompting Aligned LLMs with Nothing"

    model: Chat = Param(doc="An aligned model whose provider goes on from raw text.")
    size: int = Param(doc="Questions asked for.", ge=1)
    template: str = Param(
        "chatml", doc="Whose prefix: chatml (Qwen and many others) or llama3.", choices=tuple(PREFIXES)
    )
    prefix: str | None = Param(None, doc="The words up to the user's text, in place of the template's.")
    stop: list[str] | None = Param(None, doc="What ends the text, in place of the template's.")
    temperature: float | None = Param(1.0, ge=0, doc="Sampling temperature.")
    top_p: float | None = Param(1.0, gt=0, le=1, doc="Nucleus sampling.")
    max_tokens: int = Param(512, ge=1, doc="Most tokens of a question.")
    max_bad: float = Param(0.2, ge=0, le=1, doc="Largest share of questions that come to nothing.")
    license: str | None = Param(None, doc="SPDX licence of the rows: what the model's licence says of its output.")
    label: str = Param("magpie", doc="`source` of the rows.")

    def pieces(self, shard_bytes: int) -> Sequence[Mapping[str, Any]]:
        """Blocks of questions by their numbers."""
        blocks = [(at, min(at + PIECE, self.size)) for at in range(0, self.size, PIECE)]
        return [
            {"source": self.label, "identity": f"{start}-{stop}", "start": start, "stop": stop}
            for start, stop in blocks
        ]

    def read(self, piece: Mapping[str, Any]) -> Iterator[pl.DataFrame | BadRow]:
        """The questions of one block, in the order of their numbers."""
        numbers = range(piece["start"], piece["stop"])
        records = []
        for number, outcome in zip(numbers, run_rows(numbers, self._question), strict=True):
            code, text = (outcome.code, "") if isinstance(outcome, RowError) else outcome
            if code:
                yield BadRow(code, line=number + 1 - piece["start"], file=self.label, raw=text)
            else:
                records.append(self._row(text))
        columns = {"messages": "messages", "source": "text", "license": "text", "tools": "json", "extra": "json"}
        frame = frame_of(records, columns)
        yield frame.with_columns(_hashes(records))
        yield BadRow("", line=len(numbers))

    def _row(self, text: str) -> dict[str, Any]:
        return {"messages": [message("user", text)], "source": self.label, "license": self.license}

    async def _question(self, number: int) -> tuple[str, str]:
        """(what is wrong or nothing, the text)."""
        prefix, stops = PREFIXES[self.template]
        stops = self.stop if self.stop is not None else stops
        settings: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": stops,
        }
        reply = (await self.model.complete(self.prefix or prefix, first=number, **settings))[0]
        text = first_turn(reply.text, stops)
        if reply.finish_reason == "length" and text == reply.text.strip():
            return "truncated", text
        return ("empty" if not text else "unfinished" if text.endswith(":") else ""), text


def _hashes(records: Sequence[Mapping[str, Any]]) -> pl.Series:
    return pl.Series("hash", [content_hash(r["source"], r["messages"]) for r in records], dtype=pl.UInt64)
