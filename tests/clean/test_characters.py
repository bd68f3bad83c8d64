"""Character shares: bit for bit those of the regular expressions."""

from __future__ import annotations

import re
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.rows import Rows
from sftrecipe_clean import characters as module
from sftrecipe_clean.characters import KINDS, Characters, character_counts

LETTERS, ALNUM, DIGITS, CJK = re.compile(r"[^\W\d_]"), re.compile(r"[^\W_]"), re.compile(r"\d"), re.compile(r"[\u4e00-\u9fff]")


def reference(text: str) -> list[int]:
    found = [len(pattern.findall(text)) for pattern in (LETTERS, ALNUM, DIGITS)]
    return [len(text), *found, sum(ord(c) > 127 for c in text), len(CJK.findall(text))]


def bound(texts: list[str | None], **params) -> dict:
    operator = Characters(text="response", **params)
    operator.text = pl.col("response")
    return dict(operator.keep(Rows(pl.DataFrame({"response": texts}, schema={"response": pl.String}))))


def code_of(kept: dict, row: int = 0) -> str | None:
    """What the interpreter would tell: the first code whose mask is false or null."""
    for code, item in kept.items():
        value = (item[0] if isinstance(item, tuple) else item)[row]
        if value is not True:
            return "undefined" if value is None else code
    return None


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=10))
def test_counts_are_those_of_the_expressions(texts):
    counts = character_counts(pl.Series(texts, dtype=pl.String))
    assert counts.shape == (len(texts), len(KINDS))
    assert counts.tolist() == [reference(text or "") for text in texts]


def test_every_character_is_classified_as_the_expressions_do():
    characters = "".join(chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000)
    texts = [characters[at : at + 50] for at in range(0, len(characters), 50)]
    counts = character_counts(pl.Series(texts))
    for kind, pattern in ((1, LETTERS), (2, ALNUM), (3, DIGITS), (5, CJK)):
        assert counts[:, kind].tolist() == [len(pattern.findall(text)) for text in texts]


def test_blocks_do_not_show(monkeypatch):
    texts = pl.Series([f"é1 a_{i}中" * (i % 9) for i in range(80)] + [None])
    whole = character_counts(texts).tolist()
    monkeypatch.setattr(module, "_BLOCK", 50)
    assert character_counts(texts).tolist() == whole


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
def test_shares_and_decisions_of_w1(texts):
    kept = bound(texts)
    special = [1 - len(LETTERS.findall(t)) / len(t) for t in texts]
    alnum = [len(ALNUM.findall(t)) / len(t) for t in texts]
    assert kept["special_characters"][1].tolist() == special
    assert kept["few_alphanumeric"][1].tolist() == alnum
    assert kept["special_characters"][0].to_list() == [s <= 0.4 for s in special]
    assert kept["few_alphanumeric"][0].to_list() == [a >= 0.6 for a in alnum]


@pytest.mark.parametrize(
    ("text", "params", "code"),
    [
        ("plain words only", {}, None),
        ("", {}, "empty"),
        (None, {}, "undefined"),
        ("?!?! ab", {}, "special_characters"),
        ("a b c d e", {"max_special": None}, "few_alphanumeric"),
        ("call 5550199", {"max_digits": 0.5, "max_special": None}, "many_digits"),
        ("déjà vu", {"max_non_ascii": 0.2}, "many_non_ascii"),
        ("some words and 中文", {"max_cjk": 0.05}, "many_cjk"),
        ("some words and some more of them, which dilute it: 中", {"max_cjk": 0.05}, None),
    ],
)
def test_codes(text, params, code):
    assert code_of(bound([text], **params)) == code


def test_bounds_are_inclusive():
    assert code_of(bound(["abcde1"], max_special=1 - 5 / 6, min_alphanumeric=1.0)) is None


def test_needs_a_bound():
    assert list(Characters(max_special=None, min_alphanumeric=None).check()) != []
    assert list(Characters().check()) == []
