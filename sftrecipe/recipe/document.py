"""A recipe file as data: its top level checked, a variant and overrides applied, parameters filled in."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.recipe.model import CommandLinePath, Path_, Place, Unresolved, is_unresolved
from sftrecipe.yamlsource import Source

__all__ = ["TOP_LEVEL", "Document", "fill", "resolve_params", "set_path"]

TOP_LEVEL = ("recipe", "grammar", "about", "requires", "seed", "params", "models", "steps", "variants", "tests")
PARAM_KEYS = ("type", "default", "min", "max", "choices", "about")
PARAM_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "text": (str,),
    "list": (list,),
    "map": (dict,),
    "any": (object,),
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "text",
    "list": "a list",
    "map": "a mapping",
}
MACHINE = ("workers", "store", "engine", "with", "limit", "shard_mb")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")


@dataclass
class Document:
    """The data of one file, its problems and the places of values that came from elsewhere."""

    source: Source
    data: dict[str, Any]
    problems: Problems
    moved: dict[Path_, tuple[Source, Path_]] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, source: Source, problems: Problems) -> Document:
        """Checks the top level. Problems go to `problems`."""
        data = source.data
        if not isinstance(data, dict):
            problems.error("R101", "a recipe is a mapping with `recipe:` and `steps:`", source.span(()))
            return cls(source, {}, problems)
        document = cls(source, copy.deepcopy(data), problems)
        for key in data:
            if key not in TOP_LEVEL and not str(key).startswith("x-"):
                machine = "it belongs to a machine: give it as an option, or in `[tool.sftrecipe]` of pyproject.toml"
                help = (
                    machine
                    if key in MACHINE
                    else did_you_mean(str(key), TOP_LEVEL) or "only keys that begin with `x-` are free"
                )
                problems.error(
                    "R102", f"unknown key `{key}` at the top of the recipe", source.key_span((key,)), help=help
                )
        if not isinstance(data.get("recipe"), str):
            problems.error(
                "R101", "`recipe:` must give the recipe's name", source.span(("recipe",)), help="`recipe: my-mix`"
            )
        if not isinstance(data.get("steps"), list) or not data.get("steps"):
            problems.error(
                "R101",
                "`steps:` must list at least one step",
                source.span(("steps",)),
                help="each step begins with `- `",
            )
        if data.get("grammar") != 1:
            text = f"grammar {data['grammar']!r} is not known" if "grammar" in data else "`grammar: 1` is missing"
            help = "this version reads `grammar: 1`" if "grammar" in data else "write `grammar: 1` below `recipe:`"
            problems.error("R113", text, source.span(("grammar",)), help=help)
        for key, kind, word in (("params", dict, "mapping"), ("models", dict, "mapping"), ("variants", dict, "mapping"),
                                ("tests", list, "list"), ("requires", list, "list")):  # fmt: skip
            if data.get(key) is not None and not isinstance(data[key], kind):
                problems.error("R101", f"`{key}:` must be a {word}", source.span((key,)))
                document.data[key] = kind()
        if "seed" in data and not _is_seed(data["seed"]):
            problems.error("R101", "`seed:` must be an integer", source.span(("seed",)))
            document.data["seed"] = 0
        return document

    def place(self, *path: str | int) -> Place:
        """The place of an entry, wherever its value was written."""
        return Place(self.source, path, self.moved)

    def apply_variant(self, name: str) -> None:
        """Replaces what `variants: {name: {...}}` names. R117 if there is none."""
        variants = self.data.get("variants") or {}
        if name not in variants:
            help = did_you_mean(name, variants) or (
                f"there are {', '.join(variants)}" if variants else "the recipe has none"
            )
            self.problems.error("R117", f"unknown variant `{name}`", self.source.span(("variants",)), help=help)
            return
        changes = variants[name]
        if not isinstance(changes, dict):
            self.problems.error(
                "R101", f"variant `{name}` must map paths to values", self.source.span(("variants", name))
            )
            return
        for path, value in changes.items():
            self.override(str(path), value, self.place("variants", name, path))

    def check_variants(self, chosen: str) -> None:
        """Tells what the other variants get wrong, paths that lead nowhere and values that do not fit their parameter:
        nobody should find out on the day it is wanted.
        """
        for name in list(self.data.get("variants") or {}):
            if name != chosen:
                other = Document(self.source, copy.deepcopy(self.data), self.problems)
                other.apply_variant(name)
                for given in other.given.keys() & (other.data.get("params") or {}).keys():
                    _param(other, given, other.data["params"][given])

    def override(self, path: str, value: Any, place: Place) -> None:
        """Puts `value` at a dotted path, or removes the entry if it is None. R118 if the path leads nowhere."""
        words = path.split(".")
        if words[0] not in TOP_LEVEL and words[0] in (self.data.get("params") or {}):
            words = ["params", *words]
        if words[0] not in ("params", "models", "seed"):
            help = did_you_mean(words[0], (*(self.data.get("params") or {}), "params", "models", "seed"))
            help = help or "name `params.x`, `models.x` or `seed`"
            self.problems.error("R118", f"`{path}` cannot be replaced", place.key(), help=help)
            return
        if words[0] == "seed" and (len(words) > 1 or not (value is None or _is_seed(value))):
            self.problems.error("R116", f"`seed` must be a whole number, not `{value}`", place.span())
            return
        if words[0] == "params" and len(words) == 2 and words[1] in (self.data.get("params") or {}):
            self.given[words[1]] = value
            self.moved["params", words[1]] = (place.source, place.path)
            return
        target: Any = self.data
        inner = list(words)
        if words[0] == "params" and len(words) > 2 and words[1] in (self.data.get("params") or {}):
            # a path into a parameter's value: below its default, if it is declared in the long form
            declared = self.data["params"][words[1]]
            if words[1] in self.given:
                target, inner = self.given, words[1:]
            elif _is_long(declared):
                target, inner = declared, ["default", *words[2:]]
        error = set_path(target, inner, value)
        if error:
            error = (error[0].replace("`default`", f"`{words[1]}`"), error[1]) if inner[0] == "default" else error
            self.problems.error("R118", f"`{path}` leads nowhere: {error[0]}", place.key(), help=error[1])
            return
        self.moved[tuple(words)] = (place.source, place.path)


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def set_path(data: Any, words: list[str], value: Any) -> tuple[str, str] | None:
    """Replaces one entry of nested mappings; None removes it. Returns (what is wrong, advice) or None."""
    at = data
    for depth, word in enumerate(words[:-1]):
        if isinstance(at, dict) and at.get(word) is None and depth == 0:
            at[word] = {}
        if not isinstance(at, dict) or word not in at:
            return f"there is no `{word}`", _near(word, at)
        at = at[word]
    last = words[-1]
    if not isinstance(at, dict):
        return f"`{words[-2]}` is no mapping", ""
    if value is None and last not in at:
        return f"there is no `{last}` to remove", _near(last, at)
    if last not in at and len(words) == 2 and words[0] in ("params", "models"):
        return f"there is no {'parameter' if words[0] == 'params' else 'model'} `{last}`", _near(last, at)
    if value is None:
        del at[last]
    else:
        at[last] = value
    return None


def _near(word: str, at: Any) -> str:
    known = [str(k) for k in at] if isinstance(at, dict) else []
    return did_you_mean(word, known) or (f"there are {', '.join(known)}" if known else "")


def _is_long(declared: Any) -> bool:
    return (
        isinstance(declared, dict)
        and bool(declared)
        and set(declared) <= set(PARAM_KEYS)
        and bool({"type", "default"} & set(declared))
    )


def resolve_params(document: Document) -> dict[str, Any]:
    """The values of `params:`, defaults and overrides, each checked against its declaration (R114, R116, R134)."""
    return {
        name: _param(document, str(name), declared) for name, declared in (document.data.get("params") or {}).items()
    }


def _param(document: Document, name: str, declared: Any) -> Any:
    """One parameter's value, or Unresolved if it has none that fits."""
    place, problems = document.place("params", name), document.problems
    unknown = Unresolved(name)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        problems.error("R114", f"`{name}` is no parameter name", place.key(), help="small letters, digits and `_`")
        return unknown
    form = declared if _is_long(declared) else {"default": declared}
    kind = form.get("type") or _type_word(form.get("default"))
    wrong = _misdeclared(form, kind, declared)
    if wrong:
        key, text, help = wrong
        problems.error(
            "R114",
            f"parameter `{name}`: {text}",
            place.at(key).span() if key in form else place.at(key).key(),
            help=help,
        )
        return unknown
    if name not in document.given and "default" not in form:
        problems.error(
            "R134", f"parameter `{name}` has no default and is not given", place.key(), help=f"give `-p {name}=...`"
        )
        return unknown
    value = document.given.get(name, form.get("default"))
    value = _number(value) if kind in ("int", "float", "any") else value
    misfit = _misfit(value, kind, form)
    if misfit:
        here = place.at("default") if form is declared and name not in document.given else place
        problems.error("R116", f"parameter `{name}` {misfit[0]}", here.span(), help=misfit[1])
        return unknown
    return value


