"""filter.patterns and tag.patterns: phrases that should not be in an answer, in named packs or words of one's own.

A pack is a file in `packs/`: regular expressions (Rust's syntax, case ignored, `\\b` between ASCII words), slots
`{name}` for lists of names, examples that each expression must hit, texts that none may hit (both are tests), the
literals of which a hit holds one (`needs`, a fast first look), and perhaps how far into a text to look (`within`).
Packs that ship: identity, refusal, cutoff, disclaimer.

Every message of the assistant is looked at, as all of them are trained on: `text: response` is the last one only.

A phrase pack is a net with holes: it finds how machines usually say a thing, in English and Chinese. Cost: 1 to 4
microseconds for 1 kB a pack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from sftrecipe import Expr, Filter, Flow, Into, Param, Tag
from sftrecipe.errors import did_you_mean
from sftrecipe.lazy import np, pl
from sftrecipe_clean.texts import mask_of, role_texts, text_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from sftrecipe.operators import Operator
    from sftrecipe.rows import Rows

    Bools = npt.NDArray[np.bool_]

__all__ = ["Pack", "Patterns", "TagPatterns", "hits", "load_pack", "own_pack", "pack_names"]


@dataclass(frozen=True)
class Pack:
    """Compiled patterns. `needs`: lower-case literals of which every hit holds one; empty: look at all texts."""

    name: str
    regex: str
    needs: tuple[str, ...] = ()
    within: int | None = None
    version: int = 1


def pack_names() -> list[str]:
    """The packs that ship."""
    return sorted(
        f.name.removesuffix(".yaml") for f in files("sftrecipe_clean.packs").iterdir() if f.name.endswith(".yaml")
    )


@cache
def load_pack(name: str) -> Pack:
    """A pack that ships. Raises KeyError for an unknown name."""
    import yaml

    if name not in pack_names():
        raise KeyError(name)
    text = files("sftrecipe_clean.packs").joinpath(f"{name}.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    regex = _any(compile_pattern(p["regex"], content.get("names", {})) for p in content["patterns"])
    return Pack(content["pack"], regex, tuple(content["needs"]), content.get("within"), content["version"])


def own_pack(name: str, words: Sequence[str] = (), regex: Sequence[str] = ()) -> Pack:
    """A pack of literal words (case ignored) or regular expressions (as written)."""
    return Pack(name, _any([f"(?i:{re.escape(word)})" for word in words] + list(regex)))


def compile_pattern(pattern: str, names: Mapping[str, Sequence[str]]) -> str:
    """A pattern of a pack as a Rust expression: slots filled, case ignored, spaces in names as any white space."""
    for slot, entries in names.items():
        # the longest name first, so that `Meta AI` is not taken for `Meta`
        options = "|".join(str(e).replace(" ", r"\s+") for e in sorted(map(str, entries), key=len, reverse=True))
        pattern = pattern.replace(f"{{{slot}}}", options)
    return "(?i:" + _SHORT.sub(_ascii, pattern) + ")"


# Rust's matcher is many times slower with Unicode classes and borders: in packs, \w \s \d \b are those of ASCII
_SHORT = re.compile(r"\[(?:\\.|[^\]\\])*\]|\\.")
_PLAIN = {"w": "0-9A-Za-z_", "s": r" \t\r\n", "d": "0-9"}


def _ascii(match: re.Match[str]) -> str:
    found = match[0]
    if found.startswith("["):
        return re.sub(r"\\([wsd])", lambda m: _PLAIN[m[1]], found)
    if found == r"\b":
        return r"(?-u:\b)"
    return f"[{_PLAIN[found[1]]}]" if found[1] in _PLAIN else found


def _any(patterns: Any) -> str:
    return "|".join(f"(?:{p})" for p in patterns)


def hits(texts: pl.Series, pack: Pack, within: int | None = None) -> Bools:
    """Which texts hold a pattern in their first `within` characters (null: the pack's own limit). A null holds none."""
    limit = within if within is not None else pack.within
    seen = texts if limit is None else texts.str.head(limit)
    found = np.zeros(len(texts), bool)
    if not pack.needs:
        found[:] = seen.str.contains(pack.regex).fill_null(False).to_numpy()
        return found
    maybe = seen.str.contains_any(list(pack.needs), ascii_case_insensitive=True).fill_null(False).arg_true()
    if len(maybe):
        found[maybe.to_numpy()] = seen.gather(maybe).str.contains(pack.regex).to_numpy()
    return found


def _packs(operator: Operator) -> list[Pack]:
    given = operator.params
    own = [own_pack("words", words=given["words"])] if given["words"] else []
    own += [own_pack("regex", regex=given["regex"])] if given["regex"] else []
    return [load_pack(name) for name in given["packs"]] + own


def _check(operator: Operator) -> list[str]:
    given = operator.params
    known = pack_names()
    problems = [
        f"there is no pack `{name}`; {did_you_mean(name, known) or 'there are ' + ', '.join(known)}"
        for name in given["packs"]
        if name not in known
    ]
    for pattern in given["regex"]:
        try:
            pl.Series([""]).str.contains(pattern)
        except pl.exceptions.ComputeError as error:
            problems.append(f"`regex` {pattern!r}: {str(error).strip().splitlines()[-1]}")
    if any(not word for word in given["words"]):
        problems.append("`words` holds an empty text, which every row has")
    if given["roles"] is not None and given["text"] is not None:
        problems.append("give `roles` or `text`, not both")
    if given["roles"] == []:
        problems.append("`roles` is empty: nothing would be looked at")
    if not (given["packs"] or given["words"] or given["regex"]):
        problems.append("give `packs`, `words` or `regex`")
    return problems


def _found(operator: Operator, rows: Rows) -> tuple[dict[str, Bools], pl.Series]:
    """({pack: rows that hold it}, a column that is null where there was no text to look at)."""
    given = operator.params
    if given["text"] is not None:
        texts = text_of(rows, getattr(operator, "text"), operator.name)  # noqa: B009  (bound by the interpreter)
        return {pack.name: hits(texts, pack, given["within"]) for pack in _packs(operator)}, texts
    texts, row = role_texts(rows["messages"], _roles(operator))
    found = {}
    for pack in _packs(operator):
        found[pack.name] = np.zeros(len(rows), bool)
        found[pack.name][row[hits(texts, pack, given["within"])]] = True
    return found, rows["messages"]


def _roles(operator: Operator) -> list[str]:
    return list(operator.params["roles"] or ["assistant"])


def _flow(operator: Operator, flow: Flow) -> Flow:
    return flow if operator.params["text"] is not None else Flow(("messages",), flow.writes, flow.rewrites)


class Patterns(Filter):
    """Drop rows whose text holds a phrase of a pack, one of the words, or a match of an expression.

    Codes: the name of the pack (`identity`, `refusal`, `cutoff`, `disclaimer`), `words`, `regex`. A null `text` is
    `undefined`; a conversation without a message of these roles stays.
    """

    version: ClassVar[int] = 2
    wants: ClassVar[Mapping[str, str]] = {"text": "text"}
    source = "Tulu 3 and Olmo 3 (identity, cutoff), Apertus (refusal), UltraChat-200k (disclaimer); phrases are our own"

    packs: list[str] = Param([], positional=True, doc="Packs: identity, refusal, cutoff, disclaimer.")
    words: list[str] = Param([], doc="Literal texts, case ignored.")
    regex: list[str] = Param([], doc="Regular expressions in Rust's syntax; `(?i)` ignores case.")
    within: int | None = Param(
        None, ge=1, doc="Look at the first so many characters only. Null: all, or what the pack says (refusal: 200)."
    )
    roles: list[str] | None = Param(
        None, doc="Look at every message of these roles. Null: [assistant], unless `text` is given."
    )
    text: Expr | None = Param(None, doc="Look at this text instead of messages, as in `response` or `query`.")

    def check(self) -> list[str]:
        return _check(self)

    def flow(self, columns: Mapping[str, str]) -> Flow:
        return _flow(self, super().flow(columns))

    def keep(self, rows: Rows) -> Mapping[str, pl.Series]:
        found, texts = _found(self, rows)
        return {name: mask_of(~hit, texts) for name, hit in found.items()}


class TagPatterns(Tag):
    """Write the names of the packs of which a text holds a phrase (a list, empty if none), to look before dropping."""

    version: ClassVar[int] = 2
    writes: ClassVar[Mapping[str, str]] = {"{into}": "list[text]"}
    wants: ClassVar[Mapping[str, str]] = {"text": "text"}

    packs: list[str] = Param([], positional=True, doc="Packs: identity, refusal, cutoff, disclaimer.")
    words: list[str] = Param([], doc="Literal texts, case ignored.")
    regex: list[str] = Param([], doc="Regular expressions in Rust's syntax; `(?i)` ignores case.")
    within: int | None = Param(
        None, ge=1, doc="Look at the first so many characters only. Null: all, or what the pack says (refusal: 200)."
    )
    roles: list[str] | None = Param(
        None, doc="Look at every message of these roles. Null: [assistant], unless `text` is given."
    )
    text: Expr | None = Param(None, doc="Look at this text instead of messages, as in `response` or `query`.")
    into: Into = Param("patterns", doc="The column that is written.")

    def check(self) -> list[str]:
        return _check(self)

    def flow(self, columns: Mapping[str, str]) -> Flow:
        return _flow(self, super().flow(columns))

    def tag(self, rows: Rows) -> dict[str, pl.Series]:
        found, texts = _found(self, rows)
        names = [[] for _ in range(len(rows))]  # type: list[list[str]]
        for name, hit in found.items():
            for row in np.flatnonzero(hit).tolist():
                names[row].append(name)
        column = pl.Series(names, dtype=pl.List(pl.String))
        return {str(self.into): column if not texts.null_count() else column.set(texts.is_null(), None)}
