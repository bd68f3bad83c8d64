"""Source keys as typed columns: strict, because a value that is bent to fit is a silent repair.

| type | JSON and Parquet values that fit | CSV cells that fit |
|---|---|---|
| text | text | any |
| int | whole numbers of 64 bits | digits, perhaps a sign |
| float | numbers; integers of any size, rounded | a decimal number |
| bool | true, false | true, false, True, False, TRUE, FALSE |
| json, any | anything, held as JSON text | JSON text |
| list[T], vector, tokens | lists of what fits | JSON text of such a list |
| candidates | lists of objects with a candidate's fields | JSON text of such a list |

Null fits everywhere, and so does an empty CSV cell (as null) unless the type is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from sftrecipe import RowError
from sftrecipe.types import CANDIDATE_FIELDS, Type
from sftrecipe_io.jsonio import dump, loads

__all__ = ["constant_type", "fitted", "from_cell"]

_INT = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def fitted(value: Any, kind: Type, column: str) -> Any:
    """`value` as the column's type holds it. Raises RowError `wrong_type` that names the column and the value."""
    if value is None:
        return None
    try:
        return _FIT[kind.kind](value, kind)
    except (TypeError, ValueError, OverflowError) as error:
        shown = str(value) if value.__class__ is not str else f'"{value}"'
        raise RowError("wrong_type", f"column `{column}` is {kind}, the value is {shown[:80]}") from error


def from_cell(text: str, kind: Type, column: str) -> Any:
    """A CSV cell as the value that `fitted` takes."""
    if kind.kind == "text":
        return text
    if not text.strip():
        return None
    word = text.strip()
    if kind.kind == "int" and _INT.fullmatch(word):
        return int(word)
    if kind.kind == "float" and _FLOAT.fullmatch(word):
        return float(word)
    if kind.kind == "bool" and word in _WORDS:
        return _WORDS[word]
    if kind.kind in ("int", "float", "bool"):
        raise RowError("wrong_type", f'column `{column}` is {kind}, the value is "{text[:80]}"')
    try:
        return loads(word)
    except RowError as error:
        raise RowError("wrong_type", f"column `{column}` is {kind}, the cell is no JSON ({error})") from error


def constant_type(value: Any) -> Type:
    """The type of a constant in `set`: text, int, float, bool, a list of one of them, or json."""
    plain = {str: "text", bool: "bool", int: "int", float: "float"}
    if type(value) in plain:
        return Type(plain[type(value)])
    if isinstance(value, list) and value and type(value[0]) in plain and len({type(v) for v in value}) == 1:
        return Type("list", Type(plain[type(value[0])]))
    return Type("json")


def _text(value: Any, _: Type) -> str:
    if value.__class__ is not str:
        raise TypeError
    return value


def _int(value: Any, _: Type) -> int:
    if value.__class__ is not int or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _float(value: Any, _: Type) -> float:
    if value.__class__ not in (int, float):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _bool(value: Any, _: Type) -> bool:
    if value.__class__ is not bool:
        raise TypeError
    return value


def _json(value: Any, _: Type) -> str:
    return dump(value).decode()


def _list(value: Any, kind: Type) -> list[Any]:
    if value.__class__ is not list or kind.of is None:
        raise TypeError
    fit = _FIT[kind.of.kind]
    return [None if item is None else fit(item, kind.of) for item in value]


def _numbers(value: Any, _: Type) -> list[float]:
    if value.__class__ is not list:
        raise TypeError
    return [_float(item, _) for item in value]


def _tokens(value: Any, _: Type) -> list[int]:
    if value.__class__ is not list or any(item.__class__ is not int or not 0 <= item < 2**31 for item in value):
        raise TypeError
    return value


def _candidates(value: Any, _: Type) -> list[dict[str, Any]]:
    if value.__class__ is not list or any(
        item.__class__ is not dict or set(item) - set(CANDIDATE_FIELDS) for item in value
    ):
        raise TypeError
    kinds = {name: Type(kind) for name, kind in CANDIDATE_FIELDS.items()}
    return [
        {name: None if item.get(name) is None else _FIT[kind.kind](item[name], kind) for name, kind in kinds.items()}
        for item in value
    ]


_FIT: Mapping[str, Callable[[Any, Type], Any]] = {
    "text": _text,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "json": _json,
    "any": _json,
    "list": _list,
    "vector": _numbers,
    "tokens": _tokens,
    "candidates": _candidates,
}
