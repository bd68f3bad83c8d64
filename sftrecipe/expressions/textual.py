"""What the functions on texts, conversations and keys do: Polars expressions, and the same on plain Python values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, reduce
from typing import Any

from sftrecipe.expressions.counts import BLANKS, buckets, word_counts
from sftrecipe.expressions.typed import ANY, NULL, item_of
from sftrecipe.lazy import pl
from sftrecipe.types import Type

__all__ = [
    "any_of",
    "bucket",
    "chars",
    "check_bucket",
    "check_count",
    "check_needles",
    "check_pattern",
    "coalesce",
    "contains",
    "count",
    "endswith",
    "is_null",
    "len",
    "lower",
    "matches",
    "python_coalesce",
    "python_count",
    "python_is_in",
    "python_matches",
    "python_words",
    "role",
    "same_type",
    "startswith",
    "strip",
    "turns",
    "upper",
    "words",
]

MAX_PATTERN = 500


def len(types: Sequence[Type], x: pl.Expr) -> pl.Expr:
    """Characters of a text, items of a list."""
    if types[0] == ANY:
        return x.map_batches(_length, return_dtype=pl.Int64, is_elementwise=True)
    return x.list.len() if item_of(types[0]) else x.str.len_chars()


def _length(values: pl.Series) -> pl.Series:
    """`len` of a column whose type only the data knows."""
    lengths = values.list.len() if values.dtype == pl.List else values.cast(pl.String, strict=False).str.len_chars()
    return lengths.cast(pl.Int64)


def chars(text: pl.Expr) -> pl.Expr:
    """Code points."""
    return text.str.len_chars()


def words(text: pl.Expr) -> pl.Expr:
    """As `str.split()` counts."""
    return text.map_batches(word_counts, return_dtype=pl.Int64, is_elementwise=True)


def python_words(text: str) -> int:
    """Words of one text."""
    return text.split().__len__()


def lower(text: pl.Expr) -> pl.Expr:
    """Lower case."""
    return text.str.to_lowercase()


def upper(text: pl.Expr) -> pl.Expr:
    """Upper case."""
    return text.str.to_uppercase()


def strip(text: pl.Expr) -> pl.Expr:
    """As `str.strip()`: Polars' own idea of white space lacks U+001C to U+001F."""
    return text.str.strip_chars(BLANKS)


def contains(text: pl.Expr, *needles: Any) -> pl.Expr:
    """One of the needles stands in the text. Fixed ones are looked for in one pass."""
    flat = _flat(needles)
    fixed = [n for n in flat if isinstance(n, str)]
    find = partial(text.str.contains, literal=True)
    if fixed[1:]:
        columns = [n for n in flat if not isinstance(n, str)]
        return _found(columns, find, [text.str.contains_any(fixed)])
    return _found(flat, find)


def startswith(text: pl.Expr, *starts: Any) -> pl.Expr:
    """The text begins with one of these."""
    return _found(_flat(starts), text.str.starts_with)


def endswith(text: pl.Expr, *ends: Any) -> pl.Expr:
    """The text ends with one of these."""
    return _found(_flat(ends), text.str.ends_with)


def _flat(needles: Sequence[Any]) -> list[Any]:
    return [one for n in needles for one in (n if isinstance(n, list) else [n])]


def _found(needles: Sequence[Any], find: Callable[[Any], pl.Expr], found: Sequence[pl.Expr] = ()) -> pl.Expr:
    """Whether one is found; a needle from a column may be null, and is then unknown."""
    looks = list(found)
    for needle in needles:
        if isinstance(needle, pl.Expr):
            text = needle.cast(pl.String, strict=False)
            looks.append(pl.when(text.is_not_null()).then(find(text)))
        else:
            looks.append(find(pl.lit(needle)))
    return reduce(lambda a, b: a | b, looks)


