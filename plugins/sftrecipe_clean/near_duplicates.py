"""`filter.near_duplicates`: of rows whose texts are almost the same, one stays.

`method: minhash` (Broder 1997; Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better", 4.2)
    1. A text is the set of its runs of n words (`shingles`), sketched in `permutations` cells (`minhash`).
    2. Texts that share the key of a band are candidates: a pair with Jaccard similarity J is one with chance
       1 - (1 - J^(permutations / bands))^bands: with 128 and 16 0.95 at J = 0.8, above 0.999 at 0.9, but 0.61 at 0.7.
       Without `bands`, 16 are taken, or the next number that divides `permutations` and finds a pair at the threshold
       with chance 0.94: with 128, 16 from 0.8 on, 32 from 0.54, 64 from 0.21.
    3. `verify: true` computes the Jaccard similarity of candidate pairs from the whole sets (`links`, `set_store`);
       those at or above `threshold` are joined. `verify: false` joins all candidates, as most published pipelines do;
       `threshold` has no say then (16 bands where none are given).
`method: ratio` (OpenThoughts 2025: rapidfuzz.fuzz.ratio >= 95)
    Pairs whose characters agree to `threshold`: 2 * LCS / (characters of both), upper and lower case distinct. Exact
    and complete: q-gram prefix filters (`ratio`) find every pair there is. Made for short texts (questions) and
    thresholds from 0.9; below, filters are weak and time grows with the square of the rows.

`scope: component` groups rows by connected components and keeps one of each: of a chain a ~ b ~ c one stays although a
and c may differ by more than the threshold. `scope: kept` lets a row go only if it is a near duplicate of a row that
stays.

Cost, minhash: 45 microseconds a row of 1 kB, of which 30 are done shard by shard. Memory on the driver 300 bytes a row;
sets lie in the scratch folder, 4 bytes a shingle and 128 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Filter, Param
from sftrecipe.lazy import np, pl
from sftrecipe_clean.duplicates import (
    columns_read,
    keep_problems,
    licenses_apart,
    text_column,
    warn_of_licenses,
    worth_of,
)
from sftrecipe_clean.groups import kept_of_group, kept_of_pairs, preference
from sftrecipe_clean.links import Links, buckets
from sftrecipe_clean.minhash import band_keys, meeting_chance, sketch
from sftrecipe_clean.ratio_pairs import TextRatio, TextReader, gram_buckets, gram_prefixes, tally_of_some
from sftrecipe_clean.set_store import SetStore, write_sets
from sftrecipe_clean.shingles import bitmaps, distinct, pieces, shingles

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["NearDuplicates", "enough_bands", "sketched"]

_DEFAULT_THRESHOLD = {"minhash": 0.8, "ratio": 0.95}
_LEAST_RATIO = 0.8
_LARGE_GROUP = 1000
_FEWEST_BANDS, _CHANCE = 16, 0.94


class NearDuplicates(Filter):
    """Of rows whose texts are almost the same, keep one; the others go with the code `near_duplicate`.

    Each row that goes names the row that stays, and the highest similarity that was measured between it and another
    row of its group (`scope: kept`: between it and the row that stays; `verify: false`: none). A row without words
    stays.
    """

    version: ClassVar[int] = 2
    source: ClassVar[str] = "Broder 1997; Lee et al. 2022 (minhash); OpenThoughts 2025 (ratio)"
    reads: ClassVar[Sequence[str]] = ("license",)
    artefacts: dict[str, Any]

    wants: ClassVar[Mapping[str, str]] = {"by": "text"}
    threshold: float | None = Param(
        None, gt=0, le=1, doc="Least similarity of near duplicates. Null: 0.8 (minhash), 0.95 (ratio)."
    )
    method: Literal["minhash", "ratio"] = Param(
        "minhash", doc="Jaccard similarity of word n-grams, or agreement of characters."
    )
    by: Expr = Param("conversation", doc="The text that is compared.")
    n: int = Param(5, ge=1, doc="Words in a shingle (minhash).")
    permutations: int = Param(128, ge=1, le=4096, doc="Cells of a sketch (minhash).")
    bands: int | None = Param(
        None, ge=1, doc="Bands of a sketch; more find more candidates (minhash). Null: enough for the threshold."
    )
    verify: bool = Param(
        True, doc="Join only pairs whose similarity, computed exactly, reaches the threshold (minhash)."
    )
    scope: Literal["component", "kept"] = Param(
        "component", doc="Chains count as one group, or: go only for a row that stays."
    )
    keep: Literal["first", "longest", "best", "strictest"] = Param(  # type: ignore[assignment]
        "first", doc="Which row of a group stays; of equals the first. `strictest`: by licence."
    )
    score: Column | None = Param(None, doc="With `keep: best`: the column whose highest value stays.")

    def check(self) -> Iterable[str]:
        """Parameters that do not go together."""
        given = self.params
        yield from keep_problems(given["keep"], given["score"])
        if given["bands"] and given["permutations"] % given["bands"]:
            yield f"`permutations` ({given['permutations']}) must be a multiple of `bands` ({given['bands']})"
        if given["method"] == "ratio" and _threshold(given) < _LEAST_RATIO:
            yield f"`method: ratio` needs a threshold of at least {_LEAST_RATIO}; below, use `method: minhash`"
        if given["scope"] == "kept" and not given["verify"]:
            yield "`scope: kept` needs `verify: true`"

    def choose(self, data: Dataset) -> Choice:
        """All but the preferred row of each group go."""
        if not len(data):
            return Choice(np.zeros(0, np.int64))
        links, lengths = self._by_sketch(data) if self.params["method"] == "minhash" else self._by_ratio(data)
        rank = preference(len(data), worth_of(data, self.params["keep"], self.params["score"], lengths))
        a, b, value = links.edges()
        if self.params["scope"] == "kept":
            kept, alike = kept_of_pairs(a, b, value, rank)
        else:
            kept, alike = kept_of_group(links.labels, rank), _nearest(len(data), a, b, value)
        stays = kept == np.arange(len(data))
        gone = np.flatnonzero(~stays)
        self._tell(links, len(a), len(gone))
        apart = licenses_apart(data, gone, kept)
        warn_of_licenses(apart, self.context.log)
        self.artefacts["licenses"] = apart
        return Choice(np.flatnonzero(stays), [Dropped(gone, "near_duplicate", kept[gone], alike[gone])])

    def _by_sketch(self, data: Dataset) -> tuple[Links, Floats]:
        given, folder = self.params, self.context.scratch
        threshold = _threshold(given)
        bands = given["bands"] or enough_bands(given["permutations"], threshold if given["verify"] else 1.0)
        settings = (
            given["n"],
            given["permutations"],
            bands,
            str(folder) if given["verify"] else None,
            self.name,
        )
        made = data.map(sketched, self.by, *settings, columns=columns_read(self.by))
        facts = made.frame("row", "first", "members", "length")
        sizes = facts["members"].to_numpy().astype(np.int64)
        lengths = facts["length"].to_numpy().astype(np.float64)
        measure = (
            SetStore(folder, np.unique(facts["first"].to_numpy()).astype(np.int64), sizes, threshold)
            if given["verify"]
            else None
        )
        links = Links(len(data), threshold, measure, joined=given["scope"] == "component")
        rank = preference(len(data), worth_of(data, given["keep"], given["score"], lengths))
        there = np.flatnonzero(sizes > 0)
        for band in range(bands):
            keys = made.frame(f"band{band}").to_series().to_numpy()[there]
            if measure is None:
                links.unchecked(*buckets(keys, there, rank))
            elif given["scope"] == "kept":
                links.to_leaders(*buckets(keys, there, rank))
            else:
                links.within_groups(*buckets(keys, there, sizes), sizes, threshold)
            self.context.progress(band + 1, bands)
        return links, lengths

    def _by_ratio(self, data: Dataset) -> tuple[Links, Floats]:
        threshold = _threshold(self.params)
        reading = TextReader(data, self.by, self.name)
        table = tally_of_some(reading, len(data), threshold)
        made = data.map(gram_prefixes, self.by, threshold, table, self.name, columns=columns_read(self.by))
        index = made.frame("row", "length", "prefix", "bits", "letters")
        measure = TextRatio(index, reading, threshold)
        links = Links(len(data), threshold, measure, joined=self.params["scope"] == "component", repeats=True)
        for members, bucket in gram_buckets(index, threshold):
            links.within_groups(members, bucket, measure.lengths, threshold / (2 - threshold), limit=len(data))
        return links, measure.lengths.astype(np.float64)

    def _tell(self, links: Links, pairs: int, gone: int) -> None:
        """The step's artefacts `report` and `sizes`, and a word in the log about very large groups and buckets."""
        counts = np.bincount(np.bincount(links.labels))
        at = np.flatnonzero(counts[2:]) + 2
        largest = int(at[-1]) if len(at) else 1
        self.artefacts = {
            "report": {
                "rows": len(links.labels),
                "dropped": gone,
                "groups": int(counts[2:].sum()),
                "largest_group": largest,
                "pairs_measured": links.measured,
                "pairs_joined": pairs,
                "oversized_buckets": links.oversized,
            },
            "sizes": pl.DataFrame({"group_size": at, "groups": counts[at]}),
        }
        if largest >= _LARGE_GROUP:
            self.context.log.warning(
                "the largest group of near duplicates has %d rows: look at it before you trust it", largest
            )
        if links.oversized:
            self.context.log.info("%d buckets were too large to compare all of their pairs", links.oversized)


