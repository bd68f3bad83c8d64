"""Parameters of operators and model providers: annotated fields.

    class Short(Filter):
        words: int = Param(20, ge=1, doc="Fewest words kept.")

The annotation says what a value is, and from it follow the JSON Schema, the columns that are read and written, the
ports, what is hashed and where the operator runs. `specs(cls)` lists the parameters of a class, `schema(cls)` is
their JSON Schema.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin

__all__ = [
    "REQUIRED",
    "Column",
    "Expr",
    "File",
    "Given",
    "Into",
    "Param",
    "ParamSpec",
    "Secret",
    "Taken",
    "Template",
    "env_names",
    "positional",
    "rest",
    "schema",
    "specs",
    "to_number",
]

REQUIRED: Any = ...
NUMBER_TEXT = r"^\s*[0-9]+(\.[0-9]+)?\s*(%|/\s*[0-9]+(\.[0-9]+)?)\s*$"


_ENV = re.compile(r"\$\{env:([^}]*)\}")


class Column(str):
    """Names a column that the step reads."""


class Into(str):
    """Names a column that the step writes. Its type is the operator's `writes["{parameter}"]`, or float."""


class Expr(str):
    """An expression; its columns are read. Bound, it is a Polars expression: `rows.select(self.text).to_series()`."""


class Template(str):
    """Text with {{column}} fields, or {file: path}; its columns are read. Bound, `self.prompt.render(row)` gives the
    text.
    """


class File(str):
    """A path (from the recipe's folder) or `step.artefact`. Its content is part of the step's key. Bound, a Path."""


class Given(str):
    """Where the step puts what people or programs outside work on: a path from the working folder, `{round}` or `{run}`
    in it.

    No input, so no part of the key. Bound, a Path; trial runs (`--limit`) get a name of their own.
    """


class Taken(str):
    """A file that comes from outside, perhaps later: a path from the recipe's folder, `{round}` or `{run}` in it.

    What is there (all files that fit the pattern) is part of the step's key; what is not there is waited for
    (`Pending`). Bound, a Path that may not exist.
    """


class Secret(str):
    """`${env:NAME}`: travels, hashes and prints as its name. Bound, the value."""


@dataclass(frozen=True)
class Declared:
    """What `Param(...)` gives, until the annotation beside it is known."""

    default: Any
    doc: str
    ge: float | None
    gt: float | None
    le: float | None
    lt: float | None
    choices: tuple[Any, ...]
    positional: bool
    rest: bool


def Param(  # noqa: N802
    default: Any = REQUIRED,
    *,
    doc: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[Any] = (),
    positional: bool = False,
    rest: bool = False,
) -> Any:
    """Declares one parameter.

    Args:
        default: the value when the recipe gives none; left out, the parameter is required.
        doc: one sentence, with units.
        ge, gt, le, lt: bounds of a number.
        choices: the values allowed.
        positional: takes a scalar or list given instead of a mapping (`filter.short: 20`).
        rest: a dict that takes every key which no other parameter has (`score: {evol: a * b}`).
    """
    return Declared(default, doc, ge, gt, le, lt, tuple(choices), positional, rest)


@dataclass(frozen=True)
class ParamSpec:
    """One parameter as declared. `kind`: value, column, into, expr, template, file, given, taken, secret, dataset,
    model, operator.

    `many` says that it holds several of them: "" (one), "list" or "dict". `accepts` is the JSON Schema of a value.
    """

    name: str
    kind: str
    many: str
    optional: bool
    default: Any
    doc: str
    accepts: Mapping[str, Any]
    positional: bool = False
    rest: bool = False
    target: Any = None

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


_KNOWN: dict[type, Mapping[str, ParamSpec]] = {}


def specs(cls: type) -> Mapping[str, ParamSpec]:
    """The parameters of an operator or provider class, bases first, in the order of their declaration."""
    if cls not in _KNOWN:
        _KNOWN[cls] = _specs(cls)
    return _KNOWN[cls]


def _specs(cls: type) -> Mapping[str, ParamSpec]:
    found: dict[str, ParamSpec] = {}
    # what a verb gives to all its operators comes last: an operator's own parameters are what people look for
    bases = list(reversed(cls.__mro__))
    for base in sorted(bases, key=lambda base: base.__module__ == "sftrecipe.verbs"):
        own = base.__dict__.get("__annotations__", {})
        declared = {name: base.__dict__.get(name) for name in own}
        if not any(_is_param(v) for v in declared.values()) and not any(_port_like(a) for a in own.values()):
            continue
        hints = typing.get_type_hints(base)
        for name in own:
            if name.startswith("_") or get_origin(hints[name]) is typing.ClassVar:
                continue
            if base.__module__ == "sftrecipe.verbs" and name in found:
                continue
            if _is_param(declared[name]) or _kind_of(hints[name])[0] in ("dataset", "model"):
                found[name] = _spec(name, hints[name], declared[name])
    return found


def _is_param(value: Any) -> bool:
    return isinstance(value, Declared)


def _port_like(annotation: Any) -> bool:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return any(word in text for word in ("Dataset", "Chat", "Likelihood", "Embedder", "Reward", "Tokenizer", "Sandbox"))


