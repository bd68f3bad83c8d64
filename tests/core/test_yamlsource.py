"""YAML to data and places: types, limits, every refusal with its position, for both parsers of PyYAML."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import yamlsource
from sftrecipe.errors import RecipeError, Span
from sftrecipe.yamlsource import MAX_BYTES, MAX_DEPTH, MAX_VALUES, load, read, resolve

PARSERS = {"fast": yamlsource._PARSER, "pure": yamlsource._PurePython}


@pytest.fixture(params=sorted(PARSERS), autouse=True)
def parser(request, monkeypatch):
    monkeypatch.setattr(yamlsource, "_PARSER", PARSERS[request.param])
    return request.param


def problems(text):
    """(code, line, column, end) of all that is wrong."""
    with pytest.raises(RecipeError) as caught:
        load(text, "r.yaml")
    assert all(p.span.file == "r.yaml" and p.message and p.help for p in caught.value.problems)
    return [(p.code, p.span.line, p.span.column, p.span.end) for p in caught.value.problems]


def test_both_parsers_are_tried():
    assert len(set(PARSERS.values())) == 2, "PyYAML without libyaml: the fast parser is not tested here"


# -- types


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("2026-11-22", "2026-11-22"), ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"), ("=", "="), ("0b11", "0b11"),
        ("017", 17), ("0o17", 15), ("0x1F", 31), ("-0", 0), ("+7", 7), ("-12", -12), ("0o8", "0o8"), ("-0x1f", "-0x1f"),
        ("2e-5", 2e-5), ("1e3", 1000.0), ("1.", 1.0), (".5", 0.5), ("+.5", 0.5), ("-1.5E+2", -150.0), ("1e", "1e"), (".", "."),
        ("true", True), ("TRUE", True), ("False", False), ("tRUE", "tRUE"), ("null", None), ("NULL", None), ("~", None), ("", None),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)), ("1e-400", 0.0), ("nan", "nan"), ("inf", "inf"),
        ("1/256", "1/256"), ("2%", "2%"), ("a b", "a b"),
    ],
)  # fmt: skip
def test_core_types(text, value):
    found = load(f"k: {text}\n", "f").data["k"]
    assert (found, type(found)) == (value, type(value))
    assert resolve(text) == value


@pytest.mark.parametrize("text", ["017", "no", "1.5", "null", "true", "2026-11-22", ".inf"])
@pytest.mark.parametrize("quote", ["'", '"'])
def test_quoted_scalars_are_text(text, quote):
    assert load(f"[{quote}{text}{quote}]", "f").data == [text]


def test_no_text_is_no_data():
    assert load("", "f").data is None
    assert load("# nothing\n", "f").data is None
    assert load("\ufeffa: 1", "f").data == {"a": 1}


printable = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x7f\x85\u2028\u2029\ufeff\ufffe\uffff")
plain_text = st.text(printable, max_size=80)  # a key of more than 1,024 characters, escapes counted, is none in YAML
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_text, inner, max_size=4),
    max_leaves=20,
)


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@settings(max_examples=150, deadline=None)
@given(values, st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_as_json(value, indent, ascii_only):
    # JSON writes what is beyond 16 bits as a surrogate pair, which no YAML allows: keep such text as it is
    text = json.dumps(
        value, indent=indent, ensure_ascii=ascii_only and max(json.dumps(value, ensure_ascii=False)) < "\U00010000"
    )
    assert same(load(text, "f").data, value)


# PyYAML writes YAML 1.1, in which `0E0` and `0o17` are text and stand unquoted: no digits, then both versions agree
wordy = plain_text.filter(lambda text: not any(c.isdigit() for c in text))
wordy_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | wordy,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(wordy, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(wordy_values)
def test_block_yaml_is_read_as_written(value):
    text = yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=60)
    assert same(load(text, "f").data, value)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("abc:#-[]{},&*!|>'\"%@` \n\t1."), max_size=40))
def test_any_text_loads_or_is_told(text):
    try:
        source = load(text, "f")
    except RecipeError as error:
        assert error.problems
        lines = text.split("\n")
        for p in error.problems:
            assert p.code.startswith("R0")
            assert 1 <= p.span.line <= len(lines)
            assert 1 <= p.span.column <= len(lines[p.span.line - 1]) + 1
            assert p.span.end > p.span.column
    else:
        assert source.span() == source.marks.get((), Span("f", 1, 1, 1))


def test_aliases_are_copies():
    source = load("a: &x {n: [1]}\nb: *x\nc: [*x, *x]\n", "f")
    assert source.data == {"a": {"n": [1]}, "b": {"n": [1]}, "c": [{"n": [1]}, {"n": [1]}]}
    source.data["b"]["n"].append(2)
    assert source.data["a"] == {"n": [1]}


# -- refusals, with their place


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", [("R007", 4, 3, 4), ("R007", 5, 1, 2)]),
        ("{a: 1, 'a': 2}", [("R007", 1, 8, 11)]),
        ("1: a\ntrue: b\n2.5: c\nnull: d\n", [("R008", 1, 1, 2), ("R008", 2, 1, 5), ("R008", 3, 1, 4), ("R008", 4, 1, 5)]),
        ("? [x]\n: y\n", [("R008", 1, 3, 6)]),
        ("a: {{x}}\n", [("R008", 1, 5, 8)]),
        ("a: !!str x\nb: !foo {c: 1}\nc: &n !bar 1\n", [("R009", 1, 4, 9), ("R009", 2, 4, 8), ("R009", 3, 4, 8)]),
        ("a: !toxic\n", [("R009", 1, 4, 10)]),
        ("a: {b: 1}\nc:\n  <<: {x: 1}\n", [("R010", 3, 3, 5)]),
        ("[" * 41 + "]" * 41, [("R011", 1, 41, 42)]),
        ("a: *x\n", [("R013", 1, 4, 6)]),
        ("a: &x [1, *x]\n", [("R013", 1, 11, 13)]),
        ("a: .nan\nb: [-.INF, 1e999]\n", [("R014", 1, 4, 8), ("R014", 2, 5, 10), ("R014", 2, 12, 17)]),
        ("a: 9223372036854775808\nb: 0x" + "f" * 500, [("R014", 1, 4, 23), ("R014", 2, 4, 506)]),
        ("a: b\x07c\nd: \u2028\x85\n", [("R015", 1, 5, 6), ("R015", 2, 4, 5), ("R015", 2, 5, 6)]),
        ("a: 1\n---\nb: 2\n", [("R006", 2, 1, 4)]),
        ("a: 1\n...\n---\n", [("R006", 3, 1, 4)]),
        ('a: "x\\ud83d"\n', [("R022", 1, 6, 12)]),
        ('a: "x\\d"\n', [("R022", 1, 6, 8)]),
        ('a: "x\\xZZ"\n', [("R022", 1, 6, 8)]),
        # tabs
        ("a:\n\tb: 1\n", [("R005", 2, 1, 2)]),
        ("a:\n  \tb: 1\n", [("R005", 2, 3, 4)]),
        ("a:\n  b: 1\n\tc: 2\n", [("R005", 3, 1, 2)]),
        # quotes and brackets
        ('a: "abc\nb: 1\n', [("R020", 1, 4, 5)]),
        ("a: 'abc\n", [("R020", 1, 4, 5)]),
        ("a: {b: 1\nc: 2\n", [("R020", 1, 4, 5)]),
        ("a: [1, 2\n- b\n", [("R020", 1, 4, 5)]),
        ("a: [1, 2", [("R020", 1, 4, 5)]),
        ('a: "x" == y\n', [("R021", 1, 8, 12)]),
        ("- filter: 'x' in tags\n  b: 1\n", [("R021", 1, 15, 22)]),
        ("a: [1] == x\n", [("R021", 1, 8, 12)]),
        ("- {a: 1} b\n", [("R021", 1, 10, 11)]),
        # expressions that YAML cuts
        ('- filter: contains(response, "Answer: ")\n', [("R016", 1, 37, 38)]),
        ('"a": x: y\n', [("R016", 1, 7, 8)]),
        ('a: {where: f("x # y")}\nb: 1\n', [("R017", 1, 17, 23)]),
        ("a: *.jsonl\n", [("R018", 1, 4, 5)]),
        ("a: *x > 3\n", [("R018", 1, 4, 5)]),
        ("a: & b\n", [("R018", 1, 4, 5)]),
        ("a: &x > 3\n", [("R018", 1, 4, 5)]),
        ('a: !contains(x, "y") and z\n', [("R018", 1, 4, 5)]),
        ("a: %x > 3\n", [("R018", 1, 4, 5)]),
        ("a: @x\n", [("R018", 1, 4, 5)]),
        ("a: `x`\n", [("R018", 1, 4, 5)]),
        ("a: > 3\n", [("R018", 1, 4, 5)]),
        ("- a: | b\n", [("R018", 1, 6, 7)]),
        ("a: - b\n", [("R018", 1, 4, 5)]),
        ("{a: %b}\n", [("R018", 1, 5, 6)]),
        ("a: [- b]\n", [("R018", 1, 5, 6)]),
        ('a: {where: x in ["a", "b"]}\n', [("R019", 1, 17, 18)]),
        ('a: {where: f(x, "a")}\n', [("R019", 1, 20, 21)]),
        ('a: {where: f(x, "a: b")}\n', [("R019", 1, 23, 24)]),
        ("a:\n  {where: x in [b],\n   c: 1}\n", [("R019", 2, 16, 17)]),
        ("a: {size: ${params.x}}\n", [("R019", 1, 12, 13)]),
        ('a: {where: x == "a, b"}\n', [("R019", 1, 12, 19)]),
        ("a: {where: f(x, y, z) > 3, b: 1}\n", [("R019", 1, 12, 15)]),
        ("a: [len(x), f(x, y)]\n", [("R019", 1, 13, 16)]),
        # shape
        ("- filter: a\n   where: b\n", [("R004", 2, 4, 9)]),
        ("a:\n    b: 1\n  c: 2\n", [("R004", 3, 3, 7)]),
        ("steps:\n  - filter: x\n  where: y\n", [("R004", 3, 3, 11)]),
        ("a: 1\nfilter\nb: 2\n", [("R004", 2, 1, 7)]),
        ("a:1\nb: 2\n", [("R004", 1, 2, 3)]),
        ("a: {b: 1 c: 2}\n", [("R004", 1, 11, 12)]),
        ("%YAML 3.0\n---\na: 1\n", [("R004", 1, 1, 10)]),
    ],
)  # fmt: skip
def test_refusals(text, expected):
    assert problems(text) == expected


def test_problems_before_a_syntax_error_are_told_too():
    assert problems("a: 1\na: {b: 2, b: 3}\nc: @x\n") == [("R007", 2, 11, 12), ("R018", 3, 4, 5)]


def test_a_duplicate_names_the_first_line():
    with pytest.raises(RecipeError) as caught:
        load("a: 1\nb: 1\na: 2\n", "f")
    assert caught.value.problems[0].note == "first given in line 1"


@pytest.mark.parametrize(
    "text", ["{about: hello (world), b: 1}", "{a: don't, b: y's}", "[a (b), c]", '{a: "f(x", b: y)}', "{a: (b, c: d)}"]
)
def test_commas_that_cut_nothing(text):
    load(text, "f")


def test_an_alias_bomb_is_refused_before_it_grows():
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9))
    assert problems(bomb)[0][:2] == ("R012", 6)


def test_deep_aliases_count_as_deep():
    text = "a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 15 + "*a" + "]" * 15
    assert problems(text) == [("R011", 2, 19, 21)]


def test_the_limits_themselves_are_allowed():
    assert load("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").data
    many = ", ".join(["1"] * (MAX_VALUES - 1))
    assert len(load(f"[{many}]", "f").data) == MAX_VALUES - 1
    assert problems(f"[{many}, 1]") == [("R012", 1, 1, len(many) + 6)]
    assert load("#" * MAX_BYTES, "f").data is None
    assert problems("#" * (MAX_BYTES + 1)) == [("R003", 1, 1, 2)]


def test_read(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes("recipe: ä\r\nsteps: []\r\n".encode())
    source = read(path)
    assert source.data == {"recipe": "ä", "steps": []}
    assert source.file == str(path)
    assert source.span(("steps",)) == Span(str(path), 2, 8, 10)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a: b\nc: \xffx\n", ("R002", 2, 4)),
        ("ä: ".encode() + b"\xe4", ("R002", 1, 4)),
        (b"x" * (MAX_BYTES + 1), ("R003", 1, 1)),
    ],
)
def test_read_refuses(tmp_path, raw, expected):
    (tmp_path / "r.yaml").write_bytes(raw)
    with pytest.raises(RecipeError) as caught:
        read(tmp_path / "r.yaml")
    (problem,) = caught.value.problems
    assert (problem.code, problem.span.line, problem.span.column) == expected


def test_read_names_what_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(RecipeError) as caught:
            read(path)
        assert [p.code for p in caught.value.problems] == ["R001"]


def test_the_limits_of_the_parser_are_no_riddle():
    for depth in (500, 5000, 200_000):
        assert [p[0] for p in problems("a: " + "[" * depth)] == ["R011"]
