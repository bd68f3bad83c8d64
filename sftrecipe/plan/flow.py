"""Column flow: what is alive before and after every step, of which type, and what has gone stale.

A column computed from a text that a later step rewrites is stale: reading it is an error before the run. The rule
follows from what operators declare: `reads` gives each new column the texts it hangs on, `rewrites` ends them.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, cast

from sftrecipe import params as declared
from sftrecipe.errors import Problems, RecipeError, Span, did_you_mean, nearest
from sftrecipe.expressions import ExpressionError, Function, check, template_columns
from sftrecipe.operators import Flow, nested_columns
from sftrecipe.plan.node import Column, Columns, Node
from sftrecipe.plan.resolve import broke
from sftrecipe.recipe import Place, Ref, Step
from sftrecipe.recipe.model import is_unresolved
from sftrecipe.rows import DERIVED, FIXED
from sftrecipe.types import parse_type
from sftrecipe.yamlsource import cut_by_comment

__all__ = ["QUARANTINE", "Flows"]

ALL_TEXTS = frozenset({"query", "response"})
QUARANTINE: Mapping[str, str] = {"file": "text", "line": "int", "offset": "int", "reason": "text", "raw": "text"}


class Flows:
    """Walks the nodes in order and gives each its columns. Problems go to `problems`."""

    def __init__(self, functions: Mapping[str, Function], problems: Problems, operators: Iterable[str] = ()) -> None:
        self.functions, self.problems = functions, problems
        self.writers = {full.rpartition(".")[2]: full for full in operators if full.startswith(("tag.", "score."))}
        self.told: set[str] = set()  # names that were found wrong in the node at hand; "" for an expression as a whole
        self.before: dict[str, Columns] = {}
        self.after: dict[str, Columns] = {}

    def visit(self, node: Node) -> bool:
        """Sets columns_in, columns_out and port_columns of a node whose inputs were visited before.

        False if what it hands on is not known, since something in it is wrong.
        """
        self.told.clear()
        node.columns_in = self._merged(node)
        node.port_columns = {name: self._of(ref) for name, ref in node.step.ports.items()}
        words = {n: str(c.type) for n, c in node.columns_in.items()}
        self._expressions(node, words)
        self._column_parameters(node)
        self._nested(node, words)
        known = not (self.told and node.verb == "tag")  # a tag's types follow from its expressions
        try:
            node.flow = _flow(node.operator.flow(words))
        except (ExpressionError, ValueError) as error:
            known = False
            if not self.told:
                text = error.message if isinstance(error, ExpressionError) else str(error)
                self.problems.error("R406", f"`{node.entry.full}`: {text}", node.step.params_place.key())
            node.columns_out = dict(node.columns_in)
        except Exception as error:  # the plugin border
            self.problems.append(broke(node.entry, error, node.step.params_place))
            return False
        else:
            for name in node.flow.reads:
                self._readable(name, node.columns_in, node.step.params_place.key(), node)
            node.columns_out = self._written(node)
        self.before[node.id], self.after[node.id] = node.columns_in, node.columns_out
        return known

    def pass_on(self, step: Step) -> None:
        """Columns of a step that is wrong, but whose verb leaves columns as they are."""
        columns = self._of(step.inputs[0])
        self.before[step.id] = columns
        self.after[step.id] = {**columns, "rank": Column.of("int")} if step.verb == "select" else columns

    def _of(self, ref: Ref) -> Columns:
        if not ref.step:  # a part of another recipe: what comes in is not known here
            return {n: Column.of(w, ALL_TEXTS if n == "messages" else frozenset()) for n, w in FIXED.items()} | {
                "": Column.of("any")
            }
        if ref.port == "quarantined":
            return {n: Column.of(w) for n, w in QUARANTINE.items()}
        return self.before.get(ref.step, {}) if ref.port == "dropped" else self.after.get(ref.step, {})

    def _merged(self, node: Node) -> Columns:
        merged: Columns = {}
        for ref in node.inputs:
            for name, column in self._of(ref).items():
                known = merged.get(name)
                if known and known.type != column.type and not known.type.accepts(column.type):
                    text = f"column `{name}` is {known.type} in one input and {column.type} in `{ref}`"
                    self.problems.error(
                        "R402", text, node.step.params_place.key(), help="give it one type where it is made"
                    )
                elif not known or column.stale:
                    merged[name] = column
        return merged

    def _expressions(self, node: Node, words: Mapping[str, str]) -> None:
        """Checks every expression parameter, template and `where`, at the place where it stands."""
        if node.step.where is not None:
            node.where_columns = tuple(self._expression(node, node.step.where, node.place.at("where"), words, "bool"))
        cls = type(node.operator)
        for spec in declared.specs(cls).values():
            if spec.kind not in ("expr", "template"):
                continue
            for value, place in _values(node, spec):
                if spec.kind == "expr":
                    self._expression(node, str(value), place, words, node.operator.wants.get(spec.name))
                elif isinstance(value, str):
                    self._template(node, value, place)

    def _nested(self, node: Node, words: Mapping[str, str]) -> None:
        """Operators given as values see the same columns as their step."""
        seen = nested_columns(words)
        for inner in node.nested.values():
            inner.columns_in = {n: c for n, c in node.columns_in.items() if n in seen}
            self._expressions(inner, seen)
            self._column_parameters(inner)
            inner.flow = inner.operator.flow(seen)
            self._nested(inner, seen)

    def _expression(self, node: Node, text: str, place: Place, words: Mapping[str, str], want: str | None) -> list[str]:
        alive = {**words, **(DERIVED if "messages" in words else {})}
        if "" in words:  # unknown columns may come in from outside
            from sftrecipe.expressions import columns_of

            alive = dict.fromkeys(columns_of(text), "any") | alive
        if any(is_unresolved(v) and f"params.{n}" in text for n, v in node.step.constants.items()):
            self.told.add("")
            return []
        try:
            checked = check(text, alive, want=want, params=node.step.constants, functions=self.functions)
        except ExpressionError as error:
            self._refused(error, text, place, node)
            for more in _further(error, text, alive, node.step.constants, self.functions):
                self._refused(more, text, place, node)
            return []
        except RecipeError as error:  # the plugin of a function is broken, or two claim its name
            self.problems += [replace(p, span=place.span()) for p in error.problems]
            self.told.add("")
            return []
        node.functions |= dict(checked.functions)
        for name in checked.columns:
            self._readable(name, node.columns_in, place.span(), node)
        return list(checked.columns)

    def _refused(self, error: ExpressionError, text: str, place: Place, node: Node) -> None:
        """Tells what is wrong with an expression or template, and remembers the name that was not found."""
        name = text[error.start : error.end]
        self.told |= {"", name}
        cut = cut_by_comment(place.source, place.path)
        if cut:
            self.problems.append(cut)
            return
        help = error.help
        if error.code == "R520" and (name == text.strip() or name in self.writers):
            help = self._column_help(name, node.columns_in)
        self.problems.error(error.code, error.message, place.inside(error.start, error.end), help=help)

    def _column_help(self, name: str, columns: Columns) -> str:
        """Which column may be meant, or which operator writes one of this name, or which there are."""
        near = did_you_mean(name, [*columns, *(DERIVED if "messages" in columns else ())])
        if near or name in self.writers:
            return near or f"`{self.writers[name]}` above this step would write it"
        own = [n for n in columns if n not in FIXED]
        return f"columns here: {', '.join([*own, *(n for n in (*FIXED, *DERIVED) if n in columns or n in DERIVED)])}"

    def _template(self, node: Node, text: str, place: Place) -> None:
        try:
            columns = template_columns(text)
        except ExpressionError as error:
            self._refused(error, text, place, node)
            return
        for name in columns:
            if name not in node.operator.fills:
                self._readable(name, node.columns_in, place.span(), node)

    def _column_parameters(self, node: Node) -> None:
        for spec in declared.specs(type(node.operator)).values():
            if spec.kind == "column":
                for value, place in _values(node, spec):
                    self._readable(str(value), node.columns_in, place.span(), node)

    def _readable(self, name: str, columns: Columns, span: Span, node: Node) -> None:
        """R401 for a column that is not there, R403 for one that is stale. Told once a place."""
        source = "messages" if name in DERIVED and name not in columns else name
        column = columns.get(source)
        if column is None:
            if "" in columns or name in self.told:
                return
            self.told.add(name)
            self._once(
                "R401",
                f"`{node.id}` reads column `{name}`, which nothing above writes",
                span,
                self._column_help(name, columns),
            )
        elif column.stale:
            why = f"which `{column.stale}` made stale by rewriting the text it was computed from"
            text = f"`{node.id}` reads `{name}`, {why}"
            self._once("R403", text, span, f"compute `{name}` again after `{column.stale}`")

    def _once(self, code: str, message: str, span: Span, help: str) -> None:
        if not any(p.code == code and p.message == message for p in self.problems):
            self.problems.error(code, message, span, help=help)

    def _written(self, node: Node) -> Columns:
        flow, verb = node.flow, node.verb
        if verb == "load":
            out = {n: Column.of(w, ALL_TEXTS if n == "messages" else frozenset()) for n, w in FIXED.items()}
            return out | {n: Column.of(w) for n, w in flow.writes.items()}
        if verb == "pack":
            stage = {"stage": node.columns_in["stage"]} if "stage" in node.columns_in else {}
            return {"id": Column.of("text")} | {n: Column.of(w) for n, w in flow.writes.items()} | stage
        out = dict(node.columns_in)
        texts = self._texts_of(node, [*flow.reads, *node.where_columns])
        for name, word in flow.writes.items():
            self._writable(name, node)
            try:
                out[name] = Column(parse_type(word), ALL_TEXTS if name == "messages" else texts)
            except ValueError as error:
                self.problems.error("R406", f"`{node.entry.full}` declares {error}", node.step.params_place.key())
        rewritten = frozenset(flow.rewrites)
        if rewritten:
            for name, column in out.items():
                fresh = name in flow.writes or name in FIXED
                if column.texts & rewritten and not fresh and not column.stale:
                    out[name] = Column(column.type, column.texts, stale=node.id)
        if verb == "select":
            out["rank"] = Column.of("int")
        if verb == "evolve":
            out["parents"] = Column.of("list[text]")
        return out

    def _writable(self, name: str, node: Node) -> None:
        known = node.columns_in.get(name)
        span = _span_of(name, node)
        if name == "id":
            self.problems.error("R405", "`id` names a row and cannot be written", span, help="choose another name")
        elif name.startswith("_") or not name.isidentifier():
            self.problems.error(
                "R405", f"`{name}` is no column name", span, help="letters, digits and `_`, a letter first"
            )
        elif name in DERIVED:
            help = "choose another name; a step that rewrites `messages` changes it"
            self.problems.error(
                "R405", f"`{name}` is read off `messages` and cannot be written as a column", span, help=help
            )
        elif (
            known
            and not known.stale
            and node.step.where is None
            and name not in node.flow.reads
            and node.verb not in ("format", "select")
        ):
            help = (
                "write to another column with `into:`"
                if "into" in declared.specs(type(node.operator))
                else "choose another name"
            )
            self.problems.error("R404", f"`{node.id}` would overwrite the live column `{name}`", span, help=help)

    def _texts_of(self, node: Node, reads: Iterable[str]) -> frozenset[str]:
        found: set[str] = set()
        for name in reads:
            if name in ("query", "response") and name not in node.columns_in:
                found.add(name)
            elif name == "messages":
                found |= set(node.operator.sees({n: str(c.type) for n, c in node.columns_in.items()}))
            elif name == "conversation":
                found |= ALL_TEXTS
            elif name in node.columns_in:
                found |= node.columns_in[name].texts
        return frozenset(found)


def _flow(given: Any) -> Flow:
    """What `flow` gives: a Flow, or (reads, writes)."""
    if isinstance(given, tuple) and len(given) == 2:
        given = Flow(*given)
    if not isinstance(given, Flow):
        raise TypeError(f"`flow` must give a Flow, not {type(given).__name__}")
    return given


def _values(node: Node, spec: declared.ParamSpec) -> list[tuple[object, Place]]:
    """Each value of a parameter with its place; defaults stand at the operator's key."""
    value = node.operator.params.get(spec.name)
    step = node.step
    if value is None:
        return []
    place = step.params_place if step.has_positional and spec.positional else step.params_place.at(spec.name)
    given = (step.has_positional and spec.positional) or spec.name in step.params
    if isinstance(value, Mapping) and spec.many == "dict":
        return [
            (v, step.params_place.at(k) if spec.rest and k in step.params else place.at(k)) for k, v in value.items()
        ]
    if isinstance(value, list):
        return [(v, place.at(i)) for i, v in enumerate(value)]
    return [(value, place if given else step.params_place.at_key())]


