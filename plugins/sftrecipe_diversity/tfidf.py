"""Embedder `tfidf`: no weights, no download, works on any language; learnt from the rows themselves.

Latent semantic analysis (Deerwester et al. 1990). For a text, the terms t are its words and pairs of adjacent words; a
run of Chinese, Japanese or Korean characters gives its characters and pairs of characters instead, since it has no
spaces.

    x_t = (1 + ln tf_t) * (1 + ln((1 + n) / (1 + df_t)))      then x / |x|
    v   = V^T x / |V^T x|                                      V: the first `dims` right singular vectors of the n texts

Shapes: vocabulary F <= max_features terms (those in most texts; ties by the alphabet), components [d, F], d = min(dims,
rank of the texts), vectors float32 [N, d]. A text with no known term gets zeros.
Determinism: fixed random state, signs fixed by the largest component; a text's vector does not depend on the batch that
it is in. The last digits depend on the linear algebra library of the machine that fits.
Deviations from scikit-learn's TfidfVectorizer: terms at the `max_features` border are cut by name, not by an unstable
sort; singular vectors whose value is below 1e-6 of the first are left out, as they hold rounding noise.
Cost, for texts of 1 kB on one core: 1 ms each to fit (20,000 at most by default), 0.25 ms each to embed; memory of fit
20 KB a text, of the state 4 * F * d bytes (20 MB).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from sftrecipe import Param, Provider
from sftrecipe_diversity._texts import CJK

__all__ = ["Tfidf", "TfidfEmbedder", "directions", "fit_tfidf", "project", "terms"]

_RUN = re.compile(rf"([{CJK}]+)|([^\W{CJK}]+)")
_NOISE = 1e-6
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
    """`vocabulary` (F terms), `idf` float32 [F] and `components` float32 [d, F] of these texts."""
    from sklearn.feature_extraction.text import CountVectorizer

    if not any(terms(t) for t in texts):
        return {"vocabulary": [], "idf": np.zeros(0, np.float32), "components": np.zeros((1, 0), np.float32)}
    counter = CountVectorizer(analyzer=terms)
    counts = counter.fit_transform(texts)
    names = counter.get_feature_names_out()  # alphabetical, so that a stable sort breaks ties by name
    seen = np.diff(counts.tocsc().indptr)
    taken = np.sort(np.argsort(-seen, kind="stable")[:max_features])
    idf = (np.log((1 + len(texts)) / (1 + seen[taken])) + 1).astype(np.float32)
    weighted = _weigh(counts[:, taken], idf)
    components = directions(weighted, min(dims, *weighted.shape))
    return {"vocabulary": names[taken].tolist(), "idf": idf, "components": components.astype(np.float32)}


def directions(weighted: Any, rank: int) -> np.ndarray:
    """The first right singular vectors of a sparse [n, F]: [d, F], d <= rank, the largest component of each positive.

    Exact, by the smaller Gram matrix, while that has at most 1,000 rows; randomised above (Halko et al. 2011).
    """
    from sklearn.decomposition import TruncatedSVD

    if min(weighted.shape) > _EXACT:
        svd = TruncatedSVD(rank, n_iter=4, random_state=0).fit(weighted)
        values, components = svd.singular_values_, svd.components_
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


def project(texts: Sequence[str], counter: Any, idf: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Unit vectors float32 [N, d]. `counter`: a CountVectorizer that knows the vocabulary. `components`: [F, d]."""
    weighted = _weigh(counter.transform(texts), idf)
    # sparse rows times a dense matrix add up term by term: a row's sum is the same in every batch
    vectors = np.asarray(weighted @ components, dtype=np.float32)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units = np.zeros_like(vectors)
    np.divide(vectors, norms, out=units, where=norms > _NOISE, casting="same_kind")
    return units


def _weigh(counts: Any, idf: np.ndarray) -> Any:
    """Raw counts (CSR) to unit rows of (1 + ln tf) * idf."""
    from sklearn.preprocessing import normalize

    weighted = counts.astype(np.float32)
    weighted.data = (1 + np.log(weighted.data)) * idf[weighted.indices]
    return normalize(weighted, copy=False)


@dataclass
class TfidfEmbedder:
    """The live model: learns nothing until `fit`, and then keeps nothing: the state travels with each call."""

    dims: int
    max_features: int
    fit_rows: int
    language: str | None = None
    _ready: tuple[Mapping[str, Any], Any, np.ndarray] | None = field(default=None, repr=False)

    def fit(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """`vocabulary`, `idf` and `components` of these texts."""
        return fit_tfidf(texts, self.dims, self.max_features)

    def embed(self, texts: Sequence[str], state: Mapping[str, Any] | None = None) -> np.ndarray:
        """float32 [N, d]; a text with no term of the vocabulary gets zeros. Raises ValueError without a state."""
        if state is None or "components" not in state:
            raise ValueError("tfidf has to be fitted first: `embed` needs the state that `fit` gave")
        if not len(state["vocabulary"]) or not texts:
            return np.zeros((len(texts), len(state["components"])), np.float32)
        _, counter, components = self._prepare(state)
        return project(texts, counter, np.asarray(state["idf"]), components)

    def _prepare(self, state: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any, np.ndarray]:
        from sklearn.feature_extraction.text import CountVectorizer

        if self._ready is None or self._ready[0] is not state:
            counter = CountVectorizer(analyzer=terms, vocabulary=list(state["vocabulary"]))
            self._ready = (state, counter, np.ascontiguousarray(np.asarray(state["components"]).T))
        return self._ready


class Tfidf(Provider):
    """Word and character n-grams, weighted and reduced to a few hundred numbers: the embedded default, without any
    weights.

    Near in words, not in meaning: `car` and `automobile` are strangers to it. For meaning use `sentence-transformers`.
    """

    serves: ClassVar[Sequence[str]] = ("Embedder",)
    place: ClassVar[str] = "pool"

    dims: int = Param(256, ge=1, doc="Width of a vector; fewer where the texts have fewer independent directions.")
    max_features: int = Param(20_000, ge=1, doc="Most terms in the vocabulary: those that occur in most texts.")
    sample: int = Param(20_000, ge=1, doc="Most rows that the vocabulary is learnt from: those lowest in hash(id).")

    def identity(self) -> Mapping[str, Any]:
        """The parameters: what is learnt from the rows is in the step's key already."""
        return {"model": "tfidf", "dims": self.dims, "max_features": self.max_features, "sample": self.sample}

    def open(self) -> TfidfEmbedder:
        """The live model."""
        return TfidfEmbedder(self.dims, self.max_features, self.sample)
