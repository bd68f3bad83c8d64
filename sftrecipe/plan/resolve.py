"""Steps to nodes: operators found, parameters validated by the operator's own schema, every name in them tied."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sftrecipe import params as declared
from sftrecipe.errors import Problem, Problems, RecipeError, did_you_mean, raised_at
from sftrecipe.models.provider import Provider
from sftrecipe.operators import Operator
from sftrecipe.params import ParamSpec, env_names
from sftrecipe.plan.node import Node
from sftrecipe.plan.paths import Paths
from sftrecipe.plan.values import BESIDE, as_numbers, check_schema, read_text
from sftrecipe.recipe import Place, Recipe, Step
from sftrecipe.recipe.model import Unresolved, is_unresolved
from sftrecipe.recipe.steps import no_reference
from sftrecipe.registry import Entry, Registry

__all__ = ["EXTRAS", "Resolver", "broke"]

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "embed": ("sentence_transformers",),
    "lm": ("torch", "transformers"),
}
"""Extra -> the modules it brings, looked for without importing them."""


SECRET = re.compile(r"\$\{env:[A-Za-z_][A-Za-z0-9_]*\}")


class Resolver:
    """Resolves the steps and models of one recipe, telling problems to `problems`."""

    def __init__(self, recipe: Recipe, registry: Registry, problems: Problems) -> None:
        self.recipe, self.registry, self.problems = recipe, registry, problems
        self.ids = {s.id for s in recipe.steps}
        self.providers: dict[str, Provider] = {}
        self.paths = Paths(problems, recipe.outside)

    def models(self) -> None:
        """Finds and checks every provider that `models:` names."""
        for spec in self.recipe.models.values():
            try:
                entry = self.registry.entry("model", spec.use)
                cls = self.registry.take("model", spec.use)
            except RecipeError as error:
                self._tell(error, spec.place.at("use"))
                continue
            known = {k: v for k, v in spec.params.items() if not is_unresolved(v)}
            if not check_schema(
                cls, known, spec.place, f"model provider `{spec.use}`", self.problems, given=spec.params
            ):
                continue
            declares = declared.specs(cls)
            values = {k: self._provider_value(declares[k], v, spec.place.at(k)) for k, v in spec.params.items()}
            self._needs(cls, spec.place.at("use"), f"model provider `{spec.use}`")
            if is_unresolved(values):
                continue
            try:
                provider = cls(**values)
                provider.name = spec.use
                wrong = _messages(provider.check())
            except Exception as error:  # the plugin border
                self.problems.append(broke(entry, error, spec.place))
                continue
            vars(spec)["place_kind"] = cls.place
            for message in wrong:
                self.problems.error("R306", f"model `{spec.name}`: {message}", spec.place.key())
            self.providers[spec.name] = provider

    def _provider_value(self, spec: ParamSpec, value: Any, place: Place) -> Any:
        if spec.name == "model" and isinstance(value, str) and self.paths.absolute(value, place).exists():
            return str(
                self.paths.absolute(value, place)
            )  # a local model beside the recipe; hub names are left as they are
        if spec.kind != "file" or not isinstance(value, str):
            return self._plain(spec, value, place)
        path = self.paths.absolute(value, place)
        if not path.exists():
            self._missing(path, value, place)
        return str(path)

    def node(self, step: Step) -> Node | None:
        """The node of a step, or None if something is too wrong to go on with it."""
        try:
            entry = self.registry.entry(step.verb, step.operator.partition(".")[2])
            cls = self.registry.operator(step.operator)
        except RecipeError as error:
            self._tell(error, step.params_place, key=True)
            return None
        return self._operator_node(step, cls, entry, step.params, step.params_place)

    def _operator_node(
        self, step: Step, cls: type[Operator], entry: Entry, given: Mapping[str, Any], place: Place
    ) -> Node | None:
        if place is step.params_place:
            self._ports(step, cls, entry)
        values = self._mapping(step, cls, given, place)
        if values is None:
            return None
        literal = {k: v for k, v in values.items() if not _is_file_form(v) and not is_unresolved(v)}
        if not check_schema(cls, literal, place, f"`{entry.full}`", self.problems, given=values):
            return None
        self._needs(cls, place, f"`{entry.full}`")
        node = Node(step, Operator.__new__(cls), entry)
        converted: dict[str, Any] = {}
        for name, value in values.items():
            spec = declared.specs(cls)[name]
            here = place if spec.rest or (spec.positional and step.has_positional) else place.at(name)
            converted[name] = value if is_unresolved(value) else self._value(node, spec, value, here)
        if is_unresolved(converted):
            return None  # what is wrong was told; what else would be said of the step could be wrong
        wrong = self._built(node, cls, converted, place)
        for message in wrong or ():
            named = [n for n in re.findall(r"`(\w+)`", message) if n in given]
            span = place.at(named[0]).span() if named else place.key()
            self.problems.error("R306", f"`{entry.full}`: {message}", span)
        if wrong or wrong is None:
            return None
        if step.verb == "load":
            node.located = self._located(node, place)
        elif step.verb == "write" and isinstance(node.operator.params.get("path"), str):
            self.paths.output(node.operator.params["path"], place if step.has_positional else place.at("path"))
        return node

    def _built(self, node: Node, cls: type[Operator], values: Mapping[str, Any], place: Place) -> list[str] | None:
        """Makes the operator. What its own check complains of, or None if the plugin broke."""
        try:
            node.operator = cls(**values)
            if not hasattr(node.operator, "params"):
                raise TypeError("its `__init__` does not call `super().__init__(**given)`")
            node.operator.name = node.entry.full
            return _messages(node.operator.check())
        except Exception as error:  # the plugin border
            self.problems.append(broke(node.entry, error, place))
            return None

    def _mapping(
        self, step: Step, cls: type[Operator], given: Mapping[str, Any], place: Place
    ) -> dict[str, Any] | None:
        """Parameters by name: a scalar goes to the positional one, unknown keys to the one that takes the rest."""
        if step.has_positional and place is step.params_place:
            spec = declared.positional(cls)
            if spec is None:
                names = ", ".join(declared.specs(cls)) or "none"
                self.problems.error(
                    "R305",
                    f"`{step.operator}` takes a mapping of parameters",
                    place.span(),
                    help=f"its parameters: {names}",
                )
                return None
            return {spec.name: step.positional}
        rest = declared.rest(cls)
        if rest is None:
            return dict(given)
        known = declared.specs(cls)
        values = {k: v for k, v in given.items() if k in known}
        others = {k: v for k, v in given.items() if k not in known and k not in BESIDE}
        values |= {k: v for k, v in given.items() if k in BESIDE}  # no names of columns: what they mean is told
        return {**values, rest.name: {**values.get(rest.name, {}), **others}} if others else values

    def _value(self, node: Node, spec: ParamSpec, value: Any, place: Place) -> Any:
        """A value as the operator takes it, or Unresolved if it names something that is not there."""
        if value is None:
            return None
        if spec.kind == "operator":
            return self._nested(node, spec, value, place) or Unresolved(spec.name)
        if spec.kind == "model":
            for at, name in _texts(value):
                self._model(node, spec, at, str(name), place if at is None else place.at(at))
            return value
        if spec.kind == "file":
            return self._files(node, spec, value, place)
        if spec.kind == "taken":
            for at, text in _texts(value):
                node.taken[spec.name if at is None else f"{spec.name}.{at}"] = self.paths.absolute(
                    str(text), place if at is None else place.at(at)
                )
            return value
        if _is_file_form(value):
            return self._text_file(node, spec, value, place)
        if spec.kind == "template" and isinstance(value, (Mapping, list)):
            made = {
                at: self._text_file(node, spec, v, place.at(at), whole=True) if _is_file_form(v) else v
                for at, v in _texts(value)
            }
            value = made if isinstance(value, Mapping) else list(made.values())
        if spec.kind == "expr":
            texts = _written(place, value if spec.rest else None)
            refused = [no_reference(t, at, self.problems) for t, at in texts]
            if any(refused):
                return Unresolved(spec.name)
        return self._plain(spec, value, place)

    def _plain(self, spec: ParamSpec, value: Any, place: Place) -> Any:
        names = env_names(value)
        if spec.kind == "secret" and value is not None and not SECRET.fullmatch(str(value)):
            help = f'write `{spec.name}: "${{env:NAME}}"` and set NAME in the environment'
            text = f"`{spec.name}` is a secret and must not stand in a recipe"
            if names:
                text = f"`{spec.name}` is one variable of the environment and nothing beside it"
            self.problems.error("R129", text, place.span(), help=help)
            return Unresolved(spec.name)
        if spec.kind != "secret" and names:
            help = f"`{spec.name}` is none: write it out, or make it a parameter and give it with `-p`"
            self.problems.error(
                "R138", f"`${{env:{names[0]}}}` may only be given to a secret parameter", place.span(), help=help
            )
            return Unresolved(spec.name)
        return as_numbers(spec.accepts, value)

    def _nested(self, node: Node, spec: ParamSpec, value: Any, place: Place) -> Any:
        """An operator as value: `until: score.tests` or `until: {score.tests: {timeout: 4}}`."""
        name, given = (value, {}) if isinstance(value, str) else next(iter(value.items()))
        inner_place = place if isinstance(value, str) else place.at(name)
        full = (
            name if name.partition(".")[0] == spec.target.verb or not spec.target.verb else f"{spec.target.verb}.{name}"
        )
        try:
            entry = self.registry.entry(*full.split(".", 1)) if "." in full else self.registry.entry(full, "")
            cls = self.registry.operator(full)
        except RecipeError as error:
            self._tell(error, inner_place)
            return None
        alone = given is not None and not isinstance(given, Mapping)
        params = {} if alone else dict(given or {})
        step = Step(
            node.id,
            full,
            params,
            given,
            inner_place,
            inner_place,
            models=node.step.models,
            constants=node.step.constants,
        )
        step.positional, step.has_positional = (given, True) if alone else (None, False)
        inner = self._operator_node(step, cls, entry, step.params, inner_place)
        if inner is None:
            return None
        node.nested[spec.name] = inner
        return inner.operator

    def _model(self, node: Node, spec: ParamSpec, at: Any, name: str, place: Place) -> None:
        name = node.step.models.get(name, name)
        model = self.recipe.models.get(name)
        if model is None:
            known = self.recipe.models
            help = did_you_mean(name, known) or (
                f"`models:` has {', '.join(known)}" if known else "the recipe has no `models:`"
            )
            self.problems.error("R124", f"unknown model `{name}`", place.span(), help=help)
            return
        provider = self.providers.get(name)
        wanted = spec.target.__name__
        if provider is not None and wanted not in provider.serves:
            article = "an" if wanted[0] in "AEIOU" else "a"
            serves = ", ".join(provider.serves)
            text = f"`{spec.name}` needs {article} {wanted} model; `{name}` ({model.use}) serves {serves}"
            fit = [n for n, p in self.providers.items() if wanted in p.serves]
            help = f"there is {', '.join(f'`{n}`' for n in fit)}" if fit else "declare one that does under `models:`"
            self.problems.error("R139", text, place.span(), help=help)
        node.models[spec.name if at is None else f"{spec.name}.{at}"] = model

    def _files(self, node: Node, spec: ParamSpec, value: Any, place: Place) -> Any:
        for at, text in _texts(value):
            here = place.at(at) if at is not None else place
            step, dot, key = str(text).rpartition(".")
            step = self._in_scope(step, node.step.id)
            path = self.paths.absolute(text if isinstance(text, str) else str(text), here)
            if dot and step in self.ids and not path.exists():
                node.artefacts[f"{spec.name}.{at}" if at is not None else spec.name] = (step, key)
                continue
            if not path.exists():
                near = did_you_mean(step, self.ids) if dot and "/" not in step else ""
                self._missing(path, str(text), here, near.replace("`?", f".{key}`?"))
                continue
            node.files[f"{spec.name}.{at}" if at is not None else spec.name] = path
        return value

    def _in_scope(self, id: str, reader: str) -> str:
        """A step's id as the plan has it: inside a part `norm` is `part/norm`, or a step of the recipe around it."""
        parts = reader.split("/")[:-1]
        scopes = ["/".join([*parts[:depth], id]) for depth in range(len(parts), 0, -1)]
        return next((s for s in scopes if s in self.ids), id)

    def _text_file(
        self, node: Node, spec: ParamSpec, value: Mapping[str, Any], place: Place, *, whole: bool = False
    ) -> Any:
        """{file: path} where a text or list is asked for: the file's text, or its lines."""
        path = self.paths.absolute(value["file"], place.at("file"))
        if not path.is_file():
            self._missing(path, str(value["file"]), place.at("file"))
            return Unresolved(spec.name)
        text = read_text(path, place.at("file"), self.problems)
        return [line for line in text.splitlines() if line.strip()] if spec.many == "list" and not whole else text

    def _missing(self, path: Path, text: str, place: Place, near: str = "") -> None:
        if path in self.paths.refused:
            return  # whether it is there is nobody's business
        names = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        beside = (
            f"{shown(path.parent)} holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else ""
        )
        help = near or did_you_mean(path.name, names) or beside or f"there is no folder {shown(path.parent)} either"
        self.problems.error("R132", f"there is no file {text}", place.span(), help=help)

    def _ports(self, step: Step, cls: type[Operator], entry: Entry) -> None:
        known = {s.name: s for s in declared.specs(cls).values() if s.kind == "dataset"}
        for name in step.ports:
            if name not in known:
                help = did_you_mean(name, known) or (
                    f"its ports: rows, {', '.join(known)}" if known else "it has no side ports"
                )
                self.problems.error(
                    "R112", f"`{entry.full}` has no port `{name}`", step.place.at("from", name).key(), help=help
                )
        for name, spec in known.items():
            misspelt = any(n not in known for n in step.ports)
            if spec.required and name not in step.ports and not misspelt:
                help = f"`from: {{{name}: id}}` under the step"
                self.problems.error(
                    "R111", f"`{entry.full}` needs its port `{name}`", step.params_place.key(), help=help
                )

    def _located(self, node: Node, place: Place) -> dict[str, Any]:
        """`path` and `sources` of a load with paths made absolute: from the recipe's folder, or the working folder for
        `-p`.
        """
        located: dict[str, Any] = {}
        for name in ("path", "sources"):
            value = node.operator.params.get(name)
            if value is not None:
                located[name] = self.paths.locate(value, place.at(name) if not node.step.has_positional else place)
        return located

    def _needs(self, cls: Any, place: Place, what: str) -> None:
        for extra in cls.needs:
            missing = [m for m in EXTRAS.get(extra, (extra,)) if importlib.util.find_spec(m.partition(".")[0]) is None]
            if missing:
                help = (
                    f"pip install 'sftrecipe[{extra}]'"
                    if extra in EXTRAS
                    else f"install the package that brings `{extra}`"
                )
                self.problems.error(
                    "P004", f"{what} needs {', '.join(missing)}, which is not installed", place.key(), help=help
                )

    def _tell(self, error: RecipeError, place: Place, *, key: bool = False) -> None:
        for p in error.problems:
            self.problems.error(p.code, p.message, place.key() if key else place.span(), note=p.note, help=p.help)


def _written(place: Place, keys: Any) -> list[tuple[Any, Place]]:
    """The texts that stand at a place of the file (of `keys`, if given) before parameters were filled in, each with its
    place.
    """
    return [
        (t, place if at is None else place.at(at)) for at, t in _texts(place.written()) if keys is None or at in keys
    ]


def broke(entry: Entry, error: Exception, place: Place) -> Problem:
    """P010 for an operator that raised when it was looked at."""
    what = f"{type(error).__name__} when it was checked: {error}{raised_at(error)}"
    text = f"`{entry.full}` ({entry.origin}) raised {what}"
    return Problem("P010", text, place.key(), help="this is a defect of the operator: tell its author")


def _messages(given: Any) -> list[str]:
    """What `check` complains of: one text, several, or nothing."""
    return [given] if isinstance(given, str) else [str(message) for message in given or ()]


def shown(path: Path) -> str:
    """A path for people: relative to the working folder where that is shorter."""
    near = os.path.relpath(path)
    return near if len(near) < len(str(path)) else str(path)


def _is_file_form(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"file"} and isinstance(value["file"], str)


def _texts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)
    else:
        yield None, value
