"""Expressions as text: what is refused and where, limits, columns."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.expressions import ExpressionError, columns_of, parse
from sftrecipe.expressions.tree import Call, Compare, Literal, Name, walk


def refused(text):
    """(code, the text that the caret stands under)."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    error = caught.value
    assert error.message
    assert 0 <= error.start <= error.end <= len(text)
    return error.code, text[error.start : error.end]


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("", "R501", ""),
        ("   ", "R501", "   "),
        ("a ==", "R501", "=="),
        ("a and", "R501", "and"),
        ("not", "R501", "not"),
        ("a not", "R501", "not"),
        ("a not b", "R501", "not"),
        ("a == not b", "R501", "not"),
        ("- not a", "R501", "not"),
        ("a b", "R501", "b"),
        ("a > > b", "R501", ">"),
        ("a + * b", "R501", "*"),
        ("+a", "R501", "+"),
        ("a, b", "R501", ","),
        ("f(, a)", "R501", ","),
        ("f(a +)", "R501", "+"),
        ("(a) b", "R501", "b"),
        ('"a" (b)', "R501", "("),
        ("a.(b)", "R501", "("),
        ("a.3", "R501", ".3"),
        ("a. == 3", "R501", "=="),
        ("a if b", "R501", "if"),
        ("f(a if b, c)", "R501", "if"),
        ("a else b", "R501", "else"),
        ("a ; b", "R501", ";"),
        ("a ? b", "R501", "?"),
        ("a\\b", "R501", "\\"),
        ("$a", "R501", "$"),
        ("017", "R501", "017"),
        ("1.2.3", "R501", "1.2.3"),
        ("3abc", "R501", "3abc"),
        ("2j", "R501", "2j"),
        ("x[1, 2]", "R506", "1, 2"),
        ("...", "R501", "."),
        ("x ** 2", "R503", "**"),
        ("x // 2", "R503", "//"),
        ("a @ b", "R503", "@"),
        ("a ^ b", "R503", "^"),
        ("~a", "R503", "~"),
        ("a << 2", "R503", "<<"),
        ("{1, 2}", "R503", "{"),
        ("lambda x: x", "R504", "lambda"),
        ("[x for x in y]", "R505", "for"),
        ("any(x for x in y)", "R505", "for"),
        ("x[a]", "R506", "a"),
        ("x[1:2]", "R506", ":"),
        ("x[True]", "R506", "True"),
        ("x[ ]", "R506", "["),
        ("x[1.5]", "R506", "1.5"),
        ('f"{x}"', "R507", 'f"{x}"'),
        ("rF'x'", "R507", "rF'x'"),
        ("(y := 3)", "R508", ":="),
        ("f(x, key=3)", "R509", "="),
        ("f(*a)", "R510", "*"),
        ("[*a]", "R510", "*"),
        ("*a", "R510", "*"),
        ("a > ${params.x}", "R511", "${"),
        ("{{a}} > 3", "R511", "{{"),
        ("a = 3", "R512", "="),
        ("f(a) = 3", "R512", "="),
        ("a && b", "R513", "&&"),
        ("a || b", "R513", "||"),
        ("a & b", "R513", "&"),
        ("!a", "R513", "!"),
        ("a is None", "R515", "is"),
        ("class == 3", "R515", "class"),
        ("a.import", "R515", "import"),
        ("yield", "R515", "yield"),
        ('"a" "b"', "R516", '"b"'),
        ("b'a'", "R516", "b'a'"),
        ("u'a'", "R516", "u'a'"),
        ('"""a"""', "R516", '"""'),
        (r'x == "a\d"', "R516", r"\d"),
        (r'"\bword\b"', "R516", r"\b"),
        (r'"\x1"', "R516", r"\x"),
        (r'"\ud800"', "R516", r"\ud800"),
        (r'"\U00110000"', "R516", r"\U00110000"),
        ('a == "b', "R517", '"'),
        ("a == 'it's'", "R501", "s"),
        ("(a", "R517", "("),
        ("f(a]", "R517", "]"),
        ("a)", "R517", ")"),
        ("x > 9223372036854775808", "R518", "9223372036854775808"),
        ("x > 1e999", "R518", "1e999"),
        ("a > 3 # why", "R519", "#"),
        ("extra.get('x')", "R521", "extra.get"),
        ("x[0](1)", "R501", "("),
    ],
)
def test_refusals(text, code, shown):
    assert refused(text) == (code, shown)


@pytest.mark.parametrize(
    "text",
    [
        "a", "not a", "not not a", "a and b or not c", "a < b <= c != d", "a in [1, 2]", "a not in ('x', \"y\")", "-a + -3", "a if not b else c",
        "f()", "f(a, b,)", "f(f(f(a)))", "[1, 2,]", "(a)", "a.b.c[0]['d e']", "x[-1]", r"matches(a, r'\d+\b')", r'"\n\t\\\"\x41é\U0001F600"',
        "null", "True == true", "1_000 + .5 + 1. + 0x1F + 2e-5", "größe > 3", "a\nand\nb", "(a\n  and b)", "a if b else c if d else e", "''", "a.b . c",
        "x % 2 == 0", "not a in b", "f (x)",
    ],
)  # fmt: skip
def test_what_is_in_the_language(text):
    parse(text)


