"""A row's story: from the file it came from, through every step, to where it is now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import pl
from sftrecipe.plan import Node
from sftrecipe.run.result import Result, dropped_table, ledger_of
from sftrecipe.store import check_file
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["Line", "find", "rows_of", "story"]


@dataclass
class Line:
    """What one step did with a row."""

    step: str
    verdict: str
    detail: str = ""
    columns: dict[str, Any] = field(default_factory=dict)


def find(run: Run, text: str, limit: int = 20) -> list[tuple[str, str]]:
    """(row id, start of its text) of rows whose id begins with `text`, or whose conversation holds it. Looks where rows
    begin.
    """
    found: dict[str, str] = {}
    for node in run.plan.nodes.values():
        if node.id not in run.results or node.verb not in ("load", "evolve", "mix"):
            continue
        for part in run.results[node.id].table.parts:
            frame = part.frame(["id", "conversation"]) if _has(part, "messages") else part.frame(["id"])
            mask = pl.col("id") == text if len(text) >= 16 and text.isalnum() else pl.col("id").str.starts_with(text)
            if "conversation" in frame.columns:
                mask = mask | pl.col("conversation").str.contains(text, literal=True)
            for row in frame.filter(mask).iter_rows(named=True):
                base, copy, _ = row["id"].rpartition("~")
                if node.verb == "mix" and copy and base in found and "~" not in text:
                    continue  # a copy that a mix made: who looks for a text means the row
                found.setdefault(row["id"], (row.get("conversation") or "")[:80])
                if len(found) >= limit:
                    return list(found.items())
    return list(found.items())


def _has(part: Any, column: str) -> bool:
    return any(column in layer.columns for layer in part.layers)


def story(run: Run, id: str) -> Iterator[Line]:
    """Every step's verdict on a row, in the order of the recipe."""
    here: set[str] = set()
    for node in run.plan.nodes.values():
        result = run.results.get(node.id)
        if result is None:
            yield Line(node.id, "not run")
            continue
        sources = {r.step for r in node.inputs}
        if node.inputs and not (sources & here):
            gone = _event(result, node, id)
            if gone is not None:
                yield from gone
            elif node.verb in ("evolve", "mix", "pack") and _holds(result.table, id):
                here.add(node.id)
                copy = f"a copy of {id.rpartition('~')[0]}" if node.verb == "mix" and "~" in id else ""
                yield Line(node.id, "born" if node.verb == "evolve" else "drawn", copy or _family(result, id))
            continue
        events = _event(result, node, id)
        if events:
            yield from events
        if any(e.verdict in ("dropped", "failed") for e in events or ()):
            continue
        if _stays(node, result, id):
            here.add(node.id)
            if not events:
                yield Line(
                    node.id,
                    "loaded" if node.verb == "load" else "kept",
                    _origin(result, node, id),
                    _values(result, node, id),
                )
        elif node.verb == "pack":
            yield Line(node.id, "packed", _pack(result, id))


def _stays(node: Node, result: Result, id: str) -> bool:
    if node.verb == "pack":
        return False
    return _holds(result.table, id) or node.id != _last_of_stage(result)


def _last_of_stage(result: Result) -> str:
    return str(result.manifest["counts"][-1]["step"])


def _holds(table: Table, id: str) -> bool:
    return any((part.read(["id"])["id"] == id).any() for part in table.parts)


def _event(result: Result, node: Node, id: str) -> list[Line] | None:
    """What the ledger says of this row at this step."""
    lines = []
    for frame in _ledgers(result):
        for row in frame.filter((pl.col("id") == id) & (pl.col("step") == node.id)).iter_rows(named=True):
            detail = row["code"]
            if row["value"] is not None:
                detail += f" ({row['value']:.4g})"
            if row["other"]:
                detail += f", because of row {row['other']}"
            if row["facts"]:
                detail += f" {_facts(row['facts'])}"
            lines.append(Line(node.id, {"null": "left without a value"}.get(row["kind"], row["kind"]), detail))
    return lines or None


def _facts(text: str) -> str:
    try:
        return ", ".join(f"{k}={v}" for k, v in json.loads(text).items() if not k.endswith("text"))
    except (ValueError, AttributeError):
        return text


