"""Steps that rows pass untouched: `measure` leaves artefacts, `write` leaves files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import StepError
from sftrecipe.ledger import Counts
from sftrecipe.plan import Node
from sftrecipe.run.kinds import bound, guarded, manifest_of
from sftrecipe.run.mixing import _names
from sftrecipe.run.outputs import put
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["measure", "write"]


def measure(run: Run, node: Node, folder: Path, inputs: list[Table], ports: Mapping[str, Table]) -> dict[str, Any]:
    """Runs a measure over its inputs and keeps what it found."""
    spec, operator = bound(run, node, folder, ports)
    run.progress.begin(node.id, 1, 0)
    datasets = {n: run.dataset(t, spec.scratch / n, operator.heavy) for n, t in zip(_names(node), inputs, strict=True)}
    found = guarded(node, operator.measure, datasets)
    if not isinstance(found, Mapping):
        raise StepError(
            f"`{node.entry.full}` ({node.entry.origin}): measure must give a mapping", step=node.id, code="P010"
        )
    files = run.save_artefacts(folder, {**getattr(operator, "artefacts", {}), **found})
    rows = sum(len(t) for t in inputs)
    run.progress.advance(node.id, rows)
    return manifest_of(None, inputs[0].columns, [vars(Counts(node.id, rows_in=rows, rows_out=rows))], files)


def write(run: Run, node: Node, folder: Path, source: Table) -> dict[str, Any]:
    """Writes the output and remembers what was written."""
    run.progress.begin(node.id, 1, 0)
    facts = put(run, node, folder, source)
    run.progress.advance(node.id, len(source))
    manifest = manifest_of(None, source.columns, [vars(Counts(node.id, rows_in=len(source), rows_out=len(source)))], {})
    manifest["written"] = facts
    return manifest
