"""filter.answer_style: each of LIMA's rules, what is no offence, and how codes are ordered."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import Rows
from sftrecipe_clean.answer_style import AnswerStyle


def verdicts(texts: list[str | None], **params: Any) -> list[str | None]:
    """The first code whose mask is false, `undefined` for null, None for a row that stays: how masks are read."""
    op = AnswerStyle(**params)
    op.text = pl.col("response")  # type: ignore[assignment]
    masks = op.keep(Rows(pl.DataFrame({"response": texts}, schema={"response": pl.String})))
    made: list[str | None] = []
    for row in range(len(texts)):
        values = {code: mask[row] for code, (mask, _) in masks.items()}
        made.append(next((c if v is False else "undefined" for c, v in values.items() if v is not True), None))
    return made


def test_the_window_includes_both_ends() -> None:
    texts = ["\u6c34" * n for n in (1199, 1200, 4096, 4097)]
    assert verdicts(texts) == ["too_short", None, None, "too_long"]


@pytest.mark.parametrize(
    ("chars", "expected"),
    [(None, [None, None]), (3, ["too_short", None]), ([None, 3], [None, "too_long"]), ([2, 4], [None, None])],
)
def test_the_window_can_be_open(chars: Any, expected: list[str | None]) -> None:
    assert verdicts(["ab", "abcd"], chars=chars) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("I think so.", "first_person"),
        ("Well, I\u2019d try that.", "first_person"),
        ("In my view it holds.", "first_person"),
        ("That taught me a lot", "first_person"),
        ("\u6211\u89c9\u5f97\u5f88\u597d", "first_person"),
        ("World War I ended in 1918.", None),
        ("I. Introduction\nII. Method", None),
        ("Slow I/O is the cause, with `for i in I` in code.", None),
        ("```\nmy_list = [I]\nmy = I\n```\nshows it", None),
        ("The army of Mysore met with the enemy in Miami.", None),
        ("\u6211\u4eec\u53d1\u73b0\u81ea\u6211\u8ba4\u8bc6\u5f88\u91cd\u8981", None),
        ("As mentioned, boil it.", "cross_reference"),
        ("As already mentioned by others, boil it.", "cross_reference"),
        ("As noted by Anna, boil it.", "cross_reference"),
        ("Unlike the other answers, boil it.", "cross_reference"),
        ("See the answer above.", "cross_reference"),
        ("Building on Anna's answer: boil it.", "cross_reference"),
        ("Ask on Stack Exchange instead.", "cross_reference"),
        ("@anna is right.", "cross_reference"),
        ("The OP wants tea.", "cross_reference"),
        ("Please upvote.", "cross_reference"),
        ("\u697c\u4e0a\u8bf4\u5f97\u5bf9", "cross_reference"),
        ("The answer is four. Other numbers fail, as noted.", None),
        ("Write to anna@example.org for the OPERA tickets.", None),
        ("A <b>bold</b> claim", "markup"),
        ("One<br/>two", "markup"),
        ('<a href="x">this</a>', "markup"),
        ("see https://example.org/page", "markup"),
        ("see [the page](page.html)", "markup"),
        ("![figure](f.png)", "markup"),
        ("a &nbsp; b", "markup"),
        ("<ul><li>one</li></ul>", None),
        ("use `<div>` or\n```html\n<p>text</p> https://example.org\n```\nhere", None),
        ("<pre>a <b>b</b></pre> stays", None),
        ("if a <b and c> d then List<String> is fine", None),
        ("x[1](2", None),
    ],
)
def test_rules(text: str, code: str | None) -> None:
    assert verdicts([text], chars=None) == [code]


@pytest.mark.parametrize("rule", ["first_person", "cross_reference", "markup"])
def test_each_rule_can_be_switched_off(rule: str) -> None:
    texts = {"first_person": "I see", "cross_reference": "as mentioned", "markup": "<b>x</b>"}
    assert verdicts([texts[rule]], chars=None) == [rule]
    assert verdicts([texts[rule]], chars=None, **{rule: False}) == [None]


def test_the_first_rule_broken_is_the_reason_and_values_are_counts() -> None:
    assert verdicts(["I saw, as mentioned, <b>my</b> I"]) == ["too_short"]
    assert verdicts(["I saw, as mentioned, <b>my</b> I"], chars=None) == ["first_person"]
    op = AnswerStyle(chars=[1, 5])
    op.text = pl.col("response")  # type: ignore[assignment]
    found = op.keep(Rows(pl.DataFrame({"response": ["I and my dog"]})))
    assert {code: values.to_list() for code, (_, values) in found.items()} == {
        "too_short": [12], "too_long": [12], "first_person": [2], "cross_reference": [0], "markup": [0],
    }  # fmt: skip


def test_null_and_empty_texts() -> None:
    assert verdicts([None, ""]) == ["undefined", "too_short"]
    assert verdicts([None, ""], chars=None) == ["undefined", None]
    assert verdicts([]) == []


@pytest.mark.parametrize(
    "params",
    [
        {"chars": [5, 2]},
        {"chars": [-1, 2]},
        {"chars": None, "first_person": False, "cross_reference": False, "markup": False},
    ],
)
def test_parameters_that_cannot_be(params: dict[str, Any]) -> None:
    assert AnswerStyle(**params).check()


def test_the_defaults_are_sound() -> None:
    assert AnswerStyle().check() == []


@given(st.lists(st.text(alphabet="I my@<b>`\n[](x)\u6211 as mentioned", max_size=30), max_size=8), st.integers(0, 8))
def test_a_verdict_does_not_depend_on_the_batch(texts: list[str], at: int) -> None:
    assert verdicts(texts[:at], chars=None) + verdicts(texts[at:], chars=None) == verdicts(texts, chars=None)
