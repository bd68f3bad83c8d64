"""The ledger: for every step, where each row went.

Law, asserted at every step: in + born + copied = out + dropped + failed + quarantined + packed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sftrecipe.errors import StepError
from sftrecipe.lazy import np, pl

if TYPE_CHECKING:
    from sftrecipe.run.context import RunContext

__all__ = ["Counts", "Events", "merge_counts"]

SCHEMA = ("row", "id", "step", "kind", "code", "value", "other", "facts")


@dataclass
class Counts:
    """One step's figures. `codes`: dropped rows by code; `nulls`: rows that failed and stay without a value, by code;
    `undefined`: rows for which a score has no value, by column; `notes`: events by code.
    """

    step: str
    rows_in: int = 0
    rows_out: int = 0
    dropped: int = 0
    failed: int = 0
    born: int = 0
    copied: int = 0
    quarantined: int = 0
    packed: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)
    undefined: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def assert_balance(self) -> None:
        """Raises StepError R650 if a row is unaccounted for."""
        have = self.rows_in + self.born + self.copied
        told = self.rows_out + self.dropped + self.failed + self.quarantined + self.packed
        if have != told:
            text = f"`{self.step}`: {have} rows came in or were made, {told} are accounted for"
            raise StepError(
                text, step=self.step, code="R650", help="this is a defect of sftrecipe or a plugin: please report it"
            )

    def names(self) -> dict[str, Any]:
        """What `expect:` may speak of."""
        whole = {k: v for k, v in vars(self).items() if isinstance(v, int)}
        return {**whole, **{f"dropped.{c}": n for c, n in self.codes.items()}}


def merge_counts(step: str, parts: Sequence[Mapping[str, Any]]) -> Counts:
    """One step's figures over all its shards."""
    total = Counts(step)
    for part in parts:
        for name, value in part.items():
            if isinstance(value, int):
                setattr(total, name, getattr(total, name) + value)
            elif isinstance(value, Mapping):
                merged = Counter(getattr(total, name)) + Counter(value)
                setattr(total, name, dict(sorted(merged.items(), key=lambda kv: (-kv[1], kv[0]))))
    return total


class Events:
    """What happened to rows of one shard, step by step."""

    def __init__(self, steps: Sequence[str]) -> None:
        self.steps = list(steps)
        self._rows: list[tuple[Any, ...]] = []
        self._tally: list[dict[str, Counter[str]]] = [
            {"dropped": Counter(), "failed": Counter(), "null": Counter(), "note": Counter(), "undefined": Counter()}
            for _ in steps
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def dropped(
        self,
        step: int,
        rows: np.ndarray,
        ids: pl.Series,
        codes: Sequence[str],
        values: np.ndarray | None,
        *,
        kinds: Sequence[str],
        others: Sequence[str | None] | None = None,
        facts: Sequence[str] | None = None,
    ) -> None:
        """Rows that leave (`dropped`, `failed`) or stay without a value (`null`)."""
        import math

        figures = [None] * len(codes) if values is None else [None if math.isnan(v) else float(v) for v in values]
        for at, (row, id, code, kind) in enumerate(zip(rows.tolist(), ids.to_list(), codes, kinds, strict=True)):
            other = others[at] if others is not None else None
            self._rows.append((row, id, self.steps[step], kind, code, figures[at], other, facts[at] if facts else None))
            self._tally[step][kind][code] += 1

    def undefined(self, step: int, columns: Mapping[str, int]) -> None:
        """Counts rows for which a score has no value, by column."""
        self._tally[step]["undefined"].update(columns)

    def noted(self, context: RunContext, step: int) -> None:
        """Takes the notes that an operator left."""
        if not context.notes:
            return
        taken = sorted(context.notes, key=lambda note: note[0])  # rows in flight together finish in any order
        context.notes.clear()
        for id, code, facts in taken:
            self._rows.append(
                (
                    None,
                    id,
                    self.steps[step],
                    "note",
                    code,
                    None,
                    None,
                    json.dumps(facts, ensure_ascii=False, default=str),
                )
            )
            self._tally[step]["note"][code] += 1

    def put_before(self, frame: pl.DataFrame) -> None:
        """Puts what an earlier run noted of other rows before these events."""
        rows = frame.select(SCHEMA).rows()
        self._rows = sorted([*rows, *self._rows], key=lambda r: (r[0] is None, r[0] or 0))
        for _, _, step, kind, code, *_ in rows:
            self._tally[self.steps.index(step)][kind][code] += 1

    def gone(self) -> list[int]:
        """The numbers of the rows that left."""
        return [r[0] for r in self._rows if r[3] in ("dropped", "failed")]

    def counts(self, rows_in: int) -> list[dict[str, Any]]:
        """Each step's figures."""
        found = []
        for tally in self._tally:
            dropped, failed = sum(tally["dropped"].values()), sum(tally["failed"].values())
            out = rows_in - dropped - failed
            found.append({
                "rows_in": rows_in, "rows_out": out, "dropped": dropped, "failed": failed,
                "codes": dict(tally["dropped"] + tally["failed"]), "nulls": dict(tally["null"]),
                "undefined": dict(tally["undefined"]), "notes": dict(tally["note"]),
            })  # fmt: skip
            rows_in = out
        return found

    def frame(self) -> pl.DataFrame:
        """All events, in order: row, id, step, kind, code, value, other, facts."""
        texts = dict.fromkeys(("id", "step", "kind", "code"), pl.String)
        kinds = {"row": pl.Int64, **texts, "value": pl.Float64, "other": pl.String, "facts": pl.String}
        return pl.DataFrame(self._rows, schema=kinds, orient="row")
