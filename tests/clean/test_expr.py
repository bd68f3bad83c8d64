"""score.expr and tag.expr."""

from __future__ import annotations

import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe.expressions import compile
from sftrecipe.params import rest
from sftrecipe.rows import Rows
from sftrecipe_clean.expr import ScoreExpr, TagExpr

FRAME = pl.DataFrame({"a": [1.0, 2.0, None], "n": [3, 4, 5], "source": ["x", "y", "x"]})
COLUMNS = {"a": "float", "n": "int", "source": "text", "messages": "messages"}


def bound(cls, **columns):
    operator = cls(columns=columns)
    operator.columns = {name: compile(text, COLUMNS) for name, text in columns.items()}
    return operator


def test_score_computes_numbers():
    made = bound(ScoreExpr, product="a * n", twice="n * 2", one="1").score(Rows(FRAME))
    assert {name: column.to_list() for name, column in made.items()} == {"product": [3.0, 8.0, None], "twice": [6, 8, 10], "one": [1, 1, 1]}


def test_score_types_follow_the_expression():
    flow = ScoreExpr(columns={"product": "a * n", "twice": "n * 2", "size": "words(response)"}).flow(COLUMNS)
    assert flow.writes == {"product": "float", "twice": "int", "size": "int"}
    assert set(flow.reads) == {"a", "n", "response"}


def test_declared_and_made_types_agree():
    operator = bound(ScoreExpr, product="a * n", twice="n * 2")
    made = operator.score(Rows(FRAME))
    dtypes = {"int": pl.Int64, "float": pl.Float64}
    assert {n: c.dtype for n, c in made.items()} == {n: dtypes[w] for n, w in operator.flow(COLUMNS).writes.items()}


def test_a_label_is_no_score():
    operator = ScoreExpr(columns={"label": "source"})
    operator.columns = {"label": pl.col("source")}
    with pytest.raises(StepError, match="String, not a number") as caught:
        operator.score(Rows(FRAME))
    assert "tag" in caught.value.help


def test_tag_writes_any_type():
    operator = bound(TagExpr, kind='"big" if n > 3 else "small"', large="n > 3")
    assert {n: c.to_list() for n, c in operator.tag(Rows(FRAME)).items()} == {"kind": ["small", "big", "big"], "large": [False, True, True]}
    assert operator.flow(COLUMNS).writes == {"kind": "text", "large": "bool"}


def test_what_only_the_run_knows_is_any():
    assert TagExpr(columns={"big": "n > params.limit"}).flow(COLUMNS).writes == {"big": "any"}
    assert ScoreExpr(columns={"scaled": "n * params.weight"}).flow(COLUMNS).writes == {"scaled": "float"}


@pytest.mark.parametrize("cls", [ScoreExpr, TagExpr])
def test_every_key_is_a_column(cls):
    assert rest(cls).name == "columns"
    assert len(list(cls().check())) == 1
    assert list(cls(columns={"x": "n"}).check()) == []
