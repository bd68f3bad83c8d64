"""Parameter values against an operator's own JSON Schema, its complaints put into words."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sftrecipe import params as declared
from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.recipe import Place

__all__ = ["BESIDE", "as_numbers", "check_schema", "read_text"]

BESIDE = ("where", "when", "from", "on_error", "expect")
"""Keys of a step that are easily put among the parameters of its operator."""

_TYPES = {
    "integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false", "array": "a list",
    "object": "a mapping", "null": "null",
}  # fmt: skip


def as_numbers(accepts: Mapping[str, Any], value: Any) -> Any:
    """`1/256` and `2%` as numbers wherever the schema has a number, in lists and mappings too. The value fits the
    schema.
    """
    options = list(_options(accepts))
    if isinstance(value, str):
        text = any(o.get("type") == "string" and "pattern" not in o for o in options)
        number = any(o.get("pattern") == declared.NUMBER_TEXT for o in options)
        return declared.to_number(value) if number and not text else value
    if isinstance(value, list):
        items: Mapping[str, Any] = next((o["items"] for o in options if o.get("items")), {})
        return [as_numbers(items, v) for v in value]
    if isinstance(value, Mapping):
        each: Mapping[str, Any] = next(
            (o["additionalProperties"] for o in options if isinstance(o.get("additionalProperties"), Mapping)), {}
        )
        return {k: as_numbers(each, v) for k, v in value.items()}
    return value


def _options(accepts: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a schema, however deep."""
    if "anyOf" in accepts:
        for inner in accepts["anyOf"]:
            yield from _options(inner)
    else:
        yield accepts


