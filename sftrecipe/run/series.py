"""Columns that an operator hands back, as Polars series: as long as the batch, and of the type that was declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sftrecipe.lazy import pl
from sftrecipe.types import parse_type

if TYPE_CHECKING:
    from sftrecipe.rows import Rows
    from sftrecipe.run.batch import Live

__all__ = ["to_series", "typed"]


def to_series(live: Live, value: Any, view: Rows, what: str) -> pl.Series:
    """An expression, Series, array or list as a Series as long as the batch."""
    if isinstance(value, pl.Expr):
        value = live.call(lambda: view.frame.select(value.alias("value"))["value"])
    elif not isinstance(value, pl.Series):
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
            value = [value] * len(view) if not hasattr(value, "__len__") else value
        try:
            value = pl.Series(what, value, strict=False)
        except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise live.fault(f"gave `{what}` as {type(value).__name__}, which is no column: {error}") from error
    if len(value) == 1 and len(view) != 1 and len(view):
        value = value.extend_constant(value[0], len(view) - 1)
    if len(value) != len(view):
        raise live.fault(f"gave {len(value)} values of `{what}` for {len(view)} rows")
    return cast("pl.Series", value)


def typed(live: Live, series: pl.Series, word: str) -> pl.Series:
    """The column as declared: numbers finite or null, other types as they must be."""
    kind = parse_type(word)
    if kind.kind == "any":
        return series
    if live.spec.verb == "score" and kind.kind != "candidates" and series.dtype in (pl.String, pl.List, pl.Struct):
        raise live.fault(f"gave {series.dtype} values for the score `{series.name}`")
    if series.dtype.is_nested() and not kind.dtype().is_nested():
        raise live.fault(f"gave {series.dtype} values for `{series.name}`, declared as {word}")
    if series.dtype.is_float():
        series = series.fill_nan(None) if kind.kind != "float" else _finite(series)
    try:
        return series.cast(kind.dtype(), strict=True)
    except pl.exceptions.PolarsError as error:
        raise live.fault(f"gave {series.dtype} values for `{series.name}`, declared as {word}: {error}") from error


def _finite(series: pl.Series) -> pl.Series:
    return pl.select(pl.when(series.is_finite()).then(series)).to_series()
