"""The twelve verbs. Each is a law about rows, and the interpreter, not the operator, keeps it.

| verb    | law                                                                       | the author writes            |
|---------|---------------------------------------------------------------------------|------------------------------|
| load    | nothing in; rows out; bad ones quarantined with their place               | pieces, read                 |
| filter  | rows out are a subset, untouched, in order; each dropped row has a code   | keep, or keep_row, or choose |
| select  | a subset, chosen with all rows in sight; order of choice in `rank`        | choose                       |
| tag     | same rows, new columns                                                    | tag, or tag_row              |
| score   | same rows, new number columns; NaN and inf become null                    | score, or score_row          |
| evolve  | new rows that name their parents; parents stay or leave                   | evolve_row, or evolve        |
| answer  | same rows; the last assistant turn, `candidates` or a text column written | answer_row                   |
| mix     | several inputs, or one by a column, to one; rows may repeat or stay out   | allot                        |
| format  | same rows, the columns that a trainer reads                               | format                       |
| pack    | rows to sequences; each lists its members; packs never cross a `stage`    | plan                         |
| measure | rows pass untouched; numbers, tables and pictures are artefacts           | measure                      |
| write   | rows pass untouched; files appear whole or not at all                     | write                        |
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sftrecipe.errors import RowError
from sftrecipe.lazy import np, pl
from sftrecipe.operators import Flow, Operator
from sftrecipe.params import Param

if TYPE_CHECKING:
    from sftrecipe.dataset import Dataset
    from sftrecipe.rows import Rows

__all__ = [
    "BARE",
    "PACKED",
    "VERBS",
    "Answer",
    "BadRow",
    "Child",
    "Choice",
    "Dropped",
    "Evolve",
    "Evolved",
    "Filter",
    "Format",
    "Load",
    "Measure",
    "Mix",
    "Pack",
    "Score",
    "Select",
    "Tag",
    "Write",
]


@dataclass
class Dropped:
    """Rows that a whole-data step lets go: row numbers, a code for all or one each, and what it was about.

    `other` is the number of the row that caused it (-1: none), `value` the figure (NaN: none).
    """

    rows: np.ndarray
    code: str | Sequence[str]
    other: np.ndarray | None = None
    value: np.ndarray | None = None


@dataclass
class Choice:
    """What `choose` hands back: row numbers kept, in order of choice, and why the others go.

    Rows in neither are dropped with the code `not_chosen`. `columns` adds columns aligned with `kept`.
    """

    kept: np.ndarray
    dropped: Sequence[Dropped] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Child:
    """A new row. With `eliminated` (the rule's code) it is counted (its `columns` are the facts) and never becomes a
    row.

    It has its (first) parent's source, licence and tools, what `columns` gives and, with `inherit`, the parent's
    other columns but those that the step makes stale (`rewrites`).
    """

    messages: list[dict[str, Any]]
    columns: Mapping[str, Any] = field(default_factory=dict)
    parents: Sequence[str] = ()
    eliminated: str | None = None
    inherit: bool = False


@dataclass
class Evolved:
    """The children of a row, and whether it stays (`stay`) or goes (`leave`, for the reason `why`)."""

    children: Sequence[Child]
    parent: str = "stay"
    why: str = ""


@dataclass
class BadRow:
    """A row that `read` could not take: where it stood and why. `line` counts from 1 within the piece."""

    reason: str
    line: int = 0
    offset: int = 0
    file: str = ""
    raw: str = ""


class Load(Operator):
    """Nothing in; rows out. Every load has the parameters `role` and `max_bad`; the interpreter heeds them."""

    verb: ClassVar[str] = "load"

    role: str | None = Param(
        None,
        choices=("eval",),
        doc="`eval`: rows to compare with; they are no input of the next step and reach no output.",
    )
    max_bad: float = Param(0.01, ge=0, le=1, doc="Share of bad rows among all rows above which the run stops (R610).")

    def pieces(self, shard_bytes: int) -> Sequence[Mapping[str, Any]]:
        """Units of reading, as JSON-able mappings, in order. `file` (a path) is hashed into the key; `identity` stands
        for what is no file.

        Pieces aim at `shard_bytes`; how they fall must not change the rows.
        """
        raise NotImplementedError

    def read(self, piece: Mapping[str, Any]) -> Iterator[pl.DataFrame | BadRow | RowError]:
        """Streams frames with `messages source license tools extra`, further typed columns, `hash` (rows.content_hash)
        and, if the source has ids of its own, `id`. At the end of a piece its line count may be given as BadRow("",
        line=n).
        """
        raise NotImplementedError

    def facts(self) -> Mapping[str, Any]:
        """After `pieces`: what each source is (source -> figures), for the manifest of an output."""
        return {}

    def remarks(self) -> Sequence[str]:
        """After `pieces`: what people should know, such as a schema that was guessed; shown when the run ends."""
        return ()

    def warnings(self) -> Mapping[str, int]:
        """After a piece is read: what was not as it should be, and how often; shown once for all pieces."""
        return {}


class Filter(Operator):
    """Rows out are a subset. Write one of three."""

    verb: ClassVar[str] = "filter"

    def keep(self, rows: Rows) -> Any:
        """True stays. A mask (Series, expression, array), or {code: mask} or {code: (mask, values)}: the first False is
        the reason.

        A null is dropped as `undefined`. A plain mask drops with the operator's last name as code.
        """
        raise NotImplementedError

    def keep_row(self, row: Mapping[str, Any]) -> bool | str | Awaitable[bool | str]:
        """True, or False, or the code why not."""
        raise NotImplementedError

    def choose(self, data: Dataset) -> Choice:
        """Instead of keep, when a row's fate depends on others (duplicates)."""
        raise NotImplementedError


class Select(Operator):
    """Rows out are a subset, chosen with all rows in sight. The interpreter writes `rank` (0 = first)."""

    verb: ClassVar[str] = "select"

    def choose(self, data: Dataset) -> Choice:
        """Which rows, in order of choice, and why not the others."""
        raise NotImplementedError


class Tag(Operator):
    """Same rows, new label, list or vector columns."""

    verb: ClassVar[str] = "tag"

    def tag(self, rows: Rows) -> Mapping[str, Any]:
        """Only the new columns: Series, expressions, arrays or lists."""
        raise NotImplementedError

    def tag_row(self, row: Mapping[str, Any]) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Only the new columns of one row."""
        raise NotImplementedError


class Score(Operator):
    """Same rows, new number columns."""

    verb: ClassVar[str] = "score"

    def score(self, rows: Rows) -> Mapping[str, Any]:
        """Only the new columns: Series, expressions, arrays or lists."""
        raise NotImplementedError

    def score_row(self, row: Mapping[str, Any]) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Only the new columns of one row."""
        raise NotImplementedError


class Evolve(Operator):
    """New rows that name their parents."""

    verb: ClassVar[str] = "evolve"

    def evolve_row(self, row: Mapping[str, Any]) -> Evolved | Awaitable[Evolved]:
        """The children of one row."""
        raise NotImplementedError

    async def evolve(self, data: Dataset) -> Sequence[Child]:
        """Instead of evolve_row: children made with all rows in sight (self-instruct). Parents stay."""
        raise NotImplementedError


class Answer(Operator):
    """Same rows; text written: the last assistant turn, unless `writes` names another column (`candidates`, a text)."""

    verb: ClassVar[str] = "answer"
    writes: ClassVar[Mapping[str, str]] = {"messages": "messages"}
    keeps_turn: ClassVar[bool] = False
    """Under `on_error: null`, a row that fails loses its last assistant turn, so that an old answer never passes for a
    new one; True leaves the turn as it was (edits by people).
    """

    def answer_row(self, row: Mapping[str, Any]) -> Mapping[str, Any] | Sequence[Mapping[str, Any]] | Awaitable[Any]:
        """The turn (a dict with `text` or `content`, and perhaps `reasoning`, `tool_calls`, `columns`), or the
        candidates (a list of dicts), or {column: value} for a text column.
        """
        raise NotImplementedError

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """Who writes `messages` reads them, as the turn is put there, and makes what came from the old answer stale."""
        plain = super().flow(columns)
        if "messages" not in plain.writes:
            return plain
        reads = tuple(dict.fromkeys((*plain.reads, "messages")))
        return Flow(reads, plain.writes, plain.rewrites or ("response",))


class Mix(Operator):
    """Several inputs to one output."""

    verb: ClassVar[str] = "mix"
    many_inputs: ClassVar[bool] = True

    def allot(self, inputs: Mapping[str, Dataset]) -> pl.DataFrame:
        """Columns `input` (a key of `inputs`), `row` (its number there) and `stage`, if `writes` has it, in output
        order.
        """
        raise NotImplementedError


class Format(Operator):
    """Same rows, the columns that a trainer reads."""

    verb: ClassVar[str] = "format"

    def format(self, rows: Rows) -> Mapping[str, Any]:
        """Only the columns it writes."""
        raise NotImplementedError


class Pack(Operator):
    """Rows to sequences. The interpreter moves the tokens and sets the first label of every member to -100."""

    verb: ClassVar[str] = "pack"

    def flow(self, columns: Mapping[str, str]) -> Flow:
        """The columns of a sequence, which the interpreter writes, and the `stage` that all its members have."""
        plain = super().flow(columns)
        own = () if type(self).tokens is not Pack.tokens else ("input_ids", "labels")
        stage = {"stage": columns["stage"]} if "stage" in columns else {}
        return Flow(tuple(dict.fromkeys((*plain.reads, *own, *stage))), {**PACKED, **plain.writes, **stage})

    def tokens(self, rows: Rows) -> Mapping[str, Any]:
        """`input_ids` and `labels` of each row: list columns. The default hands over the columns of these names."""
        return {name: rows[name] for name in ("input_ids", "labels")}

    def plan(self, lengths: np.ndarray, data: Dataset) -> pl.DataFrame:
        """Columns `pack` (0..), `row`, `start`, `stop` (token offsets within the row), in output order.

        Rows that appear nowhere are dropped as `not_packed`; an optional column `code` gives rows with pack -1
        another code.
        """
        raise NotImplementedError


class Measure(Operator):
    """Rows pass untouched."""

    verb: ClassVar[str] = "measure"
    many_inputs: ClassVar[bool] = True

    def measure(self, inputs: Mapping[str, Dataset]) -> Mapping[str, Any]:
        """Artefacts by name: numbers, text, lists, DataFrames, arrays. SVG text under a name that ends in `_svg` is a
        picture.
        """
        raise NotImplementedError


class Write(Operator):
    """Rows pass untouched; files appear. Every write has the parameter `path`."""

    verb: ClassVar[str] = "write"

    path: str = Param(positional=True, doc="The file or folder that appears, from the working folder.")

    def write(self, data: Dataset, folder: Path) -> Mapping[str, Any]:
        """Writes everything below the empty `folder`; the interpreter moves it to the target. Returns facts for the
        manifest.
        """
        raise NotImplementedError


VERBS: Mapping[str, type[Operator]] = {
    c.verb: c for c in (Load, Filter, Select, Tag, Score, Evolve, Answer, Mix, Format, Pack, Measure, Write)
}

PACKED: Mapping[str, str] = {
    "input_ids": "tokens", "labels": "tokens", "seq_lengths": "list[int]", "members": "list[text]",
}  # fmt: skip
"""The columns of a sequence."""

BARE: Mapping[str, str] = {
    "load": "auto",
    "filter": "where",
    "select": "top",
    "tag": "expr",
    "score": "expr",
    "evolve": "expand",
    "answer": "chat",
    "mix": "parts",
    "format": "messages",
    "pack": "bfd",
    "write": "auto",
}
"""What a verb without a name means: `filter: a > b` is `filter.where`."""

_ = RowError  # part of this page for authors: raised from row forms
