"""Seeded draws that depend on a row's id alone, so that neither order, shards nor other rows can change them.

A uniform number is the 64-bit BLAKE2b hash of the id, keyed by seed and use. Sorting by it is a random order in which
every prefix is a sample: a larger sample contains the smaller. Cost: about one microsecond a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

__all__ = ["gumbel", "uniform"]


def uniform(seed: int, ids: Iterable[str], use: str = "") -> np.ndarray:
    """One number in (0, 1) for each id: float64 [N], the same for the same seed, id and use."""
    key = f"{seed}/{use}".encode()[:64]
    blank = hashlib.blake2b(key=key, digest_size=8)
    draws = []
    for row_id in ids:
        state = blank.copy()
        state.update(row_id.encode("utf-8", "surrogatepass"))
        draws.append(int.from_bytes(state.digest(), "big") >> 11)
    return (np.array(draws, dtype=np.float64) + 0.5) / 2.0**53


def gumbel(seed: int, ids: Iterable[str], use: str = "") -> np.ndarray:
    """Standard Gumbel noise for each id, float64 [N].

    The k largest values of log(weight) + noise are k draws without replacement with these weights (Yellott 1977).
    """
    return np.asarray(-np.log(-np.log(uniform(seed, ids, use))))
