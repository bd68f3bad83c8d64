"""The load stage: pieces read in parallel, ids given, bad rows put aside with their place."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import RowError, SftRecipeError, StepError, described
from sftrecipe.lazy import np, pa, pl, series_of
from sftrecipe.ledger import Counts
from sftrecipe.rows import FIXED, content_hash, row_id
from sftrecipe.run.bind import StepSpec, bind
from sftrecipe.run.part import Written, write_frame
from sftrecipe.run.result import files_of, part_entry
from sftrecipe.store import check_file, read_sealed, write_sealed
from sftrecipe.types import parse_type
from sftrecipe.verbs import BadRow, Load

if TYPE_CHECKING:
    from sftrecipe.run.interpreter import Run

__all__ = ["bind_load", "compute_load", "read_piece", "sources_of"]

BAD_SCHEMA = ("file", "line", "offset", "reason", "raw")


@dataclass
class PieceJob:
    """One piece for a worker."""

    folder: Path
    number: int
    spec: StepSpec
    piece: Mapping[str, Any]
    shard_bytes: int


def bind_load(spec: StepSpec, models: Mapping[str, Any] | None) -> Load:
    """The load operator; its models are live only where they are given."""
    operator = bind(spec, models)
    if not isinstance(operator, Load):
        raise StepError(f"`{spec.name}` is no load", step=spec.id)
    return operator


def compute_load(
    run: Run, spec: StepSpec, pieces: Sequence[Mapping[str, Any]], folder: Path, operator: Load
) -> dict[str, Any]:
    """Reads every piece, gives the ids, checks the share of bad rows. Returns the manifest."""
    jobs = [PieceJob(folder, n, spec, dict(p), run.options.shard_bytes) for n, p in enumerate(pieces)]
    todo = [j for j in jobs if _piece_result(folder, j.number) is None]
    size = sum(p.get("stop", 0) - p.get("start", 0) for p in pieces)
    run.progress.begin(spec.id, len(jobs), len(jobs) - len(todo))
    models = run.live_models([run.plan.nodes[spec.id]])
    # models live in this process, on one event loop at a time: pieces one after another
    read = (
        enumerate(read_piece(j, models) for j in todo)
        if spec.models
        else run.engine.map(read_piece, todo, heavy=size > run.options.pool_bytes, here=True)
    )
    for number, rows in read:
        for shard in (_piece_result(folder, todo[number].number) or {}).get("shards", ()):
            Written(**shard).trust(folder)
        run.progress.advance(spec.id, rows)
    written = [w for j in jobs if (w := _piece_result(folder, j.number)) is not None]
    shards = [Written(**s) for w in written for s in w["shards"]]
    bad = _bad_rows(written)
    _share_of_bad(spec, operator, bad, sum(s.rows for s in shards))
    repeats = _give_ids(folder, shards, spec)
    columns = {**FIXED, **spec.writes}
    parts = [part_entry(s.rows, layers=[(*s.files["rows"], s.columns), (*s.files["ids"], ["id"])]) for s in shards]
    counts = Counts(
        spec.id,
        rows_in=sum(s.rows for s in shards) + len(bad),
        rows_out=sum(s.rows for s in shards),
        quarantined=len(bad),
    )
    counts.codes = _by_reason(bad)
    counts.assert_balance()
    manifest: dict[str, Any] = {
        "parts": parts,
        "columns": columns,
        "counts": [vars(counts)],
        "files": files_of(parts),
        "repeats": repeats,
    }
    if bad:
        manifest["quarantine"] = _save_bad(folder, bad)
        manifest["files"][manifest["quarantine"][0]] = manifest["quarantine"][1]
    manifest |= {"facts": dict(operator.facts()), "remarks": list(operator.remarks())}
    _warn(spec, written, repeats)
    return manifest


def read_piece(job: PieceJob, models: Mapping[str, Any] | None = None) -> int:
    """Reads one piece into shards of bounded size. Returns the rows read."""
    operator = bind_load(job.spec, models)
    shards: list[Written] = []
    frames: list[Any] = []
    bad: list[list[Any]] = []
    size = lines = 0
    columns = {n: w for n, w in {**FIXED, **job.spec.writes}.items() if n != "id"}

    def flush() -> None:
        nonlocal size
        if frames:
            shards.append(_write_shard(job, len(shards), frames, columns))
            frames.clear()
            size = 0

    for item in _guarded(job, operator):
        if isinstance(item, RowError):
            item = BadRow(str(item))
        if isinstance(item, BadRow):
            if item.reason:
                bad.append(
                    [item.file or str(job.piece.get("file", "")), item.line, item.offset, item.reason, item.raw[:200]]
                )
            else:
                lines = item.line
            continue
        frames.append(_normal(item, columns, job.spec))
        size += frames[-1].estimated_size()
        if size >= job.shard_bytes * 2:
            flush()
    flush()
    data = {
        "shards": [vars(s) for s in shards],
        "bad": bad,
        "lines": lines,
        "file": str(job.piece.get("file", "")),
        "warnings": dict(operator.warnings()),
    }
    write_sealed(job.folder / f"piece-{job.number:05d}.json", data, durable=False)
    return sum(s.rows for s in shards)


def _guarded(job: PieceJob, operator: Load) -> Any:
    who = f"`{job.spec.name}` ({job.spec.origin})"
    try:
        for item in operator.read(job.piece) or ():
            if not isinstance(item, (BadRow, RowError, pl.DataFrame)):
                text = f"{who}: `read` yields frames and bad rows, not {type(item).__name__}"
                raise StepError(text, step=job.spec.id, code="P010")
            yield item
    except SftRecipeError:
        raise
    except (Exception, SystemExit) as error:  # the plugin border
        text = f"{who} raised {described(error)} while reading {job.piece.get('file', '')}"
        help = "`yield` a bad row: what is raised ends the reading" if isinstance(error, RowError) else ""
        raise StepError(text, step=job.spec.id, code="P010", help=help) from error


def _write_shard(job: PieceJob, number: int, frames: list[pl.DataFrame], columns: Mapping[str, str]) -> Written:
    frame = pl.concat(frames, how="diagonal_relaxed") if len(frames) > 1 else frames[0]
    name = f"part-{job.number:05d}-{number:03d}.rows.parquet"
    kept = [c for c in frame.columns if c in columns or c in ("hash", "id")]
    written = Written(job.number, frame.height, frame.height, columns=list(columns))
    written.files["rows"] = write_frame(job.folder / name, frame.select(kept))
    return written


def _normal(frame: pl.DataFrame, columns: Mapping[str, str], spec: StepSpec) -> pl.DataFrame:
    """The frame with every column it must have, in its type, and a content hash."""
    missing = [n for n in columns if n not in frame.columns]
    frame = frame.with_columns([pl.lit(None, dtype=parse_type(columns[n]).dtype()).alias(n) for n in missing])
    wrong = {
        n: parse_type(w).dtype() for n, w in columns.items() if frame.schema[n] != parse_type(w).dtype() and w != "any"
    }
    try:
        frame = frame.cast(wrong, strict=True) if wrong else frame  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as error:
        raise StepError(
            f"`{spec.name}` ({spec.origin}) read a column of another type: {error}", step=spec.id, code="P010"
        ) from error
    if "hash" not in frame.columns:
        rows = frame.select("source", "messages", "tools").iter_rows()
        hashes = [content_hash(source or "", messages or (), tools) for source, messages, tools in rows]
        frame = frame.with_columns(pl.Series("hash", hashes, dtype=pl.UInt64))
    order = [*columns, "hash", *(["id"] if "id" in frame.columns else [])]
    return frame.select(order)


def _piece_result(folder: Path, number: int) -> dict[str, Any] | None:
    """What came of a piece; None if it was not read to its end, or a power cut tore what was noted."""
    data = read_sealed(folder / f"piece-{number:05d}.json")
    if data is None:
        return None
    for shard in data["shards"]:
        shard["files"] = {k: tuple(v) for k, v in shard["files"].items()}
    return data


def _bad_rows(pieces: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Bad rows with their line in the file: pieces of one file follow each other."""
    lines: dict[str, int] = {}
    found = []
    for piece in pieces:
        before = lines.get(piece["file"], 0)
        found += [[file, line + before, offset, reason, raw] for file, line, offset, reason, raw in piece["bad"]]
        lines[piece["file"]] = before + piece["lines"]
    return found


