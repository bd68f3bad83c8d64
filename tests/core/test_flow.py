"""Column flow: what is alive, of which type, what is stale, who may write over what."""

from __future__ import annotations

import textwrap

import pytest

from sftrecipe.errors import RecipeError

LOAD = "  - load: {path: rows.jsonl, license: MIT, columns: {level: {key: level, type: int}, marks: {key: marks, type: 'list[text]'}, facts: {key: facts, type: json}}}\n"

OPS = '''
from sftrecipe import Answer, Column, Evolve, Expr, Filter, Flow, Into, Param, Score, Tag, Template

class Rewrites(Answer):
    """Writes the last answer anew."""
    reads = ("messages",)
    writes = {"messages": "messages"}
    rewrites = ("response",)
    def answer_row(self, row): return {"text": "new"}

class Asks(Tag):
    """Rewrites the question."""
    reads = ("messages",)
    writes = {"messages": "messages"}
    rewrites = ("query",)
    def tag_row(self, row): return {"messages": row["messages"]}

class Named(Tag):
    """Names what it reads and writes."""
    writes = {"{into}": "text"}
    by: Column = Param("level", doc="Read.")
    into: Into = Param("named", doc="Written.")
    def tag(self, rows): return {self.into: rows[self.by].cast(str)}

class Prompted(Tag):
    """Has a template."""
    writes = {"told": "text"}
    prompt: Template = Param("{{query}}", doc="Asked.")
    def tag(self, rows): return {}

class Same(Tag):
    """Changes its own input."""
    reads = ("level",)
    writes = {"level": "int"}
    def tag(self, rows): return {"level": rows["level"] + 1}

class Two(Filter):
    """An operator as value and two expressions."""
    verify: Score | None = Param(None, doc="Decides.")
    tests: dict[str, Expr] | None = Param(None, doc="Conditions.")
    every: list[Expr] | None = Param(None, doc="Conditions.")
    wants = {"tests": "bool", "every": "bool"}
    def keep(self, rows): return rows["id"].is_not_null()
'''


@pytest.fixture
def plan(kitchen):
    (kitchen.folder / "ops.py").write_text(textwrap.dedent(OPS))

    def make(steps, head="", load=LOAD, **options):
        kitchen.recipe(load + steps, head=head)
        with kitchen.session(plugins=[kitchen.folder / "ops.py"], **options) as session:
            return session.plan()

    return make


@pytest.fixture
def codes(plan):
    def make(steps, head="", **options):
        try:
            plan(steps, head, **options)
        except RecipeError as error:
            return [p.code for p in error.problems]
        return []

    return make


def types(node):
    return {n: str(c.type) for n, c in node.columns_out.items()}


# -- types


def test_a_load_gives_the_fixed_columns_and_its_own(plan):
    found = types(plan("").nodes["load.auto"])
    assert found == {
        "id": "text", "messages": "messages", "source": "text", "license": "text", "tools": "json", "extra": "json",
        "level": "int", "marks": "list[text]", "facts": "json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "expression, type_",
    [
        ("level + 1", "int"), ("level / 2", "float"), ("words(response)", "int"), ("lower(query)", "text"), ("level > 1", "bool"),
        ("1 if level > 1 else 2", "int"), ("coalesce(level, 0.5)", "float"), ("first(marks)", "text"), ("len(marks)", "int"),
    ],
)  # fmt: skip
def test_a_tag_has_the_type_of_its_expression(plan, expression, type_):
    assert types(plan(f"  - tag: {{x: '{expression}'}}\n").nodes["tag.expr"])["x"] == type_


@pytest.mark.parametrize(
    "condition, code",
    [
        ("level > 3", None), ("level", "R526"), ("lower(query)", "R526"), ("level == 'a'", "R525"), ("query > 3", "R525"), ("marks == 'a'", "R526"),
        ("'a' in marks", None), ("facts.topic == 'a'", None), ("facts.topic > 3", None), ("messages", "R526"), ("messages[0].content == 'a'", None),
        ("not query", "R525"), ("level and true", "R525"), ("any(marks)", "R524"), ("response in ['a', 1]", "R525"), ("is_null(level)", None),
    ],
)  # fmt: skip
def test_a_condition_is_checked_against_the_columns(codes, condition, code):
    found = codes(f'  - filter: "{condition}"\n')
    assert found == ([code] if code else [])


def test_a_column_parameter_and_its_output(plan, codes):
    node = plan("  - tag.ops.named: {by: marks, into: shown}\n").nodes["tag.ops.named"]
    assert node.flow.reads == ("marks",)
    assert node.flow.writes == {"shown": "text"}
    assert codes("  - tag.ops.named: {by: mark}\n") == ["R401"]
    assert codes("  - tag.ops.named: {by: level}\n  - filter: nmaed == 'a'\n") == ["R520"]


