"""Expressions that reach into JSON, lists, conversations and candidates; columns of unknown type; parameters; plugins."""

from __future__ import annotations

import math
import os

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import polars as pl
import pytest

from sftrecipe.expressions import BUILTIN, Argument, Function, compile, evaluate
from sftrecipe.types import parse_type


def values(text, rows, columns, **more):
    frame = pl.DataFrame(rows, schema={k: parse_type(v).dtype() for k, v in columns.items()})
    return frame.select(x=compile(text, columns, **more))["x"].to_list()


SIMPLE = {"i": "int", "f": "float", "s": "text", "t": "text", "b": "bool"}
ROWS = [
    {"i": 3, "f": 4.5, "s": "hello big world", "t": "big", "b": True},
    dict.fromkeys(SIMPLE),
    {"i": 2**62, "f": -1.0, "s": "", "t": "", "b": False},
]


def message(role, content, calls=None):
    return {
        "role": role,
        "content": content,
        "reasoning": None,
        "tool_calls": calls,
        "name": None,
        "tool_call_id": None,
    }


def candidate(passed, score, text):
    return {
        "text": text,
        "reasoning": None,
        "model": None,
        "parent": None,
        "finish_reason": None,
        "tokens": 3,
        "passed": passed,
        "score": score,
        "verdict": None,
    }


RICH = {
    "messages": "messages",
    "candidates": "candidates",
    "extra": "json",
    "tags": "list[text]",
    "v": "vector",
    "ids": "tokens",
    "u": "any",
    "s": "text",
}
TABLE = [
    {
        "messages": [message("system", "be kind"), message("user", "hi"), message("tool", None, '{"f": {"n": "go"}}')],
        "candidates": [candidate(True, 0.5, "a"), candidate(None, math.nan, "bb")],
        "extra": '{"meta": {"kind": "x", "n": 5, "ok": true, "it\'s": 1, "a.b": 2, "back\\\\slash": 3}, "list": ["p", 7], "t": "5"}',
        "tags": ["math", "x"], "v": [1.0, 2.0], "ids": [5, 6], "u": "5", "s": "math",
    },
    dict.fromkeys(RICH),
    {"messages": [], "candidates": [], "extra": "{}", "tags": [], "v": [], "ids": [], "u": "true", "s": ""},
    {
        "messages": [message("user", None), message("assistant", "a b c"), message("user", "z")],
        "candidates": [candidate(False, None, None)], "extra": "broken {", "tags": [None, "math"], "v": [math.nan, 3.0], "ids": [7],
        "u": "abc", "s": "x",
    },
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extra.meta.kind", ["x", None, None, None]),
        ('extra.meta.kind == "x"', [True, None, None, None]),
        ("extra.meta.n > 3", [True, None, None, None]),
        ("extra.meta.n + 1", [6.0, None, None, None]),
        ('extra.t == "5" and extra.t == 5', [True, None, None, None]),
        ("extra.meta.ok and true", [True, None, None, None]),
        ("not extra.meta.kind", [None, None, None, None]),
        ("extra.meta.ok == true", [True, None, None, None]),
        ('extra.meta["it\'s"]', ["1", None, None, None]),
        ('extra.meta["a.b"]', ["2", None, None, None]),
        ("extra.list[1] == 7", [True, None, None, None]),
        ("extra.list[-2]", ["p", None, None, None]),
        ('"p" in extra.list', [True, None, None, None]),
        ('"q" not in extra.list', [True, None, None, None]),
        ("is_null(extra.meta)", [False, True, True, True]),
        ('coalesce(extra.meta.kind, "none")', ["x", "none", "none", "none"]),
        ("any(candidates.passed)", [True, None, False, False]),
        ("all(candidates.passed)", [True, None, True, False]),
        ("max(candidates.score)", [0.5, None, None, None]),
        ("mean(candidates.passed)", [1.0, None, None, 0.0]),
        ("sum(candidates.tokens)", [6, None, 0, 3]),
        ("count(candidates.passed)", [1, None, 0, 0]),
        ("len(candidates)", [2, None, 0, 1]),
        ("candidates[0].score", [0.5, None, None, None]),
        ("candidates.text[-1]", ["bb", None, None, None]),
        ("any(candidates.score > 0.1 and candidates.passed)", [True, None, False, False]),
        ("sum(coalesce(candidates.score, 1))", [1.5, None, 0.0, 1.0]),
        ('any(messages.role == "tool")', [True, None, False, False]),
        ('all(messages.role in ["user", "assistant"])', [False, None, True, True]),
        ('"tool" in messages.role', [True, None, False, False]),
        ('any(messages.tool_calls.f.n == "go")', [True, None, False, False]),
        ("max(words(messages.content))", [2, None, None, 3]),
        ("messages.content[-1]", [None, None, None, "z"]),
        ('count(contains(messages.content, "i"))', [2, None, 0, 0]),
        ("turns()", [1, None, 0, 2]),
        ("role(0)", ["system", None, None, "user"]),
        ("role()", ["tool", None, None, "user"]),
        ("role(-2)", ["user", None, None, "assistant"]),
        ('"math" in tags', [True, None, False, True]),
        ("s in tags", [True, None, False, False]),
        ('any(tags == "math")', [True, None, False, True]),
        ("tags[0]", ["math", None, None, None]),
        ("first(tags)", ["math", None, None, None]),
        ("last(tags)", ["x", None, None, "math"]),
        ("max(v)", [2.0, None, None, 3.0]),
        ("sum(v)", [3.0, None, 0.0, 3.0]),
        ("mean(v)", [1.5, None, None, 3.0]),
        ("v[0]", [1.0, None, None, None]),
        ("3 in v", [False, None, False, True]),
        ("6 in ids", [True, None, False, False]),
        ("max(ids) - 7", [-1, None, None, 0]),
        ('u == "5" or u == 5', [True, None, None, None]),
        ('u == "5"', [True, None, False, False]),
        ("u > 3", [True, None, None, None]),
        ("u and true", [None, None, True, None]),
        ("len(u)", [1, None, 4, 3]),
        ("words(u)", [1, None, 1, 1]),
    ],
)  # fmt: skip
def test_inside_columns(text, expected):
    assert values(text, TABLE, RICH) == expected


