"""`select.quota`."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.quota import Quota, decayed, seats, shares_of
from tests.diversity.select_pools import choose, ids_of, ready, story


def pool(**sizes: int) -> pl.DataFrame:
    names = [g for g, n in sizes.items() for _ in range(n)]
    n = len(names)
    return pl.DataFrame(
        {
            "id": [f"{(i * 7919 + 13) % 10007:05d}" for i in range(n)],
            "domain": names,
            "length": [(i * 37) % 101 for i in range(n)],
            "picked": [i % 10 == 0 for i in range(n)],
            "tokens": [1 + (i * 13) % 40 for i in range(n)],
        }
    )


def counts(frame: pl.DataFrame, choice) -> dict[str, int]:
    return dict(Counter(frame["domain"].gather(choice.kept.astype(np.uint32)).to_list()))


def test_groups_share_alike_by_default():
    frame = pool(math=300, code=100, chat=60)
    assert counts(frame, choose(ready(Quota, size=90, by="domain"), frame)) == {"math": 30, "code": 30, "chat": 30}


def test_temperature_one_is_proportional():
    frame = pool(math=300, code=100, chat=100)
    choice = choose(ready(Quota, size=50, by="domain", temperature=1), frame)
    assert counts(frame, choice) == {"math": 30, "code": 10, "chat": 10}


def test_lima_temperature_by_hand():
    # 1000^(1/3) : 8^(1/3) = 10 : 2
    frame = pool(large=1000, small=8)
    assert counts(frame, choose(ready(Quota, size=36, by="domain", temperature=3), frame)) == {"large": 30, "small": 6}


def test_shares_of_lima_are_met_exactly():
    frame = pool(stem=300, other=300, wiki=300, stories=300, tasks=300)
    shares = {"stem": 200, "other": 200, "wiki": 200, "stories": 150, "tasks": 50}
    assert counts(frame, choose(ready(Quota, size=800, by="domain", shares=shares), frame)) == shares


def test_a_group_without_a_share_is_named():
    frame = pool(math=5, code=5)
    choice = choose(ready(Quota, size=5, by="domain", shares={"math": 1.0}), frame)
    assert counts(frame, choice) == {"math": 5}
    assert {code for code, _, _ in story(frame, choice).values()} == {"no_share"}


def test_short_groups_are_filled_by_others_with_a_warning(caplog):
    frame = pool(math=100, code=3)
    with caplog.at_level(logging.WARNING):
        choice = choose(ready(Quota, size=40, by="domain"), frame)
    assert counts(frame, choice) == {"math": 37, "code": 3}
    assert "code (3 of 20)" in caplog.text


def test_short_groups_can_be_an_error():
    with pytest.raises(StepError, match=r"code \(3 of 20\)"):
        choose(ready(Quota, size=40, by="domain", on_short="error"), pool(math=100, code=3))


def test_a_share_for_a_group_that_is_not_there_is_short():
    with pytest.raises(StepError, match=r"law \(0 of 5\)"):
        choose(ready(Quota, size=10, by="domain", shares={"math": 1, "law": 1}, on_short="error"), pool(math=20))


def test_a_larger_budget_contains_the_smaller():
    frame = pool(a=97, b=31, c=12)
    runs = [ids_of(frame, choose(ready(Quota, size=k, by="domain", temperature=2), frame)) for k in range(1, 60, 7)]
    assert all(long[: len(short)] == short for short, long in zip(runs, runs[1:], strict=False))


def test_kept_rows_come_first_and_count_to_their_group():
    frame = pool(math=100, code=100)
    choice = choose(ready(Quota, size=60, by="domain", keep="picked"), frame)
    picked = frame["picked"].gather(choice.kept.astype(np.uint32)).to_list()
    assert picked[:20] == [True] * 20 and not any(picked[20:])
    assert counts(frame, choice) == {"math": 30, "code": 30}


def test_kept_rows_survive_shares_that_leave_their_group_out():
    frame = pool(math=20, code=20)
    choice = choose(ready(Quota, size=6, by="domain", keep="picked", shares={"math": 1}), frame)
    assert counts(frame, choice) == {"math": 4, "code": 2}


def test_more_kept_rows_than_budget_is_an_error():
    with pytest.raises(StepError, match="`keep` marks 10, the budget is 4"):
        choose(ready(Quota, size=4, by="domain", keep="picked"), pool(math=100))


def test_rank_without_decay_takes_the_highest():
    frame = pool(math=50)
    choice = choose(ready(Quota, size=5, by="domain", rank="length"), frame)
    lengths = frame["length"].gather(choice.kept.astype(np.uint32)).to_list()
    assert lengths == sorted(frame["length"].to_list(), reverse=True)[:5]


def test_decay_prefers_the_front_and_differs_by_seed():
    frame = pool(math=200)
    best = set(frame.sort("length", descending=True)["id"].head(10).to_list())
    runs = [
        ids_of(frame, choose(ready(Quota, seed=s, size=8, by="domain", rank="length", decay=0.5), frame))
        for s in range(5)
    ]
    assert all(len(best & set(run)) >= 5 for run in runs)
    assert len({tuple(run) for run in runs}) > 1


def test_decay_draws_with_the_weights_it_says():
    # place 0 weighs 1, place 1 weighs 1/2: the first is drawn first in two of three seeds
    from sftrecipe_diversity.draws import gumbel

    places = np.array([0.0, 1.0])
    first = sum(int(decayed(places, 0.5, gumbel(seed, pl.Series(["a", "b"]))).argmin() == 0) for seed in range(3000))
    assert abs(first / 3000 - 2 / 3) < 0.03


def test_token_budget_is_shared_in_tokens():
    frame = pool(math=400, code=400)
    choice = choose(ready(Quota, tokens=2000, count="tokens", by="domain"), frame)
    spent = frame[choice.kept].group_by("domain").agg(pl.col("tokens").sum())
    assert 1960 <= spent["tokens"].sum() <= 2000
    assert abs(spent["tokens"][0] - spent["tokens"][1]) <= 80


def test_rows_without_a_group_are_undefined():
    frame = pool(math=5).with_columns(pl.when(pl.int_range(5) == 2).then(None).otherwise("domain").alias("domain"))
    choice = choose(ready(Quota, size=5, by="domain"), frame)
    assert story(frame, choice) == {frame["id"][2]: ("undefined", None, None)}


def test_whole_numbers_are_groups_and_floats_are_not():
    frame = pool(math=9).with_columns((pl.int_range(9) % 3).alias("stage"))
    assert len(choose(ready(Quota, size=3, by="stage"), frame).kept) == 3
    with pytest.raises(StepError, match="text, whole numbers or truth values"):
        choose(ready(Quota, size=3, by="x"), frame.with_columns(pl.lit(0.5).alias("x")))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"shares": {"a": 1}, "temperature": 2}, "not both"),
        ({"shares": {"a": 0}}, "above 0"),
        ({"shares": {}}, "at least one group"),
        ({"decay": 0.5}, "`decay` needs `rank`"),
    ],
)
def test_check_names_what_does_not_go_together(params, says):
    assert any(says in p for p in ready(Quota, size=1, by="domain", **params).check())


def test_keep_must_be_true_or_false():
    with pytest.raises(StepError, match="true or false is needed"):
        choose(ready(Quota, size=3, by="domain", keep="length"), pool(math=9))


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 30), min_size=1), st.integers(1, 80), st.floats(0.3, 9))
def test_seats_follow_the_shares_and_the_order_of_each_group(sizes, limit, temperature):
    groups, row = {}, 0
    for group, n in sizes.items():
        groups[group] = list(range(row, row + n))
        row += n
    shares = shares_of(sizes, temperature)
    kept = seats(groups, shares, Budget(limit), {})
    assert len(kept) == len(set(kept)) == min(limit, row)
    got = {g: sum(r in set(rows) for r in kept) for g, rows in groups.items()}
    whole = sum(shares.values())
    if len(sizes) == 2 and all(limit * shares[g] / whole + 1 < sizes[g] for g in sizes):
        assert all(abs(got[g] - limit * shares[g] / whole) <= 0.5 + 1e-9 for g in sizes)
    for group, rows in groups.items():
        assert [r for r in kept if r in set(rows)] == rows[: got[group]]


def test_so_many_of_each_group_without_a_budget():
    frame = pool(math=300, code=5, chat=2)
    choice = choose(ready(Quota, by="domain", most=3, rank="length"), frame)
    assert counts(frame, choice) == {"math": 3, "code": 3, "chat": 2}
    ranked = sorted(range(300), key=lambda r: (-frame["length"][r], frame["id"][r]))
    assert [r for r in choice.kept.tolist() if r < 300] == ranked[:3]
    (reason,) = choice.dropped
    assert (reason.code, len(reason.rows), float(reason.value.min())) == ("capped", 299, 3.0)


def test_a_cap_gives_its_place_to_the_others():
    frame = pool(math=300, code=100, chat=60)
    choice = choose(ready(Quota, size=90, by="domain", temperature=1, most=30), frame)
    assert counts(frame, choice) == {"math": 30, "code": 30, "chat": 30}
    choice = choose(ready(Quota, size=70, by="domain", shares={"math": 9, "code": 1}, most=40), frame)
    assert counts(frame, choice) == {"math": 40, "code": 30}


def test_rows_that_are_kept_count_to_the_cap():
    frame = pool(math=30, code=30)
    choice = choose(ready(Quota, size=20, by="domain", keep="picked", most=5), frame)
    assert counts(frame, choice) == {"math": 5, "code": 5}
    assert {0, 10, 20, 30, 40, 50} <= set(choice.kept.tolist())


def test_small_groups_get_their_least_first():
    frame = pool(math=900, code=50, chat=2)
    proportional = {"math": 18, "code": 1}
    assert counts(frame, choose(ready(Quota, size=19, by="domain", temperature=1), frame)) == proportional
    choice = choose(ready(Quota, size=19, by="domain", temperature=1, least=3), frame)
    assert counts(frame, choice) == {"math": 14, "code": 3, "chat": 2}
    assert [frame["domain"][int(r)] for r in choice.kept[:6]] == ["chat", "code", "math", "chat", "code", "math"]
    # a budget below the least of all groups: in turn
    assert counts(frame, choose(ready(Quota, size=4, by="domain", least=3), frame)) == {"chat": 2, "code": 1, "math": 1}


@given(st.integers(1, 60), st.integers(1, 4), st.integers(4, 12), st.booleans())
def test_least_and_most_hold_and_larger_budgets_contain_smaller(size: int, least: int, most: int, tokens: bool):
    frame = pool(a=40, b=9, c=3, d=1)
    budget = {"tokens": size * 10, "count": "tokens"} if tokens else {"size": size}
    choice = choose(ready(Quota, by="domain", temperature=1, least=least, most=most, **budget), frame)
    kept = counts(frame, choice)
    assert all(n <= most for n in kept.values())
    if not tokens:
        held = {"a": 40, "b": 9, "c": 3, "d": 1}
        room = sum(min(n, most) for n in held.values())
        assert sum(kept.values()) == min(size, room)
        if size >= sum(min(n, least) for n in held.values()):
            assert all(kept[g] >= min(n, least) for g, n in held.items())
        more = choose(ready(Quota, by="domain", temperature=1, least=least, most=most, size=size + 7), frame)
        assert more.kept[: len(choice.kept)].tolist() == choice.kept.tolist()


def test_least_above_most_is_told():
    assert list(Quota(size=3, by="domain", least=5, most=2).check()) == ["`least` (5) is more than `most` (2)"]
    assert ["a budget is missing" in p for p in Quota(by="domain", least=5).check()] == [True]
    assert not list(Quota(by="domain", most=2).check())
