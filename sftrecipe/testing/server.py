"""A scripted OpenAI-compatible server on 127.0.0.1, for tests and for trying recipes without a model.

    with ScriptedServer(latency=0.02, faults={"429": 0.05}) as server:
        ...                             # base_url is server.url
        server.stats()["requests"]

    python -m sftrecipe.testing.server --port 8399 --latency 0.2 --fault 429=0.05

It serves /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models, /stats and /reset, and ends by itself after
`max_seconds`. Answers depend on the request alone; they are words, not thoughts. Needs aiohttp.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sftrecipe.testing.faults import FAULTS, Behaviour, digest, fraction, pick_fault, text_for

__all__ = ["ScriptedServer", "main"]

EMBEDDING_WIDTH = 64


@dataclass
class _Counts:
    """What the server has seen since the start or the last reset."""

    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    peak: int = 0
    area: float = 0.0
    first: float = 0.0
    last: float = 0.0

    def step(self, change: int) -> None:
        now = time.monotonic()
        self.first = self.first or now
        self.area += self.in_flight * (now - self.last) if self.last else 0.0
        self.last = now
        self.in_flight += change
        self.peak = max(self.peak, self.in_flight)

    def report(self) -> dict[str, Any]:
        span = self.last - self.first
        return {
            "requests": self.requests,
            "answered": sum(self.answered.values()),
            "faults": dict(sorted(self.faults.items())),
            "distinct": len(self.seen),
            "distinct_answered": len(self.answered),
            "answered_again": sum(n - 1 for n in self.answered.values()),
            "in_flight": self.in_flight,
            "in_flight_peak": self.peak,
            "in_flight_mean": round(self.area / span, 1) if span > 0 else 0.0,
            "span": round(span, 3),
        }


class _App:
    """The handlers, over one Behaviour."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.counts = _Counts()
        self._room = behaviour.per_minute / 60
        self._filled = time.monotonic()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.chat)
        app.router.add_post("/v1/embeddings", self.embeddings)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/stats", self.stats)
        app.router.add_post("/reset", self.reset)
        return app

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response(self.counts.report())

    async def reset(self, request: web.Request) -> web.Response:
        self.counts = _Counts(in_flight=self.counts.in_flight)
        return web.json_response({})

    async def models(self, request: web.Request) -> web.Response:
        names = self.behaviour.models or ("scripted",)
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    async def embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [{"object": "embedding", "index": i, "embedding": _vector(text)} for i, text in enumerate(texts)]
        used = sum(len(text) // 4 + 1 for text in texts)
        return web.json_response(
            {"object": "list", "data": data, "usage": {"prompt_tokens": used, "total_tokens": used}}
        )

    async def chat(self, request: web.Request) -> web.StreamResponse:
        counts = self.counts
        counts.requests += 1
        counts.step(+1)
        try:
            return await self._answer(request, json.loads(await request.read()), counts)
        finally:
            counts.step(-1)

    async def _answer(self, request: web.Request, body: dict[str, Any], counts: _Counts) -> web.StreamResponse:
        b, name = self.behaviour, digest(body)
        if b.key is not None and request.headers.get("Authorization") != f"Bearer {b.key}":
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return _error(401, f"Incorrect API key provided: {given}", "invalid_api_key")
        if b.models and body.get("model") not in b.models:
            return _error(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        if self._full(counts):
            counts.faults["shed"] += 1
            await asyncio.sleep(0.002)
            return self._refuse()
        wanted = (body.get("response_format") or {}).get("type")
        if wanted is not None and wanted not in b.response_formats:
            return _error(400, f"response_format `{wanted}` is not supported", "invalid_request_error")
        tries = counts.seen[name]
        counts.seen[name] += 1
        fault = pick_fault(b, body, name, tries)
        pause = (2 * fraction(f"{b.seed}/{name}/{tries}/pause") - 1) * b.jitter + b.latency
        if fault is not None:
            counts.faults[fault] += 1
            broken = await self._break(request, fault, max(0.0, pause))
            if broken is not None:
                return broken
        else:
            await asyncio.sleep(max(0.0, pause))
            counts.answered[name] += 1
        text = '{"cut": [1, 2, ' if fault == "malformed" else text_for(b, body, name)
        answer = json.dumps(_completion(body, name, text)).encode()
        if fault == "truncated":
            return await _cut(request, answer)
        return web.Response(body=answer[:-30] if fault == "bad_json" else answer, content_type="application/json")

    async def _break(self, request: web.Request, fault: str, pause: float) -> web.StreamResponse | None:
        """The response of a fault, or None where a normal answer goes wrong later."""
        if fault == "429":
            await asyncio.sleep(0.005)
            return self._refuse()
        if fault == "hang":
            await asyncio.sleep(self.behaviour.hang_seconds)
            return None
        await asyncio.sleep(pause if fault in ("malformed", "truncated", "bad_json") else pause / 2)
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
            return web.Response()
        if fault in ("500", "503"):
            return _error(int(fault), "the server had an error", "server_error")
        if fault == "400":
            return _error(400, "flagged by the content filter", "content_filter")
        if fault == "context":
            return _error(400, "This model's maximum context length is 8192 tokens", "context_length_exceeded")
        if fault == "html":
            return web.Response(text="<!doctype html><html><body>Welcome</body></html>", content_type="text/html")
        if fault == "empty":
            return web.json_response({"object": "chat.completion", "choices": [], "usage": {}})
        return None

    def _full(self, counts: _Counts) -> bool:
        b = self.behaviour
        if b.max_in_flight and counts.in_flight > b.max_in_flight:
            return True
        if not b.per_minute:
            return False
        now, second = time.monotonic(), b.per_minute / 60
        self._room = min(second, self._room + (now - self._filled) * second)
        self._filled = now
        if self._room < 1:
            return True
        self._room -= 1
        return False

    def _refuse(self) -> web.Response:
        after = self.behaviour.retry_after
        return _error(429, "Rate limit reached", "rate_limit_exceeded", {"Retry-After": f"{after:g}"} if after else {})


def _error(status: int, message: str, code: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": code, "code": code}}, status=status, headers=headers
    )


def _completion(body: Mapping[str, Any], name: str, text: str) -> dict[str, Any]:
    limit = body.get("max_tokens") or body.get("max_completion_tokens")
    words = text.split(" ")
    cut = limit is not None and len(words) > limit
    text = " ".join(words[:limit]) if cut else text
    asked, told = len(json.dumps(body.get("messages"))) // 4, len(words[:limit]) if cut else len(words)
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if cut else "stop", "logprobs": None}
    choice |= (
        {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text, "refusal": None}}
    )
    if body.get("logprobs"):
        choice["logprobs"] = {"content": _logprobs(text, int(body.get("top_logprobs") or 0), name)}
    usage = {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "model": body.get("model"),
        "choices": [choice],
        "usage": usage,
    }


