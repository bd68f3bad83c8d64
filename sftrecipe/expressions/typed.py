"""The tree with a type at every node, and the rules by which types go together. No polars here.

Types are those of columns (`sftrecipe.types`) and four more inside expressions: `null` (the literal), `message` and
`candidate` (one item of such a list), `counts` (a count with parts, in `expect:`).

A node may be computed *over* the items of one list column (`candidates.score > 0.5`): then `over` names the column and
the type is a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from sftrecipe.expressions.language import Counts, ExpressionError
from sftrecipe.expressions.tree import Node
from sftrecipe.types import CANDIDATE_FIELDS, MESSAGE_FIELDS, Type, parse_type

__all__ = [
    "ANY",
    "BOOL",
    "FIELDS",
    "FLOAT",
    "INT",
    "NULL",
    "TEXT",
    "Typed",
    "accepted",
    "combined",
    "comparison",
    "describe",
    "item_of",
    "list_of",
    "no_lists",
    "one_list",
    "refuse",
    "type_of",
    "unified",
    "word_type",
]

ANY, BOOL, FLOAT, INT, NULL, TEXT = (Type(k) for k in ("any", "bool", "float", "int", "null", "text"))

FIELDS: Mapping[str, Mapping[str, str]] = {"message": MESSAGE_FIELDS, "candidate": CANDIDATE_FIELDS}
_SHOWN = {
    "text": "text",
    "int": "a number",
    "float": "a number",
    "counts": "a number",
    "bool": "true or false",
    "null": "null",
    "json": "JSON",
    "message": "a message",
    "candidate": "a candidate",
    "any": "a value of unknown type",
}
_ITEMS = {"vector": FLOAT, "tokens": INT, "messages": Type("message"), "candidates": Type("candidate")}


@dataclass(frozen=True)
class Typed:
    """A node with its type. `op` says what it does with `parts`; `value` is what else belongs to it.

    literal (the value), column (name), item (index), field (name), path (JSON keys), not, negate, and, or, compare
    (one or more kinds with operators), member (`in`), arithmetic (operator), choose, call (Function), items (a list as
    written) and list (the same as a value).
    """

    node: Node
    op: str
    type: Type
    parts: tuple[Typed, ...] = ()
    value: Any = None
    over: str = ""

    @property
    def constant(self) -> bool:
        return self.op == "literal"

    @property
    def item(self) -> Type:
        """The type of one item if computed over a list, else the type."""
        return item_of(self.type) or self.type if self.over else self.type


def item_of(type_: Type) -> Type | None:
    """What a list holds, or None for what is no list."""
    return (type_.of or ANY) if type_.kind == "list" else _ITEMS.get(type_.kind)


def list_of(item: Type) -> Type:
    """A list of these."""
    return Type("list", item)


def word_type(word: str) -> Type:
    """A column's type from its word; `counts` too."""
    return Type("counts") if word == "counts" else parse_type(word)


def type_of(value: Any) -> Type:
    """The type of a parameter or a name's value. What is no scalar or list of them is `any`, None is `null`."""
    if value is None:
        return NULL
    for kind, type_ in ((Counts, Type("counts")), (bool, BOOL), (int, INT), (float, FLOAT), (str, TEXT)):
        if isinstance(value, kind):
            return type_
    if isinstance(value, (list, tuple)):
        return list_of(unified([type_of(v) for v in value if v is not None]) or ANY)
    return ANY


def unified(types: Sequence[Type]) -> Type | None:
    """The one type that all of these fit, or None. Nothing, or only nulls, gives `any`."""
    kinds = [INT if t.kind == "counts" else TEXT if t.kind == "json" else t for t in types if t != NULL]
    known = [t for t in kinds if t != ANY]
    if not known:
        return ANY
    if all(t == known[0] for t in known):
        return known[0]
    return FLOAT if all(t.is_number for t in known) else None


def comparison(left: Type, right: Type, op: str) -> str:
    """As what two values are compared: `int`, `float`, `text`, `bool`, or an empty string if they cannot be."""
    kinds = {_scalar(left), _scalar(right)}
    if "" in kinds:
        return ""
    if kinds == {"any"}:
        return "text" if op in ("==", "!=") else "float"
    kinds.discard("any")
    if len(kinds) == 2:
        return "float" if kinds == {"int", "float"} else ""
    kind = kinds.pop()
    if "any" in (left.kind, right.kind) and kind == "int":
        kind = "float"
    return "" if kind == "bool" and op not in ("==", "!=") else kind


def _scalar(type_: Type) -> str:
    same = {
        "json": "text",
        "counts": "int",
        "text": "text",
        "int": "int",
        "float": "float",
        "bool": "bool",
        "any": "any",
    }
    return same.get(type_.kind, "")


def accepted(accepts: str, given: Type) -> str:
    """The word of `accepts` that takes a value of this type, or an empty string. `any`-typed values go anywhere."""
    words = accepts.split("|")
    if given == ANY:
        return words[0] if len(words) == 1 else "any"
    for word in words:
        if _accepts(word, given):
            return word
    return ""


def _accepts(word: str, given: Type) -> bool:
    item = item_of(given)
    if word == "any":
        return True
    if word == "same":
        return item is None
    if given == NULL:
        return not word.startswith(("list", "messages"))
    if word == "number":
        return given.is_number or given.kind == "counts"
    if word == "list":
        return item is not None
    if word.startswith("list["):
        return item is not None and (item == ANY or _accepts(word[5:-1], item))
    return given.is_text if word == "text" else given.kind == word


def one_list(node: Node, parts: Iterable[Typed]) -> str:
    """The list column that these parts go over together, or an empty string. R531 if they cannot go together."""
    parts = list(parts)
    names = list(dict.fromkeys(p.over for p in parts if p.over))
    if len(names) > 1:
        refuse(
            "R531",
            f"`{names[0]}` and `{names[1]}` are lists of their own",
            node,
            "compare items with constants, one list at a time",
        )
    if names:
        for part in parts:
            if not part.over and not part.constant:
                message = f"beside the items of `{names[0]}` only constants can stand"
                refuse("R531", message, part.node, f"bring `{names[0]}` to one value first: any(...), max(...)")
    return names[0] if names else ""


def describe(type_: Type) -> str:
    """A type in words, for messages."""
    return _SHOWN.get(type_.kind) or (f"a list ({type_})" if item_of(type_) else f"`{type_}`")


def combined(
    node: Node, op: str, parts: Sequence[Typed], rule: Callable[[Sequence[Type]], Type], value: Any = None
) -> Typed:
    """A node over single values, or over the items of one list column if a part is. `rule`: item types -> type."""
    over = one_list(node, parts)
    for part in parts:
        if part.item.kind in FIELDS:
            advice = "take one of its fields: candidates.score"
            refuse("R514", f"a whole {part.item.kind} is no value", part.node, advice)
    found = rule([p.item for p in parts])
    return Typed(node, op, list_of(found) if over else found, tuple(parts), value, over)


def no_lists(parts: Iterable[Typed]) -> None:
    """R531 for a list where one value is needed."""
    for part in parts:
        if part.type.kind == "list" or part.op == "items":
            advice = "use x in [...], or any(...) over a list"
            refuse("R531", "one value is needed here, not a list", part.node, advice)


def refuse(code: str, message: str, at: Node, help: str = "") -> NoReturn:
    """Raises ExpressionError at the node's place."""
    raise ExpressionError(code, message, at.start, at.end, help)
