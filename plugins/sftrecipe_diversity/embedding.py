"""`tag.embedding`: text to unit vectors, by any embedder in `models:`.

Let q and a be unit vectors of the question and the answer, and w = `answer_weight`. The column then holds

    v = [sqrt(1-w) q ; sqrt(w) a]        a unit vector again, and for two rows
    v . v' = (1-w) (q . q') + w (a . a')

exactly. So every selector that looks at cosines weighs answers too, without knowing it. w = 0: questions alone; w = 1:
answers alone.

Shapes: [N, d], or [N, 2d] with `answer_weight`; float32, length 1. Cost: the embedder's; beside it one list column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sftrecipe import Dataset, Embedder, Expr, Flow, Into, Param, Tag, Template
from sftrecipe.lazy import np, pl
from sftrecipe_diversity._texts import CJK, sample_rows

if TYPE_CHECKING:
    from sftrecipe import Rows

__all__ = ["Embedding", "as_vectors", "blend"]

_LOOKED_AT = 2_000
_FOREIGN = 0.2


def blend(query: np.ndarray, answer: np.ndarray, weight: float) -> np.ndarray:
    """[sqrt(1-w) q ; sqrt(w) a] of unit vectors float32 [N, d], [N, e]: unit vectors float32 [N, d + e]."""
    return np.hstack([query * np.float32(np.sqrt(1 - weight)), answer * np.float32(np.sqrt(weight))])


def as_vectors(matrix: np.ndarray, present: np.ndarray) -> pl.Series:
    """A vector column of N rows: where `present` (bool [N]) the next row of `matrix` (float32 [M, d]), else null."""
    if not present.any():
        return pl.Series([None] * len(present), dtype=pl.List(pl.Float32))
    at = pl.Series(np.cumsum(present) - 1, dtype=pl.Int64)
    index = pl.select(pl.when(pl.Series(present)).then(at).otherwise(None).cast(pl.UInt32)).to_series()
    return pl.Series(np.ascontiguousarray(matrix)).arr.to_list().gather(index)


class Embedding(Tag):
    """A unit vector for each row, of its conversation, of any text, or of question and answer at a chosen weight.

    A row whose text is null or blank gets no vector (null; `no_text` in its story), as does one that the model has no
    words for (`no_vector`); selections then say how many rows have none. A warning is logged when more than a fifth of
    the rows hold Chinese, Japanese or Korean characters and the model knows English only, and when texts are longer
    than the model reads: judged on the 2,000 rows lowest in hash(id). Artefacts: `rows_seen`, `rows_cjk`, and what the
    model learnt or counted.
    """

    reads = ("id",)
    writes: ClassVar[Mapping[str, str]] = {"{into}": "vector"}
    wants: ClassVar[Mapping[str, str]] = {"text": "text", "answer": "text"}
    approximate = True
    source = "answer weight: the wish of the surveys for selections that look at answers; exact for cosines"

    model: Embedder = Param(doc="An embedder from `models:`.", positional=True)
    text: Expr | None = Param(
        None, doc="What is embedded; left out: `conversation`, or `query` where `answer_weight` is given."
    )
    template: Template | None = Param(None, doc="Instead of `text`: words with {{column}} fields.")
    answer_weight: float | None = Param(
        None, ge=0, le=1, doc="Share w of the answer: cosine = (1-w) question + w answer."
    )
    answer: Expr | None = Param(None, doc="The answer's text with `answer_weight`; left out: `response`.")
    into: Into = Param("embedding", doc="The vector column that is written.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The columns of the texts, the default ones included."""
        flow = super().flow(columns)
        return dataclasses.replace(flow, reads=tuple(dict.fromkeys((*flow.reads, *self._defaults()))))

    def check(self) -> Iterable[str]:
        """`text` and `template` exclude each other; `answer` needs `answer_weight`."""
        if self.text is not None and self.template is not None:
            yield "give `text` or `template`, not both"
        if self.answer is not None and self.answer_weight is None:
            yield "`answer` needs `answer_weight`: how much the answer counts, from 0 to 1"

    def fit(self, data: Dataset) -> Mapping[str, Any]:
        """What the model learns from a sample of the rows, and how many of them hold CJK characters."""
        weighted = self.answer_weight is not None
        share = -(-self.model.fit_rows // (2 if weighted else 1))
        rows = sample_rows(data.frame("id")["id"], max(share, _LOOKED_AT))
        texts = [t.filter(_said(t)) for t in self._texts(data.take(rows, *self._columns(data)))]
        seen = texts[0].head(_LOOKED_AT)
        foreign = int(seen.str.contains(f"[{CJK}]").sum() or 0)
        learnt = self.model.fit(pl.concat(t.head(share) for t in texts).to_list()) if self.model.fit_rows else {}
        self._warn(foreign, len(seen), learnt)
        return {**learnt, "rows_seen": len(seen), "rows_cjk": foreign}

    def tag(self, rows: Rows) -> Mapping[str, Any]:
        """The vector column of one batch."""
        texts = self._texts(rows.frame)
        said = np.logical_and.reduce([_said(t).to_numpy() for t in texts])
        blocks = [self.model.embed(t.filter(pl.Series(said)).to_list(), self.state) for t in texts]
        matrix = blocks[0] if self.answer_weight is None else blend(blocks[0], blocks[1], self.answer_weight)
        found = np.logical_and.reduce([b.any(axis=1) for b in blocks])
        present = said.copy()
        present[said] = found
        for row in np.flatnonzero(~present):
            self.context.note(rows["id"][int(row)], "no_vector" if said[row] else "no_text")
        return {self.into: as_vectors(matrix[found], present)}

    def _columns(self, data: Dataset) -> Iterable[str]:
        """The columns that the texts are made of, and `id`."""
        if self.template is not None:
            return self.flow(data.columns).reads
        bound = [cast(pl.Expr, e) for e in (self.text, self.answer) if e is not None]
        return dict.fromkeys(("id", *self._defaults(), *(name for e in bound for name in e.meta.root_names())))

    def _texts(self, frame: pl.DataFrame) -> list[pl.Series]:
        """The text, and with `answer_weight` the answer, of each row."""
        if self.template is not None:
            bound = cast(Any, self.template)
            first = pl.Series([bound.render(row) for row in frame.iter_rows(named=True)], dtype=pl.String)
        else:
            first = _column(frame, self.text, self._defaults()[:1])
        return [first] if self.answer_weight is None else [first, _column(frame, self.answer, self._defaults()[-1:])]

    def _defaults(self) -> list[str]:
        """The columns that stand in for what the recipe left out."""
        weighted = self.answer_weight is not None
        first = [] if self.text is not None or self.template is not None else ["query" if weighted else "conversation"]
        return first + (["response"] if weighted and self.answer is None else [])

    def _warn(self, foreign: int, seen: int, learnt: Mapping[str, Any]) -> None:
        if self.model.language == "en" and foreign > _FOREIGN * seen:
            self.context.log.warning(
                "%d of %d rows looked at hold Chinese, Japanese or Korean text, and the embedder knows English only: "
                "take a multilingual model, or `tfidf`", foreign, seen,
            )  # fmt: skip
        cut = int(learnt.get("texts_cut", 0))
        if cut:
            self.context.log.warning(
                "%d of %d texts looked at are longer than the %d tokens that the embedder reads: the rest is not seen",
                cut, learnt["texts_seen"], learnt["max_length"],
            )  # fmt: skip


def _column(frame: pl.DataFrame, text: Any, default: Sequence[str]) -> pl.Series:
    expression = pl.col(default[0]) if text is None else text
    return frame.with_columns(expression.cast(pl.String).alias("text"))["text"]  # a constant is repeated


def _said(texts: pl.Series) -> pl.Series:
    """Whether there is more than white space."""
    return texts.str.contains(r"\S").fill_null(False)
