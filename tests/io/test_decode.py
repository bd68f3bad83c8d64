"""What is wrong with a line, told exactly; what is right, kept to the last digit."""

from __future__ import annotations

import gc
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe import BadRow
from sftrecipe_io.decode import decode, quiet_collector
from sftrecipe_io.jsonio import dump, exact, vet
from sftrecipe_io.lines import joined
from tests.io.conftest import Loaded

GOOD = b'{"prompt":"a","completion":"b"}'

FAULTS = {
    b'{"prompt":"a","completion":"b"': "bad_json",
    b'{"prompt":"a"} {"prompt":"b"}': "bad_json",
    b"plain text": "bad_json",
    b'{"prompt":"a\x01","completion":"b"}': "bad_json",
    b'\xef\xbb\xbf{"prompt":"a","completion":"b"}': "bad_json",
    b'{"prompt":"a","completion":"\xff\xfe"}': "bad_utf8",
    b'{"prompt":"a","completion":"b","x":NaN}': "not_finite",
    b'{"prompt":"a","completion":"b","x":[1,-Infinity]}': "not_finite",
    b'{"prompt":"a","completion":"b","x":1e999}': "not_finite",
    b'{"prompt":"a","prompt":"c","completion":"b"}': "duplicate_key",
    b'{"prompt":"a","completion":"b","m":[[{"k":1,"k":1}]]}': "duplicate_key",
    b'{"prompt":"a","completion":"b","m":{"n":{"k":1,"k":2}}}': "duplicate_key",
    b'{"prompt":"say \\"k\\": twice","completion":"b","m":{"k":1,"k":2}}': "duplicate_key",
    b'{"prompt":"a","completion":"\\ud800"}': "lone_surrogate",
    b'{"prompt":"a","completion":"\\udc00 x"}': "lone_surrogate",
    b'{"prompt":"a","completion":"x\\u0000y"}': "nul",
    b'{"prompt":"a","completion":"x\x00y"}': "nul",
    b'{"prompt":"a","k\\u0000":1}': "nul",
    b"[" * 200_000 + b"]" * 200_000: "too_deep",
    b'{"prompt":"a","completion":"b","x":' + b"[" * 300 + b"]" * 300 + b"}": "too_deep",
    b'{"prompt":"a","completion":"b","x":' + b"1" * 5000 + b"}": "bad_json",
    b'["a","b"]': "not_object",
    b"17": "not_object",
    b"null": "not_object",
    b'"text"': "not_object",
}


@pytest.mark.parametrize(("line", "reason"), FAULTS.items(), ids=[f"{r}{n}" for n, r in enumerate(FAULTS.values())])
def test_a_bad_line_is_named_with_its_place_and_its_neighbours_stay(load, line: bytes, reason: str) -> None:
    made: Loaded = load(GOOD + b"\n" + line + b"\n" + GOOD + b"\n", schema="prompt_completion")
    assert made.reasons == [(2, len(GOOD) + 1, reason)]
    assert made.bad[0].raw == line.decode("utf-8", "replace")[:200]
    assert made.bad[0].file.endswith("x.jsonl")
    assert made.frame.height == 2
    assert made.lines == 3


def test_all_faults_in_one_file_are_told_apart(load) -> None:
    lines = list(FAULTS)
    made: Loaded = load(b"\n".join(lines) + b"\n" + GOOD, schema="prompt_completion", max_row_bytes=1 << 20)
    starts = [sum(len(line) + 1 for line in lines[:n]) for n in range(len(lines))]
    assert made.reasons == [(n + 1, starts[n], reason) for n, reason in enumerate(FAULTS.values())]
    assert made.frame.height == 1


@pytest.mark.parametrize(
    "number",
    [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**30, 12345678901234567890123456789],
)
def test_integers_of_any_size_keep_every_digit(load, number: int) -> None:
    made: Loaded = load(f'{{"prompt":"a","completion":"b","n":{number},"deep":[{{"n":{number}}}]}}')
    assert made.extra == [{"n": number, "deep": [{"n": number}]}]
    assert made.frame["extra"][0] == f'{{"n":{number},"deep":[{{"n":{number}}}]}}'


def test_long_digit_runs_in_texts_are_only_texts(load) -> None:
    text = "call 0000000000000000000000000000 or 18446744073709551617"
    assert load([{"prompt": text, "completion": "b"}]).turns == [[("user", text), ("assistant", "b")]]


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt" : "a" , "completion" : "b"}',
        '{"prompt":"\\"k\\":\\"v\\"","completion":"\\\\\\":"}',
        '{"prompt":"a","completion":"b","back\\\\":1,"quote\\"":2}',
        '{"prompt":"\\\\u0000 is no NUL","completion":"b"}',
        ' {"prompt":"a","completion":"b"}\t',
        '{"prompt":"\\u00e9\\ud83d\\ude00","completion":"é😀"}',
    ],
)
def test_odd_but_sound_lines_pass(load, text: str) -> None:
    made: Loaded = load(text)
    row = json.loads(text)
    assert made.bad == []
    assert made.turns == [[("user", row["prompt"]), ("assistant", row["completion"])]]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('ab"\\:{}é\n0', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k":\\', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text('k":\\', max_size=3), values, max_size=4), min_size=1, max_size=6), st.booleans()
)
def test_decode_equals_the_standard_parser_on_sound_rows(rows: list[dict], spaced: bool) -> None:
    separators = (" , ", " : ") if spaced else (",", ":")
    texts = [json.dumps(row, separators=separators, ensure_ascii=spaced).encode() for row in rows]
    parsed = decode(joined(texts, list(range(len(texts))), [0] * len(texts)))
    assert parsed.bad == []
    assert parsed.rows == rows
    assert [list(row) for row in parsed.rows] == [list(row) for row in rows]


@given(st.lists(st.tuples(st.text('ab":\\', max_size=4), values), min_size=1, max_size=5), values)
def test_a_key_that_stands_twice_is_always_found(pairs: list[tuple[str, object]], again: object) -> None:
    names = [name for name, _ in pairs] + [pairs[0][0]]
    parts = [
        f"{json.dumps(name)}:{json.dumps(value)}"
        for name, value in zip(names, [v for _, v in pairs] + [again], strict=True)
    ]
    parsed = decode(joined([("{" + ",".join(parts) + "}").encode()], [1], [0]))
    assert [row.reason.partition(":")[0] for row in parsed.bad] == ["duplicate_key"]


@given(values)
def test_dump_and_exact_are_inverse(value: object) -> None:
    assert exact(dump(value)) == value


def test_deepest_nesting_is_the_same_for_reading_and_writing() -> None:
    value: object = 1
    for _ in range(254):
        value = [value]
    vet(value)
    assert exact(dump(value)) == value
    with pytest.raises(Exception, match="too_deep"):
        vet([value])
    with pytest.raises(Exception, match="too_deep"):
        dump([value])


def test_the_collector_is_back_on_after_threads_and_errors() -> None:
    def work() -> None:
        for _ in range(200):
            with quiet_collector():
                assert not gc.isenabled()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ValueError, match="x"), quiet_collector():
        raise ValueError("x")
    assert gc.isenabled()
    gc.disable()
    try:
        with quiet_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_bad_rows_carry_two_hundred_characters_at_most(load) -> None:
    made: Loaded = load(b'{"prompt": "' + "é".encode() * 500, schema="prompt_completion")
    bad: BadRow = made.bad[0]
    assert len(bad.raw) == 200
    assert bad.raw.startswith('{"prompt": "éé')
