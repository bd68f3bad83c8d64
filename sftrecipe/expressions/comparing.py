"""Comparisons and `in`: which types go together, and as what they are compared."""

from __future__ import annotations

from typing import NoReturn, Protocol

from sftrecipe.expressions.tree import Compare, Node
from sftrecipe.expressions.typed import (
    ANY,
    BOOL,
    NULL,
    Typed,
    combined,
    comparison,
    describe,
    item_of,
    no_lists,
    refuse,
)

__all__ = ["check_compare"]


class _Checker(Protocol):
    def node(self, node: Node) -> Typed: ...


def check_compare(checker: _Checker, node: Compare) -> Typed:
    """A comparison, or a chain of them, as truth values."""
    parts = [checker.node(part) for part in node.operands]
    steps = [_step(op, *parts[at : at + 2]) for at, op in enumerate(node.ops)]
    if len(steps) == 1:
        return steps[0]
    return combined(node, "and", steps, lambda types: BOOL)


def _step(op: str, left: Typed, right: Typed) -> Typed:
    node = Node(left.node.start, right.node.end)
    for part in (left, right):
        if part.type == NULL:
            advice = "write is_null(x)" if op in ("==", "in") else "write not is_null(x)"
            refuse("R527", "a comparison with null is never true", part.node, advice)
    if op in ("in", "not in"):
        return _member(op, left, right, node)
    no_lists([p for p in (left, right) if not p.over])
    kind = comparison(left.item, right.item, op)
    if not kind:
        _incomparable(op, left, right, node)
    return combined(node, "compare", [left, right], lambda types: BOOL, (op, kind))


def _incomparable(op: str, left: Typed, right: Typed, node: Node) -> NoReturn:
    advice = ""
    if {left.item.kind, right.item.kind} <= {"text", "json", "int", "float"}:
        text = left if left.item.is_text else right
        other = right if text is left else left
        advice = "numbers have no quotes" if text.constant else "count it: words(x) or len(x)"
        if op in ("==", "!=") and other.constant:
            advice = f'text needs quotes: "{other.value}"'
    elif "bool" in (left.item.kind, right.item.kind):
        advice = "truth values are compared with == and != to truth values only"
    refuse("R525", f"`{op}` cannot compare {describe(left.item)} with {describe(right.item)}", node, advice)


def _member(op: str, left: Typed, right: Typed, node: Node) -> Typed:
    negated = op == "not in"
    if right.op == "items" or (right.constant and right.type.kind == "list"):
        items = [p.item for p in right.parts] if right.parts else [item_of(right.type) or ANY]
        found = {comparison(left.item, item, "==") for item in items}
        kind = "float" if found == {"int", "float"} else found.pop() if len(found) == 1 else ""
        if not kind and not (right.constant and not right.value):
            refuse("R525", f"{describe(left.item)} is never in this list", node, "keep to one type on both sides")
        return combined(node, "member", [left, *(right.parts or [right])], lambda types: BOOL, ("equal", kind, negated))
    if right.item == ANY and not right.over:
        no_lists([left])
        return combined(node, "member", [left, right], lambda types: BOOL, ("unknown", "any", negated))
    if right.over or right.type.kind == "list":
        if left.over or left.type.kind == "list":
            refuse("R531", "one value is needed on the left", left.node, "any(x == ...) compares item by item")
        kind = comparison(left.type, item_of(right.type) or ANY, "==")
        if not kind:
            shown = f"{describe(left.type)} is never in {describe(right.type)}"
            refuse("R525", shown, node, "name a field: messages.role")
        return Typed(node, "member", BOOL, (left, right), ("list", kind, negated))
    if comparison(left.item, right.item, "==") != "text":
        shown = f"{describe(left.item)} is never in {describe(right.item)}"
        refuse("R525", shown, node, "`in` looks into lists and texts")
    return combined(node, "member", [left, right], lambda types: BOOL, ("text", "text", negated))
