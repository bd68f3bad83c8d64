"""`format.template`: the conversation as one text, as a chat template writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Expr, File, Format, Into, Param, RowError, Rows, Tokenizer
from sftrecipe.lazy import pl
from sftrecipe_format.each import fail
from sftrecipe_format.rendering import conversations, problems, template_of

__all__ = ["Template"]


class Template(Format):
    """Render `messages` and `tools` by a built-in template, a Jinja file, or the one that a tokenizer brings.

    The text has the control tokens that the template writes, a begin-of-sequence token among them where it does: the
    trainer must not add a second one. Rows that cannot be rendered are null and noted: `no_messages`, `unknown_role`,
    `bad_tool_calls`, `bad_tools`, `template_refused`. Templates run in a sandbox and know no clock.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id", "messages", "tools")
    writes: ClassVar[Mapping[str, str]] = {"{into}": "text"}
    wants: ClassVar[Mapping[str, str]] = {"enable_thinking": "bool"}
    heavy: ClassVar[bool] = True
    source: ClassVar[str] = "Hugging Face chat templates"

    template: Literal["chatml", "llama3", "vicuna", "alpaca", "zephyr"] | None = Param(
        None, positional=True, doc="A built-in template. Default: the tokenizer's own."
    )
    tokenizer: Tokenizer | None = Param(None, doc="A tokenizer: brings its template and its begin and end tokens.")
    file: File | None = Param(None, doc="A chat template as a Jinja file.")
    enable_thinking: Expr | None = Param(None, doc="Given to the template: true, false, or an expression over columns.")
    add_generation_prompt: bool = Param(False, doc="End with the opening of an answer.")
    date: str | None = Param(None, doc="What the template is told as today's date, YYYY-MM-DD.")
    into: Into = Param("text", doc="Column for the text.")

    def check(self) -> Iterable[str]:
        yield from problems(self.template, self.file, self.date)
        if not (self.template or self.file or self.tokenizer):
            yield "no template: give `template: chatml`, a `tokenizer:` that brings one, or a Jinja `file:`"

    def setup(self) -> None:
        self._template = template_of(self.tokenizer, self.template, self.file)

    def format(self, rows: Rows) -> Mapping[str, Any]:
        texts: list[str | None] = []
        for row_id, given in zip(rows["id"], conversations(rows, self.enable_thinking, self.date), strict=True):
            try:
                if isinstance(given, RowError):
                    raise given
                texts.append(self._template.render(given, add_generation_prompt=self.add_generation_prompt))
            except RowError as error:
                fail(self.context, row_id, error)
                texts.append(None)
        return {self.into: pl.Series(self.into, texts, dtype=pl.String)}