def _spec(name: str, hint: Any, declared: Any) -> ParamSpec:
    d = declared if _is_param(declared) else Declared(REQUIRED, "", None, None, None, None, (), False, False)
    kind, many, optional, target = _kind_of(hint)
    accepts = _accepts(hint)
    bounds = {"minimum": d.ge, "exclusiveMinimum": d.gt, "maximum": d.le, "exclusiveMaximum": d.lt}
    limits = {key: bound for key, bound in bounds.items() if bound is not None}
    if limits:
        accepts = _with_limits(accepts, limits)
    if d.choices:
        accepts = _with_choices(accepts, d.choices)
    optional = optional or d.default is None
    return ParamSpec(name, kind, many, optional, d.default, d.doc, accepts, d.positional, d.rest, target)


def _with_limits(accepts: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, Any]:
    if "anyOf" in accepts:
        return {**accepts, "anyOf": [_with_limits(a, limits) for a in accepts["anyOf"]]}
    return {**accepts, **limits} if accepts.get("type") in ("number", "integer") else dict(accepts)


def _with_choices(accepts: Mapping[str, Any], choices: Sequence[Any]) -> dict[str, Any]:
    """Choices belong to each alternative that is a value: null stays free, and so does the text of a number."""
    if "anyOf" in accepts:
        return {**accepts, "anyOf": [_with_choices(a, choices) for a in accepts["anyOf"]]}
    return dict(accepts) if accepts.get("type") == "null" else {**accepts, "enum": list(choices)}


def _kind_of(hint: Any) -> tuple[str, str, bool, Any]:
    """(kind, many, optional, target class) of an annotation."""
    from sftrecipe import models
    from sftrecipe.dataset import Dataset
    from sftrecipe.operators import Operator

    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [_kind_of(a) for a in args if a is not type(None)]
        special = [i for i in inner if i[0] != "value"] or inner
        return (special[0][0], special[0][1], type(None) in args, special[0][3])
    if origin in (list, tuple, dict):
        kind, _, _, target = _kind_of(args[-1]) if args else ("value", "", False, None)
        return kind, "dict" if origin is dict else "list", False, target
    if isinstance(hint, type):
        for marker in (Column, Into, Expr, Template, File, Given, Taken, Secret):
            if issubclass(hint, marker):
                return marker.__name__.lower(), "", False, None
        if hint is Dataset:
            return "dataset", "", False, None
        if issubclass(hint, Operator):
            return "operator", "", False, hint
        if hint in models.PROTOCOLS:
            return "model", "", False, hint
    return "value", "", False, None


def _accepts(hint: Any) -> dict[str, Any]:
    """The JSON Schema (draft-07) of one annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_accepts(a) for a in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (list, tuple):
        return {"type": "array", "items": _accepts(args[0]) if args else {}}
    if origin is dict:
        return {"type": "object", "additionalProperties": _accepts(args[1]) if args else {}}
    kind = _kind_of(hint)[0]
    if kind == "operator":  # an operator as value: its name, or {name: parameters}
        return {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}]}
    if kind == "template":
        file = {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string"}, file]}
    if kind == "expr":  # a bare number or truth value is an expression too
        return {"type": ["string", "number", "boolean"]}
    if hint is float:
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": NUMBER_TEXT}]}
    plain = {int: "integer", bool: "boolean", str: "string", dict: "object", list: "array", type(None): "null"}
    if hint in plain:
        return {"type": plain[hint]}
    return {} if hint is Any else {"type": "string"}


def schema(cls: type) -> dict[str, Any]:
    """JSON Schema (draft-07) of the mapping that a recipe writes for this class."""
    properties: dict[str, Any] = {}
    required, extra = [], False
    for spec in specs(cls).values():
        if spec.kind == "dataset":
            continue  # ports are given by `from`, not among the parameters
        if spec.rest:
            extra = spec.accepts.get("additionalProperties", True)
        entry = dict(spec.accepts)
        if spec.optional and not _allows_null(entry):
            entry = {"anyOf": [entry, {"type": "null"}]}
        if spec.doc:
            entry["description"] = spec.doc
        if not spec.required and spec.default is not None:
            entry["default"] = spec.default
        properties[spec.name] = entry
        if spec.required and not spec.rest:
            required.append(spec.name)
    out: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": extra}
    if required:
        out["required"] = required
    return out


def _allows_null(entry: Mapping[str, Any]) -> bool:
    return not entry or entry.get("type") == "null" or any(_allows_null(e) for e in entry.get("anyOf", ()))


def positional(cls: type) -> ParamSpec | None:
    """The parameter that takes a scalar or list, if there is one."""
    return next((s for s in specs(cls).values() if s.positional), None)


def rest(cls: type) -> ParamSpec | None:
    """The parameter that takes all other keys, if there is one."""
    return next((s for s in specs(cls).values() if s.rest), None)


def to_number(text: str) -> float:
    """`1/256` and `2%` as numbers. Raises ValueError for other text."""
    word = text.strip()
    if word.endswith("%"):
        return float(word[:-1]) / 100
    top, _, bottom = word.partition("/")
    return float(Fraction(top.strip()) / Fraction(bottom.strip() or "1"))


def env_names(value: Any) -> list[str]:
    """The NAMEs of `${env:NAME}` anywhere in a value."""
    if isinstance(value, str):
        return _ENV.findall(value)
    if isinstance(value, Mapping):
        return [n for v in value.values() for n in env_names(v)]
    return [n for v in value for n in env_names(v)] if isinstance(value, (list, tuple)) else []
