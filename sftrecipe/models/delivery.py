"""One request to the server, come what may: budget, limits, retries, breaker.

    budget      checked before sending (budget.py)
    limit       adaptive concurrency, requests and tokens a minute (limits.py)
    retries     a refusal spends no attempt, a broken try does, an outage does not; Retry-After is obeyed
    breaker     ends the run when the server has gone (breaker.py)

A place in the limit is given back only after the answer is kept (`keep` has returned): a killed run repeats at most
what was in flight. A refused request rests in its place for about as long as an answer takes, so that the next does not
run into the same wall.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sftrecipe.errors import StepError
from sftrecipe.models.breaker import Breaker
from sftrecipe.models.budget import Budget
from sftrecipe.models.cache import Spent
from sftrecipe.models.failures import Broken, Fatal, Refused, Unreachable, Unusable, step_error
from sftrecipe.models.keys import estimate_tokens, preview
from sftrecipe.models.limits import AdaptiveLimit, Pace
from sftrecipe.models.protocols import Reply
from sftrecipe.models.provider import Limits
from sftrecipe.models.transport import Clock, Request, Transport

__all__ = ["Counts", "Course", "Delivery", "Keep", "Line", "Policy"]

log = logging.getLogger("sftrecipe.models")
LONGEST_REST = 20.0
LONGEST_REST_IN_PLACE = 5.0
BLAMED_FROM = 5
"""Refusals that make it the request's own fault, where only few are refused and no other is left to be answered."""


@dataclass(frozen=True)
class Policy:
    """How patient a session is. Times in seconds.

    Attributes:
        attempts: broken tries after which a row fails.
        patience: without a success, while requests fail, the run ends after this.
        first_patience: the same where nobody has ever answered at the address.
        start: requests in flight at first; None: 32, or half of what the model allows if that is more.
        hopeless: so many requests refused as wrong, without one success, end the run.
    """

    attempts: int = 5
    patience: float = 120.0
    first_patience: float = 15.0
    start: int | None = None
    hopeless: int = 20


@dataclass
class Counts:
    """What a session has asked so far. `failed`: requests without an answer, by code."""

    answered: int = 0
    cached: int = 0
    sent: int = 0
    refused: int = 0
    broken: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)


@dataclass
class Line:
    """What belongs to one event loop: the connection and its limit."""

    transport: Transport
    limit: AdaptiveLimit


@dataclass
class Course:
    """A request (`asked`: its canonical JSON, of which `key` is the hash) and how it has fared so far."""

    key: bytes
    request: Request
    asked: bytes
    attempts: int = 0
    tries: int = 0
    refusals: int = 0


Keep = Callable[[Course, Reply, Spent, float], Awaitable[None]]
"""keep(course, reply, what it cost, seconds it took): records an answer."""


@dataclass
class _Place:
    need: Mapping[str, float]
    settled: bool = False


