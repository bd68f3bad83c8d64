"""Problems as text: the place, the line, a caret, a cause, advice.

error[R520]: there is no column `complexty` here
  --> recipes/deita.yaml:14:13
   |
14 |   - filter: complexty > 3
   |             ^^^^^^^^^
   = help: did you mean `complexity`?
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sftrecipe.errors import Problem, Span

__all__ = ["MAX_LINE", "as_github", "as_json", "render", "render_all"]

MAX_LINE = 200
"""Of a longer line only so many characters around the place are shown."""


def render(problem: Problem, lines: list[str] | None = None, secrets: Iterable[Span] = ()) -> str:
    """One problem as text, without colour. `secrets` are places whose text is not shown."""
    text = [f"{problem.severity}[{problem.code}]: {problem.message}"]
    span = problem.span
    pad = ""
    if span:
        number = str(span.line)
        pad = " " * len(number)
        text.append(f"{pad}--> {span.file}:{span.line}:{span.column}")
        source = lines if lines is not None else _lines(span.file)
        if 0 < span.line <= len(source):
            line = source[span.line - 1]
            for secret in (*secrets, *([span] if problem.code == "R129" else [])):
                if (secret.file, secret.line) == (span.file, span.line):  # it must not travel on to a log
                    line = line[: secret.column - 1] + "*" * (secret.end - secret.column) + line[secret.end - 1 :]
            shown, caret = _pointed(span, line)
            text += [f"{pad} |", f"{number} | {shown}", f"{pad} | {caret} {problem.note}".rstrip()]
    if problem.help:
        text.append(f"{pad} = help: {problem.help}")
    return "\n".join(text)


def render_all(problems: Iterable[Problem]) -> str:
    """All problems, a blank line between, and their number."""
    found = list(problems)
    errors = sum(p.severity == "error" for p in found)
    warnings = len(found) - errors
    parts = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    secrets = [p.span for p in found if p.code == "R129" and p.span]
    return "\n\n".join(render(p, secrets=secrets) for p in found) + (f"\n\n{', '.join(parts)}" if parts else "")


def as_json(problems: Iterable[Problem]) -> str:
    """A JSON list for tools."""
    return json.dumps([_plain(p) for p in problems], ensure_ascii=False, indent=1)


def as_github(problems: Iterable[Problem]) -> str:
    """Annotations for GitHub Actions."""
    out = []
    for p in problems:
        file = _escaped(p.span.file).replace(":", "%3A").replace(",", "%2C") if p.span else ""
        place = f" file={file},line={p.span.line},col={p.span.column}" if p.span else ""
        text = f"[{p.code}] {p.message}" + (f" ({p.help})" if p.help else "")
        out.append(f"::{p.severity}{place}::{_escaped(text)}")
    return "\n".join(out)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _plain(p: Problem) -> dict[str, Any]:
    place = {"file": p.span.file, "line": p.span.line, "column": p.span.column, "end": p.span.end} if p.span else {}
    return {"code": p.code, "severity": p.severity, "message": p.message, "note": p.note, "help": p.help, **place}


def _pointed(span: Span, line: str) -> tuple[str, str]:
    """The line, or what is around the place if it is very long, and the caret below it."""
    start = max(0, min(span.column - 1 - MAX_LINE // 2, len(line) - MAX_LINE))
    window = line[start : start + MAX_LINE]
    lead, trail = "..." * (start > 0), "..." * (start + MAX_LINE < len(line))
    at = min(span.column - 1 - start, len(window))
    end = max(at + 1, span.end - 1 - start)
    caret = " " * (len(lead) + _cells(window[:at])) + "^" * max(1, _cells(window[at:end]))
    return lead + _printable(window) + trail, caret


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    marks = ("Mn", "Me")
    return sum(
        0 if unicodedata.category(c) in marks else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _printable(line: str) -> str:
    """Control characters must not reach a terminal; a tab is one column wide, as the caret counts."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


def _lines(file: str) -> list[str]:
    """A file's lines as YAML counts them: only line feeds and carriage returns end one."""
    try:
        return Path(file).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError, ValueError):
        return []
