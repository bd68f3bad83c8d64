"""JSON without silent repairs: one parser that is fast, one that is exact, one writer that loses no digit.

`orjson` is fast and refuses most faults, but it keeps the last of two equal keys, turns integers beyond 64 bits into
floats and lets the NUL character pass. `exact` finds those: it is the standard parser with hooks, some four times
slower. Whoever has many texts uses `decode.decode`, which runs `exact` only where a fault is possible; whoever has
one small text uses `loads`.

Deepest nesting: what orjson writes again, 254 levels. Deeper values are refused as `too_deep` on every path.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from sftrecipe import RowError

__all__ = ["DEEPEST", "LONG_NUMBER", "dump", "exact", "kind", "loads", "vet"]

DEEPEST = 254
LONG_NUMBER = re.compile(rb"[0-9]{19}")
"""What an integer beyond 64 bits contains (2**63 has 19 digits)."""

_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number"}


def kind(value: Any) -> str:
    """What a parsed value is, in words for a message."""
    return "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


def loads(text: str | bytes) -> Any:
    """One JSON value, checked in full. Raises RowError with the codes of `exact`."""
    return exact(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def exact(text: bytes) -> Any:
    """The value of one JSON text, integers of any size included.

    Raises RowError: `nul`, `bad_utf8`, `not_finite`, `duplicate_key`, `too_deep`, `lone_surrogate`, `bad_json`.
    """
    if b"\x00" in text:
        raise RowError("nul", f"a NUL byte at byte {text.index(0)} of the row")
    try:
        words = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("bad_utf8", f"byte {error.start} of the row is not UTF-8") from error
    try:
        value = json.loads(words, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise RowError("too_deep", f"nested deeper than {DEEPEST} levels") from error
    except json.JSONDecodeError as error:
        raise RowError("bad_json", f"{error.msg} at character {error.pos} of the row") from error
    except ValueError as error:  # an integer of more digits than Python is willing to read
        raise RowError("bad_json", str(error)) from error
    vet(value)
    return value


def vet(value: Any, depth: int = 0) -> None:
    """Looks through a parsed value for what no row may hold.

    Raises RowError: `lone_surrogate`, `nul`, `not_finite`, `too_deep`, `not_json` (dates, bytes and the like, from
    Parquet).
    """
    if value.__class__ is str:
        if "\x00" in value:
            raise RowError("nul", "a NUL character")
        if not value.isascii() and _has_surrogate(value):
            raise RowError("lone_surrogate", "half of a surrogate pair")
    elif value.__class__ is float:
        if not math.isfinite(value):
            raise RowError("not_finite", f"{value} is no JSON number")
    elif value.__class__ in (dict, list):
        if depth >= DEEPEST:
            raise RowError("too_deep", f"nested deeper than {DEEPEST} levels")
        for inner in value.values() if value.__class__ is dict else value:
            vet(inner, depth + 1)
        if value.__class__ is dict:
            for key in value:
                vet(key, depth + 1)
    elif value is not None and value.__class__ not in (int, bool):
        raise RowError("not_json", f"a {type(value).__name__} has no JSON form")


def dump(value: Any) -> bytes:
    """The compact JSON text of a value, integers of any size included. Raises RowError `too_deep` or `not_json`."""
    try:
        return orjson.dumps(value)
    except TypeError:
        vet(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise RowError("not_json", str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError("duplicate_key", f"`{twice}` stands twice in one object")
    return made


def _refuse(word: str) -> Any:
    raise RowError("not_finite", f"{word} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise RowError("not_finite", f"{text[:40]} is larger than a 64-bit float")
    return value


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
