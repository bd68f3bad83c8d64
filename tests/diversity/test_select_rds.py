"""`select.rds`: pooling against the oracle, and the turns."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_diversity.budget import Budget
from sftrecipe_diversity.rds import Rds, last, mean, round_robin, weighted_mean
from tests.diversity.select_pools import arrays, choose, clumped, frame_of, ids_of, ready, story

ORACLE = arrays("rds_plus.npz")
TEXTS = arrays("diverseevol_tinymodel.npz")
WEIGHTS = arrays("tiny_gpt2_weights.npz")
POOLINGS = {"weighted_mean": weighted_mean, "mean": mean, "none": last}


def norm(x: np.ndarray, part: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * WEIGHTS[f"transformer.{part}.weight"] + WEIGHTS[f"transformer.{part}.bias"]


def linear(x: np.ndarray, part: str) -> np.ndarray:
    return x @ WEIGHTS[f"transformer.{part}.weight"] + WEIGHTS[f"transformer.{part}.bias"]


def hidden_states(ids: np.ndarray) -> np.ndarray:
    """Last hidden states of the oracle's tiny GPT-2 (2 layers, 4 heads, width 32), float64 [T, 32]."""
    n = len(ids)
    x = WEIGHTS["transformer.wte.weight"][ids].astype(np.float64) + WEIGHTS["transformer.wpe.weight"][:n]
    for layer in ("h.0", "h.1"):
        q, k, v = (
            a.reshape(n, 4, 8).transpose(1, 0, 2)
            for a in np.split(linear(norm(x, f"{layer}.ln_1"), f"{layer}.attn.c_attn"), 3, axis=1)
        )
        scores = np.where(np.tril(np.ones((n, n), dtype=bool)), q @ k.transpose(0, 2, 1) / np.sqrt(8), -np.inf)
        weight = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weight /= weight.sum(axis=-1, keepdims=True)
        x = x + linear((weight @ v).transpose(1, 0, 2).reshape(n, 32), f"{layer}.attn.c_proj")
        h = linear(norm(x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + linear(h, f"{layer}.mlp.c_proj")
    return norm(x, "ln_f")


@pytest.fixture(scope="module")
def states():
    ends = np.cumsum(TEXTS["lengths"])
    return [hidden_states(TEXTS["ids_flat"][e - n : e]) for e, n in zip(ends, TEXTS["lengths"], strict=True)]


def test_the_tiny_model_is_the_oracles(states):
    assert np.stack([mean(h) for h in states]) == pytest.approx(TEXTS["mean_last_hidden"], abs=1e-5)


@pytest.mark.parametrize("name", POOLINGS)
def test_pooled_vectors_are_the_oracles(states, name):
    pooled = np.stack([POOLINGS[name](h) for h in states])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    assert pooled[:18] == pytest.approx(ORACLE[f"{name}_train"], abs=1e-5)
    assert pooled[18:] @ pooled[:18].T == pytest.approx(ORACLE[name], abs=1e-5)


@pytest.mark.parametrize("pool", POOLINGS.values(), ids=POOLINGS)
def test_padding_does_not_count(pool):
    h = np.random.default_rng(0).normal(size=(2, 7, 3))
    padded = np.concatenate([h, np.full((2, 4, 3), 99.0)], axis=1)
    mask = np.concatenate([np.ones((2, 7)), np.zeros((2, 4))], axis=1)
    assert pool(padded, mask) == pytest.approx(pool(h))
    left = np.concatenate([np.full((2, 4, 3), 99.0), h], axis=1)
    assert pool(left, mask[:, ::-1]) == pytest.approx(pool(h))
    assert pool(h[0]) == pytest.approx(pool(h)[0])


def test_weights_by_hand():
    assert weighted_mean(np.array([[6.0], [0.0], [2.0]])) == pytest.approx([(6 * 1 + 2 * 3) / 6])


def naive(similar: np.ndarray, limit: int, lose_turn: bool) -> list[int]:
    """[queries, rows] -> rows, as the authors' loop: each query pops its best; a repeat is popped again, or costs the turn."""
    lists = [sorted(range(similar.shape[1]), key=lambda r: (-s[r], r)) for s in similar]
    kept: list[int] = []
    while len(kept) < limit and any(lists):
        for queue in lists:
            while queue and len(kept) < limit:
                row = queue.pop(0)
                if row not in kept:
                    kept.append(row)
                    break
                if lose_turn:
                    break
    return kept


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 60), st.integers(1, 70), st.booleans(), st.integers(0, 99))
def test_turns_are_the_naive_loop(queries, rows, limit, lose_turn, seed):
    similar = np.random.default_rng(seed).integers(0, 9, size=(queries, rows)).astype(float)

    def ranking(player, k):
        order = np.lexsort((np.arange(rows), -similar[player]))[:k]
        return order, similar[player][order]

    made = round_robin(queries, ranking, Budget(limit), rows, lose_turn=lose_turn)
    assert made.kept == naive(similar, min(limit, rows), lose_turn)
    assert all(similar[p, r] == v for p, r, v in zip(made.player, made.kept, made.value, strict=True))


