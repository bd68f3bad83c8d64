"""A chat model as operators have it: `await self.model.chat(messages, n=..., temperature=..., schema=...)`.

Around the provider's one coroutine stand, from the outside in: validated answers with one request to repair
(structured.py), the canonical key (keys.py) that makes equal questions one request in this run and in later ones
(cache.py), and delivery with budget, limits, retries and breaker (delivery.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sftrecipe.errors import RowError, StepError, UsageError
from sftrecipe.models import structured
from sftrecipe.models.budget import Budget, Price
from sftrecipe.models.cache import Answer, Cache, DeadLetter, Spent
from sftrecipe.models.delivery import Course, Delivery, Line, Policy
from sftrecipe.models.failures import Broken, Failure, Fatal, Unusable
from sftrecipe.models.keys import canonical, canonical_request, clean_messages, preview, request_key
from sftrecipe.models.limits import AdaptiveLimit
from sftrecipe.models.protocols import Reply
from sftrecipe.models.provider import Provider
from sftrecipe.models.pull import on_loop_end
from sftrecipe.models.transport import CLOCK, RAW, Clock, Request, Transport

__all__ = ["MODES", "ChatSession", "Mode", "Policy"]

Mode = Literal["use", "refresh", "only", "off"]
MODES: tuple[Mode, ...] = ("use", "refresh", "only", "off")
SHOWN = 2000
"""Characters of a broken answer that a dead letter keeps."""


@dataclass
class _Live:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    line: Line
    flights: dict[bytes, asyncio.Future[Reply | None]] = field(default_factory=dict)


class ChatSession:
    """`Chat` around a provider, for one model of a recipe; operators that name the same model share it.

    Args:
        provider: the model. Its `open()` is called on the event loop, at the first request.
        store_dir: the folder of `requests.sqlite` (`.sftrecipe/`), shared by all models and runs. Untouched in mode
            `off`.
        requests_mode: `use` what is recorded and ask for the rest; `refresh`: ask again, once a run, and record;
            `only`: nothing is sent, what is not recorded is an error; `off`: no record, nothing on disk.
        name: the model's name in the recipe, for messages.
        scope: what a budget is counted under, beside the name (the recipe's name): spending in earlier runs of the same
            scope counts.
        policy: attempts and patience.
        clock: for tests.

    Raises:
        UsageError: an unknown mode. StepError: the record cannot be used.
        UnknownPriceError: a budget in dollars without a price. ValueError: a budget of something else.

    Use it from one event loop at a time. Connections are let go at the end of each loop that `run_rows` or
    `stream_rows` began, or by `aclose()` on any other. `close()` commits what waits and closes model and record.
    """

    def __init__(
        self,
        provider: Provider,
        store_dir: Path,
        requests_mode: str = "use",
        *,
        name: str = "",
        scope: str = "",
        policy: Policy | None = None,
        clock: Clock = CLOCK,
    ) -> None:
        if requests_mode not in MODES:
            raise UsageError(f"--requests takes {', '.join(MODES)}, not `{requests_mode}`")
        self.provider, self.mode, self.name = provider, requests_mode, name or provider.name
        self.identity = {**provider.identity(), "version": type(provider).version}
        limits = provider.limits()
        self.price = Price.of(limits.price)
        self._policy, self._clock = policy or Policy(), clock
        self._identity, self._scope = canonical(self.identity), f"{scope}:{name}"
        self._label = self._identity.decode("ascii")
        Budget(limits.budget, self.price, Spent(), self.name)  # a wrong budget is told before anything is opened
        self._cache = None if requests_mode == "off" else Cache(Path(store_dir) / "requests.sqlite")
        before = self._cache.spent(self._scope) if self._cache and limits.budget else Spent()
        budget = Budget(limits.budget, self.price, before, self.name)
        self._delivery = Delivery(limits, budget, self._keep, policy=self._policy, clock=clock, name=self.name)
        self._counts = self._delivery.counts
        self._transport: Transport | None = None
        self._live: _Live | None = None
        self._fresh: set[bytes] = set()

    async def chat(self, messages: Sequence[Mapping[str, Any]], *, n: int = 1, **sampling: Any) -> list[Reply]:
        """See `sftrecipe.Chat`."""
        complete, first = bool(sampling.pop("complete", False)), int(sampling.pop("first", 0))
        asked, clean = {k: v for k, v in sampling.items() if v is not None}, clean_messages(messages)
        if n == 1:
            replies = [await self._sample(clean, asked, first)]
        else:
            replies = await self._samples(clean, asked, range(first, first + n))
        if complete and any(reply.finish_reason == "length" for reply in replies):
            raise RowError(
                "truncated", f"the answer was cut at max_tokens ({asked.get('max_tokens', 'set by the server')})"
            )
        return replies

    async def reward(self, messages: Sequence[Mapping[str, Any]]) -> float:
        """See `sftrecipe.Reward`, for providers that serve both. Raises StepError for others."""
        self._on_loop()
        score: Callable[[Sequence[Mapping[str, Any]]], Awaitable[float]] | None = getattr(
            self._transport, "reward", None
        )
        if score is None:
            raise StepError(
                f"model `{self.name}` gives no rewards", code="R629", help="name a model that serves Reward"
            )
        return await score(messages)

    async def complete(self, prompt: str, *, n: int = 1, **sampling: Any) -> list[Reply]:
        """See `sftrecipe.Chat`."""
        if not getattr(self._on_loop().line.transport, "completes", False):
            message = f"model `{self.name}` ({self.provider.name}) cannot go on from a raw text"
            raise StepError(
                message, code="R631", help="use a server with /completions (vLLM, llama.cpp) or `transformers`"
            )
        return await self.chat([{"role": RAW, "content": prompt}], n=n, **sampling)

    def usage(self) -> dict[str, Any]:
        """What this run has asked so far, JSON-able.

        `dollars` is "n/a" without a price; `failed` counts requests by code.
        """
        c, limit = self._counts, self._live.line.limit if self._live else None
        return {
            "model": self.name,
            "requests": c.answered,
            "cached": c.cached,
            "failed": dict(sorted(c.failed.items())),
            "sent": c.sent,
            "refused": c.refused,
            "broken": c.broken,
            "tokens_in": c.tokens_in,
            "tokens_out": c.tokens_out,
            "dollars": round(c.dollars, 6) if self.price else "n/a",
            "in_flight": limit.in_flight if limit else 0,
            "limit": int(limit.limit) if limit else 0,
            "waiting": limit.waiting if limit else 0,
        }

    def failures(self) -> Iterator[DeadLetter]:
        """Requests to this model that failed and that nothing has answered since, in this run or an earlier one."""
        return iter(()) if self._cache is None else self._cache.dead_letters(self._label)

    def seconds(self) -> list[float]:
        """How long recorded answers of this model took: for estimates."""
        return [] if self._cache is None else self._cache.seconds(self._label)

    async def aclose(self) -> None:
        """`close()`, on a loop of one's own: lets its connections go first."""
        if self._transport is not None:
            await self._transport.leave()
        self.close()

    def close(self) -> None:
        """Commits what waits; closes the model and the record."""
        if self._transport is not None:
            self._transport.close()
        if self._cache is not None:
            self._cache.close()

    async def _samples(
        self, messages: list[dict[str, Any]], sampling: dict[str, Any], samples: Iterable[int]
    ) -> list[Reply]:
        # all are awaited even if one fails: the others are paid for and shall be recorded
        got = await asyncio.gather(*(self._sample(messages, sampling, k) for k in samples), return_exceptions=True)
        errors = [g for g in got if isinstance(g, BaseException)]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, RowError))
        return [g for g in got if isinstance(g, Reply)]

    async def _sample(self, messages: list[dict[str, Any]], sampling: dict[str, Any], sample: int) -> Reply:
        schema = sampling.get("schema")
        asked = Request(messages, sampling, sample)
        if schema is None:
            return (await self._answer(asked))[1]
        structured.check_schema(schema)
        first_key, first = await self._answer(asked)
        value, problem = _parse(first, schema)
        if problem is None:
            return replace(first, parsed=value)
        again = Request(structured.repair_messages(messages, first.text, problem), sampling, sample)
        second_key, second = await self._answer(again)
        value, problem = _parse(second, schema)
        if problem is None:
            tokens_in, tokens_out = first.tokens_in + second.tokens_in, first.tokens_out + second.tokens_out
            return replace(second, parsed=value, tokens_in=tokens_in, tokens_out=tokens_out)
        if self._cache and self.mode != "only":
            await self._cache.forget(first_key, second_key)  # no answer to the question: the next run asks again
        course = Course(first_key, asked, self._canonical(asked), attempts=2)
        raise await self._fail(course, Broken("invalid_json", problem, second.text))

    async def _answer(self, request: Request) -> tuple[bytes, Reply]:
        """The answer to one request: from the record, from whoever asks the same just now, or from the server."""
        live = self._on_loop()
        asked = self._canonical(request)
        key = request_key(asked)
        reply = self._recall(key, request)
        while reply is None and (flight := live.flights.get(key)) is not None:
            reply = await asyncio.shield(flight)  # None when the row that asked first was cancelled
        if reply is not None:
            self._counts.cached += 1
            return key, reply
        return key, await self._ask_first(live, Course(key, request, asked))

    async def _ask_first(self, live: _Live, course: Course) -> Reply:
        flight: asyncio.Future[Reply | None] = live.loop.create_future()
        live.flights[course.key] = flight
        try:
            reply = await self._fetch(live, course)
        except asyncio.CancelledError:
            flight.set_result(None)
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # seen: that nobody else waits for it is no news
            raise
        else:
            flight.set_result(reply)
            return reply
        finally:
            del live.flights[course.key]

    async def _fetch(self, live: _Live, course: Course) -> Reply:
        try:
            return await self._delivery.fetch(live.line, course)
        except (Broken, Unusable) as failure:
            raise await self._fail(course, failure) from None

    def _recall(self, key: bytes, request: Request) -> Reply | None:
        if self._cache is None or (self.mode == "refresh" and key not in self._fresh):
            return None
        stored = self._cache.get(key)
        if stored is not None:
            return Reply(**{**stored, "logprobs": tuple(stored.get("logprobs", ()))})
        if self.mode == "only":
            asked = preview(request.messages)
            message = (
                f"nothing is recorded for `{asked}` (sample {request.sample}), and `--requests only` sends nothing"
            )
            raise self._delivery.end(Fatal("not_recorded", message, "run once with `--requests use`"))
        return None

    async def _keep(self, course: Course, reply: Reply, spent: Spent, seconds: float) -> None:
        if self._cache is None:
            return
        asked = self._redacted(course.asked.decode("ascii"))
        answer = Answer(course.key, self._label, asked, _stored(reply), reply.tokens_in, reply.tokens_out, seconds)
        await self._cache.put(answer, (self._scope, spent))
        if self.mode == "refresh":
            self._fresh.add(course.key)

    async def _fail(self, course: Course, failure: Failure) -> RowError:
        """Notes a request that has no answer, as a dead letter and in the figures; returns the error of its row."""
        self._counts.failed[failure.code] += 1
        if self._cache and self.mode != "only":
            raw = self._redacted(failure.raw[:SHOWN]) if isinstance(failure, Broken) else ""
            cause, asked = self._redacted(failure.message), self._redacted(course.asked.decode("ascii"))
            letter = DeadLetter(course.key, self._label, failure.code, cause, asked, max(1, course.attempts), raw)
            await self._cache.bury(letter)
        tried = f" ({course.attempts} attempts)" if course.attempts > 1 else ""
        return RowError(failure.code, f"{failure.message}{tried}")

    def _canonical(self, request: Request) -> bytes:
        return canonical_request(self._identity, request.messages, request.sampling, request.sample)

    def _redacted(self, text: str) -> str:
        return text if self._transport is None else self._transport.redact(text)

    def _on_loop(self) -> _Live:
        loop = asyncio.get_running_loop()
        if self._live is None or self._live.loop is not loop:
            if self._transport is None:
                self._transport = self.provider.open()
            transport = self._transport
            known = int(self._live.line.limit.limit) if self._live else None
            start = known or self._policy.start or max(32, transport.concurrency // 2)
            limit = AdaptiveLimit(transport.concurrency, now=self._clock.now, start=start, adaptive=transport.adaptive)
            self._live = _Live(loop, Line(transport, limit))
            on_loop_end(transport.leave)
        return self._live


def _parse(reply: Reply, schema: Mapping[str, Any]) -> tuple[Any, str | None]:
    """(value, None), or (None, what is wrong). Raises RowError where asking again is no use."""
    try:
        value = structured.find_json(reply.text)
        problem = structured.validate(value, schema)
    except ValueError as error:
        value, problem = None, str(error)
    if problem is None:
        return value, None
    if reply.refusal or reply.finish_reason == "content_filter":
        raise RowError("refused", reply.refusal or "the provider filtered the answer")
    if reply.finish_reason == "length":
        raise RowError("truncated", "the answer was cut before its JSON was complete: raise max_tokens")
    return None, problem


def _stored(reply: Reply) -> str:
    out: dict[str, Any] = {"text": reply.text, "finish_reason": reply.finish_reason}
    out |= {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out}
    for name in ("reasoning", "tool_calls", "refusal"):
        if (value := getattr(reply, name)) is not None:
            out[name] = value
    if reply.logprobs:
        out["logprobs"] = [dict(step) for step in reply.logprobs]
    return json.dumps(out, separators=(",", ":"))
