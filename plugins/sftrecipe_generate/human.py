"""`answer.human`: people rewrite answers, over two files: `give` goes out, `take` comes in.

Without `take`, the rows are written to `give` and the run waits (exit code 5): whoever rewrites copies the file, edits
it and saves it as `take`; the next run goes on. What stands in `take` is part of the step's key, and the answers are a
function of it and of the rows alone. Nothing is ever overwritten:

    the row's text is not what people saw (`base` differs)     `conflict`: the row keeps its text
    people changed the question                                `query_edited`: the row keeps its text
    a given file that somebody has edited in place             is left alone; the new one gets `.new` before its suffix

A line that was deleted is a rejection, if the rows are those that were given (`batch`); rows that came up since are
`not_taken`. Cost: hours.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from sftrecipe import Answer, Dataset, Given, Into, Param, Pending, RowError, StepError, Taken
from sftrecipe_generate.edits import Edit, base_of, batch_of, context_of, given_bytes, read_edits, same_text, status_of

__all__ = ["Human"]

SUFFIXES = (".jsonl", ".csv")


class Human(Answer):
    """Answers rewritten by people. `into` says of each row what they did: accepted, edited or rejected.

    A rejected row keeps its answer; filter on the status. A row fails with `conflict`, `query_edited` or `not_taken`,
    and keeps its answer too. Ids in `take` that no row has are told as a warning; if no row has any of them, or there
    are none, the step fails (R645), as it does where a line cannot be read or an id stands twice.
    """

    reads = ("id", "messages", "query", "response")
    writes: ClassVar[Mapping[str, str]] = {"messages": "messages", "{into}": "text"}
    rewrites = ("response",)
    keeps_turn = True

    give: Given = Param(doc="The file for people: .jsonl, or .csv for spreadsheets.")
    take: Taken = Param(doc="The file that comes back, in the same form.")
    into: Into = Param("status", doc="The text column for accepted, edited, rejected.")

    def check(self) -> Iterable[str]:
        """Two different files of a known form."""
        for name in ("give", "take"):
            path = Path(str(self.params[name]))
            if path.suffix not in SUFFIXES:
                yield f"`{name}` must end in .jsonl or .csv, not `{path.name}`"
        if str(self.params["give"]) == str(self.params["take"]):
            yield "`give` and `take` must be two files"

    def fit(self, data: Dataset) -> Mapping[str, Any]:
        """Gives the rows, or takes what came back. Raises Pending until it has."""
        frame = data.frame("id", "messages", "query", "response")
        batch = batch_of(frame["id"].to_list())
        take = Path(str(self.take))
        if not take.exists():
            raise self._waiting(self._give(frame.iter_rows(named=True), batch), frame.height, take)
        edits = read_edits(take)
        unknown = sorted(set(edits) - set(frame["id"].to_list()))
        if len(unknown) == len(edits):
            raise StepError(f"{take} holds none of the rows here", code="R645", help="is it the file of another run?")
        if unknown:
            self.context.log.warning("%d rows in %s are not here (any more): %s ...", len(unknown), take, unknown[0])
        return {
            "edits": {e.id: [e.base, e.query, e.response, e.status] for e in edits.values()},
            "same_rows": {e.batch for e in edits.values() if e.batch and e.id not in unknown} == {batch},
        }

    def answer_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """What people made of one row."""
        found = self.state["edits"].get(row["id"])
        if found is None:
            if not self.state["same_rows"]:
                raise RowError("not_taken", "this row was not given to people: it came up since")
            return self._kept(row, "rejected")
        base, query, response, said = found
        if base != base_of(row["messages"]):
            raise RowError("conflict", "the row's text is not the one that people saw")
        if query is not None and not same_text(query, row["query"]):
            raise RowError("query_edited", "only answers are taken")
        status = status_of(Edit(row["id"], base, "", query, response, said, 0), row["response"])
        if status != "edited":
            return self._kept(row, status)
        return {"text": response, "columns": {self.into: status}}

    def _kept(self, row: Mapping[str, Any], status: str) -> dict[str, Any]:
        return {"messages": [dict(m) for m in row["messages"]], self.into: status}

    def _give(self, rows: Iterable[Mapping[str, Any]], batch: str) -> Path:
        """Writes the file for people; one that was edited since it was written is left alone."""
        path = Path(str(self.give))
        lines = [
            {"id": r["id"], "base": base_of(r["messages"]), "batch": batch, "context": context_of(r["messages"])}
            | {"query": r["query"], "response": r["response"]}
            for r in rows
        ]
        content = given_bytes(lines, path.suffix)
        mark = path.with_name(f".{path.name}.sha256")
        try:
            if path.exists() and path.read_bytes() != content and not _untouched(path, mark):
                self.context.log.warning("%s was edited in place and is left alone", path)
                path = path.with_name(f"{path.stem}.new{path.suffix}")
                mark = path.with_name(f".{path.name}.sha256")
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(path, content)
            _put(mark, hashlib.sha256(content).hexdigest().encode())
        except OSError as error:
            raise StepError(f"cannot write {path}: {error.strerror}", code="R663") from error
        return path

    def _waiting(self, given: Path, rows: int, take: Path) -> Pending:
        return Pending(
            f"{rows} answers are in {given} for people to edit (change `response`, set `status` to rejected, or delete "
            f"lines); save the result as {take} and run again"
        )


def _untouched(path: Path, mark: Path) -> bool:
    return mark.exists() and mark.read_text() == hashlib.sha256(path.read_bytes()).hexdigest()


def _put(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)
