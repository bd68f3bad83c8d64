"""The job of a worker: one shard through the steps of one stage.

Rows come as batches of at most 4,096; what leaves is new columns, the numbers of the rows that stay, and the ledger
of the others. All of it is on disk, by rename, before the driver hears of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pl
from sftrecipe.ledger import Events
from sftrecipe.rows import BATCH_ROWS, DERIVED, Rows, derive
from sftrecipe.run.batch import ROW, Live, Outcome, columns_of_batch, run_filter
from sftrecipe.run.bind import StepSpec, bind
from sftrecipe.store import read_sealed, sha256_of, trust, write_sealed
from sftrecipe.table import Part
from sftrecipe.types import parse_type

__all__ = [
    "PartJob",
    "PartRun",
    "Written",
    "columns_needed",
    "compiled_where",
    "matches",
    "run_part",
    "write_bytes",
    "write_frame",
]


@dataclass
class PartJob:
    """What a worker is told: where to write, which shard, which steps."""

    folder: Path
    number: int
    part: Part
    steps: list[StepSpec]
    run: str = ""
    again: Written | None = None
    """What an earlier run made of the shard: the rows that failed then are done again, and no other."""

    def frame(self) -> pl.DataFrame:
        """The columns that the steps need, with the number of each row: of all rows, or of those to be done again."""
        frame = self.part.read(columns_needed(self)).with_row_index(ROW)
        return frame if self.again is None else frame.filter(pl.col(ROW).is_in(self.again.failed))


@dataclass
class Written:
    """Files of a finished part: name -> sha256, by what they hold."""

    number: int
    rows_in: int
    rows: int
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    counts: list[dict[str, Any]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    """Numbers of the rows that failed: the next run tries them again."""

    def save(self, folder: Path) -> None:
        """Marks the part as finished."""
        write_sealed(folder / f"part-{self.number:05d}.json", vars(self), durable=False)

    def trust(self, folder: Path) -> None:
        """A worker of this run has just written the files: they need not be read again to be believed."""
        for name, sha in self.files.values():
            trust(folder / name, sha)

    @classmethod
    def load(cls, folder: Path, number: int) -> Written | None:
        """The finished part, if it is there."""
        data = read_sealed(folder / f"part-{number:05d}.json")
        if data is None:
            return None
        data["files"] = {k: (v[0], v[1]) for k, v in data["files"].items()}
        return cls(**data)


_live = threading.local()


def live_steps(job: PartJob, models: Mapping[str, Any]) -> list[Live]:
    """The stage's operators, bound once a thread: contexts hold notes, which must not mix between shards."""
    key = f"{job.run}:{job.folder}"
    if getattr(_live, "key", None) != key:
        _live.steps = [Live(s, bind(s, models), compiled_where(s)) for s in job.steps]
        _live.key = key
    return _live.steps  # type: ignore[no-any-return]


def compiled_where(spec: StepSpec) -> Any:
    """The step's `where` as a Polars expression, or None."""
    if spec.where is None:
        return None
    from sftrecipe.expressions import compile
    from sftrecipe.run.bind import functions

    return compile(spec.where, {**DERIVED, **spec.columns}, spec.constants, functions(), want="bool")


def run_part(job: PartJob, models: Mapping[str, Any] | None = None) -> Written:
    """Runs a shard through the stage and writes what came of it."""
    run = PartRun(job, live_steps(job, models or {}))
    frame = job.frame()
    for at in range(0, max(frame.height, 1), BATCH_ROWS):
        run.batch(Rows(frame.slice(at, BATCH_ROWS)))
    return run.finish(frame.height)


def columns_needed(job: PartJob) -> list[str]:
    """The stored columns that the steps read and do not make themselves."""
    made: set[str] = set()
    wanted = ["id"]
    for spec in job.steps:
        reads = [*spec.reads, *spec.where_columns, *(n for n in spec.writes if spec.where and n in spec.columns)]
        wanted += [c for c in reads if c not in made]
        made |= set(spec.writes)
    return job.part.stored(list(dict.fromkeys(wanted)))


