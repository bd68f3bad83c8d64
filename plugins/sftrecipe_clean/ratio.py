"""The share of characters on which two texts agree, and filters that find all pairs above a threshold without trying
every pair.

    ratio(a, b) = 2 * LCS(a, b) / (|a| + |b|)        LCS: length of the longest common subsequence, in code points

This is the normalised indel similarity, rapidfuzz.fuzz.ratio / 100; two empty texts have 1. Common ends are cut off
and the rest is computed with one big integer a text (Hyyro 2004, "Bit-parallel LCS-length computation revisited"): |b|
steps on |a| bits.

With threshold t a pair of lengths m, n differs by at most d = floor((1 - t)(m + n)) insertions and deletions, D = (d +
m - n) / 2 of them deletions from the text of length m. A deletion breaks at most q of its q-grams, an insertion q - 1,
so of its m - q + 1 q-grams, repeats counted, at most K = qD + (q - 1)(d - D) are missing in the other text (Ukkonen
1992; `missing_allowed`). Three filters follow, none of which loses a pair:

    length   t / (2 - t) <= m / n <= (2 - t) / t
    prefix   sorted by any fixed order, the first K + 1 q-grams of each text share one (Chaudhuri, Ganti, Kaushik 2006)
    count    at most K of one text's q-grams (bits of its bitmap) are missing in the other, and at most D of its letters

The order is by rarity, so prefixes hold grams that few texts have. A text with K or fewer q-grams goes into the prefix
filter whole; pairs of two such texts (a handful of characters) are compared by length alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sftrecipe.lazy import np, pl
from sftrecipe_clean.groups import runs
from sftrecipe_clean.words import WordTable, ngrams

if TYPE_CHECKING:
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Words = npt.NDArray[np.uint32]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

__all__ = [
    "FREQUENCIES",
    "gram_length",
    "grams",
    "lcs_length",
    "letter_counts",
    "missing_allowed",
    "missing_letters",
    "most_missing",
    "plain_grams",
    "prefix",
    "ratio",
    "tally",
]

FREQUENCIES = 1 << 18
_SLACK = 1e-9
_ROW_BITS = 11
_SALT = int.from_bytes(hashlib.blake2b(b"sftrecipe.ratio", digest_size=8).digest(), "little")
_ODD = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


def ratio(a: str, b: str) -> float:
    """The share of characters that both texts have in the same order, 0 to 1."""
    total = len(a) + len(b)
    return 2.0 * lcs_length(a, b) / total if total else 1.0


def lcs_length(a: str, b: str) -> int:
    """Length of the longest common subsequence. Cost: about |a||b| / 64 machine words."""
    front = _common(a, b)
    a, b = a[front:], b[front:]
    back = _common(a[::-1], b[::-1])
    a, b = (a[:-back], b[:-back]) if back else (a, b)
    return front + back + _lcs_bits(a, b)


def _common(a: str, b: str) -> int:
    """How many first characters agree, by halving."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _lcs_bits(a: str, b: str) -> int:
    if not a or not b:
        return 0
    places: dict[str, int] = {}
    for at, letter in enumerate(a):
        places[letter] = places.get(letter, 0) | 1 << at
    full = state = (1 << len(a)) - 1
    for letter in b:
        hit = state & places.get(letter, 0)
        if hit:
            state = ((state + hit) | (state - hit)) & full
    return len(a) - state.bit_count()


def missing_allowed(length: Ints, other: Ints, threshold: float, q: int) -> Ints:
    """K: q-grams of a text of `length` that one of length `other` may lack. Negative: the lengths rule the pair out."""
    edits = np.floor((1 - threshold) * (length + other) + _SLACK).astype(np.int64)
    edits -= (edits + length - other) % 2  # insertions and deletions change the length by their difference
    deletions = (edits + length - other) // 2
    insertions = edits - deletions
    allowed: Ints = np.where((deletions < 0) | (insertions < 0), -1, q * deletions + (q - 1) * insertions)
    return allowed


def most_missing(length: Ints, threshold: float, q: int) -> Ints:
    """K for the worst length of the other text: linear in that length but for rounding, so worst at an end."""
    worst = np.zeros(len(length))
    for other in (length * threshold / (2 - threshold), length * (2 - threshold) / threshold):
        worst = np.maximum(worst, (q - 0.5) * (1 - threshold) * (length + other) + (length - other) / 2)
    most: Ints = np.floor(worst + _SLACK).astype(np.int64)
    return most


