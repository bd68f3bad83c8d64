"""Embedder `tfidf`: no weights, no download, works on any language; learnt from the rows themselves.

Latent semantic analysis (Deerwester et al. 1990). For a text, the terms t are its words and pairs of adjacent words; a
run of Chinese, Japanese or Korean characters gives its characters and pairs of characters instead, since it has no
spaces.

    x_t = (1 + ln tf_t) * (1 + ln((1 + n) / (1 + df_t)))        then x / |x|
    v   = [V x ; 0.05 H (x - V^T V x)]                           then v / |v|

V [d, F]: the first right singular vectors of the n texts. H: every term at a fixed place with a fixed sign (a hash of
the term). The faint second part is what V does not see. Beside the first it weighs nothing, but a text that shares no
term with others (a Chinese row among English ones) has no first part, and would be without a vector. Terms outside the
vocabulary count as in no text (df = 0) and have the second part only. So only a text without any word gets zeros.

Shapes: vocabulary F <= max_features terms, those in most texts, ties by the alphabet; d = min(dims - dims/8, rank of
the texts); vectors float32 [N, d + dims/8].
Determinism: fixed random state, signs fixed by the largest component; a text's vector does not depend on the batch that
it is in. The last digits depend on the linear algebra library of the machine that fits.
Deviations from scikit-learn's TfidfVectorizer and TruncatedSVD (not used here): the second part; singular vectors
whose value is below 1e-6 of the first are left out, as they hold rounding noise.
Cost, for texts of 1 kB on one core: 1.5 ms each to fit (20,000 at most by default), 0.4 ms each to embed; of the state
4 * F * dims bytes (20 MB).
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sftrecipe import Param, Provider
from sftrecipe.lazy import np
from sftrecipe_diversity._texts import CJK

__all__ = ["Tfidf", "TfidfEmbedder", "directions", "fit_tfidf", "terms", "weigh"]

_RUN = re.compile(rf"([{CJK}]+)|([^\W{CJK}]+)")
_NOISE = 1e-6
_FAINT = 0.05
_EXACT = 1_000


def terms(text: str) -> list[str]:
    """Words and word pairs; characters and character pairs where the script has no spaces. Folded by NFKC and case."""
    found: list[str] = []
    before = ""
    for run in _RUN.finditer(unicodedata.normalize("NFKC", text).lower()):
        if run[1]:
            found += run[1]
            found += map("".join, zip(run[1], run[1][1:], strict=False))
            before = ""
        else:
            found.append(run[2])
            if before:
                found.append(f"{before} {run[2]}")
            before = run[2]
    return found


def fit_tfidf(texts: Sequence[str], dims: int, max_features: int) -> dict[str, Any]:
    """What `embed` needs: `vocabulary` (F terms), `idf` float32 [F + 1] (the last: of other terms) and `components`
    float32 [F + dims/8, d + dims/8], which takes weights of terms and of places of other terms to vectors.
    """
    seen = Counter(term for text in texts for term in set(terms(text)))
    names = sorted(sorted(seen, key=lambda term: (-seen[term], term))[:max_features])
    idf = [1 + math.log((1 + len(texts)) / (1 + n)) for n in (*(seen[term] for term in names), 0)]
    places = max(1, dims // 8)
    weighted = weigh(texts, {term: at for at, term in enumerate(names)}, idf, places)[:, : len(names)]
    rank = min(max(1, dims - places), *weighted.shape)
    seen_by = directions(weighted, rank) if rank else np.zeros((0, len(names)))
    hashed = np.zeros((len(names), places))
    for at, term in enumerate(names):
        place, sign = _place(term, places)
        hashed[at, place] = sign
    rest = hashed - seen_by.T @ (seen_by @ hashed)
    other = np.hstack([np.zeros((places, len(seen_by))), _FAINT * np.eye(places)])
    components = np.vstack([np.hstack([seen_by.T, _FAINT * rest]), other])
    return {"vocabulary": names, "idf": np.array(idf, np.float32), "components": components.astype(np.float32)}


def weigh(texts: Sequence[str], index: Mapping[str, int], idf: Sequence[float], places: int) -> Any:
    """Unit rows of (1 + ln tf) * idf: sparse float32 [N, F + places]. Terms outside `index` stand at their hash."""
    from scipy.sparse import csr_matrix

    values: list[float] = []
    columns: list[int] = []
    ends, norms = [0], []
    for text in texts:
        for term, n in Counter(terms(text)).items():
            at = index.get(term)
            weight = idf[-1 if at is None else at] * (1 if n == 1 else 1 + math.log(n))
            if at is None:
                place, sign = _place(term, places)
                at, weight = len(index) + place, sign * weight
            columns.append(at)
            values.append(weight)
        norms.append(math.sqrt(sum(w * w for w in values[ends[-1] :])))
        ends.append(len(columns))
    units = np.array(values) / np.repeat(norms, np.diff(ends))
    return csr_matrix((units.astype(np.float32), columns, ends), shape=(len(texts), len(index) + places))


def _place(term: str, places: int) -> tuple[int, int]:
    """Where a term stands in the faint part, and its sign: fixed for ever."""
    number = zlib.crc32(term.encode("utf-8", "surrogatepass"))
    return (number >> 1) % places, 1 if number & 1 else -1


def directions(weighted: Any, rank: int) -> np.ndarray:
    """The first right singular vectors of a sparse [n, F]: [d, F], d <= rank, the largest component of each positive.

    Exact, by the smaller Gram matrix, while that has at most 1,000 rows; randomised above (Halko et al. 2011).
    """
    if min(weighted.shape) > _EXACT:
        values, components = _randomised(weighted, rank)
    else:
        exact = weighted.astype(np.float64)
        tall = exact.shape[0] > exact.shape[1]
        squares, vectors = np.linalg.eigh((exact.T @ exact if tall else exact @ exact.T).toarray())
        values = np.sqrt(np.clip(squares[::-1][:rank], 0, None))
        components = vectors[:, ::-1][:, :rank].T
        if not tall:
            components = (components @ exact) / np.where(values > 0, values, 1)[:, None]
    components = np.asarray(components)[values > _NOISE * values[0]]
    signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
    return np.asarray(components * signs[:, None])


def _randomised(weighted: Any, rank: int, passes: int = 4, spare: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(singular values, right singular vectors [rank, F]) of a sparse [n, F]: Halko et al. 2011, algorithms 4.4 and
    5.1, LU between the passes. Digit for digit what scikit-learn's TruncatedSVD gives with these figures.
    """
    from scipy.linalg import lu, qr, svd

    wide = weighted.shape[0] < weighted.shape[1]
    tall = weighted.T if wide else weighted
    basis = np.random.RandomState(0).normal(size=(tall.shape[1], rank + spare)).astype(tall.dtype)
    for _ in range(passes):
        basis = lu(tall @ basis, permute_l=True)[0]
        basis = lu(tall.T @ basis, permute_l=True)[0]
    basis = qr(tall @ basis, mode="economic")[0]
    left, values, right = svd((tall.T @ basis).T, full_matrices=False)
    return values[:rank], (basis @ left[:, :rank]).T if wide else right[:rank]


