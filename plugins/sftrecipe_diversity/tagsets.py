"""Tag columns as sparse rows of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from sftrecipe import StepError
from sftrecipe.lazy import np, pl

__all__ = ["TagSets", "tag_sets"]


@dataclass(frozen=True)
class TagSets:
    """Row i has the tags `codes[starts[i]:starts[i+1]]`, ascending, each once; tag c is called `names[c]` (sorted)."""

    starts: np.ndarray
    codes: np.ndarray
    names: list[str]

    @property
    def counts(self) -> np.ndarray:
        """How many tags each row has, int64 [N]."""
        return np.diff(self.starts)

    def of(self, row: int) -> np.ndarray:
        """The codes of one row."""
        return self.codes[self.starts[row] : self.starts[row + 1]]


def tag_sets(column: pl.Series, what: str) -> TagSets:
    """A list-of-text column. Blank tags and repeats within a row do not count. Raises StepError for other types."""
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.String))
    if not (isinstance(column.dtype, pl.List) and column.dtype.inner in (pl.String, pl.Categorical, pl.Null)):
        raise StepError(f"{what} gives {column.dtype}; lists of text are needed")
    pairs = pl.DataFrame({"row": np.arange(len(column)), "tag": column.cast(pl.List(pl.String))}).explode("tag")
    pairs = (
        pairs.with_columns(pl.col("tag").str.strip_chars())
        .filter(pl.col("tag").is_not_null() & (pl.col("tag") != ""))
        .unique()
    )
    names = pairs["tag"].unique().sort()
    codes = names.search_sorted(pairs["tag"]) if len(names) else pl.Series([], dtype=pl.UInt32)
    pairs = pairs.with_columns(codes.alias("code")).sort("row", "code")
    starts = np.searchsorted(pairs["row"].to_numpy(), np.arange(len(column) + 1))
    return TagSets(starts, pairs["code"].to_numpy().astype(np.int64), names.to_list())
