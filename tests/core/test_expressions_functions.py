"""The built-in functions: against Python, by example, and stable for good."""

from __future__ import annotations

import math
import os
import subprocess
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sftrecipe.expressions import BUILTIN, compile, evaluate
from sftrecipe.expressions import functions as module
from sftrecipe.expressions.counts import BLANKS, bucket_of, buckets, word_counts

SPACES = [chr(i) for i in range(sys.maxunicode + 1) if chr(i).isspace()]
letters = st.sampled_from(
    [
        *SPACES,
        *"ab",
        "é",
        "漢",
        "\U0001f600",
        "\x00",
        "\x0e",
        "\x1b",
        "\u200b",
        "\u2007",
        "\u3001",
        "\ue280",
        "\x7f",
        "\x80",
        "Â",
        "â",
    ]
)
texts = st.lists(st.none() | st.text(letters, max_size=12) | st.text(max_size=8), max_size=12)


def series(values):
    return pl.Series("t", values, dtype=pl.String)


def one(text, columns, frame, **more):
    return frame.select(x=compile(text, columns, **more))["x"].to_list()


@settings(max_examples=400, deadline=None)
@given(texts)
@example([None, "", " ", "a", " a  b\u2003c "])
@example(["\xa0", "\u2003x", "x\u3000y\x1cz"])
def test_words_are_what_split_gives(values):
    values = [v if v is None else v.encode("utf-8", "ignore").decode() for v in values]
    assert word_counts(series(values)).to_list() == [None if v is None else len(v.split()) for v in values]


@settings(max_examples=100, deadline=None)
@given(texts, st.integers(0, 6), st.integers(0, 6))
def test_words_of_slices_and_chunks(values, start, length):
    values = [v if v is None else v.encode("utf-8", "ignore").decode() for v in values]
    whole = pl.concat([series(values), series(["x y", None])], rechunk=False)
    expected = [None if v is None else len(v.split()) for v in [*values, "x y", None]]
    assert word_counts(whole).to_list() == expected
    assert word_counts(whole.slice(start, length)).to_list() == expected[start : start + length]


def test_words_knows_every_white_space():
    assert sorted(BLANKS) == sorted(SPACES)
    assert word_counts(series([f"a{s}b" for s in SPACES])).to_list() == [2] * len(SPACES)
    others = [chr(i) for i in range(0x3100) if not chr(i).isspace() and not 0xD800 <= i < 0xE000]
    assert word_counts(series([f"a{c}b" for c in others])).to_list() == [1] * len(others)
    assert word_counts(series([f"{a}{b}x" for a in SPACES for b in "\u2003é "])).to_list() == [
        len(f"{a}{b}x".split()) for a in SPACES for b in "\u2003é "
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(letters, max_size=8), min_size=1, max_size=6))
def test_texts_as_python_has_them(values):
    frame = pl.DataFrame({"t": values})
    for call, python in {
        "strip(t)": str.strip,
        "lower(t)": str.lower,
        "upper(t)": str.upper,
        "len(t)": len,
        "chars(t)": len,
    }.items():
        assert one(call, {"t": "text"}, frame) == [python(v) for v in values], call


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.text("ab", max_size=4), st.none() | st.text("ab", max_size=2)), min_size=1, max_size=6
    ),
    st.lists(st.text("ab", max_size=2), min_size=1, max_size=3),
)
def test_needles(pairs, fixed):
    frame = pl.DataFrame(
        {"t": [a for a, _ in pairs], "n": [b for _, b in pairs]}, schema={"t": pl.String, "n": pl.String}
    )
    written = ", ".join(map(repr, fixed))

    def known(found):
        return True if True in found else None if None in found else False

    for name, find in {"contains": lambda t, n: n in t, "startswith": str.startswith, "endswith": str.endswith}.items():
        expected = [None if t is None else known([find(t, f) for f in fixed]) for t, _ in pairs]
        assert one(f"{name}(t, {written})", {"t": "text"}, frame) == expected
        assert one(f"{name}(t, params.all)", {"t": "text"}, frame, params={"all": fixed}) == expected
        both = [
            None if t is None else known([*(find(t, f) for f in fixed), None if n is None else find(t, n)])
            for t, n in pairs
        ]
        assert one(f"{name}(t, {written}, n)", {"t": "text", "n": "text"}, frame) == both
    counted = [None if t is None else t.count(fixed[0]) for t, _ in pairs]
    assert one(f"count(t, {fixed[0]!r})", {"t": "text"}, frame) == counted


