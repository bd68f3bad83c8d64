"""Where things stand in a YAML file: values, keys, characters inside values, and comments that cut expressions."""

from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe import yamlsource
from sftrecipe.errors import Span
from sftrecipe.yamlsource import cut_by_comment, load

PARSERS = {"fast": yamlsource._PARSER, "pure": yamlsource._PurePython}


@pytest.fixture(params=sorted(PARSERS), autouse=True)
def parser(request, monkeypatch):
    monkeypatch.setattr(yamlsource, "_PARSER", PARSERS[request.param])
    return request.param


RECIPE = """\
recipe: x
steps:
  - load: {path: data/*.jsonl, license: MIT}
  - filter: words(response) >= 5
    where: 'source == "it''s"'
  - write:
"""


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ((), (1, 1, 10), (1, 1, 10)),
        (("recipe",), (1, 9, 10), (1, 1, 7)),
        (("steps",), (3, 3, 45), (2, 1, 6)),
        (("steps", 0), (3, 5, 45), (3, 5, 45)),
        (("steps", 0, "load"), (3, 11, 45), (3, 5, 9)),
        (("steps", 0, "load", "license"), (3, 41, 44), (3, 32, 39)),
        (("steps", 0, "load", "none", 3), (3, 11, 45), (3, 5, 9)),
        (("steps", 1), (4, 5, 33), (4, 5, 33)),
        (("steps", 1, "filter"), (4, 13, 33), (4, 5, 11)),
        (("steps", 1, "where"), (5, 12, 31), (5, 5, 10)),
        (("steps", 2, "write"), (6, 5, 10), (6, 5, 10)),
        (("other",), (1, 1, 10), (1, 1, 10)),
    ],
)
def test_spans(path, value, key):
    source = load(RECIPE, "f")
    assert source.span(path) == Span("f", *value)
    assert source.key_span(path) == Span("f", *key)


def test_an_alias_is_marked_where_it_stands_and_its_content_where_it_was_written():
    source = load("a: &x {n: abc}\nb: *x\nc: &y def\nd: *y\n", "f")
    assert source.span(("b",)) == Span("f", 2, 4, 6)
    assert source.span(("b", "n")) == Span("f", 1, 11, 14)
    assert source.at(("d",), 1, 2) == Span("f", 3, 8, 10)


@pytest.mark.parametrize(
    ("text", "offset", "length", "place"),
    [
        ("k: words(x) >= 5", 6, 1, (1, 10, 11)),
        ("- k: abc", 0, 3, (1, 6, 9)),
        ("k: 'it''s == \"x\"'", 0, 4, (1, 5, 10)),
        ("k: 'it''s == \"x\"'", 5, 2, (1, 11, 13)),
        ('k: "a\\"b\\u00e4c"', 3, 2, (1, 9, 16)),
        ("k: abc def\n  ghi jkl\n", 4, 3, (1, 8, 11)),
        ("k: abc def\n  ghi jkl\n", 8, 3, (2, 3, 6)),
        ("k: abc def\n  ghi jkl\n", 4, 7, (1, 8, 11)),
        ("k: |\n  a and\n    b\n", 5, 1, (2, 8, 9)),
        ("k: |\n  a and\n    b\n", 6, 2, (3, 3, 5)),
        ("k: |\n  a and\n    b\n", 8, 1, (3, 5, 6)),
        ("k: |2\n    a\n", 2, 1, (2, 5, 6)),
        ("k: >-\n  a and\n  b or\n\n  c\n", 0, 1, (2, 3, 4)),
        ("k: >-\n  a and\n  b or\n\n  c\n", 6, 1, (3, 3, 4)),
        ("k: >-\n  a and\n  b or\n\n  c\n", 11, 1, (5, 3, 4)),
        ('k: "a\\\n  b c"\n', 2, 2, (2, 4, 6)),
        ("k: &n abc", 1, 1, (1, 8, 9)),
        ("k: &n 'abc'", 1, 1, (1, 9, 10)),
        ("k: 17", 1, 1, (1, 5, 6)),
        ("k: abc", 3, 1, (1, 7, 8)),
        ("k: abc", 99, 5, (1, 7, 8)),
        ("k: [1]", 0, 1, (1, 4, 7)),
        ("k:", 0, 1, (1, 1, 2)),
        ("k: ''", 0, 1, (1, 4, 6)),
    ],
)
def test_at(text, offset, length, place):
    source = load(text, "f")
    path = (0, "k") if text.startswith("-") else ("k",)
    assert source.at(path, offset, length) == Span("f", *place)


