"""The pack step: tokens of each row, a plan over their lengths, sequences that list their members.

The first label of every member is set to -100 here, whatever the operator does: no document may be trained to predict
the start of the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pa, pl, series_of
from sftrecipe.ledger import Counts, Events
from sftrecipe.plan import Node
from sftrecipe.rows import BATCH_ROWS, Rows
from sftrecipe.run.batch import Live, to_series, view_of
from sftrecipe.run.kinds import add_events, bound, guarded, manifest_of, types_of
from sftrecipe.run.part import write_frame
from sftrecipe.run.result import part_entry
from sftrecipe.table import Layer, Part, Table
from sftrecipe.types import parse_type

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["IGNORED", "pack"]

IGNORED = -100
PACKS_A_SHARD = 4096


def pack(run: Run, node: Node, folder: Path, source: Table, ports: Mapping[str, Table]) -> dict[str, Any]:
    """Tokenises where needed, plans, moves tokens."""
    spec, operator = bound(run, node, folder, ports)
    live = Live(spec, operator)
    run.progress.begin(node.id, len(source.parts), 0)
    tokens, lengths = _tokens(run, live, folder, source)
    data = run.dataset(source, spec.scratch)
    plan = _checked(node, guarded(node, operator.plan, lengths, data), lengths)
    files = run.save_artefacts(folder, getattr(operator, "artefacts", {}))
    columns = types_of(node)
    ids = source.frame(("id",))["id"]
    parts = []
    stages = source.frame(("stage",))["stage"] if "stage" in columns else None
    for number, frame in enumerate(_sequences(plan.filter(plan["pack"] >= 0), tokens, ids)):
        if stages is not None:
            frame = frame.with_columns(_stage_of(node, frame, ids, stages))
        parts.append(
            part_entry(
                frame.height,
                layers=[
                    (
                        *write_frame(folder / f"part-{number:05d}.rows.parquet", frame.select(list(columns)), "lz4"),
                        list(columns),
                    )
                ],
            )
        )
    events, counts = _ledger(node, plan, ids, sum(p["rows"] for p in parts))
    events.noted(operator.context, 0)
    manifest = manifest_of(parts, columns, [vars(counts)], files)
    add_events(manifest, events, folder)
    return manifest


def _tokens(run: Run, live: Live, folder: Path, source: Table) -> tuple[Table, np.ndarray]:
    """Every row's `input_ids` and `labels` in the store, and their lengths."""
    scratch = folder / "scratch" / "tokens"
    scratch.mkdir(parents=True, exist_ok=True)
    kinds = {"input_ids": parse_type("tokens").dtype(), "labels": parse_type("tokens").dtype()}
    parts, lengths = [], []
    reads = list(dict.fromkeys(("id", *live.spec.reads)))
    for number, part in enumerate(source.parts):
        frame = part.read(part.stored(reads))
        chunks = []
        for at in range(0, frame.height, BATCH_ROWS):
            view = view_of(live, Rows(frame.slice(at, BATCH_ROWS)))
            given = live.call(live.operator.tokens, view)  # type: ignore[attr-defined]
            if not isinstance(given, Mapping) or not kinds.keys() <= given.keys():
                raise live.fault("gives no `input_ids` and `labels`")
            made = {n: _tokens_of(live, to_series(live, given[n], view, n), n, kinds[n]) for n in kinds}
            sizes = [s.list.len().fill_null(0) for s in made.values()]
            if not sizes[0].equals(sizes[1]):
                first = int((sizes[0] != sizes[1]).arg_max() or 0)
                raise live.fault("gives another number of labels than tokens", view["id"][first])
            chunks.append(pl.DataFrame(made))
        made_frame = pl.concat(chunks) if chunks else pl.DataFrame(schema=kinds)
        name, sha = write_frame(scratch / f"part-{number:05d}.rows.parquet", made_frame)
        parts.append(Part(made_frame.height, (Layer(str(scratch / name), sha, ("input_ids", "labels")),)))
        lengths.append(made_frame["input_ids"].list.len().fill_null(0).to_numpy().astype(np.int64))
        run.progress.advance(live.spec.id, frame.height)
    return Table(parts, {"input_ids": "tokens", "labels": "tokens"}), np.concatenate(lengths) if lengths else np.zeros(
        0, dtype=np.int64
    )


def _tokens_of(live: Live, series: pl.Series, name: str, dtype: Any) -> pl.Series:
    try:
        return series.cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise live.fault(f"gave {series.dtype} values for `{name}`; lists of token numbers are needed") from error


def _checked(node: Node, plan: Any, lengths: np.ndarray) -> pl.DataFrame:
    who = f"`{node.entry.full}` ({node.entry.origin})"
    if not isinstance(plan, pl.DataFrame) or not {"pack", "row", "start", "stop"} <= set(plan.columns):
        raise StepError(f"{who} must plan a DataFrame with pack, row, start and stop", step=node.id, code="P010")
    whole = plan.select("pack", "row", "start", "stop")
    if len(plan) and (any(not t.is_integer() for t in whole.dtypes) or whole.drop_nulls().height < plan.height):
        raise StepError(f"{who} must plan in whole numbers, none of them null", step=node.id, code="P010")
    plan = plan.with_columns(pl.col("pack", "row", "start", "stop").cast(pl.Int64))
    rows = plan["row"].to_numpy()
    if len(rows) and (rows.min() < 0 or rows.max() >= len(lengths)):
        raise StepError(f"{who} packs rows that are not there", step=node.id, code="P010")
    used = plan.filter(pl.col("pack") >= 0)
    stop, start = used["stop"].to_numpy(), used["start"].to_numpy()
    if len(used) and ((start < 0).any() or (stop > lengths[used["row"].to_numpy()]).any() or (start >= stop).any()):
        raise StepError(f"{who} packs tokens that are not there", step=node.id, code="P010")
    return cast(pl.DataFrame, plan)


