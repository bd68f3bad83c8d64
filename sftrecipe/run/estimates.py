"""`plan --estimate`: what the steps that ask models will ask, from a sample of their rows, before anything is sent.

Rows that a step will read are known when what it reads is in the store; else the nearest step above that is stored
says how many rows there are at most, and its rows are the sample. Where nothing is stored, the load is read (it is
free) and kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sftrecipe.lazy import pl
from sftrecipe.models.estimate import Estimate, estimate_costs, total
from sftrecipe.plan import Node
from sftrecipe.rows import DERIVED
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["estimates"]

SAMPLE = 200


def estimates(run: Run) -> Iterator[str]:
    """A line for each step and model, and a total."""
    found: list[Estimate] = []
    for node in run.plan.nodes.values():
        if not node.all_models() or node.id in run.results:
            continue
        table, exact = _rows(run, node)
        if table is None:
            yield f"{node.id}: unknown (nothing that it reads is in the store; run with --to the step above first)"
            continue
        costs = list(node.operator.cost(_sample(node, table)))
        limits = {
            name: run.plan.providers[m.name].limits() for name, m in node.models.items() if m.name in run.plan.providers
        }
        made = estimate_costs(costs, len(table), limits=limits)
        found += made
        rows = f"{len(table):,} rows" if exact else f"at most {len(table):,} rows"
        yield from (f"{node.id} ({rows}) {line}" for line in made)
        if not made:
            yield f"{node.id} ({rows}): a local model, nothing to pay"
    if len(found) > 1:
        yield str(total(found))


def _rows(run: Run, node: Node) -> tuple[Table | None, bool]:
    """The rows that a step reads, or those of the nearest stored step above it, and whether they are exact."""
    exact, at = True, node
    while at.inputs:
        ref = at.inputs[0]
        if ref.step in run.results:
            return run.table(ref), exact
        exact, at = False, run.plan.nodes[ref.step]
    return None, False


def _sample(node: Node, table: Table) -> pl.DataFrame:
    """The first rows of a table, with the columns that the operator reads as far as they are there."""
    if not table.parts:
        return pl.DataFrame()
    part = table.parts[0]
    have = {c for layer in part.layers for c in layer.columns}
    names = [c for c in ("id", *node.flow.reads) if c in have or (c in DERIVED and "messages" in have)]
    return part.frame(list(dict.fromkeys(names))).head(SAMPLE)
