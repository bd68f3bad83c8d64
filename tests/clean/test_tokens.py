"""Tokens: letters, marks and digits, everything else apart."""

from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe_clean.tokens import plain, token_list, token_table
from sftrecipe_clean.words import word_table

# characters whose category no Unicode release changes
TEXTS = st.text("aZ09 _.-\n\t/=§é²ßÀा0’—\xa0٣", max_size=25)


def slow_tokens(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text)
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in text).lower().split()


@given(st.lists(st.one_of(st.none(), TEXTS), max_size=8))
def test_tokens_are_runs_of_letters_marks_and_numbers(texts: list[str | None]) -> None:
    found = plain(pl.Series(texts, dtype=pl.String))
    assert [t.lower().split() for t in found.to_list()] == [slow_tokens(t or "") for t in texts]
    assert token_table(pl.Series(texts, dtype=pl.String)).counts.tolist() == [len(slow_tokens(t or "")) for t in texts]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Natalia sold 48/2 = <<24>> clips.", "natalia sold 48 2 24 clips"),
        ("don't_stop", "don t stop"),
        ("今天3点，见。", "今 天 3 点 见"),
        ("ÀÉ-ß", "àé ß"),
        ("", ""),
        ("?!", ""),
        ("\uff33\uff4f\uff4c\uff44 \uff14\uff18\uff0f\uff12", "sold 48 2"),
        ("cafe\u0301", "caf\u00e9"),
        ("tu\u00adlips\ufeff", "tulips"),
    ],
)
def test_examples(text: str, tokens: str) -> None:
    assert token_list(text) == tokens.split()
    assert token_table(pl.Series([text])).hashes.tolist() == word_table(pl.Series([tokens])).hashes.tolist()
