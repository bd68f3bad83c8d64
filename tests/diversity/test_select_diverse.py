"""`select.diverse`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.diverse import Diverse, diverse, diverse_original
from tests.diversity.select_pools import (
    arrays,
    choose,
    clumped,
    document,
    frame_of,
    ids_of,
    ready,
    slow_diverse,
    story,
    with_ties,
)

INPUTS = arrays("deita_filter_inputs.npz")
ORDER = np.array(document("deita_filter_expected.json")["order"])
CASES = document("deita_filter_expected.json")["cases"]
NAMES = [f"{c['params']['threshold']}-batch{c['params']['batch_size']}" for c in CASES]


def pool():
    return frame_of(INPUTS["embeddings"], score=INPUTS["final_score"])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_oracle_as_original(case):
    p = case["params"]
    walk = diverse_original(INPUTS["embeddings"], ORDER, p["threshold"], None, batch=p["batch_size"])
    assert walk.kept == case["selected"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_oracle_through_the_operator(case):
    p = case["params"]
    operator = ready(Diverse, by="score", max_similarity=p["threshold"], compat="original", batch_size=p["batch_size"])
    assert choose(operator, pool()).kept.tolist() == case["selected"]


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["params"]["batch_size"] == 1], ids=lambda c: c["params"]["threshold"]
)
@pytest.mark.parametrize("block", [1, 17, 256, 1000])
def test_oracle_of_batch_one_is_ours_in_any_block(case, block):
    walk = diverse(INPUTS["embeddings"], ORDER, case["params"]["threshold"], Budget(None), block=block)
    assert walk.kept == case["selected"]


@pytest.mark.parametrize("size", [1, 40, 100, 252, 400])
def test_oracle_with_a_size_is_its_prefix(size):
    case = CASES[0]
    assert choose(ready(Diverse, size=size, by="score"), pool()).kept.tolist() == case["selected"][:size]
    original = ready(Diverse, size=size, by="score", compat="original")
    assert choose(original, pool()).kept.tolist() == case["selected"][:size]


def test_the_original_with_batches_drops_rows_for_mates_that_were_dropped():
    # b is near a, c is near b only: alone c stays, in one batch with b it goes
    a, b, c = np.array([1.0, 0]), np.array([0.9, 0.436]), np.array([0.6, 0.8])
    x = np.array([[0, 1], a, b, c], dtype=np.float32)[[1, 2, 3]]
    x = np.concatenate([[[-1, 0]], x]).astype(np.float32)
    assert diverse_original(x, np.arange(4), 0.85, None, batch=1).kept == [0, 1, 3]
    assert diverse_original(x, np.arange(4), 0.85, None, batch=3).kept == [0, 1]


def test_the_original_with_manhattan_drops_far_rows():
    x = np.array([[1, 0], [0.99, 0.1], [-1, 0]], dtype=np.float32)
    walk = diverse_original(x, np.arange(3), 0.5, None, metric="manhattan")
    assert walk.kept == [0, 1]
    assert walk.value == pytest.approx([2.0])
    assert diverse_original(x * 9, np.arange(3), 0.5, None, metric="manhattan", normalize=False).kept == [0]


@pytest.mark.parametrize("block", [1, 5, 64, 512])
@pytest.mark.parametrize("limit", [-0.2, 0.0, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
def test_every_decision_is_the_exact_one(make, limit, block):
    x, order = make(250, 10), np.random.default_rng(9).permutation(250)
    assert diverse(x, order, limit, Budget(None), block=block).kept == slow_diverse(x, order, limit)


def test_close_calls_are_settled_in_float64():
    # similarities to the first row lie within 1e-7 of the limit, closer than float32 products can tell
    rng = np.random.default_rng(0)
    side = rng.normal(size=(400, 95))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    cosine = 0.9 + rng.uniform(-1e-7, 1e-7, size=(400, 1))
    x = np.concatenate([np.eye(1, 96), np.concatenate([cosine, np.sqrt(1 - cosine**2) * side], axis=1)]).astype(
        np.float32
    )
    expected = slow_diverse(x, np.arange(401), 0.9)
    assert 20 < len(expected) < 380
    for block in (1, 100, 256, 401):
        assert diverse(x, np.arange(401), 0.9, Budget(None), block=block).kept == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.floats(-0.5, 1.0), st.integers(1, 70), st.integers(0, 99), st.integers(1, 40))
def test_no_kept_pair_is_too_near_and_every_near_row_has_a_cause(n, limit, size, seed, block):
    x = clumped(n, 5, seed)
    order = np.random.default_rng(seed).permutation(n)
    walk = diverse(x, order, limit, Budget(size), block=block)
    y = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    similar, place = y @ y.T, np.argsort(order)
    kept = walk.kept
    assert len(kept) <= size
    assert all(similar[a, b] <= limit + 1e-9 for a in kept for b in kept if a != b)
    for row, other, value in zip(walk.near, walk.other, walk.value, strict=True):
        earlier = [k for k in kept if place[k] < place[row]]
        assert other in earlier and value > limit - 1e-9
        assert value == pytest.approx(similar[row, other], abs=2e-6) and value >= similar[row, earlier].max() - 2e-5
    reached = len(kept) + len(walk.near)
    assert reached == n or len(kept) == size


def test_reasons_do_not_depend_on_blocks():
    x, order = clumped(300, 8), np.arange(300)
    first = diverse(x, order, 0.8, Budget(40), block=1)
    for block in (3, 50, 300):
        walk = diverse(x, order, 0.8, Budget(40), block=block)
        assert (walk.kept, walk.near, walk.other) == (first.kept, first.near, first.other)
        assert walk.value == pytest.approx(first.value, abs=1e-12)


def test_dropped_rows_say_why():
    frame = frame_of(np.array([[1, 0], [1, 0.2], [0, 1], [-1, 0], [0, 0]]), evol=[6.0, 5.0, 4.0, 3.0, 2.0])
    choice = choose(ready(Diverse, size=2, by="evol"), frame)
    ids = frame["id"].to_list()
    assert ids_of(frame, choice) == [ids[0], ids[2]]
    assert story(frame, choice) == {
        ids[1]: ("near", ids[0], round(1 / np.sqrt(1.04), 6)),
        ids[3]: ("over_budget", None, 3.0),
        ids[4]: ("zero_vector", None, None),
    }


def test_rows_that_do_not_fit_block_nobody():
    frame = frame_of(np.array([[1, 0], [0, 1], [0, 1]]), evol=[3.0, 2.0, 1.0], tokens=[5, 50, 5])
    choice = choose(ready(Diverse, tokens=10, count="tokens", by="evol"), frame)
    assert choice.kept.tolist() == [0, 2]
    assert story(frame, choice)[frame["id"][1]] == ("over_budget", None, 2.0)


@pytest.mark.parametrize("block", [1, 2, 3, 40])
def test_token_budgets_do_not_depend_on_blocks(block):
    x, rng = clumped(200, 6), np.random.default_rng(2)
    cost = rng.integers(1, 30, 200)
    walk = diverse(x, np.arange(200), 0.7, Budget(300, cost), block=block)
    whole = diverse(x, np.arange(200), 0.7, Budget(300, cost), block=200)
    assert (walk.kept, walk.near, walk.other) == (whole.kept, whole.near, whole.other)
    assert cost[walk.kept].sum() <= 300


def test_equal_scores_go_by_id():
    frame = frame_of(np.eye(6), evol=[1.0] * 6)
    assert ids_of(frame, choose(ready(Diverse, size=3, by="evol"), frame)) == sorted(frame["id"].to_list())[:3]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"batch_size": 4}, "need `compat: original`"),
        ({"distance": "manhattan"}, "need `compat: original`"),
        ({"max_similarity": 1.5}, "at most 1"),
        ({"compat": "original", "tokens": 5, "count": "x"}, "no token budget"),
    ],
)
def test_check_names_what_does_not_go_together(params, says):
    assert any(says in p for p in ready(Diverse, by="evol", **params).check())
