"""Expressions over a handful of named values, in plain Python: `when:` over parameters, `expect:` over counts.

The same language, types and null rules as in `sftrecipe.expressions.compiling`, without polars.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sftrecipe.expressions.checking import check
from sftrecipe.expressions.language import MAX_INTEGER, Counts, Function
from sftrecipe.expressions.textual import python_is_in
from sftrecipe.expressions.tree import Tree
from sftrecipe.expressions.typed import ANY, BOOL, FLOAT, INT, TEXT, Typed, item_of, type_of
from sftrecipe.types import Type

__all__ = ["converted", "evaluate", "fold"]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_KINDS = {"int": INT, "float": FLOAT, "text": TEXT, "bool": BOOL}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_WHOLE: Any = object()  # marks that a node is computed as a whole, not for one item of a list


def evaluate(
    expression: str | Tree,
    names: Mapping[str, Any],
    functions: Mapping[str, Function] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    want: str | None = None,
) -> Any:
    """The value of an expression over `names`: scalars, lists, `Counts`, and under `params` a mapping of parameters.

    A key with a dot (`dropped.too_short`) makes the number `dropped` a count with parts.
    Types follow from the values, unless `columns` gives them; None is a value of unknown type. Raises ExpressionError
    as `check` does, and R532 for a function that works on rows only.
    """
    values = _with_parts({name: value for name, value in names.items() if name != "params"})
    types = {name: "any" if value is None else str(type_of(value)) for name, value in values.items()}
    checked = check(
        expression, {**types, **(columns or {})}, want=want, params=names.get("params"), functions=functions, rows=False
    )
    result = _Run(values).value(checked.typed)
    wanted = {"bool": BOOL, "number": FLOAT, "text": TEXT}
    return converted(result, wanted[want]) if want is not None and checked.typed.type == ANY else result


def _with_parts(names: Mapping[str, Any]) -> dict[str, Any]:
    """Keys with a dot put into the count that they are a part of."""
    codes: dict[str, dict[str, int]] = {}
    for name, value in names.items():
        whole, dot, code = name.partition(".")
        if dot:
            codes.setdefault(whole, {})[code] = value
    made = {name: value for name, value in names.items() if "." not in name}
    return made | {name: Counts(made.get(name, sum(parts.values())), parts) for name, parts in codes.items()}


def fold(typed: Typed) -> Typed:
    """The same node with everything that no row can change computed already."""
    typed = replace(typed, parts=tuple(map(fold, typed.parts)))
    if typed.over or not typed.parts or not all(p.constant for p in typed.parts):
        return typed
    if typed.op == "call" and typed.value.evaluate is None:
        return typed
    return Typed(typed.node, "literal", typed.type, value=_Run({}).value(typed))


class _Run:
    """Interprets typed nodes. `item` is one item of the list that a node goes over, or `_WHOLE`."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.names = names

    def value(self, typed: Typed, item: Any = _WHOLE) -> Any:
        """The value of a node, None if unknown."""
        if typed.over and item is _WHOLE:
            whole = self.names[typed.over]
            return None if whole is None else [self.value(typed, one) for one in whole]
        make: Callable[[Typed, Any], Any] = getattr(self, f"_{_METHODS.get(typed.op, typed.op)}")
        return make(typed, item)

    def _as(self, typed: Typed, item: Any, want: Type) -> Any:
        value = self.value(typed, item)
        return value if typed.item == want else converted(value, want)

    def _literal(self, typed: Typed, item: Any) -> Any:
        return typed.value

    def _column(self, typed: Typed, item: Any) -> Any:
        return _finite(self.names[typed.value] if item is _WHOLE else item)

    def _item(self, typed: Typed, item: Any) -> Any:
        whole, at = self.value(typed.parts[0]), typed.value
        return whole[at] if whole is not None and -len(whole) <= at < len(whole) else None

    def _field(self, typed: Typed, item: Any) -> Any:
        base = self.value(typed.parts[0], item)
        if isinstance(base, Counts):
            return base.codes.get(typed.value, 0)
        return None if base is None else _finite(base.get(typed.value))

    def _path(self, typed: Typed, item: Any) -> Any:
        import json

        found = self.value(typed.parts[0], item)
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except ValueError:
                return None
        for key in typed.value:
            if isinstance(found, Mapping) and isinstance(key, str):
                found = found.get(key)
            elif isinstance(found, list) and isinstance(key, int) and -len(found) <= key < len(found):
                found = found[key]
            else:
                return None
        return (
            found
            if found is None or isinstance(found, str)
            else json.dumps(found, separators=(",", ":"), ensure_ascii=False)
        )

    def _not(self, typed: Typed, item: Any) -> Any:
        value = self._as(typed.parts[0], item, BOOL)
        return None if value is None else not value

    def _both(self, typed: Typed, item: Any) -> Any:
        decides = typed.op == "or"
        values = [self._as(p, item, BOOL) for p in typed.parts]
        return decides if decides in values else None if None in values else not decides

    def _negate(self, typed: Typed, item: Any) -> Any:
        value = self._as(typed.parts[0], item, typed.item)
        return None if value is None else _guarded(-value, -float(value), typed.item)

    def _arithmetic(self, typed: Typed, item: Any) -> Any:
        left, right = (self._as(p, item, typed.item) for p in typed.parts)
        if left is None or right is None:
            return None
        if typed.value in ("/", "%") and right == 0:
            return None
        if typed.value == "%":
            return left % right if typed.item == INT else _float_modulo(left, right)
        op = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[typed.value]
        return _guarded(op(left, right), op(float(left), float(right)), typed.item)

    def _join(self, typed: Typed, item: Any) -> Any:
        left, right = (self._as(p, item, TEXT) for p in typed.parts)
        return None if left is None or right is None else left + right

    def _compare(self, typed: Typed, item: Any) -> Any:
        op, kind = typed.value
        left, right = (self._as(p, item, _KINDS[kind]) for p in typed.parts)
        return None if left is None or right is None else _COMPARE[op](left, right)

    def _choose(self, typed: Typed, item: Any) -> Any:
        condition = self._as(typed.parts[0], item, BOOL)
        if condition is None:
            return None
        return self._as(typed.parts[1] if condition else typed.parts[2], item, typed.item)

    def _member(self, typed: Typed, item: Any) -> Any:
        how, kind, negated = typed.value
        left, *right = typed.parts
        want = _KINDS.get(kind, left.item)
        value = self._as(left, item, want)
        if how == "equal":
            found = self._equals_one(value, right, want, item)
        elif how == "unknown":
            found = python_is_in(self.value(left), self.value(right[0]))
        else:
            whole = self._as(right[0], item, TEXT) if how == "text" else self.value(right[0])
            found = None if whole is None or value is None else _is_inside(value, whole, want)
        return None if found is None else found != negated

    def _equals_one(self, value: Any, right: list[Typed], want: Type, item: Any) -> bool | None:
        if right[0].constant and item_of(right[0].type) is not None:
            return None if value is None else any(value == converted(v, want) for v in right[0].value)
        others = [self._as(p, item, want) for p in right]
        found = [None if value is None or other is None else value == other for other in others]
        return True if True in found else None if None in found else False

    def _list(self, typed: Typed, item: Any) -> Any:
        return [self._as(p, item, item_of(typed.type) or TEXT) for p in typed.parts]

    def _call(self, typed: Typed, item: Any) -> Any:
        function: Function = typed.value
        if function.evaluate is None:
            raise TypeError(f"`{function.name}` cannot be evaluated")  # `check` refuses it, `fold` passes it by
        given = [self.value(p, item) for p in typed.parts]
        if None in given and not function.nulls:
            return None
        result = function.evaluate(*given)
        return _finite(float(result)) if typed.item == FLOAT and result is not None else result

    def _cast(self, typed: Typed, item: Any) -> Any:
        return self._as(typed.parts[0], item, typed.item)


_METHODS = {"and": "both", "or": "both", "as": "cast"}


def converted(value: Any, want: Type) -> Any:
    """A value as another type, as `convert` in `compile` has it: None where it is none of that type."""
    if value is None or want == ANY:
        return value
    if want == BOOL:
        return {"true": True, "false": False}.get(_text(value))
    if want == TEXT:
        return _text(value)
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else None
    return value if value is None or want != FLOAT else _finite(float(value))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _guarded(exact: Any, about: float, want: Type) -> Any:
    if want == FLOAT:
        return _finite(exact)
    return exact if abs(about) <= MAX_INTEGER else None


def _float_modulo(left: float, right: float) -> float | None:
    quotient = left / right
    if not math.isfinite(quotient):
        return None
    return float(left - float(math.floor(quotient)) * right)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_inside(value: Any, whole: Any, want: Type) -> bool:
    if isinstance(whole, str):
        return value in whole
    return any(v is not None and value == converted(v, want) for v in whole)
