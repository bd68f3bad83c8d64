"""Geometry of vector columns in blocks: norms, exact pairs, nearest rows. Nothing here ever holds an N x N matrix.

Products are float32 (BLAS). Their last bits depend on machine, threads and block shapes, so every decision that could
turn on them is made again in float64: `NEAR` is how far float32 similarities of unit vectors are distrusted, `SAME`
what counts as equal in float64.
"""

from __future__ import annotations

from collections.abc import Iterator

from sftrecipe.lazy import np
from sftrecipe_diversity.budget import Pool

__all__ = [
    "NEAR",
    "SAME",
    "cosines",
    "distances",
    "drop_zeros",
    "medoid",
    "nearest",
    "norms",
    "slices",
    "unit",
    "whiten",
]

NEAR = 1e-5
SAME = 1e-12
_PAIRS = 4096


def slices(n: int, step: int) -> Iterator[slice]:
    """0..n in pieces of `step`."""
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def norms(x: np.ndarray) -> np.ndarray:
    """Euclidean norm of each row of x [N, d], float64 [N]."""
    out = np.empty(len(x), dtype=np.float64)
    for part in slices(len(x), _PAIRS):
        block = x[part].astype(np.float64)
        out[part] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return out


def unit(x: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Rows of x [n, d] divided by `length` [n], as float32."""
    return np.asarray(x / length[:, None], dtype=np.float32)


def drop_zeros(pool: Pool, x: np.ndarray) -> np.ndarray:
    """The norms of x; rows of length zero, which say nothing about likeness, go as `zero_vector` (norm set to 1)."""
    length = norms(x)
    pool.let_go(length == 0, "zero_vector")
    return np.where(length == 0, 1.0, length)


def cosines(x: np.ndarray, rows: np.ndarray, y: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of x[rows[i]] and y[others[i]] in float64; 0 where one has length 0."""
    out = np.empty(len(rows), dtype=np.float64)
    for part in slices(len(rows), _PAIRS):
        a, b = x[rows[part]].astype(np.float64), y[others[part]].astype(np.float64)
        size = np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
        out[part] = np.einsum("ij,ij->i", a, b) / np.where(size == 0, 1.0, size)
    return out


def distances(x: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of x[rows[i]] and x[others[i]] in float64."""
    out = np.empty(len(rows), dtype=np.float64)
    for part in slices(len(rows), _PAIRS):
        gap = x[rows[part]].astype(np.float64) - x[others[part]]
        out[part] = np.einsum("ij,ij->i", gap, gap)
    return out


def medoid(x: np.ndarray, alive: np.ndarray, tie: np.ndarray) -> int:
    """The row with the smallest sum of squared distances to all, that is the one nearest to the mean; ties by `tie`."""
    rows = np.flatnonzero(alive)
    mean = sum(
        (x[rows[p]].astype(np.float64).sum(axis=0) for p in slices(len(rows), 4096)), np.zeros(x.shape[1])
    ) / len(rows)
    away = np.concatenate([((x[rows[p]] - mean) ** 2).sum(axis=1) for p in slices(len(rows), 4096)])
    level = rows[away <= away.min() + SAME * max(1.0, float(away.max()))]
    return int(level[tie[level].argmin()])


def whiten(x: np.ndarray, components: int) -> np.ndarray:
    """The first `components` principal directions, each scaled to variance 1, then rows of length 1: float32 [N,
    components].

    (x - mean) U / sqrt(s), with U s U^T the covariance. Raises ValueError where the data have fewer directions. Cost
    O(N d^2).
    """
    mean = sum((x[p].astype(np.float64).sum(axis=0) for p in slices(len(x), 4096)), np.zeros(x.shape[1])) / max(
        1, len(x)
    )
    spread = np.zeros((x.shape[1], x.shape[1]))
    for part in slices(len(x), 4096):
        block = x[part] - mean
        spread += block.T @ block
    values, directions = np.linalg.eigh(spread / max(1, len(x) - 1))
    values, directions = values[::-1][:components], directions[:, ::-1][:, :components]
    if len(values) < components or values[-1] <= 1e-10 * values[0]:
        raise ValueError(f"the vectors spread in fewer than {components} directions")
    out = np.empty((len(x), components), dtype=np.float32)
    for part in slices(len(x), 4096):
        block = (x[part] - mean) @ (directions / np.sqrt(values))
        out[part] = block / np.maximum(np.sqrt((block**2).sum(axis=1, keepdims=True)), 1e-300)
    return out


def nearest(
    queries: np.ndarray,
    x: np.ndarray,
    k: int,
    *,
    length: np.ndarray,
    tie: np.ndarray,
    block: int = 256,
    wide: int = 8192,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """For each query its k rows of x with the highest cosine, best first, ties to the smaller `tie` [N].

    Yields (slice of queries, rows int64 [m, k], cosines float64 [m, k]); k is cut to N. `length` [N]: norms of x; inf
    bars a row. Memory: block * wide float32 and about 8 k candidates a query. Cost: 2 Q N d, and a look at each
    product.
    """
    k = min(k, int(np.isfinite(length).sum()))
    for part in slices(len(queries), block):
        asked = queries[part]
        if not k:
            yield part, np.empty((len(asked), 0), dtype=np.int64), np.empty((len(asked), 0))
            continue
        owner, row = _candidates(unit(asked, norms(asked)), x, k, length=length, tie=tie, wide=wide)
        exact = np.round(cosines(asked, owner, x, row), 12)
        order = np.lexsort((tie[row], -exact, owner))
        starts = np.searchsorted(owner[order], np.arange(len(asked)))
        pick = order[starts[:, None] + np.arange(k)]
        yield part, row[pick], exact[pick]


def _candidates(
    asked: np.ndarray, x: np.ndarray, k: int, *, length: np.ndarray, tie: np.ndarray, wide: int
) -> tuple[np.ndarray, np.ndarray]:
    """(query, row) of all pairs that may be among the k best of their query, by float32 products of column blocks."""
    floor = np.full(len(asked), -1.5, dtype=np.float32)
    owners, rows, values = [], [], []
    held = 0
    for at, part in enumerate(slices(len(x), wide)):
        products = asked @ x[part].T
        products *= (1.0 / length[part]).astype(np.float32)
        barred = np.flatnonzero(np.isinf(length[part]))
        products[:, barred] = -2.0  # below every cosine, so that a barred row is never among the k best
        if at == 0 and products.shape[1] - len(barred) > k:
            floor = np.partition(products, -k, axis=1)[:, -k] - np.float32(2 * NEAR)
        q, r = np.nonzero(products >= floor[:, None])
        owners.append(q)
        rows.append(r + part.start)
        values.append(products[q, r])
        held += len(q)
        if held > 8 * k * len(asked) or part.stop == len(x):
            q, r, v = np.concatenate(owners), np.concatenate(rows), np.concatenate(values)
            q, r, v, floor = _compact(q, r, v, k, queries=len(asked), tie=tie)
            owners, rows, values, held = [q], [r], [v], 0
    return owners[0], rows[0]


def _compact(
    owner: np.ndarray, row: np.ndarray, value: np.ndarray, k: int, *, queries: int, tie: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs not below 2 NEAR of their query's k-th best; of over 4 k at that level, those with the smallest ties."""
    order = np.lexsort((-value, owner))
    owner, row, value = owner[order], row[order], value[order]
    starts = np.searchsorted(owner, np.arange(queries + 1))
    counts = np.diff(starts)
    kth = np.where(counts >= k, value[np.minimum(starts[:-1] + k - 1, len(value) - 1)], np.float32(-1.5))
    floor = (kth - np.float32(2 * NEAR)).astype(np.float32)
    keep = value >= floor[owner]
    # a crowd of equals (copies of one text) would fill memory: of those at the level of the k-th, the smallest ids stay
    level = keep & (value <= kth[owner] + np.float32(2 * NEAR))
    if np.bincount(owner[level], minlength=queries).max(initial=0) > 4 * k:
        crowd = np.flatnonzero(level)
        crowd = crowd[np.lexsort((tie[row[crowd]], owner[crowd]))]
        first = np.searchsorted(owner[crowd], np.arange(queries))
        keep[crowd[np.arange(len(crowd)) - first[owner[crowd]] >= 4 * k]] = False
    return owner[keep], row[keep], value[keep], floor
