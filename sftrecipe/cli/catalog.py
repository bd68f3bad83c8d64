"""`ops`, `explain`, `schema`, `plugins`: what is installed, from metadata where possible."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path

from sftrecipe.cli.console import out
from sftrecipe.errors import UsageError, did_you_mean
from sftrecipe.registry import Registry, full_name
from sftrecipe.verbs import VERBS

__all__ = ["explain_word", "list_operators", "list_plugins", "print_schema"]


def list_operators(verb: str, files: Sequence[Path], docs: bool) -> None:
    """Names by verb, with the distribution of those that are not the project's."""
    registry = Registry(tuple(files))
    if verb and verb not in VERBS:
        raise UsageError(f"unknown verb `{verb}` {did_you_mean(verb, VERBS)}".rstrip())
    console = out()
    if docs:
        from sftrecipe.report.reference import reference

        console.print(reference(registry, verb), markup=False, end="")
        return
    for name in VERBS:
        entries = [e for e in registry.operators() if e.group == name]
        if not entries or (verb and verb != name):
            continue
        words = [e.full if e.distribution == "sftrecipe" else f"{e.full} ({e.origin})" for e in entries]
        console.print(f"{name:8} {'  '.join(words)}", markup=False)


def list_plugins() -> None:
    """Distributions and the names they bring."""
    found: dict[str, list[str]] = {}
    for entry in Registry().entries():
        found.setdefault(entry.origin, []).append(entry.full)
    console = out()
    for origin, names in sorted(found.items()):
        console.print(f"{origin}: {len(names)} names", markup=False)
        if not origin.startswith("sftrecipe "):
            console.print("  " + ", ".join(sorted(names)), markup=False)


def explain_word(word: str, files: Sequence[Path]) -> None:
    """A code's page, an operator's, a provider's or a function's."""
    codes = {p.stem: p for p in _codes().glob("*.md")}
    console = out()
    if word.upper() in codes:
        console.print(codes[word.upper()].read_text(encoding="utf-8"), markup=False, end="")
        return
    registry = Registry(tuple(files))
    full = full_name(word)
    if "." in full and full.partition(".")[0] in VERBS:
        from sftrecipe.report.reference import operator_page

        if any(e.full == full for e in registry.operators()):
            entry = registry.entry(*full.split(".", 1))
            console.print(operator_page(registry.operator(full), entry), markup=False, end="")
            return
    known = {e.name: e for e in registry.entries("model")}
    if word in known:
        from sftrecipe.report.reference import provider_page

        console.print(provider_page(registry.take("model", word), known[word]), markup=False, end="")
        return
    functions = {e.name: e for e in registry.entries("function")}
    if word in functions:
        made = registry.take("function", word)
        console.print(f"## {made.signature}\n\n{made.doc}\n\n- from: {functions[word].origin}", markup=False)
        return
    if word in VERBS:
        console.print(inspect.cleandoc(VERBS[word].__doc__ or ""), markup=False)
        return
    names = [*codes, *known, *functions, *VERBS, *(e.full for e in registry.operators())]
    raise UsageError(f"nothing is called `{word}` {did_you_mean(word, names)}".rstrip())


def _codes() -> Path:
    return Path(__file__).parent.parent / "codes"


def print_schema(files: Sequence[Path]) -> None:
    """The recipe schema for editors."""
    from sftrecipe.report.editor import recipe_schema

    registry = Registry(tuple(files))
    out().print(json.dumps(recipe_schema(registry), ensure_ascii=False, indent=1), markup=False)
