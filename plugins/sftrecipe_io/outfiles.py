"""Files of rows, written frame by frame in bounded memory. How the frames fall never changes the bytes.

Parquet: row groups of 8,192 rows exactly, cut from one contiguous buffer (its bytes depend on the chunks that come
in), zstd, page checksums, plain lists and strings (no view types), so that every reader takes it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, cast

from sftrecipe import StepError
from sftrecipe.lazy import np, pa, pl
from sftrecipe_io.jsontext import json_rows

__all__ = ["GROUP_ROWS", "OutFile", "facts_of", "open_out"]

GROUP_ROWS = 8192
SLICE_ROWS = 2048


class OutFile(Protocol):
    """A file being written."""

    def add(self, frame: pl.DataFrame) -> None:
        """The next rows."""
        ...

    def close(self) -> None:
        """Writes what is left."""
        ...


def open_out(path: Path, format_: str, packed: str, json_columns: frozenset[str], empty: pl.DataFrame) -> OutFile:
    """A new file. `empty` is a frame without rows that shows its columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if format_ == "parquet":
        return _Parquet(path, empty)
    if format_ in ("csv", "tsv"):
        return _Csv(path, packed, "," if format_ == "csv" else "\t", empty)
    return _Json(path, packed, json_columns, as_list=format_ == "json")


def facts_of(folder: Path, rows: Mapping[Path, int]) -> list[dict[str, Any]]:
    """Path below `folder`, rows and bytes of each file, by path. (The interpreter hashes what it is given.)"""
    return [
        {"path": path.relative_to(folder).as_posix(), "rows": rows[path], "bytes": path.stat().st_size}
        for path in sorted(rows)
    ]


@contextmanager
def _packing(path: Path, packed: str) -> Iterator[IO[bytes]]:
    """A file that packs what is written to it. No time and no name go into a .gz: equal rows give equal bytes."""
    if packed == "gz":
        with (
            path.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as file,
        ):
            yield cast("IO[bytes]", file)
    elif packed == "zst":
        with pa.OSFile(str(path), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as file:
            yield file
    else:
        with path.open("wb") as file:
            yield file


class _Text:
    """What the text formats share: an open, perhaps packing file."""

    def __init__(self, path: Path, packed: str) -> None:
        self._manager = _packing(path, packed)
        self._file = self._manager.__enter__()

    def close(self) -> None:
        self._manager.__exit__(None, None, None)


class _Json(_Text):
    """JSON lines, or one JSON list with a row a line. Two threads make the texts: Polars does it without the GIL."""

    def __init__(self, path: Path, packed: str, json_columns: frozenset[str], *, as_list: bool) -> None:
        super().__init__(path, packed)
        self._json, self._list, self._first = json_columns, as_list, True
        self._threads = ThreadPoolExecutor(2)

    def add(self, frame: pl.DataFrame) -> None:
        for texts in self._threads.map(self._texts, frame.iter_slices(SLICE_ROWS)) if frame.height else ():
            if self._list:
                self._file.write(b"[\n" if self._first else b",\n")
                self._first = False
            self._file.write(texts[:-2] if self._list else texts)

    def _texts(self, frame: pl.DataFrame) -> memoryview:
        end = pl.lit(",\n" if self._list else "\n")
        return _joined(pl.select(pl.concat_str(json_rows(frame, self._json), end)).to_series())

    def close(self) -> None:
        self._threads.shutdown()
        if self._list:
            self._file.write(b"[]\n" if self._first else b"\n]\n")
        super().close()


def _joined(texts: pl.Series) -> memoryview:
    """All texts one after the other, without a Python object for each."""
    array = cast("pa.LargeStringArray", texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()))
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]


class _Csv(_Text):
    """CSV. A text cell that a spreadsheet would take for a formula gets an apostrophe in front."""

    def __init__(self, path: Path, packed: str, separator: str, empty: pl.DataFrame) -> None:
        nested = [name for name, kind in empty.schema.items() if kind.is_nested()]
        if nested:
            what = f"{path.name}: {', '.join(f'`{n}`' for n in nested)} cannot stand in a cell"
            raise StepError(
                what, code="R671", help="name flat `columns:` (`query`, `response`), or write .jsonl or .parquet"
            )
        super().__init__(path, packed)
        self._separator, self._text = separator, [name for name, kind in empty.schema.items() if kind == pl.String]
        empty.write_csv(self._file, separator=separator)

    def add(self, frame: pl.DataFrame) -> None:
        if not frame.height:
            return
        cells = [
            pl.when(pl.col(name).str.contains(r"^[=+\-@\t\r]")).then(pl.concat_str(pl.lit("'"), pl.col(name)))
            .otherwise(pl.col(name)).alias(name)
            for name in self._text
        ]  # fmt: skip
        frame.with_columns(cells).write_csv(self._file, separator=self._separator, include_header=False)


class _Parquet:
    """Parquet, a row group at a time."""

    def __init__(self, path: Path, empty: pl.DataFrame) -> None:
        import pyarrow.parquet as pq

        self._schema = _plain_schema(empty)
        self._waiting: list[pl.DataFrame] = []
        self._count = 0
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)

    def add(self, frame: pl.DataFrame) -> None:
        self._waiting.append(frame)
        self._count += frame.height
        if self._count >= GROUP_ROWS:
            whole = pl.concat(self._waiting)
            cut = self._count - self._count % GROUP_ROWS
            for at in range(0, cut, GROUP_ROWS):
                self._group(whole.slice(at, GROUP_ROWS))
            self._waiting, self._count = [whole.slice(cut)], self._count - cut

    def close(self) -> None:
        if self._count:
            self._group(pl.concat(self._waiting))
        self._writer.close()

    def _group(self, frame: pl.DataFrame) -> None:
        # through fresh arrays of one chunk and no offset: page borders follow chunk borders
        table = frame.rechunk().to_arrow().cast(self._schema).combine_chunks()
        sound = [pa.concat_arrays([column.chunk(0)]) for column in table.columns]
        self._writer.write_table(pa.Table.from_arrays(sound, schema=self._schema), row_group_size=GROUP_ROWS)


def _plain_schema(frame: pl.DataFrame) -> pa.Schema:
    schema = frame.to_arrow().schema
    return pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])


def _plain(kind: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_list(kind) or types.is_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([pa.field(inner.name, _plain(inner.type)) for inner in kind])
    return kind
