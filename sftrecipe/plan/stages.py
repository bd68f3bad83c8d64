"""Stages: chains of steps that need no other rows, run shard by shard with nothing written in between.

A stage ends where somebody must be able to look: at loads, whole-data steps, model steps, writes, where several read
one step, where a `dropped` port is read, and where a run is told to stop (`--to`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sftrecipe.plan.graph import Plan
from sftrecipe.plan.node import Node

__all__ = ["Stage", "make_stages"]


@dataclass
class Stage:
    """Nodes that run together. `kind`: load, rows (streamed), whole (one node that sees all rows)."""

    kind: str
    nodes: list[Node] = field(default_factory=list)

    @property
    def first(self) -> Node:
        """The node that reads the stage's input."""
        return self.nodes[0]

    @property
    def last(self) -> Node:
        """The node whose rows the stage hands on."""
        return self.nodes[-1]

    @property
    def id(self) -> str:
        """The ids of its steps, for people."""
        return " + ".join(n.id for n in self.nodes)

    @property
    def place(self) -> str:
        """`loop`, `device` or `rows`: where its work runs."""
        kinds = {n.place_kind for n in self.nodes}
        return "loop" if "loop" in kinds else "device" if "device" in kinds else "rows"


def make_stages(plan: Plan, only: Iterable[str] | None = None) -> list[Stage]:
    """The stages of a plan (of the steps `only` and what they need), in an order of running."""
    wanted = set(plan.nodes) if only is None else plan.upstream(only)
    ends = set(only or ())
    stages: list[Stage] = []
    of: dict[str, Stage] = {}
    for node in plan.nodes.values():
        if node.id not in wanted:
            continue
        before = of.get(node.inputs[0].step) if len(node.inputs) == 1 and not node.inputs[0].port else None
        if before and before.last.id == node.inputs[0].step and _joins(plan, before, node, ends):
            before.nodes.append(node)
            of[node.id] = before
            continue
        kind = "load" if node.verb == "load" else "rows" if node.streams else "whole"
        stage = Stage(kind, [node])
        stages.append(stage)
        of[node.id] = stage
    return stages


def _joins(plan: Plan, stage: Stage, node: Node, ends: set[str]) -> bool:
    """Whether a node may run in the stage above it."""
    last = stage.last
    if stage.kind != "rows" or not node.streams or last.id in ends:
        return False
    # models run alone: their place differs, and what they cost should be on disk before the next step can fail
    if any(n.place_kind != "rows" for n in (last, node)) or node.has_fit:
        return False
    if last.verb == "evolve" or node.verb == "evolve":
        return False
    return len(plan.readers(last.id)) == 1 and not plan.users(last.id)
