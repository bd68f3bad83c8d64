"""The index of evaluation items gives the coverage of the definition, and finds whole items."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean import eval_index as module
from sftrecipe_clean.eval_index import Anchors, GramIndex, HashSet, coverage
from sftrecipe_clean.words import word_table

LISTS = st.lists(st.lists(st.sampled_from("abc"), max_size=14), min_size=1, max_size=8)


def table(lists: list[list[str]]):
    return word_table(pl.Series([" ".join(words) for words in lists], dtype=pl.String))


@pytest.mark.parametrize(
    ("item", "row", "share"),
    [
        ("a b c d", "a b c d", 1.0),
        ("a b c d", "x a b c y", 0.75),
        ("a b c d", "a b x c d", 0.0),
        ("a b a b a b", "b a b", 5 / 6),
        ("", "a", 0.0),
    ],
)
def test_the_definition_of_coverage(item: str, row: str, share: float) -> None:
    assert coverage(item.split(), row.split(), 3) == share


@given(LISTS, LISTS, st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_the_index_finds_the_item_that_is_covered_most(items, rows, n: int, threshold: float) -> None:
    share, item = GramIndex.build(table(items), n).best(table(rows), n, threshold)
    for at, row in enumerate(rows):
        shares = [coverage(i, row, n) for i in items]
        best = max(shares)
        if best > threshold:
            assert share[at] == best
            assert item[at] == shares.index(best)
        else:
            assert (share[at], item[at]) == (0.0, -1)


def test_work_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    items, rows = ([rng.choice(list("abcd"), rng.integers(0, 30)).tolist() for _ in range(60)] for _ in range(2))
    index = GramIndex.build(table(items), 2)
    whole = index.best(table(rows), 2, 0.2)
    monkeypatch.setattr(module, "_POSTINGS_AT_ONCE", 7)
    assert [x.tolist() for x in index.best(table(rows), 2, 0.2)] == [x.tolist() for x in whole]


def test_long_items_are_left_out_where_a_stock_phrase_cannot_reach_them() -> None:
    phrase = [f"p{k}" for k in range(8)]
    items = [[*phrase, *(f"i{n}w{k}" for k in range(20 + n % 3))] for n in range(500)] + [[*phrase, "end"]]
    index = GramIndex.build(table(items), 8)
    wanted = list(
        index._wanted(np.array([0]), np.searchsorted(index.grams, index.grams[np.diff(index.first) > 1]), 1, 8, 0.5)
    )
    assert sum(int(counts.sum()) for _, _, counts in wanted) == 1
    assert index.best(table([phrase]), 8, 0.5)[1].tolist() == [500]


@given(LISTS, LISTS, st.integers(1, 4))
def test_anchors_point_at_every_row_that_holds_an_item(items, rows, n: int) -> None:
    wanted = np.array([k for k, i in enumerate(items) if i], dtype=np.int64)
    row, item = Anchors.build(table(items), wanted, n).candidates(table(rows))
    found = set(zip(row.tolist(), item.tolist(), strict=True))
    for r, words in enumerate(rows):
        for k in wanted.tolist():
            holds = any(words[at : at + len(items[k])] == items[k] for at in range(len(words)))
            assert not holds or (r, k) in found
            if len(items[k]) <= n:
                assert ((r, k) in found) == holds
    assert list(zip(row.tolist(), item.tolist(), strict=True)) == sorted(found)


@given(st.sets(st.integers(0, 2**64 - 1), max_size=30), st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_a_hash_set_is_a_set(known: set[int], others: list[int]) -> None:
    hashes, wanted = np.array(sorted(known), np.uint64), np.array([*known, *others], np.uint64)
    at, number = HashSet(hashes).find(wanted)
    assert at.tolist() == [k for k, w in enumerate(wanted.tolist()) if w in known]
    assert hashes[number].tolist() == wanted[at].tolist()


def test_an_index_survives_being_saved() -> None:
    index = GramIndex.build(table([["a", "b", "c"], ["b", "c", "d"]]), 2)
    again = GramIndex.load(index.save())
    assert [x.tolist() for x in again.best(table([["b", "c"]]), 2, 0.0)] == [[2 / 3], [0]]
    anchors = Anchors.load(Anchors.build(table([["a", "b", "c"]]), np.array([0]), 2).save())
    assert [x.tolist() for x in anchors.candidates(table([["x", "a", "b"]]))] == [[0], [0]]
