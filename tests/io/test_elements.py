"""JSON lists: element by element, with the checks of lines."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import StepError
from sftrecipe_io import elements
from sftrecipe_io.elements import read_elements
from sftrecipe_io.lines import Chunk
from tests.io.conftest import Loaded


def collect(data: bytes, window: int = 1 << 22, longest: int = 1 << 20) -> tuple[list[tuple[int, int, bytes]], int]:
    before, elements.BLOCK = elements.BLOCK, window
    found: list[tuple[int, int, bytes]] = []
    reader = read_elements(io.BytesIO(data), "x.json", longest)
    try:
        while True:
            item = next(reader)
            if isinstance(item, Chunk):
                found += zip(item.lines.tolist(), item.offsets.tolist(), item.texts, strict=True)
            else:
                found.append((item.line, item.offset, b"TOO LONG"))
    except StopIteration as end:
        return sorted(found), end.value
    finally:
        elements.BLOCK = before


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(values, max_size=6), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 9), st.booleans())
def test_elements_are_found_with_their_bytes(
    rows: list[Any], indent: int | None, ascii_: bool, window: int, bom: bool
) -> None:
    data = b"\xef\xbb\xbf" * bom + (" " + json.dumps(rows, indent=indent, ensure_ascii=ascii_) + "\n").encode(
        "utf-8", "surrogatepass"
    )
    found, count = collect(data, window)
    assert count == len(rows)
    assert [line for line, _, _ in found] == list(range(1, len(rows) + 1))
    assert all(data[at : at + len(text)] == text for _, at, text in found)
    assert json.dumps([json.loads(text.decode("utf-8", "surrogatepass")) for _, _, text in found]) == json.dumps(rows)


BROKEN = {
    b"": "no opening bracket at byte 0",
    b"[1 2]": "no comma at byte 3",
    b"[1,]": "a comma before the closing bracket at byte 3",
    b"[1": "the list never ends at byte 2",
    b"[1]x": "text after the closing bracket at byte 3",
    b'[{"a":1},{"b":}]': "Expecting value at byte 14",
    b'[{"a":"x]': "Unterminated string starting at at byte 6",
    b"[" + b"[" * 200_000 + b"]": "an element never ends at byte 1",
}


@pytest.mark.parametrize(("data", "what"), BROKEN.items(), ids=range(len(BROKEN)))
@pytest.mark.parametrize("window", [1, 1 << 22])
def test_what_is_wrong_between_elements_is_an_error_with_its_byte(data: bytes, what: str, window: int) -> None:
    with pytest.raises(StepError, match="x.json is no list of rows") as caught:
        collect(data, window)
    assert str(caught.value).endswith(what)
    assert caught.value.code == "R613"


def test_a_long_broken_list_is_not_read_to_its_end() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    stream = Counting(b'[{"a":1},{"b" 2},' + b'{"a":1},' * 4_000_000 + b"1]")
    with pytest.raises(StepError, match="at byte 14"):
        list(read_elements(stream, "x.json", 1 << 20))
    assert stream.taken < 10 << 20


def test_faults_of_elements_have_the_reasons_of_lines(load) -> None:
    good = b'{"text":"a"}'
    faulty = {
        b'{"text":NaN}': "not_finite",
        b'{"text":"a","text":"b"}': "duplicate_key",
        b'{"text":"\xff"}': "bad_utf8",
        b'{"text":"\\ud800"}': "lone_surrogate",
        b"3": "not_object",
        b"[" * 150_000 + b'"]"' + b"]" * 150_000: "too_deep",
        b'{"text":"' + b"x" * 2_000_000 + b'"}': "too_long",
    }
    parts = [good, *faulty, good]
    made: Loaded = load(b"[" + b",\n".join(parts) + b"]", name="x.json", schema="text", max_row_bytes=1 << 20)
    starts = [1 + sum(len(part) + 2 for part in parts[:n]) for n in range(len(parts))]
    expected = [(n + 2, starts[n + 1], reason) for n, reason in enumerate(faulty.values())]
    assert sorted(made.reasons) == expected
    assert (made.frame.height, made.lines) == (2, len(parts))


def test_a_pretty_list_and_lines_named_json(load) -> None:
    rows = [{"text": "a", "k": [1, {"b": 2}]}, {"text": "c"}]
    pretty: Loaded = load(json.dumps(rows, indent=2).encode(), name="a.json")
    lines: Loaded = load("\n".join(map(json.dumps, rows)).encode(), name="b.json")
    assert pretty.turns == lines.turns == [[("assistant", "a")], [("assistant", "c")]]
    assert pretty.extra == [{"k": [1, {"b": 2}]}, None]


def test_one_object_is_no_list_of_rows(load) -> None:
    with pytest.raises(StepError, match="holds one object over several lines") as caught:
        load(b'{\n  "data": []\n}', name="x.json")
    assert caught.value.code == "R613"
    assert "one a line" in caught.value.help
    with pytest.raises(StepError, match="rows fit no schema") as caught:
        load(b'{"version": 1, "rows": [{"text": "a"}]}', name="x.json")
    assert "the rows seem to stand under `rows`" in caught.value.help


def test_an_empty_list_is_an_empty_file(load) -> None:
    made: Loaded = load(b" [ ] ", name="x.json")
    assert (made.frame.height, made.lines) == (0, 0)
