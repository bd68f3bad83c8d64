"""Keys: equal for equal questions, whatever their writing; different for everything that an answer may depend on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.models.keys import canonical, canonical_request, clean_messages, estimate_tokens, preview, request_key

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
IDENTITY = canonical({"provider": "p", "model": "m"})


def key(messages, sampling, sample=0, identity=IDENTITY):
    return request_key(canonical_request(identity, clean_messages(messages), sampling, sample))


@given(PLAIN)
def test_canonical_text_is_stable_and_reads_back(value):
    text = canonical({"v": value})
    assert canonical(json.loads(text)) == text


@given(st.dictionaries(st.text(), PLAIN, min_size=2, max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_one_number_has_one_writing():
    assert canonical({"t": 1}) == canonical({"t": 1.0})
    assert canonical({"t": 0.7}) != canonical({"t": 0.70001})
    assert canonical({"t": True}) != canonical({"t": 1})


def test_what_is_not_json_is_refused():
    for bad in (float("nan"), float("inf"), {1, 2}, object()):
        with pytest.raises(ValueError):
            canonical({"v": bad})


def test_surrogates_have_a_key():
    assert len(key([{"role": "user", "content": "\ud800"}], {})) == 32


def test_what_an_answer_depends_on_is_in_the_key():
    base = [{"role": "user", "content": "hello"}]
    keys = [
        key(base, {}),
        key(base, {"temperature": 0.5}),
        key(base, {}, sample=1),
        key(base, {"schema": {"type": "object"}}),
        key([{"role": "user", "content": "hello "}], {}),
        key([{"role": "system", "content": "hello"}], {}),
        key(base, {}, identity=canonical({"provider": "p", "model": "m", "revision": "2"})),
    ]
    assert len(set(keys)) == len(keys)


def test_rows_messages_and_plain_messages_have_one_key():
    row = {"role": "user", "content": "hi", "reasoning": "hm", "tool_calls": None, "name": None, "tool_call_id": None}
    assert key([row], {}) == key([{"role": "user", "content": "hi"}], {})


def test_tool_calls_travel_as_values():
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    (clean,) = clean_messages([{"role": "assistant", "content": None, "tool_calls": json.dumps(calls)}])
    assert clean == {"role": "assistant", "content": None, "tool_calls": calls}


def test_preview_is_one_short_line():
    assert preview([{"role": "user", "content": "a\nb  c"}]) == "a b c"
    assert len(preview([{"role": "user", "content": "x" * 500}])) == 60
    assert preview([]) == ""


@pytest.mark.parametrize(("text", "low", "high"), [("", 1, 1), ("word " * 100, 100, 150), ("汉字" * 50, 60, 80)])
def test_token_estimates_are_of_the_right_size(text, low, high):
    assert low <= estimate_tokens(text) <= high
