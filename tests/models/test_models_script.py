"""Scripted replies: the first line that fits, in the open, and an error where none does."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from models_fakes import user

from sftrecipe.errors import StepError
from sftrecipe.models import ChatSession, run_rows
from sftrecipe.models.structured import validate
from sftrecipe_models.script import Script


def session(tmp_path, **params):
    return ChatSession(Script(**params), tmp_path, "off", name="judge")


def say(tmp_path, texts, system=None, n=1, sampling=None, **params):
    s = session(tmp_path, **params)
    head = [{"role": "system", "content": system}] if system else []

    async def work(text):
        return await s.chat(head + user(text), n=n, **(sampling or {}))

    return [[reply.text for reply in replies] for replies in run_rows(texts, work)]


def lines(tmp_path, *entries):
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_the_first_line_that_fits_answers(tmp_path):
    path = lines(tmp_path, {"match": "two", "reply": "2"}, {"regex": r"^t", "reply": "t"}, {"match": "e", "in": "all", "reply": "any"})
    assert say(tmp_path, ["two", "ten", "one", "two"], replies=path) == [["2"], ["t"], ["any"], ["2"]]


def test_where_to_look_is_the_last_user_text_or_all(tmp_path):
    assert say(tmp_path, ["x"], system="be kind", replies=[{"match": "kind", "in": "all", "reply": "k"}]) == [["k"]]
    with pytest.raises(StepError):
        say(tmp_path, ["x"], system="be kind", replies=[{"match": "kind", "reply": "k"}])


def test_lines_without_a_match_answer_in_order(tmp_path):
    s = session(tmp_path, replies=["one", "two", {"reply": {"score": 3}}])
    first = run_rows(["a", "b"], lambda text: s.chat(user(text)))
    second = run_rows(["c"], lambda text: s.chat(user(text)))  # another event loop: the order goes on
    assert [r[0].text for r in first + second] == ["one", "two", '{"score": 3}']


def test_samples_walk_through_a_list(tmp_path):
    assert say(tmp_path, ["q"], n=5, replies=[{"match": "q", "reply": ["a", "b"]}]) == [["a", "b", "a", "b", "a"]]


def test_a_miss_names_the_prompt(tmp_path):
    with pytest.raises(StepError, match="no reply for `what is this about`") as told:
        say(tmp_path, ["what is this\nabout"], replies=[{"match": "else", "reply": "x"}])
    assert told.value.code == "R628"
    assert say(tmp_path, ["what"], replies=[], default="fallback") == [["fallback"]]


def test_all_that_a_real_answer_has_can_be_scripted(tmp_path):
    line = {"match": "q", "reply": "5", "logprobs": [{"5": -0.1, "4": -2.4}], "finish_reason": "length", "reasoning": "hm", "refusal": "no"}
    s = session(tmp_path, replies=[line])
    plain, asked = asyncio.run(s.chat(user("q")))[0], asyncio.run(s.chat(user("q"), logprobs=5))[0]
    assert plain.logprobs == ()
    assert asked.logprobs == ({"5": -0.1, "4": -2.4},)
    assert (asked.finish_reason, asked.reasoning, asked.refusal) == ("length", "hm", "no")
    assert asked.tokens_out > 0


@pytest.mark.parametrize(
    ("entry", "problem"),
    [({"match": "x"}, "line 2 .* needs `reply`"), ({"reply": "x", "mtach": "y"}, "line 2"), ({"reply": "x", "regex": "("}, "line 2 .* regex")],
)
def test_bad_lines_are_named(tmp_path, entry, problem):
    with pytest.raises(StepError, match=problem):
        say(tmp_path, ["x"], replies=lines(tmp_path, {"reply": "ok"}, entry))


def test_a_bad_file_is_named(tmp_path):
    path = lines(tmp_path, {"reply": "ok"})
    path.write_text(path.read_text() + "\n{broken\n")
    with pytest.raises(StepError, match=r"replies\.jsonl:3: not JSON"):
        Script(replies=path).identity()
    with pytest.raises(StepError, match="cannot be read"):
        Script(replies=tmp_path / "none.jsonl").identity()


def test_other_lines_are_another_model(tmp_path):
    one = Script(replies=[{"match": "a", "reply": "b"}]).identity()
    path = lines(tmp_path, {"match": "a", "reply": "b"})
    assert Script(replies=path).identity() == one  # what is said counts, not where it stands
    assert Script(replies=[{"match": "a", "reply": "c"}]).identity() != one
    assert Script(behaviour="echo").identity() != Script(behaviour="upper").identity()


def test_simple_behaviours(tmp_path):
    assert say(tmp_path, ["Hello you"], behaviour="echo") == [["Hello you"]]
    assert say(tmp_path, ["Hello you"], behaviour="upper") == [["HELLO YOU"]]
    assert say(tmp_path, ["Hello you"], behaviour="words") == [["2"]]


def test_scores_are_digits_with_probabilities_that_depend_on_the_conversation_alone(tmp_path):
    s = session(tmp_path, behaviour="score")
    replies = [asyncio.run(s.chat(user(f"q{i}"), logprobs=6))[0] for i in range(40)]
    again = asyncio.run(session(tmp_path, behaviour="score").chat(user("q3"), logprobs=6))[0]
    assert again == replies[3]
    assert {r.text for r in replies} <= set("123456") and len({r.text for r in replies}) > 2
    for reply in replies:
        (tops,) = reply.logprobs
        assert sum(map(math.exp, tops.values())) == pytest.approx(1)
        assert max(tops, key=lambda digit: tops[digit]) == reply.text


SCHEMA = {
    "type": "object",
    "properties": {
        "tags": {"type": "array", "items": {"type": "object", "properties": {"tag": {"type": "string"}}, "required": ["tag"]}, "minItems": 2},
        "score": {"type": "integer", "minimum": 1, "maximum": 6},
        "kind": {"enum": ["a", "b"]},
        "sure": {"type": "boolean"},
        "other": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["tags", "score", "kind", "sure", "other"],
}  # fmt: skip


def test_shaped_values_satisfy_the_schema(tmp_path):
    s = session(tmp_path, behaviour="schema")
    for i in range(20):
        reply = asyncio.run(s.chat(user(f"some words to take {i}"), schema=SCHEMA))[0]
        assert validate(reply.parsed, SCHEMA) is None


def test_rewards_are_scripted_too():
    model = Script(scores=[{"match": "good", "score": 2.5}, {"regex": ".", "score": -1}]).open()
    conversation = [*user("rate"), {"role": "assistant", "content": "a good answer"}]
    assert asyncio.run(model.reward(conversation)) == 2.5
    assert asyncio.run(model.reward(user("other"))) == -1
    with pytest.raises(StepError, match="no score"):
        asyncio.run(Script(scores=[]).open().reward(conversation))
