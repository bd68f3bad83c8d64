"""Operators made live: expressions compiled, files found, secrets resolved, models opened."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sftrecipe import params as declared
from sftrecipe.errors import StepError
from sftrecipe.expressions import TemplateText, compile
from sftrecipe.operators import Operator
from sftrecipe.params import env_names
from sftrecipe.registry import Functions, Registry
from sftrecipe.rows import DERIVED
from sftrecipe.run.context import RunContext

if TYPE_CHECKING:
    from sftrecipe.plan.node import Node

__all__ = ["StepSpec", "bind", "functions", "load_state", "secret", "spec_of"]


@dataclass
class StepSpec:
    """A step as it travels to where it runs: names, parameters and paths; no live state.

    `needs`: stored and derived columns handed to the operator; `carry`: columns it must have beside (`where`).
    """

    id: str
    name: str
    verb: str
    origin: str
    operator: Operator
    columns: dict[str, str]
    writes: dict[str, str]
    reads: tuple[str, ...]
    rewrites: tuple[str, ...]
    where: str | None
    where_columns: tuple[str, ...]
    seed: int
    on_error: str | None
    constants: dict[str, Any]
    scratch: Path
    located: dict[str, Any] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    nested: dict[str, StepSpec] = field(default_factory=dict)
    state: str = ""
    formatted: tuple[str, ...] = ()
    recipe: str = ""
    halves: bool = False


def spec_of(
    node: Node, seed: int, scratch: Path, paths: Mapping[str, str], state: str = "", recipe: str = ""
) -> StepSpec:
    """The spec of a node. `paths`: files and artefacts by parameter."""
    words = {n: str(c.type) for n, c in node.columns_in.items() if n}
    kinds = {s.kind for s in declared.specs(type(node.operator)).values()}
    return StepSpec(
        id=node.id,
        name=node.entry.full,
        verb=node.verb,
        origin=node.entry.origin,
        operator=node.operator,
        columns=words,
        writes=dict(node.flow.writes),
        reads=tuple(node.flow.reads),
        rewrites=tuple(node.flow.rewrites),
        where=node.step.where,
        where_columns=node.where_columns,
        seed=seed,
        on_error=node.step.on_error,
        constants=dict(node.step.constants),
        scratch=scratch,
        located=node.located,
        paths=dict(paths),
        models={p: m.name for p, m in node.models.items()},
        nested={
            p: spec_of(n, seed, scratch, {k: str(v) for k, v in {**n.files, **n.taken}.items()}, recipe=recipe)
            for p, n in node.nested.items()
        },
        state=state,
        formatted=node.formatted if node.verb == "write" else (),
        recipe=recipe,
        halves="expr" in kinds,
    )


@lru_cache(maxsize=1)
def functions() -> Any:
    """The expression functions of this installation."""
    return Functions(Registry())


def bind(spec: StepSpec, models: Mapping[str, Any] | None, ports: Mapping[str, Any] | None = None) -> Operator:
    """A live copy of the spec's operator, its context set and `setup()` called.

    `models`: live models by name, None where none is needed yet (their parameters keep the names). `ports`: Datasets by
    name.
    """
    operator = pickle.loads(
        pickle.dumps(spec.operator)
    )  # always through pickle, so that what fails in a pool fails everywhere
    alive = {**(DERIVED if "messages" in spec.columns else {}), **spec.columns}
    for param in declared.specs(type(operator)).values():
        value = operator.params.get(param.name)
        if param.kind == "expr" and value is not None:
            want = operator.wants.get(param.name)
            setattr(
                operator,
                param.name,
                _each(value, lambda v, w=want: compile(str(v), alive, spec.constants, functions(), want=w)),
            )
        elif param.kind == "template" and value is not None:
            setattr(operator, param.name, _each(value, lambda v: TemplateText(v, spec.constants)))
        elif param.kind == "secret" and value is not None:
            setattr(operator, param.name, secret(value))
        elif param.kind in ("file", "given", "taken") and value is not None:
            setattr(operator, param.name, _paths(param.name, value, spec.paths))
        elif param.kind == "model" and value is not None and models is not None:
            setattr(operator, param.name, _models(param.name, value, spec.models, models))
        elif param.kind == "operator" and value is not None:
            setattr(operator, param.name, bind(spec.nested[param.name], models))
        elif param.kind == "dataset":
            setattr(operator, param.name, _NoPort(spec, param.name) if ports is None else ports.get(param.name))
    for name, value in spec.located.items():
        setattr(operator, name, value)
    operator.context = context = RunContext(
        spec.id, spec.seed, spec.scratch, spec.formatted, spec.recipe, columns=alive
    )
    for name in spec.nested:  # an operator given as value tells its story in this step's
        getattr(operator, name).context.notes = context.notes
    operator.state = load_state(spec.state)
    operator.setup()
    return cast(Operator, operator)


class _NoPort:
    """Stands for a side port where rows run apart from each other, and none can be read."""

    def __init__(self, spec: StepSpec, name: str) -> None:
        self._spec, self._name = spec, name

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        text = f"`{self._spec.name}` ({self._spec.origin}) reads its port `{self._name}` where rows run shard by shard"
        help = "read it in `fit`, and what it returns is `self.state` there"
        raise StepError(text, step=self._spec.id, code="P010", help=help)

    def __len__(self) -> int:
        return int(self.__getattr__("len"))


def secret(text: str) -> str:
    """The value of `${env:NAME}`. Raises StepError R630 when it is not set."""
    names = env_names(text)
    value = os.environ.get(names[0]) if names else None
    if not value:
        raise StepError(
            f"the environment variable {names[0] if names else text} is not set",
            code="R630",
            help="export it and run again",
        )
    return value


def load_state(folder: str) -> Mapping[str, Any]:
    """What `fit` gave, read from its artefacts."""
    if not folder:
        return {}
    from sftrecipe.artefacts import load_all

    return load_all(Path(folder))


def _each(value: Any, make: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: make(v) for k, v in value.items()}
    return [make(v) for v in value] if isinstance(value, list) else make(value)


def _models(name: str, value: Any, named: Mapping[str, str], live: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {k: live[named[f"{name}.{k}"]] for k in value}
    if isinstance(value, list):
        return [live[named[f"{name}.{i}"]] for i in range(len(value))]
    return live[named[name]]


def _paths(name: str, value: Any, paths: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {k: Path(paths[f"{name}.{k}"]) for k in value}
    if isinstance(value, list):
        return [Path(paths[f"{name}.{i}"]) for i in range(len(value))]
    return Path(paths[name])
