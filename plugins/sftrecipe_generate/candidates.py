"""`evolve.candidates`: each candidate answer of a row becomes a row of its own, as for rejection sampling with several
kept answers (Yuan et al. 2023, RFT) or for looking at samples one by one. No model is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from sftrecipe import Child, Evolve, Evolved, Param
from sftrecipe.models.asking import with_answer
from sftrecipe_generate.instruct import fate
from sftrecipe_generate.rules import plain

__all__ = ["Candidates"]

FIELDS = ("passed", "score", "verdict", "finish_reason", "model", "tokens", "parent")


class Candidates(Evolve):
    """A row for each candidate: the conversation with the candidate as its last answer, and the parent's other columns
    but those that hang on the old answer. `candidate` is its number.

    Eliminated: `not_kept` (the field `keep` is false, 0 or null), `duplicate` (with `distinct`: it says what an earlier
    candidate says, signs and case aside), `empty`. Parents leave as `replaced`, or as `no_child` where none was kept.
    """

    reads = ("messages", "candidates")
    writes: ClassVar[Mapping[str, str]] = {"candidate": "int"}
    rewrites = ("response",)
    source = "Yuan et al. 2023, Scaling Relationship on Learning Mathematical Reasoning with Large Language Models"

    keep: str | None = Param(
        None, doc="Field that decides, as `candidates.passed`; left out: all are kept.", positional=True
    )
    distinct: bool = Param(False, doc="Whether answers that say the same become one row.")
    parents: Literal["keep", "drop", "replace"] = Param(
        "drop", doc="`replace`: a parent gives way to its children, if any."
    )

    def sees(self, columns: Mapping[str, str]) -> Sequence[str]:
        """The question alone."""
        return ("query",)

    def check(self) -> Iterable[str]:
        """A field that candidates have."""
        if self.keep is not None and self._field() not in FIELDS:
            yield f"candidates have no field `{self._field()}`; `keep` takes {', '.join(FIELDS)}"

    def evolve_row(self, row: Mapping[str, Any]) -> Evolved:
        """One child a candidate."""
        children, seen = [], set()
        for at, candidate in enumerate(c for c in row["candidates"] or () if c is not None):
            text = candidate["text"] or ""
            fault = (
                "not_kept"
                if self.keep is not None and not candidate[self._field()]
                else None
                if text.strip()
                else "empty"
            )
            if fault is None and self.distinct:
                fault = "duplicate" if plain(text) in seen else None
                seen.add(plain(text))
            messages = with_answer(row["messages"], text, reasoning=candidate["reasoning"])
            children.append(Child(messages, {"candidate": at}, eliminated=fault, inherit=True))
        return Evolved(children, **fate(self.parents, sum(c.eliminated is None for c in children)))

    def _field(self) -> str:
        return (self.keep or "").removeprefix("candidates.")
