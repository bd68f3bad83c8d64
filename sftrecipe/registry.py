"""Names to operators, providers, functions, engines and hooks: entry points, found without importing anything.

A recipe imports what it names and no more. A broken plugin is named and hurts only who uses it; two distributions
that claim one name are an error that names both. Undotted names (`score.ifd`) are the project's own; others bear
their owner (`score.acme.toxicity`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import Any

from sftrecipe.contract import broken
from sftrecipe.engines import FILE_PREFIX
from sftrecipe.errors import Problem, RecipeError, UsageError, described, did_you_mean, nearest
from sftrecipe.operators import Operator
from sftrecipe.verbs import BARE, VERBS

__all__ = ["Entry", "Functions", "Registry", "full_name"]

PREFIX = "sftrecipe."
OURS = "sftrecipe"
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Entry:
    """One registered name. `load()` imports it."""

    group: str
    name: str
    distribution: str
    version: str
    point: EntryPoint | None = None
    value: Any = None

    @property
    def full(self) -> str:
        """`score.ifd` for an operator, the plain name otherwise."""
        return f"{self.group}.{self.name}"

    @property
    def origin(self) -> str:
        """Distribution and version, or the file given on the command line, for messages."""
        return (
            f"--plugin {self.name.partition('.')[0]}.py"
            if self.distribution == COMMAND_LINE
            else f"{self.distribution} {self.version}"
        )

    def load(self) -> Any:
        """The object. Raises RecipeError P002 that names the plugin when importing it fails."""
        if self.point is None:
            return self.value
        try:
            return self.point.load()
        except (Exception, SystemExit) as error:  # the plugin border: whatever a foreign module raises is its failure
            raise RecipeError([_broken(self, error)]) from error


def full_name(word: str) -> str:
    """`filter` -> `filter.where`; `score.ifd` stays."""
    return f"{word}.{BARE[word]}" if word in BARE else word


@dataclass
class Registry:
    """All names that this installation knows. `files` are one-off plugins given on the command line."""

    files: Sequence[Path] = ()
    _extra: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.files:
            for entry in _entries_of_file(Path(path)):
                known = self._extra.setdefault((entry.group, entry.name), entry)
                if known.version != entry.version:
                    raise UsageError(f"--plugin {path}: another file brings `{entry.full}` too; rename one of them")

    @cached_property
    def _found(self) -> Mapping[tuple[str, str], Sequence[Entry]]:
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in _installed(tuple(sys.path)):
            known = found.setdefault((entry.group, entry.name), [])
            if all(entry.distribution != e.distribution for e in known):  # an editable install may be listed twice
                known.append(entry)
        for key, entry in self._extra.items():
            found.setdefault(key, []).append(entry)
        return found

    def entries(self, group: str = "") -> list[Entry]:
        """Every entry (of one group), by name. Imports nothing."""
        rows = [e for (g, _), es in self._found.items() for e in es if not group or g == group]
        return sorted(rows, key=lambda e: (e.group, e.name, e.distribution))

    def operators(self) -> list[Entry]:
        """Every operator, by verb and name."""
        return [e for e in self.entries() if e.group in VERBS]

    def entry(self, group: str, name: str) -> Entry:
        """The one entry with this name. Raises RecipeError R202, R203 (unknown), P001 (claimed twice) or P005 (no owner
        in its name).

        Engines and observers are named on the command line: an unknown one is a UsageError.
        """
        found = self._found.get((group, name), ())
        if not found:
            raise self._unknown(group, name)
        if len(found) > 1:
            both = " and ".join(e.origin for e in found)
            raise RecipeError([Problem("P001", f"`{group}.{name}` is claimed by {both}", help="uninstall one of them")])
        only = found[0]
        if "." not in name and group in VERBS and only.distribution not in (OURS, COMMAND_LINE):
            text = f"`{only.full}` of {only.origin} has no owner in its name: undotted names are the project's own"
            raise RecipeError(
                [Problem("P005", text, help=f"its author should call it `{group}.{_owner(only)}.{name}`")]
            )
        return only

    def operator(self, full: str) -> type[Operator]:
        """The class of `score.ifd`. Raises RecipeError."""
        verb, _, name = full.partition(".")
        found: type[Operator] = self.take(verb, name)
        return found

    def take(self, group: str, name: str) -> Any:
        """What stands behind a name, imported. Raises RecipeError P003 if it is not what its group asks for, and as
        `entry` and `Entry.load` do.
        """
        entry = self.entry(group, name)
        thing = entry.load()
        wrong = broken(group, thing)
        if wrong:
            text = f"`{entry.full}` of {entry.origin} {wrong}"
            raise RecipeError([Problem("P003", text, help="this is a defect of the plugin: tell its author")])
        return thing

    def _unknown(self, group: str, name: str) -> RecipeError | UsageError:
        if group in VERBS:
            near = self._nearest(group, name)
            help = (
                f"did you mean `{near}`?"
                if near
                else f"`sftrecipe ops {group}` lists what there is; is a plugin package missing?"
            )
            return RecipeError([Problem("R202", f"unknown operator `{group}.{name}`", help=help)])
        known = [e.name for e in self.entries(group)]
        help = did_you_mean(name, known) or f"there are {', '.join(known) or 'none'}"
        if group == "model":
            return RecipeError([Problem("R203", f"unknown model provider `{name}`", help=help)])
        return UsageError(f"unknown {'observer' if group == 'hook' else group} `{name}`: {help}")

    def _nearest(self, group: str, name: str) -> str:
        """The operator that was probably meant: one of this verb, or one of this name under another verb."""
        own = nearest(name, [e.name for e in self.operators() if e.group == group])
        if own:
            return f"{group}.{own}"
        others = {e.name: e.full for e in self.operators()}
        return others.get(nearest(name, others, cutoff=0.8), "")


class Functions(Mapping[str, Any]):
    """The functions that expressions may call, each imported when an expression names it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._names = dict.fromkeys(e.name for e in registry.entries("function"))

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._registry.take("function", name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> tuple[Entry, ...]:
    """Entries of all distributions on a search path, from their metadata alone. Looked up once a process."""
    found: dict[str, list[Entry]] = {}
    for dist in distributions(path=list(path)):
        text = dist.read_text("entry_points.txt")
        if not text or PREFIX not in text:
            continue
        name, version = _name_of(dist), dist.version
        if name not in found:
            points = [p for p in dist.entry_points if p.group.startswith(PREFIX)]
            found[name] = [Entry(p.group[len(PREFIX) :], p.name, name, version, p) for p in points]
    return tuple(e for entries in found.values() for e in entries)


def _name_of(dist: Distribution) -> str:
    return str(dist.metadata["Name"] or "unknown")


def _owner(entry: Entry) -> str:
    return re.sub(r"\W+", "_", entry.distribution.removeprefix("sftrecipe-").removeprefix("sftrecipe_")).lower()


def _broken(entry: Entry, error: BaseException) -> Problem:
    text = f"plugin {entry.origin} cannot be imported for `{entry.full}`: {described(error)}"
    return Problem("P002", text, help="reinstall the plugin, or install what it misses")


def _entries_of_file(path: Path) -> Iterator[Entry]:
    """The operators of a one-off file: `filter.<file>.<class in snake case>`."""
    if not path.is_file():
        raise UsageError(f"--plugin {path}: there is no such file")
    stem = re.sub(r"\W+", "_", path.stem)  # names are words: `my-ops.py` brings `filter.my_ops.short`
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    module_name = FILE_PREFIX + digest
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"--plugin {path}: is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # the plugin border, as above
            del sys.modules[module_name]
            raise UsageError(f"--plugin {path} cannot be imported: {described(error)}") from error
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Operator) and value.__module__ == module_name:
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", value.__name__).lower()
            yield Entry(value.verb, f"{stem}.{snake}", COMMAND_LINE, digest, value=value)
