"""Models that are none: a transport that does what a test says, and a clock that nobody has to wait for."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
from typing import Any

from sftrecipe.models import Limits, Provider, Reply, Request
from sftrecipe.models.transport import Clock


class FakeTime:
    """Time that jumps to the next sleeper as soon as everybody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._serial = 0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self._serial += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, self._serial, woken))
        if len(self._sleepers) == 1:
            asyncio.ensure_future(self._pass())
        await woken

    async def _pass(self) -> None:
        while self._sleepers:
            for _ in range(20):  # whoever can go on without time passing does
                await asyncio.sleep(0)
            when, _, woken = heapq.heappop(self._sleepers)
            self.time = max(self.time, when)
            if not woken.done():
                woken.set_result(None)

    def clock(self) -> Clock:
        return Clock(self.now, self.sleep)


class FakeTransport:
    """Answers with `script(request, how often it was asked)`: a Reply, a text, or a failure to raise."""

    adaptive = True

    def __init__(self, script: Callable[[Request, int], Any], concurrency: int, sleep: Callable[[float], Any] | None, seconds: float) -> None:
        self.script, self.concurrency = script, concurrency
        self.asked: list[Request] = []
        self.times: dict[str, int] = {}
        self.in_flight = self.peak = 0
        self.closed = self.left = 0
        self._sleep, self._seconds = sleep or asyncio.sleep, seconds

    async def send(self, request: Request) -> Reply:
        name = f"{request.messages}{request.sample}"
        count = self.times.get(name, 0)
        self.times[name] = count + 1
        self.asked.append(request)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await self._sleep(self._seconds)
            said = self.script(request, count)
        finally:
            self.in_flight -= 1
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, tokens_in=10, tokens_out=5)

    def redact(self, text: str) -> str:
        return text.replace("SECRET-CANARY", "[secret]")

    async def leave(self) -> None:
        self.left += 1

    def close(self) -> None:
        self.closed += 1


class Fake(Provider):
    """A provider around one FakeTransport."""

    serves = ("Chat",)
    place = "loop"
    name = "fake"

    @classmethod
    def of(
        cls,
        script: Callable[[Request, int], Any],
        *,
        concurrency: int = 64,
        model: str = "fake-1",
        sleep: Callable[[float], Any] | None = None,
        seconds: float = 0.0,
        **limits: Any,
    ) -> Fake:
        made = cls()
        made.transport = FakeTransport(script, concurrency, sleep, seconds)
        made.model, made.given = model, Limits(**limits)
        return made

    def identity(self) -> Mapping[str, Any]:
        return {"provider": "fake", "model": self.model}

    def limits(self) -> Limits:
        return self.given

    def open(self) -> FakeTransport:
        return self.transport


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def last(request: Request) -> str:
    return str(request.messages[-1]["content"])