def test_places_count_characters_not_bytes():
    tree = parse('größe == "ä" and\n  "é" in f(ö)')
    shown = [tree.text[n.start : n.end] for n in walk(tree.root)]
    assert shown == [
        'größe == "ä" and\n  "é" in f(ö)',
        'größe == "ä"',
        "größe",
        '"ä"',
        '"é" in f(ö)',
        '"é"',
        "f(ö)",
        "ö",
    ]


def test_names_are_what_the_text_says():
    # Python's parser would make `fi` of the ligature: two columns could not be told apart
    assert columns_of("ﬁ > 1 and x.ﬂ") == ["ﬁ", "x"]


def test_a_hash_or_a_bracket_in_a_text_is_text():
    assert [n.value for n in walk(parse("a == '# (' and b == \"${x}\"").root) if isinstance(n, Literal)] == [
        "# (",
        "${x}",
    ]


def test_negative_numbers_are_literals():
    assert parse("-3").root.value == -3
    assert parse("- 3.5").root.value == -3.5


def test_line_breaks_are_blanks():
    tree = parse("a\n  and b\r\n\tand c")
    assert columns_of(tree.text) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 2001,
        "[" + "1, " * 250 + "1]",
        "(" * 70 + "a" + ")" * 70,
        "not " * 480 + "a",
        "-" * 1990 + "1",
        "a" + "+a" * 900,
        "a" + " + a" * 70,
        "f(" * 65 + ")" * 65,
        "a if b else " * 120 + "c",
        "x" + ".a" * 80,
    ],
)
def test_limits(text):
    assert refused(text)[0] == "R502"


def test_just_below_the_limits():
    parse("[" + ", ".join(["1"] * 199) + "]")
    parse("a" + " and a" * 190)
    parse("a" + " " * 1999)
    parse("not " * 50 + "a")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from([*"ab.(),[]=<>!+-*/% '\"\\#${}:@&|1e\n", "not ", " and ", " in ", " if ", " else ", "is "]),
        max_size=30,
    ).map("".join)
)
def test_any_text_parses_or_is_refused_in_place(text):
    try:
        tree = parse(text)
    except ExpressionError as error:
        assert error.code.startswith("R5")
        assert 0 <= error.start <= error.end <= len(text)
    else:
        for node in walk(tree.root):
            assert 0 <= node.start < node.end <= len(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                "3",
                "'x'",
                "not",
                "and",
                "or",
                "==",
                "<",
                "in",
                "+",
                "-",
                "(",
                ")",
                "[",
                "]",
                ",",
                "if",
                "else",
                "f(",
                ".b",
                "[0]",
            ]
        ),
        max_size=12,
    )
)
def test_what_the_tokens_allow_python_parses(words):
    """Whatever passes the tokens has a tree: nobody is told only `this is no expression`."""
    text = " ".join(words)
    try:
        parse(text)
    except ExpressionError as error:
        assert error.message not in ("this is no expression", "this is no part of the language")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("words(response) >= 5", ["response"]),
        ("a + b > a", ["a", "b"]),
        ("params.x > 3", []),
        ("any(candidates.passed) and extra.meta.kind == 'x'", ["candidates", "extra"]),
        ("turns() > 1 and role(0) == 'user'", ["messages"]),
        ("turns(messages)", ["messages"]),
        ("unknown(x)", ["x"]),
        ("true and null", []),
        ("a if b else c", ["a", "b", "c"]),
    ],
)
def test_columns_of(text, columns):
    assert columns_of(text) == columns
    assert columns_of(text, {"other": "text"}) == columns


def test_the_tree_says_what_it_is():
    root = parse("f(a) in [b]").root
    assert isinstance(root, Compare)
    assert root.ops == ("in",)
    assert isinstance(root.operands[0], Call)
    assert isinstance(root.operands[0].arguments[0], Name)


def test_the_error_becomes_a_problem():
    from sftrecipe.errors import Span

    with pytest.raises(ExpressionError) as caught:
        parse("a = 3")
    problem = caught.value.problem(Span("f", 1, 3, 4))
    assert (problem.code, problem.help, problem.span) == ("R512", "write ==", Span("f", 1, 3, 4))
    assert str(caught.value) == "R512: a single `=` compares nothing (write ==)"


def test_errors_survive_pickling():
    import pickle

    error = ExpressionError("R512", "m", 1, 2, "h")
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.message, again.start, again.end, again.help) == ("R512", "m", 1, 2, "h")


def test_no_polars_is_loaded_for_checking_and_evaluating():
    code = (
        "import sys, sftrecipe.expressions as x;"
        "x.check('words(response) > 3 and a in [1]', {'response': 'text', 'a': 'int'}, want='bool');"
        "assert x.evaluate('a > 3 and not contains(b, \"x\")', {'a': 4, 'b': 'y'});"
        "x.TemplateText('{{a}}').render({'a': 1});"
        "heavy = {'polars', 'numpy', 'pyarrow', 'yaml'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