def _logprobs(text: str, tops: int, name: str) -> list[dict[str, Any]]:
    """The first tokens (words) of an answer, each with `tops` alternatives: the word, the digits, then letters."""
    others = [*"123456", *"abcdefghijklmn"]
    out = []
    for at, word in enumerate(text.split(" ")[:8]):
        drawn = random.Random(f"{name}/{at}")  # noqa: S311
        tokens = [word, *(token for token in others if token != word)][: max(tops, 1)]
        weights = [drawn.random() + (3 if i == 0 else 0.01) for i in range(len(tokens))]
        pairs = [{"token": t, "logprob": math.log(w / sum(weights))} for t, w in zip(tokens, weights, strict=True)]
        out.append({**pairs[0], "top_logprobs": pairs[:tops]})
    return out


def _vector(text: str) -> list[float]:
    drawn = random.Random(text)  # noqa: S311
    values = [drawn.gauss(0, 1) for _ in range(EMBEDDING_WIDTH)]
    norm = math.sqrt(sum(v * v for v in values))
    return [v / norm for v in values]


async def _cut(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(answer))})
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


class ScriptedServer:
    """The server on a thread of its own; use it as a context manager. Keywords are the fields of `Behaviour`.

    Args:
        port: 0 takes a free one.
        max_seconds: it stops by itself after this.
    """

    def __init__(self, *, port: int = 0, max_seconds: float = 300.0, **behaviour: Any) -> None:
        self._app = _App(Behaviour(**behaviour))
        self._port, self._max_seconds = port, max_seconds
        self._ready = threading.Event()
        self._failed: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="scripted-server", daemon=True)

    @property
    def url(self) -> str:
        """What goes into `base_url`."""
        return f"http://127.0.0.1:{self._port}/v1"

    def stats(self) -> dict[str, Any]:
        """Counters:

        requests, answered, faults, distinct, answered_again, in_flight_peak, in_flight_mean, span (seconds).
        """
        return self._app.counts.report()

    def reset(self) -> None:
        """Zeroes the counters."""
        self._app.counts = _Counts(in_flight=self._app.counts.in_flight)

    def behave(self, **changes: Any) -> None:
        """Changes the behaviour from now on."""
        from dataclasses import replace

        self._app.behaviour = replace(self._app.behaviour, **changes)

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        self._ready.wait(10)
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def wait(self) -> None:
        """Blocks until it stops."""
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._app.application(), access_log=None, shutdown_timeout=0.2, keepalive_timeout=75)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=2048)
            await site.start()
            self._port = runner.addresses[0][1]
        except OSError as error:
            self._failed = error
            self._ready.set()
            await runner.cleanup()
            return
        self._ready.set()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self._max_seconds)
        await runner.cleanup()


def main(arguments: list[str] | None = None) -> None:
    """`python -m sftrecipe.testing.server`: says its address as one JSON line, then serves."""
    parser = argparse.ArgumentParser(
        prog="python -m sftrecipe.testing.server", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--port", type=int, default=8399, help="0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds an answer takes")
    parser.add_argument("--jitter", type=float, default=0.02, help="seconds, plus or minus")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME=SHARE", help=f"one of {', '.join(FAULTS)}"
    )
    parser.add_argument("--max-in-flight", type=int, default=0, help="more are refused")
    parser.add_argument("--per-minute", type=float, default=0, help="more requests a minute are refused")
    parser.add_argument("--retry-after", type=float, default=0, help="seconds, sent with refusals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=600, help="it ends by itself")
    given = parser.parse_args(arguments)
    try:
        faults = {name: float(share) for name, _, share in (entry.partition("=") for entry in given.fault)}
        server = ScriptedServer(
            port=given.port, max_seconds=given.max_seconds, latency=given.latency, jitter=given.jitter, faults=faults,
            seed=given.seed, max_in_flight=given.max_in_flight, per_minute=given.per_minute,
            retry_after=given.retry_after,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    with server:
        sys.stdout.write(json.dumps({"base_url": server.url}) + "\n")
        sys.stdout.flush()
        try:
            server.wait()
        except KeyboardInterrupt:
            sys.stderr.write("stopped\n")


if __name__ == "__main__":
    main()
