"""What PyYAML's errors mean, in words for people who write recipes.

YAML's own messages name its grammar ("did not find expected key"). What went wrong is mostly an expression that YAML
cut in two, a quote, a tab or an indentation, and the source line shows which. `explain` looks at both. The libyaml and
the Python parser word their errors differently; only words that both use are looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import yaml

from sftrecipe.errors import Problem, Span

__all__ = ["cut_at", "explain", "is_open", "joined_by_comma"]

_QUOTE_IT = "quote the whole value, or put it on its own line: `key: >-` and the text below, indented"
_SIGNS = {
    "*": "names an alias", "&": "names an anchor", "!": "begins a tag", "%": "is reserved", "@": "is reserved", "`":
    "is reserved", "|": "begins a block of lines", ">": "begins a block of lines", "-": "begins a list item", "]":
    "ends a list", "}": "ends a mapping", ",": "separates entries",
}  # fmt: skip
_KEY = re.compile(r"\s*(?:- +)*(?:[^\s:#'\"\[\]{},]+|\"[^\"]*\"|'[^']*'):(?= |$)")
_BARE = re.compile(r"\s*(?:- +)*([a-z_]+(?:\.[a-z0-9_]+)*)\s*(?:#.*)?")
_TOKEN = re.compile(r"\"(?:[^\"\\]|\\.)*\"|(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)'|[()\[\]\"]")
_TRAILING = re.compile(r"(?:[-+*/%<>=,(]|\b(?:and|or|not|in|if|else))\s*$")


def explain(error: yaml.YAMLError, lines: list[str], file: str) -> Problem:
    """The problem behind an exception of PyYAML."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem("R004", f"not YAML: {error}", Span(file, 1, 1, 2))
    return _Reader(error, mark, lines, file).explain()


