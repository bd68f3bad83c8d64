"""The list under `steps:` as Step objects: one operator each, references not yet tied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sftrecipe.errors import Problems, did_you_mean
from sftrecipe.recipe.model import Place, Ref, Step
from sftrecipe.registry import full_name
from sftrecipe.verbs import VERBS

__all__ = ["ID", "RESERVED", "Draft", "draft_steps"]

RESERVED = ("id", "from", "where", "when", "seed", "on_error", "expect", "about", "use", "with", "models")
ID = re.compile(r"[a-z][a-z0-9_]*")
_OPERATOR = re.compile(r"[a-z_]+(\.[a-z0-9_]+)*")
WHERE_VERBS = ("filter", "select", "tag", "score", "evolve", "answer", "format")
ON_ERROR = ("null", "drop", "stop")


@dataclass
class Draft:
    """A step as written: a Step, or a `use` of another recipe, with its `from` and `when` still to be read."""

    step: Step | None
    use: str
    given: Mapping[str, Any]
    models: Mapping[str, Any]
    place: Place
    id: str
    sources: list[str] | None
    ports: Mapping[str, str]
    when: str | None
    raw: Mapping[str, Any]


def draft_steps(items: list[Any], raw: list[Any], place: Place, problems: Problems) -> list[Draft]:
    """Each entry as a Draft. Entries that are beyond reading are told and left out."""
    drafts = []
    counts: dict[str, int] = {}
    for at, (item, original) in enumerate(zip(items, raw, strict=True)):
        here = place.at(at)
        if isinstance(item, str):
            item, original = {item: None}, {item: None}
        if not isinstance(item, dict):
            problems.error("R104", "a step is an operator's name, or a mapping with one operator", here.span())
            continue
        draft = _draft(item, original if isinstance(original, dict) else item, here, problems, counts)
        if draft:
            drafts.append(draft)
    return drafts


def _draft(item: dict[str, Any], raw: dict[str, Any], place: Place, problems: Problems, counts: dict[str, int]) -> Draft | None:
    keys = [k for k in item if k not in RESERVED and not str(k).startswith("x-")]
    operators = [k for k in keys if _verb_of(str(k), place, problems)]
    if len(keys) != len(operators):
        return None
    uses = "use" in item
    if len(operators) + uses != 1:
        names = " and ".join(f"`{k}`" for k in [*operators, *(["use"] if uses else [])])
        text = f"a step has one operator, this has {names}" if names else "a step needs an operator"
        problems.error("R104", text, place.span(), help="put each operator in a step of its own" if names else "for example `- filter.duplicates`")
        return None
    id = item.get("id")
    if id is not None and (not isinstance(id, str) or not ID.fullmatch(id)):
        problems.error("R105", f"`{id}` is no step id", place.at("id").span(), help="small letters, digits and `_`, a letter first")
        id = None
    sources, ports = _from(item.get("from"), place.at("from"), problems)
    when = item.get("when")
    if when is not None and not isinstance(when, (str, bool)):
        problems.error("R120", "`when:` is an expression over `params`", place.at("when").span())
        when = None
    base = {"sources": sources, "ports": ports, "when": None if when is None else str(when).lower() if isinstance(when, bool) else when}
    if uses:
        return _draft_use(item, place, problems, id, base)
    _only_for_use(item, place, problems)
    operator = full_name(operators[0])
    counts[operator] = counts.get(operator, 0) + 1
    nth = counts[operator]
    name = id or (operator if nth == 1 else f"{operator}#{nth}")
    step = Step(name, operator, {}, raw.get(operators[0]), place, place.at(operators[0]), named=bool(id))
    _params(step, item[operators[0]])
    _reserved(step, item, place, problems)
    return Draft(step, "", {}, {}, place, name, raw=raw, **base)


def _verb_of(key: str, place: Place, problems: Problems) -> bool:
    """Whether a key can be an operator; tells what it may have meant if not."""
    verb, dot, _ = key.partition(".")
    if verb in VERBS and (not dot or _OPERATOR.fullmatch(key)):
        return True
    if dot or did_you_mean(verb, VERBS):
        help = did_you_mean(verb, VERBS) or f"the verbs are {', '.join(VERBS)}"
        problems.error("R201", f"unknown verb `{verb}`", place.at(key).key(), help=help)
    else:
        near = did_you_mean(key, RESERVED)
        problems.error("R103", f"unknown key `{key}` in a step", place.at(key).key(), help=near or f"beside the operator: {', '.join(RESERVED)}")
    return False


def _params(step: Step, value: Any) -> None:
    if isinstance(value, dict):
        step.params = dict(value)
    elif value is not None:
        step.positional, step.has_positional = value, True


def _reserved(step: Step, item: Mapping[str, Any], place: Place, problems: Problems) -> None:
    about = item.get("about", "")
    step.about = about if isinstance(about, str) else str(about)
    seed = item.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        problems.error("R103", "`seed:` must be an integer", place.at("seed").span())
    else:
        step.seed = seed
    if "where" in item:
        if step.verb not in WHERE_VERBS:
            problems.error("R123", f"`where:` has no meaning for `{step.verb}`", place.at("where").key(), help="it goes with " + ", ".join(WHERE_VERBS))
        elif not isinstance(item["where"], (str, bool)):
            problems.error("R123", "`where:` is an expression", place.at("where").span())
        else:
            step.where = str(item["where"])
    if "on_error" in item:
        word = "null" if item["on_error"] is None else str(item["on_error"])
        if word not in ON_ERROR:
            problems.error("R122", f"`on_error: {word}` is unknown", place.at("on_error").span(), help=did_you_mean(word, ON_ERROR) or "null, drop or stop")
        step.on_error = word
    expect = item.get("expect")
    if expect is not None:
        wanted = expect if isinstance(expect, list) else [expect]
        step.expect = [str(e) for e in wanted]


def _from(value: Any, place: Place, problems: Problems) -> tuple[list[str] | None, dict[str, str]]:
    """(main inputs or None for the step above, side ports)."""
    if value is None:
        return None, {}
    if isinstance(value, str):
        return [value], {}
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return list(value), {}
    if isinstance(value, dict) and value and all(isinstance(v, str) for v in value.values()):
        ports = {str(k): v for k, v in value.items()}
        main = ports.pop("rows", None)
        return ([main] if main else None), ports
    problems.error("R107", "`from:` is a step's id, a list of ids, or {port: id}", place.span())
    return None, {}


def _draft_use(item: Mapping[str, Any], place: Place, problems: Problems, id: str | None, base: Mapping[str, Any]) -> Draft | None:
    for key in ("where", "seed", "on_error", "expect"):
        if key in item:
            problems.error("R123", f"`{key}:` has no meaning for `use`", place.at(key).key(), help="put it into the recipe that is used")
    if not isinstance(item["use"], str):
        problems.error("R119", "`use:` is the path of a recipe", place.at("use").span())
        return None
    given, models = item.get("with") or {}, item.get("models") or {}
    for key, value in (("with", given), ("models", models)):
        if not isinstance(value, dict):
            problems.error("R119", f"`{key}:` is a mapping", place.at(key).span())
            return None
    stem = item["use"].replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    name = id or re.sub(r"[^a-z0-9_]", "_", stem.lower())
    return Draft(None, item["use"], given, models, place, name, raw=item, **base)


def _only_for_use(item: Mapping[str, Any], place: Place, problems: Problems) -> None:
    for key in ("with", "models"):
        if key in item:
            problems.error("R103", f"`{key}:` goes with `use:` only", place.at(key).key())


def to_ref(text: str) -> Ref:
    """`good.dropped` -> Ref("good", "dropped")."""
    step, _, port = text.partition(".")
    return Ref(step, port)