def _misdeclared(form: Mapping[str, Any], kind: Any, declared: Any) -> tuple[str, str, str] | None:
    """(key, what is wrong with the declaration, advice), or None."""
    if form is not declared and isinstance(declared, dict) and {"type", "default"} & set(declared):
        near = {k: did_you_mean(str(k), PARAM_KEYS) for k in declared if k not in PARAM_KEYS}
        if all(near.values()):  # else it is a mapping of its own that happens to have such a key
            key = next(iter(near))
            return key, f"unknown key `{key}`", near[key]
    if kind not in PARAM_TYPES:
        return (
            "type",
            f"unknown type `{kind}`",
            did_you_mean(str(kind), PARAM_TYPES) or f"there are {', '.join(PARAM_TYPES)}",
        )
    for bound in ("min", "max"):
        if bound in form and kind not in ("int", "float"):
            return bound, f"`{bound}` goes with int and float, not with {kind}", "for texts there is `choices:`"
        if bound in form and not isinstance(_number(form[bound]), (int, float)):
            return bound, f"`{bound}` must be a number, not `{form[bound]}`", ""
    if "choices" in form and not isinstance(form["choices"], list):
        return "choices", "`choices` is a list", "`choices: [a, b]`"
    return None


def _type_word(value: Any) -> str:
    if isinstance(value, str) and isinstance(_number(value), float):
        return "float"
    for word, kinds in (("bool", bool), ("int", int), ("float", float), ("text", str), ("list", list), ("map", dict)):
        if isinstance(value, kinds):
            return word
    return "any"


