"""Lines: newline bytes only, any cut of the file gives the same rows."""

from __future__ import annotations

import io
import json
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import BadRow
from sftrecipe_io import lines as lines_module
from sftrecipe_io.lines import read_lines
from sftrecipe_io.load_auto import Auto
from tests.io.conftest import Loaded, read_all


def row(n: int, **more: object) -> dict[str, object]:
    return {"prompt": f"question {n}", "completion": "x" * (n % 7), **more}


def collect(
    data: bytes, start: int, stop: int | None, longest: int = 1 << 20
) -> tuple[list[tuple[int, int, bytes]], int]:
    """((line, offset, text) of every line, how many there were)."""
    reader = read_lines(io.BytesIO(data), start, stop, longest)
    found = []
    try:
        while True:
            item = next(reader)
            if isinstance(item, BadRow):
                found.append((item.line, item.offset, b"TOO LONG"))
            else:
                found += zip(item.lines.tolist(), item.offsets.tolist(), item.texts, strict=True)
    except StopIteration as end:
        return sorted(found), end.value


def expected(data: bytes, longest: int = 1 << 20) -> list[tuple[int, bytes]]:
    parts, at = [], 0
    for line in data.split(b"\n")[: None if not data.endswith(b"\n") else -1] if data else []:
        parts.append((at, line if len(line) <= longest else b"TOO LONG"))
        at += len(line) + 1
    return parts


lines_of_bytes = st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\xef", b"n")), max_size=12).map(b"\n".join)


@given(
    lines_of_bytes,
    st.lists(st.integers(0, 120), max_size=5),
    st.sampled_from([1, 3, 7, 64]),
    st.sampled_from([4, 8, 1000]),
)
def test_any_cut_gives_each_line_once(data: bytes, cuts: list[int], block: int, longest: int) -> None:
    before, lines_module.BLOCK = lines_module.BLOCK, block
    try:
        bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        found, count = [], 0
        for start, stop in zip(bounds, bounds[1:], strict=False):
            part, lines = collect(data, start, stop, longest)
            assert [line for line, _, _ in part] == list(range(1, lines + 1))
            found += [(offset, text) for _, offset, text in part]
            count += lines
    finally:
        lines_module.BLOCK = before
    assert found == expected(data, longest)
    assert count == len(expected(data))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 400), st.booleans())
def test_any_shard_size_gives_the_same_rows_and_places(shard_bytes: int, crlf: bool) -> None:
    rng = random.Random(7)
    texts = [
        json.dumps(row(n)) if rng.random() < 0.8 else rng.choice(["{", "", "[1]", '{"prompt": NaN}']) for n in range(60)
    ]
    data = ("\r\n" if crlf else "\n").join(texts).encode()
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.jsonl")
        path.write_bytes(data)
        operator = Auto(path=str(path), schema="prompt_completion")
        whole, cut = read_all(operator), read_all(operator, shard_bytes)
    assert cut.frame.equals(whole.frame)
    assert cut.reasons == whole.reasons
    assert cut.lines == whole.lines == data.count(b"\n") + (not data.endswith(b"\n"))


@pytest.mark.parametrize(
    ("data", "rows", "lines"),
    [
        (b"", 0, 0),
        (b"\n", 0, 1),
        (b"\n \t\r\n\n", 0, 3),
        (b'{"text":"a"}', 1, 1),
        (b'{"text":"a"}\n', 1, 1),
        (b'{"text":"a"}\r\n{"text":"b"}\r\n', 2, 2),
        (b'\xef\xbb\xbf{"text":"a"}\n{"text":"b"}', 2, 2),
        (b'\n\n{"text":"a"}\n\n{"text":"b"}', 2, 5),
        ('{"text":"a\u2028b\u0085c"}\n'.encode(), 1, 1),
    ],
    ids=[
        "empty",
        "one newline",
        "blank",
        "no final newline",
        "plain",
        "crlf",
        "bom",
        "blank between",
        "other line ends",
    ],
)
def test_edges_of_files(load, data: bytes, rows: int, lines: int) -> None:
    made: Loaded = load(data, schema="text")
    assert (made.frame.height, made.lines, made.bad) == (rows, lines, [])


def test_a_bom_counts_as_bytes(load) -> None:
    made: Loaded = load(b'\xef\xbb\xbf{"text":"a"}\n{', schema="text")
    assert made.reasons == [(2, 16, "bad_json")]


def test_a_huge_row_is_skipped_without_being_held(load) -> None:
    huge = b'{"prompt":"' + b"x" * (50 << 20) + b'","completion":"b"}'
    small = json.dumps(row(1)).encode()
    made: Loaded = load(small + b"\n" + huge + b"\n" + small + b"\n" + small, schema="prompt_completion")
    assert made.reasons == [(2, len(small) + 1, "too_long")]
    assert made.bad[0].raw == huge[:200].decode()
    assert (made.frame.height, made.lines) == (3, 4)


def test_memory_for_a_huge_row_is_bounded() -> None:
    class Endless(io.RawIOBase):
        """One line of 400 MB, then a row; counts what is asked for at once."""

        left, most = 400 << 20, 0

        def read(self, size: int = -1) -> bytes:
            self.most = max(self.most, size)
            if self.left <= 0:
                return b""
            taken = min(size, self.left)
            self.left -= taken
            return b"x" * taken if self.left else b"x" * (taken - 3) + b"\n{}"

    stream = Endless()
    import tracemalloc

    tracemalloc.start()
    items = list(read_lines(stream, 0, None, 16 << 20, seek=False))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(items[0], BadRow)
    assert items[1].texts == [b"{}"]
    assert peak < 60 << 20


def test_frames_are_bounded(load) -> None:
    made: Loaded = load([{"text": "a"}] * 20_000)
    assert made.frame.height == 20_000
    assert max(made.sizes) <= 8192
    wide: Loaded = load([{"text": "a" * 100_000}] * 100)
    assert max(wide.sizes) < 100


def test_a_row_of_exactly_the_longest_length_stays(load) -> None:
    text = json.dumps({"text": "a" * 2000})
    kept: Loaded = load(text, schema="text", max_row_bytes=len(text))
    assert (kept.frame.height, kept.bad) == (1, [])
    gone: Loaded = load(text, schema="text", max_row_bytes=len(text) - 1)
    assert gone.reasons == [(1, 0, "too_long")]


def test_an_empty_file_gives_no_frames(load) -> None:
    assert load(b"").frame.equals(pl.DataFrame())
