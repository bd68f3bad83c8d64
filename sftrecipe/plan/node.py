"""A step once its operator is known: the class, the validated parameters, and all that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftrecipe.operators import Flow, Operator, overrides
from sftrecipe.recipe import ModelSpec, Place, Ref, Step
from sftrecipe.registry import Entry
from sftrecipe.types import Type, parse_type
from sftrecipe.verbs import Filter

__all__ = ["Column", "Columns", "Node"]


@dataclass(frozen=True)
class Column:
    """A column alive at some point: its type, the texts it was computed from, and the step that made it stale."""

    type: Type
    texts: frozenset[str] = frozenset()
    stale: str = ""

    @classmethod
    def of(cls, word: str, texts: frozenset[str] = frozenset()) -> Column:
        """From a type as a word."""
        return cls(parse_type(word), texts)


Columns = dict[str, Column]


@dataclass
class Node:
    """One step of the plan.

    `files` are the paths whose content is part of the key, by parameter; `artefacts` the File parameters that name
    `step.key`; `taken` the files that may come from outside; `models` the model of each model parameter (`name.key`
    in a mapping); `located` parameters with read paths made absolute.
    """

    step: Step
    operator: Operator
    entry: Entry
    files: dict[str, Path] = field(default_factory=dict)
    artefacts: dict[str, tuple[str, str]] = field(default_factory=dict)
    taken: dict[str, Path] = field(default_factory=dict)
    models: dict[str, ModelSpec] = field(default_factory=dict)
    nested: dict[str, Node] = field(default_factory=dict)
    located: dict[str, Any] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)
    columns_in: Columns = field(default_factory=dict)
    columns_out: Columns = field(default_factory=dict)
    port_columns: dict[str, Columns] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    where_columns: tuple[str, ...] = ()
    formatted: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The step's id."""
        return self.step.id

    @property
    def verb(self) -> str:
        """The operator's verb."""
        return self.step.verb

    @property
    def inputs(self) -> list[Ref]:
        """The main inputs."""
        return self.step.inputs

    @property
    def place(self) -> Place:
        """Where the step stands."""
        return self.step.place

    @property
    def has_fit(self) -> bool:
        """Whether it passes over everything before its rows."""
        return overrides(type(self.operator), "fit", Operator)

    @property
    def streams(self) -> bool:
        """Whether it needs no other rows, so that it can share a stage with its neighbours."""
        if self.verb == "filter":
            return not overrides(type(self.operator), "choose", Filter)
        return self.verb in ("tag", "score", "format", "answer") or (
            self.verb == "evolve" and "evolve_row" in _own_methods(type(self.operator))
        )

    @property
    def place_kind(self) -> str:
        """`loop` (network models), `device` (a local model), or `rows`."""
        kinds = {_provider_place(m) for m in self.all_models().values()}
        return "loop" if "loop" in kinds else "device" if "device" in kinds else "rows"

    def all_models(self) -> Mapping[str, ModelSpec]:
        """Models by parameter, those of operators given as values too."""
        found = dict(self.models)
        for name, node in self.nested.items():
            found |= {f"{name}.{k}": m for k, m in node.all_models().items()}
        return found


def _own_methods(cls: type) -> set[str]:
    return {name for base in cls.__mro__ if base.__module__ != "sftrecipe.verbs" for name in vars(base)}


def _provider_place(spec: ModelSpec) -> str:
    return str(getattr(spec, "place_kind", "device"))
