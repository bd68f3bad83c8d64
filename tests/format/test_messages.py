from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.rows import Rows, message
from sftrecipe.run.context import RunContext
from sftrecipe.types import Type
from sftrecipe_format.messages import Messages

CALL = '[{"name": "f", "arguments": {}}]'


def formatted(rows: Rows, context: RunContext, **params: Any) -> list[Any]:
    operator = Messages(**params)
    operator.context = context
    made = {"messages": rows["messages"], **operator.format(rows)}["messages"]  # left out: as it was
    assert made.dtype == Type("messages").dtype()
    return made.to_list()


def test_clean_rows_pass_as_they_are(batch: Any, context: RunContext) -> None:
    talks = [
        [message("user", "a"), message("assistant", "b", reasoning="t")],
        [message("system", ""), message("user", "x")],
    ]
    assert formatted(batch(*talks), context) == talks
    assert context.notes == []


def test_rows_that_are_no_conversation_are_null_and_noted_once(batch: Any, context: RunContext) -> None:
    good = [
        message("user", "a"),
        message("assistant", None, tool_calls=CALL),
        message("tool", "1"),
        message("assistant", "b"),
    ]
    talks = [
        None,
        [],
        [message("human", "a"), message("user", None)],
        good,
        [message("user", "a"), message("assistant", None)],
    ]
    assert formatted(batch(*talks), context) == [None, None, None, good, None]
    assert [(i, code) for i, code, _ in context.notes] == [
        ("r0", "no_messages"),
        ("r1", "no_messages"),
        ("r2", "unknown_role"),
        ("r4", "empty_turn"),
    ]


@pytest.mark.parametrize(
    ("keep", "content", "reasoning"),
    [("field", "b", "t"), ("inline", "<think>\nt\n</think>\n\nb", None), ("drop", "b", None)],
)
def test_where_reasoning_goes(batch: Any, context: RunContext, keep: str, content: str, reasoning: str | None) -> None:
    talk = [
        message("user", "a"),
        message("assistant", "b", reasoning="t"),
        message("user", "c"),
        message("assistant", "d", reasoning=""),
    ]
    (out,) = formatted(batch(talk), context, keep_reasoning=keep)
    assert (out[1]["content"], out[1]["reasoning"]) == (content, reasoning)
    assert out[3]["content"] == "d"


class Filled:
    """A bound template."""

    def render(self, row: dict[str, Any]) -> str:
        return f"You are {row['id']}."


def test_a_system_turn_where_there_is_none(batch: Any, context: RunContext) -> None:
    talks = [
        [message("user", "a")],
        [message("system", "mine"), message("user", "a")],
        None,
        [message("developer", "d"), message("user", "a")],
    ]
    operator = Messages(system="You are {{id}}.")
    operator.context, operator.system = context, Filled()
    made = operator.format(batch(*talks))["messages"].to_list()
    assert made == [[message("system", "You are r0."), message("user", "a")], talks[1], None, talks[3]]


def test_neighbouring_turns_of_one_role_are_joined(batch: Any, context: RunContext) -> None:
    talk = [
        message("user", "a"),
        message("user", "b"),
        message("assistant", "c", reasoning="r"),
        message("assistant", None, tool_calls=CALL),
        message("tool", "1"),
        message("tool", "2"),
        message("assistant", "d", reasoning="s"),
        message("assistant", "e", reasoning="t"),
    ]
    following = [message("assistant", "f"), message("user", "")]
    out = formatted(batch(talk, following), context, merge_same_role=True)
    assert out[0] == [
        message("user", "a\n\nb"),
        *talk[2:6],
        message("assistant", "d\n\ne", reasoning="s\n\nt"),
    ]
    assert out[1] == following  # rows do not run into each other, an empty text stays one


def test_tools_are_written_when_asked_and_noted_when_not(batch: Any, context: RunContext) -> None:
    rows = batch([message("user", "a")], [message("user", "b")], tools=["[]", None])
    operator = Messages(tools=True)
    operator.context = context
    assert operator.format(rows) == {}
    assert context.notes == []
    assert context.notes == []
    formatted(rows, context)
    assert [(i, code) for i, code, _ in context.notes] == [("r0", "tools_left_out")]


TALKS = st.lists(
    st.one_of(
        st.none(),
        st.lists(
            st.builds(
                message,
                st.sampled_from(["system", "user", "assistant", "tool", "elf"]),
                st.one_of(st.none(), st.text(max_size=3)),
                reasoning=st.one_of(st.none(), st.text(max_size=3)),
            ),
            max_size=4,
        ),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(
    TALKS, st.sampled_from(["field", "inline", "drop"]), st.booleans(), st.one_of(st.none(), st.just("S")), st.data()
)
def test_batch_borders_do_not_show(talks: Any, keep: str, merge: bool, system: str | None, data: st.DataObject) -> None:
    frame = pl.DataFrame(
        {"id": [str(i) for i in range(len(talks))], "messages": pl.Series(talks, dtype=Type("messages").dtype())}
    )
    cut = data.draw(st.integers(1, len(talks) - 1))
    params = {"keep_reasoning": keep, "merge_same_role": merge, "system": system}
    contexts = [RunContext("step", 7, None) for _ in range(3)]  # type: ignore[arg-type]
    whole = formatted(Rows(frame), contexts[0], **params)
    halves = formatted(Rows(frame[:cut]), contexts[1], **params) + formatted(Rows(frame[cut:]), contexts[2], **params)
    assert whole == halves
    assert contexts[0].notes == contexts[1].notes + contexts[2].notes


@pytest.mark.parametrize(
    ("params", "rewrites"),
    [({}, ()), ({"keep_reasoning": "inline"}, ("response",)), ({"merge_same_role": True}, ("query", "response"))],
)
def test_flow(params: dict[str, Any], rewrites: tuple[str, ...]) -> None:
    flow = Messages(**params).flow({"id": "text", "messages": "messages", "tools": "json"})
    assert (flow.writes, tuple(flow.rewrites)) == ({"messages": "messages"}, rewrites)
