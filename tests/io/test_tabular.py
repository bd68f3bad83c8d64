"""CSV, TSV and Parquet."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftrecipe import StepError
from sftrecipe_io.load_auto import Auto
from tests.io.conftest import Loaded, read_all


def test_csv_cells_are_text_and_columns_say_more(load) -> None:
    data = 'question,answer,n,x,ok,tags\r\n"a, ""b""\nc",d,3,1.5,true,"[""t""]"\r\ne,f,,,,\r\n\r\n'
    kinds = {"n": "int", "x": "float", "ok": "bool", "tags": "list[text]"}
    made: Loaded = load(data, name="x.csv", columns={name: {"key": name, "type": kind} for name, kind in kinds.items()})
    assert made.turns == [[("user", 'a, "b"\nc'), ("assistant", "d")], [("user", "e"), ("assistant", "f")]]
    assert made.frame.select(list(kinds)).rows() == [(3, 1.5, True, ["t"]), (None, None, None, None)]
    assert (made.bad, made.lines, made.extra) == ([], 5, [None, None])


def test_tsv_and_a_bom(load) -> None:
    made: Loaded = load("\ufeffprompt\tcompletion\ta\nx\ty\tz\n", name="x.tsv")
    assert made.turns == [[("user", "x"), ("assistant", "y")]]
    assert made.extra == [{"a": "z"}]


def test_bad_csv_rows_have_their_place(load) -> None:
    lines = [
        b"text,n\n",
        b"a,1\n",
        b"b\n",
        b"c,2,3\n",
        b'd"x,"1"2\n',
        b"e\xff,1\n",
        b"f\x00,1\n",
        b"g,one\n",
        b"h" * 3000 + b",1\n",
        b"z,9\n",
    ]
    made: Loaded = load(b"".join(lines), name="x.csv", columns={"n": {"key": "n", "type": "int"}}, max_row_bytes=2000)
    starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
    reasons = {
        2: "wrong_columns",
        3: "wrong_columns",
        4: "bad_csv",
        5: "bad_utf8",
        6: "nul",
        7: "wrong_type",
        8: "too_long",
    }
    assert sorted(made.reasons) == [(n + 1, starts[n], reason) for n, reason in reasons.items()]
    assert made.turns == [[("assistant", "a")], [("assistant", "z")]]
    assert next(row for row in made.bad if row.line == 8).reason == 'wrong_type: column `n` is int, the value is "one"'


def test_a_quote_that_never_closes_is_an_error_that_names_its_line(load) -> None:
    with pytest.raises(StepError, match=r"x.csv: the quote opened in line 3 never closes") as caught:
        load('text\na\n"b\nc\n', name="x.csv", schema="text")
    assert caught.value.code == "R613"


@pytest.mark.parametrize("data", ["text,text\na,b\n", 'a,"b\n'])
def test_a_header_that_is_none(load, data: str) -> None:
    with pytest.raises(StepError, match="header"):
        load(data, name="x.csv", schema="text")


def test_a_csv_with_a_header_only_has_no_rows(load) -> None:
    assert load("text,n\n", name="x.csv").frame.height == 0


def parquet(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None, group: int = 3) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=group, write_page_checksum=True)
    return path


def test_parquet_rows_and_row_groups(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"q{n}", "name": None},
                {"role": "assistant", "content": "a", "name": "b"},
            ],
            "n": n,
        }
        for n in range(10)
    ]
    path = parquet(tmp_path / "x.parquet", rows)
    operator = Auto(path=str(path), columns={"n": {"key": "n", "type": "int"}})
    whole, cut = read_all(operator), read_all(operator, 1)
    assert len(operator.pieces(1)) == 4
    assert whole.frame.equals(cut.frame)
    assert whole.frame["n"].to_list() == list(range(10))
    assert whole.extra == [None] * 10
    assert whole.frame["messages"][0][1]["name"] == "b"
    assert (whole.lines, cut.lines) == (10, 10)


def test_parquet_values_that_are_no_json_are_bad_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "x": 1.0, "l": [0.5], "b": None, "d": None},
        {"text": "b", "x": float("nan"), "l": None, "b": None, "d": None},
        {"text": "c", "x": float("inf"), "l": None, "b": None, "d": None},
        {"text": "d", "x": None, "l": [float("nan")], "b": None, "d": None},
        {"text": "e", "x": None, "l": None, "b": b"\x00", "d": None},
        {"text": "f", "x": None, "l": None, "b": None, "d": datetime.timedelta(1)},
        {"text": "g\x00", "x": None, "l": None, "b": None, "d": None},
    ]
    path = parquet(tmp_path / "x.parquet", rows)
    operator = Auto(path=str(path))
    made = read_all(operator)
    assert [(row.line, row.reason.partition(":")[0]) for row in made.bad] == [
        (3, "not_finite"),
        (4, "not_finite"),
        (5, "not_json"),
        (6, "not_json"),
        (7, "nul"),
    ]
    assert made.extra == [{"x": 1.0, "l": [0.5]}, None]
    assert operator.warnings() == {f"{path}: column `x`: NaN read as null": 1}


def test_parquet_times_decimals_maps_and_json_have_a_json_form(tmp_path: Path) -> None:
    utc, day = datetime.timezone.utc, datetime.date(2026, 1, 2)
    stamp = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=utc)
    texts = pa.ExtensionArray.from_storage(pa.json_(), pa.array([json.dumps({"role": "user", "content": "a"})]))
    table = pa.table(
        {
            "messages": pa.ListArray.from_arrays([0, 1, 1], texts),
            "text": ["x", "y"],
            "at": pa.array([stamp, None], pa.timestamp("us", "UTC")),
            "fine": pa.array([1, None], pa.timestamp("ns")),
            "day": [day, None],
            "clock": [datetime.time(1, 2, 3), None],
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "count": pa.array([Decimal("3"), None], pa.decimal128(30, 0)),
            "exact": pa.array([Decimal("0.12345678901234567890"), None], pa.decimal128(30, 20)),
            "word": pa.array(["w", None]).dictionary_encode(),
            "map": pa.array([[("a", day)], None], pa.map_(pa.string(), pa.date32())),
            "deep": pa.array([{"l": [{"at": stamp}, None]}, None]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    columns = {"at": {"key": "at", "type": "text"}, "price": {"key": "price", "type": "float"}}
    made = read_all(Auto(path=str(tmp_path / "x.parquet"), schema="messages", columns=columns))
    assert made.turns == [[("user", "a")]]
    assert made.frame.select("at", "price").rows() == [("2026-01-02T03:04:05.000006+00:00", 1.5)]
    assert made.extra == [
        {
            "text": "x",
            "fine": "1970-01-01T00:00:00.000000001",
            "day": "2026-01-02",
            "clock": "01:02:03",
            "count": 3,
            "exact": "0.12345678901234567890",
            "word": "w",
            "map": [["a", "2026-01-02"]],
            "deep": {"l": [{"at": "2026-01-02T03:04:05.000006+00:00"}, None]},
        }
    ]
    assert [row.reason.partition(":")[0] for row in made.bad] == ["no_messages"]


def test_a_parquet_file_without_rows(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [], pa.schema([("text", pa.string())]))
    made = read_all(Auto(path=str(path), schema="text"))
    assert (made.frame.height, made.lines) == (0, 0)


@pytest.mark.parametrize("cut", [0, 3, 0.5], ids=["empty", "three bytes", "half"])
def test_a_truncated_parquet_file_is_named(tmp_path: Path, cut: float) -> None:
    path = parquet(tmp_path / "x.parquet", [{"text": "abc" * 50}] * 100)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut) if cut == 0.5 else int(cut)])
    with pytest.raises(StepError, match=r"x\.parquet is no whole Parquet file") as caught:
        read_all(Auto(path=str(path)))
    assert caught.value.code == "R613"


def test_one_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"text": [f"some text {n}" for n in range(1000)]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"some text 500")] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StepError, match=r"x\.parquet (is damaged|cannot be read)") as caught:
        read_all(Auto(path=str(path), schema="text"))
    assert caught.value.code == "R613"
