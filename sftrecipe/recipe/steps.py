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

__all__ = ["ID", "RESERVED", "Draft", "draft_steps", "no_reference", "to_ref"]

RESERVED = ("id", "from", "where", "when", "seed", "on_error", "expect", "about", "use", "with", "models")
ID = re.compile(r"[a-z][a-z0-9_]*")
_OPERATOR = re.compile(r"[a-z_]+(\.[a-z0-9_]+)*")
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
WHERE_VERBS = ("filter", "select", "tag", "score", "evolve", "answer", "format")
ON_ERROR = ("null", "drop", "stop")


@dataclass
class Draft:
    """A step as written: a Step, or a `use` of another recipe, with its `from` and `when` still to be read.

    Neither a step nor a `use`: it could not be read. `named_rows`: its main input was written `from: {rows: id}`.
    """

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
    named_rows: bool = False

    def rename(self, id: str) -> None:
        """Gives it another id."""
        self.id = id
        if self.step:
            self.step.id = id


def draft_steps(items: list[Any], raw: list[Any], place: Place, problems: Problems) -> list[Draft]:
    """Each entry as a Draft; those that are beyond reading are told."""
    drafts = []
    counts: dict[str, int] = {}
    for at, (item, original) in enumerate(zip(items, raw, strict=True)):
        here = place.at(at)
        if isinstance(item, str):
            item, original = {item: None}, {item: None}
        draft = None
        if isinstance(item, dict):
            draft = _draft(item, original if isinstance(original, dict) else item, here, problems, counts)
        else:
            problems.error(
                "R104",
                "a step is an operator's name, or a mapping with one operator",
                here.span(),
                help="`- filter.duplicates`",
            )
        drafts.append(draft or _lost(item, here, at))
    return drafts


def _lost(item: Any, place: Place, at: int) -> Draft:
    """Stands for a step that could not be read, so that nobody who names it is told that it is not there."""
    id = item.get("id") if isinstance(item, dict) else None
    return Draft(None, "", {}, {}, place, id if isinstance(id, str) else f"?{at}", None, {}, None, {})


def _draft(
    item: dict[str, Any], raw: dict[str, Any], place: Place, problems: Problems, counts: dict[str, int]
) -> Draft | None:
    keys = [k for k in item if k not in RESERVED and not k.startswith("x-")]
    operators = [k for k in keys if _is_operator(k)]
    uses = "use" in item
    for key in keys:
        if key not in operators:
            _strange(key, bool(operators) or uses, place, problems)
    if len(operators) + uses != 1:
        _not_one(item, operators, len(keys) > len(operators), place, problems)
        return None
    id = item.get("id")
    if id is not None and (not isinstance(id, str) or not ID.fullmatch(id)):
        better = re.sub(r"[^a-z0-9_]+", "_", str(id).lower()).strip("_")
        help = "small letters, digits and `_`, a letter first" + (f": `{better}`" if ID.fullmatch(better) else "")
        problems.error("R105", f"`{id}` is no step id", place.at("id").span(), help=help)
    name = None if id is None else str(id)
    sources, ports, named_rows = _from(item.get("from"), place.at("from"), problems)
    when = _when(item, raw, place, problems)
    base: dict[str, Any] = {"sources": sources, "ports": ports, "named_rows": named_rows, "when": when}
    if uses:
        return _draft_use(item, place, problems, name, base)
    _only_for_use(item, place, problems)
    operator = full_name(operators[0])
    counts[operator] = nth = counts.get(operator, 0) + 1
    name = name or (operator if nth == 1 else f"{operator}#{nth}")
    step = Step(name, operator, {}, raw.get(operators[0]), place, place.at(operators[0]), named=id is not None)
    _params(step, item[operators[0]])
    _reserved(step, item, raw, place, problems)
    return Draft(step, "", {}, {}, place, name, raw=raw, **base)


def _is_operator(key: str) -> bool:
    verb, dot, _ = key.partition(".")
    return verb in VERBS and (not dot or bool(_OPERATOR.fullmatch(key)))


def _strange(key: str, beside: bool, place: Place, problems: Problems) -> None:
    """Tells of a key that is neither an operator nor one that steps have, and what it may have meant. `beside` an
    operator?
    """
    verb, dot, name = key.partition(".")
    near = did_you_mean(key, RESERVED)
    if beside and not dot and (near or not did_you_mean(verb, VERBS)):
        problems.error(
            "R103",
            f"unknown key `{key}` in a step",
            place.at(key).key(),
            help=near or f"beside the operator: {', '.join(RESERVED)}",
        )
    elif (glued := key.partition(":"))[2] and _is_operator(glued[0]):
        help = f"write `{glued[0]}: {glued[2]}`"
        problems.error("R201", "a space is missing after the colon", place.at(key).key(), help=help)
    elif verb in VERBS:
        help = f"`{verb}.{name.lower().replace('-', '_')}`?" if name else f"write `{verb}:` or `{verb}.name:`"
        problems.error(
            "R201", f"`{key}` is no operator's name: small letters, digits and `_`", place.at(key).key(), help=help
        )
    else:
        help = did_you_mean(verb, VERBS) or f"the verbs are {', '.join(VERBS)}"
        problems.error("R201", f"unknown verb `{verb}`", place.at(key).key(), help=help)


def _not_one(item: Mapping[str, Any], operators: list[str], strange: bool, place: Place, problems: Problems) -> None:
    """R104, unless a strange key was told that may have been the operator."""
    names = [*operators, *(["use"] if "use" in item else [])]
    if names:
        text = f"a step has one operator, this has {' and '.join(f'`{n}`' for n in names)}"
        problems.error(
            "R104", text, place.at(names[1]).key(), help="put each operator in a step of its own, with a `- ` before it"
        )
    elif not strange:
        problems.error("R104", "a step needs an operator", place.span(), help="for example `- filter.duplicates`")


