"""Templates: fields, rendering, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.expressions import ExpressionError, TemplateText, template_columns


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", []),
        ("no fields { } }} {x}", []),
        ("{{query}} and {{ response }}, {{query}}", ["query", "response"]),
        ("{{params.rubric}} {{a}}", ["a"]),
        ('{{"{{"}}x}}', []),
        ("{{größe}}\n{{_x1}}", ["größe", "_x1"]),
        ('{"a": {{x}}}', ["x"]),
    ],
)
def test_columns(text, columns):
    assert template_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "row", "expected"),
    [
        ("Rate: {{response}}!", {"response": "hi"}, "Rate: hi!"),
        ("{{a}}{{b}}", {"a": None, "b": "x"}, "x"),
        ("{{tags}}", {"tags": ["a", None, "b", 3]}, "a, , b, 3"),
        ("{{n}} {{f}} {{b}} {{c}}", {"n": 3, "f": 0.5, "b": True, "c": False}, "3 0.5 true false"),
        ("{{d}}", {"d": {"a": "ä"}}, '{"a": "ä"}'),
        ("{{a}}", {"a": "{{b}} {{params.x}}", "b": "secret"}, "{{b}} {{params.x}}"),
        ('{{"{{"}}a}} {{\'"\'}}', {}, '{{a}} "'),
        ("a } b { c }} {d}", {}, "a } b { c }} {d}"),
        ("", {}, ""),
    ],
)
def test_render(text, row, expected):
    assert TemplateText(text).render(row) == expected


def test_params_are_put_in_once():
    template = TemplateText("{{params.a}} {{params.b}} {{x}}", {"a": "{{x}}", "b": [1, 2]})
    assert template.columns == ["x"]
    assert template.render({"x": "y"}) == "{{x}} 1, 2 y"


@given(st.text(), st.text())
def test_what_stands_around_and_what_is_put_in_stay_as_they_are(around, value):
    around = around.replace("{", "")
    assert TemplateText(around + "{{x}}" + around).render({"x": value}) == around + value + around


@pytest.mark.parametrize(
    ("text", "code", "shown"),
    [
        ("a {{b", "R540", "{{"),
        ("a {{b } c", "R540", "{{"),
        ("{{a {{b}}", "R540", "{{"),
        ("{{}}", "R541", "{{}}"),
        ("x {{ }}", "R541", "{{ }}"),
        ("{{a.b}}", "R541", "{{a.b}}"),
        ("{{a|upper}}", "R541", "{{a|upper}}"),
        ("{{words(a)}}", "R541", "{{words(a)}}"),
        ("{{#if a}}", "R541", "{{#if a}}"),
        ("{{a b}}", "R541", "{{a b}}"),
        ("{{params.}}", "R541", "{{params.}}"),
        ("{{params.a.b}}", "R541", "{{params.a.b}}"),
        ("{{params.sise}}", "R522", "params.sise"),
    ],
)
def test_refusals(text, code, shown):
    with pytest.raises(ExpressionError) as caught:
        TemplateText(text, {"size": 3})
    error = caught.value
    assert (error.code, text[error.start : error.end]) == (code, shown)
    if code == "R522":
        assert error.help == "did you mean `size`?"
        assert template_columns(text) == []
    else:
        with pytest.raises(ExpressionError):
            template_columns(text)


def test_a_column_that_is_not_there():
    with pytest.raises(KeyError):
        TemplateText("{{x}}").render({"y": 1})
