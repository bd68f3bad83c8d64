"""What the functions on numbers and lists do: Polars expressions, and the same on plain Python values."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from sftrecipe.expressions.language import MAX_INTEGER
from sftrecipe.expressions.typed import ANY, BOOL, FIELDS, FLOAT, INT, item_of
from sftrecipe.lazy import pl
from sftrecipe.types import Type

__all__ = [
    "abs",
    "abs_type",
    "all",
    "any",
    "check_end",
    "check_extreme",
    "check_log",
    "check_round",
    "divided",
    "end",
    "extreme",
    "extreme_type",
    "first",
    "items",
    "last",
    "log",
    "mean",
    "python_abs",
    "python_extreme",
    "python_item",
    "python_log",
    "python_mean",
    "python_round",
    "python_sqrt",
    "python_sum",
    "round",
    "round_type",
    "sqrt",
    "sum",
    "sum_type",
]

_WHOLE = 2.0**53


def items(compute: Callable[..., Any]) -> Callable[..., Any]:
    """A Python function over the items of a list that are not null."""
    return lambda values: compute([v for v in values if v is not None])


def any(values: pl.Expr) -> pl.Expr:
    """One is true."""
    return values.list.any()


def all(values: pl.Expr) -> pl.Expr:
    """None is false."""
    return values.list.all()


def extreme(name: str) -> Callable[..., pl.Expr]:
    """`min` or `max`, over one list or row by row over several numbers (null if one of them is)."""

    def build(types: Sequence[Type], *given: pl.Expr) -> pl.Expr:
        if not given[1:]:
            made: pl.Expr = getattr(given[0].list, name)()
            return made
        dtype = extreme_type(types).dtype()
        values = [g.cast(dtype, strict=False) for g in given]
        unknown = reduce(lambda a, b: a | b, [v.is_null() for v in values])
        rowwise = pl.max_horizontal if name == "max" else pl.min_horizontal
        return pl.when(~unknown).then(rowwise(*values))

    return build


def extreme_type(types: Sequence[Type]) -> Type:
    """Whole only if all are whole."""
    found = {item_of(t) or t for t in types}
    return INT if found <= {INT, BOOL} else FLOAT


def check_extreme(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """One list, or several numbers."""
    lists = [t for t in types if item_of(t)]
    if types[1:]:
        return "give one list, or several numbers" if lists else ""
    if lists or types[0] == ANY:
        return ""
    return "one number has no extreme: give several, or a list; for the best rows use `select`"


def python_extreme(best: Callable[..., Any]) -> Callable[..., Any]:
    """`min` or `max` on Python values."""

    def look(*given: Any) -> Any:
        if isinstance(given[0], (list, tuple)):
            return best((v for v in given[0] if v is not None), default=None)
        return best(given)

    return look


def sum(types: Sequence[Type], values: pl.Expr) -> pl.Expr:
    """The sum; a whole one beyond MAX_INTEGER is null."""
    if sum_type(types) == FLOAT:
        return values.list.sum()
    about = values.cast(pl.List(pl.Float64), strict=False).list.sum()
    return pl.when(about.abs() <= MAX_INTEGER).then(values.list.sum().cast(pl.Int64))


def python_sum(values: Sequence[Any]) -> Any:
    """The sum of Python numbers."""
    total = builtins.sum(values)
    return None if isinstance(total, int) and builtins.abs(total) > MAX_INTEGER else total


def sum_type(types: Sequence[Type]) -> Type:
    """Whole for whole numbers and truth values."""
    return INT if item_of(types[0]) in (INT, BOOL) else FLOAT


def mean(values: pl.Expr) -> pl.Expr:
    """Sum over count; null for an empty list."""
    return values.cast(pl.List(pl.Float64), strict=False).list.mean()


def python_mean(values: Sequence[Any]) -> float | None:
    """The mean of Python numbers."""
    return builtins.sum(map(float, values)) / len(values) if values else None


def end(types: Sequence[Type]) -> Type:
    """The type of an item."""
    return item_of(types[0]) or ANY


def check_end(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """An item must be a value."""
    whole = end(types).kind in FIELDS
    return "a whole message or candidate is no value: take a field, as in first(messages.content)" if whole else ""


def first(values: pl.Expr) -> pl.Expr:
    """The first item, null or not."""
    return values.list.get(0, null_on_oob=True)


def last(values: pl.Expr) -> pl.Expr:
    """The last item, null or not."""
    return values.list.get(-1, null_on_oob=True)


def python_item(at: int) -> Callable[[Sequence[Any]], Any]:
    """The first (0) or last (-1) item of a Python list."""
    return lambda values: values[at] if values else None


def round_type(types: Sequence[Type]) -> Type:
    """Whole without digits: their absence is typed `null`."""
    return INT if types[0] == INT or types[1].kind == "null" else FLOAT


def round(types: Sequence[Type], x: pl.Expr, digits: int | None) -> pl.Expr:
    """Halves to even. With digits: scaled by a power of ten, rounded, scaled back."""
    if types[0] == INT:
        return x
    if digits is None:
        whole = x.round(0, mode="half_to_even")
        return pl.when(whole.abs() <= MAX_INTEGER).then(whole)
    scaled = x * 10.0**digits
    # from 2^53 on a float has nothing left to round; scaling it there and back would only change it
    return pl.when(scaled.abs() < _WHOLE).then(divided(scaled.round(0, mode="half_to_even"), 10.0**digits)).otherwise(x)


def check_round(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """Digits behind the point."""
    digits = constants[1]
    return "" if digits is None or 0 <= digits <= 15 else "digits go from 0 to 15"


def python_round(x: float | None, digits: int | None) -> float | None:
    """The same on a Python number."""
    if x is None or isinstance(x, int):
        return x
    if digits is None:
        return builtins.round(x) if -MAX_INTEGER <= x <= MAX_INTEGER else None
    scaled = x * 10.0**digits
    if not -_WHOLE < scaled < _WHOLE:
        return x
    return builtins.round(scaled) / 10.0**digits


def abs_type(types: Sequence[Type]) -> Type:
    """As the number's."""
    return types[0]


