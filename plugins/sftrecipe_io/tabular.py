"""CSV, TSV and Parquet rows as dicts.

CSV is read by the standard reader, strictly; a row with more or fewer cells than the header is bad, a quote that
never closes is an error of the file. Every cell is text, so `columns` says which are numbers. Parquet values become
the JSON values they stand for: dates and times ISO 8601 text, decimals numbers (text where no float has all their
digits), maps lists of [key, value], JSON texts (Arrow's type for them) what they say. NaN becomes null (Arrow's
writers use it for "missing"; a warning says how many), infinity, durations and bytes have no JSON form and make the row
bad. Columns that are null are left out of a row.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Generator, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO

from sftrecipe import BadRow, RowError, StepError
from sftrecipe.lazy import pa
from sftrecipe_io.decode import Parsed
from sftrecipe_io.jsonio import loads
from sftrecipe_io.lines import BLOCK, CHUNK_ROWS, quote

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["open_parquet", "plain_rows", "read_csv", "read_parquet"]


class _Records:
    """The lines of a CSV file for the reader, with where the record being read began."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.line, self.byte, self.raw = stream, 0, 0, b""

    def __iter__(self) -> Iterator[str]:
        for line in _byte_lines(self._stream):
            self.line += 1
            self.raw += line
            text = line.decode("utf-8", "surrogateescape")
            yield text.removeprefix("\ufeff") if self.line == 1 else text

    def start(self) -> tuple[int, int]:
        """(line, byte) at which the next record begins."""
        self.byte, self.raw = self.byte + len(self.raw), b""
        return self.line + 1, self.byte


def _byte_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends. Neither unbuffered files nor pyarrow's unpacking streams give them at a fair speed."""
    carry = b""
    while data := stream.read(1 << 20):
        *whole, carry = (carry + data).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if carry:
        yield carry


def read_csv(stream: BinaryIO, name: str, delimiter: str, longest: int) -> Generator[Parsed | BadRow, None, int]:
    """The rows of a CSV file, cells as text. Returns how many lines there were. Raises StepError R613."""
    if csv.field_size_limit() < longest:
        csv.field_size_limit(longest)
    records = _Records(stream)
    reader = csv.reader(records, delimiter=delimiter, strict=True)
    header = _header(reader, records, name)
    rows, lines, offsets, raws, size = [], [], [], [], 0
    while True:
        line, byte = records.start()
        try:
            cells = next(reader)
            fault = _fault(cells, header, records.raw, longest)
        except StopIteration:
            break
        except csv.Error as error:
            if str(error) == "unexpected end of data":
                raise StepError(f"{name}: the quote opened in line {line} never closes", code="R613") from error
            fault = f"bad_csv: {error}"
        if fault:
            yield BadRow(fault, line, byte, raw=quote(records.raw))
        elif cells:
            rows.append(dict(zip(header, cells, strict=True)))
            lines.append(line)
            offsets.append(byte)
            raws.append(records.raw)
            size += len(records.raw)
        if size >= BLOCK or len(rows) == CHUNK_ROWS:
            yield Parsed(rows, lines, offsets, raws, [], plain=True)
            rows, lines, offsets, raws, size = [], [], [], [], 0
    if rows:
        yield Parsed(rows, lines, offsets, raws, [], plain=True)
    return records.line


def _header(reader: Any, records: _Records, name: str) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise StepError(f"{name}: the header is no CSV ({error})", code="R613") from error
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        raise StepError(f"{name}: the header names `{twice}` twice", code="R613")
    return header


def _fault(cells: Sequence[str], header: Sequence[str], raw: bytes, longest: int) -> str:
    """What is wrong with a record, or nothing. A blank line is no record."""
    if len(raw) > longest:
        return f"too_long: more than {longest:,} bytes"
    if cells and len(cells) != len(header):
        return f"wrong_columns: {len(cells)} cells, the header has {len(header)}"
    if not raw.isascii() and any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
        return "bad_utf8: a byte that is not UTF-8"
    return ""


def open_parquet(path: str) -> pq.ParquetFile:
    """The file; checksums of its pages are checked where it has them. Raises StepError R613 if it is no whole one."""
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise StepError(f"{path} is no whole Parquet file: {str(error).splitlines()[0]}", code="R613") from error


def read_parquet(
    path: str, groups: Sequence[int], warn: Callable[[str, int], None]
) -> Generator[Parsed | BadRow, None, int]:
    """The rows of these row groups. Returns how many there were. Raises StepError R613 for damaged pages."""
    done = 0
    with open_parquet(path) as file:
        if not groups or not file.metadata.num_rows:
            return 0
        width = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        size = max(1, min(CHUNK_ROWS, int(BLOCK * rows / max(width, 1))))
        try:
            for batch in file.iter_batches(batch_size=size, row_groups=list(groups)):
                yield plain_rows(batch, done, warn)
                done += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise StepError(f"{path} is damaged: {str(error).splitlines()[0]}", code="R613") from error
    return done


def plain_rows(batch: pa.RecordBatch, before: int, warn: Callable[[str, int], None]) -> Parsed:
    """An Arrow batch as rows; `before` rows came before it."""
    import pyarrow.compute as pc

    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        holes = pc.sum(pc.is_nan(column)).as_py() if pa.types.is_floating(column.type) else 0
        if holes:
            warn(f"column `{name}`: NaN read as null", holes)
        columns.append(pc.if_else(pc.is_nan(column), None, column) if holes else column)
    dicts = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    rows = [{key: value for key, value in row.items() if value is not None} for row in dicts]
    reworded = {field.name: words for field in batch.schema if (words := _words(field.type))}
    for row in rows if reworded else ():
        row |= {name: words(row[name]) for name, words in reworded.items() if name in row}
    count = len(rows)
    return Parsed(rows, range(before + 1, before + 1 + count), [0] * count, None, [], plain=True)


Words = Callable[[Any], Any]


def _words(kind: pa.DataType) -> Words | None:
    """What makes a value of this type one of JSON's; None where it is one as it stands."""
    types = pa.types
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        return _unless_null(lambda value: value.isoformat())
    if types.is_decimal(kind):
        return _unless_null(_number)
    if isinstance(kind, pa.BaseExtensionType):
        return _unless_null(_value) if kind.extension_name == "arrow.json" else None
    if types.is_dictionary(kind):
        return _words(kind.value_type)
    if types.is_struct(kind):
        fields = {field.name: words for field in kind if (words := _words(field.type))}
        return (
            _unless_null(lambda value: value | {n: words(value[n]) for n, words in fields.items()}) if fields else None
        )
    if types.is_map(kind):
        key, item = _words(kind.key_type) or _same, _words(kind.item_type) or _same
        return _unless_null(lambda value: [[key(k), item(v)] for k, v in value])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _words(kind.value_type)
        return _unless_null(lambda value: [inner(v) for v in value]) if inner else None
    return None


def _unless_null(words: Words) -> Words:
    return lambda value: None if value is None else words(value)


def _same(value: Any) -> Any:
    return value


def _number(value: Decimal) -> Any:
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _value(text: Any) -> Any:
    """The value of a JSON text; what is none stays as it is, for the schema to judge."""
    try:
        return loads(text)
    except RowError:
        return text
