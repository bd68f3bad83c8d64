"""Text to tree, by Python's expression grammar and a whitelist over `ast`.

What is in the language: `and or not`, comparisons and chains of them, `in`, `+ - * / %`, `a if c else b`, numbers,
texts, lists, columns, `a.b`, `a["b"]`, `a[0]`, and calls of functions by name. Nothing else gets through, whatever
Python's grammar allows.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sftrecipe.expressions.language import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES, ExpressionError
from sftrecipe.expressions.lexer import tokens
from sftrecipe.expressions.tree import (
    Arithmetic,
    Both,
    Call,
    Choose,
    Compare,
    Field,
    Items,
    Literal,
    Name,
    Negate,
    Node,
    Not,
    Tree,
    walk,
)

__all__ = ["columns_of", "parse"]

_COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in", ast.NotIn:
    "not in",
}  # fmt: skip
_ARITHMETIC: Mapping[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%"}
_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}


@lru_cache(maxsize=1024)
def parse(text: str) -> Tree:
    """The tree of an expression. Raises ExpressionError (R501 to R519) at the first thing that is wrong."""
    if len(text) > MAX_CHARACTERS:
        message = f"longer than {MAX_CHARACTERS:,} characters"
        raise ExpressionError(
            "R502", message, MAX_CHARACTERS, len(text), "put lists into `params:`, and split it into columns"
        )
    found = tokens(text)
    # one line, so that a line break is only a blank; every token keeps its place
    plain, at = "", 0
    for token in found:
        plain, at = plain + " " * (token.start - at) + token.text, token.end
    try:
        root = ast.parse(f"({plain})", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(
            "R501", "this is no expression", 0, len(text), "see the manual's page on expressions"
        ) from error
    return Tree(text, _Reader(f"({plain})", text).node(root, 0))


def columns_of(
    text: str, columns: Mapping[str, str] | None = None, functions: Mapping[str, Any] | None = None
) -> list[str]:
    """The columns that an expression reads, in the order of the text, each once. Raises ExpressionError as `parse`.

    Names are not looked up: an unknown one is a column here. `params` is none. Functions that read a column unasked
    (`turns()` reads `messages`) are looked up in `functions`, by default the built-in ones. `columns` changes nothing.
    A column whose name is no Python identifier cannot be reached; rename it when it is loaded.
    """
    from sftrecipe.expressions.functions import BUILTIN

    known = BUILTIN if functions is None else functions
    found: list[str] = []
    for node in walk(parse(text).root):
        if isinstance(node, Name) and node.name != "params":
            found.append(node.name)
        elif isinstance(node, Call) and node.name in known:
            found += [a.implied for a in known[node.name].arguments[len(node.arguments) :] if a.implied]
    return list(dict.fromkeys(found))


class _Reader:
    """`ast` nodes to ours. `text` is what Python parsed: the expression in brackets, so every offset is one too
    high.
    """

    def __init__(self, text: str, original: str) -> None:
        self.bytes = text.encode("utf-8", "surrogatepass")
        self.original = original
        self.ascii = len(self.bytes) == len(text)
        self.count = 0

    def node(self, found: ast.expr, depth: int) -> Node:
        """One node and all below."""
        start, end = self._place(found)
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            what = (
                f"more than {MAX_NODES} parts"
                if self.count > MAX_NODES
                else f"nested more than {MAX_DEPTH} levels deep"
            )
            raise ExpressionError("R502", what, start, end, "put lists into `params:`, and split it into columns")
        made = self._made(found, start, end, depth + 1)
        if made is None:
            raise ExpressionError(
                "R501", "this is no part of the language", start, end, "see the manual's page on expressions"
            )
        return made

    def _made(self, found: ast.expr, start: int, end: int, depth: int) -> Node | None:
        if isinstance(found, ast.Constant) and isinstance(found.value, (str, int, float, type(None))):
            return Literal(start, end, found.value)
        if isinstance(found, ast.Name):
            # Python changes some letters of names to others (NFKC); a column is called what the text says
            name = self.original[start:end]
            return Literal(start, end, _CONSTANTS[name]) if name in _CONSTANTS else Name(start, end, name)
        if isinstance(found, (ast.List, ast.Tuple)):
            return Items(start, end, tuple(self.node(e, depth) for e in found.elts))
        if isinstance(found, ast.UnaryOp):
            operand = self.node(found.operand, depth)
            if isinstance(found.op, ast.USub):
                return _negated(operand, start, end)
            return Not(start, end, operand) if isinstance(found.op, ast.Not) else None
        if isinstance(found, ast.BoolOp):
            op = "and" if isinstance(found.op, ast.And) else "or"
            return Both(start, end, op, tuple(self.node(v, depth) for v in found.values))
        if isinstance(found, ast.BinOp) and type(found.op) in _ARITHMETIC:
            left = self.node(found.left, depth)
            return Arithmetic(start, end, _ARITHMETIC[type(found.op)], left, self.node(found.right, depth))
        if isinstance(found, ast.Compare):
            ops = tuple(_COMPARISONS.get(type(op), "") for op in found.ops)
            operands = tuple(self.node(v, depth) for v in (found.left, *found.comparators))
            return Compare(start, end, ops, operands) if all(ops) else None
        if isinstance(found, ast.IfExp):
            yes = self.node(found.body, depth)
            return Choose(start, end, self.node(found.test, depth), yes, self.node(found.orelse, depth))
        return self._reached(found, start, end, depth)

    def _reached(self, found: ast.expr, start: int, end: int, depth: int) -> Node | None:
        """What reaches into something or calls it."""
        if isinstance(found, ast.Attribute):
            key = self.original[start:end].rpartition(".")[2].strip()
            return Field(start, end, self.node(found.value, depth), key, Node(end - len(key), end))
        if isinstance(found, ast.Subscript):
            inner = self.node(found.slice, depth)
            if not (
                isinstance(inner, Literal) and isinstance(inner.value, (str, int)) and not isinstance(inner.value, bool)
            ):
                advice = 'write x[0] or x["key"]'
                raise ExpressionError("R506", "in [...] stands a number or a text", inner.start, inner.end, advice)
            return Field(start, end, self.node(found.value, depth), inner.value, Node(inner.start, inner.end))
        if isinstance(found, ast.Call):
            if not isinstance(found.func, ast.Name):
                at = self._place(found.func)
                advice = "write function(x) instead of x.function()"
                raise ExpressionError("R521", "only functions are called, by their name", *at, advice)
            name = self.original[slice(*self._place(found.func))]
            return Call(start, end, name, tuple(self.node(a, depth) for a in found.args))
        return None

    def _place(self, found: ast.expr) -> tuple[int, int]:
        return self._offset(found.col_offset), self._offset(found.end_col_offset or 0)

    def _offset(self, column: int) -> int:
        """Python counts bytes; we count characters."""
        return (column if self.ascii else len(self.bytes[:column].decode("utf-8", "surrogatepass"))) - 1


def _negated(operand: Node, start: int, end: int) -> Node:
    if isinstance(operand, Literal) and type(operand.value) in (int, float):
        return Literal(start, end, -operand.value)
    return Negate(start, end, operand)
