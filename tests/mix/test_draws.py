from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.draws import hashes, order, remix

IDS = st.lists(st.text(max_size=40), max_size=60)


@settings(deadline=None)
@given(IDS, st.integers(0, 2**63 - 1))
def test_the_hash_of_an_id_does_not_depend_on_its_neighbours(ids: list[str], seed: int) -> None:
    together = hashes(pl.Series(ids, dtype=pl.String), seed, "draw")
    assert together.tolist() == [hashes(pl.Series([i]), seed, "draw")[0] for i in ids]


def test_hashes_are_fixed_for_good() -> None:
    ids = pl.Series(["", "a", "0123456789abcdef", "0123456789abcdef~2", "é漢字"])
    assert hashes(ids, 42, "draw").tolist() == [
        17254556778312963689,
        10541677595584696077,
        4515196712776173772,
        15955643523171790827,
        12259491432799097135,
    ]


def test_blocks_do_not_show() -> None:
    ids = pl.Series([f"{i:016x}" for i in range(70_000)])
    whole = hashes(ids, 3)
    assert (hashes(ids[65_000:66_000], 3) == whole[65_000:66_000]).all()
    assert len(np.unique(whole)) == 70_000


@pytest.mark.parametrize(("seed", "use"), [(1, "draw"), (2, "draw"), (1, "order")])
def test_seed_and_use_change_every_hash(seed: int, use: str) -> None:
    ids = pl.Series([str(i) for i in range(100)])
    others = [hashes(ids, s, u) for s, u in [(1, "draw"), (2, "draw"), (1, "order")] if (s, u) != (seed, use)]
    assert not any((hashes(ids, seed, use) == other).any() for other in others)


def test_bytes_are_told_apart_from_padding() -> None:
    ids = pl.Series(["a", "a\0", "a\0\0", "\0", ""])
    assert len(set(hashes(ids, 1).tolist())) == 5


def test_every_bit_is_set_half_of_the_time() -> None:
    keys = hashes(pl.Series([str(i) for i in range(20_000)]), 5)
    shares = [float(((keys >> np.uint64(bit)) & np.uint64(1)).mean()) for bit in range(64)]
    assert max(abs(s - 0.5) for s in shares) < 0.02


def test_remix_is_one_to_one_and_differs_by_salt() -> None:
    keys = np.arange(10_000, dtype=np.uint64)
    assert len(np.unique(remix(keys))) == 10_000
    assert not (remix(keys, 0) == remix(keys, 1)).any()
    salts = np.arange(10_000) % 3
    expected = [int(remix(keys[i : i + 1], int(s))[0]) for i, s in enumerate(salts[:50])]
    assert remix(keys, salts)[:50].tolist() == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=50))
def test_equal_keys_stay_in_row_order(keys: list[int]) -> None:
    assert order(np.array(keys, dtype=np.uint64)).tolist() == sorted(range(len(keys)), key=lambda i: (keys[i], i))


@pytest.mark.parametrize("sizes", [(8,), (16,), (16, 16), (24, 3), (0,), (16, 0)])
def test_ids_of_whole_words_hash_as_among_others(sizes: tuple[int, ...]) -> None:
    ids = pl.Series([f"{i:0{sizes[i % len(sizes)]}d}"[: sizes[i % len(sizes)]] for i in range(40_000)])
    odd = pl.concat([ids, pl.Series(["an odd one"])])
    assert (hashes(ids, 9) == hashes(odd, 9)[:-1]).all()
    assert (hashes(ids[17:30_000], 9) == hashes(odd, 9)[17:30_000]).all()
