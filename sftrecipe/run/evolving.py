"""The evolve step: children beside their parents, eliminated ones counted by their rule and never a row."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import RowError, StepError
from sftrecipe.lazy import np, pl
from sftrecipe.ledger import Events, merge_counts
from sftrecipe.plan import Node
from sftrecipe.rows import Rows, content_hash, row_id
from sftrecipe.run.batch import ROW, Live, awaited
from sftrecipe.run.kinds import bound, fitted, guarded, manifest_of, types_of
from sftrecipe.run.mixing import fresh_ids
from sftrecipe.run.part import matches, write_frame
from sftrecipe.run.result import part_entry
from sftrecipe.table import Table
from sftrecipe.types import parse_type
from sftrecipe.verbs import Child, Evolved

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["evolve_all", "evolve_rows"]


ALWAYS = ("source", "license", "tools")


def evolve_rows(run: Run, node: Node, folder: Path, source: Table, ports: Mapping[str, Table]) -> dict[str, Any]:
    """Every row's children, shard by shard; ids are made unique over all shards at the end."""
    from sftrecipe.run.part import compiled_where

    state, files = fitted(run, node, folder, source, ports)
    spec, operator = bound(run, node, folder, ports, state)
    live = Live(spec, operator, compiled_where(spec))
    live.inherited = _inherited(node)
    columns = types_of(node)
    entries: list[dict[str, Any]] = []
    tallies: list[dict[str, Any]] = []
    run.progress.begin(node.id, len(source.parts), 0)
    seen: Counter[str] = Counter()
    for number, part in enumerate(source.parts):
        frame = part.read(list(source.columns)).with_row_index(ROW)
        rows, tally, events = _part(live, frame, columns)
        rows = _unique(rows, seen)
        layer = write_frame(folder / f"part-{number:05d}.rows.parquet", rows, "lz4")
        ledger = (
            write_frame(folder / f"part-{number:05d}.ledger.parquet", events.frame(), "lz4") if len(events) else None
        )
        entry = part_entry(rows.height, layers=[(*layer, list(columns))], ledger=ledger)
        entries.append(entry)
        tallies.append(tally)
        run.progress.advance(node.id, frame.height)
    counts = vars(merge_counts(node.id, tallies))
    manifest = manifest_of(entries, columns, [counts], files)
    if node.all_models() and (failed := counts["failed"] + sum(counts["nulls"].values())):
        manifest["partial"] = failed  # what was answered is recorded: only the others are asked again
    return manifest


def _inherited(node: Node) -> list[str]:
    """The columns that a child may have from its parent: those that neither the step writes nor its rewriting makes
    stale."""
    return [
        c
        for c, column in node.columns_out.items()
        if c not in (*node.flow.writes, "id", "messages") and not column.stale
    ]


def _part(live: Live, frame: pl.DataFrame, columns: Mapping[str, str]) -> tuple[pl.DataFrame, dict[str, Any], Events]:
    rows = Rows(frame)
    mask = matches(live, rows)
    chosen = set(range(frame.height)) if mask is None else {i for i, m in enumerate(mask.to_list()) if m}
    from sftrecipe.run.batch import view_of

    view = list(view_of(live, rows))
    results = _results(live, [view[i] for i in sorted(chosen)])
    answers = dict(zip(sorted(chosen), results, strict=True))
    events = Events([live.spec.id])
    stay: list[bool] = []
    children: list[tuple[int, str, Child]] = []
    born = 0
    for at, row in enumerate(view):
        if at not in answers:
            stay.append(True)
            continue
        answer = answers[at]
        kept, made = _judge(live, events, at, row, answer)
        stay.append(kept)
        for child in made:
            children.append((at, row["id"], child))
            born += 1
    tally = events.counts(frame.height)[0]
    made_rows = _interleaved(frame, stay, children, columns, live.inherited)
    tally |= {"born": born, "rows_out": made_rows.height}
    events.noted(live.context, 0)
    tally["notes"] = events.counts(frame.height)[0]["notes"]
    return made_rows, tally, events


