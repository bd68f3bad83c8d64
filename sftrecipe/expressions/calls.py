"""Calls: which function, how many arguments, of which types, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from sftrecipe.errors import did_you_mean
from sftrecipe.expressions.language import Argument, Function
from sftrecipe.expressions.tree import Call, Literal, Node
from sftrecipe.expressions.typed import (
    ANY,
    BOOL,
    FIELDS,
    FLOAT,
    INT,
    TEXT,
    Typed,
    accepted,
    describe,
    item_of,
    list_of,
    one_list,
    refuse,
    type_of,
    unified,
    word_type,
)
from sftrecipe.types import Type

__all__ = ["check_call"]

_SHOWN = {
    "text": "text",
    "number": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "list": "a list",
    "list[number]": "a list of numbers",
    "list[bool]": "a list of truth values",
    "list[text]": "a list of texts",
    "messages": "a conversation (messages)",
}


class _Checker(Protocol):
    known: Mapping[str, str]
    functions: Mapping[str, Function]
    used: dict[str, int]
    rows: bool

    def node(self, node: Node) -> Typed: ...

    def column(self, name: str, node: Node) -> Typed: ...


def check_call(checker: _Checker, node: Call) -> Typed:
    """The call, its arguments as the function takes them: those of unknown type are wrapped in `as`."""
    function = _function(checker, node)
    parts = _arguments(checker, node, function)
    pairs = list(zip(parts, _declared(function, len(parts)), strict=True))
    over = one_list(node, [p for p, a in pairs if _by_item(p, a)])
    if over:  # computed item by item: what is no item must be a constant
        one_list(node, parts)
        for part, argument in pairs:
            if part.over and not _by_item(part, argument):
                refuse(
                    "R531",
                    "a whole list beside its items",
                    part.node,
                    f"`{function.name}` is called for each item here",
                )
    made = _same([_taken(p, a, over) for p, a in pairs], function, node)
    types = [p.item if p.over == over and over else p.type for p in made]
    if function.check is not None:
        constants = [p.value if p.constant else None for p in made]
        if message := function.check(types, constants):
            at = next((p.node for p, a in zip(made, _declared(function, len(made)), strict=True) if a.constant), node)
            refuse("R529", message, at if at.end > at.start else node, f"{function.signature}: {function.doc}")
    checker.used[function.name] = function.version
    result = word_type(function.returns) if isinstance(function.returns, str) else function.returns(types)
    return Typed(node, "call", list_of(result) if over else result, tuple(made), function, over)


def _function(checker: _Checker, node: Call) -> Function:
    name = Node(node.start, node.start + len(node.name))
    if node.name not in checker.functions:
        advice = did_you_mean(node.name, checker.functions) or "the manual lists the functions"
        if node.name in checker.known:
            advice = f"`{node.name}` is a column: write it without brackets"
        refuse("R521", f"there is no function `{node.name}`", name, advice)
    function = checker.functions[node.name]
    if function.evaluate is None and not checker.rows:
        refuse(
            "R532", f"`{function.name}` works on rows, and there are none here", name, "compare counts and parameters"
        )
    return function


def _arguments(checker: _Checker, node: Call, function: Function) -> list[Typed]:
    """What is given, then what is left out and has a default."""
    given = [checker.node(argument) for argument in node.arguments]
    declared = function.arguments
    least = sum(not a.optional for a in declared)
    many = bool(declared) and declared[-1].many
    if len(given) < least or (len(given) > len(declared) and not many):
        most = f"{least} or more" if many else f"{least} to {len(declared)}" if least < len(declared) else str(least)
        message = f"`{function.name}` takes {most} argument{'s' * (most != '1')}, not {len(given)}"
        refuse("R523", message, node, function.signature)
    for argument in declared[len(given) :]:
        if argument.implied:
            given.append(checker.column(argument.implied, node))
        elif argument.optional:
            given.append(_constant(argument.default, node))
    return given


def _constant(value: Any, node: Node) -> Typed:
    at = Node(node.end, node.end)
    return Typed(Literal(at.start, at.end, value), "literal", type_of(value), value=value)


def _declared(function: Function, count: int) -> Sequence[Argument]:
    declared = list(function.arguments)
    return (declared + declared[-1:] * (count - len(declared)))[:count]


def _by_item(part: Typed, argument: Argument) -> bool:
    """Whether the function is called for each item of a list, since it does not take the list."""
    return bool(part.over) and not accepted(argument.accepts, part.type)


def _taken(part: Typed, argument: Argument, over: str) -> Typed:
    """The argument as the function takes it. R524 if it cannot, R528 if it must be a constant."""
    if argument.constant and not part.constant:
        refuse(
            "R528",
            f"`{argument.name}` must be written out, or be a parameter",
            part.node,
            "it cannot differ from row to row",
        )
    by_item = bool(over) and part.over == over and _by_item(part, argument)
    type_ = part.item if by_item else part.type
    word = accepted(argument.accepts, type_)
    if not word and not (argument.optional and part.constant and part.value is None):
        message = f"`{argument.name}` is {describe(type_)}, and {_words(argument.accepts)} is needed"
        advice = "take one of its fields: messages.content" if (item_of(type_) or type_).kind in FIELDS else ""
        refuse("R524", message, part.node, advice)
    if not by_item and word in ("any", "list") and part.op == "items":
        refuse("R531", "a list of columns is no argument", part.node, "give them one by one")
    return part if part.constant else _as(part, word, by_item)


def _as(part: Typed, word: str, by_item: bool) -> Typed:
    """A part of unknown type, brought to the type that is asked for."""
    wanted = {"text": TEXT, "number": FLOAT, "bool": BOOL, "int": INT}
    type_ = part.item if by_item else part.type
    if word in wanted and type_ == ANY:
        return Typed(part.node, "as", list_of(wanted[word]) if by_item else wanted[word], (part,), over=part.over)
    item = item_of(type_)
    if word.startswith("list[") and item == ANY and word[5:-1] in wanted:
        return Typed(part.node, "as", list_of(wanted[word[5:-1]]), (part,), over=part.over)
    return replace(part, type=INT) if type_.kind == "counts" else part


def _same(parts: list[Typed], function: Function, node: Node) -> list[Typed]:
    """Arguments declared `same`, brought to one type."""
    alike = [a.accepts == "same" for a in _declared(function, len(parts))]
    if not any(alike):
        return parts
    chosen = [p.item if p.over else p.type for p, same in zip(parts, alike, strict=True) if same]
    of = unified(chosen)
    if of is None or item_of(of):
        refuse(
            "R524",
            f"the arguments of `{function.name}` have one type",
            node,
            "bring them to one: numbers, texts or truth values",
        )
    return [_cast(p, of) if same else p for p, same in zip(parts, alike, strict=True)]


def _cast(part: Typed, of: Type) -> Typed:
    if part.item == of:
        return part
    return Typed(part.node, "as", list_of(of) if part.over else of, (part,), over=part.over)


def _words(accepts: str) -> str:
    return " or ".join(_SHOWN.get(word, word) for word in accepts.split("|"))
