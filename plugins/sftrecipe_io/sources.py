"""From the parameters of `load.auto` to the sources and files that they name. No row is read here.

Formats by suffix: jsonl (.jsonl .ndjson), json (.json: a list of rows; one that starts with an object is read as
jsonl), csv, tsv, parquet; the text formats also as .gz and .zst.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftrecipe import StepError
from sftrecipe.errors import did_you_mean
from sftrecipe.types import Type, parse_type
from sftrecipe_io.licences import spdx

__all__ = ["FORMATS", "HUB", "SCHEMA_NAMES", "SOURCE_KEYS", "Source", "files_of", "format_of", "resolve"]

HUB = "hf://"
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")
SCHEMA_NAMES = ("auto", "messages", "openai", "sharegpt", "alpaca", "prompt_completion", "problem", "text")
SOURCE_KEYS = ("path", "schema", "format", "license", "columns", "set", "id", "revision", "split", "config")
_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_PACKED = {".gz": "gz", ".zst": "zst"}
_ABOUT = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "croissant.json",
    "manifest.json",  # and NAME.manifest.json, beside a written file
)


@dataclass(frozen=True)
class Source:
    """One entry of `sources`, with the defaults beside it. `name` is None where each file names itself."""

    name: str | None
    paths: Sequence[str]
    schema: str = "auto"
    format: str | None = None
    license: str | None = None
    columns: Mapping[str, tuple[str, Type]] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    revision: str | None = None
    split: str | None = None
    config: str | None = None


def resolve(params: Mapping[str, Any]) -> list[Source]:
    """The sources that the parameters name, in their order. Raises ValueError with what is wrong, in words."""
    base = {key: params.get(key) for key in SOURCE_KEYS}
    if not params.get("sources"):
        return [_source(params.get("source"), base)]
    found = []
    for name, own in params["sources"].items():
        entry = own if isinstance(own, Mapping) else {"path": own}
        for key in entry:
            if key not in SOURCE_KEYS:
                raise ValueError(f"source `{name}` has no key `{key}` {did_you_mean(str(key), SOURCE_KEYS)}".rstrip())
        merged = {**base, **{key: value for key, value in entry.items() if value is not None}}
        found.append(_source(str(name), merged))
    return found


def _source(name: str | None, given: Mapping[str, Any]) -> Source:
    where = f"source `{name}`: " if name else ""
    path = given.get("path")
    paths = [path] if isinstance(path, str) else list(path or ())
    if not paths or not all(isinstance(p, str) and p for p in paths):
        raise ValueError(f"{where}no `path`: give a file, a folder, a pattern or hf://owner/name")
    for key, known in (("schema", SCHEMA_NAMES), ("format", FORMATS)):
        if given.get(key) is not None and given[key] not in known:
            near = did_you_mean(str(given[key]), known)
            raise ValueError(f"{where}no {key} `{given[key]}`; there are {', '.join(known)} {near}".rstrip())
    return Source(
        name=name,
        paths=paths,
        schema={"openai": "messages"}.get(given.get("schema") or "auto", given.get("schema") or "auto"),
        format=given.get("format"),
        license=None if given.get("license") is None else spdx(str(given["license"])),
        columns={str(k): _column(str(k), v, where) for k, v in (given.get("columns") or {}).items()},
        set=given.get("set") or {},
        **{key: given.get(key) for key in ("id", "revision", "split", "config")},
    )


def _column(name: str, given: Any, where: str) -> tuple[str, Type]:
    if isinstance(given, str):
        return given, Type("text")
    if not isinstance(given, Mapping) or set(given) - {"key", "type"}:
        raise ValueError(f"{where}column `{name}`: give a source key, or {{key: ..., type: ...}}")
    try:
        kind = parse_type(str(given.get("type", "text")))
    except ValueError as error:
        raise ValueError(f"{where}column `{name}`: {error}") from error
    if kind.kind == "messages":
        raise ValueError(f"{where}column `{name}`: a conversation is loaded by `schema`, not as a column")
    return str(given.get("key", name)), kind


def format_of(path: str, given: str | None) -> tuple[str, str]:
    """(format, compression) of a file, by its name unless `given`. Raises StepError R614 for unknown suffixes."""
    stem, packed = os.path.splitext(path)
    compression = _PACKED.get(packed.lower(), "")
    suffix = os.path.splitext(stem)[1] if compression else packed
    format_ = given or _SUFFIX.get(suffix.lower())
    if format_ is None:
        advice = f"known suffixes: {', '.join(_SUFFIX)}, also with .gz or .zst; else give `format:`"
        raise StepError(f"{path}: no format has the suffix `{suffix}`", code="R614", help=advice)
    if format_ == "parquet" and compression:
        raise StepError(f"{path}: Parquet is compressed inside; {packed} is not read", code="R614")
    return format_, compression


def files_of(source: Source) -> list[str]:
    """The files that a source's local paths name: patterns and folders sorted by name, lists in their order.

    Raises StepError R614 where a path names nothing, or one file is named twice.
    """
    found: list[str] = []
    for path in source.paths:
        if not path.startswith(HUB):
            found += _matches(path, source.format)
    twice = (
        next((file for at, file in enumerate(found) if file in found[:at]), None)
        if len(set(found)) < len(found)
        else None
    )
    if twice:
        raise StepError(
            f"{twice} is named twice by one source",
            code="R614",
            help="to repeat rows, use `mix: {parts: {name: {repeat: 2}}}`",
        )
    return found


def _matches(path: str, format_: str | None) -> list[str]:
    if os.path.isdir(path):
        return _in_folder(path, format_)
    if os.path.exists(path):
        return [path]
    if glob.has_magic(path):
        files = [match for match in glob.glob(path, recursive=True) if os.path.isfile(match)]
        if files:
            return sorted(files, key=_order)
    raise _nothing(path)


def _order(path: str) -> list[str]:
    return Path(path).as_posix().split("/")


def _in_folder(folder: str, format_: str | None) -> list[str]:
    """Data files below a folder, of one format. Hidden files, and JSON that describes a data set, are no data."""
    found: dict[str, list[str]] = {}
    for root, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "_")))
        for name in names:
            kind = _kind(name)
            if kind and not name.startswith((".", "_")) and not name.endswith(_ABOUT):
                found.setdefault(kind, []).append(os.path.join(root, name))
    if format_:
        found = {format_: found.get(format_, [])}
    if len(found) > 1:
        what = ", ".join(f"{len(files)} {kind}" for kind, files in sorted(found.items()))
        raise StepError(
            f"{folder} holds files of several formats ({what})", code="R614", help="give `format:`, or a pattern"
        )
    files = [file for group in found.values() for file in group]
    if not files:
        raise StepError(
            f"{folder} holds no data files",
            code="R614",
            help=f"known suffixes: {', '.join(_SUFFIX)}, also with .gz or .zst",
        )
    return sorted(files, key=_order)


def _kind(name: str) -> str | None:
    stem, last = os.path.splitext(name)
    return _SUFFIX.get((os.path.splitext(stem)[1] if last.lower() in _PACKED else last).lower())


def _nothing(path: str) -> StepError:
    """No file: which one is meant, perhaps, among those of the folder."""
    folder, name = os.path.split(path)
    while glob.has_magic(folder):
        folder, name = os.path.split(folder)
    if not os.path.isdir(folder or "."):
        above, missing = os.path.split(folder)
        near = did_you_mean(missing, _names(above))
        return StepError(f"`{path}` matches nothing: there is no folder {folder}", code="R614", help=near)
    names = _names(folder)
    near = did_you_mean(name, names) or (
        f"{folder or '.'} holds {', '.join(names[:8])}" if names else "the folder is empty"
    )
    return StepError(f"`{path}` matches no file", code="R614", help=near)


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder or ".")) if os.path.isdir(folder or ".") else []
