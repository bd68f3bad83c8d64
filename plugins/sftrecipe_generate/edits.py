"""What goes out to people who rewrite answers, and what comes back: JSON lines or CSV, by the file's name.

A line holds `id` (the row's), `base` (16 hexadecimal digits of the texts it was made from), `batch` (digits of all ids
that were given with it), `context` (earlier turns), `query`, `response`, and empty `status` and `comment`. People edit
`response` and `status`, or delete lines.

CSV is for spreadsheets: UTF-8 with a byte order mark, and a text that a spreadsheet would run (= + - @, tab) gets an
apostrophe in front, which is taken off again. Without I/O but for `read_edits` and `given_bytes`' callers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftrecipe import StepError

__all__ = [
    "FIELDS",
    "STATUSES",
    "Edit",
    "base_of",
    "batch_of",
    "context_of",
    "given_bytes",
    "read_edits",
    "same_text",
    "status_of",
]

FIELDS = ("id", "base", "batch", "context", "query", "response", "status", "comment")
STATUSES = ("accepted", "edited", "rejected")
RISKY = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class Edit:
    """What came back for one row."""

    id: str
    base: str
    batch: str
    query: str | None
    response: str
    status: str
    line: int


def base_of(messages: Sequence[Mapping[str, Any]] | None) -> str:
    """16 hexadecimal digits of a conversation's roles and texts: what an edit was made from."""
    parts = [f"{m['role']}\x1f{m.get('content') or ''}" for m in messages or ()]
    return hashlib.sha256("\x1e".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def batch_of(ids: Iterable[str]) -> str:
    """16 hexadecimal digits of a set of ids."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def context_of(messages: Sequence[Mapping[str, Any]] | None) -> str:
    """The turns before the last question, as text for people."""
    turns = list(messages or ())
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    return "\n\n".join(f"{m['role']}: {m.get('content') or ''}" for m in turns[:-1])


def status_of(edit: Edit, response: str | None) -> str:
    """accepted, edited or rejected: as people say, or else by what they did with the text (empty: rejected)."""
    if edit.status == "rejected" or not edit.response.strip():
        return "rejected"
    return "accepted" if same_text(edit.response, response) else "edited"


def same_text(one: str | None, other: str | None) -> bool:
    """Whether two texts are equal but for how their lines end: spreadsheets and editors change that of their own
    accord.
    """
    return (one or "").replace("\r\n", "\n").rstrip() == (other or "").replace("\r\n", "\n").rstrip()


def given_bytes(rows: Sequence[Mapping[str, Any]], suffix: str) -> bytes:
    """The file for people."""
    if suffix == ".csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(FIELDS)
        writer.writerows([_guarded(str(r.get(f) or "")) for f in FIELDS] for r in rows)
        return out.getvalue().encode("utf-8-sig", "surrogatepass")
    lines = [json.dumps({f: r.get(f) or "" for f in FIELDS}, ensure_ascii=False) + "\n" for r in rows]
    return "".join(lines).encode("utf-8", "surrogatepass")


def read_edits(path: Path) -> dict[str, Edit]:
    """What came back, by row id. Raises StepError that names a line that cannot be read, or an id that stands twice."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StepError(f"cannot read {path}: {error}", code="R645", help="save it as UTF-8") from error
    found: dict[str, Edit] = {}
    for line, record in _csv(text, path) if path.suffix == ".csv" else _json_lines(text, path):
        edit = _edit(record, line, path)
        if edit.id in found:
            raise StepError(f"{path}:{line}: row {edit.id} stands in line {found[edit.id].line} too", code="R645")
        found[edit.id] = edit
    return found


def _json_lines(text: str, path: Path) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise StepError(f"{path}:{number}: not JSON: {error}", code="R645") from error


def _csv(text: str, path: Path) -> Iterable[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for record in reader:
            yield reader.line_num, {k: _bare(v) for k, v in record.items() if k and isinstance(v, str)}
    except csv.Error as error:
        raise StepError(f"{path}:{reader.line_num}: not CSV: {error}", code="R645") from error


def _edit(record: Any, line: int, path: Path) -> Edit:
    if not isinstance(record, dict) or not record.get("id") or "response" not in record:
        raise StepError(
            f"{path}:{line}: a line needs `id` and `response`", code="R645", help="keep the columns of the file given"
        )
    status = str(record.get("status") or "").strip().casefold()
    if status not in ("", *STATUSES):
        raise StepError(
            f"{path}:{line}: status `{status}` is unknown", code="R645", help=f"one of {', '.join(STATUSES)}, or empty"
        )
    query = record.get("query")
    return Edit(
        str(record["id"]), str(record.get("base") or ""), str(record.get("batch") or ""),
        None if query is None else str(query), str(record["response"] or ""), status, line,
    )  # fmt: skip


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(RISKY) else text


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(RISKY) else text
