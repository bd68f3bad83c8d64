"""The functions that come with the language. Each is an entry point in the group `sftrecipe.function`, like anyone
else's.

Functions over a list skip its nulls; an empty list has no `min`, `max`, `mean`, `first`, `last` (null), its `sum` and
`count` are 0, `any` is false and `all` true. A function that takes a text can be called on the items of a list:
`max(chars(messages.content))`.

This module loads without polars; what the functions do is in `textual` and `numeric`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sftrecipe.expressions import numeric as _n
from sftrecipe.expressions import textual as _t
from sftrecipe.expressions.counts import bucket_of
from sftrecipe.expressions.language import Argument, Function

__all__ = [
    "ABS",
    "ALL_OF",
    "ANY_OF",
    "BUCKET",
    "BUILTIN",
    "CHARS",
    "COALESCE",
    "CONTAINS",
    "COUNT",
    "ENDSWITH",
    "FIRST",
    "IS_NULL",
    "LAST",
    "LEN",
    "LOG",
    "LOWER",
    "MATCHES",
    "MAX",
    "MEAN",
    "MIN",
    "ROLE",
    "ROUND",
    "SQRT",
    "STARTSWITH",
    "STRIP",
    "SUM",
    "TURNS",
    "UPPER",
    "WORDS",
]

_TEXT = Argument("text", "text")
_NEEDLE = Argument("needle", "text|list[text]", many=True, raw=True)
_TRUTHS = Argument("list", "list[bool]")
_NUMBERS = Argument("list", "list[number]|list[bool]")
_MANY = Argument("numbers", "list[number]|number", many=True)
_NUMBER = Argument("x", "number")

LEN = Function(
    "len",
    "Characters of a text, or items of a list.",
    (Argument("x", "text|list"),),
    "int",
    _t.len,
    typed=True,
    evaluate=len,
)
CHARS = Function("chars", "Characters of a text (Unicode code points).", (_TEXT,), "int", _t.chars, evaluate=len)
WORDS = Function(
    "words", "Words of a text: what white space separates.", (_TEXT,), "int", _t.words, evaluate=_t.python_words
)
LOWER = Function("lower", "The text in lower case.", (_TEXT,), "text", _t.lower, evaluate=str.lower)
UPPER = Function("upper", "The text in upper case.", (_TEXT,), "text", _t.upper, evaluate=str.upper)
STRIP = Function("strip", "The text without white space at its ends.", (_TEXT,), "text", _t.strip, evaluate=str.strip)
CONTAINS = Function(
    "contains", "Whether one of the needles stands in the text, letter by letter.", (_TEXT, _NEEDLE), "bool",
    _t.contains, check=_t.check_needles, evaluate=_t.any_of(lambda text, needle: needle in text), nulls=True,
)  # fmt: skip
STARTSWITH = Function(
    "startswith", "Whether the text begins with one of the needles.", (_TEXT, _NEEDLE), "bool", _t.startswith,
    check=_t.check_needles, evaluate=_t.any_of(str.startswith), nulls=True,
)  # fmt: skip
ENDSWITH = Function(
    "endswith", "Whether the text ends with one of the needles.", (_TEXT, _NEEDLE), "bool", _t.endswith,
    check=_t.check_needles, evaluate=_t.any_of(str.endswith), nulls=True,
)  # fmt: skip
MATCHES = Function(
    "matches", "Whether the regular expression is found in the text (Rust's syntax: linear time, no look-around).",
    (_TEXT, Argument("pattern", "text", constant=True)), "bool", _t.matches, check=_t.check_pattern,
    evaluate=_t.python_matches,
)  # fmt: skip
ANY_OF = Function("any", "Whether one of the values is true.", (_TRUTHS,), "bool", _n.any, evaluate=_n.items(any))
ALL_OF = Function("all", "Whether no value is false.", (_TRUTHS,), "bool", _n.all, evaluate=_n.items(all))
MIN = Function(
    "min", "The smallest item of a list, or of several numbers.", (_MANY,), _n.extreme_type, _n.extreme("min"),
    typed=True, check=_n.check_extreme, evaluate=_n.python_extreme(min),
)  # fmt: skip
MAX = Function(
    "max", "The largest item of a list, or of several numbers.", (_MANY,), _n.extreme_type, _n.extreme("max"),
    typed=True, check=_n.check_extreme, evaluate=_n.python_extreme(max),
)  # fmt: skip
SUM = Function(
    "sum",
    "The sum of a list; true counts 1.",
    (_NUMBERS,),
    _n.sum_type,
    _n.sum,
    typed=True,
    evaluate=_n.items(_n.python_sum),
)
MEAN = Function(
    "mean",
    "The mean of a list; of truth values, the share that is true.",
    (_NUMBERS,),
    "float",
    _n.mean,
    evaluate=_n.items(_n.python_mean),
)
COUNT = Function(
    "count", "How many values of a list are true, or how often the needle stands in a text.",
    (Argument("x", "list[bool]|text"), Argument("needle", "text", default=None, raw=True)), "int", _t.count,
    typed=True, check=_t.check_count, evaluate=_t.python_count, nulls=True,
)  # fmt: skip
FIRST = Function(
    "first",
    "The first item of a list.",
    (Argument("list", "list"),),
    _n.end,
    _n.first,
    check=_n.check_end,
    evaluate=_n.python_item(0),
)
LAST = Function(
    "last",
    "The last item of a list.",
    (Argument("list", "list"),),
    _n.end,
    _n.last,
    check=_n.check_end,
    evaluate=_n.python_item(-1),
)
ROUND = Function(
    "round", "The nearest whole number (halves to the even one), or the number with so many digits.",
    (_NUMBER, Argument("digits", "int", constant=True, default=None)), _n.round_type, _n.round,
    typed=True, check=_n.check_round, evaluate=_n.python_round, nulls=True,
)  # fmt: skip
ABS = Function("abs", "The number without its sign.", (_NUMBER,), _n.abs_type, _n.abs, evaluate=_n.python_abs)
LOG = Function(
    "log", "The natural logarithm, or the one to a base; null for what is not above 0.",
    (_NUMBER, Argument("base", "number", constant=True, default=None)), "float", _n.log,
    check=_n.check_log, evaluate=_n.python_log, nulls=True, typed=True,
)  # fmt: skip
SQRT = Function(
    "sqrt", "The square root; null for what is below 0.", (_NUMBER,), "float", _n.sqrt, evaluate=_n.python_sqrt
)
IS_NULL = Function(
    "is_null",
    "Whether the value is missing.",
    (Argument("x", "any"),),
    "bool",
    _t.is_null,
    evaluate=lambda x: x is None,
    nulls=True,
)
COALESCE = Function(
    "coalesce", "The first value that is not missing.", (Argument("values", "same", many=True),), _t.same_type,
    _t.coalesce, evaluate=_t.python_coalesce, nulls=True,
)  # fmt: skip
TURNS = Function(
    "turns",
    "How many turns the user has in the conversation.",
    (Argument("messages", "messages", implied="messages"),),
    "int",
    _t.turns,
)
ROLE = Function(
    "role", "The role of a message: role(0) is the first, role() the last.",
    (Argument("n", "int", constant=True, default=-1), Argument("messages", "messages", implied="messages")), "text",
    _t.role,
)  # fmt: skip
BUCKET = Function(
    "bucket", "A number from 0 to n-1 that depends on the key alone, the same on every machine.",
    (Argument("key", "any"), Argument("n", "int", constant=True)), "int", _t.bucket, check=_t.check_bucket,
    evaluate=bucket_of,
)  # fmt: skip

BUILTIN: Mapping[str, Function] = {
    f.name: f
    for f in (
        LEN, CHARS, WORDS, LOWER, UPPER, STRIP, CONTAINS, STARTSWITH, ENDSWITH, MATCHES, ANY_OF, ALL_OF, MIN, MAX, SUM,
        MEAN, COUNT, FIRST, LAST, ROUND, ABS, LOG, SQRT, IS_NULL, COALESCE, TURNS, ROLE, BUCKET,
    )
}  # fmt: skip
"""All of them by name, for tests and for callers without a registry."""
