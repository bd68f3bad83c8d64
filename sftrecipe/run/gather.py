"""Rows moved: output shards filled from anywhere in several tables, within a bounded memory.

The output is made in groups that fit the budget; for each group every source shard that holds some of its rows is
read once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sftrecipe.lazy import np, pl
from sftrecipe.table import Table
from sftrecipe.types import parse_type

__all__ = ["gathered", "shard_rows"]

BUDGET = 192 << 20


def shard_rows(tables: Sequence[Table]) -> int:
    """How many rows an output shard gets: the mean of the input's."""
    parts = sum(len(t.parts) for t in tables)
    rows = sum(len(t) for t in tables)
    return max(1, -(-rows // parts)) if parts else 1


def gathered(
    tables: Sequence[Table], table_of: np.ndarray, row_of: np.ndarray, columns: Mapping[str, str], size: int
) -> Iterator[pl.DataFrame]:
    """Frames of `size` rows: row k is row `row_of[k]` of table `table_of[k]`. Columns that a table lacks are null."""
    group = max(size, _rows_within(tables, BUDGET) // size * size)
    for start in range(0, len(row_of), group):
        stop = min(len(row_of), start + group)
        frame = _take(tables, table_of[start:stop], row_of[start:stop], columns)
        for at in range(0, frame.height, size):
            yield frame.slice(at, size)


def _rows_within(tables: Sequence[Table], budget: int) -> int:
    from pathlib import Path

    files = {layer.path for t in tables for p in t.parts for layer in p.layers}
    size = sum(Path(f).stat().st_size for f in files)
    rows = max(1, sum(len(t) for t in tables))
    return max(1, int(budget / max(1.0, size / rows)))


def _take(
    tables: Sequence[Table], table_of: np.ndarray, row_of: np.ndarray, columns: Mapping[str, str]
) -> pl.DataFrame:
    frames, places = [], []
    for number, table in enumerate(tables):
        mine = np.flatnonzero(table_of == number)
        if not len(mine):
            continue
        have = [c for c in columns if any(c in layer.columns for layer in table.parts[0].layers)]
        offsets = table.offsets()
        part_of = np.searchsorted(offsets, row_of[mine], side="right") - 1
        for part in np.unique(part_of):
            at = mine[part_of == part]
            frame = table.parts[part].read(have)[(row_of[at] - offsets[part]).astype(np.uint32)]
            missing = [pl.lit(None, dtype=parse_type(columns[c]).dtype()).alias(c) for c in columns if c not in have]
            frames.append(frame.with_columns(missing).select(list(columns)))
            places.append(at)
    if not frames:
        return pl.DataFrame(schema={c: parse_type(w).dtype() for c, w in columns.items()})
    back = np.argsort(np.concatenate(places), kind="stable")
    whole: pl.DataFrame = pl.concat(frames, how="vertical_relaxed")
    return whole[back]
