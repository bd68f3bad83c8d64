"""The budget that all selectors share."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.top import Top
from tests.diversity.select_pools import choose, frame_of, ids_of, ready, story

POOL = frame_of(np.ones((5, 2)), score=[1.0, 5.0, 3.0, 4.0, 2.0], length=[10, 60, 30, 50, 20])


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 200))
def test_spending_never_overruns_and_leaves_nothing_that_would_fit(costs, limit):
    order = list(range(len(costs)))
    kept, over = Budget(limit, np.array(costs, dtype=np.int64)).spend(order)
    spent = sum(costs[r] for r in kept)
    assert spent <= limit
    assert sorted([*kept.tolist(), *over.tolist()]) == order
    assert all(costs[r] > limit - spent for r in over)


def test_rows_budget_is_a_prefix():
    kept, over = Budget(3).spend([4, 2, 0, 1])
    assert kept.tolist() == [4, 2, 0]
    assert over.tolist() == [1]


def test_tokens_pass_over_what_does_not_fit():
    choice = choose(ready(Top, tokens=85, count="length", by="score"), POOL)
    assert [POOL["score"][int(r)] for r in choice.kept] == [5.0, 2.0]
    assert {code for code, _, _ in story(POOL, choice).values()} == {"over_budget"}


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({}, "a budget is missing"),
        ({"size": 1, "tokens": 5, "count": "length"}, "not both"),
        ({"tokens": 5}, "needs `count`"),
    ],
)
def test_check_names_what_is_wrong_with_the_budget(params, says):
    operator = ready(Top, by="score", **params)
    assert any(says in problem for problem in operator.check())
    with pytest.raises(StepError, match=says):
        choose(operator, POOL)


def test_budget_above_the_pool_keeps_all_and_warns(caplog):
    with caplog.at_level(logging.WARNING):
        choice = choose(ready(Top, size=9, by="score"), POOL)
    assert len(choice.kept) == 5
    assert "a budget of 9 rows, the pool holds 5" in caplog.text


def test_budget_of_the_whole_pool_does_not_warn(caplog):
    with caplog.at_level(logging.WARNING):
        assert len(choose(ready(Top, size=5, by="score"), POOL).kept) == 5
    assert not caplog.text


def test_token_budget_above_the_pool_warns(caplog):
    with caplog.at_level(logging.WARNING):
        assert len(choose(ready(Top, tokens=1000, count="length", by="score"), POOL).kept) == 5
    assert "1000 tokens, the pool holds 170" in caplog.text


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_a_row_without_a_figure_is_undefined(bad):
    frame = frame_of(np.ones((3, 2)), score=[1.0, bad, 2.0])
    choice = choose(ready(Top, size=3, by="score"), frame)
    assert choice.kept.tolist() == [2, 0]
    assert story(frame, choice) == {frame["id"][1]: ("undefined", None, None)}


def test_a_row_without_a_token_count_is_undefined():
    frame = frame_of(np.ones((3, 2)), score=[1.0, 3.0, 2.0], length=[5, None, 5])
    choice = choose(ready(Top, tokens=100, count="length", by="score"), frame)
    assert choice.kept.tolist() == [2, 0]


def test_fractional_token_counts_are_rounded_up():
    frame = frame_of(np.ones((2, 2)), score=[2.0, 1.0], length=[2.5, 2.5])
    assert len(choose(ready(Top, tokens=5, count="length", by="score"), frame).kept) == 1


def test_negative_token_counts_are_an_error():
    frame = frame_of(np.ones((2, 2)), score=[2.0, 1.0], length=[2, -1])
    with pytest.raises(StepError, match="negative number of tokens"):
        choose(ready(Top, tokens=5, count="length", by="score"), frame)


@pytest.mark.parametrize("column", ["score", "length"])
def test_text_where_a_number_is_needed_is_an_error(column):
    frame = POOL.with_columns(pl.lit("high").alias(column))
    with pytest.raises(StepError, match="numbers are needed"):
        choose(ready(Top, tokens=50, count="length", by="score"), frame)


def test_all_undefined_is_counted_not_fatal():
    frame = frame_of(np.ones((2, 2)), score=pl.Series([None, None], dtype=pl.Float64))
    choice = choose(ready(Top, size=1, by="score"), frame)
    assert not len(choice.kept)
    assert [code for code, _, _ in story(frame, choice).values()] == ["undefined"] * 2


def test_ids_of_helper_follows_the_order_of_choice():
    choice = choose(ready(Top, size=2, by="score"), POOL)
    assert ids_of(POOL, choice) == [POOL["id"][1], POOL["id"][3]]
