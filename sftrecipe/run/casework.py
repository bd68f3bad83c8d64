"""`tests:` in a recipe: one step, the rows it is given, the rows it should give."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import Pending, Problems, RecipeError, SftRecipeError
from sftrecipe.lazy import pl
from sftrecipe.plan import Plan, Stage, check_recipe
from sftrecipe.plan.node import Columns
from sftrecipe.recipe import Ref, TestCase, read_recipe
from sftrecipe.rows import DERIVED, FIXED, content_hash, message, row_id
from sftrecipe.types import parse_type

if TYPE_CHECKING:
    from sftrecipe.session import Session

__all__ = ["CaseResult", "guess_type", "run_tests", "table_of_rows"]


@dataclass
class CaseResult:
    """One test's outcome."""

    name: str
    passed: bool
    detail: str = ""


def run_tests(session: Session) -> Iterator[CaseResult]:
    """Every test of a recipe, in order. Raises RecipeError if the recipe itself is wrong."""
    session.plan()
    for case in session.read().tests:
        try:
            detail = _run(session, case)
        except (SftRecipeError, Pending) as error:
            detail = _error(case, error)
        yield CaseResult(case.name, not detail, detail)


def _error(case: TestCase, error: Exception) -> str:
    wanted = case.expect.get("error") if isinstance(case.expect, Mapping) else None
    if wanted and str(wanted) in f"{getattr(error, 'code', '')} {error}":
        return ""
    return f"expected the error `{wanted}`, got: {error}" if wanted else f"{type(error).__name__}: {error}"


def _run(session: Session, case: TestCase) -> str:
    """What is wrong with the outcome; empty if nothing is."""
    plan = _plan(session, case)
    node = plan.nodes.get(case.step)
    if node is None:
        raise RecipeError(_unknown_step(plan, case))
    from sftrecipe.engines.local import LocalEngine
    from sftrecipe.run.interpreter import Run
    from sftrecipe.run.result import Result
    from sftrecipe.store import Store

    with tempfile.TemporaryDirectory(prefix="sftrecipe-test-") as folder:
        store = Store(Path(folder))
        store.open()
        run = Run(plan, store, LocalEngine(1))
        run.options.out = Path(folder)
        # the rows of a test stand for what is read, whatever it is a port of
        node.step.inputs = [Ref(str(r)) for r in node.inputs]
        node.step.ports = {name: Ref(f"{name}: {ref}") for name, ref in node.step.ports.items()}
        given = table_of_rows(case.given, node.columns_in, Path(folder) / "given")
        for ref in node.inputs or [Ref("")]:
            run.results[ref.step] = Result("", Path(folder), {"parts": [], "columns": {}, "counts": []}, given)
        for name, ref in node.step.ports.items():
            rows = table_of_rows(case.ports.get(name, ()), node.port_columns.get(name, {}), Path(folder) / name)
            run.results[ref.step] = Result("", Path(folder), {"parts": [], "columns": {}, "counts": []}, rows)
        kind = "rows" if node.streams else "whole"
        with run.stack:
            run._stage(Stage(kind, [node]))
        result = run.results[node.id]
        columns = [c for c in result.table.columns if c in _stored(result.table)]
        frame = result.table.frame([*columns, *(d for d in DERIVED if "messages" in columns)])
        return _compare(case.expect, frame, result.counts()[0])


def _stored(table: Any) -> set[str]:
    return {c for part in table.parts for layer in part.layers for c in layer.columns}


def _plan(session: Session, case: TestCase) -> Plan:
    values = [(f"params.{k}", v, case.place.at("with", k)) for k, v in case.overrides.items()]
    for name, replies in case.models.items():
        spec = replies if isinstance(replies, Mapping) and "use" in replies else {"use": "script", "replies": replies}
        values.append((f"models.{name}", spec, case.place.at("models", name)))
    problems = Problems()
    recipe = read_recipe(Path(session.file), problems=problems, values=values)
    plan = check_recipe(recipe, session.registry, problems)
    problems.raise_errors()
    return plan


