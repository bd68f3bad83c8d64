"""What all pack operators share: tokens of a row, rows too long, groups that must not mix, the plan as a table, and its
figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Column, Dataset, Flow, Pack, Param, RowError, Rows, StepError, Tokenizer
from sftrecipe.chat import Turns, chat_template, turns
from sftrecipe.chat_tokens import token_columns, tokenise
from sftrecipe.draws import hashes, remix
from sftrecipe.lazy import np, pl
from sftrecipe_pack.histogram import Packs, lower_bound_l2, lower_bound_volume, pack_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

__all__ = ["Packing", "pieces", "shuffled"]

_CODES = {1: "overlong", 2: "no_tokens"}


class Packing(Pack):
    """The base of `pack.bfd` and its kin: they differ in `packs` alone."""

    reads: ClassVar[Sequence[str]] = ("id",)
    heavy: ClassVar[bool] = True

    length: int = Param(ge=2, positional=True, doc="Capacity of a sequence in tokens.")
    overlong: Literal["error", "drop", "truncate", "split"] = Param(
        "error",
        doc="Rows longer than that: stop, leave them out (code `overlong`), keep their head, or cut them into several.",
    )
    max_members: int | None = Param(None, ge=1, doc="Most rows in one sequence.")
    by: Column | None = Param(
        None,
        doc="Rows with different values of this column never share a sequence; a column `stage` is always respected.",
    )
    shuffle: bool = Param(True, doc="Seeded order of rows of one length and of the sequences.")
    tokenizer: Tokenizer | None = Param(
        None,
        doc="Makes tokens of `messages` where a row has no `input_ids`, by its chat template or chatml.",
    )

    def flow(self, columns: Mapping[str, str]) -> Flow:
        reads = list(super().flow(columns).reads)
        open_ended = "" in columns  # part of another recipe: what comes in is not known yet
        if "input_ids" in columns or (open_ended and self.tokenizer is None):
            reads += ["input_ids", *(["labels"] if "labels" in columns or open_ended else [])]
        elif self.tokenizer is None:
            raise ValueError("rows have no `input_ids` here: put `format.tokens` above, or give a `tokenizer:`")
        if self.tokenizer is not None:
            reads += ["messages", *(["tools"] if "tools" in columns else [])]
        stage = {"stage": "text"} if "stage" in columns else {}
        writes = {"input_ids": "tokens", "labels": "tokens", "seq_lengths": "list[int]", "members": "list[text]"}
        return Flow(tuple(dict.fromkeys((*reads, *stage))), writes | stage)

    def setup(self) -> None:
        self._template = chat_template(self.tokenizer) if self.tokenizer is not None else None

    def tokens(self, rows: Rows) -> Mapping[str, Any]:
        """The columns `input_ids` and `labels` (without labels all is trained), else tokens made of `messages`."""
        given = _given(rows)
        lacking = given["input_ids"].is_null()
        if self.tokenizer is None or not lacking.any():
            return {name: given[name] for name in ("input_ids", "labels")}
        made = self._made(rows.frame.filter(lacking))
        at = (lacking.cast(pl.UInt32).cum_sum().cast(pl.Int64) - 1).clip(0)  # the number of each lacking row among them
        return {
            name: pl.select(pl.when(lacking).then(made[name][at]).otherwise(given[name])).to_series() for name in given
        }

    def _made(self, frame: pl.DataFrame) -> Mapping[str, pl.Series]:
        tokenizer, template = self.tokenizer, self._template
        if tokenizer is None or template is None:
            raise StepError("there is no tokenizer")
        talks: list[Turns | RowError] = []
        for row in frame.iter_rows(named=True):
            try:
                talks.append(turns(row["messages"], row.get("tools")))
            except RowError as error:
                talks.append(error)
        results = tokenise(talks, template, tokenizer)
        for row_id, result in zip(frame["id"], results, strict=True):
            if isinstance(result, RowError):
                self.context.note(row_id, result.code, **({"why": result.message} if result.message else {}))
        return token_columns(results)

    def packs(self, lengths: Ints, keys: NDArray[np.uint64] | None) -> Packs:
        """The packs of items of these lengths (1..self.length). `keys`: of the seeded order, or None."""
        raise NotImplementedError

    def plan(self, lengths: NDArray[Any], data: Dataset) -> pl.DataFrame:
        """Columns pack, row, start, stop, code; dropped rows have pack -1 and the code `overlong` or `no_tokens`."""
        sizes = np.asarray(lengths, dtype=np.int64)
        frame = data.frame("id", *self._groups(data))
        row, start, stop, dropped = pieces(sizes, self.length, self.overlong)
        keys = self._keys(frame["id"], row, start) if self.shuffle else None
        parts = _parts(frame, row)
        plans, facts, first = [], [], 0
        alone = len(parts) == 1  # then `members` are all, in order, and nothing need be gathered
        for members in parts:
            size = stop - start if alone else (stop - start)[members]
            made = self.packs(size, keys if keys is None or alone else keys[members])
            at = made.items if alone else members[made.items]
            pack = first + np.repeat(np.arange(made.count), made.members)
            rows = at if len(row) == len(sizes) and self.overlong != "split" else row[at]
            starts = start[at] if self.overlong == "split" else start[: len(at)]  # else all are 0
            plans.append(pl.DataFrame({"pack": pack, "row": rows, "start": starts, "stop": stop[at]}))
            facts.append(_figures(size, made, self.length))
            first += made.count
        self.artefacts = {"packing": _facts(sizes, self.length, self.overlong, dropped, facts)}
        codes = [pl.repeat(None, p.height, dtype=pl.String, eager=True).alias("code") for p in plans]
        planned = [p.with_columns(code) for p, code in zip(plans, codes, strict=True)]
        return pl.concat([*planned, _gone(dropped)]) if dropped.any() or not planned else pl.concat(planned)

    def _keys(self, ids: pl.Series, row: Ints, start: Ints) -> NDArray[np.uint64]:
        """The seeded order of pieces, from the row's id and where the piece begins."""
        hashed = hashes(ids, self.context.seed, "pack")
        hashed = hashed if len(row) == len(hashed) and not start.any() else hashed[row]
        return remix(hashed, start if start.any() else 0)

    def _groups(self, data: Dataset) -> list[str]:
        return [c for c in dict.fromkeys(("stage", self.by)) if c and (c in data.columns or c == self.by) and c != "id"]


