"""write.auto: rows to a file, to a folder in Hugging Face layout, or to one of these for each value of a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from sftrecipe import Flow, Param, StepError, Write
from sftrecipe.errors import did_you_mean
from sftrecipe.lazy import pl
from sftrecipe.rows import DERIVED, FIXED
from sftrecipe.types import parse_type

if TYPE_CHECKING:
    from sftrecipe import Dataset
    from sftrecipe_io.places import Place

__all__ = ["Auto", "Target"]

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_PACKED = {".gz": "gz", ".zst": "zst"}
_JSON = tuple(name for name, kind in FIXED.items() if kind == "json")
_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Target:
    """Where files go below the folder that `write` is given. `relative` may hold {columns}; "" is that folder."""

    root: str
    relative: str
    format: str
    packed: str
    whole: bool

    @property
    def by(self) -> list[str]:
        """The columns named in braces."""
        return list(dict.fromkeys(_BRACES.findall(self.relative)))

    def place(self, values: Mapping[str, Any]) -> str:
        """`relative` with the values of one group."""
        return _BRACES.sub(lambda match: _as_name(match.group(1), values[match.group(1)]), self.relative)


class Auto(Write):
    """Files by suffix (`.jsonl .json .csv .tsv .parquet`, all but the last also .gz, .zst), or a folder that
    `datasets` loads.

    `{column}` in the path writes one file or folder for each value. Rows stand in their order; the bytes depend on
    the rows alone. Below the folder that `write` is given, files lie at their place after the first part of `path`
    that holds braces; a file without braces lies there under its own name, and a folder without braces is that
    folder.

    Errors: R670 no JSON in a JSON column, R671 a nested column in CSV, R672 a value that can name no file, R673 no
    such column.
    """

    version = 1

    path: str = Param(positional=True, doc="`out/x.jsonl`, `out/folder`, `out/{stage}.parquet`.")
    columns: list[str] | None = Param(
        None, doc="Columns to write, in this order. Default: what `format` made, with id, source and license; else all."
    )
    format: str | None = Param(
        None,
        choices=("jsonl", "json", "csv", "tsv", "parquet"),
        doc="Where the suffix does not tell; of a folder's files: parquet.",
    )
    shard_rows: int = Param(100_000, ge=1, doc="Most rows in a file of a folder.")

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The columns that are named, here or in braces."""
        return Flow(tuple(dict.fromkeys([*(self.columns or ()), *_BRACES.findall(self.path)])))

    def check(self) -> Iterable[str]:
        """The suffix, and the braces."""
        packed, suffix = _suffixes(self.path)
        word = suffix or packed
        if suffix.lower() not in _FORMATS and (packed or re.fullmatch(r"\.[A-Za-z]{2,7}[0-9]?", word)):
            near = did_you_mean(word, _FORMATS)
            yield f"no format has the suffix `{word}`; there are {', '.join(_FORMATS)} {near}".rstrip()
        if self.format and _FORMATS.get(suffix.lower(), self.format) != self.format:
            yield f"`path` says {suffix}, `format` says {self.format}"
        if packed and suffix.lower() == ".parquet":
            yield f"Parquet is compressed inside: write {self.path.removesuffix(packed)}"
        if "{" in _BRACES.sub("", self.path) or "}" in _BRACES.sub("", self.path):
            yield f"braces in `{self.path}` name columns: {{stage}}"

    def target(self) -> Target:
        """Where the files go."""
        path = PurePath(self.path)
        packed, suffix = _suffixes(self.path)
        found = _FORMATS.get(suffix.lower())
        first = next((at for at, part in enumerate(path.parts) if _BRACES.search(part)), None)
        cut = first if first is not None else len(path.parts) - (1 if found else 0)
        return Target(
            root=str(PurePath(*path.parts[:cut])),
            relative="/".join(path.parts[cut:]),
            format=found or self.format or "parquet",
            packed=_PACKED.get(packed.lower(), ""),
            whole=not found,
        )

    def write(self, data: Dataset, folder: Path) -> Mapping[str, Any]:
        """Writes below `folder`. Facts: rows, files (path, rows, bytes), rows by licence and by source."""
        from sftrecipe_io.outfiles import facts_of
        from sftrecipe_io.survey import survey

        target, names = self.target(), self._names(data)
        self._exist([*names, *target.by], data)
        seen = survey(data, names, target.by, fields=target.format == "parquet")
        kinds = {name: data.columns.get(name, "text") for name in names}
        places = {key: self._place(target, folder, key, counts, kinds) for key, counts in seen.groups()}
        shown: pl.DataFrame | None = None
        for frame in data.frames(*dict.fromkeys([*names, *target.by])):
            for key, part in _parts(frame, target.by):
                rows = part.select(names)
                shown = seen.trimmed(rows) if target.format == "parquet" else rows
                places[key].add(shown)
        if shown is None:
            shown = _empty(names, data)
        written: dict[Path, int] = {}
        for place in places.values():
            written |= place.close(shown)
        return {"rows": len(data), "files": facts_of(folder, written), **_totals(seen.counts)}

    def _place(
        self, target: Target, folder: Path, key: tuple[Any, ...], counts: pl.DataFrame, kinds: dict[str, str]
    ) -> Place:
        """Where the rows of one group go. `kinds`: the columns that are written, and their types as words."""
        from sftrecipe_io.places import FilePlace, FolderPlace, Make

        path = folder / target.place(dict(zip(target.by, key, strict=True)))
        made_of_json = frozenset(name for name, kind in kinds.items() if kind == "json" or name in _JSON)
        make = Make(target.format, target.packed, made_of_json)
        if not target.whole:
            return FilePlace(path, make)
        recipe = str(getattr(getattr(self, "context", None), "recipe", "") or "")
        total = int(counts["rows"].sum())
        name = path.name if target.by else PurePath(self.path).name

        def about(pattern: str) -> str:
            from sftrecipe_io.card import card

            return card(name, rows=total, columns=kinds, counts=_listed(counts), files=pattern, recipe=bool(recipe))

        return FolderPlace(path, make, total, self.shard_rows, recipe, about)

    def _names(self, data: Dataset) -> list[str]:
        """Which columns are written, in order."""
        if self.columns:
            return list(self.columns)
        formatted = tuple(getattr(getattr(self, "context", None), "formatted", ()) or ())
        there = data.columns
        return (
            [n for n in dict.fromkeys(("id", *formatted, "source", "license")) if n in there]
            if formatted
            else sorted(there, key=lambda name: name != "id")
        )

    def _exist(self, names: Sequence[str], data: Dataset) -> None:
        for name in names:
            if name not in data.columns and name not in DERIVED:
                near = did_you_mean(name, data.columns)
                what = f"there is no column `{name}` to write; there are {', '.join(data.columns)}"
                raise StepError(what, code="R673", help=near)


