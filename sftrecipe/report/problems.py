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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sftrecipe.errors import Problem, Span

__all__ = ["as_github", "as_json", "render", "render_all"]


def render(problem: Problem, lines: list[str] | None = None) -> str:
    """One problem as text, without colour."""
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
            if problem.code == "R129":  # a secret in a recipe must not travel on to a log
                line = line[: span.column - 1] + "*" * (span.end - span.column) + line[span.end - 1 :]
            text += [
                f"{pad} |",
                f"{number} | {_printable(line)}",
                f"{pad} | {_caret(span, line)} {problem.note}".rstrip(),
            ]
    if problem.help:
        text.append(f"{pad} = help: {problem.help}")
    return "\n".join(text)


def render_all(problems: Iterable[Problem]) -> str:
    """All problems, a blank line between, and their number."""
    found = list(problems)
    errors = sum(p.severity == "error" for p in found)
    warnings = len(found) - errors
    parts = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    return "\n\n".join(render(p) for p in found) + (f"\n\n{', '.join(parts)}" if parts else "")


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


def _caret(span: Span, line: str) -> str:
    end = span.end if span.end > span.column else span.column + 1
    width = max(1, min(end, len(line) + 1) - span.column)
    return " " * (span.column - 1) + "^" * width


def _printable(line: str) -> str:
    """Control characters must not reach a terminal; a tab is one column wide, as the caret counts."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        return []
