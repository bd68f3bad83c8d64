"""Types and names: what an expression reads, what it gives, and all that is wrong with it, before any row is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sftrecipe.errors import did_you_mean
from sftrecipe.expressions.calls import check_call
from sftrecipe.expressions.comparing import check_compare
from sftrecipe.expressions.language import Function
from sftrecipe.expressions.parsing import parse
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
)
from sftrecipe.expressions.typed import (
    ANY,
    BOOL,
    FIELDS,
    FLOAT,
    INT,
    NULL,
    TEXT,
    Typed,
    combined,
    describe,
    item_of,
    list_of,
    no_lists,
    refuse,
    type_of,
    unified,
    word_type,
)
from sftrecipe.types import Type

__all__ = ["Checked", "Checker", "check"]

_WANTED: Mapping[str, tuple[str, ...]] = {
    "bool": ("bool", "any"),
    "number": ("int", "float", "counts", "any"),
    "text": ("text", "json", "any"),
}
_NAMES = {"bool": "true or false", "number": "a number", "text": "text"}


@dataclass(frozen=True)
class Checked:
    """What is known of an expression before it runs. `functions`: name -> version of each that it calls."""

    type: Type
    columns: tuple[str, ...]
    functions: Mapping[str, int]
    typed: Typed = field(repr=False)


def check(
    expression: str | Tree,
    columns: Mapping[str, str],
    *,
    want: str | None = None,
    params: Mapping[str, Any] | None = None,
    functions: Mapping[str, Function] | None = None,
    rows: bool = True,
) -> Checked:
    """Types an expression against the columns that are there (name -> type as a word).

    Args:
        want: `bool`, `number` or `text`, if it must be one.
        params: what `params.x` stands for; scalars, lists, or mappings to look into.
        functions: the functions there are, by default the built-in ones.
        rows: False where there are no rows (`when:`, `expect:`): functions that need them are refused.

    Raises:
        ExpressionError: R501 to R532, at the first thing that is wrong.
    """
    tree = parse(expression) if isinstance(expression, str) else expression
    checker = Checker(columns, params or {}, _known(functions), rows)
    typed = _listed(checker.node(tree.root))
    _whole(typed, want)
    result = {"counts": INT, "null": ANY}.get(typed.type.kind, typed.type)
    return Checked(result, tuple(checker.columns), dict(sorted(checker.used.items())), typed)


def _known(functions: Mapping[str, Function] | None) -> Mapping[str, Function]:
    if functions is not None:
        return functions
    from sftrecipe.expressions.functions import BUILTIN

    return BUILTIN


def _listed(typed: Typed) -> Typed:
    """`[source, "x"]` as a whole expression: a list of one type. Texts where nothing is known of any item."""
    if typed.op != "items":
        return typed
    no_lists(typed.parts)
    for part in typed.parts:
        if part.over or part.item.kind in FIELDS:
            refuse("R531", "one value is needed here, not a list", part.node, "an item of a list is one value")
    of = unified([p.item for p in typed.parts])
    if of is None:
        refuse("R525", "this list mixes types", typed.node, "keep to numbers or to texts")
    return Typed(typed.node, "list", list_of(TEXT if of == ANY else of), typed.parts)


def _whole(typed: Typed, want: str | None) -> None:
    node, kind = typed.node, typed.type.kind
    whole = (item_of(typed.type) or typed.type).kind
    if whole in FIELDS and typed.op != "column":
        refuse("R514", f"a whole {whole} is no value", node, "take one of its fields: messages[0].content")
    if want is None or kind in _WANTED[want]:
        return
    advice = ""
    if want == "bool" and typed.type == list_of(BOOL):
        advice = "one value for each item: wrap it in any(...) or all(...)"
    elif want == "bool":
        advice = {"int": "compare it: x > 0", "float": "compare it: x > 0", "text": 'compare it: x != ""'}.get(kind, "")
    elif want == "number" and kind == "bool":
        advice = "write 1 if x else 0"
    elif want == "number" and kind in ("text", "json"):
        advice = "count it: words(x) or len(x)"
    refuse("R526", f"this gives {describe(typed.type)}, and {_NAMES[want]} is needed", node, advice)


class Checker:
    """Walks the tree once. `columns` and `used` (functions) fill on the way."""

    def __init__(
        self, columns: Mapping[str, str], params: Mapping[str, Any], functions: Mapping[str, Function], rows: bool
    ) -> None:
        self.known, self.params, self.functions, self.rows = columns, params, functions, rows
        self.columns: dict[str, None] = {}
        self.used: dict[str, int] = {}

    def node(self, node: Node) -> Typed:
        """One node, with its type."""
        make: Callable[[Any], Typed] = getattr(self, f"_{type(node).__name__.lower()}")
        return make(node)

    def _literal(self, node: Literal) -> Typed:
        return Typed(node, "literal", NULL if node.value is None else type_of(node.value), value=node.value)

    def _name(self, node: Name) -> Typed:
        if node.name == "params":
            refuse("R522", "`params` alone is no value", node, "write params.name")
        return self.column(node.name, node)

    def column(self, name: str, node: Node) -> Typed:
        """A column that is read, or R520."""
        if name not in self.known:
            self._unknown(name, node)
        self.columns[name] = None
        type_ = word_type(self.known[name])
        return Typed(node, "column", type_, value=name, over=name if item_of(type_) else "")

    def _unknown(self, name: str, node: Node) -> NoReturn:
        advice = did_you_mean(name, self.known)
        if name in self.functions:
            advice = f"`{name}` is a function: {self.functions[name].signature}"
        elif name in self.params:
            advice = f"for the parameter write params.{name}"
        elif not advice:
            advice = did_you_mean(name, self.functions) or f'for text use quotes: "{name}"'
        refuse("R520", f"there is no column `{name}` here", node, advice)

    def _field(self, node: Field) -> Typed:
        keys = _keys(node)
        if keys and isinstance(keys[0], Name) and keys[0].name == "params":
            return self._param(node, [k for k in keys[1:] if not isinstance(k, Name)])
        base, key = self.node(node.base), node.key
        if base.type.kind == "counts" and isinstance(key, str):
            return Typed(node, "field", INT, (base,), key)
        if base.over and isinstance(key, int):
            return Typed(node, "item", base.item, (base,), key)
        if base.item.kind in FIELDS and isinstance(key, str):
            found = self._struct_field(node, base.item.kind, key)
            return Typed(node, "field", list_of(found) if base.over else found, (base,), key, base.over)
        if base.item.kind not in ("json", "any"):
            shown = f"`{key}`" if isinstance(key, str) else f"item {key}"
            advice = "a dot reaches into JSON, candidates and messages only"
            refuse("R514", f"{describe(base.type)} has no {shown}", node, advice)
        return self._path(node, base, key)

    def _struct_field(self, node: Field, kind: str, key: str) -> Type:
        fields = FIELDS[kind]
        if key not in fields:
            advice = did_you_mean(key, fields) or f"there are {', '.join(fields)}"
            refuse("R530", f"a {kind} has no `{key}`", node.place, advice)
        return Type(fields[key])

    def _path(self, node: Field, base: Typed, key: str | int) -> Typed:
        """A value inside JSON: its type is known when it is used."""
        if isinstance(key, str) and "\\" in key:
            refuse("R514", "a key with a backslash cannot be reached", node.place, "give it a column when it is loaded")
        over = base.over
        type_ = list_of(ANY) if over else ANY
        if base.op == "path":
            return Typed(node, "path", type_, base.parts, (*base.value, key), over)
        return Typed(node, "path", type_, (base,), (key,), over)

    def _param(self, node: Field, keys: Sequence[Field]) -> Typed:
        value: Any = self.params
        for at in keys:
            if isinstance(value, Mapping):
                if at.key not in value:
                    names = [str(k) for k in value]
                    advice = did_you_mean(str(at.key), names) or (f"there are {', '.join(names)}" if names else "")
                    refuse("R522", f"there is no parameter `{at.key}`", at.place, advice)
                value = value[at.key]
            elif isinstance(value, (list, tuple)) and isinstance(at.key, int) and -len(value) <= at.key < len(value):
                value = value[at.key]
            else:
                refuse("R522", "this parameter holds no such part", at.place, "print it with `sftrecipe show`")
        return self._constant(node, value)

    def _constant(self, node: Node, value: Any) -> Typed:
        if isinstance(value, Mapping):
            refuse("R522", "this parameter is a mapping", node, "write params.name.key")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, (Mapping, list, tuple)) or (type(one) is int and not -(1 << 63) <= one < 1 << 63):
                refuse(
                    "R522",
                    "this parameter holds what no expression can use",
                    node,
                    "use numbers, texts, or one list of them",
                )
        type_ = NULL if value is None else type_of(value)
        if type_.kind == "list" and unified([type_of(v) for v in value]) is None:
            refuse("R525", "this parameter mixes types in one list", node, "keep to numbers or to texts")
        return Typed(node, "literal", type_, value=list(value) if isinstance(value, tuple) else value)

    def _items(self, node: Items) -> Typed:
        parts = [self.node(item) for item in node.items]
        if all(p.constant for p in parts):
            if any(p.type == NULL for p in parts):
                refuse("R527", "null in a list is equal to nothing", node, "write is_null(x) or x in [...]")
            if (of := unified([p.type for p in parts])) is None or of.kind == "list":
                refuse("R525", "this list mixes types", node, "keep to numbers or to texts")
            return Typed(node, "literal", list_of(of), value=[p.value for p in parts])
        return Typed(node, "items", list_of(ANY), tuple(parts))

    def _not(self, node: Not) -> Typed:
        return combined(node, "not", [self._condition(self.node(node.operand))], lambda types: BOOL)

    def _negate(self, node: Negate) -> Typed:
        return combined(node, "negate", [self._number(self.node(node.operand))], _number_type)

    def _both(self, node: Both) -> Typed:
        return combined(node, node.op, [self._condition(self.node(p)) for p in node.parts], lambda types: BOOL)

    def _condition(self, typed: Typed) -> Typed:
        if typed.item.kind not in ("bool", "any", "null"):
            advice = {"text": 'compare it: x != ""', "int": "compare it: x > 0", "float": "compare it: x > 0"}
            what = f"this is {describe(typed.type)}, and true or false is needed"
            refuse("R525", what, typed.node, advice.get(typed.item.kind, ""))
        return typed

    def _number(self, typed: Typed) -> Typed:
        if typed.item.kind not in ("int", "float", "any", "counts"):
            advice = {"bool": "write 1 if x else 0", "text": "count it: words(x) or len(x)"}.get(typed.item.kind, "")
            if typed.type == NULL:
                advice = "null makes the whole result null"
            refuse("R525", f"this is {describe(typed.type)}, and a number is needed", typed.node, advice)
        return typed

    def _arithmetic(self, node: Arithmetic) -> Typed:
        left, right = self.node(node.left), self.node(node.right)
        kinds = [left.item, right.item]
        if node.op == "+" and any(t.is_text for t in kinds) and all(t.is_text or t == ANY for t in kinds):
            return combined(node, "join", [left, right], lambda types: TEXT)
        texts = [p for p in (left, right) if p.item.is_text]
        if node.op == "+" and len(texts) == 1:
            refuse(
                "R525", "text and number cannot be added", node, "put numbers into a template, or compare them apart"
            )
        rule: Callable[[Sequence[Type]], Type] = (lambda types: FLOAT) if node.op == "/" else _number_type
        return combined(node, "arithmetic", [self._number(left), self._number(right)], rule, node.op)

    def _choose(self, node: Choose) -> Typed:
        condition = self._condition(self.node(node.condition))
        yes, no = self.node(node.yes), self.node(node.no)
        of = unified([yes.item, no.item])
        if of is None:
            refuse(
                "R525",
                f"{describe(yes.item)} or {describe(no.item)}: a value has one type",
                node,
                "give both sides one type",
            )
        no_lists([p for p in (yes, no) if not p.over])
        return combined(node, "choose", [condition, yes, no], lambda types: of)

    def _compare(self, node: Compare) -> Typed:
        return check_compare(self, node)

    def _call(self, node: Call) -> Typed:
        return check_call(self, node)


def _number_type(types: Sequence[Type]) -> Type:
    return INT if all(t.kind in ("int", "counts") for t in types) else FLOAT


def _keys(node: Node) -> list[Field | Name]:
    """The name and the fields that lead from it, or nothing if it begins with something else."""
    found: list[Field | Name] = []
    while isinstance(node, Field):
        found.append(node)
        node = node.base
    return [node, *reversed(found)] if isinstance(node, Name) else []
