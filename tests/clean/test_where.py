"""filter.where."""

from __future__ import annotations

import polars as pl
import pytest

from sftrecipe import StepError
from sftrecipe.expressions import ExpressionError, check, compile
from sftrecipe.params import positional
from sftrecipe.rows import Rows
from sftrecipe_clean.where import Where

ROWS = Rows(pl.DataFrame({"size": [1, 5, None], "source": ["flan", "gsm", "gsm"]}))
COLUMNS = {"size": "int", "source": "text"}


def where(condition: str) -> Where:
    operator = Where(condition=condition)
    operator.condition = compile(condition, COLUMNS)
    return operator


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("size > 2", [False, True, None]),
        ('source == "gsm" and size > 2', [False, True, None]),
        ('source == "flan" or size > 2', [True, True, None]),
        ("true", [True, True, True]),
    ],
)
def test_true_stays_and_null_is_undefined(condition, expected):
    assert where(condition).keep(ROWS).to_list() == expected


def test_it_takes_the_bare_value():
    assert positional(Where).name == "condition"


def test_a_number_is_no_condition():
    with pytest.raises(ExpressionError):
        check("size + 1", COLUMNS, want=Where.wants["condition"])
    operator = Where(condition="size + 1")
    operator.condition = pl.col("size") + 1
    with pytest.raises(StepError, match="Int64, not true or false"):
        operator.keep(ROWS)


def test_a_condition_without_any_value():
    operator = Where(condition="nothing")
    operator.condition = pl.lit(None)
    assert operator.keep(ROWS).to_list() == [None, None, None]


def test_its_columns_are_read():
    assert set(Where(condition="size > 2 and words(response) > 1").flow({"size": "int", "messages": "messages"}).reads) == {"size", "response"}