def _suffixes(path: str) -> tuple[str, str]:
    """(suffix of packing or "", suffix of the format or ""), as they are written."""
    last = PurePath(path).suffix
    return (last, PurePath(PurePath(path).stem).suffix) if last.lower() in _PACKED else ("", last)


def _parts(frame: pl.DataFrame, by: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """The frame, or its rows for each combination of values, in their order."""
    if not by:
        yield (), frame
    elif frame.height:
        yield from frame.partition_by(list(by), as_dict=True, maintain_order=True).items()


def _empty(names: Sequence[str], data: Dataset) -> pl.DataFrame:
    """A frame without rows, by the types that the data says."""
    return pl.DataFrame(schema={name: parse_type(data.columns.get(name, "text")).dtype() for name in names})


def _as_name(column: str, value: Any) -> str:
    """A value as (part of) a file's name. Raises StepError R672."""
    text = "" if value is None else str(value)
    if not text or text in (".", "..") or re.search(r'[/\\:*?"<>|\x00-\x1f]', text):
        what = f"column `{column}` holds {'null' if value is None else repr(text)}, which can name no file"
        raise StepError(what, code="R672", help="give such rows another value, or filter them, before the write")
    return text


def _listed(counts: pl.DataFrame) -> list[tuple[str, str | None, int]]:
    """(source, licence, rows), most rows first."""
    if not {"source", "license"} <= set(counts.columns):
        return []
    found: dict[tuple[str, str | None], int] = {}
    for row in counts.iter_rows(named=True):
        key = (row["source"] or "not stated", row["license"])
        found[key] = found.get(key, 0) + row["rows"]
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [(source, license_, rows) for (source, license_), rows in ordered]


def _totals(counts: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows by licence and by source; rows without one under `NOASSERTION`."""
    out: dict[str, dict[str, int]] = {}
    for label, column in (("licenses", "license"), ("sources", "source")):
        if column in counts.columns:
            sums = counts.select(column, "rows").group_by(column).sum().iter_rows()
            out[label] = {name or "NOASSERTION": rows for name, rows in sorted(sums, key=lambda item: str(item[0]))}
    return out
