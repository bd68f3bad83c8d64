"""`select.kcenter`: the algorithm."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.kcenter import KCenter, k_center, k_center_original
from sftrecipe_diversity.space import medoid, whiten
from tests.diversity.select_pools import (
    arrays,
    choose,
    clumped,
    document,
    frame_of,
    ids_of,
    ready,
    slow_k_center,
    story,
    subsets,
    with_ties,
)

INPUTS = arrays("diverseevol_kcenter_inputs.npz")
CASES = document("diverseevol_kcenter_expected.json")["cases"]


def space(components: int) -> np.ndarray:
    return INPUTS["embeddings"] if components < 0 else whiten(INPUTS["embeddings"], components)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['n_query']}-{c['whiten_n_components']}")
@pytest.mark.parametrize("block", [1, 7, 64])
def test_oracle(case, block):
    made = k_center(space(case["whiten_n_components"]), INPUTS["init"], Budget(case["n_query"]), block=block)
    assert sorted(made.kept[10:].tolist()) == case["added_sorted"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['n_query']}-{c['whiten_n_components']}")
def test_oracle_as_original(case):
    made = k_center_original(space(case["whiten_n_components"]), INPUTS["init"], case["n_query"])
    assert sorted(made.kept[10:].tolist()) == case["added_sorted"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['n_query']}-{c['whiten_n_components']}")
def test_oracle_through_the_operator(case, tmp_path):
    frame = frame_of(INPUTS["embeddings"])
    (tmp_path / "ids.json").write_text(json.dumps([frame["id"][int(i)] for i in INPUTS["init"]]))
    whitening = {} if case["whiten_n_components"] < 0 else {"whiten": case["whiten_n_components"]}
    operator = ready(KCenter, size=10 + case["n_query"], init="ids", start=tmp_path / "ids.json", **whitening)
    kept = choose(operator, frame).kept.tolist()
    assert set(kept[:10]) == set(INPUTS["init"].tolist())
    assert sorted(kept[10:]) == case["added_sorted"]


@pytest.mark.parametrize("block", [1, 3, 64])
@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
def test_every_pick_is_the_exact_farthest(make, block):
    x, tie = make(300, 12), np.random.default_rng(4).permutation(300)
    made = k_center(x, np.array([5]), Budget(290), tie=tie, block=block)
    distinct = len(np.unique(x, axis=0))
    assert made.kept.tolist()[:distinct] == slow_k_center(x, [5], 290, tie)[:distinct]
    assert len(set(made.kept.tolist())) == 291


def test_copies_of_chosen_rows_come_last_in_order_of_ids():
    x = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    tie = np.arange(20)[::-1]
    made = k_center(x, np.array([0]), Budget(20), tie=tie)
    assert len(np.unique(x[made.kept[:4]], axis=0)) == 4
    assert made.kept[4:].tolist() == sorted(set(range(20)) - set(made.kept[:4].tolist()), reverse=True)


def test_close_calls_are_settled_in_float64():
    # 500 rows on a circle around the start: float32 distances differ by rounding alone, float64 by the radius
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(500, 64))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    x = np.concatenate([np.zeros((1, 64)), directions * (1 + 1e-7 * rng.random((500, 1)))]).astype(np.float32)
    tie = np.arange(501)
    expected = slow_k_center(x, [0], 40, tie)
    for block in (1, 16, 64):
        assert k_center(x, np.array([0]), Budget(40), block=block).kept.tolist() == expected
    turned = np.random.default_rng(2).permutation(501)
    back = k_center(x[turned], np.flatnonzero(turned == 0), Budget(40), tie=tie[turned], block=5).kept
    assert turned[back].tolist() == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.integers(1, 4), st.integers(0, 1000))
def test_radius_is_at_most_twice_the_best(n, k, seed):
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    k = min(k, n)
    gaps = np.sqrt(((x[:, None].astype(np.float64) - x[None]) ** 2).sum(axis=2))
    best = min(gaps[:, s].min(axis=1).max() for s in subsets(n, k))
    kept = k_center(x, np.empty(0, dtype=np.int64), Budget(k)).kept
    assert gaps[:, kept].min(axis=1).max() <= 2 * best + 1e-6


def test_original_prefers_copies_and_ours_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 384))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    x[700:] = x[:100] * np.float32(1 + 1e-6)
    start = np.arange(100)
    copies = set(range(700, 800))
    assert k_center_original(x, start, 5).kept[100] in copies
    assert not copies & set(k_center(x, start, Budget(500)).kept.tolist())


def test_whitened_directions_have_variance_one_before_the_norm():
    x = np.random.default_rng(0).normal(size=(400, 6)) @ np.diag([9, 5, 3, 2, 1, 0.5])
    made = whiten(x.astype(np.float32), 6)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
    assert np.allclose(np.cov(made.T) * 6, np.eye(6), atol=0.25)


def test_whitening_beyond_the_spread_is_an_error():
    flat = np.zeros((30, 4), dtype=np.float32)
    flat[:, 0] = np.arange(30)
    with pytest.raises(StepError, match="fewer than 2 directions"):
        choose(ready(KCenter, size=3, whiten=2), frame_of(flat))


def test_medoid_is_the_most_central_row():
    x = np.random.default_rng(3).normal(size=(50, 4)).astype(np.float32)
    sums = ((x[:, None] - x[None]) ** 2).sum(axis=(1, 2))
    assert medoid(x, np.ones(50, dtype=bool), np.arange(50)) == sums.argmin()
    frame = frame_of(x)
    assert choose(ready(KCenter, size=5, init="medoid"), frame).kept[0] == sums.argmin()


def test_dropped_rows_name_the_nearest_chosen_row_and_the_distance():
    x = np.array([[1, 0], [11, 0], [1.5, 0], [10, 0]], dtype=np.float32)
    frame = frame_of(x, start=[True, False, False, False])
    choice = choose(ready(KCenter, size=2, init="ids", keep="start"), frame)
    ids = frame["id"].to_list()
    assert ids_of(frame, choice) == ids[:2]
    assert story(frame, choice) == {
        ids[2]: ("not_chosen", ids[0], 0.5),
        ids[3]: ("not_chosen", ids[1], 1.0),
    }


def test_tokens_are_spent_on_rows_that_fit():
    frame = frame_of(clumped(60, 8), tokens=[5 + i % 7 for i in range(60)])
    choice = choose(ready(KCenter, tokens=100, count="tokens"), frame)
    spent = frame["tokens"].gather(choice.kept.astype(np.uint32)).sum()
    left = [frame["tokens"][i] for i in range(60) if i not in set(choice.kept.tolist())]
    assert spent <= 100 < spent + min(left)
    assert {code for code, _, _ in story(frame, choice).values()} <= {"over_budget", "not_chosen"}


def test_first_rows_that_cost_more_than_the_budget_are_an_error():
    frame = frame_of(clumped(10, 4), start=[True] * 5 + [False] * 5)
    with pytest.raises(StepError, match="the first rows alone take 5 of a budget of 3"):
        choose(ready(KCenter, size=3, init="ids", keep="start"), frame)


def test_unknown_start_ids_are_named(tmp_path):
    (tmp_path / "ids.txt").write_text("nobody\n")
    with pytest.raises(StepError, match="the first is nobody"):
        choose(ready(KCenter, size=3, init="ids", start=tmp_path / "ids.txt"), frame_of(clumped(10, 4)))


def test_compat_original_through_the_operator():
    frame = frame_of(INPUTS["embeddings"], start=[i in set(INPUTS["init"].tolist()) for i in range(500)])
    made = choose(ready(KCenter, size=60, init="ids", keep="start", compat="original"), frame)
    ours = choose(ready(KCenter, size=60, init="ids", keep="start"), frame)
    assert made.kept.tolist() == ours.kept.tolist()
    assert story(frame, made).keys() == story(frame, ours).keys()


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"give": "a-{round}"}, "go together"),
        ({"give": "a-{round}", "take": "b-{round}"}, "needs `rounds`"),
        ({"give": "a", "take": "b", "rounds": 2}, "need {round}"),
        ({"init": "ids"}, "goes with `keep`"),
        ({"keep": "x"}, "goes with `keep`"),
        ({"give": "a-{round}", "take": "b-{round}", "rounds": 2, "init": "medoid"}, "needs vectors before"),
    ],
)
def test_check_names_what_does_not_go_together(params, says):
    assert any(says in p for p in ready(KCenter, size=5, **params).check())