def _results(live: Live, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    if live.is_async:
        return awaited(live, rows)
    found: list[Any] = []
    for row in rows:
        try:
            found.append(live.call(live.row_form, row, row=row["id"]))
        except (RowError, StepError) as error:
            found.append(error)
    return found


def _judge(live: Live, events: Events, at: int, row: Mapping[str, Any], answer: Any) -> tuple[bool, list[Child]]:
    """Whether the parent stays, and the children that become rows."""

    def leave(code: str, kind: str) -> None:
        events.dropped(0, np.array([at]), pl.Series([row["id"]]), [code], None, kinds=[kind])

    if isinstance(answer, BaseException):
        if not isinstance(answer, (RowError, StepError)):
            raise answer
        if live.spec.on_error == "stop" or (isinstance(answer, StepError) and live.spec.on_error is None):
            raise answer if isinstance(answer, StepError) else live.fault(f"failed with {answer}", row["id"])
        code = answer.code if isinstance(answer, RowError) else "error"
        leave(code, "failed" if live.spec.on_error == "drop" else "null")
        return live.spec.on_error != "drop", []
    if not isinstance(answer, Evolved):
        raise live.fault(f"answered {type(answer).__name__}; Evolved is needed", row["id"])
    if answer.parent not in ("stay", "leave"):
        raise live.fault(f"says `{answer.parent}` of the parent; stay or leave", row["id"])
    made = []
    for child in _children(answer.children, live.fault, row["id"]):
        if child.eliminated:
            live.operator.context.note(row["id"], f"eliminated_{child.eliminated}", **child.columns)
        else:
            made.append(child)
    if answer.parent == "leave":
        leave(answer.why or "replaced", "dropped")
        return False, made
    return True, made


def _children(given: Any, fault: Callable[[str, str], StepError], row: str = "") -> Sequence[Child]:
    """What an operator gave as children, if that is what they are."""
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)):
        raise fault(f"gave {type(given).__name__} as children; a list of Child is needed", row)
    for child in given:
        if not isinstance(child, Child):
            raise fault(f"gave {type(child).__name__} as a child; Child is needed", row)
        if not isinstance(child.messages, Sequence) or not all(_is_message(m) for m in child.messages):
            raise fault("gave a child whose messages are no list of {role, content} with text", row)
    return given


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(v is None or _is_text(v) for k, v in value.items() if k != "tool_calls")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _interleaved(
    frame: pl.DataFrame,
    stay: list[bool],
    children: list[tuple[int, str, Child]],
    columns: Mapping[str, str],
    inherited: Sequence[str] = (),
) -> pl.DataFrame:
    """Parents that stay, each followed by its children. A child inherits source, licence and tools; with `inherit`
    all of `inherited`."""
    schema = {c: parse_type(w).dtype() for c, w in columns.items()}
    missing = [pl.lit(None, dtype=schema[c]).alias(c) for c in columns if c not in frame.columns]
    parents = frame.filter(pl.Series(stay, dtype=pl.Boolean)).with_columns(pl.lit(-1, dtype=pl.Int64).alias("__nth"))
    parents = parents.with_columns(missing).select(pl.col(ROW).cast(pl.Int64), "__nth", *columns)
    if not children:
        return parents.select(list(columns))
    records = []
    for nth, (at, parent, child) in enumerate(children):
        base = frame.row(at, named=True)
        given = {c: child.columns.get(c) for c in columns if c in child.columns}
        own = (*ALWAYS, *(inherited if child.inherit else ()))
        kept = {c: base.get(c) for c in own if c in columns}
        known = child.parents or (parent,)
        record = {**dict.fromkeys(columns), **kept, **given, "messages": _full(child.messages)}
        record["id"] = child_id(known, child.messages)
        if "parents" in columns:
            record["parents"] = list(known)
        records.append({ROW: at, "__nth": nth, **record})
    born = pl.DataFrame(records, schema={ROW: pl.Int64, "__nth": pl.Int64, **schema}, strict=False)
    return pl.concat([parents, born]).sort([ROW, "__nth"]).select(list(columns))


