"""The stage of chained row steps: shard by shard, on the engine; steps with models on this process, rows pulled one
by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import pl
from sftrecipe.ledger import Events, merge_counts
from sftrecipe.operators import Operator, overrides
from sftrecipe.plan import Stage
from sftrecipe.rows import BATCH_ROWS, Rows
from sftrecipe.run.batch import Live, guarded_row, view_of
from sftrecipe.run.bind import bind
from sftrecipe.run.kinds import fitted, guarded, manifest_of, ports_of, types_of
from sftrecipe.run.part import PartJob, PartRun, Written, compiled_where, matches, run_part
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
    again = [replace(j, again=w) for j in jobs if (w := done.get(j.number)) and w.failed]
    todo = again + [j for j in jobs if j.number not in done]
    run.progress.begin(stage.id, len(jobs), len(jobs) - len(todo))
    if again:
        run.progress.say(f"{stage.id}: {sum(len(w.failed) for w in done.values()):,} rows that failed are tried again")
    results = _with_models(run, stage, todo, ports) if _needs_this_process(run, stage) else _on_engine(run, stage, todo)
    for number, written in results:
        written.trust(folder)
        done[number] = written
        run.progress.advance(stage.id, written.rows_in)
    written = [done[n] for n in sorted(done)]
    counts = [vars(merge_counts(s.id, [w.counts[i] for w in written])) for i, s in enumerate(specs)]
    for node, figures in zip(stage.nodes, counts, strict=True):
        guarded(node, node.operator.review, figures)
        if overrides(type(node.operator), "report", Operator):
            files |= run.save_artefacts(folder, guarded(node, node.operator.report, _events(folder, written, node.id)))
    manifest = manifest_of(entries_of(written), types_of(stage.last), counts, files)
    if failed := sum(len(w.failed) for w in written):
        manifest["partial"] = failed
    return manifest


def _events(folder: Path, written: list[Written], step: str) -> pl.DataFrame:
    """What the ledger holds of one step, over all shards."""
    frames = [pl.read_parquet(folder / w.files["ledger"][0]) for w in written if "ledger" in w.files]
    whole: pl.DataFrame = pl.concat(frames) if frames else Events([step]).frame()
    return whole.filter(pl.col("step") == step)


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
    for at, written in run.engine.map(run_part, jobs, heavy=heavy, here=not heavy):
        yield jobs[at].number, written


def _with_models(
    run: Run, stage: Stage, jobs: list[PartJob], ports: Mapping[str, Table]
) -> Iterator[tuple[int, Written]]:
    """Steps that ask models: operators bound here, with the run's sessions."""
    if not jobs:
        return
    models = run.live_models(stage.nodes)
    steps = [Live(s, bind(s, models, ports_of(run, s, ports)), compiled_where(s)) for s in jobs[0].steps]
    if len(steps) == 1 and steps[0].is_async:
        yield from _rows_in_flight(jobs, steps[0])
        return
    for job in jobs:
        part = PartRun(job, steps)
        frame = job.frame()
        for at in range(0, max(frame.height, 1), BATCH_ROWS):
            part.batch(Rows(frame.slice(at, BATCH_ROWS)))
        yield job.number, part.finish(frame.height)


class _Shard:
    """One shard on its way: the rows that are asked about, and what came back so far."""

    def __init__(self, job: PartJob, live: Live) -> None:
        self.job, self.live = job, live
        self.frame = job.frame()
        self.rows = Rows(self.frame)
        self.mask = matches(live, self.rows)
        self.target = self.rows if self.mask is None else self.rows.keep(self.mask)
        self.asked = list(view_of(live, self.target))
        self.results: list[Any] = [None] * len(self.asked)
        self.left = len(self.asked)

    def finish(self) -> Written:
        """Everything is back: columns, ledger, files."""
        notes, ids = self.live.context.notes, {row["id"] for row in self.asked}
        others = [n for n in notes if n[0] not in ids]  # rows of other shards are in flight too
        notes[:] = [n for n in notes if n[0] in ids]
        part = PartRun(self.job, [self.live])
        kept = part.judged(self.live, 0, self.rows, self.target, self.mask, self.results)
        notes[:] = others
        part.put(kept.frame)
        return part.finish(self.frame.height)


def _rows_in_flight(jobs: Sequence[PartJob], live: Live) -> Iterator[tuple[int, Written]]:
    """Rows of all shards through one async row step: no row waits for the end of a shard."""
    from sftrecipe.models.pull import stream_rows

    places: dict[int, tuple[_Shard, int]] = {}  # of rows in flight alone, so that finished shards leave memory
    bare: list[_Shard] = []

    def rows() -> Iterator[Any]:
        numbers = count()
        for job in jobs:
            shard = _Shard(job, live)
            if not shard.asked:
                bare.append(shard)
            for at, row in enumerate(shard.asked):
                places[next(numbers)] = (shard, at)
                yield row

    with closing(stream_rows(rows(), guarded_row(live))) as done:
        for index, outcome in done:
            shard, at = places.pop(index)
            shard.results[at] = outcome
            shard.left -= 1
            if not shard.left:
                yield shard.job.number, shard.finish()
    for shard in bare:
        yield shard.job.number, shard.finish()