def _params(step: Step, value: Any) -> None:
    if isinstance(value, dict):
        step.params = dict(value)
    elif value is not None:
        step.positional, step.has_positional = value, True


def _when(item: Mapping[str, Any], raw: Mapping[str, Any], place: Place, problems: Problems) -> str | None:
    when = item.get("when")
    if "when" in raw and no_reference(raw["when"], place.at("when"), problems):
        return None
    if when is None or isinstance(when, bool):
        return None if when is None else str(when).lower()
    if not isinstance(when, str):
        problems.error(
            "R125", "`when:` is an expression over `params`", place.at("when").span(), help="`when: params.size > 100`"
        )
        return None
    return when


def no_reference(raw: Any, place: Place, problems: Problems) -> bool:
    """R120 if the text of an expression holds `${params.x}`: there it would be put in as text, not as a value."""
    match = _REFERENCE.search(raw) if isinstance(raw, str) else None
    if match is None:
        return False
    help = f"write `{_REFERENCE.sub(lambda m: m[1].strip(), raw)}`"
    if match[1].startswith("env:"):
        help = "the environment is for secrets: make it a parameter and give it with `-p`"
    problems.error(
        "R120",
        f"an expression takes `{match[1].strip()}` without `${{...}}`",
        place.inside(match.start(), match.end()),
        help=help,
    )
    return True


def _reserved(step: Step, item: Mapping[str, Any], raw: Mapping[str, Any], place: Place, problems: Problems) -> None:
    about = item.get("about", "")
    step.about = about if isinstance(about, str) else str(about)
    seed = item.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        problems.error("R125", "`seed:` must be an integer", place.at("seed").span(), help="`seed: 42`")
    else:
        step.seed = seed
    if "where" in item:
        if step.verb not in WHERE_VERBS:
            problems.error(
                "R123",
                f"`where:` has no meaning for `{step.verb}`",
                place.at("where").key(),
                help="it goes with " + ", ".join(WHERE_VERBS),
            )
        elif not isinstance(item["where"], (str, bool)):
            problems.error(
                "R125", "`where:` is an expression", place.at("where").span(), help='`where: source == "math"`'
            )
        elif not no_reference(raw["where"], place.at("where"), problems):
            step.where = str(item["where"])
    if "on_error" in item:
        word = "null" if item["on_error"] is None else str(item["on_error"])
        if word not in ON_ERROR:
            problems.error(
                "R122",
                f"`on_error: {word}` is unknown",
                place.at("on_error").span(),
                help=did_you_mean(word, ON_ERROR) or "null, drop or stop",
            )
        step.on_error = word
    if item.get("expect") is not None:
        at, many = place.at("expect"), isinstance(raw["expect"], list)
        for nth, text in enumerate(raw["expect"] if many else [raw["expect"]]):
            here = at.at(nth) if many else at
            if not isinstance(text, str):
                problems.error(
                    "R125",
                    "`expect:` is a condition, or a list of them",
                    here.span(),
                    help="`expect: dropped <= 0.05 * rows_in`",
                )
            elif not no_reference(text, here, problems):
                step.expect.append(text)


def _from(value: Any, place: Place, problems: Problems) -> tuple[list[str] | None, dict[str, str], bool]:
    """(main inputs or None for the step above, side ports, whether the main input was named `rows`)."""
    if value is None:
        return None, {}, False
    if isinstance(value, str):
        return [value], {}, False
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return list(value), {}, False
    if isinstance(value, dict) and value and all(isinstance(v, str) for v in value.values()):
        ports = {str(k): v for k, v in value.items()}
        main = ports.pop("rows", None)
        return ([main] if main else None), ports, bool(main)
    problems.error("R125", "`from:` is a step's id, a list of ids, or {port: id}", place.span(), help="`from: pool`")
    return None, {}, False


def _draft_use(
    item: Mapping[str, Any], place: Place, problems: Problems, id: str | None, base: Mapping[str, Any]
) -> Draft | None:
    for key in ("where", "seed", "on_error", "expect"):
        if key in item:
            problems.error(
                "R123",
                f"`{key}:` has no meaning for `use`",
                place.at(key).key(),
                help="put it into the recipe that is used",
            )
    if not isinstance(item["use"], str):
        problems.error("R125", "`use:` is the path of a recipe", place.at("use").span(), help="`use: ./clean.yaml`")
        return None
    given, models = item.get("with") or {}, item.get("models") or {}
    for key, value in (("with", given), ("models", models)):
        if not isinstance(value, dict):
            problems.error("R125", f"`{key}:` is a mapping", place.at(key).span(), help=f"`{key}: {{name: value}}`")
            return None
    stem = item["use"].replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    name = id or re.sub(r"[^a-z0-9_]", "_", stem.lower())
    return Draft(None, item["use"], given, models, place, name, raw=item, **base)


def _only_for_use(item: Mapping[str, Any], place: Place, problems: Problems) -> None:
    for key in ("with", "models"):
        if key in item:
            problems.error(
                "R123",
                f"`{key}:` goes with `use:` only",
                place.at(key).key(),
                help="an operator's parameters stand below its name",
            )


def to_ref(text: str) -> Ref:
    """`good.dropped` -> Ref("good", "dropped")."""
    step, _, port = text.partition(".")
    return Ref(step, port)
