"""The scripted server: what it counts is true, and what it does wrong depends on the request alone."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("aiohttp")

from sftrecipe.testing.faults import Behaviour, pick_fault
from sftrecipe.testing.server import ScriptedServer


def post(url, body, key=None):
    """(status, headers, body) without any client of ours."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def ask(server, text="hello", key=None, **more):
    return post(f"{server.url}/chat/completions", {"model": "m", "messages": [{"role": "user", "content": text}], **more}, key)


def test_an_answer_depends_on_the_request_alone():
    with ScriptedServer() as one, ScriptedServer() as two:
        first, again, other = ask(one), ask(two), ask(one, "bye")
    assert json.loads(first[2]) == json.loads(again[2])
    assert json.loads(first[2])["choices"] != json.loads(other[2])["choices"]
    assert json.loads(first[2])["usage"]["completion_tokens"] > 0


def test_requests_and_repeats_are_counted():
    with ScriptedServer() as server:
        for text in ("a", "b", "a", "a"):
            ask(server, text)
        stats = server.stats()
        assert (stats["requests"], stats["answered"], stats["distinct"], stats["answered_again"]) == (4, 4, 2, 2)
        server.reset()
        assert server.stats()["requests"] == 0


def test_faults_come_at_their_rate_and_not_twice_the_same():
    behaviour = Behaviour(faults={"429": 0.1, "500": 0.05})
    picked = [pick_fault(behaviour, {}, f"{n:x}", 0) for n in range(5000)]
    assert picked == [pick_fault(behaviour, {}, f"{n:x}", 0) for n in range(5000)]
    assert 400 < picked.count("429") < 600
    assert 180 < picked.count("500") < 320
    assert any(pick_fault(behaviour, {}, f"{n:x}", 1) is None for n in range(5000) if picked[n])


def test_unknown_faults_are_refused():
    with pytest.raises(ValueError, match="nonsense"):
        ScriptedServer(faults={"nonsense": 0.1})
    with pytest.raises(TypeError):
        ScriptedServer(latancy=1)


@pytest.mark.parametrize(("fault", "status"), [("429", 429), ("500", 500), ("503", 503), ("html", 200), ("empty", 200), ("malformed", 200)])
def test_faults_look_as_they_should(fault, status):
    with ScriptedServer(faults={fault: 1.0}, retry_after=2) as server:
        got, headers, body = ask(server)
        assert got == status
        assert server.stats()["faults"] == {fault: 1}
        assert server.stats()["answered"] == 0
    if fault == "429":
        assert headers["Retry-After"] == "2"
    if fault == "html":
        assert body.startswith(b"<!doctype html>")
    if fault == "empty":
        assert json.loads(body)["choices"] == []


def test_bodies_and_connections_break():
    with ScriptedServer(always={"cut": "truncated", "gone": "drop", "bad": "bad_json"}) as server:
        with pytest.raises(http.client.IncompleteRead):
            ask(server, "cut")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(server, "gone")
        with pytest.raises(ValueError):
            json.loads(ask(server, "bad")[2])


def test_keys_and_models_are_checked():
    with ScriptedServer(key="right", models=["m"]) as server:
        assert ask(server)[0] == 401
        assert ask(server, key="right")[0] == 200
        status, _, body = post(f"{server.url}/chat/completions", {"model": "x", "messages": []}, "right")
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


def test_more_than_there_is_room_for_is_shed():
    with ScriptedServer(latency=0.3, max_in_flight=2) as server:
        got = []
        threads = [threading.Thread(target=lambda i=i: got.append(ask(server, str(i))[0])) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == [200, 200, 429, 429, 429, 429]
        assert server.stats()["in_flight"] == 0


def test_a_rate_is_kept():
    with ScriptedServer(per_minute=300) as server:  # five at once, then five a second
        assert [ask(server, str(i))[0] for i in range(8)].count(429) >= 2
        time.sleep(0.5)
        assert ask(server, "later")[0] == 200


def test_logprobs_lengths_scripts_and_schemas():
    with ScriptedServer(replies={"rate": ["4"], "many": "one two three four"}) as server:
        choice = json.loads(ask(server, "rate", logprobs=True, top_logprobs=5)[2])["choices"][0]
        assert choice["message"]["content"] == "4"
        (step,) = choice["logprobs"]["content"]
        assert step["token"] == "4" and len(step["top_logprobs"]) == 5
        choice = json.loads(ask(server, "many", max_tokens=2)[2])["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")
        schema = {"type": "object", "properties": {"n": {"type": "integer"}, "k": {"enum": ["a"]}, "l": {"type": "array", "items": {}}}}
        asked = {"type": "json_schema", "json_schema": {"schema": schema}}
        value = json.loads(json.loads(ask(server, "form", response_format=asked)[2])["choices"][0]["message"]["content"])
        assert value["k"] == "a" and isinstance(value["n"], int)


def test_embeddings_are_unit_vectors_of_the_text():
    with ScriptedServer() as server:
        status, _, body = post(f"{server.url}/embeddings", {"model": "e", "input": ["a", "b", "a"]})
        one, two, three = [d["embedding"] for d in json.loads(body)["data"]]
    assert status == 200
    assert one == three != two
    assert sum(v * v for v in one) == pytest.approx(1)


def test_it_listens_on_loopback_only_and_stops():
    with ScriptedServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        assert server.url.startswith("http://127.0.0.1:")
        assert ask(server)[0] == 200
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        pass


def test_it_ends_by_itself():
    with ScriptedServer(max_seconds=0.2) as server:
        server.wait()


def test_a_taken_port_is_an_error():
    with ScriptedServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(OSError), ScriptedServer(port=port):
            pass


def test_it_runs_from_the_command_line():
    command = [sys.executable, "-m", "sftrecipe.testing.server", "--port", "0", "--latency", "0", "--fault", "500=1", "--max-seconds", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = json.loads(process.stdout.readline())["base_url"]
        status, _, _ = post(f"{url}/chat/completions", {"messages": []})
        process.terminate()
    assert status == 500
    wrong = subprocess.run([*command[:3], "--fault", "nonsense=1"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "nonsense" in wrong.stderr


