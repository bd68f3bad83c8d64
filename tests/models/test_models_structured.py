"""JSON out of what models write, and into what a schema allows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.models.structured import check_schema, find_json, instruction, is_strict, repair_messages, validate

OBJECT = {"type": "object", "properties": {"score": {"type": "integer", "minimum": 1}}, "required": ["score"]}
VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 4}',
        '  {"score": 4}\n',
        '```json\n{"score": 4}\n```',
        'Here you are:\n```\n{"score": 4}\n```\nAnything else?',
        'The answer is {"score": 4}, I think.',
        '{"score": 4} hope it helps',
    ],
)
def test_the_value_is_found(text):
    assert find_json(text) == {"score": 4}


@pytest.mark.parametrize("text", ["", "  ", "no json here", '{"score": ', "[1, 2", '{"score": NaN}', "[" * 100_000])
def test_what_is_no_json_is_named(text):
    with pytest.raises(ValueError, match="no JSON"):
        find_json(text)


def test_scalars_count_only_when_they_are_the_whole_text():
    assert find_json("5") == 5
    with pytest.raises(ValueError, match="no JSON"):
        find_json("5 stars")


@given(VALUES, st.sampled_from(["", "Sure:\n```json\n{}\n```", "```\n{}\n```\n"]))
def test_any_value_survives_a_fence(value, wrap):
    text = json.dumps(value)
    assert find_json(wrap.format("@").replace("@", text) if wrap else text) == value


def test_problems_say_what_and_where():
    assert validate({"score": 3}, OBJECT) is None
    assert "required" in (validate({}, OBJECT) or "")
    assert "['score']" in (validate({"score": "x"}, OBJECT) or "")
    assert len(validate({"score": "x" * 10_000}, OBJECT) or "") < 400


def test_a_schema_that_is_none_is_told():
    with pytest.raises(ValueError, match="no JSON Schema"):
        check_schema({"type": "objekt"})


def test_remote_references_are_never_fetched():
    with pytest.raises(Exception, match="http://127.0.0.1:9/x"):
        validate({}, {"$ref": "http://127.0.0.1:9/x"})


def test_the_repair_shows_the_answer_and_the_problem():
    messages = repair_messages([{"role": "user", "content": "rate"}], "bad" * 5000, "it is empty")
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert len(messages[1]["content"]) == 4000
    assert "it is empty" in messages[2]["content"]
    assert json.dumps(OBJECT) in instruction(OBJECT)


def test_strict_schemas_are_closed_and_complete_at_every_depth():
    closed = {**OBJECT, "additionalProperties": False}
    assert is_strict(closed)
    assert not is_strict(OBJECT)
    assert not is_strict({**closed, "required": []})
    assert is_strict({"type": "array", "items": closed})
    assert not is_strict({"type": "array", "items": OBJECT})
