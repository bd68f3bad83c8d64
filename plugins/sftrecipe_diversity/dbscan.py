"""DBSCAN by cosine distance (Ester et al. 1996): dense parts of a set of vectors, and noise.

Cost: O(T^2 d) for T vectors, in blocks of 1,000 rows; memory 9 bytes a pair within `eps`, and a block of T numbers.
"""

from __future__ import annotations

from sftrecipe.lazy import np

__all__ = ["dbscan"]

_BLOCK = 1000


def dbscan(vectors: np.ndarray, eps: float, min_samples: int) -> np.ndarray:
    """Cluster of each vector of [T, d], -1 for noise: int64 [T].

    Core: at least `min_samples` vectors within `eps`, itself counted. Cores within `eps` of each other are one cluster,
    numbered by their first; any other vector belongs to the first cluster that has a core within `eps` of it.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    # float64, so that a distance near eps falls on the same side wherever it is computed
    units = vectors.astype(np.float64)
    norms = np.linalg.norm(units, axis=1, keepdims=True)
    np.divide(units, norms, out=units, where=norms > 0)
    count = len(units)
    blocks = range(0, count, _BLOCK)
    found = [np.nonzero(1 - units[at : at + _BLOCK] @ units.T <= eps) for at in blocks]
    rows = np.concatenate([[], *(at + inside for at, (inside, _) in zip(blocks, found, strict=True))]).astype(np.int64)
    others = np.concatenate([[], *(other for _, other in found)]).astype(np.int64)
    near = csr_matrix((np.ones(len(rows), bool), (rows, others)), shape=(count, count))
    near.setdiag(True)
    core = np.diff(near.indptr) >= min_samples
    _, parts = connected_components(near[core][:, core], directed=False)
    _, firsts, numbers = np.unique(parts, return_index=True, return_inverse=True)
    cores = np.full(count, -1, np.int64)
    cores[core] = np.argsort(np.argsort(firsts))[numbers]
    labels = cores.copy()
    for border in np.flatnonzero(~core).tolist():
        reached = cores[near.indices[near.indptr[border] : near.indptr[border + 1]]]
        labels[border] = min(reached[reached >= 0].tolist(), default=-1)
    return labels
