"""Rows that failed are done again by the next run, and no other row of their shard: what came of them takes its place
among what the earlier run made of the others."""

from __future__ import annotations

from sftrecipe.lazy import pl
from sftrecipe.run.batch import ROW
from sftrecipe.run.part import PartRun, Written
from sftrecipe.store import check_file

__all__ = ["take_up"]


def take_up(part: PartRun, before: Written) -> int:
    """Adds to a part, which holds the rows that were done again, the new columns and the ledger of the others. Returns
    the number of rows of the whole shard.
    """
    again = before.failed
    part.changed |= set(before.columns)
    made = [n for n in part.made if n in part.changed or n not in part.before]
    old = _frame(part, before, "rows") if before.columns else pl.DataFrame(height=before.rows_in)
    missing = [c for c in made if c not in old.columns]  # the earlier run left them as they were
    if missing:
        old = old.hstack(part.job.part.read(missing))
    if made:
        part.chunks.insert(0, old.with_row_index(ROW).filter(~pl.col(ROW).is_in(again)).select(ROW, *made))
    if "ledger" in before.files:
        ids = part.job.part.read(["id"])["id"].gather(again).to_list()
        events = _frame(part, before, "ledger")
        part.events.put_before(events.filter(~pl.col("row").is_in(again).fill_null(False) & ~pl.col("id").is_in(ids)))
    for step, figures in enumerate(before.counts):  # rows that failed are not among them
        part.events.undefined(step, figures["undefined"])
    return before.rows_in


def _frame(part: PartRun, before: Written, what: str) -> pl.DataFrame:
    name, sha = before.files[what]
    check_file(part.job.folder / name, sha)
    return pl.read_parquet(part.job.folder / name)
