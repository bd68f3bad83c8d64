"""The chat-completions protocol: what is sent, what is read, what errors mean."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

pytest.importorskip("aiohttp")

from sftrecipe.models import Broken, Fatal, Refused, Request, Unusable
from sftrecipe_models.prices import known_price
from sftrecipe_models.wire import Dialect, adapt, body, failure, read

USER = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def sent(sampling, sample=0, dialect=Dialect(), messages=USER):
    return json.loads(body("m", Request(messages, sampling, sample), dialect))


def error(status, message="", code=None, retry_after=None):
    return failure(status, json.dumps({"error": {"message": message, "code": code}}).encode(), retry_after)


def answer(**message):
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()


def test_the_body_holds_model_messages_and_sampling():
    assert sent({"temperature": 0.5, "max_tokens": 9, "stop": ["\n"]}) == {
        "model": "m", "messages": USER, "temperature": 0.5, "max_tokens": 9, "stop": ["\n"],
    }  # fmt: skip


def test_samples_differ_in_their_seed():
    assert sent({"seed": 5}, sample=2)["seed"] == 7
    assert "seed" not in sent({}, sample=2)


def test_logprobs_ask_for_alternatives():
    got = sent({"logprobs": 20})
    assert (got["logprobs"], got["top_logprobs"]) == (True, 20)


def test_schemas_are_enforced_asked_for_or_told():
    native = sent({"schema": SCHEMA})["response_format"]
    assert native["type"] == "json_schema"
    assert native["json_schema"]["strict"] is True
    loose = sent({"schema": {"type": "object"}})["response_format"]
    assert loose["json_schema"]["strict"] is False
    mode = sent({"schema": SCHEMA}, dialect=Dialect("json_object"))
    assert mode["response_format"] == {"type": "json_object"}
    assert json.dumps(SCHEMA) in mode["messages"][-1]["content"]
    words = sent({"schema": SCHEMA}, dialect=Dialect("words"))
    assert "response_format" not in words
    assert words["messages"][-1]["content"].startswith("hi\n")
    assert USER == [{"role": "user", "content": "hi"}]  # the caller's messages stay as they were


def test_texts_that_fast_json_refuses_are_sent_all_the_same():
    assert sent({}, messages=[{"role": "user", "content": "\ud800"}])["messages"][0]["content"] == "\ud800"


@pytest.mark.parametrize(
    ("message", "before", "after"),
    [
        ("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", Dialect(), Dialect(limit="max_completion_tokens")),
        ("response_format json_schema is not supported", Dialect(), Dialect("json_object")),
        ("response_format is unknown", Dialect("json_object"), Dialect("words")),
        ("response_format is unknown", Dialect("words"), None),
        ("temperature must be below 2", Dialect(), None),
    ],
)
def test_a_dialect_is_learnt_from_a_refusal(message, before, after):
    assert adapt(before, 400, json.dumps({"error": {"message": message}}).encode()) == after


def test_dialects_are_not_learnt_from_server_errors():
    assert adapt(Dialect(), 500, b"response_format") is None


def test_max_completion_tokens_replaces_max_tokens():
    assert sent({"max_tokens": 5}, dialect=Dialect(limit="max_completion_tokens"))["max_completion_tokens"] == 5


def test_a_full_answer_is_read():
    data = {
        "choices": [{
            "finish_reason": "length",
            "message": {"content": "4", "reasoning_content": "hm", "tool_calls": [{"id": "c"}], "refusal": None},
            "logprobs": {"content": [
                {"token": "4", "logprob": -0.5, "top_logprobs": [{"token": "5", "logprob": -1.0}]},
                {"token": "!", "logprob": -0.1, "top_logprobs": []},
            ]},
        }],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2},
    }  # fmt: skip
    reply = read(json.dumps(data).encode(), "application/json")
    assert (reply.text, reply.finish_reason, reply.reasoning) == ("4", "length", "hm")
    assert json.loads(reply.tool_calls or "") == [{"id": "c"}]
    assert (reply.tokens_in, reply.tokens_out) == (11, 2)
    assert reply.logprobs == ({"5": -1.0, "4": -0.5}, {"!": -0.1})


def test_what_servers_leave_out_is_filled_in():
    reply = read(answer(content=None, refusal="no"), "application/json", "x" * 400)
    assert (reply.text, reply.refusal, reply.finish_reason) == ("", "no", "stop")
    assert reply.tokens_in == 101
    parts = read(answer(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "application/json")
    assert parts.text == "ab"


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (b'{"choices": [{"mess', Broken, "bad_json"),
        (b"[]", Broken, "bad_json"),
        (b'{"choices": [{"no": "message"}]}', Broken, "bad_json"),
        (b'{"choices": [{"message": "text"}]}', Broken, "bad_json"),
        (b'{"choices": []}', Broken, "empty_choices"),
        (b"<!DOCTYPE html><html></html>", Fatal, "wrong_address"),
        (b"  <html><body>login</body></html>", Fatal, "wrong_address"),
        (b'{"hello": "world"}', Fatal, "wrong_address"),
        (b'{"error": {"message": "upstream failed", "code": 502}}', Broken, "server_error"),
        (b'{"error": {"message": "slow down", "code": 429}}', Refused, "overloaded"),
    ],
)
def test_answers_that_are_none_are_named(data, kind, code):
    with pytest.raises(kind) as told:
        read(data, "application/json")
    assert told.value.code == code


@pytest.mark.parametrize(
    ("status", "message", "inner", "kind", "code"),
    [
        (401, "Incorrect API key", "invalid_api_key", Fatal, "key_refused"),
        (403, "not allowed", None, Fatal, "key_refused"),
        (402, "Insufficient Balance", None, Fatal, "no_credit"),
        (429, "You exceeded your current quota", "insufficient_quota", Fatal, "no_credit"),
        (429, "Rate limit reached for requests", "rate_limit_exceeded", Refused, "overloaded"),
        (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 10000, Requested 12000", "tokens", Unusable, "too_large"),
        (503, "busy", None, Refused, "overloaded"),
        (529, "overloaded", None, Refused, "overloaded"),
        (404, "The model `gpt-9` does not exist or you do not have access to it.", "model_not_found", Fatal, "unknown_model"),
        (404, 'model "llama9" not found, try pulling it first', None, Fatal, "unknown_model"),
        (400, "invalid model ID", None, Fatal, "unknown_model"),
        (404, "Not Found", None, Fatal, "wrong_address"),
        (405, "Method Not Allowed", None, Fatal, "wrong_address"),
        (308, "", None, Fatal, "wrong_address"),
        (500, "internal", None, Broken, "server_error"),
        (502, "the model crashed", None, Broken, "server_error"),
        (408, "timeout", None, Broken, "server_error"),
        (400, "This model's maximum context length is 8192 tokens, however you requested 9000", "context_length_exceeded", Unusable, "context_overflow"),
        (400, "the request exceeds the available context size", None, Unusable, "context_overflow"),
        (413, "too large", None, Unusable, "context_overflow"),
        (400, "The response was filtered due to the prompt triggering our content management policy", "content_filter", Unusable, "content_filter"),
        (400, "max_tokens is too large for this model: 999999", None, Unusable, "bad_request"),
        (422, "field required", None, Unusable, "bad_request"),
    ],
)  # fmt: skip
def test_statuses_are_sorted_by_what_follows_from_them(status, message, inner, kind, code):
    found = error(status, message, inner)
    assert (type(found), found.code) == (kind, code)
    assert str(status) in found.message


@pytest.mark.parametrize("data", [b"", b"plain text", b"[1]", b'"text"', b'{"detail": "not here"}', b'{"error": "flat"}', b"\xff\xfe"])
def test_any_error_body_gives_a_message(data):
    assert failure(500, data, None).message


def test_retry_after_is_seconds_or_a_date():
    assert error(429, retry_after="2.5").retry_after == 2.5
    assert error(429).retry_after is None
    assert error(429, retry_after="soon").retry_after is None
    assert error(429, retry_after="-3").retry_after == 0
    assert error(429, retry_after="999999999").retry_after == 3600
    when = datetime.now(timezone.utc) + timedelta(seconds=30)
    assert 25 < (error(429, retry_after=format_datetime(when, usegmt=True)).retry_after or 0) <= 30


def test_prices_are_known_only_at_the_vendors_own_address():
    assert known_price("https://api.openai.com/v1", "gpt-4.1-mini") == {"input": 0.4, "output": 1.6}
    assert known_price("https://api.openai.com/v1", "gpt-4o-2024-08-06") == {"input": 2.5, "output": 10.0}
    assert known_price("https://api.openai.com/v1", "unheard-of") is None
    assert known_price("http://localhost:8000/v1", "gpt-4.1-mini") is None
