"""`filter.duplicates`: of rows with the same text, one stays.

Two rows are equal when their texts have the same 128-bit BLAKE2b hash. Different texts meet with chance N^2 / 2^129
(1e-27 for a million rows), and to make two that do takes 2^64 tries, so texts are not compared again.

`normalize: text` compares texts after NFKC, lower case, punctuation to blanks and runs of white space to one blank. Of
Unicode punctuation (category P), `% # @ & * / \\ -` stay, so that `1/2` and `1*2` are two texts; `3.5` and `3,5` are
one.

Equal rows may come from sources under different licences. Then the row that stays carries its own licence only: the
step warns, and its artefact `licenses` counts such pairs. `keep: strictest` lets the row with the strictest licence
stay (`spdx.strictness`: no statement, then no commerce, no changes, share alike, attribution, public domain).

Hashes are made shard by shard; grouping sorts them on the driver. Cost: 2 microseconds for a text of 1 kB (normalised:
16), 24 bytes a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Choice, Column, Dataset, Dropped, Expr, Filter, Param, StepError
from sftrecipe.lazy import np, pl
from sftrecipe_clean.groups import kept_of_group, preference, runs
from sftrecipe_clean.spdx import canonical, strictness
from sftrecipe_clean.texts import is_ascii, utf8

if TYPE_CHECKING:
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = [
    "Duplicates",
    "columns_read",
    "equal_groups",
    "keep_problems",
    "licenses_apart",
    "warn_of_licenses",
    "normalized",
    "text_column",
    "text_hashes",
    "worth_of",
]

_UNSTATED = strictness(None)
_BETWEEN_WORDS = r"[\s\p{P}--[%#@&*/\\\-]]+"


def normalized(texts: pl.Series) -> pl.Series:
    """Texts as `normalize: text` compares them."""
    beyond = np.flatnonzero(~is_ascii(texts))
    composed = texts.clone().scatter(beyond, texts.gather(beyond).str.normalize("NFKC")) if len(beyond) else texts
    return composed.str.to_lowercase().str.replace_all(_BETWEEN_WORDS, " ").str.strip_chars()


def text_hashes(texts: pl.Series) -> Hashes:
    """uint64 [rows, 2]: BLAKE2b-128 of each text's UTF-8 bytes. A null counts as empty."""
    data, offsets = utf8(texts)
    view, cuts = data.data, offsets.tolist()
    digests = [hashlib.blake2b(view[a:b], digest_size=16).digest() for a, b in zip(cuts, cuts[1:], strict=False)]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def equal_groups(hashes: Hashes) -> Ints:
    """labels[row]: the smallest row with the same 128 bits."""
    labels = np.arange(len(hashes), dtype=np.int64)
    order = np.argsort(hashes[:, 0], kind="stable")
    starts, lengths = runs(hashes[order, 0])
    again = np.sort(order[np.repeat(lengths > 1, lengths)])  # few: only these need the other half
    order = again[np.lexsort((again, hashes[again, 1], hashes[again, 0]))]
    same = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    starts, lengths = runs(np.concatenate([[0], np.cumsum(~same)])[: len(order)])
    labels[order] = np.repeat(order[starts], lengths)
    return labels


def columns_read(expression: Any) -> list[str]:
    """The columns that a bound expression reads; `id` for a constant, as something must be read."""
    names = list(dict.fromkeys(expression.meta.root_names())) if isinstance(expression, pl.Expr) else []
    return names or ["id"]


def text_column(frame: pl.DataFrame, expression: Any, step: str) -> pl.Series:
    """A bound expression over a frame with `row`, as text. Numbers are written out; lists and structs are an error."""
    bound = expression if isinstance(expression, pl.Expr) else pl.lit(expression)
    values = frame.select("row", bound.alias("text"))["text"]
    if values.dtype.is_nested() or values.dtype == pl.Binary:
        raise StepError(f"`by` gives {values.dtype}, not text", step=step, help="name a text column, such as `query`")
    return values.cast(pl.String)


def keep_problems(keep: str, score: str | None) -> Iterable[str]:
    """What is wrong between `keep` and `score`."""
    if keep == "best" and score is None:
        yield "`keep: best` needs `score`, the column whose highest value stays"
    if keep != "best" and score is not None:
        yield f"`score` is used by `keep: best` only, not by `keep: {keep}`"


