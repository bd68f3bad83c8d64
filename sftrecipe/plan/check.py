"""`check`: everything that can be wrong is found before anything runs, and told at once. Touches no data."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.expressions import ExpressionError, check
from sftrecipe.plan.cases import check_tests
from sftrecipe.plan.flow import Flows
from sftrecipe.plan.graph import Plan, check_graph, check_idle
from sftrecipe.plan.node import Node
from sftrecipe.plan.resolve import Resolver
from sftrecipe.recipe import Recipe
from sftrecipe.registry import Functions, Registry

__all__ = ["COUNTS", "check_recipe"]

COUNTS = ("rows_in", "rows_out", "dropped", "failed", "born", "copied", "quarantined", "packed")
"""What `expect:` may speak of, beside `dropped.code` and the numbers that a measure hands back."""

UNCHANGED = ("filter", "select", "measure", "write")
"""Verbs that leave columns as they are."""


def check_recipe(recipe: Recipe, registry: Registry, problems: Problems) -> Plan:
    """The plan of a recipe. All that is wrong goes to `problems`; the plan holds what could be made of the rest."""
    resolver = Resolver(recipe, registry, problems)
    _requires(recipe, problems)
    resolver.models()
    flows = Flows(Functions(registry), problems, [e.full for e in registry.operators()])
    plan = Plan(recipe, providers=resolver.providers)
    broken = set(recipe.broken)
    for step in recipe.steps:
        node = resolver.node(step)
        if node is None:
            unknown = step.id in broken or any(r.step in broken for r in step.inputs)
            if step.verb in UNCHANGED and step.inputs and not unknown:
                flows.pass_on(step)  # its law tells what it would hand on, whatever is wrong with it
            else:
                broken.add(step.id)
            continue
        plan.nodes[step.id] = node
        _expectations(node, problems)
        _artefacts(plan, node, problems)
        if step.id in broken or any(r.step in broken for r in [*step.inputs, *step.ports.values()]):
            broken.add(step.id)  # what a broken step would have given is not known: do not guess at columns
            continue
        if not flows.visit(node):
            broken.add(step.id)
        node.formatted = _formatted(plan, node)
    check_graph(plan, problems)
    check_tests(recipe, plan, problems)
    if not problems.errors and not (plan.is_part() and any(n.verb == "write" for n in plan.nodes.values())):
        problems += dict.fromkeys(recipe.hints)
        check_idle(plan, problems)
    if plan.is_part() and any(n.verb == "write" for n in plan.nodes.values()):
        first = next(n for n in plan.nodes.values() if any(not r.step for r in n.inputs))
        evals = [n.id for n in plan.nodes.values() if n.step.is_eval]
        help = f"`{evals[0]}` holds evaluation rows, which are never the step above: " if evals else ""
        problems.error("R109", "there is no step above to read", first.place.span(), help=f"{help}begin with a `load`")
    return plan


def _formatted(plan: Plan, node: Node) -> tuple[str, ...]:
    """The columns that the last `format` above wrote: what a `write` puts out."""
    if node.verb in ("format", "pack"):
        return tuple(node.flow.writes)
    above = [plan.nodes[r.step].formatted for r in node.inputs if r.step in plan.nodes]
    return above[0] if above else ()


def _expectations(node: Node, problems: Problems) -> None:
    names = {**dict.fromkeys(COUNTS, "int")}
    for at, text in enumerate(node.step.expect):
        place = node.place.at("expect")
        plain = re.sub(r"\bdropped\.(\w+)", "dropped", text)
        if node.verb == "measure":
            continue  # a measure's own numbers have names that are known after the run only
        try:
            check(plain, names, want="bool", params=node.step.constants, functions={})
        except ExpressionError as error:
            here = place.at(at) if isinstance(place.written(), list) else place
            wrong = plain[error.start : error.end]
            help = (
                did_you_mean(wrong, COUNTS) or f"it speaks of {', '.join(COUNTS)}"
                if error.code == "R520"
                else error.help
            )
            start = text.find(wrong) if error.code == "R520" else error.start
            message = f"`expect:` knows no `{wrong}`" if error.code == "R520" else f"`expect:`: {error.message}"
            problems.error("R121", message, here.inside(start, start + len(wrong)), help=help)


def _artefacts(plan: Plan, node: Node, problems: Problems) -> None:
    for name, (step, _) in node.artefacts.items():
        if step not in plan.nodes or step == node.id:
            what = "is this step itself" if step == node.id else "stands below"
            text = f"`{step}` {what}: an artefact is there only after its step"
            problems.error("R107", text, node.step.params_place.at(name).span())


def _requires(recipe: Recipe, problems: Problems) -> None:
    """R133 for a plugin package that the recipe needs and that is not there."""
    for at, text in enumerate(recipe.requires):
        match = re.fullmatch(r"\s*([A-Za-z0-9._-]+)\s*(?:(>=|==)\s*([0-9][0-9a-zA-Z.]*))?\s*", text)
        span = recipe.place.at("requires", at).span()
        if match is None:
            problems.error(
                "R101", f"`{text}` is no requirement", span, help="`package`, `package>=1.2` or `package==1.2`"
            )
            continue
        name, relation, wanted = match.groups()
        try:
            have = version(name)
        except PackageNotFoundError:
            problems.error(
                "R133",
                f"the recipe requires `{text}`, which is not installed",
                span,
                help=f"pip install '{text.strip()}'",
            )
            continue
        if relation and not _meets(have, relation, wanted):
            problems.error(
                "R133",
                f"the recipe requires `{text}`; {name} {have} is installed",
                span,
                help=f"pip install '{text.strip()}'",
            )


def _meets(have: str, relation: str, wanted: str) -> bool:
    def parts(text: str) -> list[int]:
        return [int(p) for p in re.findall(r"\d+", text)]

    return parts(have) >= parts(wanted) if relation == ">=" else have == wanted
