"""`format.tokens`: the conversation as token ids, with -100 in `labels` where no loss is taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Expr, File, Format, Param, RowError, Rows, Tokenizer
from sftrecipe.chat_tokens import token_columns, tokenise
from sftrecipe_format.each import fail
from sftrecipe_format.rendering import conversations, problems, template_of

__all__ = ["Tokens"]


class Tokens(Format):
    """Write `input_ids` and `labels`.

    `loss` says what is trained: `assistant` (every answer with its end of turn), `last` (the last answer alone),
    `completion` (all that follows the prompt of the last answer), `all`. The mask is exact: from the template's own
    marks, or from prefixes that are checked row by row (see `sftrecipe.chat_tokens`).

    Rows that give no tokens are null and noted: `no_messages`, `unknown_role`, `bad_tool_calls`, `bad_tools`,
    `template_refused`, `template_not_prefix`, `special_token_in_text` (a text holds a control token),
    `tokens_cross_turns`, `nothing_to_train`.
    """

    version: ClassVar[int] = 1
    reads: ClassVar[Sequence[str]] = ("id", "messages", "tools")
    writes: ClassVar[Mapping[str, str]] = {"input_ids": "tokens", "labels": "tokens"}
    wants: ClassVar[Mapping[str, str]] = {"enable_thinking": "bool"}
    heavy: ClassVar[bool] = True
    source: ClassVar[str] = "Hugging Face chat templates; assistant masks by {% generation %}"

    tokenizer: Tokenizer = Param(positional=True, doc="The tokenizer of the model that will be trained.")
    loss: Literal["assistant", "all", "completion", "last"] = Param("assistant", doc="What is trained.")
    template: Literal["chatml", "llama3", "vicuna", "alpaca", "zephyr"] | None = Param(
        None, doc="A built-in template. Default: the tokenizer's own, or chatml where it has none."
    )
    file: File | None = Param(None, doc="A chat template as a Jinja file.")
    enable_thinking: Expr | None = Param(None, doc="Given to the template: true, false, or an expression over columns.")
    date: str | None = Param(None, doc="What the template is told as today's date, YYYY-MM-DD.")
    allow_special: bool = Param(False, doc="Let texts pass that hold a control token, which is then read as one.")

    def check(self) -> Iterable[str]:
        return problems(self.template, self.file, self.date)

    def setup(self) -> None:
        self._template = template_of(self.tokenizer, self.template, self.file)

    def format(self, rows: Rows) -> Mapping[str, Any]:
        given = conversations(rows, self.enable_thinking, self.date)
        made = tokenise(given, self._template, self.tokenizer, self.loss, allow_special=self.allow_special)
        for row_id, result in zip(rows["id"], made, strict=True):
            if isinstance(result, RowError):
                fail(self.context, row_id, result)
        return token_columns(made)
