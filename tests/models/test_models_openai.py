"""The openai provider against a real server on loopback that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import subprocess
import sys
import time
import traceback

import pytest

pytest.importorskip("aiohttp")

from sftrecipe.errors import RowError, StepError
from sftrecipe.models import ChatSession, Policy, run_rows
from sftrecipe.testing.server import ScriptedServer
from sftrecipe_models.openai import OpenAI

KEY = "sk-canary-4f1d9a7e2b"
QUICK = Policy(patience=3.0, first_patience=0.5)


def user(text):
    return [{"role": "user", "content": text}]


def session(folder, url, policy=QUICK, mode="use", **params):
    params.setdefault("concurrency", 32)
    params.setdefault("api_key", KEY)
    provider = OpenAI(model=params.pop("model", "scripted"), base_url=url, **params)
    return ChatSession(provider, folder, mode, name="judge", policy=policy)


def ask(chat, texts, **sampling):
    async def work(text):
        return (await chat.chat(user(text), **sampling))[0]

    try:
        return run_rows(texts, work)
    finally:
        chat.close()


def texts(n):
    return [f"question {i}" for i in range(n)]


def test_answers_come_back_with_usage_and_logprobs(tmp_path):
    with ScriptedServer(replies={"rate": "4"}) as server:
        reply = ask(session(tmp_path, server.url), ["rate this"], logprobs=6, max_tokens=5)[0]
    assert (reply.text, reply.finish_reason, reply.tokens_out) == ("4", "stop", 1)
    assert len(reply.logprobs[0]) == 6
    assert "4" in reply.logprobs[0]


def test_faults_of_every_kind_lose_no_row(tmp_path):
    faults = {"429": 0.05, "500": 0.02, "bad_json": 0.01, "truncated": 0.01, "drop": 0.01, "empty": 0.01, "503": 0.01}
    with ScriptedServer(faults=faults, latency=0.005) as server:
        chat = session(tmp_path, server.url)
        out = ask(chat, texts(400))
        stats = server.stats()
    with ScriptedServer() as server:
        clean = ask(session(tmp_path / "clean", server.url), texts(400))
    assert out == clean
    assert set(stats["faults"]) == set(faults)
    assert chat.usage()["failed"] == {}
    assert chat.usage()["sent"] == stats["requests"]
    assert stats["answered_again"] == 0


def test_malformed_answers_are_repaired_where_a_schema_is_asked_for(tmp_path):
    schema = {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}}}, "required": ["tags"]}
    with ScriptedServer(faults={"429": 0.05, "500": 0.02, "malformed": 0.05}) as server:
        out = ask(session(tmp_path, server.url), texts(100), schema=schema)
        assert server.stats()["faults"]["malformed"] > 3
    assert all(isinstance(reply.parsed["tags"], list) for reply in out)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("500", "server_error"),
        ("bad_json", "bad_json"),
        ("truncated", "cut_answer"),
        ("drop", "connection"),
        ("empty", "empty_choices"),
        ("400", "content_filter"),
        ("context", "context_overflow"),
    ],
)
def test_a_row_that_always_fails_costs_that_row_and_is_named(tmp_path, fault, code):
    with ScriptedServer(always={"question 77": fault}) as server:
        chat = session(tmp_path, server.url)

        async def work(text):
            return (await chat.chat(user(text)))[0]

        out = run_rows(texts(128), work)
        (letter,) = chat.failures()
        chat.close()
    assert [i for i, o in enumerate(out) if isinstance(o, RowError)] == [77]
    assert out[77].code == letter.code == code
    assert "question 77" in letter.request


def test_a_hanging_request_times_out_and_is_tried_again(tmp_path):
    with ScriptedServer(faults={"hang": 1.0}, fault_tries=1, hang_seconds=20) as server:
        chat = session(tmp_path, server.url, timeout=0.3)
        assert [r.finish_reason for r in ask(chat, texts(3))] == ["stop"] * 3
        assert chat.usage()["broken"] == 3


def fails(tmp_path, url, **params):
    """(error, requests sent, all that was printed or logged or put on disk)"""
    chat = session(tmp_path, url, **params)
    with pytest.raises(StepError) as told:
        ask(chat, texts(200))
    return told.value, chat.usage()["sent"]


def test_a_wrong_key_stops_at_once(tmp_path):
    with ScriptedServer(key="sk-the-right-one", latency=0.02) as server:
        error, sent = fails(tmp_path, server.url)
    assert error.code == "R620"
    assert "401" in str(error) and "judge" in str(error)
    assert sent <= 32


def test_a_wrong_model_is_named(tmp_path):
    with ScriptedServer(models=["right"], latency=0.02) as server:
        error, sent = fails(tmp_path, server.url, model="wrong")
    assert error.code == "R621"
    assert "`wrong` does not exist" in str(error)
    assert sent <= 32


def test_a_page_with_status_200_is_no_endpoint(tmp_path):
    with ScriptedServer(faults={"html": 1.0}, latency=0.02) as server:
        error, sent = fails(tmp_path, server.url)
    assert error.code == "R622"
    assert "web page" in str(error)
    assert "base_url" in error.help
    assert sent <= 32


def test_a_wrong_path_is_named(tmp_path):
    with ScriptedServer() as server:
        error, _ = fails(tmp_path, server.url.removesuffix("/v1"))
    assert error.code == "R622"
    assert "/v1" in error.help


def test_a_dead_server_is_told_in_seconds(tmp_path):
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        error, _ = fails(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    assert error.code == "R625"
    assert "no connection to 127.0.0.1" in str(error)


def test_an_unknown_host_is_told(tmp_path):
    error, _ = fails(tmp_path, "http://no-such-host.invalid/v1")
    assert error.code == "R625"
    assert "no-such-host.invalid" in str(error)


def test_a_redirect_is_not_followed(tmp_path):
    from aiohttp import web

    seen = []

    async def bounce(request):
        seen.append(request.path)
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/elsewhere")

    async def run():
        app = web.Application()
        app.router.add_post("/v1/chat/completions", bounce)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        chat = session(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        try:
            with pytest.raises(StepError, match="no OpenAI-compatible endpoint"):
                await chat.chat(user("x"))
        finally:
            await chat.aclose()
            await runner.cleanup()

    asyncio.run(run())
    assert len(seen) == 1


@pytest.mark.parametrize("behaviour", [{"max_in_flight": 10}, {"per_minute": 6000, "retry_after": 0.2}])
def test_overload_loses_no_row_and_sends_little_twice(tmp_path, behaviour):
    with ScriptedServer(latency=0.05, **behaviour) as server:
        chat = session(tmp_path, server.url, concurrency=64, policy=Policy())
        out = ask(chat, texts(600))
        stats = server.stats()
    assert not [o for o in out if isinstance(o, RowError)]
    assert stats["answered"] == 600
    assert stats["requests"] <= 1.5 * 600  # a short run on a busy machine; benchmarks/requests holds the 20 %


def test_retry_after_is_obeyed(tmp_path):
    with ScriptedServer(faults={"429": 1.0}, fault_tries=1, retry_after=0.4) as server:
        chat = session(tmp_path, server.url, concurrency=1)
        begun = time.monotonic()
        ask(chat, ["one"])
        assert time.monotonic() - begun >= 0.4


def test_a_server_without_json_schema_is_asked_in_its_own_way(tmp_path):
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    with ScriptedServer(response_formats=["json_object"]) as server:
        chat = session(tmp_path, server.url, concurrency=1)
        out = ask(chat, texts(5), schema=schema)
        sent = server.stats()["requests"]
    assert all(isinstance(reply.parsed["answer"], str) for reply in out)
    assert sent == 6  # the refusal is learnt once
    with ScriptedServer(response_formats=[], replies={"question": '```json\n{"answer": "told in words"}\n```'}) as server:
        out = ask(session(tmp_path / "words", server.url, concurrency=1), texts(2), schema=schema)
    assert [reply.parsed["answer"] for reply in out] == ["told in words"] * 2


def test_a_fixed_way_of_asking_is_not_changed(tmp_path):
    schema = {"type": "object"}
    with ScriptedServer(response_formats=[]) as server:
        out = ask(session(tmp_path, server.url, structured="json_schema"), texts(1), schema=schema)
    assert out[0].code == "bad_request"


def test_only_replays_without_a_server(tmp_path):
    with ScriptedServer() as server:
        first = ask(session(tmp_path, server.url), texts(20))
    again = ask(session(tmp_path, "http://127.0.0.1:9/v1", mode="only"), texts(20))  # another address: the same model
    assert again == first


def test_the_key_is_found_nowhere(tmp_path, capfd, caplog):
    """Canary: a server that throws the key back in every way, and everything that is written while it does."""
    caplog.set_level(logging.DEBUG)
    printed = io.StringIO()

    def failing(url, **params):
        chat = session(tmp_path / "store", url, **params)
        try:
            out = ask(chat, texts(10))
        except StepError as error:
            printed.write("".join(traceback.format_exception(error)) + repr(error) + error.help)
        else:
            printed.write(repr(out))
        printed.write(repr(chat.usage()) + repr(chat.provider.identity()) + repr(chat.provider.open()))

    with ScriptedServer(replies={"question": f"you sent {KEY}"}, always={"question 3": "500", "question 4": "drop"}) as server:
        failing(server.url)
    with ScriptedServer(key="another") as server:  # its 401 quotes the key
        failing(server.url)
    failing("http://127.0.0.1:9/v1")
    out, err = capfd.readouterr()
    for text in (out, err, caplog.text, printed.getvalue()):
        assert KEY not in text
    assert "[secret]" in printed.getvalue()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"base_url": "file:///etc/passwd"}, "no http address"),
        ({"base_url": "localhost:8000"}, "no http address"),
        ({"base_url": "https://me:pass@host/v1"}, "holds a name or password"),
        ({"base_url": "http://169.254.169.254/v1"}, "link-local"),
        ({"budget": {"dollars": 5}, "base_url": "http://localhost/v1"}, "no known price"),
        ({"budget": {"euros": 5}}, "euros"),
        ({"price": {"input": 1}}, "missing"),
    ],
)
def test_parameters_that_cannot_work_are_told_before_the_run(params, problem):
    provider = OpenAI(**{"model": "gpt-4.1-mini", **params})
    assert any(problem in told for told in provider.check())
    with pytest.raises(StepError):
        provider.open()


def test_good_parameters_are_fine():
    provider = OpenAI(model="gpt-4.1-mini", budget={"dollars": 20}, api_key=KEY)
    assert list(provider.check()) == []
    assert provider.limits().price == {"input": 0.4, "output": 1.6}
    assert provider.identity() == {"provider": "openai", "model": "gpt-4.1-mini"}


@pytest.mark.parametrize(
    ("module", "light"),
    [
        ("sftrecipe.models", ("aiohttp", "sqlite3", "jsonschema", "asyncio", "orjson", "polars", "numpy")),
        ("sftrecipe_models.openai", ("aiohttp", "sqlite3", "jsonschema", "polars", "numpy")),
        ("sftrecipe_models.script", ("aiohttp", "sqlite3", "jsonschema", "polars", "numpy")),
        ("sftrecipe_models.transformers", ("aiohttp", "sqlite3", "jsonschema", "polars", "torch", "transformers")),
    ],
)
def test_importing_starts_nothing_and_loads_nothing_heavy(module, light):
    code = f"import sys, threading, {module}; assert threading.active_count() == 1; print(*({set(light)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
