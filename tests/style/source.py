"""The source as data: modules, what they import and when, functions and their length."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ROOT", "Import", "Module", "core", "functions", "plugins"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Import:
    """One imported module, and the names taken from it. `typing` only: under `if TYPE_CHECKING`."""

    module: str
    names: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Module:
    """A file of the source."""

    name: str
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.path)

    def imports(self) -> list[Import]:
        """Everything that is imported when the module or one of its functions runs."""
        return list(_imports(self.tree))

    def __str__(self) -> str:
        return self.name


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(node: ast.AST) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _imports(other)
            continue
        if isinstance(child, ast.ImportFrom):
            yield Import("." * child.level + (child.module or ""), tuple(a.name for a in child.names), child.lineno)
        elif isinstance(child, ast.Import):
            yield from (Import(a.name, (), child.lineno) for a in child.names)
        yield from _imports(child)


def _modules(root: Path, below: Path) -> list[Module]:
    found = []
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(below).with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, path))
    return found


def core() -> list[Module]:
    """The modules of `sftrecipe`."""
    return _modules(ROOT / "sftrecipe", ROOT)


def plugins() -> list[Module]:
    """The modules of the plugins that ship with it."""
    return [
        m
        for folder in sorted((ROOT / "plugins").iterdir())
        if folder.is_dir()
        for m in _modules(folder, ROOT / "plugins")
    ]


def functions(module: Module) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
