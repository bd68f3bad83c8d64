"""Budgets stop before sending; breakers know an outage from a bad row."""

from __future__ import annotations

import asyncio

import pytest

from sftrecipe.errors import BudgetReached
from sftrecipe.models.breaker import OUTAGE, Breaker
from sftrecipe.models.budget import Budget, Price, UnknownPriceError
from sftrecipe.models.cache import Spent
from sftrecipe.models.failures import Broken, Fatal, Refused, Unreachable

PRICE = Price(1.0, 10.0)


def test_worst_case_is_reserved_and_the_rest_given_back():
    async def run():
        budget = Budget({"tokens": 1000}, None, Spent(), "judge")
        need = budget.worst(100, 400)
        await budget.reserve(need)
        budget.settle(need, 100, 50)
        for _ in range(2):
            need = budget.worst(100, 250)
            await budget.reserve(need)
            budget.settle(need, 100, 50)
        with pytest.raises(BudgetReached, match=r"450 of 1000 tokens"):
            await budget.reserve(budget.worst(100, 500))

    asyncio.run(run())


def test_a_request_waits_for_refunds_before_it_gives_up():
    async def run():
        budget = Budget({"requests": 2}, None, Spent())
        first, second = budget.worst(1, 1), budget.worst(1, 1)
        await budget.reserve(first)
        await budget.reserve(second)
        third = asyncio.ensure_future(budget.reserve(budget.worst(1, 1)))
        await asyncio.sleep(0)
        assert not third.done()
        budget.settle(first, answered=False)  # refused: nothing was paid
        await asyncio.wait_for(third, 1)
        budget.settle(second, 1, 1)
        with pytest.raises(BudgetReached):
            budget.settle(budget.worst(1, 1), 1, 1)
            await budget.reserve(budget.worst(1, 1))

    asyncio.run(run())


def test_dollars_are_counted_by_the_price():
    async def run():
        budget = Budget({"dollars": 0.01}, PRICE, Spent(), "judge")
        need = budget.worst(1000, 500)
        await budget.reserve(need)
        assert budget.settle(need, 1000, 500) == Spent(1, 1500, 0.006)
        with pytest.raises(BudgetReached, match=r"0\.0060 of 0\.01 dollars"):
            await budget.reserve(budget.worst(1000, 500))

    asyncio.run(run())


def test_earlier_runs_count():
    budget = Budget({"requests": 10}, None, Spent(requests=10), "judge")
    with pytest.raises(BudgetReached, match="in earlier runs"):
        asyncio.run(budget.reserve(budget.worst(1, 1)))


def test_without_limits_nothing_is_refused():
    budget = Budget(None, None, Spent(10**9, 10**12, 10.0**9))
    for _ in range(3):
        asyncio.run(budget.reserve(budget.worst(10**6, 10**6)))
    assert not budget.limited


def test_a_budget_in_dollars_needs_a_price():
    with pytest.raises(UnknownPriceError, match="price"):
        Budget({"dollars": 5}, None, Spent(), "judge")
    with pytest.raises(ValueError, match="euros"):
        Budget({"euros": 5}, None, Spent())


def breaker(patience=120.0, first=15.0):
    now = [0.0]
    return Breaker(patience, first, lambda: now[0]), now


def test_two_minutes_of_refusals_end_the_run_with_the_cause():
    b, now = breaker()
    b.succeeded()
    for n in range(OUTAGE):
        b.failed(bytes([n]), Refused("overloaded", "HTTP 429: no room"))
    assert not b.blames_requests
    now[0] = 119
    b.check()
    now[0] = 121
    with pytest.raises(Fatal, match="no room") as told:
        b.check()
    assert "run the same command again" in told.value.help


def test_a_success_starts_the_clock_anew():
    b, now = breaker()
    b.failed(b"k", Refused("overloaded", "no room"))
    now[0] = 100
    b.succeeded()
    now[0] = 150
    b.failed(b"k", Refused("overloaded", "no room"))
    now[0] = 260
    b.check()


def test_idle_time_and_slow_answers_are_no_failure():
    b, now = breaker()
    ticket = b.sent()
    now[0] = 1.0
    b.failed(b"other", Refused("overloaded", "no room"))
    now[0] = 500
    b.check()  # the first request is still on its way
    b.ended(ticket)
    with pytest.raises(Fatal):
        b.check()


def test_an_address_where_nobody_has_ever_answered_is_given_up_sooner():
    b, now = breaker()
    b.failed(b"k", Unreachable("unreachable", "connection refused"))
    now[0] = 16
    with pytest.raises(Fatal, match="connection refused"):
        b.check()


def test_a_server_that_answered_before_gets_the_full_patience():
    b, now = breaker()
    b.succeeded()
    b.failed(b"k", Unreachable("unreachable", "connection refused"))
    now[0] = 100
    b.check()
    now[0] = 121
    with pytest.raises(Fatal):
        b.check()


def test_few_requests_that_are_refused_while_others_were_answered_are_to_blame():
    b, _ = breaker()
    b.failed(b"k", Refused("overloaded", "HTTP 429"))
    assert not b.blames_requests  # nobody was ever answered
    b.succeeded()
    b.failed(b"k", Refused("overloaded", "HTTP 429"))
    assert b.blames_requests
    b.failed(b"k", Unreachable("unreachable", "gone"))
    assert not b.blames_requests


def test_eight_different_failures_are_an_outage_one_row_is_not():
    b, _ = breaker()
    for _ in range(50):
        b.failed(b"same", Broken("server_error", "500"))
    assert not b.outage
    for n in range(OUTAGE):
        b.failed(bytes([n]), Broken("server_error", "500"))
    assert b.outage
    b.succeeded()
    assert not b.outage