def _number(value: Any) -> Any:
    """`1/256` and `2%` as numbers, all else as it is."""
    from sftrecipe.params import NUMBER_TEXT, to_number

    if isinstance(value, str) and re.fullmatch(NUMBER_TEXT, value):
        return to_number(value)
    return value


def _misfit(value: Any, kind: str, form: Mapping[str, Any]) -> tuple[str, str] | None:
    """(what is wrong with a value, advice), or None."""
    if value is None:
        return None
    about = str(form.get("about") or "")
    if not isinstance(value, PARAM_TYPES[kind]) or (kind in ("int", "float") and isinstance(value, bool)):
        shown = str(value).lower() if isinstance(value, bool) else value
        scalar = kind == "text" and isinstance(value, (int, float))
        return f"must be {_WORDS[kind]}, not `{shown}`", f'for text use quotes: "{shown}"' if scalar else about
    if "choices" in form and value not in form["choices"]:
        known = [str(c) for c in form["choices"]]
        return f"must be one of {', '.join(known)}, not `{value}`", did_you_mean(str(value), known) or about
    least, most = _number(form.get("min")), _number(form.get("max"))
    if least is not None and value < least:
        return f"must be at least {least:g}, not {value:g}", about
    return (f"must be at most {most:g}, not {value:g}", about) if most is not None and value > most else None


def fill(value: Any, params: Mapping[str, Any], place: Place, problems: Problems, used: set[str]) -> Any:
    """`value` with every `${params.x}` replaced: alone it keeps its type, in text it is written out (R115, R130)."""
    if isinstance(value, dict):
        return {k: fill(v, params, place.at(k), problems, used) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, params, place.at(i), problems, used) for i, v in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    start = _REFERENCE.sub(lambda m: " " * len(m[0]), value).find("${")
    if start >= 0:
        problems.error("R130", "`${` without its `}`", place.inside(start, len(value)), help="write `${params.name}`")
        return Unresolved(value)
    whole = _REFERENCE.fullmatch(value)
    if whole and not whole[1].startswith("env:"):
        return copy.deepcopy(_lookup(whole, params, place, problems, used))
    pieces = [
        _lookup(m, params, place, problems, used) for m in _REFERENCE.finditer(value) if not m[1].startswith("env:")
    ]
    if is_unresolved(pieces):
        return Unresolved(value)
    left = iter(pieces)

    def written(match: re.Match[str]) -> str:
        found = match[0] if match[1].startswith("env:") else next(left)
        return str(found).lower() if isinstance(found, bool) else str(found)

    text = _REFERENCE.sub(written, value)
    return CommandLinePath(text) if isinstance(value, CommandLinePath) else text


def _lookup(match: re.Match[str], params: Mapping[str, Any], place: Place, problems: Problems, used: set[str]) -> Any:
    """What `${params.a.b}` stands for, or Unresolved."""
    name = match[1].strip()
    words = name.split(".")
    span = place.inside(match.start(), match.end())
    if words[0] != "params" or len(words) < 2:
        near = did_you_mean(words[0], ("params",)) and did_you_mean(words[-1], params)
        known = words[-1] if words[-1] in params else near.removeprefix("did you mean `").removesuffix("`?")
        help = f"did you mean `${{params.{known}}}`?" if known else "write `${params.name}` or `${env:NAME}`"
        problems.error("R130", f"`{match[0]}` is no reference", span, help=help)
        return Unresolved(name)
    at: Any = params
    for word in words[1:]:
        if not isinstance(at, Mapping) or word not in at:
            if is_unresolved(at):
                return Unresolved(name)
            known_names = [str(k) for k in at] if isinstance(at, Mapping) else []
            help = did_you_mean(word, known_names) or (f"there are {', '.join(known_names)}" if known_names else "")
            problems.error("R115", f"unknown parameter `{name}`", span, help=help or "the recipe declares none")
            return Unresolved(name)
        at = at[word]
    used.add(words[1])
    return at