def _ledgers(result: Result) -> Iterator[pl.DataFrame]:
    for number in range(len(result.manifest["parts"] or ())):
        frame = ledger_of(result.manifest, result.folder, number)
        if frame is not None:
            yield frame
    if "events" in result.manifest:
        name, sha = result.manifest["events"]
        check_file(result.folder / name, sha)
        yield pl.read_parquet(result.folder / name)


def _origin(result: Result, node: Node, id: str) -> str:
    if node.verb != "load":
        return ""
    row = _row(result.table, id, ["source", "license"])
    return f"from {row.get('source')}, {row.get('license') or 'licence not known'}" if row else ""


def _values(result: Result, node: Node, id: str) -> dict[str, Any]:
    """The short columns that the step wrote for this row."""
    names = [
        n
        for n, w in node.flow.writes.items()
        if w in ("int", "float", "bool", "text", "list[text]") and n in result.table.columns
    ]
    if node.verb == "select":
        names.append("rank")
    return _row(result.table, id, names) if names and node.verb != "load" else {}


def _family(result: Result, id: str) -> str:
    if "parents" not in result.table.columns:
        return ""
    row = _row(result.table, id, ["parents"])
    return f"from {', '.join(row['parents'])}" if row and row.get("parents") else ""


def _row(table: Table, id: str, columns: list[str]) -> dict[str, Any]:
    for part in table.parts:
        have = [c for c in columns if _has(part, c)]
        hit = part.read(["id", *have]).filter(pl.col("id") == id)
        if hit.height:
            return {k: v for k, v in hit.row(0, named=True).items() if k != "id"}
    return {}


def _pack(result: Result, id: str) -> str:
    for part in result.table.parts:
        hit = part.read(["id", "members"]).filter(pl.col("members").list.contains(id))
        if hit.height:
            return "into " + ", ".join(hit["id"].to_list())
    return ""


def rows_of(run: Run, step: str, port: str, limit: int) -> tuple[pl.DataFrame, list[str]]:
    """The first rows of a step (or of what it dropped, with code, value and other row)."""
    from sftrecipe.run.result import quarantine_table

    result = run.results[step]
    if port == "quarantined":
        table = quarantine_table(result)
        return table.frame(list(table.columns)).head(limit), list(table.columns)
    if port == "dropped":
        return _dropped(result, step, limit)
    table = result.table
    names = list(table.columns)
    frames, left = [], limit
    for part in table.parts:
        if left <= 0:
            break
        have = [c for c in names if _has(part, c)]
        frames.append(part.read(have).head(left))
        left -= frames[-1].height
    return (pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()), names


def _dropped(result: Result, step: str, limit: int) -> tuple[pl.DataFrame, list[str]]:
    events = [
        f.filter((pl.col("step") == step) & pl.col("kind").is_in(["dropped", "failed"])) for f in _ledgers(result)
    ]
    reasons = (
        pl.concat(events).select("id", "code", "value", "other")
        if events
        else pl.DataFrame(schema={"id": pl.String, "code": pl.String})
    )
    if "events" in result.manifest or not result.inputs:
        return _with_texts(reasons.head(limit), result.inputs)
    table = dropped_table(result, step)  # of one input: its rows stand beside what was noted of them
    source = Table(table.parts, result.inputs[0].columns)
    names = [c for c in source.columns if all(_has(p, c) for p in source.parts)]
    frames = [p.read(names).head(limit) for p in source.parts]
    rows = pl.concat(frames).head(limit) if frames else pl.DataFrame(schema={"id": pl.String})
    return rows.join(reasons, on="id", how="left", maintain_order="left"), [*reasons.columns, *names]


def _with_texts(reasons: pl.DataFrame, inputs: Sequence[Table]) -> tuple[pl.DataFrame, list[str]]:
    """What was noted of rows, with the rows themselves, from whichever input they came."""
    found = []
    for table in inputs:
        for part in table.parts:
            have = [c for c in ("id", "messages", "source", "license") if _has(part, c)]
            found.append(part.read(have).filter(pl.col("id").is_in(reasons["id"].to_list())))
    if not found or not reasons.height:
        return reasons, list(reasons.columns)
    rows = pl.concat(found, how="diagonal_relaxed").unique("id", keep="first", maintain_order=True)
    both = reasons.join(rows, on="id", how="left", maintain_order="left")
    return both, list(both.columns)
