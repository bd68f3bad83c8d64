"""`format.messages`: conversations as trainers that read chat rows want them.

Works on the flat list of all messages of a batch: one frame with a row per message, changed as a whole and folded back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Flow, Format, Param, Rows, Template
from sftrecipe.chat import ROLES
from sftrecipe.lazy import pl

__all__ = ["Messages", "flatten", "fold", "merged", "reasoned"]


class Messages(Format):
    """Write `messages`, clean: known roles, reasoning where it is wanted, a system turn where one is asked for.

    Rows that are no conversation are null and noted: `no_messages`, `unknown_role`, `empty_turn` (a message with
    neither content nor tool calls). A row with tools that are not written (`tools: false`) is noted as
    `tools_left_out`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id", "messages", "tools")
    source: ClassVar[str] = "OpenAI chat messages, as TRL, axolotl, ms-swift, torchtune and verl read them"

    system: Template | None = Param(None, doc="System text for rows that have none; {{column}} is filled in.")
    keep_reasoning: Literal["field", "inline", "drop"] = Param(
        "field", doc="Reasoning stays in its field, goes before the content in <think> tags, or is left out."
    )
    tools: bool = Param(False, doc="Also write `tools`.")
    merge_same_role: bool = Param(
        False, doc="Join neighbouring turns of the user, or of the assistant without tool calls, an empty line between."
    )

    def flow(self, columns: Mapping[str, str]) -> Flow:
        flow = super().flow(columns)
        rewrites = (
            ("query", "response") if self.merge_same_role else ("response",) if self.keep_reasoning == "inline" else ()
        )
        return Flow(flow.reads, {"messages": "messages"} | ({"tools": "json"} if self.tools else {}), rewrites)

    def format(self, rows: Rows) -> Mapping[str, Any]:
        messages = rows["messages"]
        flat = flatten(messages)
        bad = self._bad(rows["id"], messages, flat)
        if self.merge_same_role:
            flat = merged(flat)
        if self.keep_reasoning != "field":
            flat = reasoned(flat, self.keep_reasoning)
        if self.system is not None:
            flat = self._with_system(rows, flat)
        plain = not self.merge_same_role and self.keep_reasoning == "field" and self.system is None
        # a column left out stays as it is, and nothing is written for it
        made = {} if plain and not len(bad) else {"messages": fold(flat, messages, bad)}
        if not self.tools and "tools" in rows:
            for row_id in rows["id"].filter(rows["tools"].is_not_null()):
                self.context.note(row_id, "tools_left_out")
        return made

    def _bad(self, ids: pl.Series, messages: pl.Series, flat: pl.DataFrame) -> pl.Series:
        """Numbers of the rows that are no conversation, each noted once with the first thing that is wrong."""
        unknown = ~pl.col("role").is_in(ROLES).fill_null(False)
        empty = pl.col("content").is_null() & pl.col("tool_calls").is_null()
        wrong = flat.select(
            "row", code=pl.when(unknown).then(pl.lit("unknown_role")).when(empty).then(pl.lit("empty_turn"))
        )
        found = dict(wrong.drop_nulls().unique("row", keep="first", maintain_order=True).iter_rows())
        bare = messages.list.len().fill_null(0) == 0
        found |= dict.fromkeys(bare.arg_true().to_list(), "no_messages")
        for row in sorted(found):
            self.context.note(ids[row], found[row])
        return pl.Series("row", sorted(found), dtype=pl.UInt32)

    def _with_system(self, rows: Rows, flat: pl.DataFrame) -> pl.DataFrame:
        first = flat.unique("row", keep="first", maintain_order=True)
        lacking = first.filter(~pl.col("role").is_in(["system", "developer"]))["row"]
        template: Any = self.system
        texts = [
            template.render(row) if hasattr(template, "render") else str(template)
            for row in rows.frame[lacking].iter_rows(named=True)
        ]
        heads = pl.DataFrame(
            {
                "row": lacking,
                "role": pl.Series(["system"], dtype=pl.String).new_from_index(0, len(texts)),
                "content": texts,
            }
        )
        heads = heads.with_columns(pl.col("content").cast(pl.String))
        return pl.concat([heads, flat], how="diagonal").select(flat.columns).sort("row", maintain_order=True)


def flatten(messages: pl.Series) -> pl.DataFrame:
    """A row per message: `row` (of the batch) and the fields."""
    frame = pl.DataFrame({"m": messages}).with_row_index("row").filter(pl.col("m").list.len() > 0)
    return frame.explode("m").unnest("m")


def fold(flat: pl.DataFrame, like: pl.Series, bad: pl.Series) -> pl.Series:
    """The messages of each row as one list again, in the type of `like`; null for rows in `bad`."""
    kind: Any = like.dtype
    fields = [f.name for f in kind.inner.fields]
    lists = flat.select("row", m=pl.struct(fields)).group_by("row", maintain_order=True).agg("m")
    kept = lists.filter(~pl.col("row").is_in(bad.implode()))
    every = pl.DataFrame({"row": pl.int_range(len(like), dtype=pl.UInt32, eager=True)})
    return every.join(kept, on="row", how="left", maintain_order="left")["m"].cast(kind).alias("messages")


def reasoned(flat: pl.DataFrame, keep: str) -> pl.DataFrame:
    """Reasoning out of its field: before the content in <think> tags (`inline`), or gone (`drop`)."""
    thought = pl.col("reasoning").fill_null("") != ""
    inline = pl.format("<think>\n{}\n</think>\n\n{}", "reasoning", pl.col("content").fill_null(""))
    content = pl.when(thought).then(inline).otherwise("content") if keep == "inline" else pl.col("content")
    return flat.with_columns(content=content, reasoning=pl.lit(None, dtype=pl.String))


def merged(flat: pl.DataFrame) -> pl.DataFrame:
    """Neighbouring plain turns of one role as one: contents and reasonings joined with an empty line between."""
    plain = pl.col("role").is_in(["user", "assistant"]) & pl.col("tool_calls").is_null()
    same = (
        plain & plain.shift(1) & (pl.col("role") == pl.col("role").shift(1)) & (pl.col("row") == pl.col("row").shift(1))
    )
    run = (~same.fill_null(False)).cum_sum().alias("_run")
    joined = [pl.col(c).drop_nulls().str.join("\n\n").replace("", None) for c in ("content", "reasoning")]
    rest = [pl.col(c).first() for c in flat.columns if c not in ("content", "reasoning")]
    alone = pl.len().alias("_turns")
    runs = (
        flat.with_columns(run)
        .group_by("_run", maintain_order=True)
        .agg(*rest, *joined, alone, pl.col("content").first().alias("_content"))
    )
    content = (
        pl.when(pl.col("_turns") == 1).then("_content").otherwise("content")
    )  # an empty text alone stays an empty text
    return runs.with_columns(content=content).select(flat.columns)
