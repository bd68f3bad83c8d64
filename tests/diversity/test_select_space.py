"""Nearest rows and exact pairs."""

from __future__ import annotations

import numpy as np
import pytest

from sftrecipe_diversity.space import cosines, distances, nearest, norms, slices, unit
from tests.diversity.select_pools import clumped, with_ties


def slow(q: np.ndarray, x: np.ndarray, k: int, tie: np.ndarray, barred: set[int]) -> tuple[np.ndarray, np.ndarray]:
    a, b = q.astype(np.float64), x.astype(np.float64)
    similar = np.round((a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.maximum(np.linalg.norm(b, axis=1), 1e-9), 12)
    similar[:, list(barred)] = -9
    order = np.stack([np.lexsort((tie, -s))[:k] for s in similar])
    return order, np.take_along_axis(similar, order, axis=1)


@pytest.mark.parametrize(("block", "wide"), [(256, 8192), (3, 17), (40, 64), (1, 1)])
@pytest.mark.parametrize("make", [clumped, with_ties], ids=["clumped", "ties"])
@pytest.mark.parametrize("k", [1, 5, 119, 500])
def test_nearest_is_exact(make, block, wide, k):
    x, q = make(120, 7), make(120, 7)[::3]
    tie = np.random.default_rng(0).permutation(120)
    length = norms(x)
    length[[4, 7]] = np.inf
    rows, values = slow(q, x, min(k, 118), tie, {4, 7})
    for part, got, cosine in nearest(q, x, k, length=length, tie=tie, block=block, wide=wide):
        assert got.tolist() == rows[part].tolist()
        assert cosine == pytest.approx(values[part], abs=1e-9)


def test_a_crowd_of_copies_is_cut_by_ids_alone():
    x = np.ones((3000, 4), dtype=np.float32)
    x[7] = [1, 1, 1, -1]
    tie = np.random.default_rng(1).permutation(3000)
    expected = [r for r in np.argsort(tie).tolist() if r != 7][:5]
    for wide in (50, 1000, 5000):
        _, rows, _ = next(nearest(x[:1], x, 5, length=norms(x), tie=tie, wide=wide))
        assert rows[0].tolist() == expected


def test_pairs():
    x = np.array([[3, 4], [0, 2], [0, 0]], dtype=np.float32)
    assert norms(x).tolist() == [5, 2, 0]
    assert cosines(x, np.array([0, 0, 2]), x, np.array([1, 0, 1])) == pytest.approx([0.8, 1, 0])
    assert distances(x, np.array([0, 1]), np.array([1, 2])) == pytest.approx([13, 4])
    assert unit(x[:1], np.array([5.0])) == pytest.approx(np.array([[0.6, 0.8]]))
    assert [(s.start, s.stop) for s in slices(5, 2)] == [(0, 2), (2, 4), (4, 5)]
