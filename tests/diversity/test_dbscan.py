"""DBSCAN, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from sftrecipe_diversity import dbscan as module
from sftrecipe_diversity.dbscan import dbscan


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.sampled_from([0.02, 0.1, 0.3]), st.integers(0, 999))
def test_equals_scikit_learn(count, min_samples, eps, seed):
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(5, 4))
    vectors = (centres[draw.integers(0, 5, count)] + draw.normal(size=(count, 4)) * 0.3).astype(np.float32)
    vectors[draw.random(count) < 0.05] = 0
    expected = DBSCAN(eps=eps, min_samples=min_samples, metric="cosine").fit_predict(vectors.astype(np.float64))
    assert dbscan(vectors, eps, min_samples).tolist() == expected.tolist()


def test_blocks_do_not_matter(monkeypatch):
    vectors = np.random.default_rng(3).normal(size=(50, 3))
    whole = dbscan(vectors, 0.1, 3)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert (dbscan(vectors, 0.1, 3) == whole).all()


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing(count):
    assert dbscan(np.ones((count, 3), np.float32), 0.1, 2).tolist() == [-1] * count
