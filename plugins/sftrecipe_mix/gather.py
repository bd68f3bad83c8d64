"""From the inputs of a mix to a pool of parts, and from what was drawn to the rows in output order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sftrecipe import Dataset, StepError
from sftrecipe.draws import hashes, order, remix
from sftrecipe.errors import did_you_mean
from sftrecipe.lazy import np, pl
from sftrecipe_mix.pool import Drawn, Pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Gathered", "arrange", "gather", "match", "shares"]

_NULL = "null"


@dataclass(frozen=True)
class Gathered:
    """All rows of all inputs. `names` are the parts that occur, `codes` [N] says which one each row is in."""

    frame: pl.DataFrame  # input, row, id
    names: Sequence[str]
    codes: NDArray[np.int64]
    tokens: NDArray[np.int64] | None

    def pool(self, names: Iterable[str], seed: int) -> Pool:
        """The rows of these parts in hash order."""
        ranked = order(hashes(self.frame["id"], seed, "draw"))
        by_part = ranked[np.argsort(self.codes[ranked].astype(np.uint16), kind="stable")]
        ends = np.cumsum(np.bincount(self.codes, minlength=len(self.names)))
        split = dict(zip(self.names, np.split(by_part, ends[:-1]), strict=True))
        return Pool({name: split[name] for name in names}, self.tokens)


def gather(inputs: Mapping[str, Dataset], by: str | None, tokens: pl.Expr | None) -> Gathered:
    """Reads ids, the values of `by` (else a row's part is its input) and token counts; nothing else is held."""
    frames, counts = [], []
    for name, data in inputs.items():
        frame = data.frame("id", by) if by and by != "id" else data.frame("id")
        part = _text(frame[by], by) if by else pl.Series([name], dtype=pl.String).new_from_index(0, frame.height)
        frames.append(
            frame.select(
                pl.lit(name).alias("input"),
                pl.int_range(frame.height, dtype=pl.Int64).alias("row"),
                "id",
                part.alias("part"),
            )
        )
        if tokens is not None:
            counts.append(_counts(data.eval(tokens), name))
    frame = pl.concat(frames)
    names = frame["part"].unique(maintain_order=True).to_list()
    if len(names) > 65_535:
        raise StepError(f"`by: {by}` has {len(names):,} different values: mix by a column that names few parts")
    at = pl.DataFrame({"part": names, "code": np.arange(len(names))}, schema={"part": pl.String, "code": pl.Int64})
    codes = frame.select("part").join(at, on="part", how="left", maintain_order="left")["code"].to_numpy()
    return Gathered(frame.drop("part"), names, codes, np.concatenate(counts) if counts else None)


def _text(column: pl.Series, by: str) -> pl.Series:
    if column.dtype.is_nested():
        raise StepError(f"`by: {by}` holds {column.dtype}: a part is named by a text, a number or a truth value")
    return column.cast(pl.String).fill_null(_NULL)


def _counts(column: pl.Series, name: str) -> NDArray[np.int64]:
    if not column.dtype.is_numeric():
        raise StepError(f"`tokens` is {column.dtype} in input `{name}`: give a number of tokens a row")
    missing = column.null_count() + int((column.cast(pl.Float64) < 0).sum())
    if missing:
        raise StepError(
            f"{missing:,} rows of input `{name}` have no token count, or a negative one", help="filter them first"
        )
    return column.cast(pl.Int64).to_numpy()


def match(found: Sequence[str], named: Iterable[str], by: str | None, unlisted: str, where: str = "parts") -> list[str]:
    """The values that no part names, after `unlisted`: an error, or [] (drop), or all of them (keep).

    A part that matches no row is an error in any case.
    """
    asked = list(dict.fromkeys(named))
    place = f"value of `{by}`" if by else "input"
    places = f"values of `{by}`" if by else "inputs"
    empty = [name for name in asked if name not in found]
    if empty:
        hints = [f"`{name}` {did_you_mean(name, found)}".rstrip() for name in empty]
        raise StepError(
            f"`{where}` names what is no {place}: {', '.join(hints)}",
            help=f"there are {_some(found)}" + ("" if by else "; to split one input by a column, add `by: source`"),
        )
    rest = [name for name in found if name not in asked]
    if rest and unlisted == "error":
        hints = [f"`{name}` {did_you_mean(name, asked)}".rstrip() for name in rest[:8]]
        raise StepError(
            f"`{where}` leaves out {len(rest)} {place if len(rest) == 1 else places}: {', '.join(hints)}",
            help="name them, or write `unlisted: drop` (leave their rows out) or `unlisted: keep` (take them all)",
        )
    return rest if unlisted == "keep" else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"`{n}`" for n in names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def arrange(gathered: Gathered, drawn: Sequence[Drawn], seed: int, shuffle: bool) -> pl.DataFrame:
    """`input`, `row` of all that was drawn: in an order from hash(seed, id, copy), or in input order, the copies of a
    row side by side."""
    rows = np.concatenate([d.rows for d in drawn])
    copies = np.concatenate([d.copies for d in drawn])
    by_row = np.lexsort((copies, rows))  # ties of the hash (one id in two inputs) go to the earlier row
    rows, copies = rows[by_row], copies[by_row]
    if shuffle:
        base = hashes(gathered.frame["id"], seed, "order")[rows]
        rows = rows[order(remix(base, copies))]
    return gathered.frame.select("input", "row")[rows]


def shares(gathered: Gathered, drawn: Sequence[Drawn], available: Mapping[str, int]) -> pl.DataFrame:
    """What was asked and what came of it, one row a part."""
    whole = sum(len(d.rows) for d in drawn) or 1
    tokens = gathered.tokens
    table = [
        {
            "part": d.part.name,
            "asked": str(d.part),
            "rows_available": available[d.part.name],
            "rows": len(d.rows),
            "share": len(d.rows) / whole,
            "tokens": None if tokens is None else int(tokens[d.rows].sum()),
            "max_repeat": int(d.copies.max()) + 1 if len(d.copies) else 0,
        }
        for d in drawn
    ]
    kinds = {"part": pl.String, "asked": pl.String, "rows_available": pl.Int64, "rows": pl.Int64, "share": pl.Float64}
    return pl.DataFrame(table, schema={**kinds, "tokens": pl.Int64, "max_repeat": pl.Int64})
