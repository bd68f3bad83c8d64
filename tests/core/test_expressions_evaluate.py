"""`when:` and `expect:`: expressions over a few values, without polars."""

from __future__ import annotations

import math

import pytest

from sftrecipe.expressions import BUILTIN, Argument, Counts, ExpressionError, Function, check, evaluate

NAMES = {
    "rows_in": 100, "rows_out": 90, "dropped": Counts(10, {"too_short": 7, "near_duplicate": 3}), "failed": Counts(0),
    "share": 0.1, "none": None, "nan": math.nan, "words": ["a", "b"], "on": True, "name": "x y",
    "params": {"size": 1000, "tags": ["a"], "fast": True, "mode": None, "deep": {"x": 2}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dropped <= 0.05 * rows_in", False),
        ("dropped.too_short + dropped.near_duplicate == dropped", True),
        ("dropped.never_seen == 0", True),
        ("failed == 0 and failed.timeout == 0", True),
        ("rows_out / rows_in > 0.5", True),
        ("rows_in == rows_out + dropped", True),
        ("params.fast and params.size >= 1000", True),
        ('"a" in params.tags', True),
        ("len(params.tags) + params.deep.x", 3),
        ("is_null(params.mode)", True),
        ("coalesce(params.mode, 'x')", "x"),
        ("rows_in / 0", None),
        ("none > 3", None),
        ("none > 3 and false", False),
        ("none > 3 or true", True),
        ("nan == nan", None),
        ("1 if none == 3 else 2", None),
        ("words(name) > 1 and on", True),
        ("max(rows_in, 7) * 2", 200),
        ("9000000000000000000 * 2", None),
        ("rows_in % 7 - -1", 3),
        ("-rows_in % 7", 5),
        ('"a" in words and not any(words == "z")', True),
        ("words[0] + words[-1]", "ab"),
        ("is_null(words[5])", True),
        ("bucket(name, 1)", 0),
        ("rows_in not in [1, 2]", True),
        ("rows_in in [dropped, 100]", True),
        ("1 < share <= 3", False),
        ('contains(name, "y", none)', True),
        ("round(2.5) == 2", True),
    ],
)
def test_values(text, expected):
    assert evaluate(text, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("droped > 3", "R520", "droped"),
        ("rows_in.too_short > 3", "R514", "rows_in.too_short"),
        ("params.sise > 3", "R522", "sise"),
        ("rows_in > 'x'", "R525", "rows_in > 'x'"),
        ("turns() > 3", "R532", "turns"),
        ("rows_in >", "R501", ">"),
    ],
)
def test_refusals(text, code, shown):
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, NAMES)
    assert (caught.value.code, text[caught.value.start : caught.value.end]) == (code, shown)


def test_what_is_wanted():
    assert evaluate("none", {"none": "true"}, columns={"none": "any"}, want="bool") is True
    with pytest.raises(ExpressionError) as caught:
        evaluate("rows_in", NAMES, want="bool")
    assert caught.value.code == "R526"


def test_functions_that_need_rows():
    loud = Function("loud", "Loud.", (Argument("text", "text"),), "text", lambda x: x.str.to_uppercase())
    with pytest.raises(ExpressionError) as caught:
        evaluate("1 if on else len(loud(name))", NAMES | {"on": False}, functions={**BUILTIN, "loud": loud})
    assert (caught.value.code, caught.value.start, caught.value.end) == ("R532", 17, 21)


def test_expectations_are_checked_before_the_run():
    columns = {"rows_in": "int", "rows_out": "int", "dropped": "counts", "failed": "counts"}
    assert str(check("dropped.too_short <= 0.1 * rows_in", columns, want="bool").type) == "bool"
    with pytest.raises(ExpressionError):
        check("rows_in.too_short > 1", columns)


def test_parts_of_counts_may_come_as_keys_with_a_dot():
    names = {"rows_in": 9, "dropped": 3, "dropped.too_short": 2, "dropped.x": 0, "params": {"most": 2}}
    assert (
        evaluate("dropped.too_short <= params.most and dropped == 3 and dropped.other + dropped.x == 0", names) is True
    )
    assert evaluate("dropped", {"dropped.a": 2, "dropped.b": 3}) == 5


def test_counts_are_whole_numbers():
    counts = Counts(10, {"a": 7})
    assert counts + 1 == 11
    assert counts.codes == {"a": 7}
    assert Counts(3).codes == {}
