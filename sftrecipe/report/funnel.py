"""The funnel: how many rows every step took in and handed on, and why the others went. It closes every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sftrecipe.ledger import Counts

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["funnel", "reasons"]


def funnel(counts: Sequence[Counts], cached: Mapping[str, bool]) -> Table:
    """The funnel as a rich table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, justify in (("step", "left"), ("in", "right"), ("out", "right"), ("what became of the others", "left")):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for count in counts:
        name = Text(count.step)
        if cached.get(count.step):
            name.append(" (stored)", style="dim")
        table.add_row(name, f"{count.rows_in:,}", f"{count.rows_out:,}", Text(reasons(count)))
    return table


def reasons(count: Counts) -> str:
    """`too_short 12, near_duplicate 7; 3 born` in words."""
    parts = [f"{code} {n:,}" for code, n in count.codes.items()]
    extra = [
        f"{n:,} {word}"
        for n, word in (
            (count.born, "made" if count.packed else "born"),
            (count.copied, "copied"),
            (count.packed, "packed"),
        )
        if n
    ]
    if count.quarantined and not count.codes:
        extra.append(f"{count.quarantined:,} quarantined")
    extra += [f"{n:,} without a value: {code}" for code, n in count.nulls.items()]
    extra += [f"{n:,} without {column}" for column, n in count.undefined.items()]
    extra += [f"{code} x{n:,}" for code, n in count.notes.items() if code not in count.codes]
    return "; ".join([", ".join(parts)] * bool(parts) + extra)
