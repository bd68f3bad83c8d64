"""A test stand: one operator, run by the interpreter on rows written as in a recipe's tests."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftrecipe.engines.local import LocalEngine
from sftrecipe.lazy import np, pl
from sftrecipe.plan import Node, Plan, Stage
from sftrecipe.rows import DERIVED, FIXED, Rows
from sftrecipe.run.batch import Live, view_of
from sftrecipe.run.bind import bind, spec_of
from sftrecipe.run.casework import guess_type, table_of_rows
from sftrecipe.run.interpreter import Options, Run
from sftrecipe.run.result import Result, ledger_of
from sftrecipe.session import Session
from sftrecipe.store import Store
from sftrecipe.table import Table

__all__ = ["Example", "Outcome", "Stand"]


@dataclass(frozen=True)
class Example:
    """Rows for one operator (`query` and `response`, or `messages`, and any columns), and what else its step needs.

    `params` as in a recipe; `models` by parameter, as under `models:`; `ports` rows of side ports; `columns` types
    that cannot be told from the rows (`vector`, `json`, ...); `files` name -> text, put beside the recipe.
    """

    rows: Sequence[Mapping[str, Any]]
    params: Any = None
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ports: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """Rows in, rows out, the columns that were declared to change, and the code of each row that went or failed."""

    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    writes: set[str]
    codes: dict[str, str]


class Stand:
    """Runs one operator as the second step of a recipe, in a folder that is gone afterwards."""

    def __init__(self, full: str, example: Example) -> None:
        self.full, self.example = full, example

    def node(self) -> Node:
        """The step as planned. Raises RecipeError if the example does not fit the operator."""
        with tempfile.TemporaryDirectory(prefix="sftrecipe-stand-") as folder:
            return self._plan(Path(folder)).nodes["it"]

    def is_async(self) -> bool:
        """Whether its row form is a coroutine."""
        handed = self.handed()
        return handed is not None and handed[0].batch_form is None and inspect.iscoroutinefunction(handed[0].row_form)

    def handed(self) -> tuple[Live, Rows] | None:
        """The bound operator and the batch it would be handed; None if it sees all rows, or asks models."""
        with tempfile.TemporaryDirectory(prefix="sftrecipe-stand-") as name:
            folder = Path(name)
            node = self._plan(folder).nodes["it"]
            if not node.streams or node.has_fit or node.all_models() or node.verb in ("evolve", "answer"):
                return None
            spec = spec_of(node, 0, folder / "scratch", {n: str(p) for n, p in {**node.files, **node.taken}.items()})
            table = table_of_rows(self.example.rows, node.columns_in, folder / "rows")
            live = Live(spec, bind(spec, {}))
            live.operator.setup()
            return live, view_of(live, Rows(table.frame([c for c in table.columns if c in _stored(table)])))

    def run(self, rows: Sequence[Mapping[str, Any]], *, apart: bool = False) -> Outcome:
        """What becomes of rows. `apart`: each in a shard of its own. Raises what the step raises."""
        with tempfile.TemporaryDirectory(prefix="sftrecipe-stand-") as name:
            folder = Path(name)
            plan = self._plan(folder)
            node = plan.nodes["it"]
            run = Run(plan, Store(folder / "store"), LocalEngine(1), Options(out=folder, requests="off"))
            given = table_of_rows(rows, node.columns_in, folder / "rows")
            given = _apart(given) if apart else given
            run.results["load.auto"] = _result(folder, given)
            for port, ref in node.step.ports.items():
                table = table_of_rows(self.example.ports[port], node.port_columns[port], folder / port)
                run.results[ref.step] = _result(folder, table)
            with run.stack:
                run._stage(Stage("rows" if node.streams else "whole", [node]))
            result = run.results["it"]
            return Outcome(_rows(given), _rows(result.table), {*node.flow.writes, "rank"}, _codes(result))

    def _plan(self, folder: Path) -> Plan:
        example = self.example
        columns = {c: {"key": c, "type": t} for c, t in self._columns(example.rows).items()}
        steps: list[Any] = []
        for port, rows in example.ports.items():
            own = {c: {"key": c, "type": t} for c, t in self._columns(rows).items()}
            steps.append(
                {
                    "id": f"port_{port}",
                    "load": {
                        "path": "rows.jsonl",
                        "role": "eval",
                        "license": "MIT",
                        **({"columns": own} if own else {}),
                    },
                }
            )
        steps.append({"load": {"path": "rows.jsonl", "license": "MIT", **({"columns": columns} if columns else {})}})
        step: dict[str, Any] = {"id": "it", self.full: self._params()}
        if example.ports:
            step["from"] = {p: f"port_{p}" for p in example.ports}
        models = {f"model_{p}": dict(m) for p, m in example.models.items()}
        recipe = {"recipe": "stand", "grammar": 1, "models": models, "steps": [*steps, step]}
        for name, text in example.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        path = folder / "stand.yaml"
        path.write_text(json.dumps(recipe, ensure_ascii=True), encoding="utf-8")
        return Session(path, store=folder / "store").plan()

    def _params(self) -> Any:
        params = self.example.params
        models = {p: f"model_{p}" for p in self.example.models}
        return {**(params or {}), **models} if models else params

    def _columns(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        names = dict.fromkeys(c for row in rows for c in row if c not in FIXED and c not in DERIVED)
        return {c: self.example.columns.get(c) or guess_type([r.get(c) for r in rows]) for c in names}


def _apart(table: Table) -> Table:
    """Each row in a shard of its own."""
    parts = [p.keep(np.array([n], dtype=np.uint32)) for p in table.parts for n in range(p.rows)]
    return Table(parts, dict(table.columns))


def _result(folder: Path, table: Table) -> Result:
    return Result("", folder, {"parts": [], "columns": {}, "counts": []}, table)


def _stored(table: Table) -> set[str]:
    return {c for part in table.parts for layer in part.layers for c in layer.columns}


def _rows(table: Table) -> list[dict[str, Any]]:
    have = _stored(table)
    frame: pl.DataFrame = table.frame([c for c in table.columns if c in have])
    return frame.to_dicts()


def _codes(result: Result) -> dict[str, str]:
    found = {}
    for number in range(len(result.manifest["parts"] or ())):
        events = ledger_of(result.manifest, result.folder, number)
        for row in events.iter_rows(named=True) if events is not None else ():
            if row["kind"] in ("dropped", "failed", "null"):
                found[row["id"]] = row["code"]
    return found
