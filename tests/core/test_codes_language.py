"""Each code of YAML and of expressions has a page, its wrong example is refused with that code, and its right one is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sftrecipe.errors import RecipeError
from sftrecipe.expressions import ExpressionError, TemplateText, check
from sftrecipe.rows import DERIVED, FIXED
from sftrecipe.yamlsource import cut_by_comment, load

ROOT = Path(__file__).parents[2] / "sftrecipe"
PAGES = sorted(p for p in (ROOT / "codes").glob("R[05]*.md"))
SOURCES = [*ROOT.glob("yaml*.py"), *(ROOT / "expressions").glob("*.py")]
NOT_IN_A_TEXT = {"R001", "R002", "R003"}  # about the file, not about what stands in it
COLUMNS = {**FIXED, **DERIVED}
COUNTS = {"rows_in": "int", "rows_out": "int", "dropped": "counts", "failed": "counts"}


def blocks(page):
    text = page.read_text("utf-8")
    assert re.fullmatch(
        rf"# {page.stem}: [^\n]+\n\n## Cause\n\n.+?\n\n## Wrong\n\n```yaml\n.+?\n```\n\n## Right\n\n```yaml\n.+?\n```\n",
        text,
        re.DOTALL,
    ), page.name
    return re.findall(r"```yaml\n(.*?)\n```", text, re.DOTALL)


def codes_of(text):
    """What is found wrong in the YAML and in its expressions."""
    try:
        source = load(text + "\n", "page.yaml")
    except RecipeError as error:
        return [p.code for p in error.problems]
    found = []
    data = source.data or {}
    params = data.get("params", {})
    for at, step in enumerate(data.get("steps", [])):
        for key, value in step.items() if isinstance(step, dict) else ():
            path = ("steps", at, key)
            if key in ("filter", "where"):
                found += expression(source, path, value, COLUMNS, "bool", params)
            elif key == "expect":
                found += expression(source, path, value, COUNTS, "bool", params, rows=False)
            elif key == "score":
                for name, one in value.items():
                    found += expression(source, (*path, name), one, COLUMNS, "number", params)
            elif key == "when":
                found += expression(source, path, value, {}, "bool", params, rows=False)
            elif key == "format.messages":
                found += expression(source, (*path, "system"), value["system"], None, None, params)
    return found


def expression(source, path, text, columns, want, params, rows=True):
    try:
        if columns is None:
            TemplateText(text, params)
        else:
            check(text, columns, want=want, params=params, rows=rows)
    except ExpressionError as error:
        cut = cut_by_comment(source, path)
        return [cut.code if cut else error.code]
    return []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_pages(page):
    wrong, right = blocks(page)
    assert codes_of(right) == []
    if page.stem not in NOT_IN_A_TEXT:
        assert codes_of(wrong) == [page.stem]


def test_every_code_has_a_page_and_every_page_a_code():
    used = {code for source in SOURCES for code in re.findall(r'"(R[05]\d\d)"', source.read_text("utf-8"))}
    assert used == {p.stem for p in PAGES}
    assert len(used) > 50
