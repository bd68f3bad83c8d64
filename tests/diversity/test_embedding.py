"""tag.embedding: which text, the weight of answers, rows without text, warnings, batches."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import Rows, message
from sftrecipe.rows import derive
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe.types import parse_type
from sftrecipe_diversity.embedding import Embedding, as_vectors, blend
from sftrecipe_diversity.tfidf import Tfidf


class Told:
    """A context that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []
        self.log = logging.getLogger("test.embedding")

    def note(self, row_id: str, code: str, **facts: Any) -> None:
        self.notes.append((row_id, code))


class Letters:
    """An embedder of 27 numbers: how often each letter occurs. Counts what it is asked."""

    def __init__(self, fit_rows: int = 0, language: str | None = None, cut: int = 0) -> None:
        self.fit_rows, self.language, self.cut = fit_rows, language, cut
        self.seen: list[Sequence[str]] = []

    def fit(self, texts: Sequence[str]) -> Mapping[str, Any]:
        self.seen.append(texts)
        return {"texts_seen": len(texts), "texts_cut": self.cut, "max_length": 9}

    def embed(self, texts: Sequence[str], state: Mapping[str, Any] | None = None) -> np.ndarray:
        counts = np.array([[t.count(c) for c in "abcdefghijklmnopqrstuvwxyz "] for t in texts], np.float32).reshape(
            len(texts), 27
        )
        norms = np.linalg.norm(counts, axis=1, keepdims=True)
        return np.divide(counts, norms, out=np.zeros_like(counts), where=norms > 0)


def operator(model: Any = None, **params: Any) -> Embedding:
    op = Embedding(model="encoder", **params)
    op.model = model or Letters()
    op.context = Told()  # type: ignore[assignment]
    return op


def rows(*pairs: tuple[str | None, str | None]) -> pl.DataFrame:
    messages = [[message("user", q), message("assistant", a)] for q, a in pairs]
    types = {"id": pl.String(), "messages": parse_type("messages").dtype()}
    return pl.DataFrame({"id": [f"r{k}" for k in range(len(pairs))], "messages": messages}, schema=types)


def embed(op: Embedding, frame: pl.DataFrame, shards: int = 1) -> pl.Series:
    op.state = op.fit(MemoryDataset(frame, shards))
    full = derive(frame, ["query", "response", "conversation"])
    step = -(-max(1, frame.height) // shards)
    parts = [op.tag(Rows(full.slice(at, step)))[op.into] for at in range(0, max(1, frame.height), step)]
    return pl.concat(parts)


def matrix(column: pl.Series) -> np.ndarray:
    return np.array(column.to_list(), dtype=np.float64)


PAIRS = [("what is a cat", "a small animal"), ("what is a dog", "a small animal"), ("sum of numbers", "xyzzy")]


def test_the_conversation_is_embedded_unless_told_otherwise() -> None:
    column = embed(operator(), rows(*PAIRS))
    assert column.dtype == pl.List(pl.Float32)
    assert np.allclose(
        matrix(column),
        Letters().embed(["what is a cata small animal", "what is a doga small animal", "sum of numbersxyzzy"]),
    )


def test_text_is_any_expression() -> None:
    op = operator(text="upper(query)")
    op.text = pl.col("query").str.to_lowercase() + pl.lit(" z")  # type: ignore[assignment]
    assert np.allclose(matrix(embed(op, rows(*PAIRS)))[0], Letters().embed(["what is a cat z"])[0])


def test_template_instead_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bound:
        def render(self, row: Mapping[str, Any]) -> str:
            return f"q: {row['query']}"

    op = operator(template="q: {{query}}")
    op.template = Bound()  # type: ignore[assignment]
    monkeypatch.setattr(op, "flow", lambda columns: type("F", (), {"reads": ("id", "query")}))
    assert np.allclose(matrix(embed(op, rows(*PAIRS)))[0], Letters().embed(["q: what is a cat"])[0])


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.6, 1.0])
def test_cosines_are_weighted_means_of_both_cosines(weight: float) -> None:
    made = matrix(embed(operator(answer_weight=weight), rows(*PAIRS)))
    q, a = (Letters().embed([pair[k] for pair in PAIRS]).astype(np.float64) for k in (0, 1))
    assert made.shape == (3, 54)
    assert np.allclose(made @ made.T, (1 - weight) * q @ q.T + weight * a @ a.T, atol=1e-6)
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)


