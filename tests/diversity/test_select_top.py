"""`select.top`, `select.random` and `select.longest`."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe_diversity.draws import gumbel, uniform
from sftrecipe_diversity.longest import Longest
from sftrecipe_diversity.random import Random
from sftrecipe_diversity.top import Top
from tests.diversity.select_pools import choose, frame_of, ids_of, ready, story

TEXTS = ["one two three", "a", "four words are here", None, "", "three small words"]
POOL = frame_of(np.ones((6, 2)), response=TEXTS, tokens=[3, 9, 4, None, 0, 3], score=[1.0, 3.0, 2.0, 3.0, 0.0, 1.0])


def test_top_is_best_first_and_ties_go_to_the_smaller_id():
    kept = ids_of(POOL, choose(ready(Top, size=4, by="score"), POOL))
    three, one = sorted([POOL["id"][1], POOL["id"][3]]), sorted([POOL["id"][0], POOL["id"][5]])
    assert kept == [*three, POOL["id"][2], one[0]]


def test_top_ascending_takes_the_other_end():
    assert choose(ready(Top, size=1, by="score", order="ascending"), POOL).kept.tolist() == [4]


def test_top_takes_a_bound_expression():
    operator = ready(Top, size=1, by="score * tokens")
    operator.by = pl.col("score") * pl.col("tokens")
    assert choose(operator, POOL).kept.tolist() == [1]


def test_top_tells_each_dropped_row_its_figure():
    choice = choose(ready(Top, size=5, by="score"), POOL)
    assert story(POOL, choice) == {POOL["id"][4]: ("not_chosen", None, 0.0)}


@pytest.mark.parametrize(("unit", "first"), [("words", 2), ("chars", 2), ("tokens", 1)])
def test_longest_counts_the_unit_asked_for(unit, first):
    choice = choose(ready(Longest, size=1, unit=unit, **({"count": "tokens"} if unit == "tokens" else {})), POOL)
    assert choice.kept.tolist() == [first]
    assert story(POOL, choice)[POOL["id"][3]][0] == "undefined"


def test_longest_ranks_an_empty_answer_last():
    assert choose(ready(Longest, size=5), POOL).kept.tolist()[-1] == 4


def test_longest_needs_a_column_for_tokens():
    assert any("needs `count`" in p for p in ready(Longest, size=1, unit="tokens").check())


def test_longest_refuses_numbers_as_text():
    with pytest.raises(StepError, match="text is needed"):
        choose(ready(Longest, size=1, text="score"), POOL)


def test_longest_counts_chinese_characters():
    frame = frame_of(np.ones((2, 2)), response=["五个字的话", "abc"])
    assert choose(ready(Longest, size=1, unit="chars"), frame).kept.tolist() == [0]


def big(n: int) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"{i:04x}" for i in range(n)]})


def test_random_is_nested_and_ignores_the_order_of_rows():
    frame = big(500)
    large = ids_of(frame, choose(ready(Random, size=200), frame))
    small = ids_of(frame, choose(ready(Random, size=50), frame))
    turned = frame.sample(fraction=1.0, shuffle=True, seed=3)
    assert large[:50] == small
    assert ids_of(turned, choose(ready(Random, size=200), turned)) == large


def test_random_rows_stay_when_others_leave_the_pool():
    frame = big(500)
    large = set(ids_of(frame, choose(ready(Random, size=200), frame)))
    half = frame.filter(pl.col("id").is_in(sorted(large)[:100]) | ~pl.col("id").is_in(list(large)))
    assert set(sorted(large)[:100]) <= set(ids_of(half, choose(ready(Random, size=200), half)))


def test_random_depends_on_the_seed():
    frame = big(100)
    assert ids_of(frame, choose(ready(Random, seed=1, size=50), frame)) != ids_of(
        frame, choose(ready(Random, seed=2, size=50), frame)
    )


def test_draws_are_uniform_and_gumbel():
    ids = pl.Series([str(i) for i in range(20000)])
    u, g = uniform(3, ids), gumbel(3, ids)
    assert u.min() > 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01 and abs(np.histogram(u, 10)[0] / 2000 - 1).max() < 0.1
    assert abs(g.mean() - 0.5772) < 0.03 and abs(g.std() - np.pi / 6**0.5) < 0.03


def test_draws_for_another_use_are_others():
    ids = pl.Series(["a", "b"])
    assert not np.allclose(uniform(3, ids, "init"), uniform(3, ids))
