from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from sftrecipe_mix.asked import Part, problems, read_parts


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"rows": 240, "repeat": 10}, Part("x", "rows", Fraction(240), 10)),
        ({"rows": "240"}, Part("x", "rows", Fraction(240))),
        ({"fraction": "1/256"}, Part("x", "fraction", Fraction(1, 256))),
        ({"fraction": "2%"}, Part("x", "fraction", Fraction(1, 50))),
        ({"fraction": 0.1}, Part("x", "fraction", Fraction(1, 10))),
        ({"tokens": 2_000_000}, Part("x", "tokens", Fraction(2_000_000))),
        ({"weight": 1.5}, Part("x", "weight", Fraction(3, 2))),
        ({"repeat": 2}, Part("x", "fraction", Fraction(1), 2)),
    ],
)
def test_what_may_be_written(given: dict[str, Any], part: Part) -> None:
    assert list(problems({"x": given})) == []
    assert read_parts({"x": given}) == [part]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"row": 3}, ["no key `row`", "did you mean `rows`?"]),
        ({"fractions": 0.5}, ["did you mean `fraction`?"]),
        ({"epochs": 3}, ["no key `epochs`", "there are rows, fraction"]),
        ({"rows": 3, "weight": 2}, ["`rows` and `weight`", "keep one"]),
        ({}, ["says no amount"]),
        (3, ["is 3", "{rows: 1000}"]),
        (None, ["is None"]),
        ({"rows": 0.5}, ["no whole number", "`fraction`"]),
        ({"rows": 0}, ["above 0"]),
        ({"fraction": -1}, ["above 0"]),
        ({"fraction": "half"}, ["is no number"]),
        ({"fraction": "1/0"}, ["is no number"]),
        ({"fraction": float("nan")}, ["is no number"]),
        ({"rows": True}, ["is no number"]),
        ({"rows": 5, "repeat": 1.5}, ["`repeat: 1.5`", "no whole number"]),
        ({"weight": 2, "repeat": 3}, ["`on_short: repeat`"]),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(given: Any, words: list[str]) -> None:
    found = list(problems({"flan": given}))
    assert len(found) == 1
    assert "`parts.flan`" in found[0]
    for word in words:
        assert word in found[0]


def test_an_empty_mapping_and_several_problems_at_once() -> None:
    assert "is empty" in next(iter(problems({})))
    assert len(list(problems({"a": {"row": 1}, "b": 2, "c": {"rows": 1}}))) == 2


def test_a_part_reads_as_it_was_asked() -> None:
    assert str(Part("x", "rows", Fraction(89982))) == "rows 89,982"
    assert str(Part("x", "rows", Fraction(240), 10)) == "rows 240 x 10"
    assert str(Part("x", "fraction", Fraction(1, 256))) == "fraction 0.00390625"
