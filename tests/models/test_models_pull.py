"""Rows through a coroutine: bounded, in any order, ended cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.errors import BudgetReached, Pending, RowError, StepError
from sftrecipe.models import run_rows, stream_rows
from sftrecipe.models.pull import on_loop_end, pull


async def double(row):
    await asyncio.sleep(0)
    return 2 * row


@given(st.integers(0, 60), st.integers(1, 70))
@settings(max_examples=30, deadline=None)
def test_every_row_comes_back_once_under_its_own_index(n, in_flight):
    assert run_rows(range(n), double, in_flight) == [2 * i for i in range(n)]
    assert sorted(stream_rows(range(n), double, in_flight)) == [(i, 2 * i) for i in range(n)]


def test_rows_are_handed_over_as_they_are_done_not_in_batches():
    async def work(row):
        await asyncio.sleep(0.2 if row == 0 else 0.0)
        return row

    order = [index for index, _ in stream_rows(range(200), work, 4)]
    assert order[-1] == 0
    assert sorted(order) == list(range(200))


@pytest.mark.parametrize("dynamic", [False, True])
def test_rows_in_flight_are_bounded_and_rows_are_read_as_needed(dynamic):
    alive = peak = taken = 0

    def rows():
        nonlocal taken
        for i in range(500):
            taken += 1
            yield i

    async def work(row):
        nonlocal alive, peak
        alive += 1
        peak = max(peak, alive)
        await asyncio.sleep(0)
        alive -= 1
        return row

    items = stream_rows(rows(), work, (lambda: 7) if dynamic else 7)
    next(items)
    assert taken <= 14  # those begun, and as many begun when they were handed over
    assert len(list(items)) == 499
    assert peak <= 7


def test_a_failed_row_is_an_outcome():
    async def work(row):
        if row % 10 == 3:
            raise RowError("bad", f"row {row}")
        return row

    out = run_rows(range(30), work, 5)
    assert [i for i, o in enumerate(out) if isinstance(o, RowError)] == [3, 13, 23]


@pytest.mark.parametrize("error", [StepError("server gone"), ValueError("a bug in the operator")])
def test_any_other_error_ends_it_and_cancels_what_is_in_flight(error):
    begun, finished, cancelled = [], [], []

    async def work(row):
        begun.append(row)
        if row == 5:
            raise error
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(row)
            raise
        finished.append(row)

    at = time.monotonic()
    with pytest.raises(type(error), match=str(error)):
        run_rows(range(1000), work, 10)
    assert time.monotonic() - at < 30
    assert sorted(begun) == list(range(10))
    assert sorted(cancelled) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert not finished


@pytest.mark.parametrize("error", [BudgetReached("spent"), Pending("people")])
def test_a_reached_budget_lets_paid_rows_finish(error):
    async def work(row):
        if row >= 5:
            raise error
        await asyncio.sleep(0.05)
        return row

    got = []
    with pytest.raises(type(error)):
        for item in stream_rows(range(1000), work, 10):
            got.append(item)
    assert sorted(got) == [(i, i) for i in range(5)]


def test_what_was_done_before_an_error_is_handed_over_first():
    async def work(row):
        if row == 3:
            raise StepError("gone")
        return row

    got = []
    with pytest.raises(StepError):
        for item in stream_rows(range(100), work, 4):
            got.append(item)
    assert {0, 1, 2} <= {index for index, _ in got}


def test_closing_the_stream_cancels():
    cancelled = []

    async def work(row):
        try:
            await asyncio.sleep(0 if row == 0 else 60)
        except asyncio.CancelledError:
            cancelled.append(row)
            raise
        return row

    items = stream_rows(range(5), work, 5)
    assert next(items) == (0, 0)
    items.close()
    assert sorted(cancelled) == [1, 2, 3, 4]


def test_connections_are_closed_before_the_loop_ends():
    closed = []

    async def farewell():
        await asyncio.sleep(0)
        closed.append(asyncio.get_running_loop().is_running())

    async def work(row):
        if row == 0:
            on_loop_end(farewell)
        return row

    run_rows(range(3), work)
    assert closed == [True]


def test_inside_a_running_loop_it_works_on_a_thread():
    async def notebook():
        return run_rows(range(10), double, 3)

    assert asyncio.run(notebook()) == [2 * i for i in range(10)]


def test_errors_of_a_row_source_are_told():
    def rows():
        yield 1
        raise OSError("the shard is gone")

    with pytest.raises(OSError, match="shard"):
        run_rows(rows(), double, 4)


def test_the_async_form_closes_when_it_is_left_early():
    cancelled = []

    async def work(row):
        try:
            await asyncio.sleep(0 if row == 0 else 60)
        except asyncio.CancelledError:
            cancelled.append(row)
            raise
        return row

    async def run():
        items = pull(range(4), work, 4)
        async for _ in items:
            break
        await items.aclose()

    asyncio.run(run())
    assert sorted(cancelled) == [1, 2, 3]


CTRL_C = """
    import asyncio, sys
    from sftrecipe.models.pull import run_rows, on_loop_end

    async def farewell():
        print("closed", flush=True)

    async def work(row):
        if row == 0:
            on_loop_end(farewell)
            print("ready", flush=True)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise

    try:
        run_rows(range(100), work, 3)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


def test_ctrl_c_cancels_closes_and_leaves_nothing_behind():
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CTRL_C)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out.split() == ["cancelled"] * 3 + ["closed", "interrupted"]
    assert error == ""
