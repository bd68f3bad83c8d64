"""What a recipe is once it is read: plain data, every entry with its place in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import Problem, Span

if TYPE_CHECKING:
    from sftrecipe.yamlsource import Source

__all__ = ["CommandLinePath", "ModelSpec", "Place", "Recipe", "Ref", "Step", "TestCase", "Unresolved", "is_unresolved"]

Path_ = tuple["str | int", ...]


class CommandLinePath(str):
    """A text given by `-p`: as a path it is relative to the working folder, not to the recipe."""


class Unresolved(str):
    """A value that is not known because of a problem that was told: nothing more is said about it."""


def is_unresolved(value: Any) -> bool:
    """Whether a value, or any part of it, is not known."""
    if isinstance(value, Mapping):
        return any(is_unresolved(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_unresolved(v) for v in value)
    return isinstance(value, Unresolved)


@dataclass(frozen=True)
class Place:
    """A spot in a recipe's data: which source, and the path of keys to it.

    `moved` maps places that a variant, `with:` or `-p` filled to where their values were written.
    """

    source: Source
    path: Path_
    moved: Mapping[Path_, tuple[Source, Path_]] = field(default_factory=dict)
    by_key: bool = False

    def at_key(self) -> Place:
        """The same place, of which the key is shown: for what the key stands for and nobody wrote."""
        return Place(self.source, self.path, self.moved, by_key=True)

    def at(self, *more: str | int) -> Place:
        """The place below this one."""
        return Place(self.source, self.path + more, self.moved)

    def span(self) -> Span:
        """Where the value stands."""
        source, path = self._origin()
        return source.key_span(path) if self.by_key else source.span(path)

    def key(self) -> Span:
        """Where the key stands."""
        source, path = self._origin()
        return source.key_span(path)

    def inside(self, start: int, end: int) -> Span:
        """The span of characters [start, end) of the text that stands here."""
        source, path = self._origin()
        return source.key_span(path) if self.by_key else source.at(path, start, max(1, end - start))

    def written(self) -> Any:
        """The value as it stands in the file, before parameters were filled in; None if nothing stands there."""
        source, path = self._origin()
        at = source.data
        for word in path:
            try:
                at = at[word]
            except (KeyError, IndexError, TypeError):
                return None
        return at

    @property
    def folder(self) -> Path:
        """The folder that read paths written here are relative to."""
        return Path(self._origin()[0].file).parent

    def _origin(self) -> tuple[Source, Path_]:
        for length in range(len(self.path), 0, -1):
            moved = self.moved.get(self.path[:length])
            if moved:
                return moved[0], moved[1] + self.path[length:]
        return self.source, self.path


@dataclass(frozen=True)
class Ref:
    """A reference to a step's rows: the step's id, and a port (`dropped`, `quarantined`) or none for its output."""

    step: str
    port: str = ""

    def __str__(self) -> str:
        return f"{self.step}.{self.port}" if self.port else self.step


@dataclass
class Step:
    """One step as written, with `${params}` filled in.

    `inputs` are the main inputs, in order; `ports` the side ports. `raw` holds the parameters before substitution.
    `inputs_place` is where the inputs are named, if that is not the step's own `from:`.
    """

    id: str
    operator: str
    params: dict[str, Any]
    raw: Any
    place: Place
    params_place: Place
    named: bool = False
    inputs: list[Ref] = field(default_factory=list)
    ports: dict[str, Ref] = field(default_factory=dict)
    where: str | None = None
    seed: int | None = None
    on_error: str | None = None
    expect: list[str] = field(default_factory=list)
    about: str = ""
    positional: Any = None
    has_positional: bool = False
    several: bool = False
    inputs_place: Place | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verb(self) -> str:
        """The first word of the operator's name."""
        return self.operator.partition(".")[0]

    @property
    def is_eval(self) -> bool:
        """Whether it loads evaluation rows, which no output may hold."""
        return self.verb == "load" and self.params.get("role") == "eval"


@dataclass
class ModelSpec:
    """One entry of `models:`."""

    name: str
    use: str
    params: dict[str, Any]
    place: Place


@dataclass
class TestCase:
    """One entry of `tests:`."""

    name: str
    step: str
    place: Place
    given: Sequence[Mapping[str, Any]] = ()
    ports: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    expect: Any = None


@dataclass
class Recipe:
    """A recipe, read and resolved as far as names inside the file go.

    `broken` are the ids of steps that could not be read, or that read such a step; `hints` are warnings worth telling
    only when nothing is wrong.
    """

    name: str
    file: Path
    text: str
    seed: int
    params: dict[str, Any]
    models: dict[str, ModelSpec]
    steps: list[Step]
    tests: list[TestCase]
    requires: list[str]
    variants: list[str]
    place: Place
    about: str = ""
    variant: str = ""
    files: dict[str, str] = field(default_factory=dict)
    outside: bool = False
    broken: set[str] = field(default_factory=set)
    hints: list[Problem] = field(default_factory=list)

    def step(self, id: str) -> Step:
        """The step with this id. Raises KeyError."""
        for step in self.steps:
            if step.id == id:
                return step
        raise KeyError(id)
