"""`tests:` in recipes: one step, the rows it is given, the rows it should give."""

from __future__ import annotations

import pytest

from sftrecipe.errors import RecipeError
from sftrecipe.run.casework import run_tests

DEITA = """recipe: deita-6k
grammar: 1
params: {size: 6000}
models:
  judge: {use: openai, model: gpt-4.1-mini, api_key: "${env:OPENAI_API_KEY}", budget: {dollars: 20}}
  encoder: {use: tfidf}
variants:
  offline: {models.judge: {use: script, replies: data/judge.jsonl}, params.size: 50}
steps:
  - load: {path: data/pool/*.jsonl, schema: sharegpt, license: CC-BY-4.0}
  - filter: words(response) >= 5 and not contains(response, "As an AI")
  - filter.near_duplicates: {threshold: 0.8}
  - score.complexity: {model: judge}
  - score.quality: {model: judge}
  - score: {evol: complexity * quality}
  - tag.embedding: {model: encoder}
  - id: chosen
    select.diverse: {size: "${params.size}", by: evol, max_similarity: 0.9}
  - format.messages
  - write: out/deita-6k
tests:
  - name: a near neighbour of the best row is skipped
    step: chosen
    given: [{evol: 6.0, embedding: [1, 0]}, {evol: 5.9, embedding: [1, 0.01]}, {evol: 2.0, embedding: [0, 1]}]
    with: {size: 2}
    expect: [{evol: 6.0}, {evol: 2.0}]
"""


@pytest.fixture
def outcome(kitchen):
    """Runs the tests of a recipe. Returns the details of those that failed, `ok` for the others."""

    def run(steps, tests, head="", plugins=()):
        kitchen.recipe("  - load: {path: nowhere.jsonl, license: MIT}\n" + steps + f"tests:\n{tests}", head=head)
        with kitchen.session(plugins=plugins) as session:
            return [r.detail if not r.passed else "ok" for r in run_tests(session)]

    return run


def test_the_one_in_the_design(kitchen):
    (kitchen.folder / "deita.yaml").write_text(DEITA)
    with kitchen.session("deita.yaml") as session:
        [result] = run_tests(session)
    assert (result.name, result.passed, result.detail) == ("a near neighbour of the best row is skipped", True, "")


def test_the_one_in_the_design_can_fail(kitchen):
    (kitchen.folder / "deita.yaml").write_text(
        DEITA.replace("expect: [{evol: 6.0}, {evol: 2.0}]", "expect: [{evol: 6.0}, {evol: 5.9}]")
    )
    with kitchen.session("deita.yaml") as session:
        [result] = run_tests(session)
    assert result.detail == "row 1: expected evol = 5.9, got 2.0"


FILTER = "  - id: long\n    filter.length: {words: ['${params.least}', 9]}\n"
HEAD = "params: {least: 2}\n"


@pytest.mark.parametrize(
    "test, detail",
    [
        ("{given: [{response: a}, {response: a b}], expect: [{response: a b}]}", "ok"),
        ("{given: [{query: q, response: a b}], expect: [{query: q, response: a b}]}", "ok"),
        ("{given: [{response: a}, {response: a b}], expect: {rows: 1, dropped: 1}}", "ok"),
        ("{given: [{response: a}], expect: {dropped: {too_short: 1}}}", "ok"),
        ("{given: [{response: a}], expect: {dropped.too_short: 1}}", "ok"),
        (
            "{given: [{response: a}], expect: {dropped: {too_short: 2}}}",
            "expected dropped = {'too_short': 2}, got {'too_short': 1}",
        ),
        ("{given: [{response: a}], expect: [{response: a}]}", "expected 1 rows, got 0"),
        ("{given: [{response: a b}], expect: [{response: a c}]}", "row 0: expected response = 'a c', got 'a b'"),
        ("{given: [{response: a b}], expect: [{respnse: a b}]}", "row 0: expected respnse = 'a b', got None"),
        ("{given: [{response: a b}], with: {least: 3}, expect: []}", "ok"),
        ("{given: [{response: a b}], with: {least: 3}, expect: {rows: 1}}", "expected rows = 1, got 0"),
        ("{given: [], expect: []}", "ok"),
        ("{expect: {rows: 0}}", "ok"),
        (
            "{given: [{messages: [{role: user, content: q}, {role: assistant, content: a b}]}], expect: [{query: q}]}",
            "ok",
        ),
        ("{given: [{id: mine, response: a b}], expect: [{id: mine}]}", "ok"),
        ("{given: [{response: a b, extra: {x: 1}}], expect: [{extra: '{\"x\": 1}'}]}", "ok"),
    ],
)
def test_what_a_test_expects(outcome, test, detail):
    found = outcome(FILTER, f"  - {test[0]}name: it, step: long, {test[1:]}\n", HEAD)
    assert [f.split(":")[0] if detail == "expected 1 rows, got 0" else f for f in found] == [detail]


def test_numbers_are_compared_as_numbers(outcome):
    steps = "  - id: share\n    score: {third: words(response) / 3}\n"
    assert outcome(steps, "  - {step: share, given: [{response: a}], expect: [{third: 0.33333333}]}\n") == ["ok"]
    assert outcome(steps, "  - {step: share, given: [{response: a}], expect: [{third: 0.334}]}\n") != ["ok"]


