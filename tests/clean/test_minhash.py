"""Sketches: unbiased, of known spread, the same for every batch; bands meet as often as the formula says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean.minhash import band_keys, estimate, meeting_chance, sketch

GOLDEN_CELLS = [
    "1a8763809",
    "fa5dabe7f",
    "765fdaf",
    "1ec9ddadc",
    "42d971083",
    "d3d07c896",
    "a1201bda",
    "8185ca93d",
    "4111dbf3b",
    "25ddc2792",
    "18db7191c",
    "17a90439e",
    "aed84fc0",
    "2980b7aee",
    "30ca3dd9",
    "870a8b767",
]
GOLDEN_KEYS = ["a1ddd728a59e3a67", "7be947ec9f84d61c", "663dd2e7c66ee288", "eef8e444d598c1b3"]


def pairs_of_sets(similarity: float, size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(hashes, offsets, true Jaccard) of `count` pairs: rows 2i and 2i + 1 share members."""
    rng = np.random.default_rng(seed)
    shared = round(2 * size * similarity / (1 + similarity))
    rows = []
    for _ in range(count):
        pool = rng.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
        rows += [pool[:size], np.concatenate([pool[:shared], pool[size:]])]
    return np.concatenate(rows), np.arange(0, (2 * count + 1) * size, size), shared / (2 * size - shared)


@pytest.mark.parametrize("size", [1, 2, 5, 12, 40, 150, 700, 3000])
@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.7, 0.8, 0.95, 1.0])
def test_the_estimate_is_unbiased_with_the_spread_of_minhash(size: int, similarity: float) -> None:
    count = 400 if size <= 150 else 60
    hashes, offsets, true = pairs_of_sets(similarity, size, count, seed=size * 100 + round(similarity * 10))
    cells = sketch(hashes, offsets, 128)
    found = estimate(cells[::2], cells[1::2])
    spread = (true * (1 - true) / 128) ** 0.5
    assert abs(found.mean() - true) <= 4 * spread / count**0.5 + 1e-9
    assert found.std() <= 1.25 * spread + 1e-9


def test_cells_come_from_many_members() -> None:
    # the trap: multipliers that never wrap make every permutation pick the same member
    cells = sketch(np.random.default_rng(3).integers(0, 2**64, 500, dtype=np.uint64), np.array([0, 500]), 128)
    assert len(np.unique(cells)) > 120


@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=15), min_size=1, max_size=8),
    st.sampled_from([1, 8, 100, 128]),
)
def test_a_sketch_depends_on_its_own_set_alone(rows: list[list[int]], size: int) -> None:
    offsets = np.cumsum([0, *map(len, rows)])
    whole = sketch(np.array([h for r in rows for h in r], dtype=np.uint64), offsets, size)
    for at, row in enumerate(rows):
        shuffled = np.array([*reversed(row), *row], dtype=np.uint64)
        alone = sketch(shuffled, np.array([0, len(shuffled)]), size)
        assert (alone[0] == whole[at]).all()
        assert (whole[at] == np.uint64(2**64 - 1)).all() == (not row)


def test_sketches_do_not_change_with_releases_or_machines() -> None:
    cells = sketch(np.arange(1, 6, dtype=np.uint64), np.array([0, 2, 5]), 8)
    assert [f"{x:x}" for x in cells.ravel().tolist()] == GOLDEN_CELLS
    assert [f"{x:x}" for x in band_keys(cells, 2).ravel().tolist()] == GOLDEN_KEYS


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("size", [30, 150])
def test_bands_meet_as_often_as_the_formula_says(similarity: float, size: int) -> None:
    count = 1500
    hashes, offsets, true = pairs_of_sets(similarity, size, count, seed=size)
    keys = band_keys(sketch(hashes, offsets, 128), 16)
    met = (keys[::2] == keys[1::2]).any(axis=1).mean()
    chance = meeting_chance(true, 128, 16)
    assert met >= chance - 4 * (chance * (1 - chance) / count) ** 0.5 - 0.005
    assert met <= chance + 4 * (chance * (1 - chance) / count) ** 0.5 + 0.03


def test_a_band_key_speaks_for_its_band_alone() -> None:
    cells = np.arange(24, dtype=np.uint64).reshape(2, 12)
    cells[1, :4] = cells[0, :4]
    keys = band_keys(cells, 3)
    assert (keys[0] == keys[1]).tolist() == [True, False, False]
    assert band_keys(cells[:, [1, 0, 2, 3]], 1)[0] != band_keys(cells[:, :4], 1)[0]


def test_bands_must_fit() -> None:
    with pytest.raises(ValueError, match="128 cells cannot be cut into 10 bands"):
        band_keys(np.zeros((1, 128), np.uint64), 10)


def test_the_meeting_chance_of_the_default() -> None:
    assert meeting_chance(0.8, 128, 16) == pytest.approx(0.947, abs=1e-3)
    assert meeting_chance(0.9, 128, 16) > 0.999
    assert meeting_chance(0.5, 128, 16) < 0.07
