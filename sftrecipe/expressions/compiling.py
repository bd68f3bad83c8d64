"""The typed tree to one Polars expression that works row by row.

Semantics, which `sftrecipe.expressions.evaluating` shares:
- Null is an unknown value: what is computed from it is null. `and`, `or` follow Kleene (`false and null` is false),
  `a if null else b` is null. `is_null`, `coalesce` and functions over a list look past nulls.
- A number that is not finite is null: NaN and infinity in a column, x / 0, overflow, the logarithm of 0.
- Integers are exact up to 9 * 10^18; beyond, the result is null. `/` gives a float. `a % b` has the sign of b.
- Texts compare by code point. `x in [...]` is a chain of `==`.
- A value from JSON, or of a column whose type is not known, is taken as what it is compared with: number, text or
  truth value.

Nothing here looks at other rows, so results cannot depend on where batches end.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from sftrecipe.expressions.checking import check
from sftrecipe.expressions.evaluating import converted, fold
from sftrecipe.expressions.language import MAX_INTEGER, Function
from sftrecipe.expressions.numeric import divided
from sftrecipe.expressions.textual import python_is_in
from sftrecipe.expressions.tree import Tree
from sftrecipe.expressions.typed import ANY, BOOL, FIELDS, FLOAT, INT, NULL, TEXT, Typed, item_of
from sftrecipe.lazy import pl
from sftrecipe.types import Type

__all__ = ["compile"]

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "%": operator.mod,
}  # fmt: skip
_KINDS = {"int": INT, "float": FLOAT, "text": TEXT, "bool": BOOL}


def compile(
    expression: str | Tree,
    columns: Mapping[str, str],
    params: Mapping[str, Any] | None = None,
    functions: Mapping[str, Function] | None = None,
    *,
    want: str | None = None,
) -> pl.Expr:
    """A Polars expression. Checks first; raises as `check` does.

    With `want` (`bool`, `number`, `text`) a result of unknown type is brought to it. An expression without columns
    still gives one value for each row.
    """
    checked = check(expression, columns, want=want, params=params, functions=functions)
    typed = fold(checked.typed)
    made = _expr(typed)
    wanted = {"bool": BOOL, "number": FLOAT, "text": TEXT}
    if want is not None and typed.type == ANY:
        made = convert(made, ANY, wanted[want])
    return made if checked.columns else _for_each_row(made)


def _for_each_row(made: pl.Expr) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) >= 0).then(made)


def convert(made: pl.Expr, have: Type, want: Type) -> pl.Expr:
    """A value of one type as another: integers to floats, unknown to what is asked for, null to anything."""
    if want in (have, ANY):
        return made
    if have == NULL:
        return pl.lit(None, dtype=want.dtype())
    if want == BOOL:
        # JSON writes true and false; what is neither is unknown
        text = made.cast(pl.String, strict=False)
        return pl.when(text == "true").then(True).when(text == "false").then(False).otherwise(None)
    if want == FLOAT:
        return _finite(made.cast(pl.Float64, strict=False))
    return made.cast(want.dtype(), strict=False)


def _expr(typed: Typed, inside: bool = False) -> pl.Expr:
    """`inside`: the node is computed for one item of the list it goes over."""
    if typed.over and not inside:
        return _whole_list(typed)
    make: Callable[[Typed, bool], pl.Expr] = _MAKERS[typed.op]
    return make(typed, inside)


def _whole_list(typed: Typed) -> pl.Expr:
    """A node over a list column, as a list."""
    item, column = typed.item, pl.col(typed.over)
    if typed.op == "column" and (item.kind in FIELDS or item == ANY):
        return column
    if typed.op == "column" and item != FLOAT:
        return column.cast(pl.List(item.dtype()), strict=False)
    if typed.op == "column":
        column = column.cast(
            pl.List(pl.Float64), strict=False
        )  # a vector may be stored with a fixed width, which `eval` refuses
    return column.list.eval(_expr(typed, inside=True))


def _literal(typed: Typed, inside: bool) -> pl.Expr:
    value, item = typed.value, item_of(typed.type)
    if typed.type == NULL:
        return pl.lit(None)
    if typed.type == ANY:
        return pl.lit(value)
    if item is not None:
        values = [float(v) for v in value] if item == FLOAT else value
        return pl.lit(pl.Series([values], dtype=pl.List(item.dtype())))
    return pl.lit(value, dtype=typed.type.dtype())


def _column(typed: Typed, inside: bool) -> pl.Expr:
    made = pl.element() if inside else pl.col(typed.value)
    type_ = typed.item if inside else typed.type
    if type_.kind in ("any", "bool", *FIELDS):
        return made
    made = made.cast(type_.dtype(), strict=False)
    return _finite(made) if type_ == FLOAT else made


def _item(typed: Typed, inside: bool) -> pl.Expr:
    return _expr(typed.parts[0]).list.get(typed.value, null_on_oob=True)


def _field(typed: Typed, inside: bool) -> pl.Expr:
    made = _expr(typed.parts[0], inside).struct.field(typed.value)
    return _finite(made) if typed.item == FLOAT else made


def _path(typed: Typed, inside: bool) -> pl.Expr:
    base = _expr(typed.parts[0], inside).cast(pl.String, strict=False)
    return base.str.json_path_match("$" + "".join(_step(key) for key in typed.value))


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    escaped = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


def _not(typed: Typed, inside: bool) -> pl.Expr:
    return ~_as(typed.parts[0], BOOL, inside)


def _both(typed: Typed, inside: bool) -> pl.Expr:
    join = operator.and_ if typed.op == "and" else operator.or_
    return reduce(join, [_as(p, BOOL, inside) for p in typed.parts])


def _as(part: Typed, want: Type, inside: bool) -> pl.Expr:
    if part.constant:
        # cast here, so that Polars sees a literal: a computed scalar loses its length when it meets a column of nulls
        return pl.lit(converted(part.value, want), dtype=None if want == ANY else want.dtype())
    return convert(_expr(part, inside), part.item, want)


def _cast(typed: Typed, inside: bool) -> pl.Expr:
    return _as(typed.parts[0], typed.item, inside)


def _negate(typed: Typed, inside: bool) -> pl.Expr:
    want = typed.item
    return _guarded(0 - _as(typed.parts[0], want, inside), -_as(typed.parts[0], FLOAT, inside), want)


def _arithmetic(typed: Typed, inside: bool) -> pl.Expr:
    left, right = typed.parts
    want, op = typed.item, _ARITHMETIC[typed.value]
    if typed.value == "%":
        return _modulo(_as(left, want, inside), right, want, inside)
    about = op(_as(left, FLOAT, inside), _as(right, FLOAT, inside))
    if typed.value == "/" and right.constant:
        about = _by_constant(_as(left, FLOAT, inside), right)
    exact = about if want == FLOAT else op(_as(left, want, inside), _as(right, want, inside))
    return _guarded(exact, about, want)


def _guarded(exact: pl.Expr, about: pl.Expr, want: Type) -> pl.Expr:
    """Null where there is no finite result, or where a 64-bit integer may have wrapped around."""
    if want == FLOAT:
        return _finite(exact)
    return pl.when(about.abs() <= MAX_INTEGER).then(exact)


def _modulo(left: pl.Expr, divisor: Typed, want: Type, inside: bool) -> pl.Expr:
    right = _as(divisor, want, inside)
    if want == INT:
        return pl.when(right != 0).then(left % right)
    quotient = _by_constant(left, divisor) if divisor.constant else left / right
    return _finite(left - quotient.floor() * right)


def _by_constant(left: pl.Expr, right: Typed) -> pl.Expr:
    value = converted(right.value, FLOAT)
    return pl.lit(None, dtype=pl.Float64) if value is None else divided(left, value)


def _finite(made: pl.Expr) -> pl.Expr:
    return pl.when(made.is_finite()).then(made)


def _join(typed: Typed, inside: bool) -> pl.Expr:
    left, right = (_as(p, TEXT, inside) for p in typed.parts)
    return left + right


def _compare(typed: Typed, inside: bool) -> pl.Expr:
    op, kind = typed.value
    left, right = (_as(p, _KINDS[kind], inside) for p in typed.parts)
    made: pl.Expr = _COMPARE[op](left, right)
    return made


def _choose(typed: Typed, inside: bool) -> pl.Expr:
    condition = _as(typed.parts[0], BOOL, inside)
    yes, no = (_as(p, typed.item, inside) for p in typed.parts[1:])
    return pl.when(condition).then(yes).when(~condition).then(no)


def _member(typed: Typed, inside: bool) -> pl.Expr:
    how, kind, negated = typed.value
    left, *right = typed.parts
    if how == "equal":
        made = _equals_one(left, right, kind, inside)
    elif how == "text":
        made = _as(right[0], TEXT, inside).str.contains(_as(left, TEXT, inside), literal=True)
    elif how == "list":
        made = _in_list(left, right[0], kind)
    else:
        made = _in_unknown(_expr(left), _expr(right[0]))
    return ~made if negated else made


def _equals_one(left: Typed, right: list[Typed], kind: str, inside: bool) -> pl.Expr:
    value = _as(left, _KINDS.get(kind, left.item), inside)
    if right[0].constant and item_of(right[0].type) is not None:
        values = [float(v) if kind == "float" else v for v in right[0].value]
        return value.is_in(values) if values else pl.when(value.is_not_null()).then(False)
    return reduce(operator.or_, [value == _as(p, _KINDS[kind], inside) for p in right])


def _in_list(left: Typed, right: Typed, kind: str) -> pl.Expr:
    want = _KINDS[kind]
    item, items = _as(left, want, inside=False), _expr(right).cast(pl.List(want.dtype()), strict=False)
    return pl.when(item.is_not_null()).then(items.list.contains(item))


def _in_unknown(left: pl.Expr, right: pl.Expr) -> pl.Expr:
    return pl.map_batches([left, right], _member_of, return_dtype=pl.Boolean, is_elementwise=True)


def _member_of(pair: Any) -> pl.Series:
    """`in` where only the data knows whether it is a list, JSON text of a list, or text."""
    left, right = pair
    items = left.to_list() if len(left) == len(right) else left.to_list() * len(right)
    return pl.Series([python_is_in(a, b) for a, b in zip(items, right.to_list(), strict=True)], dtype=pl.Boolean)


def _list(typed: Typed, inside: bool) -> pl.Expr:
    of = item_of(typed.type) or TEXT
    return pl.concat_list([_as(p, of, inside) for p in typed.parts])


def _call(typed: Typed, inside: bool) -> pl.Expr:
    function: Function = typed.value
    declared = [*function.arguments, *[function.arguments[-1]] * len(typed.parts)] if function.arguments else []
    given = [
        p.value if a.constant or (a.raw and p.constant) else _expr(p, inside)
        for p, a in zip(typed.parts, declared, strict=False)
    ]
    if function.typed:
        given.insert(0, tuple(p.item if inside else p.type for p in typed.parts))
    made = function.build(*given)
    if not inside and all(p.constant for p in typed.parts):
        made = _for_each_row(made)
    if typed.item == FLOAT:
        return _finite(made.cast(pl.Float64, strict=False))
    return made.cast(pl.Int64, strict=False) if typed.item == INT else made


_MAKERS: Mapping[str, Callable[[Typed, bool], Any]] = {
    "literal": _literal, "column": _column, "item": _item, "field": _field, "path": _path, "not": _not, "and": _both,
    "or": _both, "negate": _negate, "arithmetic": _arithmetic, "join": _join, "compare": _compare, "choose": _choose,
    "member": _member, "call": _call, "as": _cast, "list": _list,
}  # fmt: skip
