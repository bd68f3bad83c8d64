"""Candidate pairs: none that matters is lost, none is looked at twice, crowds cost what they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean import links as module
from sftrecipe_clean.links import Links, PairSet, buckets
from tests.clean.whole import components

ROWS = 14
KEYS = st.lists(st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS), min_size=1, max_size=3)
POINTS = st.lists(st.integers(0, 40), min_size=ROWS, max_size=ROWS)


class Line:
    """Rows are points on a line; similarity falls with distance. Counts what is asked, and refuses to be asked twice."""

    def __init__(self, points: list[int], hide: int = 10**9) -> None:
        self.points, self.hide, self.asked = np.array(points), hide, []

    def true(self, a: int, b: int) -> bool:
        return abs(int(self.points[a]) - int(self.points[b])) <= 3

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        gap = np.abs(self.points[a] - self.points[b])
        asked = [
            (min(x, y), max(x, y))
            for x, y, g in zip(a.tolist(), b.tolist(), gap.tolist(), strict=True)
            if g <= self.hide
        ]
        self.asked += asked
        return np.where(gap <= self.hide, 1 - gap / 100, np.nan)


def bucket_pairs(keys: list[list[int]]) -> set[tuple[int, int]]:
    return {(a, b) for own in keys for a in range(ROWS) for b in range(a + 1, ROWS) if own[a] == own[b]}


def sorted_buckets(own: list[int], order_by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return buckets(np.array(own), np.arange(ROWS), order_by)


@given(KEYS, POINTS, st.booleans(), st.sampled_from([5, 10**9]))
def test_groups_are_those_of_all_pairs_of_all_buckets(keys, points, joined, hide) -> None:
    measure = Line(points, hide)
    links = Links(ROWS, 0.97, measure, joined=joined)
    for own in keys:
        links.within_groups(*sorted_buckets(own, np.ones(ROWS, np.int64)), np.ones(ROWS, np.int64), 1.0)
    pairs = bucket_pairs(keys)
    true = {p for p in pairs if measure.true(*p)}
    assert links.labels.tolist() == components(ROWS, sorted(true))
    assert len(measure.asked) == len(set(measure.asked)) == links.measured
    a, b, value = links.edges()
    found = {(min(p), max(p)) for p in zip(a.tolist(), b.tolist(), strict=True)}
    assert found <= true
    assert (value >= 0.97).all()
    if not joined:
        assert found == true
        assert set(measure.asked) == {p for p in pairs if abs(points[p[0]] - points[p[1]]) <= hide}


@given(KEYS, POINTS, st.lists(st.integers(1, 9), min_size=ROWS, max_size=ROWS))
def test_sizes_rule_pairs_out_and_nothing_else_does(keys, points, sizes) -> None:
    size, measure = np.array(sizes), Line(points)
    links = Links(ROWS, 0.97, measure)
    for own in keys:
        links.within_groups(*sorted_buckets(own, size), size, 0.6)
    fits = {
        p for p in bucket_pairs(keys) if min(sizes[p[0]], sizes[p[1]]) >= 0.6 * max(sizes[p[0]], sizes[p[1]]) - 1e-6
    }
    assert set(measure.asked) <= fits
    assert links.labels.tolist() == components(ROWS, sorted(p for p in fits if measure.true(*p)))


@given(KEYS, POINTS)
def test_leaders_take_out_those_like_them(keys, points) -> None:
    measure = Line(points)
    links = Links(ROWS, 0.97, measure, joined=False)
    for own in keys:
        links.to_leaders(*sorted_buckets(own, np.arange(ROWS)))
    a, b, _ = links.edges()
    found = {(min(p), max(p)) for p in zip(a.tolist(), b.tolist(), strict=True)}
    assert len(measure.asked) == len(set(measure.asked))
    for own in keys:
        for key in set(own):
            rest = [r for r in range(ROWS) if own[r] == key]
            while rest:  # the definition, bucket by bucket
                leader, *rest = rest
                like = {r for r in rest if measure.true(leader, r)}
                assert {(leader, r) for r in like} <= found
                rest = [r for r in rest if r not in like]


@given(KEYS)
def test_without_a_measure_whole_buckets_join(keys) -> None:
    links = Links(ROWS, 0.5, None)
    for own in keys:
        links.unchecked(*sorted_buckets(own, np.arange(ROWS)))
    assert links.labels.tolist() == components(ROWS, sorted(bucket_pairs(keys)))
    assert np.isnan(links.edges()[2]).all()
    with pytest.raises(ValueError, match="no measure"):
        links.check(np.array([0]), np.array([1]))


def test_rows_in_several_buckets_of_one_call_are_asked_once() -> None:
    measure = Line([0, 1, 50, 51])
    links = Links(4, 0.97, measure, joined=False, repeats=True)
    links.within_groups(
        *buckets(np.array([1, 1, 2, 2, 3, 3]), np.array([0, 1, 0, 1, 2, 3]), np.ones(4)), np.ones(4, np.int64), 1.0
    )
    assert sorted(measure.asked) == [(0, 1), (2, 3)]


def test_ten_thousand_copies_cost_ten_thousand_looks() -> None:
    rows, measure = 10_000, Line([7] * 10_000)
    links, ones = Links(rows, 0.97, measure), np.ones(rows, np.int64)
    links.within_groups(*buckets(np.zeros(rows), np.arange(rows), ones), ones, 1.0)
    assert (links.labels == 0).all()
    assert links.measured == rows - 1
    assert links.oversized == 0


def test_a_crowd_of_strangers_is_bounded_and_told() -> None:
    rows = 700
    measure = Line([10 * r for r in range(rows)])
    links, ones = Links(rows, 0.97, measure), np.ones(rows, np.int64)
    links.within_groups(*buckets(np.zeros(rows), np.arange(rows), ones), ones, 1.0, limit=20)
    assert links.measured == sum(rows - d for d in range(1, 21))
    assert links.oversized == 1
    exact = Links(21, 0.97, measure)
    exact.within_groups(*buckets(np.zeros(21), np.arange(21), ones), ones, 1.0, limit=20)
    assert exact.oversized == 0


def test_checks_are_cut_into_blocks_that_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).integers(0, 300, 200).tolist()
    labels = []
    for size in (3, 1 << 16):
        monkeypatch.setattr(module, "_AT_ONCE", size)
        links, ones = Links(200, 0.97, Line(points)), np.ones(200, np.int64)
        links.within_groups(*buckets(np.zeros(200), np.arange(200), ones), ones, 1.0)
        labels.append(links.labels.tolist())
    assert labels[0] == labels[1]


@given(st.lists(st.integers(0, 30), max_size=20), st.lists(st.integers(0, 12), max_size=15), st.integers(0, 30))
def test_buckets_hold_rows_that_share_a_key(rows_of, keys, salt) -> None:
    keys = np.array(keys, dtype=np.int64)
    rows = np.random.default_rng(salt).permutation(20)[: len(keys)]
    order_by = np.random.default_rng(salt + 1).integers(0, 3, 20)
    members, bucket = buckets(keys, rows, order_by)
    found = [members[bucket == b].tolist() for b in range(int(bucket.max()) + 1 if len(bucket) else 0)]
    wanted = [
        sorted(rows[keys == k].tolist(), key=lambda r: (order_by[r], r))
        for k in np.unique(keys)
        if (keys == k).sum() > 1
    ]
    assert found == wanted


@given(st.lists(st.sets(st.integers(0, 60), max_size=20), max_size=8), st.lists(st.integers(0, 70), max_size=20))
def test_a_pair_set_is_a_set(batches, wanted) -> None:
    known: set[int] = set()
    found = PairSet()
    for batch in batches:
        found.add(np.array(sorted(batch - known), dtype=np.int64))
        known |= batch
    assert found.has(np.array(wanted, dtype=np.int64)).tolist() == [w in known for w in wanted]
    assert len(found) == len(known)


def test_a_large_pair_set_is_a_set_too() -> None:
    found, numbers = PairSet(), np.random.default_rng(0).permutation(40_000)
    for at in range(0, 40_000, 1_000):
        found.add(numbers[at : at + 1_000] * 2)
    assert found.has(np.arange(80_000)).tolist() == [n % 2 == 0 for n in range(80_000)]
