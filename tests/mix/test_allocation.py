from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe_mix.allocation import allocate, largest_total

WEIGHTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3), st.fractions(Fraction(1, 1000), 1000), min_size=1, max_size=8
)


def test_the_example_in_the_books() -> None:
    weights = {s: Fraction(v) for s, v in {"a": 47, "b": 16, "c": 15, "d": 12, "e": 6, "f": 4}.items()}
    assert allocate(weights, 10) == {"a": 5, "b": 2, "c": 1, "d": 1, "e": 1, "f": 0}


def test_a_full_part_gives_its_share_to_the_others() -> None:
    weights = {"a": Fraction(8), "b": Fraction(1), "c": Fraction(1)}
    assert allocate(weights, 100, {"a": 10, "b": None, "c": None}) == {"a": 10, "b": 45, "c": 45}


def test_ties_go_to_the_smaller_name_in_whatever_order_they_are_written() -> None:
    one = {"a": Fraction(1), "b": Fraction(1), "c": Fraction(1)}
    assert allocate(one, 1) == {"a": 1, "b": 0, "c": 0}
    assert allocate(dict(reversed(one.items())), 1) == {"c": 0, "b": 0, "a": 1}


@settings(deadline=None)
@given(WEIGHTS, st.integers(0, 10_000))
def test_without_caps_the_sum_is_exact_and_each_is_less_than_one_off(weights: dict[str, Fraction], total: int) -> None:
    counts = allocate(weights, total)
    whole = sum(weights.values())
    assert sum(counts.values()) == total
    assert all(abs(counts[s] - total * w / whole) < 1 for s, w in weights.items())


@settings(deadline=None)
@given(WEIGHTS, st.integers(0, 500), st.data())
def test_with_caps_the_sum_is_exact_none_is_exceeded_and_open_parts_keep_their_proportions(
    weights: dict[str, Fraction], total: int, data: st.DataObject
) -> None:
    caps = {s: data.draw(st.one_of(st.none(), st.integers(0, 300))) for s in weights}
    room = None if None in caps.values() else sum(c or 0 for c in caps.values())
    if room is not None and room < total:
        with pytest.raises(ValueError, match="can be had"):
            allocate(weights, total, caps)
        return
    counts = allocate(weights, total, caps)
    assert sum(counts.values()) == total
    assert all(cap is None or counts[s] <= cap for s, cap in caps.items())
    open_parts = [s for s in weights if caps[s] is None or counts[s] < caps[s]]
    left = total - sum(counts[s] for s in weights if s not in open_parts)
    share = sum((weights[s] for s in open_parts), Fraction(0))
    assert all(counts[s] - left * weights[s] / share < 1 for s in open_parts)


@settings(deadline=None)
@given(WEIGHTS, st.data())
def test_the_largest_total_needs_no_more_than_there_is_and_one_more_does(
    weights: dict[str, Fraction], data: st.DataObject
) -> None:
    have = {s: data.draw(st.integers(0, 1000)) for s in weights}
    total = largest_total(weights, have)
    assert all(n <= have[s] for s, n in allocate(weights, total).items())
    whole = sum(weights.values(), Fraction(0))
    assert any(floor((total + 1) * w / whole) >= have[s] for s, w in weights.items())
