"""The JSON Schema (draft-07) of recipes, for editors. `check` never uses it: a step is validated by its own operator's schema."""

from __future__ import annotations

import inspect
from typing import Any

from sftrecipe import params as declared
from sftrecipe.errors import RecipeError
from sftrecipe.recipe.document import PARAM_TYPES
from sftrecipe.recipe.steps import ON_ERROR
from sftrecipe.registry import Registry
from sftrecipe.verbs import BARE

__all__ = ["recipe_schema"]

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def recipe_schema(registry: Registry) -> dict[str, Any]:
    """The schema of a recipe, every installed operator a key of a step."""
    operators, definitions = _operators(registry)
    step = {
        "anyOf": [
            {"type": "string", "enum": sorted(operators), "description": "An operator without parameters."},
            {"type": "object", "properties": {**_reserved(), **operators}, "patternProperties": {"^x-": {}}, "additionalProperties": False, "minProperties": 1},
        ]
    }
    param = {"type": "object", "properties": {"type": {"enum": list(PARAM_TYPES)}, "default": {}, "min": {"type": "number"}, "max": {"type": "number"},
                                              "choices": {"type": "array"}, "about": {"type": "string"}}}  # fmt: skip
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "sftrecipe recipe",
        "type": "object",
        "required": ["recipe", "grammar", "steps"],
        "additionalProperties": False,
        "patternProperties": {"^x-": {}},
        "properties": {
            "recipe": {"type": "string", "description": "The recipe's name."},
            "grammar": {"const": 1, "description": "The version of the recipe language."},
            "about": {"type": "string"},
            "requires": {"type": "array", "items": {"type": "string"}, "description": "Plugin packages, as `sftrecipe-acme>=0.2`."},
            "seed": {"type": "integer"},
            "params": {"type": "object", "additionalProperties": {"anyOf": [param, {}]}},
            "models": {"type": "object", "additionalProperties": {"$ref": "#/definitions/model"}},
            "steps": {"type": "array", "minItems": 1, "items": step},
            "variants": {"type": "object", "additionalProperties": {"type": "object"}},
            "tests": {"type": "array", "items": {"$ref": "#/definitions/test"}},
        },
        "definitions": {"model": _models(registry), "test": _test(), **definitions},
    }


def _operators(registry: Registry) -> tuple[dict[str, Any], dict[str, Any]]:
    keys: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for entry in registry.operators():
        try:
            cls = registry.operator(entry.full)
        except RecipeError:
            continue  # a broken plugin must not take the editor's help for all others
        definitions[entry.full] = _parameters(cls)
        keys[entry.full] = {"$ref": f"#/definitions/{entry.full}"}
        if BARE.get(entry.group) == entry.name:
            keys[entry.group] = keys[entry.full]
    return dict(sorted(keys.items())), definitions


def _parameters(cls: type) -> dict[str, Any]:
    """A mapping of parameters, a value for the positional one, or nothing."""
    schema = declared.schema(cls)
    schema["properties"] = {name: _or_reference(entry) for name, entry in schema["properties"].items()}
    if isinstance(schema["additionalProperties"], dict):
        schema["additionalProperties"] = _or_reference(schema["additionalProperties"])
    summary = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    required = schema.get("required")
    options: list[dict[str, Any]] = [schema]
    single = declared.positional(cls)
    if single:
        options.append(_or_reference(dict(single.accepts)))
    if not required:
        options.append({"type": "null"})
    return {"description": summary, "anyOf": options}


def _or_reference(entry: dict[str, Any]) -> dict[str, Any]:
    """The value itself, or `${params.x}`, or {file: path} for texts and lists."""
    text = {k: entry[k] for k in ("description", "default") if k in entry}
    inner = {k: v for k, v in entry.items() if k not in text}
    if not inner or inner.get("type") == "string" and "enum" not in inner:
        return {**entry}
    file = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"], "additionalProperties": False}
    more = [file] if inner.get("type") == "array" else []
    return {**text, "anyOf": [inner, _REFERENCE, *more]}


def _reserved() -> dict[str, Any]:
    ports = {"type": "object", "additionalProperties": {"type": "string"}}
    return {
        "id": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": "The step's name, for `from:`."},
        "from": {"anyOf": [*_TEXTS["anyOf"], ports], "description": "What it reads; left out, the step above."},
        "where": {"type": ["string", "boolean"], "description": "Only these rows; others pass untouched."},
        "when": {"type": ["string", "boolean"], "description": "An expression over params: whether the step runs."},
        "seed": {"type": "integer"},
        "on_error": {"enum": [None, *ON_ERROR], "description": "What becomes of rows that fail."},
        "expect": {**_TEXTS, "description": "What must hold of its figures: `dropped <= 0.05 * rows_in`."},
        "about": {"type": "string"},
        "use": {"type": "string", "description": "Another recipe, as one step."},
        "with": {"type": "object", "description": "Its parameters."},
        "models": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Its models, by ours."},
    }


def _models(registry: Registry) -> dict[str, Any]:
    names = [e.name for e in registry.entries("model")]
    return {"type": "object", "required": ["use"], "properties": {"use": {"enum": names}}, "additionalProperties": True}


def _test() -> dict[str, Any]:
    rows = {"type": "array", "items": {"type": "object"}}
    return {
        "type": "object", "required": ["step", "expect"], "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "step": {"type": "string"}, "given": rows, "from": {"type": "object", "additionalProperties": rows},
                       "with": {"type": "object"}, "models": {"type": "object"}, "expect": {"anyOf": [rows, {"type": "object"}]}},
    }  # fmt: skip
