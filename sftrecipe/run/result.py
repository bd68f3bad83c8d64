"""What a stage left in the store, and the tables it stands for.

A manifest's part says how its rows follow from those that came in: layers added (aligned with the rows in), then the
numbers of rows that stay, then layers aligned with these. A part without `from` holds rows of its own (load, mix,
evolve, pack).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftrecipe.lazy import np, pl
from sftrecipe.ledger import Counts
from sftrecipe.store import check_file
from sftrecipe.table import Layer, Part, Table

__all__ = ["Result", "assemble", "dropped_table", "ledger_of", "part_entry", "quarantine_table"]


@dataclass
class Result:
    """A finished stage: its manifest, its folder and the rows it hands on."""

    key: str
    folder: Path
    manifest: Mapping[str, Any]
    table: Table
    inputs: list[Table] = field(default_factory=list)
    cached: bool = False

    def counts(self) -> list[Counts]:
        """Each step's figures."""
        return [Counts(**c) for c in self.manifest["counts"]]

    def digest(self) -> str:
        """Content of the rows it hands on."""
        return self.table.digest()


def part_entry(
    rows: int,
    *,
    source: int | None = None,
    layers: Sequence[tuple[str, str, Sequence[str]]] = (),
    index: tuple[str, str] | None = None,
    after: Sequence[tuple[str, str, Sequence[str]]] = (),
    ledger: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """One part of a manifest. Layers are (file, sha256, columns)."""
    return {
        "rows": rows,
        "from": source,
        "layers": [list(x) for x in layers],
        "index": index,
        "after": [list(x) for x in after],
        "ledger": ledger,
    }


def files_of(parts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Every file of these parts, with its sha256."""
    found = {}
    for part in parts:
        for name, sha, _ in (*part["layers"], *part["after"]):
            found[name] = sha
        for entry in (part["index"], part["ledger"]):
            if entry:
                found[entry[0]] = entry[1]
    return found


def assemble(manifest: Mapping[str, Any], folder: Path, source: Table | None) -> Table:
    """The rows that a manifest hands on, given those that came in."""
    return Table([_part(p, folder, source) for p in manifest["parts"]], dict(manifest["columns"]))


def _part(entry: Mapping[str, Any], folder: Path, source: Table | None) -> Part:
    part = _widened(entry, folder, source)
    if entry["index"]:
        name, sha = entry["index"]
        check_file(folder / name, sha)
        part = part.keep(np.load(folder / name, allow_pickle=False))
    for name, sha, columns in entry["after"]:
        part = part.add(Layer(str(folder / name), sha, tuple(columns)))
    return part


def _widened(entry: Mapping[str, Any], folder: Path, source: Table | None) -> Part:
    """The rows that came in with the columns that the stage added."""
    layers = tuple(Layer(str(folder / name), sha, tuple(columns)) for name, sha, columns in entry["layers"])
    if entry["from"] is None or source is None:
        return Part(entry["rows"], layers)
    base = source.parts[entry["from"]]
    return Part(base.rows, (*base.layers, *layers))


def ledger_of(manifest: Mapping[str, Any], folder: Path, number: int) -> pl.DataFrame | None:
    """The events of one part, or None if nothing happened there."""
    entry = manifest["parts"][number]["ledger"]
    if not entry:
        return None
    check_file(folder / entry[0], entry[1])
    return pl.read_parquet(folder / entry[0])


def dropped_table(result: Result, step: str) -> Table:
    """The rows that a step of this stage let go, with the columns they had by then."""
    parts = []
    source = result.inputs[0] if result.inputs else None
    if source is not None and any(e["from"] is None for e in result.manifest["parts"]):
        return _of_source(result, step, source)  # rows of its own (evolve): those that left are the source's
    for number, entry in enumerate(result.manifest["parts"]):
        events = ledger_of(result.manifest, result.folder, number)
        if events is None:
            continue
        gone = events.filter((pl.col("step") == step) & pl.col("kind").is_in(["dropped", "failed"]))["row"].drop_nulls()
        if len(gone):
            rows = np.sort(gone.to_numpy()).astype(np.uint32)
            parts.append(_widened(entry, result.folder, source).keep(rows))
    return Table(parts, dict(result.manifest["columns"]))


def _of_source(result: Result, step: str, source: Table) -> Table:
    found = [ledger_of(result.manifest, result.folder, n) for n in range(len(result.manifest["parts"]))]
    events = [
        e.filter(pl.col("kind").is_in(["dropped", "failed"]) & (pl.col("step") == step)) for e in found if e is not None
    ]
    if not events:
        return Table([], dict(source.columns))
    ids = pl.concat(events)["id"]
    return source.keep(source.frame(("id",))["id"].is_in(ids.implode()).arg_true().to_numpy())


def quarantine_table(result: Result) -> Table:
    """The rows that a load could not take: file, line, offset, reason, raw."""
    entry = result.manifest.get("quarantine")
    columns = {"file": "text", "line": "int", "offset": "int", "reason": "text", "raw": "text"}
    if not entry:
        return Table([], columns)
    layer = Layer(str(result.folder / entry[0]), entry[1], tuple(columns))
    return Table([Part(entry[2], (layer,))], columns)