class PartRun:
    """A shard on its way through a stage: the ledger and the new columns so far."""

    def __init__(self, job: PartJob, steps: Sequence[Live]) -> None:
        self.job, self.steps = job, steps
        self.events = Events([s.spec.id for s in steps])
        self.made = list(dict.fromkeys(n for s in steps for n in s.spec.writes))
        self.before = {n for n in self.made if n in steps[0].spec.columns}
        self.changed: set[str] = set()
        self.chunks: list[pl.DataFrame] = []
        self.failed: set[int] = set()

    def batch(self, rows: Rows) -> None:
        """One batch through every step."""
        for number, live in enumerate(self.steps):
            rows = self._step(live, number, rows)
        self.put(rows.frame)

    def put(self, frame: pl.DataFrame) -> None:
        """Keeps the new columns of rows that leave the stage here, by its end or before."""
        have = [c for c in self.made if c in frame.columns]
        if have and frame.height:
            self.chunks.append(frame.select(ROW, *have))

    def _step(self, live: Live, number: int, rows: Rows) -> Rows:
        mask = matches(live, rows)
        if mask is not None and not mask.any():
            return rows if live.spec.verb == "filter" else _with_nulls(live, rows)
        target = rows if mask is None else rows.keep(mask)
        return self.judged(live, number, rows, target, mask)

    def judged(
        self,
        live: Live,
        number: int,
        rows: Rows,
        target: Rows,
        mask: pl.Series | None,
        results: Sequence[Any] | None = None,
    ) -> Rows:
        """The batch behind a step that sees `target` of it. `results`: what its async row form gave, row by row."""
        if live.spec.verb == "filter":
            return self._drop(live, number, rows, target, mask, run_filter(live, target, results))
        return self._attach(live, number, rows, target, mask, columns_of_batch(live, target, results))

    def _drop(
        self, live: Live, number: int, rows: Rows, target: Rows, mask: pl.Series | None, outcome: Outcome
    ) -> Rows:
        self.events.noted(live.context, number)
        self.failed.update(target.frame[ROW][[f[0] for f in outcome.failed]])
        reason = outcome.reason
        if reason is None:
            return rows
        failed = {at: code for at, code, _ in outcome.failed if live.spec.on_error != "null"}
        gone = reason >= 0
        gone[list(failed)] = True
        if not gone.any():
            return rows
        at = np.flatnonzero(gone)
        where = target.frame[ROW].to_numpy()[gone]
        codes = [failed[i] if i in failed else outcome.codes[reason[i]] for i in at.tolist()]
        kinds = ["failed" if i in failed else "dropped" for i in at.tolist()]
        values = outcome.values[gone] if outcome.values is not None else None
        self.events.dropped(number, where, target.frame["id"].filter(pl.Series(gone)), codes, values, kinds=kinds)
        keep = pl.Series(~gone) if mask is None else pl.Series(~np.isin(rows.frame[ROW].to_numpy(), where))
        self.put(rows.frame.filter(~keep))
        return rows.keep(keep)

    def _attach(
        self, live: Live, number: int, rows: Rows, target: Rows, mask: pl.Series | None, outcome: Outcome
    ) -> Rows:
        """The batch with the step's new columns; rows that failed leave if `on_error` says so."""
        made = [_spread(series, mask, rows, name) for name, series in outcome.columns.items()]
        self.changed.update(outcome.columns)
        frame = rows.frame.with_columns(made)
        if "messages" in outcome.columns:  # what was derived came from the old texts
            frame = frame.drop([c for c in DERIVED if c in frame.columns])
        if any(name in rows.frame.columns for name in outcome.columns):
            rows = Rows(frame)  # what was shared may have come from the old values
        else:
            rows.frame = frame
        self.events.noted(live.context, number)
        self.events.undefined(number, outcome.undefined)
        at = [f[0] for f in outcome.failed]
        if not at:
            return rows
        numbers = target.frame[ROW].to_numpy()[at]
        if live.spec.verb != "format":  # what cannot be formatted now never can
            self.failed.update(numbers.tolist())
        # a row that could not be formatted is no row for a trainer: it leaves, unless the recipe says otherwise
        drop = live.spec.on_error == "drop" or (live.spec.verb == "format" and live.spec.on_error is None)
        codes, facts = [f[1] for f in outcome.failed], [f[2] for f in outcome.failed]
        kinds = ["failed" if drop else "null"] * len(at)
        self.events.dropped(number, numbers, target.frame["id"][at], codes, None, kinds=kinds, facts=facts)
        if not drop:
            return rows
        keep = ~rows.frame[ROW].is_in(pl.Series(numbers).implode())
        self.put(rows.frame.filter(~keep))
        return rows.keep(keep)

    def finish(self, rows_in: int) -> Written:
        """Writes new columns, the rows that stay and the ledger."""
        if self.job.again is not None:
            from sftrecipe.run.again import take_up

            rows_in = take_up(self, self.job.again)
        made = [n for n in self.made if n in self.changed or n not in self.before]
        words = {n: w for s in self.steps for n, w in s.spec.writes.items()}
        return finish(self.job, rows_in, self.chunks, self.events, made, words, sorted(self.failed))


