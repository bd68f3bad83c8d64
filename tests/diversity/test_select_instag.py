"""`select.instag`: no original code exists, so a worked example, the naive loop, and laws."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.instag import InsTag, complexity_first
from sftrecipe_diversity.tagsets import tag_sets
from tests.diversity.select_pools import choose, ids_of, ready, story
from tests.diversity.test_select_mig import pool

WORKED = [
    ["a", "b", "c"],  # 0: first pass, brings a b c
    ["a", "b", "d"],  # 1: first pass, brings d
    ["a", "c", "d"],  # 2: second pass first
    ["a", "b"],  # 3: second pass, brings b
    ["e", "a"],  # 4: first pass, brings e
    ["c", "d"],  # 5: third pass
    ["f"],  # 6: first pass, brings f
    ["a"],  # 7: third pass, brings a
    ["e"],  # 8: second pass, brings e
    ["f"],  # 9: second pass, brings f
    [],  # 10: no tags
    ["b"],  # 11: third pass, brings b
]
PASSES = [[0, 1, 4, 6], [2, 3, 8, 9], [5, 7, 11]]


def naive(lists: list[list[str]], order: list[int], limit: int, cost: list[int]) -> list[int]:
    """The algorithm as it is described, row by row."""
    kept: list[int] = []
    left = [r for r in order if lists[r]]
    while left and limit > 0:
        seen: set[str] = set()
        remaining = []
        for row in left:
            if cost[row] > limit:
                continue
            if set(lists[row]) - seen:
                kept.append(row)
                limit -= cost[row]
                seen |= set(lists[row])
            else:
                remaining.append(row)
        left = remaining
    return kept


def test_worked_example():
    tags = tag_sets(pl.Series(WORKED), "tags")
    order = sorted((i for i in range(12) if WORKED[i]), key=lambda i: (-len(WORKED[i]), i))
    kept, passes, passed = complexity_first(tags, np.array(order), Budget(None))
    assert [[k for k, p in zip(kept, passes, strict=True) if p == n] for n in range(3)] == PASSES
    assert not passed


@pytest.mark.parametrize("size", [1, 3, 4, 7, 11])
def test_a_budget_cuts_the_worked_example(size):
    frame = pool(WORKED, [0.0] * 12).with_columns(id=pl.format("{}", pl.int_range(10, 22)))
    assert choose(ready(InsTag, size=size), frame).kept.tolist() == sum(PASSES, [])[:size]


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=4, unique=True), min_size=1, max_size=40),
    st.integers(1, 50),
    st.booleans(),
)
def test_it_is_the_naive_loop(lists, limit, in_tokens):
    order = sorted((i for i in range(len(lists)) if lists[i]), key=lambda i: (-len(lists[i]), i))
    cost = [1 + i % 5 if in_tokens else 1 for i in range(len(lists))]
    tags = tag_sets(pl.Series(lists, dtype=pl.List(pl.String)), "tags")
    budget = Budget(limit, np.array(cost)) if in_tokens else Budget(limit)
    kept, passes, _ = complexity_first(tags, np.array(order, dtype=np.int64), budget)
    assert kept == naive(lists, order, limit, cost)
    for number in set(passes):
        seen: set[str] = set()
        for row in (k for k, p in zip(kept, passes, strict=True) if p == number):
            assert set(lists[row]) - seen
            seen |= set(lists[row])


def test_rows_without_tags_are_named_and_never_waited_for():
    frame = pool([["a"], [], None, ["b"]], [0.0] * 4)
    choice = choose(ready(InsTag, size=4), frame)
    assert sorted(choice.kept.tolist()) == [0, 3]
    assert [story(frame, choice)[frame["id"][i]][0] for i in (1, 2)] == ["no_tags"] * 2


def test_no_tags_at_all_is_an_error():
    with pytest.raises(StepError, match="no row has a tag in `tags`"):
        choose(ready(InsTag, size=2), pool([[], []], [0.0, 0.0]))


def test_another_complexity():
    frame = pool([["a"], ["a", "b"]], [9.0, 1.0])
    assert choose(ready(InsTag, size=1), frame).kept.tolist() == [1]
    choice = choose(ready(InsTag, size=1, by="quality"), frame)
    assert choice.kept.tolist() == [0]
    assert story(frame, choice) == {frame["id"][1]: ("not_chosen", None, 1.0)}


def test_rows_that_do_not_fit_are_named():
    frame = pool([["a", "b"], ["a"], ["c"]], [0.0] * 3, tokens=[50, 5, 5])
    choice = choose(ready(InsTag, tokens=12, count="tokens"), frame)
    assert sorted(choice.kept.tolist()) == [1, 2]
    assert story(frame, choice) == {frame["id"][0]: ("over_budget", None, 2.0)}


def test_ids_settle_ties():
    frame = pool([["a"], ["a"], ["a"]], [0.0] * 3)
    assert ids_of(frame, choose(ready(InsTag, size=3), frame)) == sorted(frame["id"].to_list())


def test_many_rows_and_few_tags_take_no_time():
    # a loop over all rows in each of the 20,000 passes would take minutes
    tags = tag_sets(pl.Series([["a"]] * 20000), "tags")
    kept, passes, _ = complexity_first(tags, np.arange(20000), Budget(None))
    assert kept == list(range(20000)) and passes[-1] == 19999