def _unknown_step(plan: Plan, case: TestCase) -> Problems:
    from sftrecipe.errors import did_you_mean

    problems = Problems()
    problems.error(
        "R137",
        f"no step is called `{case.step}`",
        case.place.at("step").span(),
        help=did_you_mean(case.step, plan.nodes),
    )
    return problems


def table_of_rows(rows: Sequence[Mapping[str, Any]], columns: Columns, folder: Path) -> Any:
    """Rows as written in a test, as a table: `query` and `response` become messages, ids are made where none is
    given."""
    from sftrecipe.run.part import write_frame
    from sftrecipe.table import Layer, Part, Table

    folder.mkdir(parents=True, exist_ok=True)
    words = {**FIXED, **{n: str(c.type) for n, c in columns.items() if n}}
    for row in rows:
        for name in row:
            if name not in words and name not in DERIVED:
                words[name] = guess_type([r.get(name) for r in rows])
    records = [_record(r, n, words) for n, r in enumerate(rows)]
    schema = {n: parse_type(w).dtype() for n, w in words.items()}
    frame = pl.DataFrame(records, schema=schema, strict=False) if records else pl.DataFrame(schema=schema)
    name, sha = write_frame(folder / "rows.parquet", frame)
    return Table([Part(frame.height, (Layer(str(folder / name), sha, tuple(words)),))] if records else [], words)


def _record(row: Mapping[str, Any], at: int, words: Mapping[str, str]) -> dict[str, Any]:
    import json

    found = {n: row.get(n) for n in words}
    if row.get("messages") is None:
        turns = [
            message(role, row[key])
            for key, role in (("query", "user"), ("response", "assistant"))
            if row.get(key) is not None
        ]
        found["messages"] = turns
    else:
        found["messages"] = [message(**m) for m in row["messages"]]
    found["source"] = row.get("source", "test")
    found["id"] = row.get("id") or row_id(content_hash("test", found["messages"] or ()), at)
    for name, word in words.items():
        if word in ("json", "any") and not isinstance(found[name], (str, type(None))):
            found[name] = json.dumps(found[name])
    return found


def guess_type(values: Sequence[Any]) -> str:
    """The column type of plain values, as a word."""
    kinds = {type(v) for v in values if v is not None}
    if kinds <= {bool}:
        return "bool"
    if kinds <= {int}:
        return "int"
    if kinds <= {int, float}:
        return "float"
    if kinds <= {list}:
        inner = [x for v in values if v for x in v]
        return "vector" if inner and all(isinstance(x, (int, float)) for x in inner) else "list[text]"
    return "text"


def _compare(expect: Any, frame: pl.DataFrame, counts: Any) -> str:
    if isinstance(expect, list):
        if len(expect) != frame.height:
            return f"expected {len(expect)} rows, got {frame.height}{_shown(frame)}"
        for at, (wanted, got) in enumerate(zip(expect, frame.iter_rows(named=True), strict=True)):
            for name, value in wanted.items():
                if not _same(value, got.get(name)):
                    return f"row {at}: expected {name} = {value!r}, got {got.get(name)!r}"
        return ""
    for name, value in expect.items():
        if name == "error":
            return f"expected the error `{value}`, but the step succeeded"
        have = (
            frame.height
            if name == "rows"
            else counts.codes
            if name == "dropped" and isinstance(value, Mapping)
            else counts.names().get(name)
        )
        if not _same(value, have):
            return f"expected {name} = {value!r}, got {have!r}"
    return ""


def _shown(frame: pl.DataFrame) -> str:
    ids = frame["id"].to_list()[:5] if "id" in frame.columns else []
    return f": {', '.join(ids)}" if ids else ""


def _same(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, float) and isinstance(got, (int, float)):
        return math.isclose(wanted, got, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        return all(_same(v, got.get(k)) for k, v in wanted.items())
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(_same(a, b) for a, b in zip(wanted, got, strict=True))
    return bool(wanted == got)