class _Reader:
    """One error, its words and its line."""

    def __init__(self, error: yaml.YAMLError, mark: yaml.Mark, lines: list[str], file: str) -> None:
        self.what: str = getattr(error, "problem", None) or ""
        self.during: str = getattr(error, "context", None) or ""
        self.began: yaml.Mark | None = getattr(error, "context_mark", None)
        self.lines, self.file = lines, file
        self.row, self.column = min(mark.line, len(lines) - 1), mark.column
        self.line = lines[self.row]

    def explain(self) -> Problem:
        for look in (self._tab, self._quote, self._colon, self._flow, self._sign, self._after, self._shape):
            if found := look():
                return found
        advice = "compare the indentation with the lines above, and quote text that holds YAML's signs"
        return self._problem("R004", "this cannot be read as YAML", self.row, self.column, 1, advice)

    def _tab(self) -> Problem | None:
        # only a tab in front of the line's first character is an indentation
        lead = len(self.line) - len(self.line.lstrip())
        tab = self.line.find("\t", 0, lead)
        if tab < 0 or "quoted scalar" in self.during:
            return None
        return self._problem("R005", "a tab cannot indent in YAML", self.row, tab, 1, "use spaces, two for each level")

    def _quote(self) -> Problem | None:
        if "quoted scalar" not in self.during or self.began is None:
            return None
        if "end of stream" in self.what or "document" in self.what:
            sign = self.lines[self.began.line][self.began.column : self.began.column + 1]
            message = f"the quote {sign} that opens here is never closed"
            return self._problem("R020", message, self.began.line, self.began.column, 1, f"close it with {sign}")
        if "Unicode" in self.what:
            at = self.line.rfind("\\", 0, self.column + 1)
            message = "half of a surrogate pair is no character"
            return self._problem(
                "R022", message, self.row, at, 6, r"write the character itself, or \U and its eight digits"
            )
        if "escape" in self.what or "hex" in self.what:
            at = self.line.rfind("\\", 0, self.column + 1)
            shown = self.line[at : at + 2]
            advice = f"write \\{shown} for a backslash, or use single quotes, which know no escapes"
            return self._problem("R022", f"`{shown}` is no escape that YAML knows", self.row, at, 2, advice)
        return None

    def _colon(self) -> Problem | None:
        if "mapping values are not allowed" not in self.what:
            return None
        key = _KEY.match(self.line)
        if key and key.end() <= self.column:
            message = "a colon followed by a space ended this value"
            return self._problem("R016", message, self.row, self.column, 1, _QUOTE_IT)
        glued = re.match(r"\s*(?:- +)*([\w.]+):\S", self.lines[self.row - 1]) if self.row else None
        if glued:
            at = glued.end(1)
            return self._problem(
                "R004", "a space is missing after the colon", self.row - 1, at, 1, "write `key: value`"
            )
        if self.row and (bare := self._bare(self.row - 1)):
            return bare
        at = len(self.line) - len(self.line.lstrip())
        advice = "line keys of one mapping up with each other, and leave a space after each colon"
        return self._problem("R004", "this key is not in line with those above", self.row, at, self.column - at, advice)

    def _flow(self) -> Problem | None:
        if self.during not in ("while parsing a flow mapping", "while parsing a flow sequence") or self.began is None:
            return None
        before = self.line[: self.column].rstrip()
        char = self.line[self.column : self.column + 1]
        item = self.row != self.began.line and self.line.lstrip().startswith(
            "- "
        )  # the next step: what was open before it?
        if self._value()[:1] in _SIGNS and not item:
            return None
        if before and before[-1] not in ",[{" and char and char != ":":
            message = "inside {...} or [...] this expression ended early"
            advice = "quote the whole expression, or put it on its own line"
            return self._problem("R019", message, self.row, self.column, 1, advice)
        if self.row == self.began.line and char == ":":
            advice = "separate entries by commas, and quote text that holds a colon"
            return self._problem("R004", "a comma is missing before this entry", self.row, self.column, 1, advice)
        opening = self.lines[self.began.line]
        opened = opening[self.began.column]
        closing = {"{": "}", "[": "]"}.get(opened, "")
        comment = re.compile(r"\s#").search(opening, self.began.column)
        if comment and closing in opening[comment.end() :]:
            at, width = comment.end() - 1, len(opening.rstrip()) - comment.end() + 1
            message = "` #` begins a comment in YAML, and what closes {...} or [...] is in it"
            return self._problem("R017", message, self.began.line, at, width, _QUOTE_IT)
        message = f"the `{opened}` that opens here is never closed"
        return self._problem("R020", message, self.began.line, self.began.column, 1, f"close it with `{closing}`")

    def _sign(self) -> Problem | None:
        value = self._value()
        sign = value[:1]
        if sign not in _SIGNS or "incompatible" in self.what:
            return None
        shown = "a backtick" if sign == "`" else f"`{sign}`"
        message = f"{shown} at the start of a value {_SIGNS[sign]} in YAML"
        return self._problem("R018", message, self.row, self._value_column(), 1, _QUOTE_IT)

    def _after(self) -> Problem | None:
        start = self._value_column()
        if self.line[start : start + 1] not in ('"', "'", "[", "{") or self.column <= start:
            return None
        width = max(1, len(self.line.rstrip()) - self.column)
        message = "text follows a value that ended with its quote or bracket"
        return self._problem("R021", message, self.row, self.column, width, _QUOTE_IT)

    def _shape(self) -> Problem | None:
        if "nesting depth" in self.what:  # libyaml's own limit, far above that of recipes
            message = "nested far too deep"
            return self._problem("R011", message, self.row, self.column, 1, "a recipe needs about six levels")
        block = self.during in ("while parsing a block mapping", "while parsing a block collection")
        row = self.began.line if "expected ':'" in self.what and self.began else self.row
        if (row != self.row or block) and (dash := re.match(r"\s*-(?=[a-z])", self.lines[row])):
            message = "a space is missing after the `-`"
            return self._problem("R004", message, row, dash.end() - 1, 1, "write `- ` before each step")
        if "expected ':'" in self.what and self.began is not None:
            if bare := self._bare(self.began.line):
                return bare
            line = self.lines[self.began.line]
            width = max(1, len(line.rstrip()) - self.began.column)
            advice = "write `key: value`, or indent it below the key it belongs to"
            return self._problem("R004", "this line has no `key:`", self.began.line, self.began.column, width, advice)
        if block:
            glued = re.match(r"\s*(?:- +)*([\w.]+):[\w\[{\"']", self.line)
            if glued:
                at = glued.end(1)
                return self._problem(
                    "R004", "a space is missing after the colon", self.row, at, 1, "write `key: value`"
                )
            at = len(self.line) - len(self.line.lstrip())
            advice = "line it up with its neighbours: keys under keys, `-` under `-`"
            return self._problem(
                "R004", "this line is indented like nothing above it", self.row, at, len(self.line) - at, advice
            )
        if "incompatible" in self.what:
            return self._problem(
                "R004", "this version of YAML does not exist", self.row, 0, len(self.line), "remove the line"
            )
        return None

    def _bare(self, row: int) -> Problem | None:
        """A line with nothing but a word, which would be right if it were alone in its step."""
        word = _BARE.fullmatch(self.lines[row])
        if word is None:
            return None
        message = f"a colon is missing after `{word[1]}`"
        advice = f"write `{word[1]}:`; only an operator that is alone in its step needs none"
        return self._problem("R004", message, row, word.start(1), len(word[1]), advice)

    def _value(self) -> str:
        return self.line[self._value_column() :]

    def _value_column(self) -> int:
        """Where the value that the error is in begins: after the key, or after the last opening or comma in flow
        style.
        """
        if "flow" in self.during or self._in_flow():
            cut = max((self.line.rfind(sign, 0, self.column) for sign in ("{", "[", ", ", ": ")), default=-1)
            start = cut + 1 if cut >= 0 else 0
        else:
            key = _KEY.match(self.line)
            items = re.match(r"\s*(?:- +)*", self.line)
            start = key.end() if key else items.end() if items else 0
        return start + len(self.line[start:]) - len(self.line[start:].lstrip())

    def _in_flow(self) -> bool:
        key = _KEY.match(self.line)
        rest = self.line[key.end() :].lstrip() if key else self.line.lstrip().removeprefix("- ").lstrip()
        return rest[:1] in ("{", "[") and is_open(self.line[: self.column].replace("{", "(").replace("}", ")"))

    def _problem(self, code: str, message: str, row: int, column: int, width: int, help: str) -> Problem:
        return Problem(code, message, Span(self.file, row + 1, column + 1, column + 1 + max(width, 1)), help=help)