class Delivery:
    """Sends requests for one model until each is answered or hopeless.

    Args:
        limits: rates a minute.
        budget: checked before each request.
        keep: awaited with every answer before it is handed on.
        name: of the model, for messages.
    """

    def __init__(self, limits: Limits, budget: Budget, keep: Keep, *, policy: Policy, clock: Clock, name: str) -> None:
        self.counts = Counts()
        self._budget, self._keep, self._policy, self._clock, self._name = budget, keep, policy, clock, name
        self._requests = Pace(limits.requests_per_minute, clock.now)
        self._tokens = Pace(limits.tokens_per_minute, clock.now)
        self._breaker = Breaker(policy.patience, policy.first_patience, clock.now)
        self._ended: StepError | None = None
        self._usual = 0.25
        self._jitter = random.Random()  # noqa: S311  (spreads retries in time; no result depends on it)

    async def fetch(self, line: Line, course: Course) -> Reply:
        """The answer to one request.

        Raises:
            Broken: all attempts failed. Unusable: this request will never be answered.
            StepError: no request will be answered. BudgetReached: nothing more may be spent.
        """
        while True:
            self._go_on(course)
            async with self._place(line, course) as place:
                self._go_on(course)
                try:
                    return await self._send(line, course, place)
                except Refused as failure:
                    rest = await self._after_refusal(course, failure)
                except (Unreachable, Broken) as failure:
                    rest = self._after_break(course, failure)
                except Unusable as failure:
                    self._hopeless(failure)
                    raise
                except Fatal as failure:
                    raise self.end(failure) from None
            await self._rest(course, rest)

    def end(self, failure: Fatal) -> StepError:
        """The error that ends the run, now and for every later request."""
        if self._ended is None:
            self._ended = step_error(failure, self._name)
        return self._ended

    @asynccontextmanager
    async def _place(self, line: Line, course: Course) -> AsyncIterator[_Place]:
        """A place in the limit, with a reserve of the budget, at a time that the rates allow."""
        request = course.request
        tokens_in = sum(estimate_tokens(m["content"]) for m in request.messages if isinstance(m.get("content"), str))
        place = _Place(self._budget.worst(tokens_in, request.sampling.get("max_tokens")))
        await self._budget.reserve(place.need)
        try:
            await line.limit.acquire()
            try:
                if wait := max(self._requests.book(1), self._tokens.book(place.need["tokens"])):
                    await self._rest(course, wait)
                yield place
            finally:
                line.limit.release()
        finally:
            if not place.settled:
                self._budget.settle(place.need, answered=False)

    async def _send(self, line: Line, course: Course, place: _Place) -> Reply:
        self.counts.sent += 1
        ticket, sent = self._breaker.sent(), self._clock.now()
        refused = named = False
        try:
            reply = await line.transport.send(course.request)
        except Refused as failure:
            refused, named = True, failure.retry_after is not None
            raise
        finally:
            self._breaker.ended(ticket)
            line.limit.answered(sent, refused, named)
        seconds = self._clock.now() - sent
        self._usual += 0.05 * (seconds - self._usual)
        self._breaker.succeeded()
        place.settled = True
        spent = self._budget.settle(place.need, reply.tokens_in, reply.tokens_out)
        self._tokens.correct(reply.tokens_in + reply.tokens_out - place.need["tokens"])
        self._count(reply, spent)
        await self._keep(course, reply, spent, seconds)
        return reply

    def _count(self, reply: Reply, spent: Spent) -> None:
        self.counts.answered += 1
        self.counts.tokens_in += reply.tokens_in
        self.counts.tokens_out += reply.tokens_out
        self.counts.dollars += spent.dollars

    async def _after_refusal(self, course: Course, failure: Refused) -> float:
        """Rests in its place; returns how much longer to wait without one."""
        course.tries += 1
        course.refusals += 1
        self.counts.refused += 1
        self._breaker.failed(course.key, failure)
        if failure.retry_after is not None:
            wait = failure.retry_after + self._jitter.uniform(0, 0.05 + 0.1 * failure.retry_after)
        else:
            wait = min(LONGEST_REST, 0.2 * 2.0 ** min(course.tries, 10)) * self._jitter.uniform(0.5, 1)
        here = min(wait, self._usual, LONGEST_REST_IN_PLACE)
        await self._rest(course, here)
        return wait - here

    def _after_break(self, course: Course, failure: Unreachable | Broken) -> float:
        """Seconds to wait before the next try. Raises Broken when there is none."""
        course.tries += 1
        self.counts.broken += 1
        self._breaker.failed(course.key, failure)
        log.debug("%s: try %d of `%s`: %s", self._name, course.tries, preview(course.request.messages), failure)
        if isinstance(failure, Broken) and not self._breaker.outage:
            course.attempts += 1
            if course.attempts >= self._policy.attempts:
                raise failure
        return min(8.0, 0.1 * 2.0 ** min(course.tries, 10)) * self._jitter.uniform(0.5, 1)

    def _hopeless(self, failure: Unusable) -> None:
        """Ends the run when nothing but wrong requests has been seen."""
        if not self.counts.answered and sum(self.counts.failed.values()) + 1 >= self._policy.hopeless:
            message = (
                f"all of the first {self._policy.hopeless} requests were refused as wrong; the last cause: {failure}"
            )
            help = "look at the step's sampling parameters and at the model's name"
            raise self.end(Fatal("every_request_refused", message, help)) from None

    async def _rest(self, course: Course, seconds: float) -> None:
        """Sleeps, in short stretches, so that the end of the run is noticed."""
        until = self._clock.now() + seconds
        while (left := until - self._clock.now()) > 0:
            await self._clock.sleep(min(left, 1.0))
            self._go_on(course)

    def _go_on(self, course: Course) -> None:
        """Raises what has ended the run meanwhile, or this request."""
        if self._ended is not None:
            raise self._ended
        try:
            self._breaker.check()
        except Fatal as failure:
            if not self._breaker.blames_requests:
                raise self.end(failure) from None
            if course.refusals >= BLAMED_FROM:
                message = f"refused {course.refusals} times, while all others were answered ({failure.message})"
                raise Broken("overloaded", message) from None