@pytest.mark.parametrize(
    "text",
    ['extra.meta.kind == "x"', "extra.meta.n + 1", "extra.meta.ok and true", "extra.list[1] == 7", '"p" in extra.list', "is_null(extra.meta)",
     "any(candidates.passed)", "max(candidates.score)", "sum(candidates.tokens)", "candidates[0].score", "candidates.text[-1]",
     "any(candidates.score > 0.1 and candidates.passed)", "sum(coalesce(candidates.score, 1))", '"tool" in messages.role',
     "max(words(messages.content))", 'any(messages.tool_calls.f.n == "go")', '"math" in tags', "s in tags", "tags[0]", "last(tags)", "max(v)", "mean(v)",
     "sum(v)", "3 in v", 'u == "5" or u == 5', "u > 3", "u and true", "extra.meta"],
)  # fmt: skip
def test_inside_plain_values(text):
    assert [evaluate(text, row, columns=RICH) for row in TABLE] == values(text, TABLE, RICH)


def test_columns_of_unknown_type_as_the_data_has_them():
    table = pl.DataFrame(
        {"n": [3, None], "x": [0.5, math.nan], "b": [True, None], "l": [["a", "b"], None], "s": ["a", None]}
    )
    unknown = dict.fromkeys(table.columns, "any")
    for text, expected in {
        "n > 2": [True, None], "x == 0.5": [True, None], "b and true": [True, None], "'a' in l": [True, None], "s in l": [True, None],
        "len(l)": [2, None], "len(s)": [1, None], "words(s)": [1, None], "n + x": [3.5, None], "s + 'b'": ["ab", None], "n in [3]": [True, None],
        "is_null(l)": [False, True], "coalesce(s, 'z')": ["a", "z"], "bucket(s, 1)": [0, None], "any(l)": None,
    }.items():  # fmt: skip
        if expected is not None:
            assert table.select(x=compile(text, unknown))["x"].to_list() == expected, text
    assert table.filter(compile("b", unknown, want="bool")).height == 1
    assert table.select(x=compile("n", unknown, want="number"))["x"].dtype == pl.Float64
    assert table.select(x=compile("n", unknown, want="text"))["x"].to_list() == ["3", None]


def test_params():
    params = {"words": ["a", "hello"], "least": 3, "rate": 0.5, "on": True, "none": None, "deep": {"x": [1, 4]}}
    for text, expected in {
        "i >= params.least": [True, None, True], "contains(s, params.words)": [True, None, False], "s in params.words": [False, None, False],
        "f * params.rate": [2.25, None, -0.5], "b == params.on": [True, None, False], "i in params.deep.x": [False, None, False],
        "params.deep.x[1]": [4, 4, 4], "max(params.deep.x)": [4, 4, 4], "len(params.words)": [2, 2, 2], "coalesce(params.none, i)": [3, None, 2**62],
    }.items():  # fmt: skip
        assert values(text, ROWS, SIMPLE, params=params) == expected, text


def test_functions_of_others_are_guarded_too():
    half = Function("half", "Half.", (Argument("x", "number"),), "float", lambda x: x / 0)
    assert values("half(f)", ROWS, SIMPLE, functions={**BUILTIN, "half": half}) == [None, None, None]
    twice = Function(
        "twice",
        "Twice.",
        (Argument("text", "text"), Argument("n", "int", constant=True, default=2)),
        "text",
        lambda x, n: pl.concat_str([x] * n),
    )
    assert values("twice(t)", ROWS, SIMPLE, functions={"twice": twice}) == ["bigbig", None, ""]
    assert values("twice(t, 3)", ROWS, SIMPLE, functions={"twice": twice}) == ["bigbigbig", None, ""]
