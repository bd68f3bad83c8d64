"""What a chat provider's `open()` gives: one coroutine that sends one request. Everything else is around it.

    class Mine(Provider):
        serves = ("Chat",)
        place = "loop"

        def identity(self): return {"provider": "mine", "model": self.model}
        def open(self): return MyTransport(...)          # called on the event loop that will use it

`send` returns a Reply or raises a `Failure` (see sftrecipe.models.failures). It neither retries, nor caches, nor
limits.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sftrecipe.models.protocols import Reply

__all__ = ["CLOCK", "RAW", "Clock", "Request", "Transport"]

RAW = "raw"
"""The role of the one message of a request that goes on from a raw text, without a chat template."""


@dataclass(frozen=True)
class Request:
    """One question:

    messages as servers take them, sampling parameters (with `schema` and `logprobs`), the sample's number.
    """

    messages: list[dict[str, Any]]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0

    @property
    def prompt(self) -> str | None:
        """The raw text to go on from, where this is no conversation (`ChatSession.complete`)."""
        return str(self.messages[0]["content"]) if self.messages and self.messages[0]["role"] == RAW else None


class Transport(Protocol):
    """One open connection to a model.

    Attributes:
        concurrency: requests in flight at most.
        adaptive: whether the limit should search its way up (servers), or be `concurrency` at once (local models).
        completes: may be set to True: it takes requests with a raw `prompt` too.
    """

    concurrency: int
    adaptive: bool

    async def send(self, request: Request) -> Reply:
        """The answer to one request. Raises Failure."""
        ...

    def redact(self, text: str) -> str:
        """`text` with every secret of this connection replaced."""
        ...

    async def leave(self) -> None:
        """The event loop is about to end: lets go of what is bound to it. Another may follow."""
        ...

    def close(self) -> None:
        """Lets go of memory and threads, for good."""
        ...


async def _sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)


@dataclass(frozen=True)
class Clock:
    """Time as the session sees it, so that tests need not wait. `now` is monotonic, in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = _sleep


CLOCK = Clock()