def read_text(path: Path, place: Place, problems: Problems) -> str:
    """A text file that a recipe names, or a problem that names it."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.error("R132", f"cannot read {path.name}: {error}", place.span())
        return ""


def check_schema(
    cls: type,
    values: Mapping[str, Any],
    place: Place,
    what: str,
    problems: Problems,
    *,
    given: Mapping[str, Any] | None = None,
) -> bool:
    """Tells every misfit of `values` with the parameters of `cls`. `given` also holds values left out of `values`."""
    known = declared.specs(cls)
    before = len(problems.errors)
    everything = values if given is None else given
    for key in everything:
        if key not in known:
            help = did_you_mean(key, known) or (f"it has {', '.join(known)}" if known else "it has no parameters")
            help = f"`{key}:` belongs to the step: put it beside the operator" if key in BESIDE else help
            problems.error("R301", f"{what} has no parameter `{key}`", place.at(key).key(), help=help)
    missing = [
        s for s in known.values() if s.required and s.kind != "dataset" and not s.rest and s.name not in everything
    ]
    for spec in missing:
        problems.error("R303", f"{what} needs `{spec.name}`", place.key(), help=spec.doc)
    positional = declared.positional(cls)
    for name, value in values.items():
        if name in known and known[name].kind != "dataset":
            written = place.written()
            alone = (
                positional is not None
                and positional.name == name
                and written is not None
                and not isinstance(written, Mapping)
            )
            inline = known[name].rest and not (isinstance(written, Mapping) and name in written)
            _check_value(known[name], value, place if alone or inline else place.at(name), what, problems)
    return len(problems.errors) == before


def _check_value(spec: declared.ParamSpec, value: Any, place: Place, what: str, problems: Problems) -> None:
    if (value is None and (spec.optional or spec.default is None)) or _plainly_fits(spec.accepts, value):
        return
    from jsonschema import Draft7Validator

    for error in Draft7Validator(dict(spec.accepts)).iter_errors(value):
        here = place.at(*error.absolute_path)
        code, text, help = _words(spec, error)
        problems.error(code, f"{what}: `{spec.name}` {text}", here.span(), help=help)


_PLAIN: Mapping[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}

_BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "minimum": operator.ge, "maximum": operator.le, "exclusiveMinimum": operator.gt, "exclusiveMaximum": operator.lt,
}  # fmt: skip


def _plainly_fits(accepts: Mapping[str, Any], value: Any) -> bool:
    """Whether a value fits beyond doubt: most do, and importing jsonschema costs more than checking a whole recipe."""
    if set(accepts) == {"anyOf"}:
        return any(_plainly_fits(a, value) for a in accepts["anyOf"])
    if set(accepts) - {"type", "enum", "items", "additionalProperties", *_BOUNDS}:
        return False
    kinds = accepts.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    types = tuple(t for k in kinds for t in _PLAIN.get(k, ()))
    if kinds and (not isinstance(value, types) or (isinstance(value, bool) and "boolean" not in kinds)):
        return False
    if "enum" in accepts and value not in accepts["enum"]:
        return False
    if isinstance(value, list) and not all(_plainly_fits(accepts.get("items", {}), v) for v in value):
        return False
    inner = accepts.get("additionalProperties", {})
    if isinstance(value, dict) and not (
        isinstance(inner, dict) and all(_plainly_fits(inner, v) for v in value.values())
    ):
        return False
    return all(holds(value, accepts[name]) for name, holds in _BOUNDS.items() if name in accepts)


def _words(spec: declared.ParamSpec, error: Any) -> tuple[str, str, str]:
    """(code, what is wrong, advice) for one complaint of jsonschema."""
    value, rule = error.instance, error.validator
    if rule in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        words = {
            "minimum": "at least",
            "maximum": "at most",
            "exclusiveMinimum": "more than",
            "exclusiveMaximum": "less than",
        }
        return "R304", f"must be {words[rule]} {error.validator_value}, not `{value}`", spec.doc
    if rule == "enum":
        allowed = [str(v) for v in error.validator_value]
        return "R302", f"must be one of {', '.join(allowed)}, not `{value}`", did_you_mean(str(value), allowed)
    if rule == "additionalProperties":
        keys = sorted(set(value) - set(error.schema.get("properties", ())))
        return "R302", f"has the unknown key `{keys[0]}`", did_you_mean(keys[0], error.schema.get("properties", ()))
    if rule == "anyOf":
        inner = _nearest(error)
        if inner is not None:
            return _words(spec, inner)
        return (
            "R302",
            f"must be {_either(error.validator_value)}, not {_show(value)}",
            _near_choice(value, error.validator_value) or spec.doc,
        )
    if rule == "type":
        kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        return "R302", f"must be {_either([{'type': k} for k in kinds])}, not {_show(value)}", spec.doc
    return "R302", error.message, spec.doc


def _nearest(error: Any) -> Any:
    """Of the complaints of the alternatives, the one about the alternative that was meant: right type, wrong bound or
    key.
    """
    for inner in error.context:
        if inner.validator in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "additionalProperties"):
            return inner
        found = _nearest(inner) if inner.context else None
        if found is not None:
            return found
    return None


def _near_choice(value: Any, options: Iterable[Mapping[str, Any]]) -> str:
    """The choice that was meant, among alternatives that have choices."""
    known = [
        str(c)
        for o in options
        for c in (*o.get("enum", ()), *(e for i in o.get("anyOf", ()) for e in i.get("enum", ())))
    ]
    return did_you_mean(str(value), known)


def _either(options: Iterable[Mapping[str, Any]]) -> str:
    words = []
    for option in options:
        if option.get("pattern") == declared.NUMBER_TEXT or option.get("type") == "null":
            continue  # `1/256` and `2%` are numbers too, and null is nothing; naming them would only blur the message
        if "enum" in option:
            words.append("one of " + ", ".join(map(str, option["enum"])))
        elif isinstance(option.get("type"), str):
            words.append(_TYPES[option["type"]])
        elif "anyOf" in option:
            words.append(_either(option["anyOf"]))
    return " or ".join(dict.fromkeys(words)) or "something else"


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"