def worth_of(data: Dataset, keep: str, score: str | None, lengths: Floats) -> Floats | None:
    """What the rows of a group are ranked by; None for their order. Raises StepError when `score` holds no numbers."""
    if keep == "first":
        return None
    if keep == "strictest":
        stated = data.frame("license")["license"].cast(pl.String)
        known = {text: float(strictness(text)) for text in stated.unique().to_list()}
        return np.array([known[text] for text in stated.to_list()])
    if keep == "longest" or score is None:
        return lengths
    values = data.frame(score)[score]
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        raise StepError(f"`score` names `{score}`, which holds {values.dtype}, not numbers")
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def licenses_apart(data: Dataset, gone: Ints, kept: Ints) -> pl.DataFrame:
    """kept, dropped, rows: licences of rows that go and of those they go for (`kept[gone]`), where they are not one."""
    if "license" not in data.columns or not len(gone):
        return pl.DataFrame(schema={"kept": pl.String, "dropped": pl.String, "rows": pl.UInt32})
    stated = data.frame("license")["license"].cast(pl.String)
    one = {text: None if strictness(text) == _UNSTATED else canonical(text) for text in stated.unique().to_list()}
    named = stated.replace_strict(one, return_dtype=pl.String)
    pairs = pl.DataFrame({"kept": named.gather(kept[gone]), "dropped": named.gather(gone)})
    apart = pairs.filter(pl.col("kept").ne_missing(pl.col("dropped")))
    return apart.group_by("kept", "dropped").agg(pl.len().alias("rows")).sort("kept", "dropped")


def warn_of_licenses(apart: pl.DataFrame, log: Any) -> None:
    """A word about rows that go for a row under a less strict licence."""
    looser = [(kept, dropped, rows) for kept, dropped, rows in apart.rows() if strictness(kept) < strictness(dropped)]
    if looser:
        log.warning(
            "%d rows go for one under a less strict licence (%s): `keep: strictest` keeps the other, `filter.license` "
            "before this step drops it",
            sum(rows for _, _, rows in looser),
            ", ".join(f"{dropped or 'none stated'} for {kept}" for kept, dropped, _ in looser[:5]),
        )


class Duplicates(Filter):
    """Of rows with the same text, keep one; the others go with the code `duplicate` and name the row that stays.

    A row whose text is null is no duplicate of anything and stays. An empty text is a text.
    """

    source: ClassVar[str] = "exact deduplication by hash, as in nearly all published recipes"
    version: ClassVar[int] = 2
    reads: ClassVar[Sequence[str]] = ("license",)
    artefacts: dict[str, Any]

    wants: ClassVar[Mapping[str, str]] = {"by": "text"}
    by: Expr = Param("conversation", doc="The text that is compared; numbers are compared as written.", positional=True)
    normalize: Literal["none", "text"] = Param(
        "none", doc="`text`: compare after NFKC, lower case, punctuation and white space."
    )
    keep: Literal["first", "longest", "best", "strictest"] = Param(  # type: ignore[assignment]
        "first", doc="Which of the rows with one text stays; of equals the first. `strictest`: by licence."
    )
    score: Column | None = Param(None, doc="With `keep: best`: the column whose highest value stays.")

    def check(self) -> Iterable[str]:
        """`best` and `score` go together."""
        return keep_problems(self.params["keep"], self.params["score"])

    def choose(self, data: Dataset) -> Choice:
        """All but the preferred row of each group go."""
        if not len(data):
            return Choice(np.zeros(0, np.int64))
        made = data.map(_hashed, self.by, self.params["normalize"], self.name, columns=columns_read(self.by))
        found = made.frame("row", "high", "low", "length")
        rows = found["row"].to_numpy().astype(np.int64)
        lengths = np.zeros(len(data))
        lengths[rows] = found["length"].to_numpy()
        there = found["high"].is_not_null().to_numpy()
        known = rows[there]
        hashes = np.stack([found[half].to_numpy()[there] for half in ("high", "low")], axis=1).astype(np.uint64)
        labels = np.arange(len(data), dtype=np.int64)
        labels[known] = known[equal_groups(hashes)]
        kept = kept_of_group(
            labels, preference(len(data), worth_of(data, self.params["keep"], self.params["score"], lengths))
        )
        gone = np.flatnonzero(kept != np.arange(len(data)))
        apart = licenses_apart(data, gone, kept)
        warn_of_licenses(apart, self.context.log)
        self.artefacts = {"report": _report(labels, len(gone), int((~there).sum())), "licenses": apart}
        return Choice(np.flatnonzero(kept == np.arange(len(data))), [Dropped(gone, "duplicate", kept[gone])])


def _hashed(frame: pl.DataFrame, by: Any, normalize: str, step: str) -> pl.DataFrame:
    """row, the two halves of the hash (null for a null text) and the characters of each row of a shard."""
    texts = text_column(frame, by, step)
    halves = text_hashes(normalized(texts) if normalize == "text" else texts)
    there = texts.is_not_null()
    return pl.DataFrame({
        "row": frame["row"],
        "high": pl.Series(halves[:, 0]).zip_with(there, pl.Series([None] * len(there), dtype=pl.UInt64)),
        "low": halves[:, 1],
        "length": texts.str.len_chars().fill_null(0),
    })  # fmt: skip


def _report(labels: Ints, gone: int, without: int) -> dict[str, int]:
    sizes = np.bincount(labels)
    return {
        "rows": len(labels),
        "dropped": gone,
        "groups": int((sizes > 1).sum()),
        "largest_group": int(sizes.max()),
        "without_text": without,
    }
