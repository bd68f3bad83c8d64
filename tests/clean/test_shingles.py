"""Shingles: the sets are the definition's, and the bitmaps never hide a pair."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean.shingles import (
    bitmaps,
    chunks,
    counted_ranges,
    distinct,
    intersections,
    jaccard_bound,
    missing_bits,
    pieces,
    shared_members,
    shingles,
    similarity,
    spaced,
)
from tests.clean.whole import jaccard, shingle_set

TEXTS = st.lists(st.one_of(st.none(), st.text("ab \n", max_size=30)), min_size=1, max_size=12)
SETS = st.lists(st.sets(st.integers(0, 5000), max_size=40), min_size=1, max_size=10)


def sets_of(texts: list[str | None], n: int) -> list[set[int]]:
    hashes, offsets = shingles(pl.Series(texts, dtype=pl.String), n)
    return [set(hashes[a:b].tolist()) for a, b in zip(offsets, offsets[1:], strict=False)]


def flat(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    members = np.array([m for s in sets for m in sorted(s)], dtype=np.uint32)
    return members, np.array([len(s) for s in sets], dtype=np.int64)


@given(TEXTS, st.integers(1, 6))
def test_sets_have_the_similarity_of_the_definition(texts: list[str | None], n: int) -> None:
    found, wanted = sets_of(texts, n), [shingle_set(t or "", n) for t in texts]
    for a, x in zip(found, wanted, strict=True):
        assert len(a) == len(x)
        for b, y in zip(found, wanted, strict=True):
            assert jaccard(frozenset(a), frozenset(b)) == jaccard(x, y)


def test_a_short_text_is_one_shingle_of_all_its_words() -> None:
    found = sets_of(["a b", "A  B", "b a", "a b b", "a", "", None, "a b c d e", "a b c d e f"], 5)
    assert [len(s) for s in found] == [1, 1, 1, 1, 1, 0, 0, 1, 2]
    assert found[0] == found[1]
    assert len({frozenset(s) for s in found}) == 7


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("今天天气", "今 天 天 气"),
        ("いいてんき カナ", "い い て ん き カ ナ"),
        ("ภาษา", "ภ า ษ า"),
        ("我用 Python 写 code", "我 用 Python 写 code"),
        ("한국어 문장", "한국어 문장"),
        ("plain é text", "plain é text"),
    ],
)
def test_characters_of_unspaced_scripts_are_words(text: str, apart: str) -> None:
    assert spaced(pl.Series([text, None, "a"]))[0].split() == apart.split()
    assert sets_of([text], 3) == sets_of([apart], 3)


def test_chinese_near_duplicates_are_alike() -> None:
    one, other = "今天的天气非常好，我们一起去公园散步吧。" * 2, "今天的天气非常好，我们一起去公园跑步吧。" * 2
    a, b = sets_of([one, other], 5)
    assert 0.3 < jaccard(frozenset(a), frozenset(b)) < 1


@given(st.lists(st.integers(0, 9_000_000), max_size=12))
def test_pieces_cover_all_rows_and_stay_small(sizes: list[int]) -> None:
    texts = pl.Series(["x" * (s // 1000) for s in sizes], dtype=pl.String)
    found = list(pieces(texts))
    assert [a for a, _ in found] == [0, *(b for _, b in found)][: len(found)]
    assert (found[-1][1] if found else 0) == len(sizes)


def test_a_piece_is_bounded_by_rows_and_by_bytes() -> None:
    assert list(pieces(pl.Series(["x"] * 5000))) == [(0, 2048), (2048, 4096), (4096, 5000)]
    big = pl.Series(["x" * (3 << 20)] * 3)
    assert list(pieces(big)) == [(0, 1), (1, 2), (2, 3)]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), min_size=1, max_size=8))
def test_distinct_keeps_each_upper_half_once(rows: list[list[int]]) -> None:
    hashes = np.array([h for r in rows for h in r], dtype=np.uint64)
    offsets = np.cumsum([0, *map(len, rows)])
    members, counts = distinct(hashes, offsets)
    wanted = [sorted({h >> 32 for h in r}) for r in rows]
    assert counts.tolist() == [len(w) for w in wanted]
    assert members.tolist() == [m for w in wanted for m in w]


@given(SETS)
def test_bitmaps_bound_what_sets_share(sets: list[set[int]]) -> None:
    members, sizes = flat(sets)
    bits = bitmaps(members, sizes)
    for at, own in enumerate(sets):
        assert int(np.bitwise_count(bits[at]).sum()) == len({m % 1024 for m in own})
    a, b = (x.ravel() for x in np.indices((len(sets), len(sets))))
    lacking = missing_bits(bits[a], bits[b])
    bound = jaccard_bound(bits[a], bits[b], sizes[a], sizes[b])
    for x, y, lacks, most in zip(a, b, lacking, bound, strict=True):
        assert lacks <= len(sets[x] - sets[y])
        assert most >= jaccard(frozenset(sets[x]), frozenset(sets[y]))


@given(SETS)
def test_shared_members_are_counted_exactly(sets: list[set[int]]) -> None:
    members, sizes = flat(sets)
    a, b = (x.ravel() for x in np.indices((len(sets), len(sets))))
    wanted = [len(sets[x] & sets[y]) for x, y in zip(a, b, strict=True)]
    assert shared_members(members, sizes, a, b).tolist() == wanted
    assert similarity(np.array(wanted), sizes[a], sizes[b]).tolist() == [
        jaccard(frozenset(sets[x]), frozenset(sets[y])) for x, y in zip(a, b, strict=True)
    ]


def test_members_of_one_pair_are_not_taken_for_anothers() -> None:
    members_a, members_b = np.array([1, 2, 3], np.uint32), np.array([3, 1, 2], np.uint32)
    assert intersections(members_a, np.array([2, 1]), members_b, np.array([1, 2])).tolist() == [0, 0]


@given(st.lists(st.integers(0, 1 << 20), max_size=30))
def test_chunks_take_every_item_once(sizes: list[int]) -> None:
    found = list(chunks(np.array(sizes, dtype=np.int64)))
    assert [i for some in found for i in range(some.start, some.stop)] == list(range(len(sizes)))
    assert all(some.stop - some.start == 1 or sum(sizes[some]) <= 1 << 19 for some in found)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=10))
def test_counted_ranges_are_ranges(ranges: list[tuple[int, int]]) -> None:
    starts, counts = np.array([r[0] for r in ranges], np.int64), np.array([r[1] for r in ranges], np.int64)
    numbers, place = counted_ranges(starts, counts)
    assert numbers.tolist() == [s + k for s, c in ranges for k in range(c)]
    assert place.tolist() == [k for _, c in ranges for k in range(c)]