@settings(max_examples=150, deadline=None)
@given(
    st.text(string.ascii_letters + " '\"\\ä\n:#>|-\t", min_size=1, max_size=60).filter(str.strip),
    st.sampled_from([None, "'", '"', "|", ">"]),
    st.sampled_from([20, 1000]),
)
def test_every_character_is_found_again(text, style, width):
    written = yaml.dump({"k": {"n": text}}, default_style=style, allow_unicode=True, width=width)
    source = load(written, "f")
    assert source.data == {"k": {"n": text}}
    path = next(p for p in source.scalars if len(p) == 2)
    for offset, char in enumerate(text):
        span = source.at(path, offset, 1)
        shown = source.lines[span.line - 1][span.column - 1 : span.end - 1]
        if char.isalpha() and char.isascii():
            assert shown.endswith(char)


@pytest.mark.parametrize(
    ("text", "line", "shown"),
    [
        ("steps:\n  - filter: words(respnse) > 5\n", 2, "respnse"),
        ("steps:\n  - filter: 'source == \"it''s\" and respnse'\n", 2, "respnse"),
        ('steps:\n  - filter: "source == \\"\\u00e4\\" and respnse"\n', 2, "respnse"),
        ("steps:\n  - filter: >-\n      words(response) > 5\n      and respnse\n", 4, "respnse"),
        ("steps:\n  - filter: |\n      respnse\n", 3, "respnse"),
        ("steps:\n  - filter: words(response) > 5\n      and respnse\n", 3, "respnse"),
    ],
)
def test_what_is_wrong_in_an_expression_is_found_in_the_file(text, line, shown):
    from sftrecipe.expressions import ExpressionError, check

    source, path = load(text, "f"), ("steps", 0, "filter")
    with pytest.raises(ExpressionError) as caught:
        check(source.data["steps"][0]["filter"], {"response": "text", "source": "text"}, want="bool")
    span = source.at(path, caught.value.start, caught.value.end - caught.value.start)
    assert (span.line, source.lines[span.line - 1][span.column - 1 : span.end - 1]) == (line, shown)


# -- cut by a comment


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('k: contains(response, "C # x")', (1, 26, 31)),
        ("k: contains(response, 'a #')", (1, 26, 29)),
        ("k: (a > 3  # why\n", (1, 12, 17)),
        ("k: a > 3 and  # more\nl: 1\n", (1, 15, 21)),
        ("k: not  # more\n", (1, 9, 15)),
        ("k: #x > 3\n", (1, 4, 10)),
        ("k: f(a,\n  b #c)\n", (2, 5, 8)),
    ],
)
def test_a_comment_that_cuts(text, place):
    problem = cut_by_comment(load(text, "f"), ("k",))
    assert (problem.code, problem.span) == ("R017", Span("f", *place))


@pytest.mark.parametrize(
    "text",
    [
        "k: a > 3  # good ones",
        "k: a > 3",
        'k: "f(x" # y',
        "k: f(x)#y",
        "k: |\n  f( # x\n",
        "k: [f( # x\n ]",
        "k: true # x",
        "k: it's # x",
        "k:",
    ],
)
def test_a_comment_that_cuts_nothing(text):
    assert cut_by_comment(load(text, "f"), ("k",)) is None
