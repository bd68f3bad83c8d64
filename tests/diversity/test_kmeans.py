"""k-means and principal components, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from sftrecipe_diversity.kmeans import k_means, principal
from tests.diversity.select_pools import clumped


def inertia(x: np.ndarray, label: np.ndarray) -> float:
    """Sum of squared distances from the means."""
    return sum(float(((x[label == c] - x[label == c].mean(axis=0)) ** 2).sum()) for c in np.unique(label))


@pytest.mark.parametrize("clusters", [3, 20, 60])
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_clusters_are_as_tight_as_scikit_learns(clusters, noise):
    x = clumped(1500, 16, seed=clusters, clumps=25, noise=noise)
    ours = [inertia(x, k_means(x.copy(), clusters, seed)) for seed in range(5)]
    theirs = [
        inertia(x, KMeans(clusters, n_init=1, max_iter=100, random_state=seed).fit(x).labels_) for seed in range(5)
    ]
    assert np.median(ours) <= np.median(theirs) * 1.05


@pytest.mark.parametrize("seed", range(3))
def test_no_row_is_nearer_to_another_mean(seed):
    x = clumped(600, 8, seed=seed, clumps=6, noise=0.05)
    label = k_means(x.copy(), 6, seed, passes=500)
    means = np.stack([x[label == c].mean(axis=0) for c in range(label.max() + 1)])
    nearest = ((x[:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == label).mean() > 0.995


def test_a_seed_gives_one_answer():
    x = clumped(400, 8, seed=1, clumps=9, noise=0.2)
    first, again, other = (k_means(x.copy(), 12, seed) for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
def test_any_rows_any_number_of_clusters(rows, clusters, distinct, seed):
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(distinct, 3)).astype(np.float32)[draw.integers(0, distinct, rows)]
    label = k_means(x.copy(), clusters, seed)
    assert label.shape == (rows,) and label.dtype == np.int64
    assert label.min() >= 0 and label.max() < min(clusters, rows)
    same = (x[:, None] == x[None]).all(axis=2)
    assert (label[:, None] == label[None])[same].all()  # equal rows stay together


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_principal_components_are_scikit_learns(share):
    x = clumped(300, 12, seed=2, clumps=7, noise=0.2)
    expected = PCA(share, svd_solver="full").fit_transform(x.astype(np.float64))
    made = principal(x, share)
    assert made.shape == expected.shape
    assert np.allclose(np.abs(made), np.abs(expected), atol=1e-4)


def test_rows_without_variance_have_one_component():
    assert principal(np.ones((5, 4), np.float32), 0.9).shape == (5, 1)
