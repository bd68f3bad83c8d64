"""Reading a recipe: file -> Document -> drafts -> Recipe, sub-recipes put in place, references tied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftrecipe import yamlsource
from sftrecipe.errors import Problem, Problems, RecipeError, UsageError, did_you_mean
from sftrecipe.recipe.cases import read_tests
from sftrecipe.recipe.document import Document, fill, resolve_params
from sftrecipe.recipe.model import CommandLinePath, ModelSpec, Place, Recipe, Ref, Step, is_unresolved
from sftrecipe.recipe.steps import Draft, draft_steps, to_ref

__all__ = ["read_recipe"]

MAX_DEPTH = 8
PORTS = {"filter": ("dropped",), "select": ("dropped",), "evolve": ("dropped",), "load": ("quarantined",)}


def read_recipe(
    path: Path | str,
    *,
    variant: str = "",
    overrides: Sequence[str] = (),
    problems: Problems | None = None,
    text: str | None = None,
    values: Sequence[tuple[str, Any, Place]] = (),
) -> Recipe:
    """The recipe in `path`, with a variant and `-p` overrides (`name=value`) applied.

    `values` are overrides that are values already, with the place where they stand (a test's `with:` and `models:`).
    Raises RecipeError with all problems at once; with `problems` given they are collected there instead, as far as
    reading can go on.
    """
    found = Problems() if problems is None else problems
    reader = _Reader(found)
    recipe = reader.read(Path(path), text, variant, [*(_override(o) for o in overrides), *values])
    if problems is None:
        found.raise_errors()
    return recipe


def _override(text: str) -> tuple[str, Any, Place]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"-p {text}: write {text}=value")
    source = yamlsource.load(value, f"-p {name}")
    return name.strip(), _from_command_line(source.data), Place(source, ())


def _from_command_line(value: Any) -> Any:
    if isinstance(value, str):
        return CommandLinePath(value)
    if isinstance(value, list):
        return [_from_command_line(v) for v in value]
    return {k: _from_command_line(v) for k, v in value.items()} if isinstance(value, dict) else value


@dataclass
class _Names:
    """`outputs`: id as written -> what a reference to it reads, of the steps above; `every`: the ids of all steps;
    `models`: what `models:` names.
    """

    outputs: dict[str, Ref]
    every: set[str]
    models: set[str]


class _Reader:
    """Reads one recipe and those it uses."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.files: dict[str, str] = {}
        self.stack: list[Path] = []
        self.borrowed: dict[str, ModelSpec] = {}
        self.broken: set[str] = set()
        self.hints: list[Problem] = []
        self.last = _Names({}, set(), set())
        """The names of the recipe that was read last: after a part, those of the part."""

    def read(self, path: Path, text: str | None, variant: str, overrides: Sequence[tuple[str, Any, Place]]) -> Recipe:
        source = yamlsource.read(path) if text is None else yamlsource.load(text, str(path))
        self.files[str(path)] = hashlib.sha256("\n".join(source.lines).encode()).hexdigest()
        document = Document.read(source, self.problems)
        document.check_variants(variant)
        if variant:
            document.apply_variant(variant)
        for name, value, place in overrides:
            self._override(document, name, value, place)
        values = resolve_params(document)
        self.stack.append(path.resolve())
        used: set[str] = set()
        models = self._models(document, values, used)
        outside, self.borrowed = self.borrowed, {}
        steps = self._steps(document, values, used)
        models, self.borrowed = {**models, **self.borrowed}, outside
        self.stack.pop()
        recipe = Recipe(
            name=str(document.data.get("recipe") or path.stem),
            file=path,
            text="\n".join(source.lines),
            seed=int(document.data.get("seed") or 0),
            params=values,
            models=models,
            steps=steps,
            tests=read_tests(document),
            requires=[str(r) for r in document.data.get("requires") or ()],
            variants=[str(v) for v in document.data.get("variants") or ()],
            place=document.place(),
            about=str(document.data.get("about") or ""),
            variant=variant,
            files=self.files,
            broken=self.broken,
            hints=self.hints,
        )
        self._unused_params(document, values, used, recipe)
        return recipe

    def _override(self, document: Document, name: str, value: Any, place: Place) -> None:
        known = document.data.get("params") or {}
        first = name.split(".", maxsplit=1)[0]
        if first not in ("params", "models", "seed", "recipe", "steps") and first not in known:
            help = did_you_mean(first, known) or (
                f"there are {', '.join(known)}" if known else "the recipe declares none"
            )
            self.problems.error("R115", f"unknown parameter `{first}`", place.key(), help=help)
            return
        document.override(name, value, place)

    def _unused_params(self, document: Document, values: Mapping[str, Any], used: set[str], recipe: Recipe) -> None:
        text = recipe.text
        for name in values:
            if name not in used and f"params.{name}" not in text:
                span = document.place("params", name).key()
                self.hints.append(
                    Problem(
                        "R131",
                        f"parameter `{name}` is never used",
                        span,
                        help=f"write `${{params.{name}}}` where it belongs, or remove it",
                        severity="warning",
                    )
                )

    def _models(self, document: Document, values: Mapping[str, Any], used: set[str]) -> dict[str, ModelSpec]:
        models = {}
        for name, entry in (document.data.get("models") or {}).items():
            place = document.place("models", name)
            if not isinstance(entry, dict) or not isinstance(entry.get("use"), str):
                self.problems.error(
                    "R101",
                    f"model `{name}` needs `use:`, its provider",
                    place.span(),
                    help=f"`{name}: {{use: openai, model: ...}}`",
                )
                continue
            filled = fill(entry, values, place, self.problems, used)
            models[str(name)] = ModelSpec(str(name), filled.pop("use"), filled, place)
        return models

    def _steps(self, document: Document, values: Mapping[str, Any], used: set[str]) -> list[Step]:
        raw = document.data.get("steps")
        if not isinstance(raw, list):
            return []
        place = document.place("steps")
        filled = fill(raw, values, place, self.problems, used)
        drafts = draft_steps(filled, raw, place, self.problems)
        names = _Names({}, {d.id for d in drafts}, set(document.data.get("models") or {}))
        steps = self._tie(drafts, values, used, names)
        self.last = names
        return steps

    def _tie(self, drafts: list[Draft], values: Mapping[str, Any], used: set[str], names: _Names) -> list[Step]:
        """Steps in order, each with its inputs; `use` steps replaced by the steps they stand for."""
        steps: list[Step] = []
        above: Ref | None = None
        for draft in drafts:
            if draft.id in names.outputs:
                first = next(d for d in drafts if d.id == draft.id).place.at("id").span().line
                note, help = f"the first is in line {first}", "give one of them another id"
                self.problems.error(
                    "R106", f"two steps are called `{draft.id}`", draft.place.at("id").span(), note=note, help=help
                )
                draft.rename(f"{draft.id}#2")
            inputs, whole = self._inputs(draft, names, above)
            if not whole:
                self.broken.add(draft.id)
            if not self._wanted(draft, values):
                names.outputs[draft.id] = above = inputs[0] if inputs else above or Ref("")
                continue
            if draft.use:
                made, end = self._use(draft, inputs, names)
                steps += made
                names.outputs[draft.id] = above = end or self._lost(draft)
                continue
            step = draft.step
            if step is None:
                names.outputs[draft.id] = above = self._lost(draft)
                continue
            step.inputs, step.ports = inputs, self._ports(draft, names)
            step.constants, step.several = values, bool(draft.sources and len(draft.sources) > 1)
            used.update(n for n in values if f"params.{n}" in str(draft.raw))
            steps.append(step)
            names.outputs[draft.id] = Ref(step.id)
            if not step.is_eval:
                above = Ref(step.id)
        return steps

    def _lost(self, draft: Draft) -> Ref:
        """Stands for what a step that could not be read would have given."""
        self.broken.add(draft.id)
        return Ref(draft.id)

    def _inputs(self, draft: Draft, names: _Names, above: Ref | None) -> tuple[list[Ref], bool]:
        """The main inputs, and whether all of them were found."""
        verb = draft.step.verb if draft.step else "use"
        if draft.sources is not None:
            if verb == "load":
                help = "it reads files, not a step"
                self.problems.error(
                    "R123", "`from:` has no meaning for `load`", draft.place.at("from").key(), help=help
                )
                return [], True
            at = draft.place.at("from")
            at = at.at("rows") if draft.named_rows else at
            found = [
                self._ref(s, names, at if len(draft.sources) == 1 else at.at(i), draft.id)
                for i, s in enumerate(draft.sources)
            ]
            return [r for r in found if r], all(found)
        if verb == "load":
            return [], True
        # a sub-recipe's first step reads what its `use` step reads: "" stands for that
        return ([above] if above else [Ref("")]), True

    def _ports(self, draft: Draft, names: _Names) -> dict[str, Ref]:
        found = {n: self._ref(t, names, draft.place.at("from", n), draft.id) for n, t in draft.ports.items()}
        if not all(found.values()):
            self.broken.add(draft.id)
        return {n: r for n, r in found.items() if r}

    def _ref(self, text: str, names: _Names, place: Place, own: str) -> Ref | None:
        wanted = to_ref(text)
        if wanted.step in names.outputs:
            base = names.outputs[wanted.step]
            return Ref(base.step, wanted.port) if wanted.port else base
        if wanted.step in names.every:
            itself = wanted.step == own
            text = f"`{own}` cannot read itself" if itself else f"`{wanted.step}` stands below"
            help = "name a step above it" if itself else "move it up"
            self.problems.error("R107", f"{text}: a step reads steps above it", place.span(), help=help)
            return None
        named = [n for n in names.outputs if "." not in n]
        help = did_you_mean(wanted.step, named) or (
            f"steps above with an id: {', '.join(named)}" if named else "give the step an `id:`"
        )
        self.problems.error("R107", f"no step above is called `{wanted.step}`", place.span(), help=help)
        return None

    def _wanted(self, draft: Draft, values: Mapping[str, Any]) -> bool:
        """Whether `when:` lets the step run."""
        if draft.when is None or any(f"params.{n}" in draft.when and is_unresolved(v) for n, v in values.items()):
            return True
        from sftrecipe.expressions import ExpressionError, evaluate

        place = draft.place.at("when")
        try:
            found = evaluate(draft.when, {"params": values})
            return found is not None and bool(evaluate(draft.when, {"params": values}, want="bool"))
        except ExpressionError as error:
            message, help = error.message, error.help
            if error.code == "R520":
                name = draft.when[error.start : error.end]
                message = (
                    f"`when:` knows no `{name}`: it speaks of `params`, since it is decided before any row is read"
                )
                help = f"write `params.{name}`" if name in values else did_you_mean(name, values)
            self.problems.error(error.code, message, place.inside(error.start, error.end), help=help)
            return True

    def _use(self, draft: Draft, inputs: list[Ref], names: _Names) -> tuple[list[Step], Ref | None]:
        place = draft.place.at("use")
        path = self._part(draft, place)
        for port in draft.ports:
            help = "a part reads what its `use` step reads; for rows to compare with it has a `load` of its own"
            self.problems.error("R112", f"`use` has no port `{port}`", draft.place.at("from", port).key(), help=help)
        if path is None:
            return [], None
        before = len(self.problems.errors)
        given = [(str(k), v, draft.place.at("with", k)) for k, v in draft.given.items()]
        try:
            inner = self.read(path, None, "", given)
        except RecipeError as error:  # another file's YAML: its problems stand beside ours
            self.problems += error.problems
            return [], None
        self.broken |= {
            f"{draft.id}/{s.id}" for s in inner.steps if s.id in self.broken or (not inputs and Ref("") in s.inputs)
        }
        prefix = f"{draft.id}/"
        models = {str(n): str(m) for n, m in draft.models.items() if self._passed_on(n, m, inner, draft, names)}
        renamed = {n: models.get(n, prefix + n) for n in inner.models}
        self.borrowed |= {renamed[n]: m for n, m in inner.models.items() if n not in models}
        outputs = self.last.outputs
        passed = bool(outputs) and set(outputs.values()) == {Ref("")}  # `when:` passed over all of its steps
        names.outputs |= {prefix + id: _outer(r, prefix, inputs)[0] for id, r in outputs.items()}
        steps = [_inline(s, prefix, inputs, renamed, draft) for s in inner.steps]
        rows = [s for s in steps if s.verb not in ("measure", "write") and not s.is_eval]
        if rows or passed:
            return steps, Ref(rows[-1].id) if rows else _outer(Ref(""), prefix, inputs)[0]
        if len(self.problems.errors) == before:
            help = "end it with the step whose rows are wanted"
            self.problems.error("R136", f"{draft.use} has no step that hands rows on", place.span(), help=help)
        return steps, None

    def _part(self, draft: Draft, place: Place) -> Path | None:
        """The file that a `use` step names, if it is there (R119) and is not being read already (R135)."""
        path = place.folder / draft.use
        if not path.is_file():
            near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [])
            self.problems.error("R119", f"there is no recipe {draft.use}", place.span(), help=near)
            return None
        if path.resolve() in self.stack or len(self.stack) >= MAX_DEPTH:
            chain = " -> ".join(p.name for p in [*self.stack, path])
            text = f"recipes use each other without end: {chain}"
            self.problems.error("R135", text, place.span(), help="put what both need into a third")
            return None
        return path

    def _passed_on(self, name: Any, model: Any, inner: Recipe, draft: Draft, names: _Names) -> bool:
        """Whether an entry under `models:` of a `use` step names a model of the part, and one that is here (R124)."""
        place = draft.place.at("models", name)
        if name not in inner.models:
            help = did_you_mean(str(name), inner.models) or f"it names {', '.join(inner.models) or 'no models'}"
            self.problems.error("R124", f"{draft.use} names no model `{name}`", place.key(), help=help)
            return False
        if model not in names.models:
            there = f"`models:` has {', '.join(names.models)}" if names.models else "the recipe has no `models:`"
            help = did_you_mean(str(model), names.models) or there
            self.problems.error("R124", f"unknown model `{model}`", place.span(), help=help)
            return False
        return True


def _outer(ref: Ref, prefix: str, inputs: list[Ref]) -> list[Ref]:
    """A reference inside a part as the recipe around it sees it: what reads no step there reads what `use` reads."""
    return [Ref(prefix + ref.step, ref.port)] if ref.step else inputs or [ref]


def _inline(step: Step, prefix: str, inputs: list[Ref], renamed: Mapping[str, str], draft: Draft) -> Step:
    """A step of a part as a step of the recipe around it."""
    if Ref("") in step.inputs and draft.sources is not None:
        step.inputs_place = draft.place.at("from")
    step.inputs = [r for ref in step.inputs for r in _outer(ref, prefix, inputs)] if step.verb != "load" else []
    step.several = step.several or len(step.inputs) > 1
    step.ports = {n: _outer(r, prefix, inputs)[0] for n, r in step.ports.items()}
    step.id = prefix + step.id
    step.models = {**renamed, **{k: renamed.get(v, v) for k, v in step.models.items()}}
    return step