def matches(live: Live, rows: Rows) -> pl.Series | None:
    """The rows that `where` names; None for all."""
    if live.where is None:
        return None
    missing = [c for c in live.spec.where_columns if c in DERIVED and c not in rows.frame.columns]
    rows.frame = derive(rows.frame, missing)
    mask = rows.frame.select(live.where.alias("where"))["where"].fill_null(False)
    return None if mask.all() else mask


def _spread(series: pl.Series, mask: pl.Series | None, rows: Rows, name: str) -> pl.Series:
    """A column of the matching rows over the whole batch: others keep what they had, or null."""
    if mask is None:
        return series.alias(name)
    at = (mask.cast(pl.Int32).cum_sum() - 1).clip(0)
    before = rows.frame[name] if name in rows.frame.columns else pl.lit(None, dtype=series.dtype)
    return rows.frame.select(pl.when(mask).then(series.gather(at)).otherwise(before).alias(name))[name]


def _with_nulls(live: Live, rows: Rows) -> Rows:
    new = {n: w for n, w in live.spec.writes.items() if n not in rows.frame.columns}
    rows.frame = rows.frame.with_columns([pl.lit(None, dtype=parse_type(w).dtype()).alias(n) for n, w in new.items()])
    return rows


def finish(
    job: PartJob,
    rows_in: int,
    chunks: list[pl.DataFrame],
    events: Events,
    made: list[str],
    words: Mapping[str, str],
    failed: Sequence[int] = (),
) -> Written:
    """Writes new columns, the rows that stay and the ledger of a part."""
    gone = events.gone()
    written = Written(job.number, rows_in, rows_in - len(gone), columns=made, failed=list(failed))
    name = f"part-{job.number:05d}"
    if made:
        written.files["rows"] = write_frame(job.folder / f"{name}.rows.parquet", _aligned(chunks, made, rows_in, words))
    if len(gone):
        keep = np.ones(rows_in, dtype=bool)
        keep[gone] = False
        data = io.BytesIO()
        np.save(data, np.flatnonzero(keep).astype(np.uint32), allow_pickle=False)
        written.files["index"] = write_bytes(job.folder / f"{name}.index.npy", data.getvalue())
    if len(events):
        written.files["ledger"] = write_frame(job.folder / f"{name}.ledger.parquet", events.frame(), "lz4")
    written.counts = events.counts(rows_in)
    written.save(job.folder)
    return written


def _aligned(parts: list[pl.DataFrame], made: list[str], rows: int, words: Mapping[str, str]) -> pl.DataFrame:
    """The new columns, one line for every row that came in: null where a row left before the column was made."""
    empty = {n: pl.lit(None, dtype=parse_type(words[n]).dtype()).alias(n) for n in made}
    if not parts:
        return (
            pl.DataFrame({ROW: range(rows)}).select(empty.values())
            if rows
            else pl.DataFrame(schema={n: parse_type(words[n]).dtype() for n in made})
        )
    frame = pl.concat(parts, how="diagonal_relaxed") if len(parts) > 1 else parts[0]
    frame = frame.with_columns([e for n, e in empty.items() if n not in frame.columns])
    if frame.height < rows:
        every = pl.DataFrame({ROW: pl.Series(range(rows), dtype=frame[ROW].dtype)})
        frame = every.join(frame, on=ROW, how="left")
    return frame.sort(ROW).select(made)


def write_frame(
    path: Path, frame: pl.DataFrame, compression: Literal["lz4", "uncompressed"] = "uncompressed"
) -> tuple[str, str]:
    """Writes a Parquet file by rename. Returns its name and sha256."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        # one chunk, one row group: the bytes depend on the rows alone
        frame.rechunk().write_parquet(
            part, compression=compression, row_group_size=max(frame.height, 1), statistics=False
        )
        sha = sha256_of(part)
        # no fsync: a file torn by a power cut fails its sha256 and is made again
        os.replace(part, path)
    except (OSError, pl.exceptions.ComputeError) as error:  # polars tells of a full disk in words of its own
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _full(path, error) from error
    trust(path, sha)
    return path.name, sha


def write_bytes(path: Path, data: bytes | memoryview) -> tuple[str, str]:
    """Writes a file by rename. Returns its name and sha256."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _full(path, error) from error
    sha = hashlib.sha256(data).hexdigest()
    trust(path, sha)
    return path.name, sha


def _full(path: Path, error: Exception) -> StepError:
    return StepError(
        f"cannot write {path}: {getattr(error, 'strerror', None) or error}",
        code="R663",
        help="free space and run again",
    )