def _threshold(params: dict[str, Any]) -> float:
    given = params["threshold"]
    return float(_DEFAULT_THRESHOLD[params["method"]] if given is None else given)


def enough_bands(permutations: int, threshold: float) -> int:
    """The bands that are taken where none are given: 16, or as many more as find a pair at the threshold."""
    cuts = [b for b in range(1, permutations + 1) if permutations % b == 0]
    wide = [b for b in cuts if b >= _FEWEST_BANDS] or cuts[-1:]
    return next((b for b in wide if meeting_chance(threshold, permutations, b) >= _CHANCE), wide[-1])


def _nearest(rows: int, a: Ints, b: Ints, value: Floats) -> Floats:
    """The highest similarity measured for each row; NaN where none was."""
    best = np.full(rows, -1.0)
    for end in (a, b):
        np.maximum.at(best, end, np.nan_to_num(value, nan=-1.0))
    return np.where(best >= 0, best, np.nan)


def sketched(
    frame: pl.DataFrame, by: Any, n: int, size: int, bands: int, folder: str | None, step: str
) -> pl.DataFrame:
    """row, first (row of the shard), members (shingles, each once), length (characters), band0.. of a shard's rows.

    With `folder`, the sets of the shard are written there (`set_store`).
    """
    texts = text_column(frame, by, step)
    keys = np.zeros((len(texts), bands), np.uint64)
    sizes = np.zeros(len(texts), np.int64)
    members, bits = [np.zeros(0, np.uint32)], [bitmaps(np.zeros(0, np.uint32), sizes[:0])]
    for start, stop in pieces(texts):
        hashes, offsets = shingles(texts[start:stop], n)
        keys[start:stop] = band_keys(sketch(hashes, offsets, size), bands)
        found, sizes[start:stop] = distinct(hashes, offsets)
        if folder:
            members.append(found)
            bits.append(bitmaps(found, sizes[start:stop]))
    first = int(frame["row"][0]) if len(frame) else 0
    if folder and len(frame):
        write_sets(Path(folder), first, np.concatenate(members), np.concatenate(bits))
    made = pl.DataFrame({
        "row": frame["row"],
        "first": pl.Series([first], dtype=pl.Int64).new_from_index(0, len(frame)),
        "members": sizes.astype(np.uint32),
        "length": texts.str.len_chars().fill_null(0),
    })  # fmt: skip
    return made.with_columns(pl.Series(f"band{k}", np.ascontiguousarray(keys[:, k])) for k in range(bands))
