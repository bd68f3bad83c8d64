"""`tests:` of a recipe as TestCase objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.recipe.document import Document
from sftrecipe.recipe.model import Place, TestCase

__all__ = ["TEST_KEYS", "read_tests"]

TEST_KEYS: Mapping[str, tuple[type, str]] = {
    "name": (str, "text"),
    "step": (str, "a step's id"),
    "given": (list, "a list of rows"),
    "from": (dict, "a mapping of ports to rows"),
    "with": (dict, "a mapping of parameters"),
    "models": (dict, "a mapping of models to replies"),
    "expect": (object, ""),
}
"""What a test may have: key -> (type of its value, the type in words)."""


def read_tests(document: Document) -> list[TestCase]:
    """The entries of `tests:` that have the shape of a test; the others are told (R128)."""
    cases = []
    for at, entry in enumerate(document.data.get("tests") or ()):
        place = document.place("tests", at)
        if not _is_test(entry, place, document.problems):
            continue
        cases.append(
            TestCase(
                name=str(entry.get("name") or entry["step"]),
                step=entry["step"],
                place=place,
                given=entry.get("given") or (),
                ports=entry.get("from") or {},
                overrides=entry.get("with") or {},
                models=entry.get("models") or {},
                expect=entry["expect"],
            )
        )
    return cases


def _is_test(entry: Any, place: Place, problems: Problems) -> bool:
    """Whether an entry of `tests:` has the shape of a test (R128)."""
    before = len(problems)
    if not isinstance(entry, dict):
        problems.error(
            "R128",
            "a test is a mapping with name, step, given and expect",
            place.span(),
            help="`- {name: ..., step: ..., given: [...], expect: [...]}`",
        )
        return False
    for key, value in entry.items():
        if key not in TEST_KEYS:
            help = did_you_mean(str(key), TEST_KEYS) or f"it has {', '.join(TEST_KEYS)}"
            problems.error("R128", f"unknown key `{key}` in a test", place.at(key).key(), help=help)
        elif value is not None and not isinstance(value, TEST_KEYS[key][0]):
            problems.error("R128", f"`{key}:` of a test is {TEST_KEYS[key][1]}", place.at(key).span())
    for at, row in enumerate(entry["given"] if isinstance(entry.get("given"), list) else ()):
        if not isinstance(row, dict):
            problems.error(
                "R128",
                "a given row is a mapping of columns to values",
                place.at("given", at).span(),
                help="`- {query: ..., response: ...}`",
            )
    missing = [k for k in ("step", "expect") if entry.get(k) is None]
    if missing:
        problems.error("R128", f"a test needs {' and '.join(f'`{k}:`' for k in missing)}", place.span())
    return len(problems) == before
