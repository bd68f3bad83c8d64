"""filter.length and score.length."""

from __future__ import annotations

import polars as pl
import pytest

from sftrecipe import message
from sftrecipe.rows import Rows
from sftrecipe_clean.length import Length, ScoreLength, bounds, text_lengths, turns


class Bytes:
    """A tokenizer of one token a byte."""

    def encode_batch(self, texts):
        return [list(text.encode()) for text in texts]


def rows_of(texts, conversations=None):
    frame = pl.DataFrame({"response": texts}, schema={"response": pl.String})
    return Rows(frame if conversations is None else frame.with_columns(pl.Series("messages", conversations)))


def run(texts, tokenizer=None, conversations=None, **params):
    operator = Length(tokenizer="bytes" if tokenizer else None, **params)
    operator.text, operator.tokenizer = pl.col("response"), tokenizer
    kept = operator.keep(rows_of(texts, conversations))
    return {code: (mask.to_list(), values.tolist()) for code, (mask, values) in kept.items()}


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("words", [2, 0, 1, 0]), ("chars", [5, 0, 3, 2]), ("tokens", [5, 0, 6, 2])],
)
def test_lengths(unit, expected):
    texts = pl.Series(["two w", None, "né中", "  "])
    assert text_lengths(texts, unit, Bytes()).tolist() == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [(5, (5, None)), ([5, 9], (5, 9)), ([None, 9], (None, 9)), ([5, None], (5, None)), ([3, 3], (3, 3))],
)
def test_bounds(given, expected):
    assert bounds(given) == expected


@pytest.mark.parametrize("given", [True, [1], [1, 2, 3], [None, None], [5, 4], [-1, 3], ["1", 2], [1.5, 2], "5"])
def test_bounds_that_are_none(given):
    with pytest.raises(ValueError, match=r"takes|has no|is empty"):
        bounds(given)


def test_both_bounds_are_included_and_told():
    found = run(["a", "a b", "a b c", "a b c d", None], words=[2, 3])
    assert found["too_short"] == ([False, True, True, True, None], [1, -1, -1, -1, 0])
    assert found["too_long"] == ([True, True, True, False, None], [-1, -1, -1, 4, -1])


def test_one_number_is_the_least():
    found = run(["", "a"], words=1)
    assert (found["too_short"][0], found["too_long"][0]) == ([False, True], [True, True])


def test_of_several_units_the_first_out_of_bounds_is_told():
    found = run(["ab cd", "abcdefgh"], words=2, chars=[6, None])
    assert found["too_short"] == ([False, False], [5, 1])


def test_tokens_are_those_of_the_tokenizer():
    assert run(["né"], tokenizer=Bytes(), tokens=[None, 2])["too_long"] == ([False], [3])


def test_turns_are_the_users():
    talk = [message("system", "s"), message("user", "a"), message("assistant", "b"), message("user", "c"), message("assistant", "d")]
    assert turns(pl.Series([talk, talk[:3]])).tolist() == [2, 1]
    found = run([None, None], conversations=[talk, talk[:3]], turns=[2, None])
    assert found["too_short"] == ([True, False], [-1, 1])


def test_turns_alone_read_no_text():
    columns = {"messages": "messages"}
    assert Length(turns=2).flow(columns).reads == ("messages",)
    assert Length(words=2).flow(columns).reads == ("response",)
    assert Length(words=2, turns=1).flow(columns).reads == ("response", "messages")
    assert ScoreLength(unit="turns").flow(columns).reads == ("messages",)


@pytest.mark.parametrize(
    ("params", "problem"),
    [({}, "at least one"), ({"tokens": 5}, "tokenizer"), ({"words": [5, 2]}, "is empty"), ({"chars": [None, None]}, "no bound")],
)
def test_problems(params, problem):
    assert [problem in text for text in Length(**params).check()] == [True]


def test_no_problem():
    assert list(Length(words=[5, None], turns=1).check()) == []
    assert list(ScoreLength().check()) == []
    assert len(list(ScoreLength(unit="tokens").check())) == 1


@pytest.mark.parametrize(("unit", "expected"), [("words", [2, None, 0]), ("chars", [3, None, 0])])
def test_score(unit, expected):
    operator = ScoreLength(unit=unit, into="size")
    operator.text = pl.col("response")
    column = operator.score(rows_of(["a b", None, ""]))["size"]
    assert (column.to_list(), column.dtype) == (expected, pl.Int64)
    assert operator.flow({"messages": "messages"}).writes == {"size": "int"}


def test_lengths_are_counted_once_a_batch():
    rows = rows_of(["a b", "c"])
    first = ScoreLength()
    first.text = pl.col("response")
    first.score(rows)
    second = Length(words=2)
    second.text = pl.lit("must not be looked at")
    assert second.keep(rows)["too_short"][0].to_list() == [True, False]
