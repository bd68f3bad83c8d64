"""Expressions: conditions and values over columns, in Python's expression grammar.

    words(response) >= 5 and not contains(response, "As an AI")

`parse` reads the text, `check` types it against columns, `compile` makes a Polars expression of it, `evaluate` computes
it over plain values. None but `compile` needs polars. The rules for nulls, NaN and overflow are on the page of
`sftrecipe.expressions.compiling`. Names are loaded when first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sftrecipe.expressions.checking import Checked, check
    from sftrecipe.expressions.compiling import compile
    from sftrecipe.expressions.evaluating import evaluate
    from sftrecipe.expressions.functions import BUILTIN
    from sftrecipe.expressions.language import Argument, Counts, ExpressionError, Function
    from sftrecipe.expressions.parsing import columns_of, parse
    from sftrecipe.expressions.template import TemplateText, template_columns
    from sftrecipe.expressions.tree import Tree

__all__ = [
    "BUILTIN",
    "Argument",
    "Checked",
    "Counts",
    "ExpressionError",
    "Function",
    "TemplateText",
    "Tree",
    "check",
    "columns_of",
    "compile",
    "evaluate",
    "parse",
    "template_columns",
]

_HOME = {
    "checking": ("Checked", "check"),
    "compiling": ("compile",),
    "evaluating": ("evaluate",),
    "functions": ("BUILTIN",),
    "language": ("Argument", "Counts", "ExpressionError", "Function"),
    "parsing": ("columns_of", "parse"),
    "template": ("TemplateText", "template_columns"),
    "tree": ("Tree",),
}
_WHERE = {name: f"sftrecipe.expressions.{home}" for home, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module `sftrecipe.expressions` has no attribute `{name}`")
    return getattr(import_module(_WHERE[name]), name)