def _share_of_bad(spec: StepSpec, operator: Load, bad: Sequence[Sequence[Any]], good: int) -> None:
    allowed = float(getattr(operator, "max_bad", 0.01))
    if bad and len(bad) > allowed * (len(bad) + good):
        first = "; ".join(f"{Path(f).name}:{line} {reason}" for f, line, _, reason, _ in bad[:3])
        text = f"{len(bad):,} of {len(bad) + good:,} rows cannot be read, more than max_bad = {allowed:g}: {first}"
        raise StepError(text, step=spec.id, code="R610", help="mend the file, or raise `max_bad`")


def _warn(spec: StepSpec, pieces: Sequence[Mapping[str, Any]], repeats: int) -> None:
    """What the reading came upon, summed over the pieces, and ids that stood twice."""
    from collections import Counter

    log = logging.getLogger(f"sftrecipe.step.{spec.id}")
    total: Counter[str] = Counter()
    for piece in pieces:
        total.update(piece.get("warnings", {}))
    for text, count in total.items():
        log.warning("%s (%s times)", text, f"{count:,}")
    if repeats:
        log.warning("ids that came before, now called `ID~2` and so on: %s", f"{repeats:,}")


def _by_reason(bad: Sequence[Sequence[Any]]) -> dict[str, int]:
    from collections import Counter

    return dict(Counter(str(b[3]).partition(":")[0] for b in bad).most_common())


