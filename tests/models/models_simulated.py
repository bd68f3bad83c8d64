"""A server and its clients in simulated time: what a limit does over thousands of answers, in milliseconds and without luck."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from sftrecipe.models.limits import AdaptiveLimit


@dataclass
class Outcome:
    seconds: float
    refused: int
    limit: float
    history: list[tuple[float, float]]


def simulate(
    requests: int,
    maximum: int,
    refuses: Callable[[float, int, random.Random], bool],
    latency: Callable[[int], float] = lambda in_flight: 0.2,
    rest: float = 0.2,
    start: int = 32,
    seed: int = 0,
) -> Outcome:
    """`requests` answers through an AdaptiveLimit. `refuses(time, in_flight, random)`; refusals rest `rest` seconds in their place."""
    now, drawn = 0.0, random.Random(seed)
    limit = AdaptiveLimit(maximum, now=lambda: now, start=start)
    limit._wake = lambda: None  # type: ignore[method-assign]
    limit._waiting = _Endless()  # type: ignore[assignment]  # rows never run out: there is always somebody who waits
    events: list[tuple[float, int, str, float]] = []
    serial = answered = refused = at_server = 0
    history = []
    while answered < requests:
        while limit.in_flight < int(limit.limit):
            limit._take()
            serial += 1
            if refuses(now, at_server, drawn):
                heapq.heappush(events, (now + 0.002, serial, "refused", now))
            else:
                at_server += 1
                heapq.heappush(events, (now + latency(at_server) * drawn.uniform(0.9, 1.1), serial, "answered", now))
        now, _, kind, sent = heapq.heappop(events)
        if kind == "rested":
            limit.in_flight -= 1
        elif kind == "refused":
            refused += 1
            limit.answered(sent, True)
            serial += 1
            heapq.heappush(events, (now + rest * drawn.uniform(0.5, 1), serial, "rested", now))
        else:
            answered += 1
            at_server -= 1
            limit.answered(sent, False)
            limit.in_flight -= 1
        history.append((now, limit.limit))
    return Outcome(now, refused, limit.limit, history)


class _Endless:
    """A queue in which somebody waits and nobody is woken: the simulation fills places itself."""

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def popleft(self) -> None:
        raise AssertionError("the simulation gives places")