def test_needles_are_text_not_patterns():
    frame = pl.DataFrame({"t": ["a.b", "axb", "(", None]})
    assert one('contains(t, "a.b")', {"t": "text"}, frame) == [True, False, False, None]
    assert one('contains(t, "(", "[")', {"t": "text"}, frame) == [False, False, True, None]
    assert one('count(t, ".")', {"t": "text"}, frame) == [1, 0, 0, None]
    assert one('contains(t, "A.B")', {"t": "text"}, frame) == [False, False, False, None]


def test_matches():
    frame = pl.DataFrame({"t": ["see Figure 3", "no figure", "", None]})
    assert one(r'matches(t, r"[Ff]igure \d")', {"t": "text"}, frame) == [True, False, False, None]
    assert one(r'matches(t, r"^\s*$")', {"t": "text"}, frame) == [False, False, True, None]
    assert one("matches(t, params.p)", {"t": "text"}, frame, params={"p": "(?i)FIGURE"}) == [True, True, False, None]
    assert evaluate(r'matches(t, r"\bfig")', {"t": "a fig"}) is True


numbers = st.lists(st.none() | st.integers(-50, 50), max_size=6)
reals = st.lists(st.none() | st.sampled_from([0.5, -2.0, 3.25, math.nan, math.inf]), max_size=6)
flags = st.lists(st.none() | st.booleans(), max_size=6)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.none() | numbers, st.none() | reals, st.none() | flags), min_size=1, max_size=5))
def test_lists(table):
    columns = {"i": "list[int]", "f": "list[float]", "b": "list[bool]"}
    schema = {"i": pl.List(pl.Int64), "f": pl.List(pl.Float64), "b": pl.List(pl.Boolean)}
    frame = pl.DataFrame({k: [row[n] for row in table] for n, k in enumerate(columns)}, schema=schema)
    python = {
        "min": lambda v: min(v, default=None), "max": lambda v: max(v, default=None), "sum": sum, "any": any, "all": all,
        "mean": lambda v: sum(map(float, v)) / len(v) if v else None,
    }  # fmt: skip
    for n, column in enumerate(columns):
        for name in ("any", "all", "sum", "mean") if column == "b" else ("min", "max", "sum", "mean"):
            lists = [row[n] for row in table]
            clean = [v if v is None else [x for x in v if x is not None and math.isfinite(x)] for v in lists]
            expected = [None if v is None else python[name](v) for v in clean]
            found = one(f"{name}({column})", columns, frame)
            assert found == pytest.approx(expected) if None not in expected else list(map(close, found, expected)), (
                name,
                column,
            )
            assert list(
                map(
                    close,
                    [
                        evaluate(f"{name}({column})", dict(zip(columns, row, strict=True)), columns=columns)
                        for row in table
                    ],
                    expected,
                )
            )
        firsts = [
            None if not row[n] or (isinstance(row[n][0], float) and not math.isfinite(row[n][0])) else row[n][0]
            for row in table
        ]
        assert one(f"first({column})", columns, frame) == firsts
        assert one(f"len({column})", columns, frame) == [None if row[n] is None else len(row[n]) for row in table]
    assert one("count(b)", columns, frame) == [
        None if row[2] is None else sum(v is True for v in row[2]) for row in table
    ]


def close(a, b):
    assert (a is None) == (b is None), (a, b)
    assert a is None or a == pytest.approx(b)
    return True


def test_long_sums_do_not_wrap():
    frame = pl.DataFrame({"i": [[2**62, 2**62], [2**62, -(2**62)], [4 * 10**18, 5 * 10**18]]})
    assert one("sum(i)", {"i": "list[int]"}, frame) == [None, 0, 9 * 10**18]


def test_round():
    frame = pl.DataFrame({"f": [0.5, 1.5, 2.5, -0.5, 2.345, 1e18, 1e19, None]})
    assert one("round(f)", {"f": "float"}, frame) == [0, 2, 2, 0, 2, 10**18, None, None]
    assert one("round(f, 2)", {"f": "float"}, frame) == [0.5, 1.5, 2.5, -0.5, 2.35, 1e18, 1e19, None]
    assert one("round(f, 0)", {"f": "float"}, frame) == [0.0, 2.0, 2.0, 0.0, 2.0, 1e18, 1e19, None]
    assert [evaluate("round(f, 2)", {"f": f}) for f in (2.345, 1e19)] == [2.35, 1e19]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1e20, 1e20) | st.floats(-10, 10),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 15),
)
def test_round_in_plain_python(values, digits):
    frame = pl.DataFrame({"f": values})
    assert one(f"round(f, {digits})", {"f": "float"}, frame) == [
        evaluate(f"round(f, {digits})", {"f": v}) for v in values
    ]