def test_expressions_in_lists_and_mappings(plan, codes):
    node = plan("  - filter.ops.two: {tests: {a: level > 3, b: words(query) > 1}, every: [level < 9]}\n").nodes[
        "filter.ops.two"
    ]
    assert set(node.flow.reads) == {"level", "query"}
    assert codes("  - filter.ops.two: {tests: {a: lvel > 3}, every: [level < 9, levl > 1]}\n") == ["R520", "R520"]
    assert codes("  - filter.ops.two: {every: [level]}\n") == ["R526"]


def test_a_template_reads_columns(plan, codes):
    assert plan("  - tag.ops.prompted: {prompt: '{{query}} and {{level}}'}\n").nodes["tag.ops.prompted"].flow.reads == (
        "query",
        "level",
    )
    assert codes("  - tag.ops.prompted: {prompt: '{{qurey}}'}\n") == ["R401"]


def test_a_template_from_a_file(kitchen, plan, codes):
    (kitchen.folder / "p.txt").write_text("Say {{response}}\n")
    assert plan("  - tag.ops.prompted: {prompt: {file: p.txt}}\n").nodes["tag.ops.prompted"].flow.reads == ("response",)
    (kitchen.folder / "p.txt").write_text("Say {{respnse}}\n")
    assert codes("  - tag.ops.prompted: {prompt: {file: p.txt}}\n") == ["R401"]


def test_an_operator_as_value_sees_the_columns(plan, codes):
    node = plan("  - filter.ops.two: {verify: {score.length: {of: words}}}\n".replace("{of: words}", "{}")).nodes[
        "filter.ops.two"
    ]
    assert node.nested["verify"].entry.full == "score.length"
    assert codes("  - filter.ops.two: {verify: length}\n") == []
    assert codes("  - filter.ops.two: {verify: {score.length: {text: respnse}}}\n") == ["R520"]
    assert codes("  - filter.ops.two: {verify: filter.length}\n") == ["R202"]


# -- staleness


def test_what_was_computed_from_a_rewritten_text_is_stale(codes):
    steps = "  - score: {size: words(response)}\n  - answer.ops.rewrites:\n  - filter: size > 3\n"
    assert codes(steps) == ["R403"]


@pytest.mark.parametrize(
    "steps",
    [
        "  - score: {size: words(query)}\n  - answer.ops.rewrites:\n  - filter: size > 3\n",  # another text
        "  - score: {size: words(response)}\n  - tag.ops.asks:\n  - filter: size > 3\n",  # another text was rewritten
        "  - score: {size: words(response)}\n  - answer.ops.rewrites:\n  - score: {size: words(response)}\n  - filter: size > 3\n",  # made again
        "  - score: {size: level + 1}\n  - answer.ops.rewrites:\n  - filter: size > 3\n",  # of no text
        "  - answer.ops.rewrites:\n  - score: {size: words(response)}\n  - filter: size > 3\n",
        "  - answer.ops.rewrites:\n  - filter: words(response) > 3\n",  # the text itself is never stale
    ],
)
def test_what_is_not_stale(codes, steps):
    assert codes(steps) == []


@pytest.mark.parametrize(
    "rewriter, text",
    [
        ("answer.ops.rewrites", "response"),
        ("tag.ops.asks", "query"),
        ("answer.ops.rewrites", "conversation"),
        ("tag.ops.asks", "conversation"),
    ],
)
def test_staleness_goes_through_columns(codes, rewriter, text):
    steps = f"  - tag: {{a: lower({text})}}\n  - tag: {{b: upper(a)}}\n  - score: {{c: words(b)}}\n  - {rewriter}:\n  - select.top: {{size: 3, by: c}}\n"
    assert codes(steps) == ["R403"]


def test_a_stale_column_is_stale_in_where_and_parameters_too(codes):
    start = "  - score: {size: words(response)}\n  - answer.ops.rewrites:\n"
    assert codes(start + "  - filter.duplicates:\n    where: size > 3\n") == ["R403"]
    assert codes(start + "  - tag.ops.named: {by: size}\n") == ["R403"]


def test_a_column_computed_under_a_condition_hangs_on_its_texts(codes):
    assert codes(
        "  - score: {x: level + 1}\n    where: words(response) > 3\n  - answer.ops.rewrites:\n  - filter: x > 1\n"
    ) == ["R403"]


