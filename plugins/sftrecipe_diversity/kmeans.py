"""k-means: which cluster each row of a matrix belongs to.

Lloyd's passes from greedy k-means++ starts (Arthur & Vassilvitskii 2007, section 3: of 2 + ln k candidates drawn by
squared distance, the one that lowers the sum most), until no row moves, or the centres move by less than 1e-4 of the
mean variance. A cluster that runs empty starts anew at the row farthest from its centre. Scikit-learn's KMeans with
one start does the same; not using it keeps 60 MB out of every installation.

Cost: 2 N k d a pass and as much for the starts, times 2 + ln k; beside x, blocks of 8,192 rows times k. Sums are in
float32 on one thread: equal on one machine, not to the last digit between machines.
"""

from __future__ import annotations

import math

from sftrecipe.lazy import np

__all__ = ["k_means", "principal"]

_BLOCK = 8192
_MOVES = 1e-4


def k_means(x: np.ndarray, clusters: int, seed: int, *, passes: int = 100) -> np.ndarray:
    """Cluster of each row of x [N, d] float32: int64 [N], numbers below min(clusters, N). x is centred in place."""
    from threadpoolctl import threadpool_limits

    x -= x.mean(axis=0)  # distances stay, and their differences lose fewer digits
    squares = np.einsum("nd,nd->n", x, x)
    with threadpool_limits(1):
        centres = _starts(x, squares, min(clusters, len(x)), np.random.default_rng(seed))
        enough = _MOVES * float(x.var(axis=0).mean())
        label, far = _nearest(x, squares, centres)
        for _ in range(passes):
            moved = _means(x, label, far, centres)
            before, (label, far) = label, _nearest(x, squares, moved)
            still = float(((moved - centres) ** 2).sum()) <= enough
            centres = moved
            if still or (label == before).all():
                break
    return label


def principal(x: np.ndarray, share: float) -> np.ndarray:
    """x [N, d] along the fewest principal components that explain `share` of its variance: float32 [N, c]."""
    centred = x - x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred, rowvar=False, dtype=np.float64).reshape(x.shape[1], -1))
    explained = np.cumsum(values[::-1])
    count = int(np.searchsorted(explained, share * explained[-1], side="right")) + 1 if explained[-1] > 0 else 1
    return np.asarray(centred @ vectors[:, ::-1][:, :count], dtype=np.float32)


def _starts(x: np.ndarray, squares: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """k-means++: the first row by chance, each next one with a chance by its squared distance from those before."""
    trials = 2 + int(math.log(count))
    chosen = [int(draw.integers(len(x)))]
    far = np.maximum(squares - 2 * (x @ x[chosen[0]]) + squares[chosen[0]], 0)
    for _ in range(count - 1):
        running = np.cumsum(far, dtype=np.float64)
        tries = np.minimum(np.searchsorted(running, draw.random(trials) * running[-1]), len(x) - 1)
        closer = np.minimum(np.maximum(squares - 2 * (x[tries] @ x.T) + squares[tries][:, None], 0), far)
        best = int(closer.sum(axis=1, dtype=np.float64).argmin())
        chosen.append(int(tries[best]))
        far = closer[best]
    return x[chosen]


def _nearest(x: np.ndarray, squares: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(nearest centre of each row, its squared distance)."""
    half = np.einsum("kd,kd->k", centres, centres) / 2
    label, far = np.empty(len(x), np.int64), np.empty(len(x), x.dtype)
    for at in range(0, len(x), _BLOCK):
        part = slice(at, at + _BLOCK)
        worth = x[part] @ centres.T - half
        label[part] = worth.argmax(axis=1)
        far[part] = squares[part] - 2 * worth.max(axis=1)
    return label, far


def _means(x: np.ndarray, label: np.ndarray, far: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The mean of each cluster's rows; an empty one's is the farthest row that no other has taken."""
    from scipy.sparse import csr_matrix

    sizes = np.bincount(label, minlength=len(centres))
    ones = np.ones(len(x), x.dtype)
    rows = csr_matrix((ones, (label, np.arange(len(x)))), shape=(len(centres), len(x)))
    means = np.asarray(rows @ x) / np.maximum(sizes, 1).astype(x.dtype)[:, None]
    empty = np.flatnonzero(sizes == 0)
    means[empty] = x[np.argsort(-far, kind="stable")[: len(empty)]]
    return means