def test_log_and_sqrt():
    frame = pl.DataFrame({"f": [math.e, 8.0, 0.0, -1.0, None]})
    for text, expected in {
        "log(f)": [1.0, math.log(8), None, None, None],
        "log(f, 2)": [1 / math.log(2), 3.0, None, None, None],
        "sqrt(f)": [math.sqrt(math.e), math.sqrt(8), 0.0, None, None],
    }.items():
        assert list(map(close, one(text, {"f": "float"}, frame), expected))
        assert list(map(close, [evaluate(text, {"f": f}, columns={"f": "float"}) for f in frame["f"]], expected))


# -- buckets: these figures must never change


GOLDEN = {
    ("a", 10): 6, ("a", 1000): 16, ("", 10): 2, ("漢字", 1000): 348, (5, 1000): 792, (True, 1000): 479, (0.5, 1000): 595,
}  # fmt: skip


def test_buckets_never_change():
    assert {key: bucket_of(*key) for key in GOLDEN} == GOLDEN


def test_buckets_of_columns():
    frame = pl.DataFrame(
        {
            "s": ["a", None, "b", "a"],
            "i": [5, None, 7, 5],
            "f": [5.0, None, 0.5, 5.0],
            "b": [True, None, False, True],
            "l": [["a"], None, [], ["a"]],
        }
    )
    types = {"s": "text", "i": "int", "f": "float", "b": "bool", "l": "list[text]"}
    for column in types:
        expected = [None if v is None else bucket_of(v, 1000) for v in frame[column].to_list()]
        assert one(f"bucket({column}, 1000)", types, frame) == expected
    assert one("bucket(i, 1000)", types, frame) == [bucket_of(5, 1000), None, bucket_of(7, 1000), bucket_of(5, 1000)]
    assert one("bucket(f, 1000)", types, frame)[0] == bucket_of(5, 1000)
    assert bucket_of("5", 1000) != bucket_of(5, 1000)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.text(max_size=4), max_size=20), st.integers(1, 50))
def test_buckets_are_in_range_and_alike(values, n):
    found = buckets(pl.Series(values, dtype=pl.String), n).to_list()
    assert [None if v is None else bucket_of(v, n) for v in values] == found
    assert all(b is None or 0 <= b < n for b in found)


def test_buckets_are_even():
    counts = pl.Series([bucket_of(f"row {i}", 10) for i in range(10_000)]).value_counts()["count"]
    assert counts.min() > 900
    assert counts.max() < 1100


def test_buckets_do_not_depend_on_the_hash_seed():
    code = "from sftrecipe.expressions.counts import bucket_of; print(bucket_of('a', 10**6))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{bucket_of('a', 10**6)}\n"}


def test_every_function_is_a_public_constant():
    found = {f.name: f for n, f in vars(module).items() if n in module.__all__ and n != "BUILTIN"}
    assert found == dict(BUILTIN)


def test_every_function_reads_row_by_row():
    """No function sees other rows: each alone on one row gives what it gives among others."""
    table = pl.DataFrame({"t": ["a b", None, "ü"], "x": [1.5, None, -2.0], "l": [[True], None, []], "n": [[1], None, []],
                          "messages": [[{"role": "user", "content": "hi"}], None, []]},
                         schema_overrides={"l": pl.List(pl.Boolean), "n": pl.List(pl.Int64)})  # fmt: skip
    types = {"t": "text", "x": "float", "l": "list[bool]", "n": "list[int]", "messages": "messages"}
    calls = {
        "len": "len(t)", "chars": "chars(t)", "words": "words(t)", "lower": "lower(t)", "upper": "upper(t)", "strip": "strip(t)",
        "contains": "contains(t, 'a', 'b')", "startswith": "startswith(t, 'a')", "endswith": "endswith(t, 'b')", "matches": "matches(t, 'a')",
        "any": "any(l)", "all": "all(l)", "min": "min(n)", "max": "max(x, 0)", "sum": "sum(n)", "mean": "mean(n)", "count": "count(t, ' ')",
        "first": "first(n)", "last": "last(n)", "round": "round(x)", "abs": "abs(x)", "log": "log(x)", "sqrt": "sqrt(x)", "is_null": "is_null(x)",
        "coalesce": "coalesce(t, 'z')", "turns": "turns()", "role": "role(0)", "bucket": "bucket(t, 9)",
    }  # fmt: skip
    assert set(calls) == set(BUILTIN)
    for text in calls.values():
        together = one(text, types, table)
        alone = [one(text, types, table.slice(row, 1))[0] for row in range(3)]
        assert together == alone, text
