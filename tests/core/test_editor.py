"""The schema that editors read: current, valid, right about our recipes and about bad ones; and the reference of operators."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from sftrecipe import yamlsource
from sftrecipe.registry import Registry
from sftrecipe.report.editor import recipe_schema
from sftrecipe.report.reference import reference
from tests.core.bad_recipes import BAD, recipes

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))
HEAD = "recipe: x\ngrammar: 1\n"

STRUCTURAL = sorted(
    p.stem
    for p in recipes()
    if re.match(r"R(101|102|103|104|105|113|114|122|125|128|201|202|203|301|302|303|304|305)", p.stem)
    and p.stem not in ("R101-requires", "R114-key", "R128-load", "R202-nested", "R302-file", "R116-choice")
)
"""Bad recipes that a schema can see through. Those left out are right in form, or may be read in another way."""


@pytest.fixture(scope="module")
def schema():
    return recipe_schema(Registry(), "sftrecipe")


@pytest.fixture(scope="module")
def validator(schema):
    return Draft7Validator(schema)


def load(text):
    return yamlsource.load(text, "x.yaml").data


def test_it_is_valid_draft_07(schema):
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_every_reference_in_it_leads_somewhere(schema):
    text = json.dumps(schema)
    named = {m.replace("~1", "/").replace("~0", "~") for m in re.findall(r'"#/definitions/([^"]+)"', text)}
    assert named <= set(schema["definitions"])


def test_the_file_is_current(schema):
    stored = json.loads((ROOT / "schema" / "recipe.schema.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(schema)), "run `just generate`"


def test_the_operator_reference_is_current():
    assert (ROOT / "docs" / "operators.md").read_text(encoding="utf-8") == reference(Registry()), "run `just generate`"


def test_the_reference_has_every_operator():
    text = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    ours = [e.full for e in Registry().operators() if e.distribution == "sftrecipe"]
    assert re.findall(r"^## (\S+)$", text, re.M) == sorted(ours, key=lambda f: text.index(f"## {f}\n"))
    assert "cannot be imported" not in text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_recipe_is_valid(validator, path):
    assert [e.message for e in validator.iter_errors(yamlsource.read(path).data)] == []


def test_there_are_shipped_recipes():
    assert len(SHIPPED) > 6


@pytest.mark.parametrize("stem", STRUCTURAL)
def test_a_bad_recipe_is_not_valid(validator, stem):
    assert not validator.is_valid(yamlsource.read(BAD / f"{stem}.yaml").data)


GOOD_STEPS = [
    "filter.duplicates",
    "{filter: words(response) > 5}",
    "{filter: true}",
    "{filter.length: {words: [5, 400]}, where: source == 'a', id: a, about: why, seed: 3, on_error: drop, expect: [dropped < 5]}",
    "{filter.length: {words: ['${params.least}', 400]}}",
    "{filter.length: '${params.all}'}",
    "{select.random: 3}",
    "{select.random: '${params.size}'}",
    "{select.random: {size: '${params.size}'}}",
    "{filter.near_duplicates: {threshold: 4/5}}",
    "{filter.near_duplicates: {threshold: 80%}}",
    "{filter.patterns: {words: {file: words.txt}}}",
    "{filter.patterns: {words: [a, b]}}",
    "{score: {evol: complexity * quality, other: 1}}",
    "{load: {sources: {a: a.jsonl, b: {path: b.jsonl, license: MIT}}}}",
    "{load: [a.jsonl, b.jsonl]}",
    "{mix: {by: source, parts: {a: {rows: 3}, b: {fraction: 1/256}}}}",
    "{mix: null, from: [a, b]}",
    "{filter.duplicates: null, from: {rows: a, against: b}}",
    "{use: ./clean.yaml, with: {size: 3}, models: {judge: teacher}}",
    "{filter.duplicates: null, x-note: mine, when: params.on}",
    "{on_error: null, score.length: null}",
]


@pytest.mark.parametrize("step", GOOD_STEPS)
def test_a_good_step_is_valid(validator, step):
    assert [e.message for e in validator.iter_errors(load(f"{HEAD}steps:\n  - {step}\n"))] == []


@pytest.mark.parametrize(
    "step",
    ["filter.duplicate", "5", "{}", "{id: a}", "{filter: a > 1, score.length: null}", "{filter: [a]}", "{use: a.yaml, filter: b}", "{filter.length: {words: {a: 1}}}",
     "{filter.length: {wrods: 1}}", "{select.random: many}", "{load: {schema: sharegtp, path: a}}", "{filter: a > 1, from: 5}", "{score: {a: [1]}}"],
)  # fmt: skip
def test_a_bad_step_is_not(validator, step):
    assert not validator.is_valid(load(f"{HEAD}steps:\n  - {step}\n"))


@pytest.mark.parametrize(
    "models, valid",
    [
        ("{use: tfidf}", True), ("{use: tfidf, max_features: 64}", True), ("{use: tfidf, max_features: '${params.n}'}", True),
        ("{use: tfdif}", False), ("{use: tfidf, max_faetures: 64}", False), ("{max_features: 64}", False), ("{use: openai, model: m, budget: {dollars: 20}}", True),
        ("{use: openai}", False), ("{use: tokenizer, model: a/b}", True),
    ],
)  # fmt: skip
def test_a_model_has_the_keys_of_its_provider(validator, models, valid):
    assert validator.is_valid(load(f"{HEAD}models: {{m: {models}}}\nsteps:\n  - load: a.jsonl\n")) is valid


def test_help_for_people_who_type(schema):
    """Every operator, parameter and key says what it is, has its default and its choices."""
    assert all(s.get("description") for n, s in schema["properties"].items())
    step = schema["definitions"]["step"]["anyOf"][1]["properties"]
    assert all("$ref" in s or s.get("description") for s in step.values())
    for entry in Registry().operators():
        page = schema["definitions"].get(entry.full)
        if page is None:
            continue
        assert len(page["description"]) > 15, entry.full
        for name, value in page["anyOf"][0]["properties"].items():
            assert value.get("description"), f"{entry.full} {name}"
    load_auto = schema["definitions"]["load.auto"]["anyOf"][0]["properties"]
    assert load_auto["schema"]["default"] == "auto"
    assert "sharegpt" in json.dumps(load_auto["schema"])


def test_a_broken_plugin_takes_nothing_from_the_others(tmp_path, monkeypatch):
    from tests.core.fake_distributions import Shelf

    shelf = Shelf(tmp_path / "shelf", monkeypatch)
    shelf.put("broken", {"score": {"broken.it": "broken:It"}, "model": {"broken": "broken:M"}}, "1 / 0\n")
    keys = recipe_schema(Registry())["definitions"]["step"]["anyOf"][1]["properties"]
    Shelf.forget()
    assert "filter.length" in keys
    assert "score.broken.it" not in keys


def test_a_plugin_is_in_the_schema_of_this_installation(kitchen):
    (kitchen.folder / "mine.py").write_text(
        "from sftrecipe import Filter, Param\nclass Short(Filter):\n    '''Short ones go.'''\n    words: int = Param(2, doc='Fewest.')\n"
    )
    registry = Registry((kitchen.folder / "mine.py",))
    assert "filter.mine.short" in recipe_schema(registry)["definitions"]
    assert "filter.mine.short" not in recipe_schema(registry, "sftrecipe")["definitions"]
