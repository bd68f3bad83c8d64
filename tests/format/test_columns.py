"""format.alpaca, format.sharegpt and format.prompt_completion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sftrecipe.rows import message
from sftrecipe.run.context import RunContext
from sftrecipe_format.alpaca import Alpaca
from sftrecipe_format.prompt_completion import PromptCompletion
from sftrecipe_format.sharegpt import Sharegpt

CALL = '[{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\\"a\\": 1}"}}]'
ONE = [message("user", "a"), message("assistant", "b", reasoning="t")]
TWO = [
    message("system", "s"),
    message("user", "a"),
    message("assistant", "b"),
    message("user", "c"),
    message("assistant", "d"),
]
TOOLS = [
    message("user", "a"),
    message("assistant", None, tool_calls=CALL),
    message("tool", "1"),
    message("assistant", "b"),
]
BAD: list[tuple[Any, str]] = [
    (None, "no_messages"),
    ([], "no_messages"),
    ([message("user", "a")], "no_answer"),
    ([message("user", "a"), message("user", "b"), message("assistant", "c")], "not_alternating"),
    ([message("assistant", "a")], "not_alternating"),
    ([message("user", "a"), message("system", "s"), message("assistant", "b")], "not_alternating"),
    ([message("user", "a"), message("elf", "b")], "unknown_role"),
]


def formatted(operator: Any, rows: Any, context: RunContext) -> dict[str, list[Any]]:
    operator.context = context
    assert list(operator.check()) == []
    return {name: column.to_list() for name, column in operator.format(rows).items()}


def codes(context: RunContext) -> list[tuple[str, str]]:
    return [(row, code) for row, code, _ in context.notes]


def test_alpaca(batch: Any, context: RunContext) -> None:
    assert formatted(Alpaca(), batch(ONE, TWO), context) == {
        "instruction": ["a", "c"],
        "input": ["", ""],
        "output": ["<think>\nt\n</think>\n\nb", "d"],
        "system": [None, "s"],
        "history": [[], [["a", "b"]]],
    }
    assert formatted(Alpaca(keep_reasoning="drop"), batch(ONE), context)["output"] == ["b"]
    assert context.notes == []


@pytest.mark.parametrize("operator", [Alpaca, Sharegpt, lambda: PromptCompletion(style="text")])
@pytest.mark.parametrize(("talk", "code"), BAD)
def test_what_has_no_place_is_null_and_noted(
    batch: Any, context: RunContext, operator: Any, talk: Any, code: str
) -> None:
    out = formatted(operator(), batch(talk), context)
    assert all(column == [None] for column in out.values())
    assert codes(context)[0][0] == "r0"
    assert codes(context)[0][1] == code


@pytest.mark.parametrize("operator", [Alpaca, lambda: PromptCompletion(style="text")])
def test_formats_without_a_place_for_tools(batch: Any, context: RunContext, operator: Any) -> None:
    formatted(operator(), batch(TOOLS, ONE, tools=[None, "[{}]"]), context)
    assert codes(context) == [("r0", "has_tools"), ("r1", "has_tools")]


def test_sharegpt(batch: Any, context: RunContext) -> None:
    out = formatted(Sharegpt(), batch(TWO, TOOLS, tools=[None, "[{}]"]), context)
    assert json.loads(out["conversations"][0]) == [
        {"from": "human", "value": "a"},
        {"from": "gpt", "value": "b"},
        {"from": "human", "value": "c"},
        {"from": "gpt", "value": "d"},
    ]
    assert json.loads(out["conversations"][1]) == [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "1"},
        {"from": "gpt", "value": "b"},
    ]
    assert (out["system"], out["tools"]) == (["s", None], [None, "[{}]"])


@pytest.mark.parametrize(
    ("assistant", "code"),
    [
        (message("assistant", "Let me see.", tool_calls=CALL), "text_beside_tool_call"),
        (message("assistant", None, tool_calls="{"), "bad_tool_calls"),
        (message("assistant", None, tool_calls="[]"), "bad_tool_calls"),
        (message("assistant", None, tool_calls="[{}]"), "bad_tool_calls"),
    ],
)
def test_calls_that_sharegpt_cannot_hold(batch: Any, context: RunContext, assistant: dict[str, Any], code: str) -> None:
    formatted(Sharegpt(), batch([message("user", "a"), assistant]), context)
    assert codes(context) == [("r0", code)]


def test_several_calls_are_a_list_and_their_results_need_a_merge(batch: Any, context: RunContext) -> None:
    both = json.dumps([{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"x": "é"}}])
    talk = [
        message("user", "a"),
        message("assistant", None, tool_calls=both),
        message("tool", "1"),
        message("tool", "2"),
        message("assistant", "b"),
    ]
    formatted(Sharegpt(), batch(talk), context)
    assert codes(context) == [("r0", "not_alternating")]
    out = formatted(Sharegpt(merge_same_role=True), batch(talk), context)
    said = json.loads(out["conversations"][0])
    assert json.loads(said[1]["value"]) == json.loads(both)
    assert said[2] == {"from": "observation", "value": "1\n\n2"}


def test_prompt_and_completion_as_messages(batch: Any, context: RunContext) -> None:
    out = formatted(PromptCompletion(), batch(ONE, TWO, TOOLS, None, [], TWO[:4]), context)
    assert out["prompt"] == [ONE[:1], TWO[:4], TOOLS[:3], None, None, None]
    assert out["completion"] == [ONE[1:], TWO[4:], TOOLS[3:], None, None, None]
    assert codes(context) == [("r3", "no_messages"), ("r4", "no_messages"), ("r5", "no_answer")]


@pytest.mark.parametrize(("keep", "content"), [("inline", "<think>\nt\n</think>\n\nb"), ("drop", "b")])
def test_reasoning_of_a_completion(batch: Any, context: RunContext, keep: str, content: str) -> None:
    assert formatted(PromptCompletion(keep_reasoning=keep), batch(ONE), context)["completion"] == [
        [message("assistant", content)]
    ]
    assert formatted(PromptCompletion(style="text", keep_reasoning=keep), batch(ONE), context)["completion"] == [
        content
    ]


def test_prompt_and_completion_as_texts(batch: Any, context: RunContext) -> None:
    out = formatted(PromptCompletion(style="text"), batch(TWO[:3], TWO, ONE), context)
    assert out == {"prompt": ["s\n\na", None, "a"], "completion": ["b", None, "<think>\nt\n</think>\n\nb"]}
    assert codes(context) == [("r1", "several_turns")]


def test_tools_beside_prompt_and_completion(batch: Any, context: RunContext) -> None:
    assert formatted(PromptCompletion(tools=True), batch(TOOLS, tools=["[{}]"]), context)["tools"] == ["[{}]"]
    assert any("style: messages" in p for p in PromptCompletion(style="text", tools=True).check())
    assert any("inline" in p for p in PromptCompletion(style="text", keep_reasoning="field").check())


@pytest.mark.parametrize(("style", "kind"), [("text", "text"), ("messages", "messages")])
def test_flow_names_the_types(style: str, kind: str) -> None:
    assert PromptCompletion(style=style).flow({}).writes == {"prompt": kind, "completion": kind}
