"""load.auto: rows from files, folders, patterns and the Hugging Face hub, each with its source and licence."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sftrecipe import BadRow, Flow, Load, Param, StepError
from sftrecipe.lazy import pl
from sftrecipe.rows import DERIVED, FIXED
from sftrecipe.types import Type
from sftrecipe_io.adapters import guess, preferences
from sftrecipe_io.columns import constant_type
from sftrecipe_io.files import changed, list_or_lines, open_piece, row_groups, state, told
from sftrecipe_io.licences import advice
from sftrecipe_io.sources import HUB, Source, files_of, format_of, resolve

if TYPE_CHECKING:
    from sftrecipe_io.decode import Parsed
    from sftrecipe_io.frames import Reading
    from sftrecipe_io.lines import Chunk

__all__ = ["Auto"]

_SAMPLE = 64
_GUESSED = " (guessed)"
_TAKEN = {*FIXED, *DERIVED, "hash"} - {"source", "license"}


class Auto(Load):
    """Rows of any common schema and format; what is wrong is put aside with its place and reason, never repaired.

    Reasons (the word before the colon): `bad_json`, `bad_utf8`, `nul`, `not_finite` (NaN, infinity), `duplicate_key`,
    `lone_surrogate`, `too_deep` (254 levels), `too_long`, `not_object`, `not_json` (dates, bytes), `bad_csv`,
    `wrong_columns`; `wrong_schema`, `no_messages`, `unknown_role`, `bad_content`, `bad_tool_calls`, `bad_tools`,
    `wrong_type`, `missing_id`.

    Errors that stop the run: R610 too many bad rows, R611 no schema or more than one fits, R612 a file changed while
    it was read, R613 a file cannot be read, R614 a path names nothing, R615 the hub cannot be reached, R616 no such
    split.
    """

    version = 1
    heavy = True

    path: str | list[str] | None = Param(
        None, positional=True, doc="Files, folders, patterns (`data/*.jsonl`) or `hf://owner/name[/config]`."
    )
    sources: dict[str, Any] | None = Param(
        None, doc="Name -> path, or name -> {path, schema, ...}; the keys beside `sources` are the defaults of each."
    )
    schema: str = Param(
        "auto",
        choices=("auto", "messages", "openai", "sharegpt", "alpaca", "prompt_completion", "problem", "text"),
        doc="How rows hold their conversation; `auto` decides for each file from its first rows, and says so.",
    )
    format: str | None = Param(
        None, choices=("jsonl", "json", "csv", "tsv", "parquet"), doc="File format, where the suffix does not tell."
    )
    license: str | None = Param(None, doc="SPDX id of every row; without it a row's own `license` is taken.")
    source: str | None = Param(None, doc="Name of the source; without it each file's name, up to the first dot.")  # type: ignore[misc, assignment]
    columns: dict[str, Any] | None = Param(
        None, doc="Column -> source key, or {key, type}: moved out of `extra`. Without a type it is text."
    )
    set: dict[str, Any] | None = Param(None, doc="Column -> constant.")
    id: str | None = Param(None, doc="Source key that holds a row's own id.")
    max_row_bytes: int = Param(16 * 2**20, ge=1024, doc="Longest row of a text format, in bytes.")
    revision: str | None = Param(None, doc="Branch, tag or commit of a hub data set.")
    split: str | None = Param(None, doc="Split of a hub data set; without it the only one, or `train`.")
    config: str | None = Param(None, doc="Configuration of a hub data set.")

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._facts: dict[str, Any] = {}
        self._warned: Counter[str] = Counter()

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The fixed columns, and the typed ones of all sources."""
        return Flow((), {**FIXED, **{name: str(kind) for name, kind in _layout(self._sources()).items()}})

    def check(self) -> Iterable[str]:
        """Sources, column names and types."""
        try:
            sources = resolve(self.params)
            _layout(sources)
        except ValueError as error:
            yield str(error)
            return
        for source in sources:
            for name in (*source.columns, *source.set):
                if name in _TAKEN:
                    yield f"`{name}` is a column that every row has; choose another name"
                elif name in source.set and name in ("source", "license"):
                    yield f"`{name}` is no constant column; write `{name}: ...` beside `path`"

    def pieces(self, shard_bytes: int) -> Sequence[Mapping[str, Any]]:
        """Byte ranges of JSONL, row groups of Parquet, row ranges of the hub, else whole files. Guesses schemas."""
        self._facts = {}
        made: list[Mapping[str, Any]] = []
        for at, source in enumerate(self._sources()):
            self._license_known(source)
            for path in source.paths:
                if path.startswith(HUB):
                    made += self._hub_pieces(at, source, path, shard_bytes)
            for file in files_of(source):
                made += self._file_pieces(at, source, file, shard_bytes)
        return made

    def facts(self) -> Mapping[str, Any]:
        """After `pieces`, for each source: files, bytes, formats, schemas (and whether guessed), licence."""
        return self._facts

    def remarks(self) -> Sequence[str]:
        """After `pieces`: the schemas that were guessed."""
        found = [
            f"{name} {' and '.join(words)}"
            for name, fact in self._facts.items()
            if (words := [s.removesuffix(_GUESSED) for s in fact["schema"] if s.endswith(_GUESSED)])
        ]
        more = f" and {len(found) - 12} more (all are in the manifest)" if len(found) > 12 else ""
        return [f"guessed schemas: {', '.join(found[:12])}{more}"] if found else []

    def warnings(self) -> Mapping[str, int]:
        """After reading a piece: what was not as it should be, and how often."""
        return self._warned

    def read(self, piece: Mapping[str, Any]) -> Iterator[pl.DataFrame | BadRow]:
        """Frames of at most 8,192 rows or about 4 MB of text, bad rows between them, at the end the number of lines."""
        from sftrecipe_io.decode import Parsed, decode, quiet_collector
        from sftrecipe_io.frames import frame

        reading = self._reading(piece)
        chunks = self._chunks(piece)
        name = str(piece.get("file") or HUB + str(piece.get("hub")))
        while True:
            with quiet_collector():
                try:
                    chunk = next(chunks)
                except StopIteration as end:
                    count = int(end.value or 0)
                    break
                made: pl.DataFrame | None = None
                bad = [chunk] if isinstance(chunk, BadRow) else []
                if not isinstance(chunk, BadRow):
                    parsed = chunk if isinstance(chunk, Parsed) else decode(chunk)
                    made = frame(parsed, reading)
                    bad = sorted(parsed.bad, key=lambda row: row.line)
                    del parsed, chunk  # while the collector is off, and before the consumer works
            for row in bad:
                row.file = name
                yield row
            if made is not None and made.height:
                yield made
        yield BadRow("", line=count, file=name)

    def _sources(self) -> list[Source]:
        try:
            # attributes, not params: the interpreter has made their paths absolute
            return resolve({name: getattr(self, name) for name in self.params})
        except ValueError as error:
            raise StepError(str(error), code="R614") from error

    def _log(self) -> logging.Logger:
        context = getattr(self, "context", None)
        return context.log if context is not None else logging.getLogger("sftrecipe")

    def _warn(self, text: str, count: int) -> None:
        self._warned[text] += count

    def _license_known(self, source: Source) -> None:
        if source.license and (unknown := advice(source.license)):
            self._log().warning("licence of %s: %s", source.name or ", ".join(source.paths), unknown)

    def _note(self, source: str, entry: Source, schema: str, format_: str, size: int, *, guessed: bool) -> None:
        """One more file or data set for `facts`."""
        fact = self._facts.setdefault(
            source, {"files": 0, "bytes": 0, "format": [], "schema": [], "license": entry.license}
        )
        fact["files"] += 1
        fact["bytes"] += size
        for key, word in (("format", format_), ("schema", schema + _GUESSED if guessed else schema)):
            if word not in fact[key]:
                fact[key].append(word)

    def _file_pieces(self, at: int, source: Source, file: str, shard_bytes: int) -> Iterator[Mapping[str, Any]]:
        format_, packed = format_of(file, source.format)
        with told(file):
            if format_ == "json":
                format_ = list_or_lines(file, packed)
            size = os.stat(file).st_size
            sample = self._sample(file, format_, packed) if source.schema == "auto" else []
        schema = source.schema if source.schema != "auto" else self._guess(sample, file)
        name = source.name or os.path.basename(file).split(".")[0]
        guessed = bool(sample)  # of an empty file nothing is guessed
        self._note(name, source, schema, format_ + (f".{packed}" if packed else ""), size, guessed=guessed)
        piece = {
            "file": file,
            "source": name,
            "entry": at,
            "format": format_,
            "packed": packed,
            "schema": schema,
            "size": size,
        }
        if format_ == "jsonl" and not packed:
            for start in range(0, max(size, 1), max(shard_bytes, 1)):
                yield {**piece, "start": start, "stop": min(start + shard_bytes, size)}
        elif format_ == "parquet":
            yield from ({**piece, "groups": groups} for groups in row_groups(file, shard_bytes))
        else:
            yield piece

    def _hub_pieces(self, at: int, source: Source, path: str, shard_bytes: int) -> Iterator[Mapping[str, Any]]:
        from sftrecipe_io.hub import hub_pieces

        found, data = hub_pieces(path, source, shard_bytes)
        schema = source.schema
        if schema == "auto":
            schema = self._guess(list(data.select(range(min(_SAMPLE, len(data))))), path)
        name = source.name or found[0]["hub"].split("/")[1]
        guessed = source.schema == "auto" and len(data) > 0
        self._note(name, source, schema, "hub", int(data.data.nbytes), guessed=guessed)
        for piece in found:
            yield {**piece, "source": name, "entry": at, "schema": schema}

    def _guess(self, sample: Sequence[Any], place: str) -> str:
        if not sample:
            return "messages"  # an empty file: no row will ask
        schema = guess(sample, place)
        self._log().info("%s: schema %s (guessed from %d rows)", place, schema, len(sample))
        if preferences(sample):
            told = "%s: rows hold `chosen` and `rejected`: they are left in `extra`, no answer is taken from them"
            self._log().warning(told, place)
        return schema

    def _sample(self, file: str, format_: str, packed: str) -> list[Any]:
        """The first rows that can be read. Raises StepError R611 where there are rows and none can."""
        from sftrecipe_io.decode import Parsed, decode

        bad: list[BadRow] = []
        piece = {"file": file, "format": format_, "packed": packed, "groups": [0], "start": 0, "stop": None}
        for chunk in islice(open_piece(piece, self.max_row_bytes, _nobody), 1000):
            if isinstance(chunk, BadRow):
                bad.append(chunk)
                continue
            parsed = chunk if isinstance(chunk, Parsed) else decode(_head(chunk))
            if parsed.rows:
                return parsed.rows[:_SAMPLE]
            bad += parsed.bad
        if bad:
            what = f"{file}: none of the first rows can be read ({bad[0].reason})"
            raise StepError(what, code="R611", help="say `schema:` to have them all quarantined")
        return []

    def _reading(self, piece: Mapping[str, Any]) -> Reading:
        from sftrecipe_io.frames import Reading

        sources = self._sources()
        source = sources[int(piece["entry"])]
        return Reading(
            source=str(piece["source"]),
            license=source.license,
            schema=str(piece["schema"]),
            id=source.id,
            columns=source.columns,
            constants=source.set,
            layout=_layout(sources),
            cells=piece.get("format") in ("csv", "tsv"),
            warn=self._warn,
        )

    def _chunks(self, piece: Mapping[str, Any]) -> Generator[Chunk | Parsed | BadRow, None, int]:
        """What a piece holds, with a look at whether its file stays the same meanwhile."""
        if "hub" in piece:
            from sftrecipe_io.hub import read_hub

            return (yield from read_hub(piece, self._warn))
        file = str(piece["file"])
        with told(file):
            before = state(file)
            if before[0] != piece["size"]:
                raise changed(file)
            count = yield from open_piece(piece, self.max_row_bytes, self._warn)
            if state(file) != before:
                raise changed(file)
        return count


def _layout(sources: Sequence[Source]) -> dict[str, Type]:
    """Every typed column of the load, by the order of the sources. Raises ValueError where two differ about one."""
    found: dict[str, Type] = {}
    for source in sources:
        own = {name: kind for name, (_, kind) in source.columns.items()}
        own |= {name: constant_type(value) for name, value in source.set.items()}
        for name, kind in own.items():
            if found.setdefault(name, kind) != kind:
                raise ValueError(f"column `{name}` is {found[name]} in one source and {kind} in another")
    return {name: kind for name, kind in found.items() if name not in ("source", "license")}


def _nobody(text: str, count: int) -> None:
    """For a look at the first rows: what is odd in them is told when they are read."""


def _head(chunk: Chunk) -> Chunk:
    """The first texts of a chunk."""
    from sftrecipe_io.lines import joined

    return joined(chunk.texts[:_SAMPLE], chunk.lines[:_SAMPLE].tolist(), chunk.offsets[:_SAMPLE].tolist())
