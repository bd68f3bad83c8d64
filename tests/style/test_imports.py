"""Imports go down only: cli -> run, report -> plan -> recipe, registry -> operators, expressions, yamlsource -> errors, rows.

Imports inside functions count; those for type checkers only do not.
"""

from __future__ import annotations

import importlib
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.style.source import core, plugins

ROOT = Path(__file__).parents[2]

LEVELS: list[tuple[str, ...]] = [
    ("errors", "lazy"),
    ("types", "draws", "vectors", "settings", "artefacts", "store", "ledger", "engines", "hooks"),
    ("rows", "yamlplaces", "yamlerrors"),
    ("yamlnodes", "table"),
    ("yamlsource", "expressions", "dataset"),
    ("params",),
    ("operators",),
    ("verbs", "models"),
    ("contract",),
    ("chat_templates", "registry"),
    ("chat",),
    ("chat_tokens", "recipe"),
    ("plan",),
    ("run",),
    ("report", "session"),
    ("testing", "cli"),
    ("__main__",),
]
"""Lowest first. A module may import what stands below its own level, and what is in its own package."""

EXCEPTIONS = {
    (
        "sftrecipe.params",
        "operators",
    ): "an annotation may name a verb: looked at when a class's parameters are asked for",
    ("sftrecipe.params", "models"): "an annotation may name a model protocol, as above",
}

LEVEL = {unit: n for n, units in enumerate(LEVELS) for unit in units}
NAMES = {m.name for m in core()}


def unit_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def reached(imported) -> set[str]:
    """The modules of ours that an import reaches: `from sftrecipe import params` is `sftrecipe.params`."""
    if imported.module.split(".")[0] != "sftrecipe":
        return set()
    found = {f"{imported.module}.{n}" for n in imported.names} & NAMES
    return found or {imported.module}


@pytest.mark.parametrize("module", core(), ids=str)
def test_imports_go_down(module):
    mine = unit_of(module.name)
    if not mine:
        return  # the root hands out names when they are asked for
    wrong = []
    for imported in module.imports():
        for target in reached(imported):
            unit = unit_of(target)
            if unit in ("", mine) or (module.name, unit) in EXCEPTIONS:
                continue
            if LEVEL[unit] >= LEVEL[mine]:
                wrong.append(f"line {imported.line}: {target}")
    assert wrong == []


def test_every_module_has_a_level():
    assert {unit_of(m.name) for m in core()} - {""} == set(LEVEL)


def test_the_exceptions_are_needed():
    used = {(m.name, unit_of(t)) for m in core() for i in m.imports() for t in reached(i)}
    assert set(EXCEPTIONS) <= used


@pytest.mark.parametrize("module", core(), ids=str)
def test_the_core_knows_no_plugin(module):
    assert [i.module for i in module.imports() if i.module.startswith("sftrecipe_")] == []
    if module.name not in ("sftrecipe.registry",):
        assert "sftrecipe_clean" not in module.text


@pytest.mark.parametrize("module", [*core(), *plugins()], ids=str)
def test_imports_are_absolute_and_by_name(module):
    assert [i for i in module.imports() if i.module.startswith(".") or "*" in i.names] == []


PUBLIC = {
    "sftrecipe": "what every operator is made of",
    "sftrecipe.errors": "did_you_mean and the errors",
    "sftrecipe.rows": "batches, and columns read off a conversation",
    "sftrecipe.types": "column types",
    "sftrecipe.lazy": "numpy, Polars and pyarrow on first use",
    "sftrecipe.operators": "the base, for operators that share code between verbs",
    "sftrecipe.params": "looking at declared parameters",
    "sftrecipe.expressions": "operators whose parameters are expressions of their own making",
    "sftrecipe.chat": "conversations through chat templates",
    "sftrecipe.chat_tokens": "conversations to tokens and labels",
    "sftrecipe.chat_templates": "the built-in templates",
    "sftrecipe.draws": "draws that do not depend on shards",
    "sftrecipe.vectors": "vector columns as matrices",
    "sftrecipe.models": "what chat models are asked and answer",
}
"""Modules that plugins may import; below `sftrecipe.models` all of them (providers), below the others none."""


@pytest.mark.parametrize("module", plugins(), ids=str)
def test_a_plugin_imports_public_modules_and_its_own(module):
    package = module.name.split(".")[0]
    for imported in module.imports():
        first = imported.module.split(".")[0]
        if first == package or not first.startswith("sftrecipe"):
            continue
        public = imported.module in PUBLIC or imported.module.startswith("sftrecipe.models.")
        assert public, f"line {imported.line}: {imported.module}"
        known = importlib.import_module(imported.module)
        private = [n for n in imported.names if n not in known.__all__]
        assert private == [], f"line {imported.line}: {imported.module} does not hand out {private}"


def test_what_plugins_may_import_is_there():
    assert all(importlib.import_module(name).__all__ for name in PUBLIC)


LATE = (
    "numpy",
    "polars",
    "pyarrow",
    "torch",
    "datasets",
    "tokenizers",
    "transformers",
    "sentence_transformers",
    "sklearn",
    "aiohttp",
    "pandas",
    "scipy",
    "ray",
    "snowballstemmer",
    "math_verify",
)
"""Libraries that no module imports at its top: listing, checking and `--help` stay quick."""


@pytest.mark.parametrize("module", [*core(), *plugins()], ids=str)
def test_heavy_libraries_are_imported_late(module):
    import ast

    if module.name.startswith("sftrecipe.testing"):
        return
    top = [n for n in module.tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = [a.name for n in top if isinstance(n, ast.Import) for a in n.names] + [
        n.module or "" for n in top if isinstance(n, ast.ImportFrom)
    ]
    assert [n for n in names if n.split(".")[0] in LATE] == []


def declared(*extras: str) -> set[str]:
    """Names of the distributions that pyproject.toml asks for, by PEP 503."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e])]
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in asked}


@pytest.mark.parametrize("module", [*core(), *plugins()], ids=str)
def test_what_is_imported_is_asked_for(module):
    """A library that only happens to be there, because another one brings it, is missing one day."""
    theirs = packages_distributions()
    known = declared("all") | (declared("dev") if module.name.startswith("sftrecipe.testing") else set())
    for imported in module.imports():
        first = imported.module.split(".")[0]
        if first in sys.stdlib_module_names or first.startswith("sftrecipe"):
            continue
        names = {re.sub(r"[-_.]+", "-", d).lower() for d in theirs.get(first, [first])}
        assert names & known, f"line {imported.line}: {first} is not in pyproject.toml"
