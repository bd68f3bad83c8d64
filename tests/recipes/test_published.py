"""Eleven published recipes in this grammar, and a part that one of them uses: they are the target of the language.

In the collection that they come from, `13-compare.yaml` had `measure.overlap` without its colon, which is no YAML; it is mended here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sftrecipe.errors import Problems, RecipeError
from sftrecipe.recipe import read_recipe
from sftrecipe.registry import Registry
from sftrecipe.session import Session

FOLDER = Path(__file__).parent / "published"
RECIPES = sorted(FOLDER.glob("*.yaml"))

NOT_THERE_YET = {
    "answer.repair",
    "format.reasoning",
    "format.scratchpad",
    "measure.influence",
    "mix.skillit",
    "score.math",
    "score.tests",
    "tag.majority",
    "write.trainer",
}
"""Operators that these recipes name and that no release has brought so far. Take out what comes."""

MISSING_FILE, UNKNOWN_OPERATOR = "R132", "R202"


def problems_of(path: Path, variant: str = "") -> Problems:
    session = Session(path, variant=variant)
    try:
        session.plan()
    except RecipeError as error:
        return Problems(error.problems)
    return session.problems


def unknown(path: Path) -> set[str]:
    return {p.message.split("`")[1] for p in problems_of(path) if p.code == UNKNOWN_OPERATOR}


def test_they_are_eleven_and_a_part():
    assert len(RECIPES) == 12


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_it_parses(path):
    problems = Problems()
    recipe = read_recipe(path, problems=problems)
    assert list(problems) == []
    assert recipe.steps


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_it_checks_but_for_files_and_operators_that_are_not_there(path):
    told = [str(p) for p in problems_of(path) if p.code not in (MISSING_FILE, UNKNOWN_OPERATOR)]
    assert told == []


@pytest.mark.parametrize(
    "path, variant", [(p, v) for p in RECIPES for v in read_recipe(p, problems=Problems()).variants]
)
def test_its_variants_check_too(path, variant):
    told = [str(p) for p in problems_of(path, variant) if p.code not in (MISSING_FILE, UNKNOWN_OPERATOR)]
    assert told == []


def test_the_list_of_what_is_not_there_is_true():
    assert set().union(*map(unknown, RECIPES)) == NOT_THERE_YET
    assert not NOT_THERE_YET & {e.full for e in Registry().operators()}


def test_most_of_them_name_only_what_is_there():
    whole = [p.stem for p in RECIPES if not unknown(p)]
    assert whole == ["04-diverseevol", "09-tulu3", "13-compare", "15-human", "clean"]
