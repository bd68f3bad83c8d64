"""The mix step: rows drawn from several inputs, repeats numbered, rows left out counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pl
from sftrecipe.ledger import Counts, Events
from sftrecipe.plan import Node
from sftrecipe.run.gather import gathered, shard_rows
from sftrecipe.run.kinds import add_events, bound, guarded, manifest_of, types_of
from sftrecipe.run.part import write_frame
from sftrecipe.run.result import part_entry
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["fresh_ids", "mix"]


def mix(run: Run, node: Node, folder: Path, inputs: list[Table], ports: Mapping[str, Table]) -> dict[str, Any]:
    """Asks for the allotment, then moves the rows into new shards."""
    spec, operator = bound(run, node, folder, ports)
    names = _names(node)
    datasets = {n: run.dataset(t, spec.scratch / n) for n, t in zip(names, inputs, strict=True)}
    order = guarded(node, operator.allot, datasets)
    table_of, row_of = _checked(node, order, names, inputs)
    files = run.save_artefacts(folder, getattr(operator, "artefacts", {}))
    ids = _ids(inputs, table_of, row_of)
    columns = types_of(node)
    stages = order["stage"] if "stage" in order.columns else None
    size = shard_rows(inputs)
    parts, at = [], 0
    run.progress.begin(node.id, max(1, -(-len(row_of) // size)), 0)
    stored = {c: w for c, w in columns.items() if c not in ("id", "stage") or (c == "stage" and stages is None)}
    for number, frame in enumerate(gathered(inputs, table_of, row_of, stored, size)):
        frame = frame.with_columns(ids.slice(at, frame.height).alias("id"))
        if stages is not None:
            frame = frame.with_columns(stages.slice(at, frame.height).alias("stage"))
        frame = frame.select(list(columns))
        parts.append(
            part_entry(
                frame.height, layers=[(*write_frame(folder / f"part-{number:05d}.rows.parquet", frame), list(columns))]
            )
        )
        at += frame.height
        run.progress.advance(node.id, frame.height)
    events, counts = _ledger(node, inputs, table_of, row_of)
    events.noted(operator.context, 0)
    manifest = manifest_of(parts, columns, [vars(counts)], files)
    add_events(manifest, events, folder)
    return manifest


def _names(node: Node) -> list[str]:
    """The inputs' names: their step ids, a repeat numbered."""
    seen: dict[str, int] = {}
    names = []
    for ref in node.inputs:
        seen[str(ref)] = nth = seen.get(str(ref), 0) + 1
        names.append(str(ref) if nth == 1 else f"{ref}#{nth}")
    return names


def _checked(node: Node, order: Any, names: list[str], inputs: list[Table]) -> tuple[np.ndarray, np.ndarray]:
    who = f"`{node.entry.full}` ({node.entry.origin})"
    if not isinstance(order, pl.DataFrame) or not {"input", "row"} <= set(order.columns):
        raise StepError(f"{who} must allot a DataFrame with `input` and `row`", step=node.id, code="P010")
    extra = [c for c in order.columns if c not in ("input", "row", *node.flow.writes)]
    missing = [c for c in node.flow.writes if c not in order.columns]
    if extra or missing:
        text = (
            f"wrote column `{extra[0]}`, which it did not declare"
            if extra
            else f"did not write column `{missing[0]}`, which it declares"
        )
        raise StepError(f"{who} {text}", step=node.id, code="P010")
    lookup = {n: i for i, n in enumerate(names)}
    unknown = [n for n in order["input"].unique().to_list() if n not in lookup]
    if unknown:
        raise StepError(f"{who} allots rows of an input `{unknown[0]}` that is not there", step=node.id, code="P010")
    table_of = (
        order["input"].replace_strict(lookup, return_dtype=pl.Int64).to_numpy()
        if len(order)
        else np.zeros(0, dtype=np.int64)
    )
    if len(order) and (not order["row"].dtype.is_integer() or order["row"].null_count()):
        raise StepError(f"{who} allots rows by {order['row'].dtype} values", step=node.id, code="P010")
    row_of = order["row"].cast(pl.Int64).to_numpy()
    limits = np.array([len(t) for t in inputs], dtype=np.int64)
    if len(row_of) and ((row_of < 0).any() or (row_of >= limits[table_of]).any()):
        raise StepError(f"{who} allots rows that are not there", step=node.id, code="P010")
    return table_of, row_of


def _ids(inputs: list[Table], table_of: np.ndarray, row_of: np.ndarray) -> pl.Series:
    every = [t.frame(("id",))["id"] for t in inputs]
    starts = np.concatenate([[0], np.cumsum([len(s) for s in every])])
    return (
        fresh_ids(pl.concat(every)[(starts[table_of] + row_of).astype(np.uint32)])
        if len(row_of)
        else pl.Series("id", [], dtype=pl.String)
    )


def fresh_ids(ids: pl.Series) -> pl.Series:
    """Ids that are unique: the second row called x is x~2, the third x~3."""
    frame = pl.DataFrame({"id": ids}).with_columns(pl.int_range(pl.len()).over("id").alias("n"))
    named = frame.select(
        pl.when(pl.col("n") == 0).then(pl.col("id")).otherwise(pl.format("{}~{}", "id", pl.col("n") + 1)).alias("id")
    )["id"]
    # a row that an earlier mix called x~2 may meet the x~2 made here
    return named if not named.is_duplicated().any() else fresh_ids(named)


def _ledger(node: Node, inputs: list[Table], table_of: np.ndarray, row_of: np.ndarray) -> tuple[Events, Counts]:
    events = Events([node.id])
    total = drawn = 0
    for number, table in enumerate(inputs):
        used = np.zeros(len(table), dtype=bool)
        used[row_of[table_of == number]] = True
        total, drawn = total + len(table), drawn + int(used.sum())
        gone = np.flatnonzero(~used)
        if len(gone):
            ids = table.frame(("id",))["id"][gone.astype(np.uint32)]
            events.dropped(0, gone, ids, ["not_drawn"] * len(gone), None, kinds=["dropped"] * len(gone))
    left = total - drawn
    counts = Counts(node.id, rows_in=total, rows_out=len(row_of), dropped=left, copied=len(row_of) - drawn)
    counts.codes = {"not_drawn": left} if left else {}
    return events, counts
