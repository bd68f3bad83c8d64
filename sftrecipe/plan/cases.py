"""`tests:` of a recipe, looked at before anything runs: the names in them are there."""

from __future__ import annotations

from collections.abc import Iterable

from sftrecipe import params as declared
from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.ledger import Counts
from sftrecipe.plan.graph import Plan
from sftrecipe.recipe import Place, Recipe, TestCase

__all__ = ["EXPECTED", "check_tests"]

EXPECTED = (
    "rows",
    "dropped",
    "error",
    *(n for n in vars(Counts("")) if n not in ("step", "codes", "nulls", "undefined", "notes", "dropped")),
)
"""What `expect: {...}` of a test may name, beside `dropped.code`."""


def check_tests(recipe: Recipe, plan: Plan, problems: Problems) -> None:
    """R137 for a step that is not there; R112, R115, R124, R128 for other names."""
    for case in recipe.tests:
        node = plan.nodes.get(case.step)
        if node is None and case.step not in recipe.broken and case.step not in {s.id for s in recipe.steps}:
            named = [s.id for s in recipe.steps if s.named]
            help = did_you_mean(case.step, plan.nodes) or (
                f"steps with an id: {', '.join(named)}" if named else "give the step an `id:`"
            )
            problems.error("R137", f"no step is called `{case.step}`", case.place.at("step").span(), help=help)
        _known(case.overrides, recipe.params, "R115", "unknown parameter", case.place.at("with"), problems)
        _known(case.models, recipe.models, "R124", "unknown model", case.place.at("models"), problems)
        if node is not None and node.verb == "load":
            help = "test the step that reads it, or write the rows into a file and run"
            problems.error(
                "R128", "a `load` reads files: no test can give it rows", case.place.at("step").span(), help=help
            )
        elif node is not None:
            ports = [s.name for s in declared.specs(type(node.operator)).values() if s.kind == "dataset"]
            _known(case.ports, ports, "R112", f"`{node.entry.full}` has no port", case.place.at("from"), problems)
        _expected(case, problems)


def _known(given: Iterable[str], known: Iterable[str], code: str, what: str, place: Place, problems: Problems) -> None:
    names = list(known)
    for name in given:
        if name not in names:
            help = did_you_mean(str(name), names) or (f"there are {', '.join(names)}" if names else "there are none")
            problems.error(code, f"{what} `{name}`", place.at(name).key(), help=help)


def _expected(case: TestCase, problems: Problems) -> None:
    place = case.place.at("expect")
    if isinstance(case.expect, dict):
        known = [k for k in case.expect if k.startswith("dropped.")]
        _known(case.expect, [*EXPECTED, *known], "R128", "a test cannot expect", place, problems)
    elif not (isinstance(case.expect, list) and all(isinstance(r, dict) for r in case.expect)):
        problems.error(
            "R128", "`expect:` is a list of rows, or {rows, dropped, error}", place.span(), help="`expect: {rows: 2}`"
        )
