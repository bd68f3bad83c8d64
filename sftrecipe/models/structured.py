"""JSON answers: taken out of the text, checked against a schema, and the one request to repair what does not fit.

Models wrap JSON in fences and prose even where they are told not to; the value is looked for in this order: the whole
text, the first fenced block, the first `{` or `[` from which a value can be read. What is found must satisfy the schema
(draft 2020-12, no remote references).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sftrecipe.models.keys import canonical

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["check_schema", "find_json", "instruction", "is_strict", "repair_messages", "validate"]

FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
SHOWN = 4000
"""Characters of a wrong answer that the repair request shows."""


def find_json(text: str) -> Any:
    """The JSON value in a model's text. Raises ValueError that says what is wrong."""
    fenced = FENCE.search(text)
    first = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    problem = ""
    places = (text, fenced.group(1) if fenced else "", text[first:] if first >= 0 else "")
    for place, body in enumerate(map(str.strip, places)):
        if not body:
            continue
        try:
            value, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(body)
        except (ValueError, RecursionError) as error:
            problem = problem or str(error) or "nested too deeply"
            continue
        if place or end == len(body):
            return value
        problem = problem or f"text goes on after the value, at character {end}"
    raise ValueError(f"the answer is no JSON: {problem or 'it is empty'}")


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises ValueError when `schema` is no JSON Schema."""
    _validator(canonical(schema))


def validate(value: Any, schema: Mapping[str, Any]) -> str | None:
    """None when `value` satisfies `schema`, else what is wrong and where, in one line."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator(canonical(schema)).iter_errors(value))
    if error is None:
        return None
    place = "".join(f"[{part!r}]" for part in error.absolute_path)
    message = error.message if len(error.message) <= 300 else f"{error.message[:300]}..."
    return f"at ${place}: {message}" if place else message


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    document = json.loads(schema)
    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        raise ValueError(f"this is no JSON Schema: {error.message}") from error
    return Draft202012Validator(document, registry=Registry())


def instruction(schema: Mapping[str, Any]) -> str:
    """What a model is told where the server cannot enforce a schema."""
    return "Answer with one JSON value that satisfies this JSON Schema, and with nothing else:\n" + json.dumps(schema)


def repair_messages(messages: Sequence[Mapping[str, Any]], text: str, problem: str) -> list[dict[str, Any]]:
    """The conversation that asks once more, showing the wrong answer and what is wrong with it."""
    ask = (
        f"Your last answer cannot be used. {problem}\n"
        "Give the same answer again as one JSON value of the required form, without any other text."
    )
    return [*map(dict, messages), {"role": "assistant", "content": text[:SHOWN]}, {"role": "user", "content": ask}]


def is_strict(schema: Any) -> bool:
    """Whether servers that enforce schemas strictly take it: every object closed, every property required."""
    if isinstance(schema, Mapping):
        if "properties" in schema or schema.get("type") == "object":
            names = set(schema.get("properties", {}))
            if schema.get("additionalProperties") is not False or names != set(schema.get("required", ())):
                return False
        return all(is_strict(v) for v in schema.values())
    return all(is_strict(v) for v in schema) if isinstance(schema, (list, tuple)) else True
