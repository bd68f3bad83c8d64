"""The adaptive limit in simulated time: thousands of answers, many seeds."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_simulated import simulate

from sftrecipe.models.limits import AdaptiveLimit, Pace, wilson_lower

SEEDS = range(30)
IDEAL = 2000 * 0.2 / 64


def never(time, in_flight, drawn):
    return False


class Bucket:
    """`rate` a second, a second's worth at once."""

    def __init__(self, rate):
        self.rate, self.left, self.at = rate, float(rate), 0.0

    def __call__(self, time, in_flight, drawn):
        self.left = min(self.rate, self.left + (time - self.at) * self.rate)
        self.at = time
        if self.left < 1:
            return True
        self.left -= 1
        return False


def test_without_refusals_the_limit_reaches_its_maximum_quickly():
    out = simulate(2000, 64, never)
    assert out.limit == 64
    assert out.seconds < 1.1 * IDEAL


@pytest.mark.parametrize(("share", "median", "worst"), [(0.05, 1.15, 1.3), (0.10, 1.3, 1.8)])
def test_refusals_that_have_nothing_to_do_with_our_load_cost_little(share, median, worst):
    times = sorted(simulate(2000, 64, lambda t, n, drawn: drawn.random() < share, seed=s).seconds / IDEAL for s in SEEDS)
    assert times[len(times) // 2] < median
    assert times[-1] < worst


@pytest.mark.parametrize("room", [4, 40])
def test_a_server_that_sheds_is_met_at_its_room(room):
    for seed in SEEDS:
        out = simulate(2000, 64, lambda t, n, drawn: n >= room, seed=seed)
        assert out.refused <= 0.2 * 2000
        assert out.seconds < 1.25 * 2000 * 0.2 / room


def test_a_rate_limit_is_met_with_few_refusals():
    refused = [simulate(2000, 64, Bucket(100), seed=s).refused for s in SEEDS]
    assert max(refused) <= 0.2 * 2000
    assert sum(refused) / len(refused) <= 0.12 * 2000


def test_a_server_that_only_queues_is_not_flooded():
    out = simulate(4000, 256, never, latency=lambda n: 0.2 * max(1, n / 16), start=32)
    assert out.limit < 200


def test_after_an_outage_the_limit_comes_back():
    out = simulate(20000, 64, lambda t, n, drawn: 2 < t < 4)
    down = min(limit for time, limit in out.history if 2 < time < 4)
    back = max(limit for time, limit in out.history if time > 20)
    assert down < 20
    assert back > 50


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.5, 3))
def test_the_wilson_bound_is_a_lower_bound_that_tightens(hits, misses, z):
    n = hits + misses
    share = hits / n if n else 0.0
    low = wilson_lower(hits, n, z)
    assert -1e-9 <= low <= share + 1e-9
    if 0 < share < 1:
        assert wilson_lower(hits * 10, n * 10, z) > low


async def _hold(limit, seen, times):
    for _ in range(times):
        await limit.acquire()
        seen.append(limit.in_flight)
        await asyncio.sleep(0)
        limit.release()


def test_places_are_never_oversold():
    async def run():
        limit, seen = AdaptiveLimit(4, now=lambda: 0.0, start=4), []
        await asyncio.gather(*(_hold(limit, seen, 20) for _ in range(30)))
        assert limit.in_flight == 0
        assert limit.waiting == 0
        return seen

    seen = asyncio.run(run())
    assert max(seen) == 4
    assert len(seen) == 600


def test_cancelled_waiters_lose_no_place():
    async def run():
        limit = AdaptiveLimit(2, now=lambda: 0.0)
        await limit.acquire()
        await limit.acquire()
        waiting = [asyncio.ensure_future(limit.acquire()) for _ in range(5)]
        await asyncio.sleep(0)
        limit.release()  # gives a place to the first, which is cancelled before it runs
        for task in waiting[:3]:
            task.cancel()
        await asyncio.gather(*waiting[:3], return_exceptions=True)
        await asyncio.wait_for(waiting[3], 1)
        limit.release()
        await asyncio.wait_for(waiting[4], 1)
        assert limit.in_flight == 2

    asyncio.run(run())


def test_a_fixed_limit_does_not_move():
    limit = AdaptiveLimit(8, now=lambda: 0.0, adaptive=False)
    for _ in range(500):
        limit.answered(0.0, True)
    assert limit.limit == 8


def test_pace_keeps_a_rate_with_a_seconds_worth_at_once():
    now = [0.0]
    pace = Pace(60, lambda: now[0])  # one a second
    assert [round(pace.book(1), 3) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]
    now[0] = 100.0
    assert [round(pace.book(1), 3) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_pace_is_corrected_by_what_was_really_used():
    now = [0.0]
    pace = Pace(6000, lambda: now[0])  # 100 a second
    pace.book(1000)
    pace.correct(-900)
    assert pace.book(1) == pytest.approx(0.0, abs=1e-9)


def test_no_rate_means_no_waiting():
    pace = Pace(None, lambda: 0.0)
    assert [pace.book(10**9) for _ in range(3)] == [0.0, 0.0, 0.0]
