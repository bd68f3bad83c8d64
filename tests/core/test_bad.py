"""What people are told when a recipe is wrong: one bad recipe for every code, its text to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sftrecipe.errors import RecipeError
from sftrecipe.expressions import ExpressionError, Function, evaluate
from sftrecipe.report.problems import render_all
from sftrecipe.yamlsource import MAX_BYTES, read
from tests.core.bad_recipes import BAD, check_text, find_problems, golden, inside, recipes

ROOT = Path(__file__).parents[2]
CODES = ROOT / "sftrecipe" / "codes"
PAGES = sorted(CODES.glob("*.md"))
TOLD_BY_CHECK = re.compile(r"R[0-5]\d\d|P00\d")

SHOWN_BELOW = {"R001", "R003", "R532", "P001", "P002", "P003", "P005"}
"""Codes that no recipe in a file shows: tests of their own do (plugins: test_registry.py)."""


def codes_in_source() -> set[str]:
    files = [*(ROOT / "sftrecipe").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    return {code for f in files for code in re.findall(r'"([RP]\d{3})"', f.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("path", recipes(), ids=lambda p: p.stem)
def test_the_text_is_as_it_was_read_by_a_person(path):
    assert golden(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [p for p in recipes() if p.stem != "MANY"], ids=lambda p: p.stem)
def test_a_bad_recipe_has_its_own_code_and_no_other(path):
    assert {p.code for p in find_problems(path)} == {path.stem[:4]}


@pytest.mark.parametrize("path", recipes(), ids=lambda p: p.stem)
def test_every_problem_has_a_place_in_the_file(path):
    for problem in find_problems(path):
        assert problem.span is not None
        lines = problem.span.file.startswith("-p ") or path.read_bytes().decode("utf-8", "replace").splitlines()
        assert lines is True or (problem.span.file == path.name and problem.span.line <= len(lines)), problem


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    found = find_problems(BAD / "MANY.yaml")
    assert len({p.code for p in found}) == len(found) == 6
    assert [p.span.line for p in found] == sorted(p.span.line for p in found)


def test_every_code_has_a_page_and_every_page_a_code():
    assert {p.stem for p in PAGES} == codes_in_source()


def test_every_code_of_a_check_has_a_bad_recipe():
    shown = {p.stem[:4] for p in recipes()} | SHOWN_BELOW
    wanted = {c for c in codes_in_source() if TOLD_BY_CHECK.fullmatch(c)}
    assert wanted - shown == set()
    assert codes_in_source() >= SHOWN_BELOW


def test_no_golden_text_is_left_over():
    assert {p.stem for p in BAD.glob("*.txt")} - {"words"} == {p.stem for p in recipes()}


# -- pages


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_has_its_parts(page):
    text = page.read_text(encoding="utf-8")
    assert re.match(rf"# {page.stem}: [^\n]{{5,75}}\n\n", text)
    assert re.findall(r"^## (.+)$", text, re.M) == ["Cause", "Wrong", "Right"]
    assert len(re.findall(r"^```yaml\n", text, re.M)) == 2


def blocks(page: Path) -> dict[str, str]:
    text = page.read_text(encoding="utf-8")
    return {name: re.search(rf"## {name}\n\n```yaml\n(.*?)```", text, re.S).group(1) for name in ("Wrong", "Right")}


def is_whole(text: str) -> bool:
    return bool(re.search(r"^steps:", text, re.M)) and "sftrecipe run" not in text


WHOLE = [p for p in PAGES if TOLD_BY_CHECK.fullmatch(p.stem) and is_whole(blocks(p)["Wrong"])]


@pytest.fixture
def folder(tmp_path):
    head = "recipe: part\ngrammar: 1\nsteps:\n"
    (tmp_path / "clean.yaml").write_text(f"{head}  - filter.length: {{words: [5, 400]}}\n")
    (tmp_path / "writes.yaml").write_text(f"{head}  - write: part.jsonl\n")
    (tmp_path / "words.txt").write_text("figure\n")
    return tmp_path


# the page of R003 shows less than a megabyte
@pytest.mark.parametrize("page", [p for p in WHOLE if p.stem != "R003"], ids=lambda p: p.stem)
def test_what_a_page_calls_wrong_is_wrong(page, folder):
    text = blocks(page)["Wrong"]
    try:
        found = check_text(text, folder)
    except RecipeError as error:
        found = error.problems
    assert page.stem in {p.code for p in found}


@pytest.mark.parametrize("page", WHOLE, ids=lambda p: p.stem)
def test_what_a_page_calls_right_is_right(page, folder):
    found = check_text(blocks(page)["Right"], folder)
    assert [str(p) for p in found if p.severity == "error" or p.code == page.stem] == []


def test_most_pages_show_whole_recipes():
    assert len(WHOLE) > 80


# -- codes that no file can show


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecipeError) as caught:
        read(tmp_path / "recipe.yaml")
    assert [p.code for p in caught.value.problems] == ["R001"]


def test_a_file_that_is_too_large(tmp_path):
    (tmp_path / "recipe.yaml").write_text("recipe: x\n" + "# padding\n" * (MAX_BYTES // 9))
    with pytest.raises(RecipeError) as caught:
        read(tmp_path / "recipe.yaml")
    assert [p.code for p in caught.value.problems] == ["R003"]


def test_a_function_that_needs_rows_cannot_decide_before_there_are_any():
    shuffled = Function("shuffled", "A function of rows alone.", (), "int", lambda: None)
    with pytest.raises(ExpressionError) as caught:
        evaluate("shuffled() > 1", {}, functions={"shuffled": shuffled})
    assert caught.value.code == "R532"


# -- did you mean

MEANT = {
    "verb": ("R201", "`filter`"),
    "second verb of a step": ("R201-second", "`filter`"),
    "operator": ("R202", "`filter.length`"),
    "operator under another verb": ("R202-verb", "`filter.near_duplicates`"),
    "operator as a value": ("R202-nested", "`score.length`"),
    "provider": ("R203", "`openai`"),
    "parameter of an operator": ("R301", "`words`"),
    "parameter of an operator as value": ("R301-nested", "`into`"),
    "parameter of a provider": ("R301-model", "`api_key`"),
    "choice": ("R302-choice", "`sharegpt`"),
    "column in a parameter": ("R401", "`embedding`"),
    "column in an expression": ("R520", "`response`"),
    "function": ("R521", "`words`"),
    "field of a message": ("R530", "`content`"),
    "id in from": ("R107", "`short`"),
    "port behind a dot": ("R108", "`dropped`"),
    "side port": ("R112", "`against`"),
    "params.x in a reference": ("R115", "`size`"),
    "params.x in an expression": ("R522", "`least`"),
    "-p": ("R115-given", "`size`"),
    "value of a parameter with choices": ("R116-choice", "`short`"),
    "type of a parameter": ("R114", "`int`"),
    "key of a parameter": ("R114-key", "`default`"),
    "variant": ("R117", "`offline`"),
    "path in a variant": ("R118", "`size`"),
    "used recipe": ("R119", "`clean.yaml`"),
    "file": ("R132", "`words.txt`"),
    "artefact of a step": ("R132-artefact", "`seen.centres`"),
    "model": ("R124", "`encoder`"),
    "model of a used recipe": ("R124-use", "`encoder`"),
    "key at the top": ("R102", "`params`"),
    "key of a step": ("R103", "`from`"),
    "word of on_error": ("R122", "`drop`"),
    "figure in expect": ("R121", "`dropped`"),
    "key of a test": ("R128", "`given`"),
    "step of a test": ("R137", "`short`"),
    "parameter in a test": ("R115-test", "`size`"),
    "model in a test": ("R124-test", "`encoder`"),
    "bare reference": ("R130", "`${params.size}`"),
    "an operator that writes the column": ("R520-writer", "`tag.embedding`"),
}


@pytest.mark.parametrize("stem, word", MEANT.values(), ids=MEANT)
def test_a_misspelt_word_is_guessed(stem, word):
    found = find_problems(BAD / f"{stem}.yaml")
    assert any(word in p.help for p in found), [p.help for p in found]


def test_a_secret_is_hidden_in_every_line_that_is_shown(tmp_path):
    head = "recipe: bad\ngrammar: 1\nmodels: {a: {use: openai, model: m, api_key: sk-abcdefgh}, b: {use: opnai}}\n"
    with inside(tmp_path):
        shown = render_all(check_text(head + "steps:\n  - load: {path: rows.jsonl}\n", tmp_path))
    assert shown.count("api_key: ***********}") == 2
    assert "sk-abc" not in shown
