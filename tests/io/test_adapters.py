"""Every schema, every role word, and nothing lost."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import RowError, StepError
from sftrecipe_io.adapters import SCHEMAS, adapt, guess, take_tools
from sftrecipe_io.load_auto import Auto
from tests.io.conftest import Loaded, read_all

DATA = Path(__file__).parents[2] / "recipes" / "data"

CASES: dict[str, tuple[dict[str, Any], str, list[tuple[str, str | None]], dict[str, Any]]] = {
    "alpaca": (
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        "alpaca",
        [("user", "Add.\n1 and 2"), ("assistant", "3")],
        {},
    ),
    "alpaca response, empty input": (
        {"instruction": "Add.", "input": "", "response": "3", "n": 1},
        "alpaca",
        [("user", "Add."), ("assistant", "3")],
        {"n": 1},
    ),
    "alpaca both answers": (
        {"instruction": "Add.", "response": "3", "output": "4"},
        "alpaca",
        [("user", "Add."), ("assistant", "4")],
        {"response": "3"},
    ),
    "alpaca context": (
        {"instruction": "Who?", "context": "Ann ran.", "response": "Ann", "category": "qa"},
        "alpaca",
        [("user", "Who?\nAnn ran."), ("assistant", "Ann")],
        {"category": "qa"},
    ),
    "alpaca system and history": (
        {"system": "Be short.", "instruction": "c", "input": None, "output": "d", "history": [["a", "b"]]},
        "alpaca",
        [("system", "Be short."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        {},
    ),
    "alpaca without answer": ({"instruction": "Add."}, "alpaca", [("user", "Add.")], {}),
    "alpaca null answer": ({"instruction": "Add.", "output": None}, "alpaca", [("user", "Add.")], {"output": None}),
    "alpaca empty answer": ({"instruction": "a", "output": ""}, "alpaca", [("user", "a"), ("assistant", "")], {}),
    "seed task": (
        {"id": "s0", "instruction": "i", "instances": [{"input": "x", "output": "y"}], "is_classification": False},
        "alpaca",
        [("user", "i\nx"), ("assistant", "y")],
        {"id": "s0", "is_classification": False},
    ),
    "seed task with more instances": (
        {"instruction": "i", "instances": [{"input": "", "output": "y", "k": 1}, {"input": "p", "output": "q"}]},
        "alpaca",
        [("user", "i"), ("assistant", "y")],
        {"instances": [{"k": 1}, {"input": "p", "output": "q"}]},
    ),
    "sharegpt": (
        {
            "id": "c1",
            "system": "S",
            "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "loss": False}],
        },
        "sharegpt",
        [("system", "S"), ("user", "a"), ("assistant", "b")],
        {"id": "c1", "conversations": [None, {"loss": False}]},
    ),
    "sharegpt, other words": (
        {"conversation": [{"role": "User", "content": "a"}, {"from": "assistant", "value": "b"}]},
        "sharegpt",
        [("user", "a"), ("assistant", "b")],
        {},
    ),
    "preference": (
        {"conversations": [{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "b"}, "rejected": "c"},
        "sharegpt",
        [("user", "a")],
        {"chosen": {"from": "gpt", "value": "b"}, "rejected": "c"},
    ),
    "messages": (
        {"messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": "a"}], "prompt": "a"},
        "messages",
        [("developer", "d"), ("user", "a")],
        {"prompt": "a"},
    ),
    "messages with a second system text": (
        {"messages": [{"role": "system", "content": "s"}], "system": "other"},
        "messages",
        [("system", "s")],
        {"system": "other"},
    ),
    "prompt and completion": (
        {"prompt": "p", "completion": "c", "system_prompt": "S"},
        "prompt_completion",
        [("system", "S"), ("user", "p"), ("assistant", "c")],
        {},
    ),
    "prompt messages": (
        {"prompt": [{"role": "user", "content": "p", "w": 1}], "completion": [{"role": "assistant", "content": "c"}]},
        "prompt_completion",
        [("user", "p"), ("assistant", "c")],
        {"prompt": [{"w": 1}]},
    ),
    "query": ({"query": "q", "response": "r"}, "prompt_completion", [("user", "q"), ("assistant", "r")], {}),
    "input messages and output": (
        {"input": [{"role": "user", "content": "q"}], "output": "r", "reasoning": "on"},
        "prompt_completion",
        [("user", "q"), ("assistant", "r")],
        {"reasoning": "on"},
    ),
    "gsm8k": ({"question": "q", "answer": "a #### 1"}, "problem", [("user", "q"), ("assistant", "a #### 1")], {}),
    "solution before answer": (
        {"problem": "p", "solution": "long", "answer": "1", "tests": ["t"]},
        "problem",
        [("user", "p"), ("assistant", "long")],
        {"answer": "1", "tests": ["t"]},
    ),
    "number as answer": ({"question": "q", "answer": 42.5}, "problem", [("user", "q"), ("assistant", "42.5")], {}),
    "answer that is no text": (
        {"question": "q", "answer": {"text": ["a"]}},
        "problem",
        [("user", "q")],
        {"answer": {"text": ["a"]}},
    ),
    "humaneval": (
        {"task_id": "H/0", "prompt": "def f():", "canonical_solution": "  return 1", "test": "assert f()"},
        "problem",
        [("user", "def f():"), ("assistant", "  return 1")],
        {"task_id": "H/0", "test": "assert f()"},
    ),
    "mbpp": (
        {"text": "Write f.", "code": "def f(): 0", "test_list": ["a"]},
        "problem",
        [("user", "Write f."), ("assistant", "def f(): 0")],
        {"test_list": ["a"]},
    ),
    "mt_bench": (
        {"question_id": 81, "turns": ["one", "two"], "reference": ["r1", "r2"]},
        "problem",
        [("user", "one"), ("user", "two")],
        {"question_id": 81, "reference": ["r1", "r2"]},
    ),
    "cmath": ({"input": "q", "golden": "9"}, "problem", [("user", "q"), ("assistant", "9")], {}),
    "text": ({"text": "once upon", "url": "u"}, "text", [("assistant", "once upon")], {"url": "u"}),
}


@pytest.mark.parametrize(("row", "schema", "turns", "rest"), CASES.values(), ids=list(CASES))
def test_a_row_of_each_shape(row: dict[str, Any], schema: str, turns: list[Any], rest: dict[str, Any]) -> None:
    assert guess([row], "x") == schema
    left = copy.deepcopy(row)
    assert [(turn.role, turn.content) for turn in adapt(left, schema)] == turns
    assert left == rest
    assert list(left) == [key for key in row if key in left]  # in source order


TOOLS = {
    "tool_calls as a list": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
    ),
    "tool_calls as text": (
        {"role": "assistant", "tool_calls": ' [{"name": "f", "n": 12345678901234567890123}] '},
        [{"name": "f", "n": 12345678901234567890123}],
    ),
    "tool_calls as one object": ({"role": "assistant", "content": "", "tool_calls": {"name": "f"}}, [{"name": "f"}]),
    "function_call key": (
        {"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": "{}"}},
        [{"type": "function", "function": {"name": "f", "arguments": "{}"}}],
    ),
    "function_call turn": (
        {"from": "function_call", "value": '{"name": "f", "arguments": {"a": [1]}}'},
        [{"type": "function", "function": {"name": "f", "arguments": {"a": [1]}}}],
    ),
    "function_call turn with two calls": (
        {"from": "function_call", "value": '[{"name": "f"}, {"name": "g"}]'},
        [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
    ),
    "no calls": ({"role": "assistant", "content": "x", "tool_calls": []}, None),
    "calls of no text": ({"role": "assistant", "content": "x", "tool_calls": ""}, None),
}


@pytest.mark.parametrize(("message", "calls"), TOOLS.values(), ids=list(TOOLS))
def test_tool_calls_become_json_text(message: dict[str, Any], calls: Any) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, message]}
    turn = adapt(row, "messages")[1]
    assert turn.role == "assistant"
    assert (None if turn.tool_calls is None else json.loads(turn.tool_calls)) == calls
    assert row == {}


def test_fields_of_a_message() -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Ann"},
            {
                "role": "assistant",
                "content": "<think>hm</think>c",
                "reasoning_content": "r",
                "thinking": "t",
                "refusal": None,
            },
            {"role": "observation", "content": {"temp": 3}, "tool_call_id": "1"},
            {"role": "user", "content": [{"type": "text", "text": "x", "cache": True}]},
        ]
    }
    turns = adapt(row, "messages")
    assert [turn.content for turn in turns] == ["ab", "<think>hm</think>c", '{"temp":3}', "x"]
    assert (turns[0].name, turns[1].reasoning, turns[2].tool_call_id) == ("Ann", "r", "1")
    assert row == {
        "messages": [None, {"thinking": "t"}, None, {"content": [{"type": "text", "text": "x", "cache": True}]}]
    }


BAD = {
    "unknown role": ({"messages": [{"role": "critic", "content": "a"}]}, "messages", "unknown_role: `critic`"),
    "role that is no text": ({"messages": [{"role": 3, "content": "a"}]}, "messages", "unknown_role: `3`"),
    "no role": ({"messages": [{"content": "a"}]}, "messages", "unknown_role: a message has no role"),
    "message that is text": ({"messages": ["a"]}, "messages", "wrong_schema: a message is text, not an object"),
    "no list": ({"messages": "a"}, "messages", "wrong_schema: no list under `messages`"),
    "no message": ({"messages": []}, "messages", "no_messages: the conversation is empty"),
    "content that is a number": (
        {"messages": [{"role": "user", "content": 3}]},
        "messages",
        "bad_content: `content` is a number",
    ),
    "image part": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}]},
        "messages",
        "bad_content: a part of type `image_url`",
    ),
    "broken calls": ({"messages": [{"role": "assistant", "tool_calls": "{"}]}, "messages", "bad_tool_calls: no JSON"),
    "calls that are a number": (
        {"messages": [{"role": "assistant", "tool_calls": 3}]},
        "messages",
        "bad_tool_calls: is a number",
    ),
    "call without a name": (
        {"conversations": [{"from": "function_call", "value": "{}"}]},
        "sharegpt",
        "bad_tool_calls: a call is",
    ),
    "call that is no JSON": (
        {"conversations": [{"from": "function_call", "value": "f(1)"}]},
        "sharegpt",
        "bad_tool_calls: no JSON",
    ),
    "no instruction": ({"output": "a"}, "alpaca", "wrong_schema: no key `instruction`"),
    "output that is an object": (
        {"instruction": "a", "output": {"b": 1}},
        "alpaca",
        "bad_content: `output` is an object",
    ),
    "history of triples": ({"instruction": "a", "history": [["a", "b", "c"]]}, "alpaca", "bad_content: `history`"),
    "no prompt": ({"completion": "a"}, "prompt_completion", "wrong_schema: no keys `prompt`"),
    "no question": ({"answer": "a"}, "problem", "wrong_schema: no key `question`"),
    "no text": ({"text": 3}, "text", "wrong_schema: no text under `text`"),
    "tools that are no JSON": (
        {"messages": [{"role": "user", "content": "a"}], "tools": "search"},
        "messages",
        "bad_tools: no JSON",
    ),
}


@pytest.mark.parametrize(("row", "schema", "reason"), BAD.values(), ids=list(BAD))
def test_a_row_that_does_not_fit_is_quarantined(load, row: dict[str, Any], schema: str, reason: str) -> None:
    made: Loaded = load([row, {"x": 1}], schema=schema)
    assert made.bad[0].reason.startswith(reason)
    assert made.bad[0].line == 1
    assert made.bad[1].reason.startswith("wrong_schema: ")
    assert made.frame.height == 0


@pytest.mark.parametrize(
    ("tools", "text"),
    [
        ([{"name": "f"}], '[{"name":"f"}]'),
        ('[{"name": "f"}]', '[{"name": "f"}]'),
        ({"name": "f"}, '[{"name":"f"}]'),
        ([], None),
        ("[]", None),
        ("", None),
        (None, None),
    ],
)
def test_tools_become_json_text(tools: Any, text: str | None) -> None:
    row = {"tools": tools, "n": 1}
    assert take_tools(row) == text
    assert row == {"n": 1}


def test_two_schemas_that_fit_are_an_error_that_names_both() -> None:
    row = {"messages": [], "instruction": "a", "output": "b"}
    with pytest.raises(
        StepError, match=r"here: rows fit `messages` and `alpaca` \(keys found: `messages`, `instruction`, `output`\)"
    ) as caught:
        guess([row], "here")
    assert (caught.value.code, caught.value.help) == ("R611", "say which with `schema:`")


def test_no_schema_that_fits_is_an_error_with_the_nearest_key() -> None:
    with pytest.raises(StepError, match=r"rows fit no schema \(keys found: `mesages`, `id`\)") as caught:
        guess([{"mesages": [], "id": 1}], "here")
    assert caught.value.code == "R611"
    assert "`mesages`: did you mean `messages`?" in caught.value.help
    assert all(name in caught.value.help for name in SCHEMAS)


def test_the_guess_follows_the_majority_of_the_rows() -> None:
    rows = [{"prompt": "a", "completion": "b"}] * 3 + [{"other": 1}, {"question": "q"}]
    assert guess(rows, "x") == "prompt_completion"
    mixed = [{"question": "q", "answer": "a"}] * 2 + [{"question": "q"}] * 3
    assert guess(mixed, "x") == "problem"


@pytest.mark.parametrize(
    ("name", "schema", "rows"),
    [
        ("general.jsonl", "alpaca", 224),
        ("math.jsonl", "problem", 130),
        ("chat.jsonl", "sharegpt", 60),
        ("evals.jsonl", "problem", 30),
    ],
)
def test_real_rows_load_whole(name: str, schema: str, rows: int) -> None:
    operator = Auto(path=str(DATA / name))
    made = read_all(operator)
    assert (made.frame.height, made.bad) == (rows, [])
    assert operator.facts()[name.split(".")[0]]["schema"] == [f"{schema} (guessed)"]


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
)
rests = st.dictionaries(st.sampled_from(["a", "b", "meta", "score"]), st.lists(leaves, max_size=2) | leaves, max_size=3)
texts = st.text(min_size=1, max_size=8)
message = st.builds(
    lambda role, content, more: {"role": role, "content": content, **more},
    st.sampled_from(["user", "assistant", "system"]),
    texts,
    st.dictionaries(st.sampled_from(["name", "weight", "thinking", "tag"]), texts, max_size=2),
)
shapes = st.one_of(
    st.fixed_dictionaries({"messages": st.lists(message, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"instruction": texts, "input": texts, "output": texts}),
    st.fixed_dictionaries(
        {"instruction": texts, "response": texts, "history": st.lists(st.tuples(texts, texts).map(list), max_size=2)}
    ),
    st.fixed_dictionaries({"prompt": texts, "completion": texts, "system": texts}),
    st.fixed_dictionaries(
        {"question": texts, "answer": texts | st.integers(0, 9), "tests": st.lists(texts, max_size=2)}
    ),
)


def strings(value: Any) -> list[str]:
    """Every leaf of a value as text; nulls and empty texts hold nothing."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in strings(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in strings(inner)]
    return [] if value is None or value == "" else [value if isinstance(value, str) else json.dumps(value)]


@given(shapes, rests)
def test_nothing_is_lost(shape: dict[str, Any], rest: dict[str, Any]) -> None:
    row = {**shape, **rest}
    schema = guess([row], "x")
    left = copy.deepcopy(row)
    try:
        turns = adapt(left, schema)
    except RowError as error:
        pytest.fail(str(error))
    held = [word for turn in turns for word in turn if word is not None] + strings(left)
    for leaf in strings({key: value for key, value in row.items() if key != "messages"}):
        assert any(leaf in text for text in held)
    for item in row.get("messages", []):
        assert all(any(word == text for text in held) for key, word in item.items() if key != "role")
    assert {key: left[key] for key in rest} == rest