def _sequences(plan: pl.DataFrame, tokens: Table, ids: pl.Series) -> Iterator[pl.DataFrame]:
    """Shards of packed sequences, in the plan's order."""
    order = plan.sort("pack", maintain_order=True)
    packs = order["pack"].rle_id()
    last = int(packs[-1]) + 1 if len(packs) else 0
    for first in range(0, last, PACKS_A_SHARD):
        inside = order.filter((packs >= first) & (packs < first + PACKS_A_SHARD))
        yield _shard(inside, tokens, ids)


def _shard(plan: pl.DataFrame, tokens: Table, ids: pl.Series) -> pl.DataFrame:
    """One shard: tokens moved flat, without a Python loop over them."""
    from sftrecipe.run.gather import _take

    rows = plan["row"].to_numpy()
    frame = _take([tokens], np.zeros(len(rows), dtype=np.int64), rows, {"input_ids": "tokens", "labels": "tokens"})
    start, stop = plan["start"].to_numpy(), plan["stop"].to_numpy()
    sizes = stop - start
    placed = frame.with_columns(pl.Series("start", start), pl.Series("size", sizes))
    cut = placed.select(pl.col("input_ids", "labels").list.slice(pl.col("start"), pl.col("size")))
    ends = np.cumsum(sizes)
    flat = {c: cut[c].list.explode(empty_as_null=False, keep_nulls=False).to_numpy().copy() for c in cut.columns}
    flat["labels"][ends - sizes] = IGNORED
    pack = plan["pack"].rle_id().to_numpy()
    borders = np.flatnonzero(np.diff(pack, prepend=-1))
    members = ids[rows.astype(np.uint32)]
    per_pack = np.append(borders, len(rows))
    token_borders = np.append(np.concatenate([[0], ends])[borders], ends[-1] if len(ends) else 0)
    out = {
        "input_ids": _lists(flat["input_ids"].astype(np.int32), token_borders),
        "labels": _lists(flat["labels"].astype(np.int32), token_borders),
        "seq_lengths": _lists(sizes.astype(np.int64), per_pack),
        "members": _lists(members, per_pack),
    }
    out["id"] = pl.Series(
        [_pack_id(m, s) for m, s in zip(out["members"].to_list(), _starts(start, per_pack), strict=True)],
        dtype=pl.String,
    )
    return pl.DataFrame(out)


def _stage_of(node: Node, frame: pl.DataFrame, ids: pl.Series, stages: pl.Series) -> pl.Series:
    """The one stage of each pack's members. Raises StepError if a pack has two: packs never cross a stage."""
    lookup = dict(zip(ids.to_list(), stages.to_list(), strict=True))
    found = [{lookup[m] for m in members} for members in frame["members"].to_list()]
    if any(len(s) != 1 for s in found):
        raise StepError(
            f"`{node.entry.full}` ({node.entry.origin}) packs rows of two stages together", step=node.id, code="P010"
        )
    return pl.Series("stage", [next(iter(s)) for s in found], dtype=pl.String)


def _starts(start: np.ndarray, borders: np.ndarray) -> list[list[int]]:
    return [start[a:b].tolist() for a, b in zip(borders[:-1], borders[1:], strict=True)]


def _lists(flat: Any, borders: np.ndarray) -> pl.Series:
    """Flat values as a list column: list k holds flat[borders[k]:borders[k + 1]]."""
    values = pl.Series(flat).to_arrow(compat_level=pl.CompatLevel.oldest())  # not pa.array: it imports pandas
    return series_of(pa.LargeListArray.from_arrays(pl.Series(borders.astype(np.int64)).to_arrow(), values))


def _pack_id(members: list[str], starts: list[int]) -> str:
    text = ",".join(f"{m}:{s}" if s else m for m, s in zip(members, starts, strict=True))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _ledger(node: Node, plan: pl.DataFrame, ids: pl.Series, packs: int) -> tuple[Events, Counts]:
    events = Events([node.id])
    used = np.zeros(len(ids), dtype=bool)
    used[plan.filter(plan["pack"] >= 0)["row"].to_numpy()] = True
    code = dict.fromkeys(np.flatnonzero(~used).tolist(), "not_packed")
    if "code" in plan.columns:
        for row, why in plan.filter(plan["pack"] < 0).select("row", "code").iter_rows():
            if row in code and why:
                code[row] = why
    gone = np.array(sorted(code), dtype=np.int64)
    if len(gone):
        events.dropped(
            0, gone, ids[gone.astype(np.uint32)], [code[r] for r in gone.tolist()], None, kinds=["dropped"] * len(gone)
        )
    tally = events.counts(len(ids))[0]
    counts = Counts(
        node.id,
        rows_in=len(ids),
        rows_out=packs,
        born=packs,
        packed=int(used.sum()),
        dropped=len(gone),
        codes=tally["codes"],
    )
    return events, counts