def gram_length(threshold: float, lost: float = 0.5) -> int:
    """q: the longest grams, at most 8, of which a pair at the threshold lacks no more than the share `lost`."""
    return int(np.clip((1 + lost / max(1 - threshold, 1e-9) + _SLACK) // 2, 2, 8))


def grams(texts: pl.Series, q: int) -> tuple[Hashes, Ints, Ints]:
    """(hashes, offsets, lengths): the q-grams of each text's code points and the text's length. A null is empty.

    A gram that comes again in a text is a gram of its own (second `the`, third `the`), so that sets count repeats.
    """
    hashes, bounds, lengths = plain_grams(texts, q)
    return _numbered(hashes, bounds), bounds, lengths


def plain_grams(texts: pl.Series, q: int) -> tuple[Hashes, Ints, Ints]:
    """As `grams`, but in text order, and a gram that comes again is the same gram."""
    points, offsets = _points(texts)
    hashes, bounds = ngrams(WordTable(_mix(points), offsets), q)
    return hashes, bounds, np.diff(offsets)


def letter_counts(texts: pl.Series) -> npt.NDArray[np.uint8]:
    """uint8 [rows, 64]: how often letters of 64 classes occur, at most 255. Merging and capping only let more pass."""
    points, offsets = _points(texts)
    rows = np.repeat(np.arange(len(texts), dtype=np.int64), np.diff(offsets))
    cells = (rows << 6) + (_mix(points) >> np.uint64(58)).astype(np.int64)
    counts = np.bincount(cells, minlength=len(texts) << 6).reshape(-1, 64)
    return np.minimum(counts, 255).astype(np.uint8)


def missing_letters(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> Ints:
    """How many letters of each row of `a` the same row of `b` surely lacks."""
    lacking: Ints = (np.maximum(a, b) - b).sum(axis=1, dtype=np.int64)
    return lacking


def _points(texts: pl.Series) -> tuple[Hashes, Ints]:
    whole = texts.fill_null("").to_list()
    lengths = np.fromiter(map(len, whole), np.int64, len(whole))
    points = np.frombuffer("".join(whole).encode("utf-32-le"), "<u4").astype(np.uint64)
    return points, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _numbered(hashes: Hashes, offsets: Ints) -> Hashes:
    """The hashes of each row in ascending order, the k-th of equal ones changed by k. A collision only lets more pass.

    Rows are sorted 2,048 at a time, 11 bits of the key for the row and 53 for the hash: the same for every batch.
    """
    made = np.empty_like(hashes)
    for first in range(0, len(offsets) - 1, 1 << _ROW_BITS):
        cuts = offsets[first : first + (1 << _ROW_BITS) + 1]
        rows = np.repeat(np.arange(len(cuts) - 1, dtype=np.uint64), np.diff(cuts))
        keys = (rows << np.uint64(64 - _ROW_BITS)) | (hashes[cuts[0] : cuts[-1]] >> np.uint64(_ROW_BITS))
        keys.sort()
        starts, counts = runs(keys)
        place = np.arange(len(keys), dtype=np.uint64) - np.repeat(starts, counts).astype(np.uint64)
        made[cuts[0] : cuts[-1]] = _mix((keys << np.uint64(_ROW_BITS)) + place)
    return made


def tally(members: Words) -> npt.NDArray[np.uint32]:
    """uint32 [2^18]: how often members fall into each cell of a table by their upper 18 bits, the measure of rarity."""
    return np.bincount(members >> np.uint32(14), minlength=FREQUENCIES).astype(np.uint32)


def prefix(members: Words, sizes: Ints, take: Ints, frequency: npt.NDArray[np.uint32]) -> tuple[Words, Ints]:
    """(members, rows): the first `take` members of each row's set, rarest by `frequency` first, then the smaller."""
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    order = np.lexsort((members, frequency[members >> np.uint32(14)], rows))
    place = np.arange(len(members)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = order[place < np.repeat(take, sizes)]
    return members[chosen], rows[chosen]


def _mix(values: Hashes) -> Hashes:
    mixed: Hashes = (values ^ _SALT) * _ODD[0]
    mixed ^= mixed >> np.uint64(32)
    mixed *= _ODD[1]
    return mixed
