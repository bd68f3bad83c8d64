"""filter.structure over batches of conversations."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import message
from sftrecipe.rows import Rows
from sftrecipe.types import Type
from sftrecipe_clean.structure import Structure, bad_transitions, first_messages

S, D, U, A, T = "system", "developer", "user", "assistant", "tool"
MESSAGES = Type("messages").dtype()
BARE = json.dumps([{"name": "add", "arguments": {}}])


def talk(*roles):
    return [message(role, f"{role} says something.", tool_calls=BARE if role == A and roles[i + 1 : i + 2] == (T,) else None) for i, role in enumerate(roles)]


def rows_of(conversations, tools=None):
    frame = pl.DataFrame({"messages": pl.Series(conversations, dtype=MESSAGES)})
    return Rows(frame if tools is None else frame.with_columns(pl.Series("tools", tools, dtype=pl.String)))


def codes(conversations, tools=None, **params):
    """The first code of each row, as the interpreter would tell it."""
    kept = Structure(**params).keep(rows_of(conversations, tools))
    masks = {code: (item[0] if isinstance(item, tuple) else item).tolist() for code, item in kept.items()}
    return [next((code for code, mask in masks.items() if not mask[row]), None) for row in range(len(conversations))]


@pytest.mark.parametrize(
    ("conversation", "code"),
    [
        (talk(U, A), None),
        (talk(S, U, A), None),
        (talk(S, D, U, A), None),
        (talk(U, A, U, A), None),
        (talk(U, A, T, A), None),
        (talk(U, A, T, T, A, U, A), None),
        (None, "no_messages"),
        ([], "no_messages"),
        (talk(U, "narrator", A), "unknown_role"),
        ([message(None, "x")], "unknown_role"),
        (talk(U, U, A), "roles_out_of_order"),
        (talk(U, A, A), "roles_out_of_order"),
        (talk(U, S, A), "roles_out_of_order"),
        (talk(U, T, A), "roles_out_of_order"),
        (talk(U, A, T, U), "roles_out_of_order"),
        (talk(T, A), "roles_out_of_order"),
        (talk(A, U, A), "first_not_user"),
        (talk(S, A), "first_not_user"),
        (talk(S), "first_not_user"),
        (talk(U, A, U), "no_answer"),
        (talk(U), "no_answer"),
        ([message(U, "q"), message(A, " \n")], "empty_message"),
        ([message(U, None), message(A, "a")], "empty_message"),
        ([message(U, "q"), message(A, None, reasoning="r")], "empty_message"),
        ([message(U, "q"), message(A, None, tool_calls=BARE)], None),
        ([message(U, "q"), message(A, "", tool_calls="[]")], "empty_message"),
        ([message(U, "q"), message(A, "<think>never closed")], "think_not_closed"),
        ([message(U, "what does <think> do?"), message(A, "It opens.")], None),
        ([message(U, "q"), message(A, None, tool_calls="oops")], "tool_call_invalid"),
        ([message(U, "q"), message(A, "a"), message(T, "r"), message(A, "b")], "tool_result_unasked"),
        ([message(U, "q"), message(A, None, tool_calls=BARE), message(U, "r"), message(A, "b")], "tool_call_unanswered"),
    ],
)
def test_codes(conversation, code):
    # the row stands between two sound ones, so that a look across borders would show
    assert codes([talk(S, U, A), conversation, talk(U, A)]) == [None, code, None]


@pytest.mark.parametrize(
    ("conversation", "params"),
    [
        (talk(U, U, A), {"roles": "any"}),
        (talk(A, U, A), {"first": "any"}),
        (talk(U, A, U), {"last": "any"}),
        ([message(U, "q"), message(A, "")], {"empty": "any"}),
        ([message(U, "q"), message(A, "<think>")], {"think": "any"}),
        ([message(U, "q"), message(A, None, tool_calls="oops")], {"tool_calls": "any"}),
        ([message(U, "q"), message(A, "```\nopen")], {}),
        ([message(U, "q"), message(A, "no end")], {}),
    ],
)
def test_checks_that_are_off(conversation, params):
    assert codes([conversation], **params) == [None]


@pytest.mark.parametrize(
    ("answer", "params", "code"),
    [
        ("```\nopen", {"code_fences": "closed"}, "code_fence_open"),
        ("```\nx\n```", {"code_fences": "closed"}, None),
        ("42", {"boxed": "one"}, "not_one_boxed"),
        (r"\boxed{1} \boxed{2}", {"boxed": "one"}, "not_one_boxed"),
        (r"\boxed{1}", {"boxed": "one"}, None),
        ("and then", {"ends": "punctuation"}, "cut_off"),
        ("and then.", {"ends": "punctuation"}, None),
    ],
)
def test_checks_that_are_turned_on(answer, params, code):
    assert codes([talk(U, A), [message(U, "q"), message(A, answer)]], **params)[1] == code


def test_the_last_answer_is_looked_at():
    first_open = [message(U, "q"), message(A, "and then"), message(U, "go on"), message(A, "Done.")]
    assert codes([first_open, first_open[:3], talk(U)], ends="punctuation", last="any") == [None, "cut_off", "cut_off"]


def test_values_are_counts():
    kept = Structure(max_turns=1, boxed="one").keep(rows_of([talk(U, A, U, A), [message(U, "q"), message(A, r"\boxed{1}\boxed{2}")]]))
    mask, turns = kept["too_many_turns"]
    assert (mask.tolist(), turns.tolist()) == ([False, True], [2, 1])
    assert kept["not_one_boxed"][1].tolist() == [0, 2]


def test_tools_offered():
    call = [message(U, "q"), message(A, None, tool_calls=BARE)]
    assert codes([call, call, call], tools=[json.dumps([{"name": "sub"}]), json.dumps([{"name": "add"}]), None]) == ["tool_unknown", None, None]


def test_reads():
    columns = {"messages": "messages", "tools": "json"}
    assert Structure().flow(columns).reads == ("messages", "tools")
    assert Structure(tool_calls="any").flow(columns).reads == ("messages",)
    assert Structure().flow({"messages": "messages"}).reads == ("messages",)


def test_messages_without_tool_fields():
    kind = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    frame = pl.DataFrame({"messages": pl.Series([[{"role": U, "content": "q"}, {"role": A, "content": ""}]], dtype=kind)})
    assert Structure().keep(Rows(frame))["empty_message"].tolist() == [False]


def test_an_empty_batch():
    assert codes([], boxed="one", ends="punctuation", code_fences="closed", max_turns=3) == []


ROLES = st.lists(st.lists(st.integers(0, 5).filter(lambda r: r != 4), max_size=6), max_size=6)


@given(ROLES)
def test_transitions_stay_inside_rows(rows):
    flat = np.array([r for row in rows for r in row], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, rows)])
    alone = [bad_transitions(np.array(row, dtype=np.int64), np.array([0, len(row)])).tolist() for row in rows]
    assert bad_transitions(flat, offsets).tolist() == [bad for row in alone for bad in row]


@given(ROLES)
def test_first_messages_stay_inside_rows(rows):
    flat = np.array([r for row in rows for r in row], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, rows)])
    expected = [o + next((i for i, r in enumerate(row) if r != 0), len(row)) for row, o in zip(rows, offsets[:-1].tolist(), strict=True)]
    assert first_messages(flat, offsets).tolist() == expected
