"""`select.facility` and the lazy greedy under it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.facility import Dense, Facility, facility, kernel, neighbours
from sftrecipe_diversity.greedy import lazy_greedy
from sftrecipe_diversity.space import norms
from tests.diversity.select_pools import (
    arrays,
    choose,
    clumped,
    frame_of,
    ids_of,
    ready,
    slow_facility,
    story,
    subsets,
    with_ties,
)

ORACLE = arrays("facility_location.npz")


def cosine(x: np.ndarray) -> np.ndarray:
    return kernel(x, norms(x), "cosine")


def test_oracle_order_and_gains():
    made = facility(Dense(kernel(ORACLE["embeddings"], norms(ORACLE["embeddings"]), "euclidean")), Budget(40))
    assert made.kept.tolist() == ORACLE["order"].tolist()
    assert made.gains == pytest.approx(ORACLE["gains"], abs=1e-5)


@pytest.mark.parametrize("exact_up_to", [5000, 0], ids=["dense", "sparse"])
def test_oracle_through_the_operator(exact_up_to):
    frame = frame_of(ORACLE["embeddings"])
    operator = ready(Facility, size=40, kernel="euclidean", exact_up_to=exact_up_to, neighbors=200)
    assert choose(operator, frame).kept.tolist() == ORACLE["order"].tolist()


@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
def test_lazy_is_the_plain_greedy(make, alpha):
    x, rng = make(120, 8), np.random.default_rng(3)
    tie, quality = rng.permutation(120), rng.random(120)
    made = facility(Dense(cosine(x)), Budget(50), quality=quality, alpha=alpha, tie=tie)
    assert made.kept.tolist() == slow_facility(cosine(x), alpha * quality, 1 - alpha, 50, tie)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 11), st.integers(1, 4), st.integers(0, 999), st.floats(0, 1))
def test_value_is_near_the_best(n, k, seed, alpha):
    k = min(k, n)
    similar = np.maximum(cosine(clumped(n, 3, seed)), 0)
    quality = np.random.default_rng(seed).random(n)

    def value(rows):
        return (1 - alpha) * similar[rows].max(axis=0).sum() + alpha * quality[rows].sum()

    made = facility(Dense(similar), Budget(k), quality=quality, alpha=alpha)
    best = max(value(s) for s in subsets(n, k))
    assert value(made.kept) >= (1 - 1 / np.e) * best - 1e-9
    assert made.gains.sum() == pytest.approx(value(made.kept), abs=1e-6)


@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
def test_sparse_with_all_neighbours_is_dense(make):
    x, tie = make(150, 9), np.random.default_rng(1).permutation(150)
    sparse = facility(neighbours(x, np.arange(150), 150, length=norms(x), tie=tie), Budget(60), tie=tie)
    dense = facility(Dense(cosine(x)), Budget(60), tie=tie)
    # float32 edges: gains agree to 1e-5, so the choice may differ only where gains do not
    assert sparse.gains == pytest.approx(dense.gains, abs=1e-4)
    if make is clumped:
        assert sparse.kept.tolist() == dense.kept.tolist()


def test_sparse_with_few_neighbours_still_covers():
    x = clumped(600, 16, clumps=30, noise=0.05)
    kept = facility(neighbours(x, np.arange(600), 20, length=norms(x), tie=np.arange(600)), Budget(30)).kept
    assert (cosine(x)[kept].max(axis=0) > 0.9).mean() > 0.97


def test_quality_moves_the_choice():
    frame = frame_of(clumped(80, 6), score=np.linspace(0, 1, 80))
    plain = choose(ready(Facility, size=10), frame).kept
    good = choose(ready(Facility, size=10, by="score", alpha=0.95), frame).kept
    assert frame["score"].gather(good.astype(np.uint32)).mean() > frame["score"].gather(plain.astype(np.uint32)).mean()
    only = choose(ready(Facility, size=10, by="score", alpha=1.0), frame).kept
    assert only.tolist() == list(range(79, 69, -1))


def test_the_scale_of_quality_does_not_matter():
    frame = frame_of(clumped(80, 6), score=np.random.default_rng(0).random(80))
    scaled = frame.with_columns(score=pl.col("score") * 1000 - 500)
    operator = ready(Facility, size=20, by="score")
    assert choose(operator, frame).kept.tolist() == choose(operator, scaled).kept.tolist()


def test_equal_quality_is_no_quality():
    frame = frame_of(clumped(40, 6), score=[3.0] * 40)
    assert (
        choose(ready(Facility, size=9, by="score"), frame).kept.tolist()
        == choose(ready(Facility, size=9), frame).kept.tolist()
    )


@pytest.mark.parametrize("exact_up_to", [5000, 0], ids=["dense", "sparse"])
def test_dropped_rows_name_who_stands_for_them(exact_up_to):
    frame = frame_of(
        np.array([[1, 0, 0], [1, 0.1, 0], [1, -0.1, 0], [0, 0, 1], [0, 0.1, 1], [0, 0, 0]]), quality=[1, 1, 1, 1, 1, 1]
    )
    choice = choose(ready(Facility, size=2, exact_up_to=exact_up_to), frame)
    ids = frame["id"].to_list()
    assert ids_of(frame, choice)[0] == ids[0]
    told = story(frame, choice)
    assert told[ids[1]] == told[ids[2]] == ("not_chosen", ids[0], round(1 / np.sqrt(1.01), 6))
    assert told[ids[5]] == ("zero_vector", None, None)


@pytest.mark.parametrize("exact_up_to", [5000, 0], ids=["dense", "sparse"])
def test_tokens(exact_up_to):
    frame = frame_of(clumped(60, 8), tokens=[5 + i % 7 for i in range(60)])
    choice = choose(ready(Facility, tokens=100, count="tokens", exact_up_to=exact_up_to), frame)
    spent = frame["tokens"].gather(choice.kept.astype(np.uint32)).sum()
    left = [frame["tokens"][i] for i in range(60) if i not in set(choice.kept.tolist())]
    assert spent <= 100 < spent + min(left)
    assert {code for code, _, _ in story(frame, choice).values()} == {"over_budget"}


def test_lazy_greedy_asks_for_few_gains():
    x = clumped(400, 8)
    cover, asked = Dense(cosine(x)), []

    def gain(row):
        asked.append(row)
        return cover.gain(row)

    made = lazy_greedy(cover.first(), np.arange(400), gain, cover.add, Budget(50), tie=np.arange(400))
    assert len(made.kept) == 50
    assert len(asked) < 50 * 400 / 8


def test_when_nothing_gains_rows_come_by_id():
    made = lazy_greedy(
        np.zeros(5), np.arange(5), lambda _: 0.0, lambda _: None, Budget(3), tie=np.array([4, 3, 2, 1, 0])
    )
    assert made.kept.tolist() == [4, 3, 2]
