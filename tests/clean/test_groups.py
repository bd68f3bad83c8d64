"""Groups of joined rows, and who of a group stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean.groups import join, kept_of_group, kept_of_pairs, preference, runs
from tests.clean.whole import components

ROWS = 12
PAIRS = st.lists(st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1)), max_size=20)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs], np.int64), np.array([p[1] for p in pairs], np.int64)


@given(PAIRS, st.integers(1, 4))
def test_groups_are_the_connected_components(pairs: list[tuple[int, int]], times: int) -> None:
    labels = np.arange(ROWS, dtype=np.int64)
    for at in range(times):  # in one call or in several
        join(labels, *arrays(pairs[at::times]))
    assert labels.tolist() == components(ROWS, pairs)


def test_a_long_chain_becomes_one_group() -> None:
    labels = np.arange(5000, dtype=np.int64)
    order = np.random.default_rng(0).permutation(4999)
    join(labels, order, order + 1)
    assert (labels == 0).all()


@pytest.mark.parametrize(
    ("worth", "rank"),
    [
        (None, [0, 1, 2, 3]),
        ([1.0, 3.0, 2.0, 3.0], [3, 0, 2, 1]),
        ([np.nan, -np.inf, 0.0, np.nan], [2, 1, 0, 3]),
        ([5.0, 5.0, 5.0, 5.0], [0, 1, 2, 3]),
    ],
)
def test_preference_is_by_worth_and_then_by_row(worth: list[float] | None, rank: list[int]) -> None:
    assert preference(4, None if worth is None else np.array(worth)).tolist() == rank


@given(PAIRS, st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS))
def test_one_row_of_a_group_stays_the_best(pairs: list[tuple[int, int]], worth: list[int]) -> None:
    labels = np.array(components(ROWS, pairs))
    kept = kept_of_group(labels, preference(ROWS, np.array(worth, float)))
    for row in range(ROWS):
        group = [r for r in range(ROWS) if labels[r] == labels[row]]
        assert kept[row] == max(group, key=lambda r: (worth[r], -r))


@given(PAIRS, st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS), st.randoms(use_true_random=False))
def test_a_row_goes_only_for_a_kept_row_that_it_is_paired_with(pairs, worth, rng) -> None:
    pairs = sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]})
    value = {p: rng.choice([0.8, 0.9, 1.0]) for p in pairs}
    rank = preference(ROWS, np.array(worth, float))
    kept, alike = kept_of_pairs(*arrays(pairs), np.array([value[p] for p in pairs]), rank)
    stays = {r for r in range(ROWS) if kept[r] == r}
    for row in range(ROWS):
        better = {
            o: value[min(row, o), max(row, o)]
            for o in stays
            if (min(row, o), max(row, o)) in value and rank[o] < rank[row]
        }
        if row in stays:
            assert not better
            assert np.isnan(alike[row])
        else:
            assert kept[row] in better
            assert alike[row] == better[kept[row]] == max(better.values())


@given(st.lists(st.integers(0, 2), max_size=20))
def test_runs_are_of_equal_neighbours(values: list[int]) -> None:
    starts, lengths = runs(np.array(values))
    found = [values[s : s + n] for s, n in zip(starts, lengths, strict=True)]
    assert [v for f in found for v in f] == values
    assert all(len(set(f)) == 1 for f in found)
    assert all(a[-1] != b[0] for a, b in zip(found, found[1:], strict=False))