def abs(x: pl.Expr) -> pl.Expr:
    """Without the sign. The smallest 64-bit integer has no positive counterpart: null."""
    made = pl.when(x >= 0).then(x).otherwise(0 - x)
    return pl.when(made >= 0).then(made)


def python_abs(x: float) -> float | None:
    """The same on a Python number."""
    return None if x == -(1 << 63) and isinstance(x, int) else builtins.abs(x)


def log(types: Sequence[Type], x: pl.Expr, base: float | None) -> pl.Expr:
    """The logarithm of what is above 0."""
    value = x.cast(pl.Float64)
    made = pl.when(value > 0).then(value).log()
    return made if base is None else divided(made, math.log(base))


def check_log(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """A base is above 0 and not 1."""
    base = constants[1]
    return "" if base is None or (base > 0 and base != 1) else "the base is a number above 0, and not 1"


def python_log(x: float | None, base: float | None) -> float | None:
    """The same on a Python number."""
    if x is None or x <= 0:
        return None
    return math.log(x) if base is None else math.log(x) / math.log(base)


def divided(x: pl.Expr, by: float) -> pl.Expr:
    """`x / by`, exactly. Polars multiplies by 1 / by instead, but not where it sees one row: the last bit would then
    depend on where batches end. Divided by a column, nothing is rewritten.
    """
    return x / (x * 0 + by)


def sqrt(x: pl.Expr) -> pl.Expr:
    """The square root of what is not below 0."""
    value = x.cast(pl.Float64)
    return pl.when(value >= 0).then(value).sqrt()


def python_sqrt(x: float) -> float | None:
    """The same on a Python number."""
    return math.sqrt(x) if x >= 0 else None
