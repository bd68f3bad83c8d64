"""Numbers drawn for a row from the seed and its id alone, so that neither order, shards nor other rows can change them.

Sorting by them is a random order in which every prefix is a sample: a larger sample contains the smaller.
"""

from __future__ import annotations

from sftrecipe.draws import hashes
from sftrecipe.lazy import np, pl

__all__ = ["gumbel", "uniform"]


def uniform(seed: int, ids: pl.Series, use: str = "") -> np.ndarray:
    """One number in (0, 1) for each id: float64 [N], the same for the same seed, id and use."""
    return np.asarray(((hashes(ids, seed, use) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)


def gumbel(seed: int, ids: pl.Series, use: str = "") -> np.ndarray:
    """Standard Gumbel noise for each id, float64 [N].

    The k largest values of log(weight) + noise are k draws without replacement with these weights (Yellott 1977).
    """
    return np.asarray(-np.log(-np.log(uniform(seed, ids, use))))
