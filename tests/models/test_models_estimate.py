"""Estimates: rows times what a row costs, and what is not known stays unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.models import Limits, estimate_costs, total
from sftrecipe.operators import Cost

COST = Cost("judge", (1, 1, 2), (100, 200, 400), (10, 50, 100))


def test_figures_scale_with_rows():
    (found,) = estimate_costs([COST], 1000, limits={"judge": Limits(price={"input": 1.0, "output": 2.0})})
    assert found.calls == (1000, 1000, 2000)
    assert found.tokens_in == (100_000, 200_000, 400_000)
    assert found.dollars == pytest.approx((0.12, 0.3, 0.6))


def test_an_unknown_price_is_not_available_and_no_error():
    (found,) = estimate_costs([COST], 1000)
    assert found.dollars is None
    assert "n/a dollars" in str(found)
    priced = estimate_costs([COST], 10, limits={"judge": Limits(price={"input": 1, "output": 1})})
    assert total([*priced, found]).dollars is None
    assert total(priced).dollars == priced[0].dollars


def test_time_is_bounded_by_whatever_is_slowest():
    seconds = {"judge": [2.0] * 10}
    free = estimate_costs([COST], 640, seconds=seconds, concurrency={"judge": 64})[0]
    assert free.seconds == (20, 20, 40)
    rate = estimate_costs([COST], 640, seconds=seconds, limits={"judge": Limits(requests_per_minute=60)})[0]
    assert rate.seconds == (640, 640, 1280)
    tokens = estimate_costs([COST], 600, seconds=seconds, limits={"judge": Limits(tokens_per_minute=1000)})[0]
    assert tokens.seconds[1] == pytest.approx(60 * 600 * 250 / 1000)


def test_few_rows_do_not_use_all_the_concurrency():
    found = estimate_costs([COST], 1, seconds={"judge": [3.0]}, concurrency={"judge": 64})[0]
    assert found.seconds[:2] == (3, 3)


def test_nothing_costs_nothing():
    (found,) = estimate_costs([COST], 0)
    assert found.calls == found.seconds == (0, 0, 0)
    assert total([]).calls == (0, 0, 0)
    assert estimate_costs([], 100) == []


@given(st.tuples(*[st.floats(0, 1e4)] * 3).map(sorted), st.integers(0, 10**6), st.lists(st.floats(0, 100), max_size=9))
def test_low_is_never_above_high(figure, rows, times):
    a, b, c = figure
    cost = Cost("m", (1, 1, 1), (a, b, c), (a, b, c))
    (found,) = estimate_costs([cost], rows, seconds={"m": times}, limits={"m": Limits(price={"input": 1, "output": 3})})
    for low, likely, high in (found.calls, found.tokens_in, found.tokens_out, found.seconds, found.dollars or (0, 0, 0)):
        assert low <= likely <= high
