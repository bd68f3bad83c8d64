"""What a write must know before its first row: how many rows each place gets, and which fields of a message anybody
uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sftrecipe.lazy import pl
from sftrecipe_io.jsontext import is_talk

if TYPE_CHECKING:
    from sftrecipe import Dataset

__all__ = ["Survey", "survey"]

_USED = "used:"


@dataclass(frozen=True)
class Survey:
    """What was counted.

    `counts` has a row for each combination of the `by` columns, source and license, with `rows`. `used` names,
    for each column of conversations, the fields that some message fills.
    """

    by: Sequence[str]
    counts: pl.DataFrame
    used: Mapping[str, frozenset[str]]

    def groups(self) -> list[tuple[tuple[Any, ...], pl.DataFrame]]:
        """(values of the `by` columns, their part of `counts`), sorted by value; one group with no values where `by`
        is empty."""
        if not self.by:
            return [((), self.counts)]
        parts = self.counts.partition_by(list(self.by), as_dict=True)
        return sorted(parts.items(), key=lambda item: tuple(str(value) for value in item[0]))

    def trimmed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame without the fields of messages that are null in every row of the output."""
        for name, used in self.used.items():
            if name in frame.columns:
                fields = [pl.element().struct.field(field) for field in _fields(frame[name]) if field in used]
                frame = frame.with_columns(pl.col(name).list.eval(pl.struct(fields)))
        return frame


def survey(data: Dataset, names: Sequence[str], by: Sequence[str], *, fields: bool) -> Survey:
    """One pass over the columns in question, shard by shard. `fields`: whether to look at messages too."""
    there = data.columns
    keys = [*by, *(name for name in ("source", "license") if name in there and name not in by)]
    talks = [name for name in names if fields and there.get(name) in ("messages", "any")]
    if not len(data):
        return Survey(by, pl.DataFrame(schema={**dict.fromkeys(keys, pl.String), "rows": pl.Int64}), {})
    columns = list(dict.fromkeys([*keys, *talks])) or list(names)[:1]
    found = data.map(_count, keys, talks, columns=columns).frame(*keys, "rows", _USED)
    counts = (
        found.group_by(keys, maintain_order=True).agg(pl.col("rows").sum())
        if keys
        else found.select(pl.col("rows").sum())
    )
    used: dict[str, set[str]] = {}
    for line in found[_USED].unique():
        for word in filter(None, line.split("\n")):
            name, _, field = word.partition("\t")
            used.setdefault(name, set()).add(field)
    return Survey(by, counts, {name: frozenset(fields) for name, fields in used.items()})


def _count(frame: pl.DataFrame, keys: Sequence[str], talks: Sequence[str]) -> pl.DataFrame:
    """One shard: rows by key, and `talk<TAB>field` for each field that some message fills."""
    used = []
    for name in talks:
        if is_talk(frame.schema[name]):
            fields = frame[name].explode(empty_as_null=False, keep_nulls=False).struct.unnest()
            used += [
                f"{name}\t{f}"
                for f in fields.columns
                if f in ("role", "content") or fields[f].null_count() < fields.height
            ]
    counted = frame.group_by(keys, maintain_order=True).len("rows") if keys else pl.DataFrame({"rows": [frame.height]})
    return counted.select(*keys, pl.col("rows").cast(pl.Int64), pl.lit("\n".join(used)).alias(_USED))


def _fields(column: pl.Series) -> list[str]:
    inner = column.dtype.inner  # type: ignore[attr-defined]
    return [field.name for field in inner.fields]
