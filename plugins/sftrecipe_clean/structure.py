"""filter.structure: is the conversation well formed?

Each check is a parameter; those that hold for any sound training row are on by default, those that depend on the data
are off.

roles        Perhaps a system (or developer) message, then user and assistant in turn; tool messages follow an assistant
             or a tool.
first        The first message after the system prompt is the user's.
last         The last message is the assistant's.
empty        No message is empty (null or white space), unless it calls tools.
think        Every <think> of the assistant is closed, and none is closed twice.
tool_calls   Calls are JSON with a name and arguments; the name is a tool that `tools` offers, if it offers any; tool
             messages answer them, by id where ids are given, unless the call is the last message. No tool message
             stands without a call.
code_fences  Every code fence of an answer is closed (CommonMark's rule).
boxed        The last answer has exactly one \\boxed{...}.
ends         The last answer ends like a finished text: a full stop, a closing quote or bracket, a fence, a formula.

Rules follow Olmo 3 (think), OpenThoughts (boxed), Nemotron-Agentic (tool calls, role transitions), NeMo-Curator's
Llama-Nemotron tutorial (empty, unbalanced think). Work is vectorised over all messages of a batch; Python looks only
at messages that hold a tag, a fence or a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sftrecipe import Filter, Flow, Param
from sftrecipe.lazy import np, pl
from sftrecipe_clean.messages import boxed_answers, fences_closed, finished, tags_closed, tool_problem
from sftrecipe_clean.texts import flat_messages, row_counts

if TYPE_CHECKING:
    import numpy.typing as npt

    from sftrecipe.rows import Rows

    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]

__all__ = ["Structure", "bad_transitions", "first_messages"]

_ROLES = {"system": 0, "developer": 0, "user": 1, "assistant": 2, "tool": 3}
_START, _UNKNOWN = 4, 5
_FOLLOWS = {_START: (0, 1, 2), 0: (0, 1, 2), 1: (2,), 2: (1, 3), 3: (2, 3)}  # what may stand after what
_ALLOWED = [[b in _FOLLOWS.get(a, ()) for b in range(6)] for a in range(6)]


def bad_transitions(roles: npt.NDArray[np.int64], offsets: Ints) -> Bools:
    """Which messages may not stand where they stand, from role numbers and row offsets: bool [messages]."""
    before = np.empty(len(roles), np.int64)
    before[1:] = roles[:-1]
    before[offsets[:-1][offsets[:-1] < len(roles)]] = _START
    return ~np.array(_ALLOWED)[before, roles]


def first_messages(roles: npt.NDArray[np.int64], offsets: Ints) -> Ints:
    """Where each row's first message after its system prompts is; the row's end if there is none: int64 [rows]."""
    at = np.where(roles != 0, np.arange(len(roles)), len(roles))
    following = np.append(np.minimum.accumulate(at[::-1])[::-1], len(roles))
    places: Ints = np.minimum(following[offsets[:-1]], offsets[1:])
    return places


class Structure(Filter):
    """Keep conversations that are well formed.

    Codes: `no_messages`, `unknown_role`, `roles_out_of_order`, `first_not_user`, `no_answer`, `empty_message`,
    `too_many_turns` (value: user messages), `think_not_closed`, `tool_call_invalid`, `tool_unknown`,
    `tool_call_unanswered`, `tool_result_unasked`, `code_fence_open`, `not_one_boxed` (value: how many), `cut_off`.
    """

    version: ClassVar[int] = 2
    source = "Olmo 3, OpenThoughts, Nemotron-SFT-Agentic, NeMo-Curator Llama-Nemotron tutorial"

    roles: Literal["alternate", "any"] = Param("alternate", doc="Whether user and assistant must take turns.")
    first: Literal["user", "any"] = Param("user", doc="Who speaks first, after a system prompt.")
    last: Literal["assistant", "any"] = Param("assistant", doc="Who speaks last.")
    empty: Literal["drop", "any"] = Param("drop", doc="Whether a row with an empty message is dropped.")
    max_turns: int | None = Param(None, ge=1, doc="Most messages from the user.")
    think: Literal["closed", "any"] = Param("closed", doc="Whether <think> tags of the assistant must be balanced.")
    tool_calls: Literal["valid", "any"] = Param("valid", doc="Whether tool calls are checked.")
    code_fences: Literal["closed", "any"] = Param("any", doc="Whether code fences of the assistant must be closed.")
    boxed: Literal["one", "any"] = Param("any", doc="Whether the last answer must have one \\boxed{} result.")
    ends: Literal["punctuation", "any"] = Param(
        "any", doc="Whether the last answer must end like a finished text; short answers such as `42` do not."
    )

    def flow(self, columns: Mapping[str, str]) -> Flow:
        tools = ("tools",) if self.params["tool_calls"] == "valid" and "tools" in columns else ()
        return Flow(("messages", *tools))

    def keep(self, rows: Rows) -> Mapping[str, Any]:
        flat, offsets = flat_messages(rows["messages"])
        batch = _Batch(flat, offsets)
        kept: dict[str, Any] = {"no_messages": np.diff(offsets) > 0}
        if self.roles == "alternate":
            kept["unknown_role"] = batch.none(batch.roles == _UNKNOWN)
            kept["roles_out_of_order"] = batch.none(bad_transitions(batch.roles, offsets))
        if self.first == "user":
            kept["first_not_user"] = batch.role_at(first_messages(batch.roles, offsets)) == _ROLES["user"]
        if self.last == "assistant":
            kept["no_answer"] = batch.role_at(offsets[1:] - 1) == _ROLES["assistant"]
        if self.empty == "drop":
            kept["empty_message"] = batch.none(batch.blank & ~batch.calls)
        if self.max_turns is not None:
            users = row_counts(batch.roles == _ROLES["user"], offsets)
            kept["too_many_turns"] = users <= self.max_turns, users
        return kept | self._texts(batch, rows)

    def _texts(self, batch: _Batch, rows: Rows) -> dict[str, Any]:
        """The checks that read what the assistant says."""
        kept: dict[str, Any] = {}
        if self.think == "closed":
            kept["think_not_closed"] = batch.all_answers("think>", tags_closed)
        if self.tool_calls == "valid":
            kept |= batch.tools(rows["tools"] if "tools" in rows.frame.columns else None)
        if self.code_fences == "closed":
            kept["code_fence_open"] = batch.all_answers("```|~~~", fences_closed)
        if self.boxed == "one":
            counts = np.array([len(boxed_answers(text)) for text in batch.last_answers()], dtype=np.int64)
            kept["not_one_boxed"] = counts == 1, counts
        if self.ends == "punctuation":
            kept["cut_off"] = np.array([finished(text) for text in batch.last_answers()], dtype=bool)
        return kept


class _Batch:
    """All messages of a batch, flat, with what the checks ask of them."""

    def __init__(self, flat: pl.Series, offsets: Ints) -> None:
        self.flat, self.offsets = flat, offsets
        names = flat.struct.field("role")
        self.roles: Ints = (
            names.replace_strict(_ROLES, default=_UNKNOWN, return_dtype=pl.Int64).fill_null(_UNKNOWN).to_numpy()
        )
        self.text = flat.struct.field("content")
        self.blank: Bools = (self.text.is_null() | ~self.text.str.contains(r"\S")).to_numpy()
        self.calls: Bools = self._calls().to_numpy()

    def _calls(self) -> pl.Series:
        if "tool_calls" not in self.flat.struct.fields:
            return pl.Series(np.zeros(len(self.flat), bool))
        calls = self.flat.struct.field("tool_calls")
        if calls.dtype == pl.Null:
            return pl.Series(np.zeros(len(self.flat), bool))
        return ~calls.str.strip_chars().is_in(["", "null", "[]"]).fill_null(True)

    def none(self, bad: Bools) -> Bools:
        """Rows without a bad message."""
        fine: Bools = row_counts(bad, self.offsets) == 0
        return fine

    def role_at(self, places: Ints) -> Ints:
        """The role at one place of each row; unknown where the place is not the row's."""
        inside = (places >= self.offsets[:-1]) & (places < self.offsets[1:])
        return np.where(inside, np.append(self.roles, _UNKNOWN)[np.where(inside, places, -1)], _UNKNOWN)

    def all_answers(self, pattern: str, fine: Callable[[str], bool]) -> Bools:
        """Rows in which every assistant message that holds the pattern passes."""
        asked = (
            self.text.str.contains(pattern).fill_null(False) & pl.Series(self.roles == _ROLES["assistant"])
        ).arg_true()
        bad = np.zeros(len(self.flat), bool)
        bad[asked.to_numpy()] = [not fine(text) for text in self.text.gather(asked).to_list()]
        return self.none(bad)

    def last_answers(self) -> list[str]:
        """The text of each row's last assistant message; empty if there is none."""
        latest = np.maximum.accumulate(np.where(self.roles == _ROLES["assistant"], np.arange(len(self.roles)), -1))
        at = np.append(latest, -1)[self.offsets[1:] - 1]
        found = at >= self.offsets[:-1]
        texts = self.text.gather(np.where(found, at, 0)[found]).to_list()
        out = [""] * len(found)
        for row, text in zip(np.flatnonzero(found).tolist(), texts, strict=True):
            out[row] = text or ""
        return out

    def tools(self, offered: pl.Series | None) -> dict[str, Bools]:
        """{code: rows that are free of it} for what may be wrong with tool calls. Looks only at rows that have any."""
        codes = ("tool_call_invalid", "tool_unknown", "tool_call_unanswered", "tool_result_unasked")
        fine = {code: np.ones(len(self.offsets) - 1, bool) for code in codes}
        concerned = row_counts(self.calls | (self.roles == _ROLES["tool"]), self.offsets) > 0
        for row in np.flatnonzero(concerned).tolist():
            messages = self.flat[int(self.offsets[row]) : int(self.offsets[row + 1])].to_list()
            problem = tool_problem(messages, offered[row] if offered is not None else None)
            if problem:
                fine[problem][row] = False
        return fine
