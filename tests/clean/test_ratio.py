"""The share of characters two texts agree on, and filters that lose no pair."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean.ratio import (
    gram_length,
    grams,
    lcs_length,
    letter_counts,
    missing_allowed,
    missing_letters,
    most_missing,
    plain_grams,
    prefix,
    ratio,
    tally,
)
from sftrecipe_clean.shingles import distinct

SHORT = st.text("abé日", max_size=14)


def slow_lcs(a: str, b: str) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        before = row[:]
        for j, y in enumerate(b, 1):
            row[j] = before[j - 1] + 1 if x == y else max(before[j], row[j - 1])
    return row[-1]


@given(SHORT, SHORT)
def test_the_longest_common_subsequence_is_the_textbooks(a: str, b: str) -> None:
    assert lcs_length(a, b) == slow_lcs(a, b)
    assert ratio(a, b) == (2 * slow_lcs(a, b) / (len(a) + len(b)) if a or b else 1.0)


def test_long_texts_cross_machine_words() -> None:
    rng = random.Random(0)
    a = "".join(rng.choice("abcde") for _ in range(300))
    b = "".join(rng.choice("abcde") for _ in range(280))
    assert lcs_length(a, b) == slow_lcs(a, b)


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ("this is a test", "this is a test!", 28 / 29),
        ("fuzzy wuzzy was a bear", "wuzzy fuzzy was a bear", 20 / 22),
        ("abc", "ABC", 0.0),
        ("", "a", 0.0),
        ("", "", 1.0),
    ],
)
def test_known_ratios(a: str, b: str, value: float) -> None:
    assert ratio(a, b) == pytest.approx(value)


def changed(rng: random.Random, text: str, edits: int) -> str:
    letters = list(text)
    for _ in range(edits):
        at = rng.randrange(len(letters) + 1)
        if rng.random() < 0.5 and letters:
            del letters[min(at, len(letters) - 1)]
        else:
            letters.insert(at, rng.choice("abcdef"))
    return "".join(letters)


@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("alphabet", ["ab", "abcdefghij"])
def test_no_filter_loses_a_pair_at_the_threshold(threshold: float, alphabet: str) -> None:
    rng, q = random.Random(int(threshold * 100)), gram_length(threshold)
    pairs = []
    while len(pairs) < 300:
        a = "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 80)))
        b = changed(rng, a, rng.randint(0, 1 + round(2 * (1 - threshold) * len(a))))
        if ratio(a, b) >= threshold:
            pairs.append((a, b))
    texts = pl.Series([t for p in pairs for t in p])
    hashes, offsets, lengths = grams(texts, q)
    members, sizes = distinct(hashes, offsets)
    sets = [set(members[e - s : e].tolist()) for e, s in zip(np.cumsum(sizes), sizes, strict=True)]
    letters = letter_counts(texts)
    frequency = tally(members)
    most = most_missing(lengths, threshold, q)
    chosen, rows = prefix(members, sizes, most + 1, frequency)
    heads = [set(chosen[rows == r].tolist()) for r in range(len(texts))]
    for a in range(0, len(texts), 2):
        for x, y in ((a, a + 1), (a + 1, a)):
            allowed = int(missing_allowed(lengths[[x]], lengths[[y]], threshold, q)[0])
            assert len(sets[x] - sets[y]) <= allowed <= most[x]
            spare = int(missing_allowed(lengths[[x]], lengths[[y]], threshold, 1)[0])
            assert missing_letters(letters[[x]], letters[[y]])[0] <= spare
        few = [lengths[r] - q + 1 <= most[r] for r in (a, a + 1)]
        assert heads[a] & heads[a + 1] or all(few)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([0.8, 0.9, 0.95]), st.integers(1, 6))
def test_the_worst_case_covers_every_length(length: int, other: int, threshold: float, q: int) -> None:
    allowed = int(missing_allowed(np.array([length]), np.array([other]), threshold, q)[0])
    edits = int((1 - threshold) * (length + other) + 1e-9)
    assert (allowed < 0) == (edits < abs(length - other))
    assert allowed <= most_missing(np.array([length]), threshold, q)[0]


def test_a_repeated_gram_is_a_gram_of_its_own() -> None:
    hashes, offsets, lengths = grams(pl.Series(["abab", "ab", "ab", "", None]), 2)
    sets = [set(hashes[a:b].tolist()) for a, b in zip(offsets, offsets[1:], strict=False)]
    assert [len(s) for s in sets] == [3, 1, 1, 0, 0]
    assert sets[1] == sets[2] < sets[0]
    assert lengths.tolist() == [4, 2, 2, 0, 0]
    plain, bounds, _ = plain_grams(pl.Series(["abab"]), 2)
    assert len(set(plain.tolist())) == 2
    assert bounds.tolist() == [0, 3]


@pytest.mark.parametrize("rows", [1, 100, 2047, 2048, 2049, 5000])
def test_grams_do_not_depend_on_the_batch(rows: int) -> None:
    texts = pl.Series([f"row {r % 7} of many, many" for r in range(rows)])
    hashes, offsets, _ = grams(texts, 4)
    last = grams(texts[-1:], 4)[0]
    assert sorted(hashes[offsets[-2] :].tolist()) == sorted(last.tolist())


def test_a_prefix_holds_the_rarest() -> None:
    members, sizes = np.array([1 << 14, 2 << 14, 3 << 14, 2 << 14], np.uint32), np.array([3, 1])
    frequency = tally(np.array([1 << 14, 1 << 14, 3 << 14, 2 << 14, 2 << 14], np.uint32))
    chosen, rows = prefix(members, sizes, np.array([2, 5]), frequency)
    assert (chosen >> 14).tolist() == [3, 1, 2]
    assert rows.tolist() == [0, 0, 1]
