"""The interpreter: stages in order, each looked up under its key or computed, the ledger balanced, the world waited
for.

Same recipe, inputs, seed and versions give the same rows, values, order and files, for any workers, shards, kills and
engine.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftrecipe.artefacts import path_of, save
from sftrecipe.engines import Engine
from sftrecipe.errors import Pending, StepError, StoreDamaged
from sftrecipe.hooks import Observers
from sftrecipe.ledger import Counts
from sftrecipe.plan import Node, Plan, Stage, make_stages
from sftrecipe.plan.keys import canonical, file_digest, key_of, step_parts, step_seed
from sftrecipe.recipe import Ref
from sftrecipe.run.bind import StepSpec, spec_of
from sftrecipe.run.dataset import StoredDataset
from sftrecipe.run.expect import check_expectations
from sftrecipe.run.kinds import border
from sftrecipe.run.loading import bind_load, compute_load, read_piece, sources_of
from sftrecipe.run.outputs import preflight
from sftrecipe.run.progress import Progress, Silent
from sftrecipe.run.record import last_parts, usage
from sftrecipe.run.result import Result, assemble, dropped_table, quarantine_table
from sftrecipe.store import Store, check_file, sha256_of
from sftrecipe.table import Table

__all__ = ["Options", "Outcome", "Run", "execute"]

ATTEMPTS = 3
"""How often one stored result may be found damaged in a run: then it is the disk."""


@dataclass
class Options:
    """How to run, none of which changes results (but `limit`, which says so in the outputs' names)."""

    shard_bytes: int = 16 << 20
    pool_bytes: int = 64 << 20
    pool_rows: int = 100_000
    limit: int | None = None
    to: str | None = None
    overwrite: bool = False
    requests: str = "use"
    out: Path = field(default_factory=Path)


@dataclass
class Outcome:
    """What a run came to: results by stage, outputs written, and what it waits for."""

    results: dict[str, Result] = field(default_factory=dict)
    counts: list[Counts] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    evicted: list[str] = field(default_factory=list)
    artefacts: dict[str, Path] = field(default_factory=dict)
    usage: dict[str, dict[str, Any]] = field(default_factory=dict)


SHOWN = 1 << 20
"""Artefacts below this size are looked at by whoever shows a run or checks its `expect`."""


class Missing(Exception):
    """A stage is not in the store, and this run only looks."""


class Run:
    """One pass over a plan. `replay` only looks: stages that are not in the store raise Missing."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        engine: Engine,
        options: Options | None = None,
        *,
        progress: Progress | None = None,
        observers: Observers | None = None,
        replay: bool = False,
    ) -> None:
        self.plan, self.store, self.engine = plan, store, engine
        self.options = options or Options()
        self.progress: Progress = progress or Silent()
        self.observers = observers or Observers()
        self.replay = replay
        self.token = uuid.uuid4().hex
        self.results: dict[str, Result] = {}
        self.outcome = Outcome()
        self.parts: dict[str, dict[str, Any]] = {}
        self.models: dict[str, Any] = {}
        self.reads: set[Path] = set()
        self.stack = ExitStack()

    def stages(self) -> list[Stage]:
        """The stages to run."""
        return make_stages(self.plan, [self.options.to] if self.options.to else None)

    def run(self) -> Outcome:
        """Runs every stage that can run. What waits for the world, and what needs it, is left for the next run."""
        with self.stack:
            blocked: set[str] = set()
            stages = self.stages()
            if not self.replay:
                preflight(self, [s.first for s in stages if s.first.verb == "write"])
            for stage in stages:
                if any(step in blocked for step in self._needs(stage)):
                    blocked |= {n.id for n in stage.nodes}
                    continue
                try:
                    self._stage(stage)
                except Pending as wait:
                    blocked |= {n.id for n in stage.nodes}
                    self.outcome.waiting[stage.first.id] = str(wait)
                except StepError as error:
                    error.step = error.step or stage.last.id
                    raise
            self.outcome.usage = usage(self)
        self.outcome.results = self.results
        return self.outcome

    def _needs(self, stage: Stage) -> list[str]:
        first = stage.first
        refs = [*first.inputs, *(r for n in stage.nodes for r in n.step.ports.values())]
        return [r.step for r in refs] + [s for n in stage.nodes for s, _ in n.artefacts.values()]

    def _stage(self, stage: Stage) -> None:
        for node in stage.nodes:
            self.observers.started(node)
        inputs = [self.table(r) for r in stage.first.inputs]
        ports = {f"{n.id}.{name}": self.table(ref) for n in stage.nodes for name, ref in n.step.ports.items()}
        parts = []
        for node in stage.nodes:
            seed = step_seed(self.plan.recipe.seed, node)
            artefacts = {name: sha256_of(self.artefact(step, key)) for name, (step, key) in node.artefacts.items()}
            one = step_parts(node, seed, self.plan.providers, artefacts)
            self.parts[node.id] = one
            parts.append(one)
        with border(stage):
            loader, pieces, load_parts = self._load(stage)
        # names count where there are several inputs: a mix speaks of them. Alone, an input is its rows.
        several = len(inputs) > 1
        digests = {
            f"{n}:{r}" if several else "rows": t.digest()
            for n, (r, t) in enumerate(zip(stage.first.inputs, inputs, strict=True))
        }
        digests |= {name.rsplit(".", 1)[1]: t.digest() for name, t in ports.items()} | load_parts
        self.parts[stage.first.id]["inputs"] = digests
        key = key_of(stage, [{k: v for k, v in p.items() if k != "inputs"} for p in parts], digests)
        result = self._found(stage, key, inputs)
        if result is None:
            if self.replay:
                raise Missing(stage.id)
            self.store.open()
            with self.store.lock(
                key, lambda who: self.progress.say(f"waiting for process {who}, which computes {stage.id}")
            ):
                result = self._found(stage, key, inputs)
                if result is None:
                    with border(stage):
                        result = self._compute(stage, key, inputs, ports, loader, pieces)
        self._done(stage, result, ports)

    def _load(self, stage: Stage) -> tuple[Any, Any, dict[str, str]]:
        """The live load operator, its pieces, and the digests of what they read."""
        if stage.kind != "load":
            return None, [], {}
        operator = bind_load(self.spec(stage.first, self.store.root / "scratch" / stage.first.id), None)
        pieces = operator.pieces(self.options.shard_bytes)
        files, digests = sources_of(pieces)
        self._warm(stage.first, sum(f.stat().st_size for f in files.values() if f.is_file()))
        self.reads |= set(files.values())
        with ThreadPoolExecutor(self.engine.workers) as threads:
            hashed = threads.map(file_digest, files.values())
            importlib.import_module("polars")  # needed next: hashing holds no lock meanwhile
            digests |= zip(files, hashed, strict=True)
        return operator, pieces, digests

    def _warm(self, node: Node, size: int) -> None:
        """Processes take as long to start as the input to be hashed: a large load that will hardly be found in the
        store has them started before.
        """
        warm = getattr(self.engine, "warm", None)
        if warm is None or self.replay or size <= self.options.pool_bytes or not node.operator.heavy:
            return
        before = {k: v for k, v in last_parts(self).get(node.id, {}).items() if k != "inputs"}
        if before != json.loads(canonical(self.parts[node.id])):
            warm(["polars", "pyarrow", read_piece.__module__, type(node.operator).__module__])

    def _found(self, stage: Stage, key: str, inputs: Sequence[Table]) -> Result | None:
        manifest = self.store.manifest(key)
        folder = self.store.folder(key)
        if manifest is None:
            if os.path.lexists(folder / "manifest.json"):
                text = "manifest.json in the store is not what was written, or is of another version of sftrecipe"
                raise StoreDamaged(text, step=key, code="R662")
            return None
        if manifest.get("partial") and not self.replay:
            return None  # rows failed: they are tried again
        for name in manifest["files"]:
            if not (folder / name).exists():
                raise StoreDamaged(f"{name} is gone from the store", step=key, code="R662")
        source = inputs[0] if len(inputs) == 1 else None
        table = assemble(manifest, folder, source) if manifest["parts"] is not None else None
        return Result(key, folder, manifest, self._passed(stage, table, inputs), list(inputs), cached=True)

    def _passed(self, stage: Stage, table: Table | None, inputs: Sequence[Table]) -> Table:
        if table is not None:
            return table
        return inputs[0] if inputs else Table()

    def _compute(
        self, stage: Stage, key: str, inputs: list[Table], ports: Mapping[str, Table], loader: Any, pieces: Any
    ) -> Result:
        from sftrecipe.run.kinds import compute

        folder = self.store.folder(key)
        if folder.is_symlink():
            self.store.evict(key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)  # a partial one: its files are about to change
        self._same_split(folder, inputs, pieces)
        if stage.kind == "load":
            spec = self.spec(stage.first, folder / "scratch")
            manifest = compute_load(self, spec, pieces, folder, loader)
        else:
            manifest = compute(self, stage, folder, inputs, ports)
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        for count in manifest["counts"]:
            Counts(**count).assert_balance()
        self.store.complete(key, manifest)
        source = inputs[0] if len(inputs) == 1 else None
        table = assemble(manifest, folder, source) if manifest["parts"] is not None else None
        return Result(key, folder, manifest, self._passed(stage, table, inputs), inputs)

    def _same_split(self, folder: Path, inputs: Sequence[Table], pieces: Sequence[Any]) -> None:
        """Finished shards of an unfinished stage are kept only if the shards are cut alike."""
        from sftrecipe.store import atomic_json

        split = {"inputs": [[p.rows for p in t.parts] for t in inputs], "pieces": [dict(p) for p in pieces]}
        path = folder / "split.json"
        try:
            same = json.loads(path.read_bytes()) == json.loads(json.dumps(split, default=str))
        except (OSError, ValueError):
            same = False
        if not same:
            for file in folder.iterdir():
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            atomic_json(path, json.loads(json.dumps(split, default=str)), durable=False)

    def _done(self, stage: Stage, result: Result, ports: Mapping[str, Table]) -> None:
        from sftrecipe.run.outputs import ensure_written

        if stage.kind == "load":
            result = self._limited(stage, result)
        for node in stage.nodes:
            self.results[node.id] = result
        for name in result.manifest.get("artefacts", {}):
            found = path_of(result.folder, name)
            if found:
                if found.stat().st_size < SHOWN:  # others when a step reads them
                    check_file(found, result.manifest["files"][found.name])
                self.outcome.artefacts[f"{stage.first.id}.{name}"] = found
        counts = result.counts()
        self.outcome.counts += counts
        for node, count in zip(stage.nodes, counts, strict=True):
            self.progress.step(node, count, result.cached)
            self.observers.finished(node, count, result.cached)
            self._expectations(node, count, result)
        if stage.first.verb == "write":
            self.outcome.outputs.append(ensure_written(self, stage.first, result))

    def _expectations(self, node: Node, count: Counts, result: Result) -> None:
        """`expect:`; in a trial run a broken promise is told, since shares of a few rows say little."""
        try:
            check_expectations(node, count, result)
        except StepError as error:
            if self.options.limit is None:
                raise
            self.progress.say(f"warning: {error} (a trial run goes on)")

    def _limited(self, stage: Stage, result: Result) -> Result:
        """`--limit N`: the N rows lowest in hash(seed, id), so that a larger trial contains the smaller."""
        limit = self.options.limit
        if limit is None or stage.first.step.is_eval or len(result.table) <= limit:
            return result
        from sftrecipe.draws import hashes, order

        ids = result.table.frame(("id",))["id"]
        rows = order(hashes(ids, self.plan.recipe.seed, "limit"))[:limit]
        rows.sort()
        manifest = dict(result.manifest)
        count = dict(manifest["counts"][0])
        count["codes"] = {**count["codes"], "limit": count["rows_out"] - limit}
        count["dropped"], count["rows_out"] = count["dropped"] + count["rows_out"] - limit, limit
        manifest["counts"] = [count]
        return Result(result.key, result.folder, manifest, result.table.keep(rows), result.inputs, result.cached)

    def table(self, ref: Ref) -> Table:
        """The rows that a reference names."""
        result = self.results[ref.step]
        if ref.port == "dropped":
            return dropped_table(result, ref.step)
        return quarantine_table(result) if ref.port == "quarantined" else result.table

    def artefact(self, step: str, key: str) -> Path:
        """The file of `step.key`. Raises StepError R642 if the step made no such artefact."""
        folder = self.results[step].folder
        path = path_of(folder, key)
        if path is None:
            known = sorted(p.name.split(".artefact.")[0] for p in folder.glob("*.artefact.*"))
            text = f"`{step}` made no artefact `{key}`; it made {', '.join(known) or 'none'}"
            raise StepError(text, step=step, code="R642")
        check_file(path, self.results[step].manifest["files"][path.name])
        return path

    def spec(self, node: Node, scratch: Path, state: str = "") -> StepSpec:
        """A node as it travels to where it runs."""
        from sftrecipe.run.outputs import given_paths

        paths = {name: str(path) for name, path in {**node.files, **node.taken}.items()} | given_paths(self, node)
        paths |= {name: str(self.artefact(step, key)) for name, (step, key) in node.artefacts.items()}
        return spec_of(node, step_seed(self.plan.recipe.seed, node), scratch, paths, state, self.plan.recipe.text)

    def dataset(self, table: Table, scratch: Path, heavy: bool = False) -> StoredDataset:
        """A table as operators see it."""
        return StoredDataset(table, self.engine, scratch, heavy)

    def live_models(self, nodes: Sequence[Node]) -> dict[str, Any]:
        """The models that these nodes name, opened once a run."""
        from sftrecipe.run.models import open_model

        for node in nodes:
            for spec in node.all_models().values():
                if spec.name not in self.models:
                    self.models[spec.name] = self.stack.enter_context(open_model(self, spec.name))
        return self.models

    def save_artefacts(self, folder: Path, values: Mapping[str, Any]) -> dict[str, str]:
        """Writes artefacts. Returns file name -> sha256."""
        files = {}
        for name, value in values.items():
            if not isinstance(name, str) or not name.strip(".") or not name.isprintable() or set(name) & set("/\\"):
                raise StepError(f"`{name}` is no name for an artefact", code="P010")
            path = save(folder, name, value)
            files[path.name] = sha256_of(path)
        return files


def execute(make: Any, *, on_damage: Any = None) -> Outcome:
    """`make()` gives a Run; it is run, and run again after stored files that are not what was written were evicted."""
    evicted: list[str] = []
    while True:
        run: Run = make()
        try:
            outcome = run.run()
        except StoreDamaged as damage:
            if evicted.count(damage.step) == ATTEMPTS:
                raise
            run.store.evict(damage.step)
            evicted.append(damage.step)
            if on_damage:
                on_damage(str(damage))
            continue
        outcome.evicted = evicted
        return outcome
