"""The parsed expression: eleven kinds of node, each with its place in the text. Offsets count characters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Arithmetic",
    "Both",
    "Call",
    "Choose",
    "Compare",
    "Field",
    "Items",
    "Literal",
    "Name",
    "Negate",
    "Node",
    "Not",
    "Tree",
    "walk",
]


@dataclass(eq=False, repr=False)
class Node:
    """What stands from `start` to `end`."""

    start: int
    end: int


@dataclass(eq=False, repr=False)
class Literal(Node):
    """A number, text, truth value or null."""

    value: Any


@dataclass(eq=False, repr=False)
class Name(Node):
    """A column, or `params`."""

    name: str


@dataclass(eq=False, repr=False)
class Field(Node):
    """`base.key`, `base["key"]` or `base[0]`. `place` is where the key stands."""

    base: Node
    key: str | int
    place: Node


@dataclass(eq=False, repr=False)
class Items(Node):
    """`[a, b]` or `(a, b)`."""

    items: tuple[Node, ...]


@dataclass(eq=False, repr=False)
class Not(Node):
    """`not a`."""

    operand: Node


@dataclass(eq=False, repr=False)
class Negate(Node):
    """`-a`."""

    operand: Node


@dataclass(eq=False, repr=False)
class Both(Node):
    """`a and b and c` or `a or b`."""

    op: str
    parts: tuple[Node, ...]


@dataclass(eq=False, repr=False)
class Compare(Node):
    """`a < b <= c`, `a in b`: ops has one entry less than operands."""

    ops: tuple[str, ...]
    operands: tuple[Node, ...]


@dataclass(eq=False, repr=False)
class Arithmetic(Node):
    """`a + b` and the like."""

    op: str
    left: Node
    right: Node


@dataclass(eq=False, repr=False)
class Choose(Node):
    """`yes if condition else no`."""

    condition: Node
    yes: Node
    no: Node


@dataclass(eq=False, repr=False)
class Call(Node):
    """`name(arguments)`."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(eq=False, repr=False)
class Tree:
    """A whole expression and the text it came from."""

    text: str
    root: Node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, in the order of the text."""
    yield node
    for child in _children(node):
        yield from walk(child)


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Field):
        return (node.base,)
    if isinstance(node, (Not, Negate)):
        return (node.operand,)
    if isinstance(node, Items):
        return node.items
    if isinstance(node, Both):
        return node.parts
    if isinstance(node, Compare):
        return node.operands
    if isinstance(node, Arithmetic):
        return (node.left, node.right)
    if isinstance(node, Choose):
        return (node.yes, node.condition, node.no)
    return node.arguments if isinstance(node, Call) else ()
