"""The session around a model that does what the test says: record, single flight, repair, retries, budget."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import pytest
from models_fakes import Fake, FakeTime, last, user

from sftrecipe.errors import BudgetReached, RowError, StepError, UsageError
from sftrecipe.models import Broken, ChatSession, Fatal, Policy, Refused, Reply, Unreachable, Unusable, run_rows

SCHEMA = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}


def echo(request, count):
    return f"re: {last(request)}"


def session(tmp_path, script=echo, mode="use", *, policy=None, time=None, **provider):
    if time is not None:
        provider.setdefault("sleep", time.sleep)
    clock = {"clock": time.clock()} if time else {}
    return ChatSession(Fake.of(script, **provider), tmp_path, mode, name="judge", scope="recipe", policy=policy, **clock)


def ask(chat, texts, **sampling):
    async def work(text):
        return (await chat.chat(user(text), **sampling))[0].text

    return run_rows(texts, work)


def asked(chat):
    return len(chat.provider.transport.asked)


# ---- record and modes


def test_an_answer_is_asked_for_once_over_runs(tmp_path):
    first = session(tmp_path)
    assert ask(first, ["a", "b"]) == ["re: a", "re: b"]
    first.close()
    second = session(tmp_path, lambda r, n: "another answer")
    assert ask(second, ["a", "b", "c"]) == ["re: a", "re: b", "another answer"]
    assert asked(second) == 1
    assert second.usage()["cached"] == 2
    second.close()


def test_a_reply_comes_back_from_the_record_as_it_was(tmp_path):
    full = Reply(
        "text", "length", "thinking", '[{"id": "1"}]', 7, 9, ({"1": -0.1, "2": -2.5}, {"a": -1.0}), "I will not"
    )
    one = session(tmp_path, lambda r, n: full)
    assert asyncio.run(one.chat(user("x")))[0] == full
    one.close()
    two = session(tmp_path, lambda r, n: "never asked")
    assert asyncio.run(two.chat(user("x")))[0] == full
    two.close()


def test_another_model_sampling_or_sample_is_another_question(tmp_path):
    one = session(tmp_path)
    ask(one, ["a"])
    ask(one, ["a"], temperature=0.5)
    asyncio.run(one.chat(user("a"), n=3))
    assert asked(one) == 4  # sample 0 without sampling was there
    one.close()
    other = session(tmp_path, model="fake-2")
    ask(other, ["a"])
    assert asked(other) == 1
    other.close()


def test_samples_are_numbered_and_in_order(tmp_path):
    s = session(tmp_path, lambda r, n: f"sample {r.sample}")
    assert [r.text for r in asyncio.run(s.chat(user("a"), n=4))] == [f"sample {k}" for k in range(4)]
    s.close()


def test_the_same_question_at_once_is_one_request(tmp_path):
    s = session(tmp_path, seconds=0.05)
    assert ask(s, ["same"] * 50) == ["re: same"] * 50
    assert asked(s) == 1
    assert s.usage()["cached"] == 49
    s.close()


def test_single_flight_survives_the_row_that_asked_first(tmp_path):
    s = session(tmp_path, seconds=0.05)

    async def run():
        first = asyncio.ensure_future(s.chat(user("x")))
        await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(s.chat(user("x"))) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(*others)

    assert {replies[0].text for replies in asyncio.run(run())} == {"re: x"}
    assert asked(s) == 2
    s.close()


def test_single_flight_shares_failures_too(tmp_path):
    s = session(tmp_path, lambda r, n: Unusable("content_filter", "no"), seconds=0.01)

    async def work(row):
        return await s.chat(user("x"))

    assert {type(o) for o in run_rows(range(5), work)} == {RowError}
    assert asked(s) == 1
    s.close()


def test_refresh_asks_again_once_a_run(tmp_path):
    one = session(tmp_path)
    ask(one, ["a"])
    one.close()
    two = session(tmp_path, lambda r, n: f"new {n}", mode="refresh")
    assert ask(two, ["a"]) == ["new 0"]
    assert ask(two, ["a"]) == ["new 0"]
    assert asked(two) == 1
    two.close()
    three = session(tmp_path)
    assert ask(three, ["a"]) == ["new 0"]
    three.close()


def test_only_sends_nothing_and_names_what_is_missing(tmp_path):
    one = session(tmp_path)
    ask(one, ["a"])
    one.close()
    two = session(tmp_path, mode="only")
    assert ask(two, ["a"]) == ["re: a"]
    with pytest.raises(StepError, match="nothing is recorded for `what is b`") as told:
        ask(two, ["what is b"])
    assert told.value.code == "R626"
    assert asked(two) == 0
    two.close()


def test_off_leaves_nothing_on_disk(tmp_path):
    s = session(tmp_path / "store", mode="off")
    assert ask(s, ["a"]) == ask(s, ["a"]) == ["re: a"]
    assert asked(s) == 2
    s.close()
    assert not (tmp_path / "store").exists()
    assert list(s.failures()) == []


def test_an_unknown_mode_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="use, refresh, only, off"):
        session(tmp_path, mode="sometimes")


def test_a_place_is_given_back_only_after_the_answer_is_committed(tmp_path):
    seen = []

    async def run():
        s = session(tmp_path, concurrency=1)
        put = s._cache.put

        async def slow_put(*args):
            seen.append(("putting", s.usage()["in_flight"]))
            await asyncio.sleep(0.02)
            await put(*args)
            seen.append(("put", s.usage()["in_flight"]))

        s._cache.put = slow_put
        await asyncio.gather(*(s.chat(user(str(i))) for i in range(3)))
        s.close()

    asyncio.run(run())
    assert seen == [("putting", 1), ("put", 1)] * 3


def test_one_session_serves_several_loops(tmp_path):
    s = session(tmp_path)
    for part in range(3):
        ask(s, [f"{part}-{i}" for i in range(5)])
    assert s.provider.transport.left == 3
    assert s.provider.transport.closed == 0
    s.close()
    assert s.provider.transport.closed == 1
    assert asked(s) == 15


# ---- structured answers


def test_a_valid_answer_is_parsed(tmp_path):
    s = session(tmp_path, lambda r, n: '```json\n{"score": 4}\n```')
    (reply,) = asyncio.run(s.chat(user("rate"), schema=SCHEMA))
    assert reply.parsed == {"score": 4}
    assert asked(s) == 1
    s.close()


def test_a_wrong_answer_is_repaired_once_and_both_are_recorded(tmp_path):
    def script(request, count):
        return '{"score": 2}' if len(request.messages) == 3 else "I would say two."

    s = session(tmp_path, script)
    (reply,) = asyncio.run(s.chat(user("rate"), schema=SCHEMA))
    assert reply.parsed == {"score": 2}
    assert (reply.tokens_in, reply.tokens_out) == (20, 10)
    assert "no JSON" in s.provider.transport.asked[1].messages[2]["content"]
    s.close()
    again = session(tmp_path, script, mode="only")
    assert asyncio.run(again.chat(user("rate"), schema=SCHEMA))[0].parsed == {"score": 2}
    again.close()


def test_what_cannot_be_repaired_fails_its_row_and_is_asked_again_next_time(tmp_path):
    s = session(tmp_path, lambda r, n: '{"score": "high"}')
    with pytest.raises(RowError, match="score") as told:
        asyncio.run(s.chat(user("rate"), schema=SCHEMA))
    assert told.value.code == "invalid_json"
    (letter,) = s.failures()
    assert (letter.code, letter.raw) == ("invalid_json", '{"score": "high"}')
    assert s.usage()["failed"] == {"invalid_json": 1}
    s.close()
    again = session(tmp_path, lambda r, n: '{"score": 5}')
    assert asyncio.run(again.chat(user("rate"), schema=SCHEMA))[0].parsed == {"score": 5}
    assert list(again.failures()) == []
    again.close()


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply('{"score": ', "length"), "truncated"),
        (Reply("", refusal="I cannot help with that"), "refused"),
        (Reply("", "content_filter"), "refused"),
    ],
)
def test_where_asking_again_is_no_use_it_is_not_done(tmp_path, reply, code):
    s = session(tmp_path, lambda r, n: reply)
    with pytest.raises(RowError) as told:
        asyncio.run(s.chat(user("rate"), schema=SCHEMA))
    assert told.value.code == code
    assert asked(s) == 1
    s.close()


def test_a_cut_answer_is_told_apart_and_fails_only_on_request(tmp_path):
    s = session(tmp_path, lambda r, n: Reply("half an ans", "length"))
    assert asyncio.run(s.chat(user("x"), max_tokens=3))[0].finish_reason == "length"
    with pytest.raises(RowError, match="max_tokens") as told:
        asyncio.run(s.chat(user("x"), max_tokens=3, complete=True))
    assert told.value.code == "truncated"
    assert asked(s) == 1  # what it cost is not paid twice
    s.close()


def test_a_bad_schema_is_the_operators_error(tmp_path):
    s = session(tmp_path)
    with pytest.raises(ValueError, match="no JSON Schema"):
        asyncio.run(s.chat(user("x"), schema={"type": "objekt"}))
    assert asked(s) == 0
    s.close()


# ---- retries


def test_a_broken_try_is_repeated(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Broken("server_error", "500") if n < 3 else "fine", time=time)
    assert ask(s, ["x"]) == ["fine"]
    assert asked(s) == 4
    assert 0.1 < time.now() < 10
    s.close()


def test_a_row_that_always_fails_costs_that_row_only(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Broken("server_error", "HTTP 500: boom", "boom") if last(r) == "7" else "ok", time=time)
    out = ask(s, [str(i) for i in range(128)])
    assert [i for i, o in enumerate(out) if isinstance(o, RowError)] == [7]
    assert out[7].code == "server_error"
    assert "5 attempts" in str(out[7])
    (letter,) = s.failures()
    assert (letter.attempts, letter.raw) == (5, "boom")
    assert json.loads(letter.request)["messages"] == user("7")
    assert s.usage()["failed"] == {"server_error": 1}
    s.close()


def test_a_refusal_spends_no_attempt_and_retry_after_is_obeyed(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Refused("overloaded", "429", 2.0) if n < 20 else "at last", time=time)
    assert ask(s, ["x"]) == ["at last"]
    assert asked(s) == 21
    assert time.now() >= 40
    assert s.usage()["refused"] == 20
    s.close()


def test_a_request_that_alone_is_refused_for_ever_costs_its_row(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Refused("overloaded", "429") if last(r) == "7" else "ok", time=time, seconds=5, concurrency=2)
    out = ask(s, [str(i) for i in range(100)])
    assert [(i, o.code) for i, o in enumerate(out) if isinstance(o, RowError)] == [(7, "overloaded")]
    assert ask(s, ["another"]) == ["ok"]
    s.close()


def test_an_outage_of_a_minute_loses_no_row(tmp_path):
    time = FakeTime()

    def script(request, count):
        return Broken("server_error", "HTTP 500") if 1 < time.now() < 61 else "ok"

    s = session(tmp_path, script, time=time, seconds=0.2, concurrency=16)
    assert ask(s, [str(i) for i in range(300)]) == ["ok"] * 300
    assert s.usage()["failed"] == {}
    s.close()


def test_a_server_that_goes_for_good_ends_the_run_with_the_cause(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: "ok" if time.now() < 2 else Refused("overloaded", "HTTP 503: asleep"), time=time, seconds=0.2, concurrency=8)
    with pytest.raises(StepError, match="HTTP 503: asleep") as told:
        ask(s, [str(i) for i in range(1000)])
    assert told.value.code == "R625"
    assert "run the same command again" in told.value.help
    assert 120 <= time.now() < 160
    done = s.usage()["requests"]
    assert done > 30
    s.close()
    again = session(tmp_path)  # the server is back: only the rest is asked for
    ask(again, [str(i) for i in range(1000)])
    assert asked(again) == 1000 - done
    again.close()


def test_a_long_retry_after_does_not_outlast_the_patience(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Refused("overloaded", "429", 3600.0), time=time)
    with pytest.raises(StepError, match="429"):
        ask(s, ["x"])
    assert time.now() < 130
    s.close()


def test_an_address_where_nobody_is_is_told_after_seconds(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Unreachable("unreachable", "connection refused"), time=time)
    with pytest.raises(StepError, match="connection refused"):
        ask(s, ["x", "y"])
    assert time.now() < 30
    s.close()


def test_a_wrong_key_stops_at_once(tmp_path):
    s = session(tmp_path, lambda r, n: Fatal("key_refused", "the server refuses the key", "check `api_key`"), concurrency=4)
    with pytest.raises(StepError, match="judge") as told:
        ask(s, [str(i) for i in range(1000)])
    assert told.value.code == "R620"
    assert asked(s) <= 4
    with pytest.raises(StepError):
        ask(s, ["more"])
    assert asked(s) <= 4
    s.close()


def test_nothing_but_wrong_requests_ends_the_run(tmp_path):
    s = session(tmp_path, lambda r, n: Unusable("bad_request", "HTTP 400: no such parameter"), concurrency=1)
    with pytest.raises(StepError, match="no such parameter") as told:
        ask(s, [str(i) for i in range(1000)])
    assert told.value.code == "R624"
    assert asked(s) == 20
    s.close()


def test_many_wrong_requests_among_good_ones_are_rows_that_fail(tmp_path):
    s = session(tmp_path, lambda r, n: "ok" if int(last(r)) % 2 else Unusable("context_overflow", "too long"))
    out = ask(s, [str(i) for i in range(100)])
    assert sum(isinstance(o, RowError) for o in out) == 50
    s.close()


def test_a_failing_sample_does_not_waste_its_siblings(tmp_path):
    s = session(tmp_path, lambda r, n: Unusable("content_filter", "no") if r.sample == 1 else f"s{r.sample}")
    with pytest.raises(RowError):
        asyncio.run(s.chat(user("x"), n=4))
    assert s.usage()["requests"] == 3
    s.close()


# ---- limits, budget, usage


def test_requests_in_flight_stay_below_the_limit(tmp_path):
    s = session(tmp_path, concurrency=5, seconds=0.01, policy=Policy(start=5))
    ask(s, [str(i) for i in range(60)])
    assert s.provider.transport.peak == 5
    s.close()


def test_requests_a_minute_are_kept(tmp_path):
    time = FakeTime()
    s = session(tmp_path, time=time, requests_per_minute=60)
    ask(s, [str(i) for i in range(31)])
    assert 28 <= time.now() <= 32
    s.close()


def test_tokens_a_minute_are_kept_and_recorded_answers_are_free(tmp_path):
    time = FakeTime()
    s = session(tmp_path, lambda r, n: Reply("ok", tokens_in=50, tokens_out=50), time=time, tokens_per_minute=6000, concurrency=1)
    ask(s, [str(i) for i in range(30)], max_tokens=50)
    first = time.now()
    assert 20 <= first <= 40
    ask(s, [str(i) for i in range(30)], max_tokens=50)
    assert time.now() == first
    s.close()


def test_a_budget_stops_before_sending_and_counts_over_runs(tmp_path):
    s = session(tmp_path, budget={"requests": 10}, concurrency=4)
    with pytest.raises(BudgetReached, match="judge"):
        ask(s, [str(i) for i in range(30)])
    assert asked(s) == 10
    s.close()
    again = session(tmp_path, budget={"requests": 10})
    assert ask(again, [str(i) for i in range(10)])  # what is recorded costs nothing
    with pytest.raises(BudgetReached, match="earlier runs"):
        ask(again, ["11"])
    assert asked(again) == 0
    again.close()
    raised = session(tmp_path, budget={"requests": 15})
    with pytest.raises(BudgetReached):
        ask(raised, [str(i) for i in range(30)])
    assert asked(raised) == 5
    raised.close()


def test_usage_counts_what_was_paid(tmp_path):
    s = session(tmp_path, price={"input": 1.0, "output": 2.0})
    ask(s, ["a", "b", "a"])
    use = s.usage()
    assert (use["requests"], use["cached"], use["tokens_in"], use["tokens_out"]) == (2, 1, 20, 10)
    assert use["dollars"] == pytest.approx(40e-6)
    assert json.loads(json.dumps(use)) == use
    s.close()
    unknown = session(tmp_path)
    assert unknown.usage()["dollars"] == "n/a"
    unknown.close()


def test_recorded_seconds_are_there_for_estimates(tmp_path):
    time = FakeTime()
    s = session(tmp_path, time=time, seconds=0.5)
    ask(s, ["a", "b"])
    assert s.seconds() == [0.5, 0.5]
    s.close()


def test_rewards_come_from_providers_that_give_them(tmp_path):
    s = session(tmp_path)
    with pytest.raises(StepError, match="gives no rewards"):
        asyncio.run(s.reward(user("x")))
    s.close()


def test_secrets_of_a_transport_are_redacted_on_disk(tmp_path):
    s = session(tmp_path, lambda r, n: Broken("server_error", "echo SECRET-CANARY", "raw SECRET-CANARY") if "bad" in last(r) else "ok", time=FakeTime())
    ask(s, ["bad SECRET-CANARY", "good SECRET-CANARY"])
    s.close()
    db = sqlite3.connect(tmp_path / "requests.sqlite")
    dump = "\n".join(db.iterdump())
    db.close()
    assert "SECRET-CANARY" not in dump
    assert dump.count("[secret]") >= 4
