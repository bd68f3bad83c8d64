"""What must stand behind an entry point, group by group, told before anything runs.

`broken(group, thing)` says what is wrong with it, in words for its author, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sftrecipe import params as _params
from sftrecipe.verbs import VERBS

__all__ = ["broken"]


def broken(group: str, thing: Any) -> str:
    """What is wrong with what an entry point of `sftrecipe.<group>` gives; empty if nothing is."""
    if group in VERBS:
        return _operator(group, thing)
    if group == "model":
        from sftrecipe.models.provider import Provider

        if not (isinstance(thing, type) and issubclass(thing, Provider)):
            return f"is no Provider: its entry point gives {_what(thing)}"
        return _parameters(thing) or _texts(thing, ("serves", "needs"))
    if group == "function":
        from sftrecipe.expressions.language import Function

        return "" if isinstance(thing, Function) else f"is no Function: its entry point gives {_what(thing)}"
    if group == "engine":
        lacks = [m for m in ("map", "close") if not callable(getattr(thing, m, None))]
        return f"is no engine: {_what(thing)} has no `{lacks[0]}`" if lacks else ""
    return ""


def _operator(verb: str, thing: Any) -> str:
    base = VERBS[verb]
    if not (isinstance(thing, type) and issubclass(thing, base)):
        return f"is no {base.__name__}: its entry point gives {_what(thing)}"
    wrong = _texts(thing, ("reads", "rewrites", "needs", "fills")) or _parameters(thing)
    if not wrong and not isinstance(thing.writes, Mapping):
        wrong = f"has `writes = {thing.writes!r}`; a mapping is meant: `writes = {{'column': 'float'}}`"
    return wrong


def _texts(thing: Any, names: Sequence[str]) -> str:
    """A text where a tuple of texts is meant: `("response")` is the commonest slip of all."""
    for name in names:
        value = getattr(thing, name)
        if isinstance(value, str):
            return f"has `{name} = {value!r}`; a tuple is meant: `{name} = ({value!r},)`"
    return ""


def _parameters(thing: type) -> str:
    try:
        found = _params.specs(thing)
    except Exception as error:  # the plugin border: an annotation may name anything
        return f"has parameters that cannot be read: {type(error).__name__}: {error}"
    taken = [name for name in found if name in _RESERVED]
    if taken:
        return f"has a parameter `{taken[0]}`, which every operator has for something else"
    if len([s for s in found.values() if s.positional]) > 1:
        return "has more than one positional parameter"
    if len([s for s in found.values() if s.rest]) > 1:
        return "has more than one parameter that takes the rest"
    return _bare(thing)


def _bare(thing: type) -> str:
    """`words: Param(20)` for `words: int = Param(20)`."""
    for base in thing.__mro__:
        for name, annotation in base.__dict__.get("__annotations__", {}).items():
            if isinstance(annotation, _params.Declared) or str(annotation).startswith("Param("):
                return f"declares `{name}` without a type: write `{name}: int = Param(...)`"
        for name, value in base.__dict__.items():
            if isinstance(value, _params.Declared) and name not in base.__dict__.get("__annotations__", {}):
                return f"declares `{name}` without a type: write `{name}: int = Param(...)`"
    return ""


_RESERVED = ("name", "params", "state", "context", "version", "flow", "check", "setup", "fit", "cost", "sees", "review")


def _what(thing: Any) -> str:
    if isinstance(thing, type):
        bases = [b.__name__ for b in thing.__mro__ if b in VERBS.values()]
        return f"the class `{thing.__name__}`{', a ' + bases[0] if bases else ''}"
    return f"the {type(thing).__name__} `{getattr(thing, '__name__', thing)}`"
