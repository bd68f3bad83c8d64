"""The plan: nodes in order, who reads whom, and what a graph may not do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.models.provider import Provider
from sftrecipe.plan.node import Node
from sftrecipe.recipe import Recipe, Ref
from sftrecipe.recipe.reader import PORTS

__all__ = ["Plan", "check_graph", "check_idle"]


@dataclass
class Plan:
    """A checked recipe: its nodes in the order of the file, which is an order of running."""

    recipe: Recipe
    nodes: dict[str, Node] = field(default_factory=dict)
    providers: dict[str, Provider] = field(default_factory=dict)

    def readers(self, id: str) -> list[tuple[Node, Ref]]:
        """The nodes that read a step's rows, with the reference they use."""
        return [(n, r) for n in self.nodes.values() for r in _refs(n) if r.step == id]

    def users(self, id: str) -> list[Node]:
        """The nodes that take an artefact of a step."""
        return [n for n in self.nodes.values() if any(step == id for step, _ in n.artefacts.values())]

    def upstream(self, ids: Iterable[str]) -> set[str]:
        """These steps and all that they need, side ports and artefacts included."""
        found: set[str] = set()
        todo = list(ids)
        while todo:
            id = todo.pop()
            if id in found or id not in self.nodes:
                continue
            found.add(id)
            node = self.nodes[id]
            todo += [r.step for r in _refs(node)] + [s for s, _ in node.artefacts.values()]
        return found

    def is_part(self) -> bool:
        """Whether its first step reads what a `use` step would give."""
        return any(not r.step for n in self.nodes.values() for r in _refs(n))


def _refs(node: Node) -> Iterator[Ref]:
    yield from node.inputs
    yield from node.step.ports.values()


def check_graph(plan: Plan, problems: Problems) -> None:
    """Ports that exist, inputs that fit, evaluation rows kept out."""
    for node in plan.nodes.values():
        _check_inputs(plan, node, problems)
        _check_eval(plan, node, problems)


def check_idle(plan: Plan, problems: Problems) -> None:
    """Warnings: models and steps that nobody uses. Worth telling only when nothing is wrong: a misspelt name leaves
    much unused.
    """
    for model in plan.recipe.models.values():
        if not any(model in n.all_models().values() for n in plan.nodes.values()):
            problems.warning("R127", f"model `{model.name}` is never used", model.place.key())
    last = next(reversed(plan.nodes), "")
    for node in plan.nodes.values():
        idle = node.verb not in ("write", "measure") and not plan.readers(node.id) and not plan.users(node.id)
        if idle and node.id != last and not node.step.is_eval:
            problems.warning(
                "R127", f"no step reads `{node.id}`", node.place.span(), help="name it with `from:`, or remove it"
            )
        elif idle and node.step.is_eval:
            problems.warning(
                "R127",
                f"no step reads the evaluation rows `{node.id}`",
                node.place.span(),
                help="`from: {against: ...}`",
            )


def _check_inputs(plan: Plan, node: Node, problems: Problems) -> None:
    if len(node.inputs) > 1 and not node.operator.many_inputs:
        problems.error(
            "R110",
            f"`{node.entry.full}` reads one input, not {len(node.inputs)}",
            (node.step.inputs_place or node.place.at("from")).span(),
            help="put a `mix` before it",
        )
    for ref in _refs(node):
        source = plan.nodes.get(ref.step)
        if source is None or not ref.port:
            continue
        ports = PORTS.get(source.verb, ())
        if ref.port not in ports:
            known = (
                f"`{source.verb}` has the port {' and '.join(ports)}"
                if ports
                else f"a `{source.verb}` step has no ports"
            )
            place = node.place.at("from")
            problems.error(
                "R108",
                f"`{ref.step}` has no port `{ref.port}`",
                place.span(),
                help=did_you_mean(ref.port, ports) or known,
            )


def _check_eval(plan: Plan, node: Node, problems: Problems) -> None:
    """R126: the rows of a load with `role: eval` may reach side ports and measures only."""
    if node.verb != "write":
        return
    todo, seen = list(node.inputs), set()
    while todo:
        ref = todo.pop()
        source = plan.nodes.get(ref.step)
        if source is None or ref.step in seen:
            continue
        seen.add(ref.step)
        if source.step.is_eval and ref.port != "quarantined":
            text = f"the evaluation rows of `{source.id}` would reach the output of `{node.id}`"
            problems.error(
                "R126",
                text,
                node.place.span(),
                help="evaluation rows may be read through side ports only: `from: {against: ...}`",
            )
            return
        todo += source.inputs