def check_needles(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """A list of needles is the same for every row, and not empty."""
    for type_, constant in zip(types[1:], constants[1:], strict=True):
        if item_of(type_) and constant is None:
            return "a list of texts to look for must be written out, or be a parameter"
    return "" if _flat(constants[1:]) else "the list of texts to look for is empty"


def any_of(find: Callable[[str, str], bool]) -> Callable[..., bool | None]:
    """`find(text, needle)` for several needles, on Python values."""

    def look(text: str | None, *needles: Any) -> bool | None:
        if text is None:
            return None
        found = [None if one is None else find(text, str(one)) for one in _flat(needles)]
        return True if True in found else None if None in found else False

    return look


def matches(text: pl.Expr, pattern: str) -> pl.Expr:
    """The regular expression is found in the text."""
    return text.str.contains(pattern)


def check_pattern(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """Asks the engine that will run it, the only judge of its syntax: loads polars."""
    pattern = constants[1]
    if pattern[MAX_PATTERN:]:
        return f"the pattern is longer than {MAX_PATTERN} characters"
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        said = [line[7:] for line in str(error).splitlines() if line.startswith("error: ")]
        return f"the pattern is wrong: {said[0] if said else 'it cannot be compiled'}"
    return ""


def python_matches(text: str, pattern: str) -> bool:
    """`matches` on one text, by the same engine."""
    return bool(pl.Series([text]).str.contains(pattern)[0])


def count(types: Sequence[Type], x: pl.Expr, needle: pl.Expr | str | None) -> pl.Expr:
    """True values of a list, or occurrences in a text."""
    if needle is None:
        return x.list.sum()
    text = (pl.lit(needle) if isinstance(needle, str) else needle).cast(pl.String, strict=False)
    found = x.cast(pl.String, strict=False).str.count_matches(text, literal=True)
    return pl.when(text.is_not_null()).then(found)


def check_count(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """One list of truth values, or a text and what to count in it."""
    if types[1] == NULL:
        return "" if item_of(types[0]) or types[0] == ANY else "say what to count in the text: count(text, needle)"
    return 'to count equal items, compare them: count(tags == "x")' if item_of(types[0]) else ""


def python_count(x: Any, needle: str | None) -> int | None:
    """`count` on Python values."""
    if x is None:
        return None
    if isinstance(x, (list, tuple)):
        return sum(v is True for v in x)
    return None if needle is None else x.count(needle)


def python_is_in(item: Any, whole: Any) -> bool | None:
    """`in` where only the data knows whether it is a list, JSON text of a list, or text."""
    if item is None or whole is None:
        return None
    if isinstance(whole, str) and whole.startswith("["):
        import json

        with suppress(ValueError):
            whole = json.loads(whole)
    if isinstance(whole, (list, tuple)):
        return any(item == one and isinstance(item, bool) == isinstance(one, bool) for one in whole)
    return str(item) in str(whole)


def is_null(x: pl.Expr) -> pl.Expr:
    """The value is missing."""
    return x.is_null()


def coalesce(*given: pl.Expr) -> pl.Expr:
    """The first that is not missing."""
    return pl.coalesce(*given)


def python_coalesce(*given: Any) -> Any:
    """The first that is not None."""
    return next((v for v in given if v is not None), None)


def same_type(types: Sequence[Type]) -> Type:
    """The type that all arguments were brought to."""
    return types[0]


def turns(messages: pl.Expr) -> pl.Expr:
    """Messages whose role is user."""
    return messages.list.eval(pl.element().struct.field("role") == "user").list.sum()


def role(n: int, messages: pl.Expr) -> pl.Expr:
    """The role of message n; negative counts from the end."""
    return messages.list.get(n, null_on_oob=True).struct.field("role")


def bucket(key: pl.Expr, n: int) -> pl.Expr:
    """A stable hash, modulo n."""
    return key.map_batches(partial(buckets, n=n), return_dtype=pl.Int64, is_elementwise=True)


def check_bucket(types: Sequence[Type], constants: Sequence[Any]) -> str:
    """n is at least 1."""
    return "" if 1 <= constants[1] <= 1 << 31 else "the number of buckets goes from 1 to 2147483648"
