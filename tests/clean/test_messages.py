"""Tags, fences, endings, results and tool calls of single messages."""

from __future__ import annotations

import json

import pytest

from sftrecipe import message
from sftrecipe_clean.messages import (
    boxed_answers,
    fences_closed,
    finished,
    tags_closed,
    tool_calls,
    tool_names,
    tool_problem,
)


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("no tags", True),
        ("<think>a</think>b", True),
        ("<think>a</think><think>b</think>", True),
        ("<think>a", False),
        ("a</think>b", False),
        ("<think><think>a</think>", False),
        ("<think>a</think></think>", False),
        ("</think><think>", False),
    ],
)
def test_think_tags(text, closed):
    assert tags_closed(text) is closed


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("no fence", True),
        ("```python\nx = 1\n```", True),
        ("```python\nx = 1", False),
        ("a\n```\nb\n```\nc\n```\nd", False),
        ("````\n```\n````", True),  # a shorter fence inside is text
        ("````\n```\n", False),
        ("```\n~~~\n```", True),  # the other kind does not close
        ("~~~\n```\n~~~", True),
        ("```x = 1```", True),  # inline code, no fence
        ("```\na\n``` b", False),  # words behind the marks: no closing fence
        ("    ```\nindented code", True),
        ("  ```\na\n   ````", True),
    ],
)
def test_code_fences(text, closed):
    assert fences_closed(text) is closed


@pytest.mark.parametrize("text", ["Done.", "Done!  \n", "好的。", "(yes)", "```\nx\n```", "$x^2$", '"Quoted"', "Nice 🎉", "**bold**", "A list:\n- [x]"])
def test_finished(text):
    assert finished(text)


@pytest.mark.parametrize("text", ["The answer is:\n42.", "1. Add 40 and 2.\n2. The sum is\n42.", "* a*\n**b**", "- a\n**"])
def test_a_number_or_star_at_the_end_of_no_list_is_no_bare_mark(text):
    assert finished(text)


@pytest.mark.parametrize("text", ["", "   ", "and then the", "first, second,", "as follows:", "42", "他说：", "我们的", "（",
                                  "1. First.\n2. Second.\n3.", "* one\n\n* two\n*", "1) a\n\n2) b\n  3)\n"])  # fmt: skip
def test_not_finished(text):
    assert not finished(text)


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (r"so \boxed{42}.", ["42"]),
        (r"\boxed{\frac{1}{2}} and \boxed {3}", [r"\frac{1}{2}", "3"]),
        (r"<think>\boxed{1}</think> it is \boxed{2}", ["2"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{} \boxed{ }", []),
        (r"\boxed{never closed", []),
        ("none", []),
    ],
)
def test_boxed(text, answers):
    assert boxed_answers(text) == answers


BARE = json.dumps([{"name": "add", "arguments": {"a": 1}}])
NESTED = json.dumps([{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {}}}, {"name": "sub"}])


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (BARE, [("add", None)]),
        (NESTED, [("add", "c1")]),
        ('{"name": "add", "arguments": {}}', [("add", None)]),
        ("[]", []),
        ("not json", None),
        ('[{"name": "add"}]', None),
        ('[{"arguments": {}}]', None),
        ('[{"name": "", "arguments": {}}]', None),
        ('[{"name": "add", "arguments": "[1]"}]', None),
        ('[{"name": "add", "arguments": "{"}]', None),
        ("[1]", None),
        ("3", None),
    ],
)
def test_tool_calls(text, calls):
    assert tool_calls(text) == calls


@pytest.mark.parametrize(("text", "names"), [(TOOLS, {"add", "sub"}), (None, None), ("", None), ("{", None), ("[]", None), ('{"a": 1}', None), ("[1]", None)])
def test_tool_names(text, names):
    assert tool_names(text) == names


def call(text=BARE):
    return message("assistant", None, tool_calls=text)


def two_calls():
    both = [{"id": i, "type": "function", "function": {"name": "add", "arguments": "{}"}} for i in ("c1", "c2")]
    return call(json.dumps(both))


USER, SAID, RESULT = message("user", "q"), message("assistant", "a"), message("tool", "3")


@pytest.mark.parametrize(
    ("messages", "tools", "problem"),
    [
        ([USER, SAID], None, None),
        ([USER, call(), RESULT, SAID], TOOLS, None),
        ([USER, call()], TOOLS, None),  # the call is what is taught
        ([USER, call("oops"), RESULT], None, "tool_call_invalid"),
        ([USER, call('[{"name": "mul", "arguments": {}}]'), RESULT], TOOLS, "tool_unknown"),
        ([USER, call('[{"name": "mul", "arguments": {}}]'), RESULT], None, None),
        ([USER, call(), USER, SAID], None, "tool_call_unanswered"),
        ([USER, SAID, RESULT], None, "tool_result_unasked"),
        ([USER, RESULT, SAID], None, "tool_result_unasked"),
        ([USER, call(), RESULT, RESULT, SAID], None, None),
        ([USER, two_calls(), message("tool", "1", tool_call_id="c1"), SAID], None, "tool_call_unanswered"),
        ([USER, two_calls(), message("tool", "1", tool_call_id="c2"), message("tool", "2", tool_call_id="c1"), SAID], None, None),
        ([USER, two_calls(), RESULT, SAID], None, None),  # one result without an id stands for both
        ([message("user", "q", tool_calls="oops"), SAID], None, None),  # only the assistant calls
        ([USER, message("assistant", "a", tool_calls=" [] ")], None, None),
    ],
)
def test_tool_problems(messages, tools, problem):
    assert tool_problem(messages, tools) == problem
