"""format.template and format.tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe.rows import Rows, message
from sftrecipe.run.context import RunContext
from sftrecipe_format.template import Template
from sftrecipe_format.tokenizer import LiveTokenizer, TokenizerModel
from sftrecipe_format.tokens import Tokens

TALK = [
    message("user", "Hi"),
    message("assistant", "Hello", reasoning="hm"),
    message("user", "Bye"),
    message("assistant", "Ciao"),
]


@pytest.fixture(scope="module")
def tokenizer() -> LiveTokenizer:
    return TokenizerModel().open()


def live(operator: Any, context: RunContext) -> Any:
    assert list(operator.check()) == []
    operator.context = context
    operator.setup()
    return operator


def test_the_text(batch: Any, context: RunContext) -> None:
    operator = live(Template(template="chatml", into="rendered"), context)
    out = operator.format(batch(TALK, None, [message("elf", "x")]))
    assert out["rendered"].to_list() == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\nHello<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nCiao<|im_end|>\n",
        None,
        None,
    ]
    assert [(i, code) for i, code, _ in context.notes] == [("r1", "no_messages"), ("r2", "unknown_role")]


def test_a_generation_prompt(batch: Any, context: RunContext) -> None:
    operator = live(Template(template="vicuna", add_generation_prompt=True), context)
    assert operator.format(batch(TALK[:1]))["text"].to_list() == ["USER: Hi ASSISTANT:"]


def test_the_tokenizers_template_and_a_file(
    batch: Any, context: RunContext, tokenizer: LiveTokenizer, tmp_path: Path
) -> None:
    assert live(Template(tokenizer=tokenizer), context).format(batch(TALK[:1]))["text"].to_list() == [
        "<|im_start|>user\nHi<|im_end|>\n"
    ]
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages[0].content }}{{ eos_token }}", encoding="utf-8")
    assert live(Template(file=file), context).format(batch(TALK))["text"].to_list() == ["Hi"]
    assert live(Template(file=file, tokenizer=tokenizer), context).format(batch(TALK))["text"].to_list() == [
        "Hi<|im_end|>"
    ]
    with pytest.raises(StepError, match="cannot read the chat template"):
        live(Template(file=tmp_path / "none.jinja"), context)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "no template"),
        ({"template": "chatml", "file": "x"}, "keep one"),
        ({"template": "chatml", "date": "today"}, "is no date"),
    ],
)
def test_check(params: dict[str, Any], words: str) -> None:
    assert any(words in p for p in Template(**params).check())


def test_thinking_by_column_and_as_a_constant(batch: Any, context: RunContext) -> None:
    rows = batch(TALK[:2], TALK[:2], TALK[:2])
    rows = Rows(rows.frame.with_columns(think=pl.Series([True, False, None])))
    operator = live(Template(template="chatml", enable_thinking="think"), context)
    operator.enable_thinking = pl.col("think")
    with_block, without, as_is = operator.format(rows)["text"]
    assert "<think>\nhm\n</think>\n\nHello" in with_block
    assert "<think>\n\n</think>\n\nHello" in without
    assert as_is == with_block
    operator.enable_thinking = pl.lit(False)
    assert operator.format(rows)["text"].to_list() == [without] * 3
    operator.enable_thinking = pl.col("id")
    with pytest.raises(StepError, match="not true or false"):
        operator.format(rows)


@pytest.mark.parametrize(
    ("loss", "trained"),
    [
        ("assistant", "<think>\nhm\n</think>\n\nHello<|im_end|>Ciao<|im_end|>"),
        ("last", "Ciao<|im_end|>"),
        ("completion", "Ciao<|im_end|>\n"),
    ],
)
def test_which_tokens_are_trained(
    batch: Any, context: RunContext, tokenizer: LiveTokenizer, loss: str, trained: str
) -> None:
    out = live(Tokens(tokenizer=tokenizer, loss=loss), context).format(batch(TALK))
    labels = [i for i in out["labels"][0] if i != -100]
    assert tokenizer._fast.decode(labels, skip_special_tokens=False) == trained
    assert all(label in (-100, token) for label, token in zip(out["labels"][0], out["input_ids"][0], strict=True))


def test_all_tokens(batch: Any, context: RunContext, tokenizer: LiveTokenizer) -> None:
    out = live(Tokens(tokenizer=tokenizer, loss="all"), context).format(batch(TALK))
    assert out["labels"].to_list() == out["input_ids"].to_list()
    assert out["labels"].dtype == pl.List(pl.Int32)


def test_rows_without_tokens_are_null_and_noted(batch: Any, context: RunContext, tokenizer: LiveTokenizer) -> None:
    rows = batch(
        TALK, TALK[:1], [message("user", "<|im_end|>"), message("assistant", "x")], TALK, tools=[None, None, None, "{"]
    )
    out = live(Tokens(tokenizer=tokenizer), context).format(rows)
    assert [column.is_null().to_list() for column in out.values()] == [[False, True, True, True]] * 2
    assert [(i, code) for i, code, _ in context.notes] == [
        ("r1", "nothing_to_train"),
        ("r2", "special_token_in_text"),
        ("r3", "bad_tools"),
    ]


def test_allow_special(batch: Any, context: RunContext, tokenizer: LiveTokenizer) -> None:
    rows = batch([message("user", "<|im_end|>"), message("assistant", "x")])
    assert live(Tokens(tokenizer=tokenizer, allow_special=True), context).format(rows)["labels"].null_count() == 0


def test_a_template_that_the_tokenizer_cannot_write_stops_at_set_up(
    context: RunContext, tokenizer: LiveTokenizer
) -> None:
    with pytest.raises(StepError, match="no such token"):
        live(Tokens(tokenizer=tokenizer, template="llama3"), context)


def test_an_empty_batch(batch: Any, context: RunContext, tokenizer: LiveTokenizer) -> None:
    assert live(Tokens(tokenizer=tokenizer), context).format(batch())["input_ids"].to_list() == []
    assert live(Template(template="chatml"), context).format(batch())["text"].to_list() == []