def is_open(text: str) -> bool:
    """Whether a bracket or quote of an expression is still open at its end."""
    depth = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token in ("(", "["):
            depth += 1
        elif token in (")", "]"):
            depth -= 1
        elif token in ('"', "'"):
            return True
    return depth > 0


def cut_at(lines: list[str], file: str, line: int, end: int, text: str) -> Problem | None:
    """R017, if a comment begins behind column `end` of `line` and `text`, what stands before it, is not complete."""
    rest = lines[line][end:] if line < len(lines) else ""
    comment = re.match(r"[\s:]*\s(#.*)", rest)
    if not comment or (text and not is_open(text) and not _TRAILING.search(text)):
        return None
    column = end + comment.start(1) + 1
    span = Span(file, line + 1, column, column + len(comment.group(1).rstrip()))
    return Problem("R017", "` #` begins a comment in YAML, and cut this expression", span, help=_QUOTE_IT)


def joined_by_comma(entries: Sequence[tuple[str | None, bool]]) -> Iterator[int]:
    """Indexes of entries of {...} or [...] that are the start of an expression which a comma cut.

    An entry is (its plain text, or None; whether it begins a new `key: value`). An open bracket or quote which the
    entries without a key that follow close again is such a cut.
    """
    for at, (text, _) in enumerate(entries):
        if not text or not is_open(text):
            continue
        whole = text
        for more, begins in entries[at + 1 :]:
            if begins:
                break
            whole += ", " + (more or "")
            if not is_open(whole):
                yield at
                break
