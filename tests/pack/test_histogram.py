from __future__ import annotations

import gzip
import json
from bisect import bisect_left, insort
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe_pack.histogram import Packs, best_fit_decreasing, lower_bound_l2, lower_bound_volume, pack_order

DATA = Path(__file__).parents[1] / "data" / "mix_pack"
CASES = json.loads((DATA / "small_packing_cases.json").read_text(encoding="utf-8"))["cases"]


def ints(values: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(values, dtype=np.int64)


def one_by_one(lengths: list[int], capacity: int) -> list[int]:
    """Best-fit-decreasing as the textbook says it, item by item: sorted fills."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        at = bisect_left(rooms, length)
        room = rooms.pop(at) if at < len(rooms) else capacity
        insort(rooms, room - length)
    return sorted(capacity - room for room in rooms)


def checked(packs: Packs, lengths: Any, capacity: int, max_members: int | None = None) -> list[int]:
    """Every item once, nothing over. Returns sorted fills."""
    assert sorted(packs.items.tolist()) == list(range(len(lengths)))
    fills = packs.fills(ints(lengths))
    assert fills.max(initial=0) <= capacity
    assert packs.members.min(initial=1) >= 1
    assert max_members is None or packs.members.max(initial=0) <= max_members
    return sorted(fills.tolist())


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_packs_and_fills_are_those_of_trl(case: dict[str, Any]) -> None:
    capacity = case["capacity"]
    lengths = np.minimum(ints(case["lengths"]), capacity)
    packs = best_fit_decreasing(lengths, capacity)
    assert packs.count == case["trl_bfd_n"]
    assert checked(packs, lengths, capacity) == case["trl_bfd_fills_sorted"]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_lower_bounds(case: dict[str, Any]) -> None:
    lengths = np.minimum(ints(case["lengths"]), case["capacity"])
    assert lower_bound_volume(lengths, case["capacity"]) == case["lb_volume"]
    assert lower_bound_l2(lengths, case["capacity"]) == case["lb_martello_toth_L2"]


def test_a_hundred_thousand_lengths() -> None:
    with gzip.open(DATA / "lengths_100k_int16.npy.gz") as file:
        lengths = np.load(file).astype(np.int64)
    packs = best_fit_decreasing(lengths, 4096)
    checked(packs, lengths, 4096)
    assert (packs.count, int(lengths.sum())) == (12_030, 49_269_049)
    assert lower_bound_volume(lengths, 4096) == lower_bound_l2(lengths, 4096) == 12_029


LENGTHS = st.integers(2, 40).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(1, c), max_size=80)))


@settings(max_examples=300, deadline=None)
@given(LENGTHS)
def test_whole_groups_give_what_single_items_give(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    packs = best_fit_decreasing(ints(lengths), capacity)
    assert checked(packs, lengths, capacity) == one_by_one(lengths, capacity)
    assert packs.count >= max(lower_bound_volume(ints(lengths), capacity), lower_bound_l2(ints(lengths), capacity))


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.integers(1, 6))
def test_a_cap_on_members_holds(case: tuple[int, list[int]], cap: int) -> None:
    capacity, lengths = case
    packs = best_fit_decreasing(ints(lengths), capacity, cap)
    checked(packs, lengths, capacity, cap)
    assert packs.count >= -(-len(lengths) // cap)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.data())
def test_keys_change_who_is_where_and_nothing_else(case: tuple[int, list[int]], data: st.DataObject) -> None:
    capacity, lengths = case
    keys = np.array(
        data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(lengths), max_size=len(lengths), unique=True)),
        dtype=np.uint64,
    )
    packs = best_fit_decreasing(ints(lengths), capacity, None, keys)
    assert checked(packs, lengths, capacity) == one_by_one(lengths, capacity)
    swap = np.array(data.draw(st.permutations(range(len(lengths)))), dtype=np.int64)
    swapped = best_fit_decreasing(ints(lengths)[swap], capacity, None, keys[swap])
    assert swap[swapped.items].tolist() == packs.items.tolist()  # the order of rows does not show


def test_keys_that_are_equal_where_they_are_cut() -> None:
    keys = np.arange(1000, dtype=np.uint64)[::-1].copy()  # they differ in their lowest bits alone
    packs = best_fit_decreasing(np.full(1000, 7), 7000, None, keys)
    assert packs.items.tolist() == list(range(1000))[::-1]
    same = best_fit_decreasing(np.full(1000, 7), 7, None, np.zeros(1000, dtype=np.uint64))
    assert same.items.tolist() == list(range(1000))


def test_a_capacity_that_leaves_no_bits_for_keys() -> None:
    keys = np.array([3, 1, 2], dtype=np.uint64)
    packs = best_fit_decreasing(ints([5, 5, 9]), 2**62, None, keys)
    assert packs.items.tolist() == [2, 1, 0]


def test_nothing_to_pack() -> None:
    packs = best_fit_decreasing(ints([]), 8)
    assert (packs.count, packs.members.tolist(), packs.fills(ints([])).tolist()) == (0, [], [])
    assert lower_bound_volume(ints([]), 8) == lower_bound_l2(ints([]), 8) == 0


@settings(deadline=None)
@given(LENGTHS)
def test_l2_is_what_its_definition_says(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    best = 0
    for k in range(capacity // 2 + 1):
        one = [x for x in lengths if x > capacity - k]
        two = [x for x in lengths if capacity - k >= x > capacity // 2]
        three = [x for x in lengths if capacity // 2 >= x >= k]
        over = sum(three) - (len(two) * capacity - sum(two))
        best = max(best, len(one) + len(two) + max(0, -(-over // capacity)))
    assert lower_bound_l2(ints(lengths), capacity) == best


@settings(deadline=None)
@given(LENGTHS, st.none() | st.integers(1, 5), st.integers(0, 2**32))
def test_with_keys_packs_stand_in_the_order_of_their_first_items(
    given: tuple[int, list[int]], cap: int | None, seed: int
) -> None:
    capacity, lengths = given
    keys = np.random.default_rng(seed).integers(0, 2**63, len(lengths)).astype(np.uint64)
    packs = best_fit_decreasing(ints(lengths), capacity, cap, keys)
    fills = checked(packs, lengths, capacity, cap)
    assert fills == checked(best_fit_decreasing(ints(lengths), capacity, cap), lengths, capacity, cap)
    first = keys[packs.items[packs.offsets[:-1]]]
    assert pack_order(first).tolist() == list(range(packs.count))
    for at, stop in pairwise(packs.offsets.tolist()):
        inside = packs.items[at:stop]
        assert [(-lengths[i], keys[i]) for i in inside] == sorted((-lengths[i], keys[i]) for i in inside)
