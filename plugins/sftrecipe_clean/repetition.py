"""filter.repetition: texts that say the same thing again and again.

Four methods, each a published rule.

ngram      Share of the word n-grams that occur more than once in the text (Data-Juicer's word_repetition_filter).
           Words are `text.lower().split()`. With T = words - n + 1 n-grams: share = sum of the counts above one / T,
           and 0 when T < 2. `max_count` bounds the count of the most frequent n-gram instead (AM-Thinking: n 20, more
           than 20 times).
paragraph  Olmo 3: how often the most frequent paragraph occurs (blank lines between, stripped, at least 10 characters).
sentence   Olmo 3: the same for sentences (cut at . ! ? and their full-width forms, at least 5 characters and two
           words), in all and in a row.
suffix     Does the text end in a loop? Of the last `window` words, the largest share over periods p up to window / 3
           of words equal to the word p before (after Nemotron's suffix rule: 0.82 over 50 words).

Olmo's limits are multiplied by 2 for a block that holds code or mathematics, by 3 when the text holds a list, by 4
for a paragraph of several lines; the largest factor counts. Deviation: its lists of stock phrases, imports and
transition words, which never count, are left out.

Cost for 1 kB: ngram and suffix 6 microseconds to hash the words (shared with other operators) and 2 on the hashes;
sentence 18, paragraph 4. The n-gram rule first bounds each row from above on word hashes (`repeat_bounds`); only rows
whose bound is over the limit are counted, in plain Python on the words themselves. So decisions and values are those
of the definition, and few rows pay for it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Expr, Filter, Param
from sftrecipe.lazy import np, pl
from sftrecipe_clean.texts import blocks, mask_of, row_counts, starts_of, text_of
from sftrecipe_clean.words import WordTable, ngrams, shared_words

if TYPE_CHECKING:
    import numpy.typing as npt

    from sftrecipe.rows import Rows

    Ints = npt.NDArray[np.int64]
    Hashes = npt.NDArray[np.uint64]
    Bools = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

__all__ = [
    "Repetition",
    "block_repeats",
    "count_bounds",
    "overwritten",
    "paragraphs",
    "repeat_bounds",
    "repetition",
    "sentences",
    "suffix_shares",
]

_CHUNK, _SLOT_BITS = 1 << 15, 18  # n-grams at a time, and their slots: 1 MB
_ODD = 0x9E3779B97F4A7C15
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")
_SENTENCE_END = re.compile(r"[.!?。！？]+")  # noqa: RUF001  (full-width marks are meant)
_LIST_LINE = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
_FORMULA = re.compile(r"[=+*/^{}<>\[\]|&~@#$%\\]|\w\(|\d\s*-\s*\d")


def repetition(text: str, n: int) -> tuple[float, int]:
    """(share of n-grams that occur more than once, count of the most frequent n-gram), in plain Python."""
    words = text.lower().split()
    total = len(words) - n + 1
    if total < 2:
        return 0.0, max(total, 0)
    counts = Counter(zip(*[words[i:] for i in range(n)], strict=False))
    return sum(c for c in counts.values() if c > 1) / total, max(counts.values())


def overwritten(hashes: Hashes, offsets: Ints) -> Bools:
    """Which hashes lose their slot to another of their row: all but one of each set of equal ones, and some by chance
    (6 %).

    Every hash writes its place into a slot of a small table, chosen by the hash and its row, and reads it back.
    Chunks of whole rows keep the table in the processor's cache, which makes this six times faster than sorting.
    """
    lost = np.zeros(len(hashes), bool)
    for low, high in blocks(offsets, _CHUNK):
        part = slice(offsets[low], offsets[high])
        size = int(offsets[high] - offsets[low])
        # equal hashes of different rows part ways
        row = np.repeat(np.arange(high - low, dtype=np.uint64) * _ODD, np.diff(offsets[low : high + 1]))
        bits = max(_SLOT_BITS, size.bit_length() + 2)  # more for one very long row
        slot = ((hashes[part] + row) >> np.uint64(64 - bits)).astype(np.int64)
        place = np.arange(size, dtype=np.int32)
        winner = np.empty(1 << bits, np.int32)
        winner[slot] = place
        np.not_equal(winner[slot], place, out=lost[part])
    return lost


def repeat_bounds(table: WordTable, n: int) -> tuple[Ints, Ints]:
    """(n-grams of each row, an upper bound on how many of them occur more than once): int64 [rows] each.

    Of k equal n-grams k - 1 are overwritten, and k <= 2 (k - 1).
    """
    grams, offsets = ngrams(table, n)
    return np.diff(offsets), 2 * row_counts(overwritten(grams, offsets), offsets)


def count_bounds(table: WordTable, n: int) -> Ints:
    """An upper bound on the count of each row's most frequent n-gram: int64 [rows].

    Of k equal n-grams k - 1 are overwritten, and k - 2 of these again in a second round, which few chance collisions
    outlive.
    """
    grams, offsets = ngrams(table, n)
    lost = overwritten(grams, offsets)
    offsets = starts_of(row_counts(lost, offsets))
    again = overwritten(grams[lost] * _ODD, offsets)
    return 2 + row_counts(again, offsets)


def suffix_shares(table: WordTable, window: int) -> Floats:
    """How much of each text's last `window` words is a loop: float64 [rows], 0 for shorter texts."""
    ends = table.offsets[1:]
    long = np.flatnonzero(table.counts >= window)
    shares = np.zeros(len(ends))
    if len(long):
        tail = table.hashes[ends[long, None] - np.arange(window, 0, -1)]
        periods = [(tail[:, p:] == tail[:, :-p]).mean(axis=1) for p in range(1, window // 3 + 1)]
        shares[long] = np.max(periods, axis=0)
    return shares


def paragraphs(text: str) -> list[str]:
    """The stripped paragraphs of a text that have at least 10 characters."""
    return [p for part in _BLANK_LINES.split(text) if len(p := part.strip()) >= 10]


def sentences(text: str) -> list[str]:
    """The stripped sentences of a text: at least 5 characters, and two words where words are separated by spaces."""
    found = (part.strip() for part in _SENTENCE_END.split(text))
    return [s for s in found if len(s) >= 5 and (" " in s or not s.isascii())]


def block_repeats(blocks: Sequence[str], total: int, row: int | None, factor: int) -> int:
    """The count of the first block that occurs too often, or 0.

    Too often is `total` times in all or `row` times in a row, each times `factor` or the block's own factor, the
    larger.
    """
    counts = Counter(blocks)
    if len(counts) == len(blocks) or max(counts.values()) < min(total, row or total):
        return 0
    runs: dict[str, int] = {}
    last, length = "", 0
    for block in blocks:
        last, length = block, length + 1 if block == last else 1
        runs[block] = max(runs.get(block, 0), length)
    for block, count in counts.items():
        times = max(factor, 2 if _FORMULA.search(block) else 1, 4 if row is None and "\n" in block else 1)
        if count >= total * times:
            return count
        if row is not None and runs[block] >= row * times:
            return runs[block]
    return 0


def list_factor(text: str) -> int:
    """3 for a text that holds a list of two items or more, else 1."""
    return 3 if len(_LIST_LINE.findall(text)) >= 2 else 1


class Repetition(Filter):
    """Drop texts that repeat themselves.

    Codes: `repeated_ngrams` (value: the share, or the count with `max_count`), `repeated_paragraphs` and
    `repeated_sentences` (value: how often), `repeated_suffix` (value: the share). A null text is `undefined`; an
    empty one is kept.
    """

    wants: ClassVar[Mapping[str, str]] = {"text": "text"}
    source = (
        "Data-Juicer word_repetition_filter; Olmo 3 (paragraph, sentence); AM-Thinking (max_count); Nemotron (suffix)"
    )

    method: Literal["ngram", "paragraph", "sentence", "suffix"] = Param("ngram", doc="Which rule.")
    n: int = Param(10, ge=1, doc="ngram: words in an n-gram.")
    max: float | None = Param(
        None,
        ge=0,
        le=1,
        doc="ngram, suffix: largest share kept. Null: 0.5 for ngram (none beside max_count), 0.82 for suffix.",
    )
    max_count: int | None = Param(None, ge=1, doc="ngram: how often the most frequent n-gram may occur.")
    window: int = Param(50, ge=4, doc="suffix: words at the end that are looked at; shorter texts are kept.")
    paragraphs: int = Param(10, ge=2, doc="paragraph: this many equal paragraphs are too many.")
    sentences: int = Param(40, ge=2, doc="sentence: this many equal sentences are too many.")
    consecutive: int = Param(4, ge=2, doc="sentence: this many in a row are too many.")
    text: Expr = Param("response", doc="The text that is looked at.")

    def check(self) -> list[str]:
        if self.params["max_count"] is not None and self.params["method"] != "ngram":
            return ["`max_count` belongs to `method: ngram`"]
        if self.params["max"] is not None and self.params["method"] in ("paragraph", "sentence"):
            return [f"`max` has no meaning for `method: {self.params['method']}`; set `{self.params['method']}s`"]
        return []

    def keep(self, rows: Rows) -> Mapping[str, Any]:
        texts = text_of(rows, self.text, self.name)
        if self.method == "ngram":
            return {"repeated_ngrams": self._ngrams(rows, texts)}
        if self.method == "suffix":
            shares = suffix_shares(self._words(rows), self.window)
            limit = 0.82 if self.max is None else self.max
            return {"repeated_suffix": (mask_of(shares <= limit, texts), shares)}
        found = self._blocks(texts)
        return {f"repeated_{self.method}s": (mask_of(found == 0, texts), found)}

    def _words(self, rows: Rows) -> WordTable:
        return shared_words(rows, self.text, str(self.params["text"]), self.name)

    def _ngrams(self, rows: Rows, texts: pl.Series) -> tuple[pl.Series, Floats]:
        limit = 0.5 if self.max is None and self.max_count is None else self.max
        suspect = np.zeros(len(texts), bool)
        if limit is not None:
            total, repeated = repeat_bounds(self._words(rows), self.n)
            suspect |= repeated / np.maximum(total, 1) > limit
        if self.max_count is not None:
            suspect |= count_bounds(self._words(rows), self.n) > self.max_count
        kept, values = np.ones(len(texts), bool), np.full(len(texts), np.nan)
        for row in np.flatnonzero(suspect).tolist():
            share, count = repetition(texts[row] or "", self.n)
            over = limit is not None and share > limit
            kept[row] = not over and (self.max_count is None or count <= self.max_count)
            values[row] = share if over or kept[row] else count
        return mask_of(kept, texts), values

    def _blocks(self, texts: pl.Series) -> Ints:
        total, row, cut = (
            (self.paragraphs, None, paragraphs)
            if self.method == "paragraph"
            else (self.sentences, self.consecutive, sentences)
        )
        found = np.zeros(len(texts), np.int64)
        for i, text in enumerate(texts.to_list()):
            if text:
                blocks = cut(text)
                if len(blocks) >= min(total, row or total):
                    found[i] = block_repeats(blocks, total, row, list_factor(text))
        return found