def test_stale_in_one_input_is_stale_in_the_mix(codes):
    steps = """  - id: scored
    score: {size: words(response)}
  - id: anew
    answer.ops.rewrites:
  - from: [scored, anew]
    mix:
  - filter: size > 3
"""
    assert codes(steps) == ["R403"]


# -- writing


def test_a_live_column_is_not_overwritten(codes):
    assert codes("  - score: {level: words(query)}\n") == ["R404"]
    assert codes("  - tag.ops.named: {into: level, by: marks}\n") == ["R404"]


@pytest.mark.parametrize(
    "steps",
    [
        "  - score: {level: level + 1}\n",  # its own input
        "  - tag.ops.same:\n",
        "  - score: {level: words(query)}\n    where: is_null(level)\n",  # other rows keep theirs
        "  - score: {size: words(response)}\n  - answer.ops.rewrites:\n  - score: {size: words(response)}\n",  # stale
    ],
)
def test_what_may_be_written_over(codes, steps):
    assert codes(steps) == []


@pytest.mark.parametrize("name", ["id", "query", "response", "conversation", "_own", "two words", "a-b", "1st"])
def test_names_that_no_column_has(codes, name):
    assert codes(f'  - score: {{"{name}": level + 1}}\n') == ["R405"]


def test_a_wrong_expression_is_told_once(codes):
    assert codes("  - score: {a: wrds(query)}\n  - filter: a > 3\n  - select.top: {size: 3, by: a}\n") == ["R521"]
    assert codes("  - tag: {a: nowhere}\n  - filter: a > 3\n") == ["R520"]
    assert codes("  - filter: nowhere > 3 and nowhere < 9\n") == ["R520"]


# -- joins, formats, packs


def test_inputs_of_two_types(codes):
    other = "  - id: other\n    load: {path: other.jsonl, columns: {level: {key: level, type: text}}}\n"
    assert codes(
        other + "  - from: [ours, other]\n    mix:\n", load=LOAD + "  - id: ours\n    filter.duplicates:\n"
    ) == ["R402"]


def test_inputs_with_columns_of_their_own(plan):
    steps = "  - id: a\n    tag: {x: source}\n  - id: b\n    load: b.jsonl\n  - from: [a, b]\n    mix:\n"
    assert {"x", "level"} <= set(types(plan(steps).nodes["mix.parts"]))


def test_dropped_rows_have_the_columns_from_before(plan, codes):
    steps = "  - id: best\n    select.top: {size: 3, by: level}\n  - from: best.dropped\n    id: rest\n    tag: {x: source}\n"
    nodes = plan(steps).nodes
    assert types(nodes["best"])["rank"] == "int"
    assert "rank" not in types(nodes["rest"])
    assert codes(steps.replace("tag: {x: source}", "filter: rank > 3")) == ["R520"]


def test_a_format_is_what_a_write_puts_out(plan):
    nodes = plan("  - format.alpaca\n  - write: out.jsonl\n").nodes
    assert nodes["write.auto"].formatted == tuple(nodes["format.alpaca"].flow.writes)
    assert set(nodes["format.alpaca"].flow.writes) <= set(types(nodes["write.auto"]))


def test_a_pack_is_sequences(plan, codes):
    head = "models: {tok: {use: tokenizer, model: tiny}}\n"
    nodes = plan("  - pack.bfd: {length: 64, tokenizer: tok}\n", head).nodes
    assert set(types(nodes["pack.bfd"])) == {"id", "input_ids", "labels", "seq_lengths", "members"}
    staged = plan("  - tag: {stage: source}\n  - pack.bfd: {length: 64, tokenizer: tok}\n", head).nodes
    assert types(staged["pack.bfd"])["stage"] == "text"
    assert codes("  - pack.bfd: {length: 64, tokenizer: tok}\n  - filter: words(response) > 3\n", head) == ["R520"]


def test_a_part_reads_columns_that_it_does_not_know(kitchen):
    kitchen.recipe("  - filter: anything > 3\n  - score: {x: words(response)}\n")
    with kitchen.session() as session:
        assert set(session.plan().nodes) == {"filter.where", "score.expr"}


def test_every_name_of_an_expression_that_is_not_there_is_told(plan):
    steps = "  - filter: qualty > 3 and wrds(respnse) > params.siz or zz == 4\n  - select.top: {size: '${params.size}', by: level}\n"
    with pytest.raises(RecipeError) as caught:
        plan(steps, "params: {size: 3}\n")
    told = [(p.code, p.message.split("`")[1]) for p in caught.value.problems]
    assert told == [("R520", "qualty"), ("R521", "wrds"), ("R520", "respnse"), ("R522", "siz"), ("R520", "zz")]
