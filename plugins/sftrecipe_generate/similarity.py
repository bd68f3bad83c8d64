"""How alike two texts are in order of their words: ROUGE-L's F, by our own longest common subsequence.

    F(a, b) = 2 LCS(a, b) / (|a| + |b|)          over words; symmetric, 1 for equal texts, 0 without a common word

Words are runs of letters and digits, case folded; each Chinese, Japanese or Korean character is a word, so that texts
without blanks are compared too. LCS is computed over bits (Crochemore et al. 2001, Hyyro 2004): O(|a| |b| / w) with
machine words of w bits. Upper bounds by length and by common words rule most pairs out before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["Gate", "lcs", "rouge_l", "tokens"]

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def tokens(text: str) -> list[str]:
    """The words of a text."""
    return WORD.findall(text.casefold())


def lcs(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    masks: dict[str, int] = {}
    for at, word in enumerate(a):
        masks[word] = masks.get(word, 0) | (1 << at)
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        match = masks.get(word, 0)
        row = ((row + (row & match)) | (row & ~match)) & full
    return len(a) - row.bit_count()


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """2 LCS / (|a| + |b|); 0 where both are empty."""
    return 2 * lcs(a, b) / (len(a) + len(b)) if a or b else 0.0


class Gate:
    """Texts let in so far; a new one passes if it is not too like any of them."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._known: list[tuple[list[str], Counter[str]]] = []

    def add(self, text: str) -> None:
        """Lets a text in without looking."""
        words = tokens(text)
        self._known.append((words, Counter(words)))

    def nearest(self, text: str) -> tuple[float, int]:
        """(F, number of the text) of a text above the threshold, the first one; (0, -1) where none is."""
        words = tokens(text)
        bag = Counter(words)
        for at, (known, known_bag) in enumerate(self._known):
            total = len(words) + len(known)
            need = self._threshold * total / 2
            if min(len(words), len(known)) <= need or sum((bag & known_bag).values()) <= need:
                continue  # the common subsequence is no longer than either text, or than what they share
            if 2 * lcs(words, known) > self._threshold * total:
                return rouge_l(words, known), at
        return 0.0, -1