def test_rows_without_text_get_no_vector_and_a_note() -> None:
    op = operator(answer_weight=0.5)
    column = embed(op, rows(("a", "b"), ("a", None), ("  ", "b"), ("\u00e9", "b"), ("c", "d")))
    assert column.is_null().to_list() == [False, True, True, True, False]
    assert op.context.notes == [("r1", "no_text"), ("r2", "no_text"), ("r3", "no_vector")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("pairs", [[], [(None, None)], [(" ", ""), (None, "")]])
def test_no_text_at_all(pairs: list[tuple[str | None, str | None]]) -> None:
    for model in (Letters(), Tfidf().open()):
        column = embed(operator(model), rows(*pairs))
        assert column.dtype == pl.List(pl.Float32)
        assert column.null_count() == len(pairs)


@pytest.mark.parametrize("weight", [None, 0.4])
def test_batches_and_shards_change_nothing(weight: float | None) -> None:
    frame = rows(*PAIRS, ("", "x"), *[(f"topic {k} of many", f"answer {k * 7}") for k in range(30)])
    model = Tfidf(dims=8).open()
    whole, cut = (embed(operator(model, answer_weight=weight), frame, shards) for shards in (1, 5))
    assert whole.to_list() == cut.to_list()


def test_what_is_learnt_does_not_depend_on_the_order_of_rows() -> None:
    frame = rows(*[(f"question {k} about {'abcde'[k % 5] * 3}", f"answer {k * 7}") for k in range(40)])
    state, mixed = (
        operator(Tfidf(dims=4, sample=25).open()).fit(MemoryDataset(f))
        for f in (frame, frame.sample(fraction=1, shuffle=True, seed=3))
    )
    assert state["vocabulary"] == mixed["vocabulary"]
    assert (state["components"] == mixed["components"]).all()


def test_the_model_is_fitted_on_as_many_texts_as_it_asks_for() -> None:
    model = Letters(fit_rows=10)
    operator(model).fit(MemoryDataset(rows(*[(f"q{k}", "a") for k in range(50)])))
    operator(model, answer_weight=0.5).fit(MemoryDataset(rows(*[(f"q{k}", f"x{k}") for k in range(50)])))
    assert [len(s) for s in model.seen] == [10, 10]
    assert sum(t.startswith("x") for t in model.seen[1]) == 5


@pytest.mark.parametrize(
    ("chinese", "language", "warned"),
    [(3, "en", True), (2, "en", False), (10, None, False), (10, "multilingual", False)],
)
def test_an_english_model_is_warned_about_chinese_rows(
    chinese: int, language: str | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    frame = rows(*[("\u5149\u5408\u4f5c\u7528 a", "b") if k < chinese else ("light", "b") for k in range(10)])
    with caplog.at_level(logging.WARNING):
        state = operator(Letters(language=language)).fit(MemoryDataset(frame))
    assert ("knows English only" in caplog.text) == warned
    assert (state["rows_cjk"], state["rows_seen"]) == (chinese, 10)


def test_texts_that_are_cut_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        operator(Letters(fit_rows=5, cut=2)).fit(MemoryDataset(rows(*PAIRS)))
    assert "2 of 3 texts looked at are longer than the 9 tokens" in caplog.text


@pytest.mark.parametrize(
    ("params", "words"),
    [({"text": "query", "template": "{{query}}"}, "not both"), ({"answer": "gold"}, "needs `answer_weight`")],
)
def test_parameters_that_contradict_each_other(params: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in operator(**params).check())


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"id", "conversation"}),
        ({"answer_weight": 0.5}, {"id", "query", "response"}),
    ],
)
def test_the_columns_left_out_are_read(params: dict[str, Any], expected: set[str]) -> None:
    pytest.importorskip("sftrecipe.expressions")
    flow = operator(**params).flow({"messages": "messages"})
    assert set(flow.reads) == expected
    assert flow.writes == {"embedding": "vector"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=12))
def test_as_vectors_puts_each_row_in_its_place(present: list[bool]) -> None:
    values = np.arange(sum(present) * 2, dtype=np.float32).reshape(-1, 2)
    column = as_vectors(values, np.array(present, dtype=bool))
    left = iter(values.tolist())
    assert column.to_list() == [next(left) if p else None for p in present]
    assert column.dtype == pl.List(pl.Float32)


def test_blend_keeps_float32() -> None:
    one = np.eye(2, dtype=np.float32)
    assert blend(one, one, 0.3).dtype == np.float32