def _given(rows: Rows) -> Mapping[str, pl.Series]:
    """What the rows bring; labels that are missing are the ids. Raises StepError where the two differ in length."""
    kind = pl.List(pl.Int32)
    if "input_ids" not in rows:
        none = pl.Series("input_ids", [None] * len(rows), dtype=kind)
        return {"input_ids": none, "labels": none.alias("labels")}
    ids = rows["input_ids"].cast(kind)
    labels = rows["labels"].cast(kind) if "labels" in rows else ids.alias("labels")
    frame = pl.DataFrame({"id": rows["id"], "a": ids, "b": labels}).with_columns(
        b=pl.when(pl.col("a").is_null()).then(None).otherwise("b")
    )
    wrong = frame.filter(pl.col("a").is_not_null() & (pl.col("b").list.len().fill_null(-1) != pl.col("a").list.len()))
    if wrong.height:
        raise StepError(
            f"{wrong.height} rows have `labels` of another length than `input_ids`, the first is {wrong['id'][0]}",
            help="write both by one step, such as `format.tokens`",
        )
    return {"input_ids": ids, "labels": frame["b"].alias("labels")}


def pieces(sizes: Ints, capacity: int, overlong: str) -> tuple[Ints, Ints, Ints, NDArray[np.int8]]:
    """(row, start, stop) of what is packed, and per row 0 (packed), 1 (too long) or 2 (no tokens). Raises StepError for
    `error`."""
    over = sizes > capacity
    dropped = np.zeros(len(sizes), dtype=np.int8)
    dropped[sizes == 0] = 2
    if overlong == "drop":
        dropped[over] = 1
    if over.any() and overlong == "error":
        beyond = int((sizes[over] - capacity).sum())
        raise StepError(
            f"{int(over.sum()):,} of {len(sizes):,} rows are longer than {capacity:,} tokens: "
            f"the longest has {int(sizes.max()):,}, {beyond:,} tokens are beyond",
            help="write `overlong: truncate`, `split` or `drop`, raise `length`, or filter such rows above",
        )
    row = np.flatnonzero(dropped == 0)
    if overlong != "split":
        return row, np.zeros(len(row), dtype=np.int64), np.minimum(sizes[row], capacity), dropped
    times = -(-sizes[row] // capacity)
    begins = np.cumsum(times) - times
    row = np.repeat(row, times)
    start = (np.arange(len(row)) - np.repeat(begins, times)) * capacity
    return row, start, np.minimum(start + capacity, sizes[row]), dropped


def _parts(frame: pl.DataFrame, row: Ints) -> list[Ints]:
    """Item numbers of each group, groups in the order of their first row."""
    columns = [c for c in frame.columns if c != "id"]
    if not columns:
        return [np.arange(len(row))]
    code = frame.select(pl.struct(columns).rank("dense").alias("code"))["code"].to_numpy()[row]
    _, first = np.unique(code, return_index=True)
    return [np.flatnonzero(code == code[at]) for at in np.sort(first)]


def _gone(dropped: NDArray[np.int8]) -> pl.DataFrame:
    """Rows that are in no pack, as the plan says it."""
    rows = np.flatnonzero(dropped)
    zeros = np.zeros(len(rows), dtype=np.int64)
    code = pl.Series("code", [_CODES[c] for c in dropped[rows].tolist()], dtype=pl.String)
    return pl.DataFrame({"pack": zeros - 1, "row": rows, "start": zeros, "stop": zeros, "code": code})


def shuffled(made: Packs, keys: NDArray[np.uint64]) -> Packs:
    """The packs in seeded order."""
    if not made.count:
        return made
    at = pack_order(keys[made.items[made.offsets[:-1]]])
    members = made.members[at]
    offsets = np.concatenate([[0], np.cumsum(members)])
    inside = np.arange(len(made.items)) - np.repeat(offsets[:-1], members)
    return Packs(made.items[np.repeat(made.offsets[:-1][at], members) + inside], offsets)


def _figures(lengths: Ints, made: Packs, capacity: int) -> dict[str, int]:
    return {
        "packs": made.count,
        "members": len(made.items),
        "tokens": int(lengths.sum()),
        "volume": lower_bound_volume(lengths, capacity),
        "l2": lower_bound_l2(lengths, capacity),
        "max_members": int(made.members.max()) if made.count else 0,
    }


def _facts(
    sizes: Ints, capacity: int, overlong: str, dropped: NDArray[np.int8], groups: Sequence[Mapping[str, int]]
) -> dict[str, Any]:
    """The plan in numbers, summed over groups."""
    total = {key: sum(g[key] for g in groups) for key in ("packs", "members", "tokens", "volume", "l2")}
    over = sizes[sizes > capacity]
    count, beyond = len(over), int((over - capacity).sum())
    what = {"rows": count, "tokens": beyond} if overlong == "truncate" else {"rows": 0, "tokens": 0}
    return {
        "capacity": capacity,
        "rows": len(sizes),
        "tokens": int(sizes.sum()),
        "packs": total["packs"],
        "packed_tokens": total["tokens"],
        "efficiency": total["tokens"] / (total["packs"] * capacity) if total["packs"] else None,
        "lower_bound": {"volume": total["volume"], "l2": total["l2"]},
        "truncated": what,
        "dropped": {"rows": int((dropped == 1).sum()), "tokens": int(sizes[dropped == 1].sum())},
        "split": {"rows": count, "tokens": int(over.sum()), "pieces": int((-(-over // capacity)).sum())}
        if overlong == "split"
        else {"rows": 0, "tokens": 0, "pieces": 0},
        "no_tokens": int((dropped == 2).sum()),
        "max_members": max((g["max_members"] for g in groups), default=0),
        "mean_members": total["members"] / total["packs"] if total["packs"] else None,
        "groups": len(groups),
    }