def test_columns_have_the_types_that_the_recipe_gives_them(outcome):
    steps = "  - id: sized\n    score: {size: words(response)}\n  - id: best\n    select.top: {size: 1, by: size}\n"
    test = "  - {step: best, given: [{size: 1}, {size: 2.0}], expect: [{size: 2, rank: 0}]}\n"
    assert outcome(steps, test) == ["ok"]


def test_a_test_has_rows_for_side_ports(outcome):
    steps = "  - id: pool\n    tag.embedding: {model: m}\n  - {id: evals, load: {path: e.jsonl, role: eval}}\n  - {id: vectors, from: evals, tag.embedding: {model: m}}\n" \
        "  - id: near\n    from: {rows: pool, against: vectors}\n    select.rds: {size: 1}\n"  # fmt: skip
    test = "  - {step: near, given: [{embedding: [1, 0], response: a}, {embedding: [0, 1], response: b}], from: {against: [{embedding: [0, 1]}]}, expect: [{response: b}]}\n"
    assert outcome(steps, test, "models: {m: {use: tfidf}}\n") == ["ok"]


def test_a_step_that_reads_what_was_let_go(outcome):
    steps = FILTER + "  - id: rest\n    from: long.dropped\n    tag: {kind: lower(response)}\n"
    assert outcome(steps, "  - {step: rest, given: [{response: A}], expect: [{kind: a}]}\n", HEAD) == ["ok"]


def test_a_step_of_a_part(kitchen, outcome):
    kitchen.recipe(
        "  - id: long\n    filter: words(response) >= params.least\n", head="params: {least: 2}\n", name="clean.yaml"
    )
    assert outcome(
        "  - use: ./clean.yaml\n",
        "  - {step: clean/long, given: [{response: a}, {response: a b}], expect: {rows: 1}}\n",
    ) == ["ok"]


WRITER = "  - id: answered\n    answer.chat: {model: writer}\n"
MODELS = "models: {writer: {use: openai, model: m, api_key: '${env:NO_SUCH_KEY}'}}\n"


def test_a_model_is_replaced_by_replies(outcome):
    test = "  - step: answered\n    given: [{query: a}, {query: b}]\n    models: {writer: [{match: b, reply: B}, {match: a, reply: A}]}\n    expect: [{response: A}, {response: B}]\n"
    assert outcome(WRITER, test, MODELS) == ["ok"]


def test_a_model_is_replaced_by_another_provider(outcome):
    test = "  - step: answered\n    given: [{query: loud}]\n    models: {writer: {use: script, behaviour: upper}}\n    expect: [{response: LOUD}]\n"
    assert outcome(WRITER, test, MODELS) == ["ok"]


def test_an_error_can_be_expected(kitchen, outcome):
    (kitchen.folder / "ops.py").write_text(
        "from sftrecipe import Tag, StepError\nclass Fails(Tag):\n    writes = {'x': 'text'}\n    def tag(self, rows):\n        raise StepError('no moon tonight', code='R600')\n"
    )
    plugins = [kitchen.folder / "ops.py"]
    steps = "  - id: f\n    tag.ops.fails:\n"
    assert outcome(steps, "  - {step: f, given: [{response: a}], expect: {error: no moon}}\n", plugins=plugins) == [
        "ok"
    ]
    assert outcome(steps, "  - {step: f, given: [{response: a}], expect: {error: R600}}\n", plugins=plugins) == ["ok"]
    [detail] = outcome(steps, "  - {step: f, given: [{response: a}], expect: {error: no sun}}\n", plugins=plugins)
    assert detail == "expected the error `no sun`, got: no moon tonight"
    [detail] = outcome(steps, "  - {step: f, given: [{response: a}], expect: {rows: 1}}\n", plugins=plugins)
    assert detail == "StepError: no moon tonight"


def test_an_error_that_does_not_come(outcome):
    assert outcome(FILTER, "  - {step: long, given: [], expect: {error: R600}}\n", HEAD) == [
        "expected the error `R600`, but the step succeeded"
    ]


def test_a_value_that_does_not_fit_is_an_error_of_that_test(outcome):
    tests = "  - {step: long, with: {least: many}, expect: []}\n  - {step: long, given: [], expect: []}\n"
    first, second = outcome(FILTER, tests, HEAD)
    assert "error[R116]" in first
    assert second == "ok"


def test_a_load_is_no_step_to_test(outcome):
    with pytest.raises(RecipeError, match=r"R128.*reads files"):
        outcome(FILTER, "  - {step: load.auto, given: [], expect: []}\n", HEAD)


def test_a_wrong_recipe_has_no_tests(outcome):
    with pytest.raises(RecipeError):
        outcome("  - id: long\n    filter.lenght:\n", "  - {step: long, expect: []}\n")


def test_several_tests_are_told_in_order(outcome):
    tests = "".join(
        f"  - {{name: n{n}, step: long, given: [{{response: {'a ' * n}}}], expect: {{rows: {int(n > 2)}}}}}\n"
        for n in (1, 2, 3)
    )
    assert [o == "ok" for o in outcome(FILTER, tests, HEAD)] == [True, False, True]


def test_nothing_is_left_on_the_disk(kitchen, outcome):
    outcome(FILTER, "  - {step: long, given: [{response: a}], expect: []}\n", HEAD)
    assert [p.name for p in kitchen.folder.iterdir()] == ["recipe.yaml"]
