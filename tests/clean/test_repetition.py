"""Repetition: the fast n-gram rule decides as plain Python does, the block and suffix rules as their pages say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.rows import Rows
from sftrecipe_clean import repetition as module
from sftrecipe_clean.repetition import (
    Repetition,
    block_repeats,
    count_bounds,
    overwritten,
    paragraphs,
    repeat_bounds,
    repetition,
    sentences,
    suffix_shares,
)  # fmt: skip
from sftrecipe_clean.words import word_table

FEW = st.lists(st.sampled_from(["a", "b", "C", "É", "é", "x\u3000y"]), max_size=60).map(" ".join)
TEXTS = st.lists(st.one_of(st.none(), FEW, st.text(max_size=30)), max_size=8)


def word_rep(text: str, n: int) -> float:
    """The share as the workload W1 defines it."""
    words = text.lower().split()
    total = len(words) - n + 1
    if total < 2:
        return 0.0
    grams = Counter(tuple(words[i : i + n]) for i in range(total))
    return sum(c for c in grams.values() if c > 1) / total


def run(texts, **params):
    operator = Repetition(text="response", **params)
    operator.text = pl.col("response")
    (code, (mask, values)), = operator.keep(Rows(pl.DataFrame({"response": texts}, schema={"response": pl.String}))).items()
    return code, mask.to_list(), np.asarray(values).tolist()


@given(TEXTS, st.integers(1, 5), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_ngram_decisions_and_values_are_the_definition(texts, n, limit):
    code, mask, values = run(texts, n=n, max=limit)
    expected = [None if text is None else word_rep(text, n) for text in texts]
    assert code == "repeated_ngrams"
    assert mask == [None if share is None else share <= limit for share in expected]
    assert [v for v, m in zip(values, mask, strict=True) if m is False] == [s for s in expected if s is not None and s > limit]


@given(TEXTS, st.integers(1, 4), st.integers(1, 6))
def test_count_decisions_are_the_definition(texts, n, limit):
    _, mask, values = run(texts, n=n, max_count=limit)
    most = [None if t is None else repetition(t, n)[1] for t in texts]
    assert mask == [None if m is None else m <= limit for m in most]
    assert [v for v, m in zip(values, mask, strict=True) if m is False] == [m for m in most if m is not None and m > limit]


@given(TEXTS.filter(bool), st.integers(1, 4))
def test_bounds_are_never_below_the_truth(texts, n):
    table = word_table(pl.Series(texts, dtype=pl.String))
    total, repeated = repeat_bounds(table, n)
    most = count_bounds(table, n)
    for row, text in enumerate(texts):
        words = (text or "").lower().split()
        grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        assert total[row] == max(0, len(words) - n + 1)
        assert repeated[row] >= sum(c for c in grams.values() if c > 1)
        assert most[row] >= max(grams.values(), default=0)


@given(st.lists(st.lists(st.integers(0, 3), max_size=10), max_size=6))
def test_all_but_one_of_equal_hashes_are_overwritten(rows):
    offsets = np.cumsum([0, *map(len, rows)])
    hashes = np.array([v * 0x9E3779B97F4A7C15 % 2**64 for row in rows for v in row], dtype=np.uint64)
    lost = overwritten(hashes, offsets)
    for row, (a, b) in zip(rows, zip(offsets[:-1], offsets[1:], strict=True), strict=True):
        for value in set(row):
            places = [a + i for i, v in enumerate(row) if v == value]
            assert lost[places].sum() >= len(places) - 1
        assert b - a == len(row)


def test_colliding_hashes_change_no_decision(monkeypatch):
    # with all hashes equal every row looks repeated; the words themselves decide
    monkeypatch.setattr(module, "_SLOT_BITS", 1)
    monkeypatch.setattr(module, "_CHUNK", 4)
    monkeypatch.setattr(module, "ngrams", lambda table, n: (np.zeros(len(table.hashes), np.uint64), table.offsets))
    texts = ["one two three four five six", "same same same same same"]
    assert run(texts, n=1)[1] == [True, False]


def test_a_row_of_many_chunks(monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 8)
    text = " ".join(str(i) for i in range(500))
    assert run([text, text + " " + text, "short"], n=10)[1] == [True, False, True]


def test_share_is_kept_at_the_limit():
    assert run(["a b a c"], n=1, max=0.5)[1] == [True]
    assert run(["a b a"], n=1, max=0.5)[1:] == ([False], [2 / 3])


def test_empty_and_null():
    assert run(["", None, "one"])[1] == [True, None, True]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("First paragraph.\n\nshort\n\n  Second paragraph. \n \nThird one here", ["First paragraph.", "Second paragraph.", "Third one here"]),
        ("", []),
    ],
)
def test_paragraphs(text, expected):
    assert paragraphs(text) == expected


def test_sentences_are_cut_at_stops_of_both_scripts():
    assert sentences("One two. Word! Is it so?? 这是一个句子。好。Tail end") == ["One two", "Is it so", "这是一个句子", "Tail end"]


@pytest.mark.parametrize(
    ("blocks", "limits", "found"),
    [
        (["plain words"] * 10, (10, None, 1), 10),
        (["plain words"] * 9, (10, None, 1), 0),
        (["x = y + 1"] * 10, (10, None, 1), 0),  # a formula counts double
        (["x = y + 1"] * 20, (10, None, 1), 20),
        (["two\nlines"] * 39, (10, None, 1), 0),  # several lines count four times
        (["two\nlines"] * 40, (10, None, 1), 40),
        (["plain words"] * 10, (10, None, 3), 0),  # in a text with lists
        (["plain words", "others here"] * 5, (40, 4, 1), 0),  # not in a row
        (["others here"] + ["plain words"] * 4, (40, 4, 1), 4),
        (["a b", "c d", "e f"], (40, 4, 1), 0),
    ],
)
def test_block_rules(blocks, limits, found):
    assert block_repeats(blocks, *limits) == found


def test_paragraph_and_sentence_methods():
    looped = "Let me think about this again.\n\n" * 10
    assert run([looped, "One. Two. Three."], method="paragraph") == ("repeated_paragraphs", [False, True], [10, 0])
    again = "I have to check that once more. " * 4
    assert run([again, "Fine as it is. I am sure.", None], method="sentence") == ("repeated_sentences", [False, True, None], [4, 0, 0])


def test_suffix_finds_loops_with_a_changing_word():
    loop = " ".join(f"and then I count to {i} again" for i in range(20))
    prose = " ".join(f"word{i}" for i in range(200))
    shares = suffix_shares(word_table(pl.Series([loop, prose, "too short", ""])), 49)
    assert shares[0] == pytest.approx(36 / 42)  # six of seven words come back after seven
    assert shares[1:].tolist() == [0, 0, 0]
    assert run([prose + " " + "so it goes on " * 13, prose], method="suffix")[:2] == ("repeated_suffix", [False, True])


@pytest.mark.parametrize("params", [{"method": "suffix", "max_count": 3}, {"method": "paragraph", "max": 0.2}, {"method": "sentence", "max": 0.2}])
def test_parameters_of_other_methods_are_told(params):
    assert len(list(Repetition(**params).check())) == 1


def test_plain_use_is_fine():
    assert list(Repetition().check()) == list(Repetition(n=20, max_count=20).check()) == []
