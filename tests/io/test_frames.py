"""Frames: columns, types, hashes; the fast path gives what the slow one gives."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.rows import FIXED, content_hash
from sftrecipe.types import Type, parse_type
from sftrecipe_io import frames
from sftrecipe_io.decode import Parsed
from sftrecipe_io.frames import Reading, frame
from tests.io.conftest import Loaded


def both(rows: list[Any], reading: Reading) -> tuple[pl.DataFrame, pl.DataFrame, list[str], list[str]]:
    """The frame of the fast path (or what it fell back to), that of the slow path, and the bad rows of each."""
    import copy

    made, bad = [], []
    for fast in (frames._FAST, {}):
        parsed = Parsed(copy.deepcopy(rows), range(1, len(rows) + 1), [0] * len(rows), None, [])
        before, frames._FAST = frames._FAST, fast
        try:
            made.append(frame(parsed, reading))
        finally:
            frames._FAST = before
        bad.append([row.reason for row in parsed.bad])
    return made[0], made[1], bad[0], bad[1]


texts = st.none() | st.text(max_size=5) | st.integers(0, 3)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "human", "GPT", "tool", "boss", "function_call"]), "content": texts}
)
extra = st.dictionaries(
    st.sampled_from(["k", "id", "license", "tools", "system", "big"]), texts | st.just(2**70), max_size=2
)
rows_of_messages = st.builds(lambda m, e: {"messages": m, **e}, st.lists(message, max_size=3), extra)
rows_of_alpaca = st.builds(
    lambda base, e: {**base, **e},
    st.dictionaries(
        st.sampled_from(["instruction", "input", "output", "response"]), st.text(max_size=4) | st.none(), max_size=4
    ),
    extra,
)


@given(st.lists(rows_of_messages, max_size=5), st.booleans(), st.booleans())
def test_fast_equals_slow_for_messages(rows: list[Any], has_id: bool, has_column: bool) -> None:
    check(rows, "messages", has_id, has_column)


@given(st.lists(rows_of_alpaca, max_size=5), st.booleans(), st.booleans())
def test_fast_equals_slow_for_alpaca(rows: list[Any], has_id: bool, has_column: bool) -> None:
    check(rows, "alpaca", has_id, has_column)


def check(rows: list[Any], schema: str, has_id: bool, has_column: bool) -> None:
    columns = {"k": ("k", Type("text"))} if has_column else {}
    reading = Reading(
        "s", None, schema, id="id" if has_id else None, columns=columns, layout={n: t for n, (_, t) in columns.items()}
    )
    fast, slow, fast_bad, slow_bad = both(rows, reading)
    assert fast_bad == slow_bad
    assert fast.equals(slow)
    assert fast.schema == slow.schema
    hashes = [content_hash(row["source"], row["messages"], row["tools"]) for row in slow.iter_rows(named=True)]
    assert slow["hash"].to_list() == hashes


def test_plain_rows_do_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_slow", lambda *_: pytest.fail("slow"))
    rows = [
        {"id": n, "messages": [{"role": "human", "content": "a"}, {"role": "assistant", "content": "b"}]}
        for n in range(3)
    ]
    made = frame(Parsed(rows, [1, 2, 3], [0, 1, 2], None, []), Reading("s", "MIT", "messages"))
    assert made["extra"].to_list() == ['{"id":0}', '{"id":1}', '{"id":2}']
    rows = [{"instruction": "a", "input": "b", "output": "c"}] * 3
    made = frame(Parsed(rows, [1, 2, 3], [0, 1, 2], None, []), Reading("s", "MIT", "alpaca"))
    assert made["extra"].to_list() == [None] * 3


def test_every_frame_has_the_fixed_columns_in_their_types(load) -> None:
    made: Loaded = load([{"text": "a"}], license="MIT", columns={"n": {"key": "n", "type": "int"}}, set={"think": True})
    kinds = {name: parse_type(kind).dtype() for name, kind in FIXED.items() if name != "id"}
    assert dict(made.frame.schema) == {**kinds, "n": pl.Int64, "think": pl.Boolean, "hash": pl.UInt64}


def test_values_of_every_type(load) -> None:
    kinds = [
        "text",
        "int",
        "float",
        "bool",
        "json",
        "list[text]",
        "list[list[int]]",
        "vector",
        "tokens",
        "candidates",
        "any",
    ]
    values: list[Any] = [
        *("t", -(2**63), 10**30, True, {"a": [1, 2**80]}, ["x", None], [[1], []], [0.5, 1], [1, 2]),
        [{"text": "c", "passed": True, "score": 1}],
        3,
    ]
    columns = {f"c{n}": {"key": f"k{n}", "type": kind} for n, kind in enumerate(kinds)}
    full = {"text": "a", **{f"k{n}": value for n, value in enumerate(values)}}
    made: Loaded = load([full, {"text": "b"}], columns=columns)
    assert made.bad == []
    assert {name: made.frame.schema[name] for name in columns} == {
        f"c{n}": parse_type(k).dtype() for n, k in enumerate(kinds)
    }
    got = made.frame.select(list(columns)).row(0)
    assert got[:4] == ("t", -(2**63), 1e30, True)
    assert json.loads(got[4]) == {"a": [1, 2**80]}
    assert got[5:9] == (["x", None], [[1], []], [0.5, 1.0], [1, 2])
    assert (got[9][0]["text"], got[9][0]["passed"], got[9][0]["score"], got[10]) == ("c", True, 1.0, "3")
    assert made.frame.select(list(columns)).row(1) == (None,) * len(kinds)
    assert made.extra == [None, None]


WRONG = [
    ("int", 2**63),
    ("int", 1.0),
    ("int", True),
    ("int", "1"),
    ("float", True),
    ("float", "1.5"),
    ("float", 10**400),
    ("bool", 1),
    ("text", 5),
    ("text", ["a"]),
    ("list[text]", "a"),
    ("list[int]", ["a"]),
    ("vector", [1, "a"]),
    ("tokens", [-1]),
    ("tokens", [1.5]),
    ("candidates", [{"txt": "a"}]),
    ("candidates", "a"),
]


@pytest.mark.parametrize(("kind", "value"), WRONG, ids=[f"{kind}{n}" for n, (kind, _) in enumerate(WRONG)])
def test_a_value_of_the_wrong_type_is_named(load, kind: str, value: Any) -> None:
    row = {"messages": [{"role": "user", "content": "a"}], "k": value}
    made: Loaded = load([row, {**row, "k": None}], columns={"c": {"key": "k", "type": kind}})
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    assert made.bad[0].reason == f"wrong_type: column `c` is {kind}, the value is {shown[:80]}"
    assert made.frame.height == 1


def test_a_promoted_key_may_also_be_the_answer(load) -> None:
    made: Loaded = load([{"question": "q", "answer": "4", "n": 1}], columns={"gold": "answer"})
    assert made.turns == [[("user", "q"), ("assistant", "4")]]
    assert made.frame["gold"].to_list() == ["4"]
    assert made.extra == [{"n": 1}]


def test_ids_of_the_source(load) -> None:
    rows = [{"text": "a", "uuid": "u1"}, {"text": "b", "uuid": 7}, {"text": "c"}, {"text": "d", "uuid": ""}]
    made: Loaded = load(rows, id="uuid")
    assert made.frame["id"].to_list() == ["u1", "7"]
    assert [row.reason for row in made.bad] == [
        "missing_id: `uuid` is null, not an id",
        "missing_id: `uuid` is empty, not an id",
    ]


def test_the_licence_of_the_recipe_goes_before_the_row_s(load) -> None:
    rows = [{"text": "a", "license": "cc-by-4.0"}, {"text": "b"}, {"text": "c", "license": None}]
    own: Loaded = load(rows)
    assert own.frame["license"].to_list() == ["CC-BY-4.0", None, None]
    assert own.extra == [None, None, None]
    given_: Loaded = load(rows, license="mit")
    assert given_.frame["license"].to_list() == ["MIT"] * 3
    assert given_.extra == [{"license": "cc-by-4.0"}, None, {"license": None}]


def test_source_and_licence_may_come_from_columns(load) -> None:
    rows = [{"text": "a", "from": "wiki", "terms": "ODbL-1.0"}, {"text": "b", "from": None}]
    made: Loaded = load(rows, columns={"source": "from", "license": "terms"}, license="MIT")
    assert made.frame["source"].to_list() == ["wiki", "x"]
    assert made.frame["license"].to_list() == ["ODbL-1.0", "MIT"]


def test_extra_keeps_the_order_of_the_source(load) -> None:
    made: Loaded = load(b'{"z":1,"prompt":"a","b":[{"y":1,"x":2}],"completion":"c","a":null}')
    assert made.frame["extra"].to_list() == ['{"z":1,"b":[{"y":1,"x":2}],"a":null}']


def test_optional_fields_do_not_depend_on_the_batch(load) -> None:
    plain = {"messages": [{"role": "assistant", "content": "a", "reasoning": ""}]}
    other = {"messages": [{"role": "assistant", "content": "a", "reasoning": "r"}]}
    assert load([plain]).frame["messages"].equals(load([plain, other]).frame["messages"].head(1))