def _save_bad(folder: Path, bad: list[list[Any]]) -> tuple[str, str, int]:
    frame = pl.DataFrame(
        bad,
        schema=dict(zip(BAD_SCHEMA, (pl.String, pl.Int64, pl.Int64, pl.String, pl.String), strict=True)),
        orient="row",
    )
    return (*write_frame(folder / "quarantine.rows.parquet", frame, "lz4"), len(bad))


def _give_ids(folder: Path, shards: Sequence[Written], spec: StepSpec) -> int:
    """Writes the ids of every shard. Returns how many rows bear an id that the source had given before."""
    frames = []
    for number, shard in enumerate(shards):
        check_file(folder / shard.files["rows"][0], shard.files["rows"][1])  # a killed run may have left it
        frame = pl.read_parquet(folder / shard.files["rows"][0], columns=_id_columns(folder / shard.files["rows"][0]))
        frames.append(frame.with_columns(pl.lit(number, dtype=pl.UInt32).alias("shard")))
    if not frames:
        return 0
    every = pl.concat(frames, how="diagonal_relaxed")
    repeats = 0
    if "id" in every.columns:
        nth = pl.int_range(pl.len()).over("id")
        ids = every.select(
            pl.when(nth == 0).then(pl.col("id")).otherwise(pl.format("{}~{}", "id", nth + 1)).alias("id")
        )["id"]
        repeats = (
            int(every["id"].is_duplicated().sum() - every["id"].filter(every["id"].is_duplicated()).n_unique())
            if len(every)
            else 0
        )
        ids = _where_null(ids, _ids(every["hash"]))
    else:
        ids = _ids(every["hash"])
    at = 0
    for shard in shards:
        frame = pl.DataFrame({"id": ids.slice(at, shard.rows)})
        name = shard.files["rows"][0].replace(".rows.", ".ids.")
        shard.files["ids"] = write_frame(folder / name, frame)
        at += shard.rows
    return repeats


def _id_columns(path: Path) -> list[str]:
    names = pl.read_parquet_schema(path)
    return [c for c in ("hash", "id") if c in names]


def _where_null(ids: pl.Series, made: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(ids, made)).to_series()


def _ids(hashes: pl.Series) -> pl.Series:
    """16 hexadecimal digits each; a row whose content came before gets an id of its own."""
    data = hashes.to_numpy().astype(">u8").tobytes().hex().encode()
    size = np.arange(len(hashes) + 1, dtype=np.int64) * 16
    texts = pa.LargeStringArray.from_buffers(len(hashes), pa.py_buffer(size), pa.py_buffer(data))
    ids = series_of(texts)
    count = pl.DataFrame({"h": hashes}).select(pl.int_range(pl.len()).over("h").alias("n"))["n"].to_numpy()
    again = np.flatnonzero(count)
    if len(again):
        bases = hashes.to_numpy()[again].tolist()
        new = pl.Series([row_id(b, int(n)) for b, n in zip(bases, count[again].tolist(), strict=True)], dtype=pl.String)
        ids = ids.scatter(again, new)
    return ids


def sources_of(pieces: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Path], dict[str, str]]:
    """What pieces are read from, by its name in the key: files, and the identities of what is no file.

    Files of one name may lie in several folders: the second is `source:name~2`.
    """
    files: dict[str, Path] = {}
    identities: dict[str, str] = {}
    seen: dict[str, dict[str, str]] = {}  # name -> what bears it -> its name in the key
    for piece in pieces:
        source, file, identity = str(piece.get("source", "")), piece.get("file"), str(piece.get("identity"))
        name, what = (f"{source}:{Path(str(file)).name}", str(file)) if file else (source, identity)
        same = seen.setdefault(name, {})
        if what in same:
            continue  # a further piece of it
        same[what] = f"{name}~{len(same) + 1}" if same else name
        if file:
            files[same[what]] = Path(what)
        else:
            identities[same[what]] = identity
    return files, identities