@dataclass
class TfidfEmbedder:
    """The live model: learns nothing until `fit`, and then keeps nothing: the state travels with each call."""

    dims: int
    max_features: int
    fit_rows: int
    language: str | None = None
    _ready: tuple[Mapping[str, Any], dict[str, int]] | None = field(default=None, repr=False)

    def fit(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """`vocabulary`, `idf` and `components` of these texts."""
        return fit_tfidf(texts, self.dims, self.max_features)

    def embed(self, texts: Sequence[str], state: Mapping[str, Any] | None = None) -> np.ndarray:
        """float32 [N, d], unit rows; a text without any word gets zeros. Raises ValueError without a state."""
        if state is None or "components" not in state:
            raise ValueError("tfidf has to be fitted first: `embed` needs the state that `fit` gave")
        index, components = self._index(state), np.asarray(state["components"])
        weighted = weigh(texts, index, np.asarray(state["idf"]).tolist(), len(components) - len(index))
        # sparse rows times a dense matrix add up term by term: a row's sum is the same in every batch
        vectors = np.asarray(weighted @ components, dtype=np.float32)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        units = np.zeros_like(vectors)
        np.divide(vectors, norms, out=units, where=norms > _NOISE, casting="same_kind")
        return units

    def _index(self, state: Mapping[str, Any]) -> dict[str, int]:
        if self._ready is None or self._ready[0] is not state:
            self._ready = (state, {term: at for at, term in enumerate(state["vocabulary"])})
        return self._ready[1]


class Tfidf(Provider):
    """Word and character n-grams, weighted and reduced to a few hundred numbers: the embedded default, without any
    weights.

    Near in words, not in meaning: `car` and `automobile` are strangers to it. For meaning use `sentence-transformers`.
    """

    serves: ClassVar[Sequence[str]] = ("Embedder",)
    place: ClassVar[str] = "pool"

    dims: int = Param(256, ge=2, doc="Width of a vector; less where the texts have fewer independent directions.")
    max_features: int = Param(20_000, ge=1, doc="Most terms in the vocabulary: those that occur in most texts.")
    sample: int = Param(20_000, ge=1, doc="Most rows that the vocabulary is learnt from: those lowest in hash(id).")

    def identity(self) -> Mapping[str, Any]:
        """The parameters: what is learnt from the rows is in the step's key already."""
        return {"model": "tfidf", "dims": self.dims, "max_features": self.max_features, "sample": self.sample}

    def open(self) -> TfidfEmbedder:
        """The live model."""
        return TfidfEmbedder(self.dims, self.max_features, self.sample)
