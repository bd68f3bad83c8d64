"""The column-wise JSON encoder against a row-wise one."""

from __future__ import annotations

import json
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.rows import message
from sftrecipe.types import Type
from sftrecipe_io.jsontext import OMITTED, json_rows

JSON = frozenset({"tools", "extra", "meta"})


def oracle(row: dict[str, Any]) -> bytes:
    """A row as dicts and orjson write it."""
    out: dict[str, Any] = {}
    for name in SCHEMA:
        value = row[name]
        if name in JSON:
            if value is not None or name not in OMITTED:
                out[name] = None if value is None else orjson.Fragment(value)
        elif name == "messages" and value is not None:
            out[name] = [
                {
                    key: orjson.Fragment(word) if key == "tool_calls" else word
                    for key, word in turn.items()
                    if word is not None or key in ("role", "content")
                }
                for turn in value
            ]
        else:
            out[name] = value
    return orjson.dumps(out)


words = st.text(max_size=5)
calls = st.sampled_from([None, "[]", '[{"name":"f","arguments":{"a":1e5,"n":123456789012345678901}}]'])
turns = st.lists(
    st.builds(
        lambda role, content, more, call: {**message(role, content), **more, "tool_calls": call},
        words,
        st.none() | words,
        st.dictionaries(st.sampled_from(["reasoning", "name", "tool_call_id"]), words, max_size=3),
        calls,
    ),
    max_size=3,
)
rows = st.fixed_dictionaries(
    {
        "messages": st.none() | turns,
        "source": st.none() | words,
        "tools": calls,
        "extra": st.sampled_from([None, "{}", '{"a":[1,2],"big":123456789012345678901,"t":"\\u00e9é"}']),
        "meta": st.sampled_from([None, "3", '{"k":null}']),
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "n": st.none() | st.integers(-(2**63), 2**63 - 1),
        "ok": st.none() | st.booleans(),
        "tags": st.none() | st.lists(st.none() | words, max_size=2),
    }
)
SCHEMA = {
    "messages": Type("messages").dtype(),
    **dict.fromkeys(("source", "tools", "extra", "meta"), pl.String()),
    "score": pl.Float64(),
    "n": pl.Int64(),
    "ok": pl.Boolean(),
    "tags": pl.List(pl.String),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_bytes_are_those_of_dicts_and_orjson(given_: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(given_, schema=SCHEMA)
    assert [text.encode() for text in json_rows(frame, JSON)] == [oracle(row) for row in given_]


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, min_size=2, max_size=4))
def test_bytes_do_not_depend_on_the_batch(given_: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(given_, schema=SCHEMA)
    alone = [json_rows(frame.slice(n, 1), JSON)[0] for n in range(len(given_))]
    assert json_rows(frame, JSON).to_list() == alone


def test_every_character_is_escaped_as_orjson_does() -> None:
    texts = [chr(n) for n in range(0x300)] + ["\u2028", "\ud7ff", "\ue000", "\U0001f600", "/", "</script>", '\\"']
    made = json_rows(pl.DataFrame({"t": texts}), frozenset())
    assert [text.encode() for text in made] == [orjson.dumps({"t": text}) for text in texts]


def test_odd_floats_and_vectors() -> None:
    floats = [1e16, -0.0, 1e-7, 5e-324, 1.7976931348623157e308, 0.1, 123456789.0]
    made = json_rows(pl.DataFrame({"x": floats}), frozenset())
    assert [json.loads(text)["x"] for text in made] == floats
    vectors = pl.DataFrame({"v": [[0.1, 2.0], None]}, schema={"v": pl.List(pl.Float32)})
    assert json_rows(vectors, frozenset()).to_list() == ['{"v":[0.1,2.0]}', '{"v":null}']


def test_line_breaks_between_the_parts_of_spliced_json_become_blanks() -> None:
    frame = pl.DataFrame({"extra": ['{"a":\n 1,\r\n"b":"x\\ny"}']})
    assert json_rows(frame, JSON).to_list() == ['{"extra":{"a":  1,  "b":"x\\ny"}}']


@pytest.mark.parametrize("column", ["extra", "messages"])
def test_what_is_no_json_in_a_json_column_is_an_error(column: str) -> None:
    bad = [{**message("assistant", None), "tool_calls": "f(1)"}]
    frame = pl.DataFrame(
        {"extra": ["f(1)"], "messages": [bad]}, schema_overrides={"messages": Type("messages").dtype()}
    )
    with pytest.raises(StepError, match=r"holds no JSON .*f\(1\)") as caught:
        json_rows(frame.select(column), JSON)
    assert caught.value.code == "R670"


def test_a_frame_without_rows_gives_no_lines() -> None:
    assert json_rows(pl.DataFrame(schema=SCHEMA), JSON).to_list() == []


def test_fields_beyond_the_six_are_kept() -> None:
    frame = pl.DataFrame(
        {"messages": [[{"role": "user", "content": "a", "train": False}, {"role": "x", "content": "b", "train": None}]]}
    )
    assert json_rows(frame, JSON).to_list() == [
        '{"messages":[{"role":"user","content":"a","train":false},{"role":"x","content":"b"}]}'
    ]
