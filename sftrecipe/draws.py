"""Draws that depend on a seed and row ids alone: no generator state, no row order, no platform.

    hashes(ids, seed, use)  uint64 [N]: each id's 64 bits
    order(keys)             int64 [N]: row numbers by ascending key, ties to the smaller row number

A sample of n rows is the first n of the order, so a larger sample contains the smaller, and a row that joins or leaves
moves no other.

Hash: the UTF-8 bytes of an id, zero-padded to words of 8 bytes (little-endian), are folded into a state that starts
from the seed, the use and the length in bytes; between words the state goes through the finaliser of SplitMix64
(Steele, Lea, Flood 2014; Stafford's variant 13). Not for cryptography. Cost: about 0.1 microseconds an id, memory in
blocks of 65,536 ids.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import np, pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hashes", "order", "remix"]

_BLOCK = 65_536
_CACHED = 32_768
_GOLDEN = 0x9E3779B97F4A7C15


def hashes(ids: pl.Series, seed: int, use: str = "") -> NDArray[np.uint64]:
    """64 bits of each text in `ids`, for this seed and `use` (a word that keeps two draws of one step apart)."""
    raw = ids.cast(pl.String).fill_null("")
    sizes = raw.str.len_bytes().to_numpy().astype(np.int64)
    digest = hashlib.blake2b(f"{seed}/{use}".encode(), digest_size=8).digest()
    start = np.uint64(int.from_bytes(digest, "little"))
    out: NDArray[np.uint64] = np.empty(len(raw), dtype=np.uint64)
    if len(sizes) and sizes[0] and sizes[0] % 8 == 0 and (sizes == sizes[0]).all():
        return _whole_words(raw, int(sizes[0]) // 8, start, out)
    for at in range(0, len(raw), _BLOCK):
        here = slice(at, at + _BLOCK)
        data = np.frombuffer(raw[here].str.join("").item().encode(), dtype=np.uint8)
        out[here] = _fold(data, sizes[here], start)
    return out


def _whole_words(raw: pl.Series, count: int, start: np.uint64, out: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What `_fold` gives for texts of `count` whole words each, as row ids are: read where they lie."""
    array: Any = raw.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    first = int(np.frombuffer(offsets, np.int64)[array.offset])
    words = np.frombuffer(data, "<u8", count * len(raw), first).reshape(-1, count)
    begun = remix(start, 8 * count)
    for at in range(0, len(out), _CACHED):
        state = begun
        for word in words[at : at + _CACHED].T:
            state = remix(state ^ word)
        out[at : at + _CACHED] = state
    return out


def _fold(data: NDArray[np.uint8], sizes: NDArray[np.int64], start: np.uint64) -> NDArray[np.uint64]:
    """The hash of each of the texts that stand one after the other in `data`, grouped by their number of words."""
    out: NDArray[np.uint64] = np.empty(len(sizes), dtype=np.uint64)
    begins = np.cumsum(sizes) - sizes
    words = -(-sizes // 8)
    every = np.unique(words) if len(words) and words.min() != words.max() else words[:1]
    for count in every.tolist():
        at = np.flatnonzero(words == count)
        state = remix(np.full(len(at), start), sizes[at])
        for word in _words(data, begins[at], sizes[at], count).T if count else ():
            state = remix(state ^ word)
        out[at] = state
    return out


def _words(
    data: NDArray[np.uint8], begins: NDArray[np.int64], sizes: NDArray[np.int64], count: int
) -> NDArray[np.uint64]:
    """uint64 [n, count]: the texts at `begins`, zero-padded to `count` words each."""
    if (
        data.size == 8 * count * len(sizes) and (sizes == 8 * count).all()
    ):  # all that there is, each whole: nothing to gather
        return data.reshape(len(sizes), 8 * count).view("<u8")
    columns = np.arange(8 * count)
    found = data[np.minimum(begins[:, None] + columns, data.size - 1)]
    return np.where(columns < sizes[:, None], found, np.uint8(0)).view("<u8")


def remix(keys: NDArray[np.uint64] | np.uint64, salt: int | NDArray[np.int64] = 0) -> NDArray[np.uint64]:
    """A fresh 64 bits from each key: a one-to-one map, another one for each `salt` >= 0 (the number of a copy, say; one
    for all or each)."""
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2^64 on purpose
        z = np.asarray(keys, dtype=np.uint64) + np.uint64(_GOLDEN) * (np.asarray(salt).astype(np.uint64) + np.uint64(1))
        out = np.atleast_1d(z)
        for at in range(0, len(out), _CACHED):  # by parts that stay in the processor's cache, in place
            _finish(out[at : at + _CACHED])
    return out.reshape(z.shape)


def _finish(z: NDArray[np.uint64]) -> None:
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)


def order(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Row numbers by ascending key; equal keys in the order of their row numbers."""
    at = np.argsort(keys)
    ranked = keys[at]
    if len(ranked) > 1 and (ranked[1:] == ranked[:-1]).any():
        at = np.argsort(keys, kind="stable")
    return np.asarray(at, dtype=np.int64)
