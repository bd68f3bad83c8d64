"""Texts as plain tokens, for looking one text up in another: lower-cased runs of letters, marks and digits.

All else (white space, punctuation, symbols, `_`) parts tokens, and a character of a script written without spaces is a
token of its own. So `Natalia sold 48/2 = 24 clips.` and `NATALIA SOLD 48 2 24 CLIPS` have the same six tokens. The set
of separators follows the Elasticsearch analyzer of Tulu 3 (space . , ? ! : ; ( ) " - newline backslash), widened to
everything that is no letter, mark or number. Characters beyond ASCII are brought to one form first (NFKC): full-width
letters are letters, `e` and an accent are one character; soft hyphens and other marks without width are left out.

`plain` replaces separators by blanks, on the bytes for ASCII (a few comparisons, 0.1 microseconds a kB) and with a
regular expression for rows that hold other characters; `words.word_table` then lowers, splits and hashes.
"""

from __future__ import annotations

from sftrecipe.lazy import np, pa, pl
from sftrecipe_clean.shingles import spaced
from sftrecipe_clean.texts import is_ascii, utf8
from sftrecipe_clean.words import WordTable, word_table

__all__ = ["plain", "token_list", "token_table"]

_SEPARATORS = r"[^\p{L}\p{M}\p{N}]+"
_WIDTHLESS = r"[\x{ad}\x{200c}\x{200d}\x{2060}\x{feff}]"


def plain(texts: pl.Series) -> pl.Series:
    """`texts` with a blank for every separator and around characters of unspaced scripts. A null becomes empty."""
    beyond = np.flatnonzero(~is_ascii(texts))
    if len(beyond):
        one_form = texts.gather(beyond).str.normalize("NFKC").str.replace_all(_WIDTHLESS, "")
        texts = spaced(texts.clone().scatter(beyond, one_form.str.replace_all(_SEPARATORS, " ")))
    data, offsets = utf8(texts)
    letter = ((data | np.uint8(32)) - np.uint8(97)) < 26
    letter |= (data - np.uint8(48)) < 10
    letter |= data >= 128
    made = np.where(letter, data, np.uint8(32))
    array = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(made))
    return pl.Series(array)


def token_table(texts: pl.Series) -> WordTable:
    """The tokens of each text, hashed. A null has none."""
    return word_table(plain(texts))


def token_list(text: str) -> list[str]:
    """The tokens of one text, in order."""
    return str(plain(pl.Series([text], dtype=pl.String))[0]).lower().split()