def against(operator, vectors: np.ndarray, **columns):
    operator.against = MemoryDataset(frame_of(vectors, **columns))
    return operator


@pytest.mark.parametrize("compat", [None, "original"])
def test_operator_is_the_naive_loop(compat):
    x, q = clumped(300, 12), clumped(7, 12, seed=5)
    frame = frame_of(x)
    order = np.argsort(frame["id"].to_list())
    expected = naive((q.astype(np.float64) @ x.T.astype(np.float64))[:, order], 90, compat == "original")
    assert choose(against(ready(Rds, size=90, compat=compat), q), frame).kept.tolist() == order[expected].tolist()


def test_lists_that_run_out_are_made_longer():
    # one query is like everything, so that the others' rows are taken and they must look further than their first lists
    x, q = clumped(900, 6), np.repeat(clumped(1, 6, seed=2), 12, axis=0)
    frame = frame_of(x)
    kept = choose(against(ready(Rds, size=800), q), frame).kept
    similar = x.astype(np.float64) @ q[0]
    assert np.all(np.diff(similar[kept]) <= 1e-9)


def test_tasks_take_turns():
    x = clumped(100, 8)
    frame = frame_of(x)
    tasks = against(ready(Rds, size=20, task="task"), clumped(6, 8, seed=3), task=["b", "b", "b", "b", "a", "a"])
    q = clumped(6, 8, seed=3).astype(np.float64)
    order = np.argsort(frame["id"].to_list())
    scores = np.stack([(q[4:] @ x.T).max(axis=0), (q[:4] @ x.T).max(axis=0)])
    assert choose(tasks, frame).kept.tolist() == order[naive(scores[:, order], 20, False)].tolist()


def test_dropped_rows_tell_their_largest_cosine():
    frame = frame_of(np.array([[1, 0], [0, 1], [1, 1], [0, 0]]))
    choice = choose(against(ready(Rds, size=1), np.array([[2.0, 0]])), frame)
    ids = frame["id"].to_list()
    assert ids_of(frame, choice) == [ids[0]]
    assert story(frame, choice) == {
        ids[1]: ("not_chosen", None, 0.0),
        ids[2]: ("not_chosen", None, round(1 / np.sqrt(2), 6)),
        ids[3]: ("zero_vector", None, None),
    }


def test_tokens():
    frame = frame_of(clumped(60, 8), tokens=[5 + i % 7 for i in range(60)])
    choice = choose(against(ready(Rds, tokens=100, count="tokens"), clumped(3, 8, seed=1)), frame)
    spent = frame["tokens"].gather(choice.kept.astype(np.uint32)).sum()
    assert spent <= 100 and {c for c, _, _ in story(frame, choice).values()} == {"over_budget"}


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        (np.zeros((0, 8)), "has no rows"),
        (np.zeros((2, 8)), "row 0 of `against` has a vector of length 0"),
        (np.ones((2, 5)), "vectors of width 8, those of `against` have 5"),
    ],
)
def test_bad_targets_are_named(queries, says):
    with pytest.raises(StepError, match=says):
        choose(against(ready(Rds, size=3), queries), frame_of(clumped(20, 8)))


def test_rows_of_a_task_without_a_name_are_a_task_of_their_own():
    operator = against(
        ready(Rds, size=4, task="task"), clumped(2, 8, seed=3), task=pl.Series([None, "a"], dtype=pl.String)
    )
    assert len(choose(operator, frame_of(clumped(20, 8))).kept) == 4
