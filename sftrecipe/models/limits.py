"""How many requests may be in flight, and how many a minute.

`AdaptiveLimit` starts low and grows while that helps. It looks at requests in windows of about `limit` answers:

    slow start   one more for every answer (so it doubles every round trip), until the first cut or the first growth
                 that did not help
    cut          to 70 %, when the share of refusals is above 12 % and surely above 8 % (Wilson bound); never for single
                 refusals
    trial        the window after a cut tells whether our load was the cause. If it was, fewer are refused: with a share
                 w before, a server with fixed room refuses 1 - (1 - w) / 0.7 after. If the share stays nearer to w,
                 refusals are the server's habit: all cuts since the last growth are undone, and the share is the
                 background for 5 windows, on top of which the bars are counted; then it has to show again. A share
                 above 35 %, one that rises after a cut, and refusals that name a time (Retry-After: a rate limit) are
                 never background
    growth       half of the way back to the limit before the last cut, later 5 % (at least one), for every window that
                 was used up and in which fewer than 8 % were refused
    no help      where half as much again brought less than a tenth more answers a second, the earlier limit returns for
                 20 windows

The share matters, not the refusal: a steady 5 % of refusals that have nothing to do with our load would drive a limit
that is cut on every refusal to its floor. Simulated (tests/models/simulated.py), 2,000 requests of 0.2 s at 64: 5 %
such refusals cost 7 % of time, 10 % cost 16 %; a server with room for 40 sees 10 % extra requests, one with 100 a
second 9 %.

`Pace` spaces requests (or tokens) evenly below a rate a minute. Cost: under 2 microseconds an answer each.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["AdaptiveLimit", "Pace", "wilson_lower"]

CUT_SHARE, GROW_SHARE = 0.12, 0.08
CUT_TO = 0.7
GROW_BY = 0.05
HELPS = 1.1
"""A limit half as large again must bring this many times more answers a second."""
HOLD_WINDOWS = 20
LEAST_WINDOW = 20
EARLIEST_CUT = 10
MOST_BACKGROUND = 0.35
BACKGROUND_WINDOWS = 5
NOISE = 0.1
LEAST_LIMIT = 4.0


def wilson_lower(hits: int, n: int, z: float) -> float:
    """Lower end of the Wilson interval of a share: what it is at least, at `z` standard deviations."""
    if n == 0:
        return 0.0
    share = hits / n
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - spread) / (1 + z * z / n)


@dataclass
class _Window:
    """Requests sent and answers seen since `begun`, until there are `size` answers.

    Refusals come at once and answers late: while the limit grows, refusals are many among the answers that are there
    and no more than usual among the requests that were sent. So the share is of those.
    """

    begun: float
    size: int
    sent: int = 0
    answers: int = 0
    refused: int = 0
    named: int = 0
    full: bool = False

    @property
    def asked(self) -> int:
        return max(self.sent, self.answers)

    @property
    def share(self) -> float:
        return self.refused / self.asked if self.asked else 0.0

    def rate(self, now: float) -> float:
        return (self.answers - self.refused) / max(now - self.begun, 1e-9)

    def refuses(self, bar: float, z: float) -> bool:
        """Whether the share is above `bar`, at `z` standard deviations."""
        return wilson_lower(self.refused, self.asked, z) > bar


@dataclass
class _Chain:
    """Cuts without growth between: the limit before the first, the window that led to it, and when that was."""

    limit: float
    window: _Window
    until: float


class AdaptiveLimit:
    """Requests in flight: at most `limit`, which moves between 1 and `maximum`. First come, first served.

    Args:
        maximum: never more than this.
        start: the first limit.
        adaptive: False keeps `maximum` (local models).
        now: a monotonic clock, in seconds.
    """

    def __init__(self, maximum: int, *, now: Callable[[], float], start: int = 32, adaptive: bool = True) -> None:
        self.maximum, self.adaptive = maximum, adaptive
        self.limit = float(min(start, maximum) if adaptive else maximum)
        self.in_flight = 0
        self.background = 0.0
        self._now = now
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._slow_start = adaptive
        self._since = -math.inf
        self._ceiling: float | None = None
        self._mark: tuple[float, float] | None = None
        self._hold = 0
        self._believed = 0
        self._chain: _Chain | None = None
        self._window = self._new_window()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Waits for a place."""
        if self.in_flight < int(self.limit) and not self._waiting:
            self._take()
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # the place was given in the same turn: hand it on
                self.release()
            raise

    def release(self) -> None:
        """Gives a place back."""
        self.in_flight -= 1
        self._wake()

    def answered(self, sent: float, refused: bool, named: bool = False) -> None:
        """Learns from one answer to a request sent at `sent`. `named`: the refusal says when to come again."""
        if not self.adaptive:
            return
        if sent < self._since:
            if (
                self._chain is not None and sent < self._chain.until
            ):  # the window cut short still learns how its requests fared
                self._chain.window.answers += 1
                self._chain.window.refused += refused
            return
        window = self._window
        window.answers += 1
        window.refused += refused
        window.named += named
        window.full = window.full or bool(self._waiting) or self.in_flight >= 0.8 * self.limit
        early = refused and window.asked >= EARLIEST_CUT and window.refuses(self.background + CUT_SHARE, 2.6)
        if early or window.answers >= window.size:
            self._close_window()
        elif self._slow_start and not refused and window.full:
            self._set(self.limit + 1)

    def _close_window(self) -> None:
        window, now = self._window, self._now()
        self._window = self._new_window()
        if self._chain is not None and self._judge(self._chain, window):
            return
        self._believed -= 1
        if self._believed <= 0:
            self.background = 0.0
        if window.share > self.background + CUT_SHARE and window.refuses(self.background + GROW_SHARE, 1.64):
            self._cut(now, window)
        elif window.full and window.share < self.background + GROW_SHARE:
            self._grow(window.rate(now))

    def _judge(self, chain: _Chain, window: _Window) -> bool:
        """What the cuts so far have shown, in the window after the last. True when the limit was set anew."""
        before, after = chain.window.share, window.share
        if 2 * window.named <= window.refused and _background(before, after, self.limit / chain.limit):
            self._chain, self.background, self._believed = None, after, BACKGROUND_WINDOWS
            self._set(chain.limit)
            return True
        room = max(LEAST_LIMIT, 1.2 * (1 - before) * chain.limit)
        if (
            before > 0.5 and room < self.limit
        ):  # the first cut came at the first signs; by now it is known how much room there was
            self._set(room)
            self._since = self._now()
            return True
        return False

    def _cut(self, now: float, window: _Window) -> None:
        self._chain = self._chain or _Chain(self.limit, window, now)
        self._ceiling, self._since = self.limit, now
        self._slow_start, self._mark, self._hold = False, None, 0
        self._set(self.limit * CUT_TO)
        self._window = self._new_window()

    def _grow(self, rate: float) -> None:
        self._chain = None
        if self._hold:
            self._hold -= 1
            self._mark = (self.limit, rate)
            return
        if self._mark is None or (self.limit >= 1.5 * self._mark[0] and rate >= HELPS * self._mark[1]):
            self._mark = (self.limit, rate)
        elif self.limit >= 1.5 * self._mark[0]:
            self._slow_start, self._hold = False, HOLD_WINDOWS
            self._set(self._mark[0])
            return
        if self._ceiling is not None and self._ceiling > self.limit + 2:
            self._set((self.limit + self._ceiling) / 2)
        elif not self._slow_start:
            self._ceiling = None
            self._set(self.limit + max(1.0, GROW_BY * self.limit))

    def _new_window(self) -> _Window:
        return _Window(self._now(), max(EARLIEST_CUT, min(LEAST_WINDOW, 2 * int(self.limit)), int(self.limit)))

    def _set(self, limit: float) -> None:
        self.limit = max(1.0, min(limit, float(self.maximum)))
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self._take()
                place.set_result(None)

    def _take(self) -> None:
        self.in_flight += 1
        self._window.sent += 1


def _background(before: float, after: float, cut_to: float) -> bool:
    """Whether refusals did not care that the limit was cut to `cut_to` of what it was: `after` is nearer to `before`
    than to what less load would give (a server with room for (1 - before) of the old limit refuses 1 - (1 - before) /
    cut_to of the new)."""
    if max(before, after) >= MOST_BACKGROUND:
        return False
    expected = max(0.0, 1 - (1 - before) / cut_to)
    return (before + expected) / 2 < after < before + NOISE


class Pace:
    """At most `per_minute` units a minute, evenly, with a second's worth at once. None: no bound."""

    def __init__(self, per_minute: float | None, now: Callable[[], float]) -> None:
        self._per_second = per_minute / 60 if per_minute else None
        self._now = now
        self._free = -math.inf

    def book(self, units: float) -> float:
        """Books `units` and returns how many seconds to wait before using them."""
        if self._per_second is None:
            return 0.0
        now = self._now()
        self._free = max(self._free, now - 1.0)
        wait = self._free - now
        self._free += units / self._per_second
        return max(0.0, wait)

    def correct(self, units: float) -> None:
        """Books the difference once the true figure is known (may be negative)."""
        if self._per_second is not None:
            self._free += units / self._per_second