def _further(
    error: ExpressionError,
    text: str,
    columns: Mapping[str, str],
    params: Mapping[str, Any],
    functions: Mapping[str, Function],
) -> Iterator[ExpressionError]:
    """The other names of an expression that are not there. What they may have meant is taken in their place; what else
    would be wrong with it is not told.
    """
    columns, params = dict(columns), dict(params)
    functions = ChainMap({}, cast("MutableMapping[str, Function]", functions))
    told = set()
    while error.code in ("R520", "R521", "R522"):
        name = text[error.start : error.end]
        if (error.code, name) in told:
            return
        told.add((error.code, name))
        if error.code == "R520":
            columns[name] = "any"
        else:
            known: MutableMapping[str, Any] = functions if error.code == "R521" else params
            meant = nearest(name, known)
            if not meant:
                return
            known[name] = known[meant]
        try:
            check(text, columns, params=params, functions=functions)
            return
        except ExpressionError as found:
            error = found
        except RecipeError:
            return
        if error.code in ("R520", "R521", "R522") and (error.code, text[error.start : error.end]) not in told:
            yield error


def _span_of(name: str, node: Node) -> Span:
    """Where a written column is named: its `into`, its key, or the operator."""
    for spec in declared.specs(type(node.operator)).values():
        if spec.kind == "into" and node.operator.params.get(spec.name) == name and spec.name in node.step.params:
            return node.step.params_place.at(spec.name).span()
    if name in node.step.params:
        return node.step.params_place.at(name).key()
    return node.step.params_place.key()