def _full(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from sftrecipe.types import MESSAGE_FIELDS

    return [{f: m.get(f) for f in MESSAGE_FIELDS} for m in messages]


def child_id(parents: Sequence[str], messages: Sequence[Mapping[str, Any]]) -> str:
    """An id from the parents and the content: the same child gets the same id on every run."""
    return row_id(content_hash("/".join(parents), messages))


def _unique(rows: pl.DataFrame, seen: Counter[str]) -> pl.DataFrame:
    """Ids made unique within the table: a repeat gets ~2."""
    ids = []
    for id in rows["id"].to_list():
        seen[id] += 1
        name = id if seen[id] == 1 else f"{id}~{seen[id]}"
        ids.append(name)
    return rows.with_columns(fresh_ids(pl.Series("id", ids, dtype=pl.String)).alias("id"))


def evolve_all(run: Run, node: Node, folder: Path, source: Table, ports: Mapping[str, Table]) -> dict[str, Any]:
    """Children made with all rows in sight, put after all parents."""
    state, files = fitted(run, node, folder, source, ports)
    spec, operator = bound(run, node, folder, ports, state)
    run.progress.begin(node.id, 1, 0)
    live = Live(spec, operator)
    children = _children(guarded(node, _evolve, operator, run.dataset(source, spec.scratch)), live.fault)
    columns = types_of(node)
    kept = operator.params.get("parents") != "drop"
    parents = source.frame(list(source.columns))
    born = [c for c in children if not c.eliminated]
    for child in children:
        if child.eliminated:
            operator.context.note((child.parents or ("",))[0], f"eliminated_{child.eliminated}", **child.columns)
    frame = parents.with_row_index(ROW) if parents.height else pl.DataFrame({ROW: pl.Series([], dtype=pl.UInt32)})
    rows = _interleaved(
        _with_base(frame, columns),
        [kept] * parents.height,
        [(max(0, parents.height - 1), "", c) for c in born],
        columns,
    )
    rows = _unique(rows, Counter())
    events = Events([node.id])
    if not kept and parents.height:
        events.dropped(
            0,
            np.arange(parents.height),
            parents["id"],
            ["replaced"] * parents.height,
            None,
            kinds=["dropped"] * parents.height,
        )
    tally = events.counts(parents.height)[0] | {"born": len(born), "rows_out": rows.height}
    events.noted(operator.context, 0)
    tally["notes"] = events.counts(parents.height)[0]["notes"]
    layer = write_frame(folder / "part-00000.rows.parquet", rows, "lz4")
    ledger = write_frame(folder / "part-00000.ledger.parquet", events.frame(), "lz4") if len(events) else None
    entry = part_entry(rows.height, layers=[(*layer, list(columns))], ledger=ledger)
    run.progress.advance(node.id, rows.height)
    return manifest_of(
        [entry],
        columns,
        [vars(merge_counts(node.id, [tally]))],
        files | run.save_artefacts(folder, getattr(operator, "artefacts", {})),
    )


def _evolve(operator: Any, data: Any) -> Sequence[Child]:
    if not inspect.iscoroutinefunction(operator.evolve):
        return operator.evolve(data)  # type: ignore[no-any-return]
    from sftrecipe.models.pull import run_rows

    found = run_rows([data], operator.evolve)[0]  # a loop that lets connections go when it ends
    if isinstance(found, BaseException):
        raise found
    return found  # type: ignore[no-any-return]


def _with_base(frame: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """At least one line to inherit from, so that children of an empty table have somewhere to stand."""
    if frame.height:
        return frame
    schema = {c: parse_type(w).dtype() for c, w in columns.items()}
    return pl.DataFrame({ROW: [0], **{c: [None] for c in columns}}, schema={ROW: pl.UInt32, **schema})
