"""The stage of chained row steps: shard by shard, on the engine; steps with models on this process, rows pulled one by one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.ledger import merge_counts
from sftrecipe.plan import Stage
from sftrecipe.rows import BATCH_ROWS, Rows
from sftrecipe.run.batch import ROW, Live, columns_of_batch, view_of
from sftrecipe.run.bind import StepSpec, bind
from sftrecipe.run.kinds import fitted, guarded, manifest_of, types_of
from sftrecipe.run.part import PartJob, PartRun, Written, columns_needed, matches, run_part
from sftrecipe.run.result import part_entry
from sftrecipe.table import Table

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["entries_of", "stream"]


def stream(run: Run, stage: Stage, folder: Path, source: Table, ports: Mapping[str, Table]) -> dict[str, Any]:
    """Every shard through every step of the stage. Shards that are finished on disk are not done again."""
    state, files = fitted(run, stage.first, folder, source, ports)
    specs = [
        run.spec(n, folder / "scratch" / n.id.replace("/", "_"), state if n is stage.first else "") for n in stage.nodes
    ]
    jobs = [PartJob(folder, n, part, specs, run.token) for n, part in enumerate(source.parts)]
    done = {j.number: w for j in jobs if (w := Written.load(folder, j.number))}
    todo = [j for j in jobs if j.number not in done]
    run.progress.begin(stage.id, len(jobs), len(done))
    results = _with_models(run, stage, todo, ports) if _needs_this_process(run, stage) else _on_engine(run, stage, todo)
    for number, written in results:
        done[number] = written
        run.progress.advance(stage.id, written.rows_in)
    written = [done[n] for n in sorted(done)]
    counts = [vars(merge_counts(s.id, [w.counts[i] for w in written])) for i, s in enumerate(specs)]
    for node, figures in zip(stage.nodes, counts, strict=True):
        guarded(node, node.operator.review, figures)
    return manifest_of(entries_of(written), types_of(stage.last), counts, files)


def entries_of(written: list[Written]) -> list[dict[str, Any]]:
    """Manifest entries of finished shards."""
    found = []
    for w in written:
        rows = w.files.get("rows")
        layers = [(*rows, w.columns)] if rows else []
        found.append(
            part_entry(w.rows, source=w.number, layers=layers, index=w.files.get("index"), ledger=w.files.get("ledger"))
        )
    return found


def _needs_this_process(run: Run, stage: Stage) -> bool:
    return any(n.all_models() for n in stage.nodes)


def _on_engine(run: Run, stage: Stage, jobs: list[PartJob]) -> Any:
    heavy = any(n.operator.heavy for n in stage.nodes) and sum(j.part.rows for j in jobs) >= run.options.pool_rows
    for at, written in run.engine.map(run_part, jobs, heavy=heavy):
        yield jobs[at].number, written


def _with_models(run: Run, stage: Stage, jobs: list[PartJob], ports: Mapping[str, Table]) -> Any:
    """Steps that ask models: operators bound here, with the run's sessions."""
    models = run.live_models(stage.nodes)
    for job in jobs:
        steps = [Live(s, _bound(run, s, models, ports), None) for s in job.steps]
        for live in steps:
            live.where = _where(live.spec)
        if len(steps) == 1 and _is_async(steps[0]):
            yield job.number, run_async(job, steps[0])
            continue
        part = PartRun(job, steps)
        frame = job.part.read(columns_needed(job)).with_row_index(ROW)
        for at in range(0, max(frame.height, 1), BATCH_ROWS):
            part.batch(Rows(frame.slice(at, BATCH_ROWS)))
        yield job.number, part.finish(frame.height)


def _bound(run: Run, spec: StepSpec, models: Mapping[str, Any], ports: Mapping[str, Table]) -> Any:
    datasets = {
        n.removeprefix(f"{spec.id}."): run.dataset(t, spec.scratch) for n, t in ports.items() if n.startswith(spec.id + ".")
    }
    return bind(spec, models, datasets)


def _where(spec: StepSpec) -> Any:
    from sftrecipe.run.part import _where as compiled

    return compiled(spec)


def _is_async(live: Live) -> bool:
    return live.batch_form is None and inspect.iscoroutinefunction(live.row_form)


def run_async(job: PartJob, live: Live) -> Written:
    """One shard through one async row step: all rows in flight at once, as far as the models' limits let them."""
    from sftrecipe.models.pull import run_rows

    part = PartRun(job, [live])
    frame = job.part.read(columns_needed(job)).with_row_index(ROW)
    rows = Rows(frame)
    mask = matches(live, rows)
    target = rows if mask is None else rows.keep(mask)
    view = view_of(live, target)
    results = live.call(run_rows, list(view), live.row_form) if len(view) else []
    if live.spec.verb == "filter":
        raise live.fault("is an async filter; score first, then filter on the score")
    outcome = columns_of_batch(live, target, results)
    kept = part.attach(live, 0, rows, target, mask, outcome)
    part.put(kept.frame)
    return part.finish(frame.height)
