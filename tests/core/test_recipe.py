"""The recipe language: what a recipe's words mean once it is read."""

from __future__ import annotations

import pytest

from sftrecipe.errors import RecipeError, UsageError
from sftrecipe.recipe import Ref
from sftrecipe.run.interpreter import Options
from tests.conftest import chat

LOAD = "  - load: {path: rows.jsonl, license: MIT}\n"


@pytest.fixture
def plan(kitchen):
    """The plan of steps (YAML below `steps:`), or the codes of what is wrong."""

    def make(steps, head="", load=LOAD, **options):
        kitchen.recipe(load + steps, head=head)
        with kitchen.session(**options) as session:
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


# -- params


@pytest.mark.parametrize(
    "declared, value",
    [
        ("5", 5), ("0.5", 0.5), ("true", True), ("text", "text"), ("[1, 2]", [1, 2]), ("{a: 1}", {"a": 1}), ("null", None),
        ("1/256", 1 / 256), ("2%", 0.02), ("2e-5", 2e-5), ("no", "no"), ("1:30", "1:30"),
        ("{default: 5}", 5), ("{type: int, default: 5, min: 1, max: 9, about: How many.}", 5),
        ("{type: float, default: 5}", 5), ("{type: float, default: 1/4, max: 50%}", 0.25), ("{default: a, choices: [a, b]}", "a"),
        ("{type: any, default: {x: 1}}", {"x": 1}), ("{type: int, default: null}", None), ("{type: map, default: {}}", {}),
        ("{min: 1, max: 2}", {"min": 1, "max": 2}), ("{type: novel, year: 1851}", {"type": "novel", "year": 1851}),
    ],
)  # fmt: skip
def test_a_parameter_has_its_default(plan, declared, value):
    found = plan("  - tag: {x: source}\n", f"params: {{p: {declared}}}\n")
    assert found.recipe.params == {"p": value}
    assert type(found.recipe.params["p"]) is type(value)


@pytest.mark.parametrize(
    "declared, code",
    [
        ("{type: int, default: 1.5}", "R116"), ("{type: int, default: true}", "R116"), ("{type: bool, default: yes}", "R116"),
        ("{type: text, default: 5}", "R116"), ("{default: 5, min: 6}", "R116"), ("{default: 5, max: 4}", "R116"),
        ("{default: 50%, max: 1/4}", "R116"), ("{default: a, choices: [b]}", "R116"), ("{type: list, default: {}}", "R116"),
        ("{type: int}", "R134"), ("{type: number, default: 1}", "R114"), ("{default: a, min: 1}", "R114"),
        ("{default: 1, min: a}", "R114"), ("{default: 1, choices: 1}", "R114"), ("{type: int, defalt: 1}", "R114"),
    ],
)  # fmt: skip
def test_a_parameter_that_does_not_fit_its_declaration(codes, declared, code):
    assert codes("  - tag: {x: source}\n", f"params: {{p: {declared}}}\n") == [code]


def test_a_given_value_keeps_its_type(plan):
    head = "params: {size: 5, share: {type: float, default: 0.1}, words: [a], names: text}\n"
    found = plan("  - tag: {x: source}\n", head, overrides=("size=7", "share=1/8", "words=[b, c]", "names=no"))
    assert found.recipe.params == {"size": 7, "share": 0.125, "words": ["b", "c"], "names": "no"}


@pytest.mark.parametrize(
    "given, code",
    [
        ("size=7.5", "R116"),
        ("size=11", "R116"),
        ("sise=7", "R115"),
        ("size=[", "R004"),
        ("size=", None),
        ("seed=x", "R116"),
        ("seed=1.5", "R116"),
        ("seed.a=1", "R116"),
        ("seed=7", None),
        ("size.default=1", "R118"),
    ],
)
def test_a_given_value_is_checked(codes, given, code):
    assert codes("  - tag: {x: source}\n", "params: {size: {default: 5, max: 10}}\n", overrides=(given,)) == (
        [code] if code else []
    )


def test_a_parameter_is_given_with_its_value(codes):
    with pytest.raises(UsageError, match="size=value"):
        codes("  - tag: {x: source}\n", "params: {size: 5}\n", overrides=("size",))


def test_a_path_reaches_into_a_parameter(plan):
    head = "params:\n  parts: {default: {web: {rows: 2}, math: {rows: 3}}, type: map}\nmodels: {m: {use: tfidf, max_features: 64}}\n"
    steps = "  - tag.embedding: {model: m}\n  - mix.parts: {by: source, parts: '${params.parts}'}\n"
    given = ("parts.web.rows=9", "params.parts.math=null", "models.m.max_features=32", "seed=7")
    found = plan(steps, head, overrides=given)
    assert found.recipe.params == {"parts": {"web": {"rows": 9}}}
    assert found.recipe.models["m"].params == {"max_features": 32}
    assert found.recipe.seed == 7


def test_paths_are_seen_from_where_they_are_written(kitchen, monkeypatch):
    (kitchen.folder / "recipes").mkdir()
    kitchen.rows("recipes/own.jsonl", [chat("own", "own")])
    kitchen.rows("given.jsonl", [chat("given", "given")])
    kitchen.recipe(
        "  - load: {path: '${params.data}', license: MIT}\n  - write: out.jsonl\n",
        head="params: {data: own.jsonl}\n",
        name="recipes/r.yaml",
    )
    monkeypatch.chdir(kitchen.folder)
    kitchen.run("recipes/r.yaml")
    assert kitchen.read("out.jsonl")[0]["messages"][0]["content"] == "own"
    kitchen.run("recipes/r.yaml", overrides=("data=given.jsonl",))
    assert kitchen.read("out.jsonl")[0]["messages"][0]["content"] == "given"


# -- references


def test_a_reference_alone_keeps_its_type_and_in_text_it_is_written_out(plan):
    head = "params: {size: 3, part: 2%, flag: true, name: mix, parts: {rows: {repeat: 2}}}\n"
    steps = "  - select.random: ${params.size}\n  - mix.parts: {by: source, parts: '${params.parts}'}\n  - write: 'out/${params.name}-${params.size}-${params.flag}.jsonl'\n"
    nodes = plan(steps, head).nodes
    assert nodes["select.random"].operator.params["size"] == 3
    assert nodes["mix.parts"].operator.params["parts"] == {"rows": {"repeat": 2}}
    assert nodes["write.auto"].operator.params["path"] == "out/mix-3-true.jsonl"


def test_a_reference_reaches_into_a_mapping(plan):
    nodes = plan("  - select.random: ${params.sizes.small}\n", "params: {sizes: {small: 3, large: 9}}\n").nodes
    assert nodes["select.random"].operator.params["size"] == 3


def test_a_reference_is_a_copy(plan):
    steps = "  - id: a\n    mix.parts: {by: source, parts: '${params.p}'}\n  - id: b\n    mix.parts: {by: source, parts: '${params.p}'}\n"
    nodes = plan(steps, "params: {p: {rows: {repeat: 2}}}\n").nodes
    assert nodes["a"].operator.params["parts"] is not nodes["b"].operator.params["parts"]


def test_a_value_cannot_change_the_structure(plan):
    nodes = plan(
        "  - write: ${params.path}\n", "params: {path: x}\n", overrides=("path='a.jsonl, overwrite: true'",), load=LOAD
    ).nodes
    assert nodes["write.auto"].operator.params["path"] == "a.jsonl, overwrite: true"


@pytest.mark.parametrize(
    "where",
    [
        "- filter: a > ${params.p}",
        "- filter: a\n    where: a > ${params.p}",
        "- score: {x: '${params.p} + 1'}",
        "- filter: a\n    when: ${params.p}",
    ],
)
def test_an_expression_takes_no_reference(codes, where):
    load = "  - load: {path: rows.jsonl, columns: {a: {key: a, type: int}}}\n"
    found = codes(f"  {where}\n".replace("filter: a\n", "filter: a > 1\n"), "params: {p: 1}\n", load=load)
    assert found == ["R120"]


def test_expressions_read_params(kitchen):
    kitchen.rows("rows.jsonl", [chat("q", "one"), chat("q", "one two")])
    kitchen.recipe(
        LOAD + "  - filter: words(response) >= params.least\n  - write: out.jsonl\n", head="params: {least: 2}\n"
    )
    kitchen.run()
    assert len(kitchen.read("out.jsonl")) == 1


# -- variants

VARIANTS = """params: {size: 5, parts: {rows: {repeat: 2}, other: {rows: 1}}}
models: {encoder: {use: tfidf, max_features: 64}}
variants:
  small: {params.size: 2, params.parts.other: null}
  whole: {params.parts: {rows: {rows: 9}}, models.encoder.max_features: 32}
  swapped: {models.encoder: {use: tfidf, max_features: 16}}
"""
STEPS = "  - tag.embedding: {model: encoder}\n  - select.random: ${params.size}\n  - mix.parts: {by: source, parts: '${params.parts}'}\n"


def test_a_variant_replaces_whole_entries_and_null_removes_them(plan):
    def seen(variant):
        recipe = plan(STEPS, VARIANTS, variant=variant).recipe
        return recipe.params["size"], recipe.params["parts"], recipe.models["encoder"].params

    assert seen("") == (5, {"rows": {"repeat": 2}, "other": {"rows": 1}}, {"max_features": 64})
    assert seen("small") == (2, {"rows": {"repeat": 2}}, {"max_features": 64})
    assert seen("whole") == (5, {"rows": {"rows": 9}}, {"max_features": 32})
    assert seen("swapped") == (5, {"rows": {"repeat": 2}, "other": {"rows": 1}}, {"max_features": 16})


def test_what_is_given_beats_the_variant(plan):
    assert plan(STEPS, VARIANTS, variant="small", overrides=("size=3",)).recipe.params["size"] == 3


def test_a_variant_that_leads_nowhere_is_told_before_anybody_wants_it(codes):
    head = VARIANTS + "  wrong: {params.sise: 1, models.encodr.max_features: 2, steps.0: 3, params.parts.web: null}\n"
    assert codes(STEPS, head) == ["R118"] * 4


@pytest.mark.parametrize(
    "variant, code",
    [("{params.size: many}", "R116"), ("{seed: x}", "R116"), ("{seed: null}", None), ("{params.size: 4}", None), ("{params: {}}", None)],
)  # fmt: skip
def test_a_value_in_a_variant_is_checked_before_anybody_wants_it(codes, variant, code):
    found = codes("  - tag: {x: source}\n", f"params: {{size: 5}}\nseed: 3\nvariants: {{other: {variant}}}\n")
    assert found == ([code] if code else [])


# -- when


@pytest.mark.parametrize(
    "when, runs",
    [("params.size > 3", True), ("params.size > 5", False), ("params.on", True), ("not params.on", False), ("params.name == 'a'", True),
     ("params.none", False), ("params.size in [4, 5]", True), ("true", True), ("false", False), ("words(params.name) == 1", True)],
)  # fmt: skip
def test_when_decides_before_any_row(plan, when, runs):
    head = "params: {size: 5, on: true, name: a, none: null}\n"
    nodes = plan(
        f"  - id: maybe\n    filter.duplicates:\n    when: {when}\n  - id: end\n    tag: {{x: source}}\n", head
    ).nodes
    assert ("maybe" in nodes) is runs
    assert nodes["end"].inputs == [Ref("maybe" if runs else "load.auto")]


def test_who_reads_a_step_that_does_not_run_reads_what_it_would_have_read(plan):
    steps = "  - id: maybe\n    filter.duplicates:\n    when: params.on\n  - tag: {x: source}\n  - id: end\n    from: maybe\n    tag: {y: source}\n"
    assert plan(steps, "params: {on: false}\n").nodes["end"].inputs == [Ref("load.auto")]


@pytest.mark.parametrize(
    "when, code",
    [
        ("params.sise > 3", "R522"),
        ("size > 3", "R520"),
        ("params.size >", "R501"),
        ("5", "R125"),
        ("[a]", "R125"),
        ("params.size", "R526"),
        ("'params.size + 1'", "R526"),
    ],
)
def test_a_wrong_when(codes, when, code):
    assert codes(
        f"  - filter.duplicates:\n    when: {when}\n  - select.random: ${{params.size}}\n", "params: {size: 5}\n"
    ) == [code]


# -- from, ports


def test_a_step_reads_the_step_above(plan):
    nodes = plan("  - id: a\n    filter.duplicates:\n  - id: b\n    tag: {x: source}\n").nodes
    assert [str(r) for n in nodes.values() for r in n.inputs] == ["load.auto", "a"]


def test_every_form_of_from(plan):
    steps = """
  - id: evals
    load: {path: evals.jsonl, role: eval}
  - id: a
    filter.duplicates:
  - id: one
    from: a
    filter.length: {words: [1, 9]}
  - id: many
    from: [a, one, a.dropped]
    mix:
  - id: lost
    from: a.dropped
    tag: {why: source}
  - id: bad
    from: evals.quarantined
    filter: line > 3
  - id: named
    from: {rows: one}
    filter.duplicates:
  - id: compared
    from: [a, evals]
    measure.overlap:
"""
    nodes = plan(steps).nodes
    inputs = {id: [str(r) for r in n.inputs] for id, n in nodes.items()}
    assert inputs["a"] == ["load.auto"]  # evaluation rows are never the step above
    assert inputs["one"] == ["a"]
    assert inputs["many"] == ["a", "one", "a.dropped"]
    assert inputs["lost"] == ["a.dropped"]
    assert inputs["bad"] == ["evals.quarantined"]
    assert inputs["named"] == ["one"]
    assert inputs["compared"] == ["a", "evals"]


def test_a_side_port_leaves_the_main_input_alone(plan):
    steps = """  - id: evals
    load: {path: evals.jsonl, role: eval}
  - id: vectors
    from: evals
    tag.embedding: {model: m}
  - id: near
    from: {rows: ours, against: vectors}
    select.rds: {size: 3}
"""
    load = LOAD + "  - id: ours\n    tag.embedding: {model: m}\n"
    node = plan(steps, "models: {m: {use: tfidf}}\n", load=load).nodes["near"]
    assert [str(r) for r in node.inputs] == ["ours"]
    assert {n: str(r) for n, r in node.step.ports.items()} == {"against": "vectors"}


@pytest.mark.parametrize(
    "text, code",
    [("5", "R125"), ("[]", "R125"), ("{}", "R125"), ("[5]", "R125"), ("nowhere", "R107"), ("a.nowhere", "R108")],
)
def test_a_wrong_from(codes, text, code):
    assert codes(f"  - id: a\n    filter.duplicates:\n  - filter.length: {{words: [1, 9]}}\n    from: {text}\n") == [
        code
    ]


def test_rows_that_a_step_let_go_can_be_kept(kitchen):
    kitchen.rows("rows.jsonl", [chat("q", "one"), chat("q", "one two")])
    (kitchen.folder / "rows.jsonl").open("a").write("not json\n")
    kitchen.recipe("""  - id: pool
    load: {path: rows.jsonl, license: MIT, max_bad: 50%}
  - id: long
    filter.length: {words: [2, 9]}
  - write: kept.jsonl
  - from: long.dropped
    write: short.jsonl
  - from: pool.quarantined
    write: {path: bad.jsonl, columns: [line, reason]}
""")
    kitchen.run()
    assert [r["messages"][1]["content"] for r in kitchen.read("kept.jsonl")] == ["one two"]
    assert [r["messages"][1]["content"] for r in kitchen.read("short.jsonl")] == ["one"]
    assert kitchen.read("bad.jsonl") == [{"line": 3, "reason": kitchen.read("bad.jsonl")[0]["reason"]}]


def test_a_step_that_cannot_be_read_is_no_reason_to_complain_about_those_who_name_it(codes):
    steps = "  - id: scored\n    scroe: {size: words(response)}\n  - filter: size > 3\n  - from: scored\n    select.top: {size: 3, by: size}\n"
    assert codes(steps) == ["R201"]


def test_what_is_wrong_below_a_wrong_filter_is_told_too(codes):
    steps = "  - filter.lenght: {words: [1, 9]}\n  - filter: wrods(response) > 3\n"
    assert codes(steps) == ["R202", "R521"]


# -- forms of a step


def test_an_operator_alone_a_value_and_a_mapping(plan):
    nodes = plan(
        "  - filter.duplicates\n  - select.random: 3\n  - filter: words(response) > 1\n  - score: {a: len(query), b: a + 1}\n".replace(
            ", b: a + 1", ""
        )
    ).nodes
    assert list(nodes) == ["load.auto", "filter.duplicates", "select.random", "filter.where", "score.expr"]
    assert nodes["select.random"].operator.params["size"] == 3
    assert nodes["score.expr"].flow.writes == {"a": "int"} or nodes["score.expr"].flow.writes == {"a": "float"}


def test_steps_without_an_id_are_numbered(plan):
    nodes = plan(
        "  - filter: words(query) > 1\n  - filter: words(response) > 1\n  - filter: words(response) > 2\n"
    ).nodes
    assert list(nodes)[1:] == ["filter.where", "filter.where#2", "filter.where#3"]


def test_a_list_goes_to_the_positional_parameter(plan):
    nodes = plan("", load="  - load: [a.jsonl, b.jsonl]\n").nodes
    assert nodes["load.auto"].operator.params["path"] == ["a.jsonl", "b.jsonl"]


def test_many_sources_share_what_stands_beside_them(kitchen):
    kitchen.rows("a.jsonl", [chat("q", "a")])
    kitchen.rows("b.jsonl", [{"question": "q", "answer": "b", "level": 3}])
    kitchen.recipe("""  - load:
      license: CC-BY-4.0
      sources:
        first: a.jsonl
        second: {path: b.jsonl, license: MIT, schema: problem, columns: {level: {key: level, type: int}}, set: {think: true}}
  - write: {path: out.jsonl, columns: [source, license, level, think]}
""")
    kitchen.run()
    assert kitchen.read("out.jsonl") == [
        {"source": "first", "license": "CC-BY-4.0", "level": None, "think": None},
        {"source": "second", "license": "MIT", "level": 3, "think": True},
    ]


def test_keys_that_begin_with_x_are_free(plan):
    kept = plan(
        "  - filter.duplicates:\n    x-note: anything\n    about: A word.\n",
        "x-team: us\nx-anything: [1, {a: b}]\nabout: A recipe.\n",
    )
    assert kept.recipe.about == "A recipe."
    assert kept.nodes["filter.duplicates"].step.about == "A word."


def test_where_leaves_other_rows_alone(kitchen):
    kitchen.rows("rows.jsonl", [chat("a", "x"), chat("b", "x"), chat("a", "x")])
    kitchen.recipe(
        LOAD
        + "  - filter.duplicates:\n    where: query == 'a'\n  - tag: {kind: lower(query)}\n    where: query == 'b'\n  - write: {path: out.jsonl, columns: [kind]}\n"
    )
    kitchen.run()
    assert [r["kind"] for r in kitchen.read("out.jsonl")] == [None, "b"]


# -- use


def part(kitchen, name, steps, head=""):
    kitchen.recipe(steps, head=head, name=name)


def test_a_part_stands_for_its_steps(kitchen, plan):
    part(
        kitchen,
        "clean.yaml",
        "  - filter.duplicates\n  - id: long\n    filter: words(response) >= params.least\n",
        "params: {least: 2}\n",
    )
    nodes = plan(
        "  - use: ./clean.yaml\n    with: {least: 3}\n  - tag: {x: source}\n  - from: clean\n    tag: {y: source}\n"
    ).nodes
    assert list(nodes) == ["load.auto", "clean/filter.duplicates", "clean/long", "tag.expr", "tag.expr#2"]
    assert nodes["clean/filter.duplicates"].inputs == [Ref("load.auto")]
    assert nodes["tag.expr"].inputs == nodes["tag.expr#2"].inputs == [Ref("clean/long")]
    assert nodes["clean/long"].step.constants == {"least": 3}


def test_a_part_reads_what_its_step_reads(kitchen, plan):
    part(kitchen, "clean.yaml", "  - filter.duplicates\n")
    nodes = plan(
        "  - id: a\n    tag: {x: source}\n  - tag: {y: source}\n  - id: used\n    use: ./clean.yaml\n    from: a\n"
    ).nodes
    assert nodes["used/filter.duplicates"].inputs == [Ref("a")]


def test_parts_in_parts(kitchen, plan):
    part(kitchen, "inner.yaml", "  - filter.duplicates\n")
    part(kitchen, "outer.yaml", "  - use: ./inner.yaml\n  - id: long\n    filter.length: {words: [2, 9]}\n")
    assert list(plan("  - use: ./outer.yaml\n").nodes) == ["load.auto", "outer/inner/filter.duplicates", "outer/long"]


def test_a_part_is_found_from_its_own_folder(kitchen, plan):
    (kitchen.folder / "parts").mkdir()
    part(kitchen, "parts/outer.yaml", "  - use: ./inner.yaml\n")
    part(kitchen, "parts/inner.yaml", "  - filter.patterns: {words: {file: words.txt}}\n")
    (kitchen.folder / "parts" / "words.txt").write_text("figure\n")
    assert plan("  - use: parts/outer.yaml\n").nodes["outer/inner/filter.patterns"].operator.params["words"] == [
        "figure"
    ]


def test_steps_of_a_part_are_named_from_outside(kitchen, plan, codes):
    part(kitchen, "inner.yaml", "  - id: once\n    filter.duplicates:\n    when: params.on\n", "params: {on: true}\n")
    part(kitchen, "outer.yaml", "  - use: ./inner.yaml\n  - id: long\n    filter.length: {words: [2, 9]}\n")
    steps = (
        "  - use: ./outer.yaml\n"
        "  - {from: outer/long.dropped, write: a.jsonl}\n"
        "  - {from: outer/inner/once.dropped, write: b.jsonl}\n"
        "  - {from: outer, write: c.jsonl}\n"
    )
    nodes = plan(steps).nodes
    assert nodes["write.auto"].inputs == [Ref("outer/long", "dropped")]
    assert nodes["write.auto#2"].inputs == [Ref("outer/inner/once", "dropped")]
    assert nodes["write.auto#3"].inputs == [Ref("outer/long")]
    assert codes("  - use: ./outer.yaml\n  - {from: outer/lnog, write: a.jsonl}\n") == ["R107"]


def test_a_part_of_which_nothing_runs_hands_on_what_it_reads(kitchen, plan):
    part(kitchen, "inner.yaml", "  - id: once\n    filter.duplicates:\n    when: params.on\n", "params: {on: false}\n")
    nodes = plan(
        "  - use: ./inner.yaml\n  - {from: inner/once, write: a.jsonl}\n  - {from: inner, write: b.jsonl}\n"
    ).nodes
    assert nodes["write.auto"].inputs == nodes["write.auto#2"].inputs == [Ref("load.auto")]


def test_artefacts_of_a_part(kitchen, plan):
    part(
        kitchen,
        "tags.yaml",
        "  - id: norm\n    tag.normalize: {min_count: 1}\n  - tag.normalize: {aliases: norm.aliases}\n",
    )
    steps = "  - tag: {tags: '[source]'}\n  - use: ./tags.yaml\n  - id: last\n    tag.normalize: {aliases: tags/norm.aliases}\n"
    nodes = plan(steps).nodes
    assert nodes["tags/tag.normalize#2"].artefacts == {"aliases": ("tags/norm", "aliases")}
    assert nodes["last"].artefacts == {"aliases": ("tags/norm", "aliases")}


def test_a_part_that_mixes_reads_several_steps(kitchen, plan):
    part(kitchen, "both.yaml", "  - mix:\n  - filter.duplicates\n")
    nodes = plan("  - {id: a, load: {path: rows.jsonl, license: MIT}}\n  - use: ./both.yaml\n    from: [load.auto, a]\n".replace("load.auto", "b"),
                 load="  - {id: b, load: {path: rows.jsonl, license: MIT}}\n").nodes  # fmt: skip
    assert nodes["both/mix.parts"].inputs == [Ref("b"), Ref("a")]


def test_what_a_use_step_names_wrongly_is_told_where_it_stands(kitchen, plan):
    head = "models: {mine: {use: tfidf}}\n"
    part(
        kitchen,
        "vectors.yaml",
        "  - filter.duplicates\n  - tag.embedding: {model: encoder}\n",
        "models: {encoder: {use: tfidf}}\nparams: {size: 5}\n",
    )
    steps = "  - {id: a, load: {path: rows.jsonl, license: MIT}}\n  - use: ./vectors.yaml\n    from: [a, a]\n    with: {sise: 3}\n    models: {encoder: mien}\n"
    with pytest.raises(RecipeError) as caught:
        plan(steps, head)
    lines = kitchen.folder.joinpath("recipe.yaml").read_text().splitlines()
    told = {
        p.code: lines[p.span.line - 1][p.span.column - 1 : p.span.end - 1]
        for p in caught.value.problems
        if p.span.file == "recipe.yaml" or p.span.file.endswith("/recipe.yaml")
    }
    assert told == {"R110": "[a, a]", "R115": "sise", "R124": "mien"}


def test_a_use_step_has_no_side_ports(kitchen, codes):
    part(kitchen, "clean.yaml", "  - filter.duplicates\n")
    evals = "  - {id: evals, load: {path: rows.jsonl, role: eval}}\n"
    assert codes("  - use: ./clean.yaml\n    from: {against: evals}\n", load=evals + LOAD) == ["R112"]


def test_an_artefact_of_the_step_itself_is_not_there(codes):
    assert codes("  - tag: {tags: '[source]'}\n  - id: n\n    tag.normalize: {aliases: n.aliases}\n") == ["R107"]


def test_models_of_a_part(kitchen, plan):
    part(
        kitchen,
        "vectors.yaml",
        "  - tag.embedding: {model: encoder}\n",
        "models: {encoder: {use: tfidf, max_features: 16}}\n",
    )
    own = plan("  - use: ./vectors.yaml\n").nodes["vectors/tag.embedding"]
    assert own.models["model"].params == {"max_features": 16}
    ours = plan(
        "  - use: ./vectors.yaml\n    models: {encoder: mine}\n", "models: {mine: {use: tfidf, max_features: 8}}\n"
    ).nodes["vectors/tag.embedding"]
    assert ours.models["model"].params == {"max_features": 8}


@pytest.mark.parametrize(
    "steps, code",
    [
        ("  - use: ./nowhere.yaml\n", "R119"), ("  - use: 5\n", "R125"), ("  - use: ./clean.yaml\n    with: {lest: 1}\n", "R115"),
        ("  - use: ./clean.yaml\n    with: {least: many}\n", "R116"), ("  - use: ./clean.yaml\n    with: [1]\n", "R125"),
        ("  - use: ./clean.yaml\n    models: {m: n}\n", "R124"), ("  - use: ./clean.yaml\n    where: source == 'a'\n", "R123"),
        ("  - use: ./recipe.yaml\n", "R135"), ("  - use: ./one.yaml\n", "R135"), ("  - use: ./writes.yaml\n", "R136"),
        ("  - use: ./broken.yaml\n", "R201"), ("  - use: ./no-yaml.yaml\n", "R004"),
    ],
)  # fmt: skip
def test_a_wrong_use(kitchen, codes, steps, code):
    part(kitchen, "clean.yaml", "  - filter: words(response) >= params.least\n", "params: {least: 2}\n")
    part(kitchen, "one.yaml", "  - use: ./two.yaml\n")
    part(kitchen, "two.yaml", "  - use: ./one.yaml\n")
    part(kitchen, "writes.yaml", "  - write: out\n")
    part(kitchen, "broken.yaml", "  - filtr: words(response) > 1\n")
    (kitchen.folder / "no-yaml.yaml").write_text("recipe: [\n")
    assert codes(steps) == [code]


def test_a_part_runs(kitchen):
    kitchen.rows("rows.jsonl", [chat("q", "one two"), chat("q", "one two"), chat("q", "one")])
    part(
        kitchen,
        "clean.yaml",
        "  - filter.duplicates\n  - filter: words(response) >= params.least\n",
        "params: {least: 1}\n",
    )
    kitchen.recipe(LOAD + "  - use: ./clean.yaml\n    with: {least: 2}\n  - write: out.jsonl\n")
    kitchen.run()
    assert len(kitchen.read("out.jsonl")) == 1


def test_what_is_wrong_in_a_part_is_told_once(kitchen, codes):
    part(kitchen, "clean.yaml", "  - filter.lenght: {words: [1, 2]}\n  - filter: wrods(response) > 1\n")
    steps = "  - id: one\n    use: ./clean.yaml\n  - id: two\n    use: ./clean.yaml\n"
    assert codes(steps) == ["R202", "R521"]


def test_a_hint_about_a_part_is_told_once(kitchen):
    part(kitchen, "clean.yaml", "  - filter.duplicates\n", "params: {size: 5}\n")
    kitchen.recipe(LOAD + "  - id: one\n    use: ./clean.yaml\n  - id: two\n    use: ./clean.yaml\n")
    with kitchen.session() as session:
        session.plan()
    assert [p.code for p in session.problems] == ["R131"]


def test_a_part_alone_checks_and_does_not_run(kitchen):
    from sftrecipe.errors import UsageError

    kitchen.recipe("  - filter.duplicates\n  - filter: anything > 3\n")
    with kitchen.session() as session:
        assert session.plan().is_part()
        with pytest.raises(UsageError, match="is a part for other recipes"):
            session.run()


# -- evaluation rows


@pytest.mark.parametrize(
    "steps, code",
    [
        ("  - from: evals\n    write: out.jsonl\n", "R126"),
        ("  - id: m\n    from: [evals, load.auto]\n    mix:\n", "R107"),
        ("  - id: ours\n    tag: {x: source}\n  - from: [evals, ours]\n    mix:\n  - write: out.jsonl\n", "R126"),
        (
            "  - id: t\n    from: evals\n    tag: {x: source}\n  - id: u\n    from: t\n    filter: x == 'a'\n  - from: u.dropped\n    write: out.jsonl\n",
            "R126",
        ),
        (
            "  - id: ours\n    tag: {x: source}\n  - from: [evals, ours]\n    measure.overlap:\n  - from: ours\n    write: out.jsonl\n",
            None,
        ),
        (
            "  - id: ours\n    tag: {x: source}\n  - from: evals.quarantined\n    write: bad.jsonl\n  - from: ours\n    write: out.jsonl\n",
            None,
        ),
    ],
)
def test_evaluation_rows_reach_no_output(codes, steps, code):
    load = "  - {id: evals, load: {path: evals.jsonl, role: eval}}\n" + LOAD
    assert codes(steps, load=load) == ([code] if code else [])


@pytest.mark.parametrize("role", ["evla", "train", "[eval]"])
def test_a_misspelt_role_is_not_taken_for_rows_to_learn_from(codes, role):
    assert codes("  - filter.duplicates\n", load=f"  - load: {{path: rows.jsonl, license: MIT, role: {role}}}\n") == [
        "R302"
    ]


@pytest.mark.parametrize("key", ["where", "when", "from", "on_error", "expect"])
@pytest.mark.parametrize(
    "operator", ["filter.length: {words: 3, ", "score: {n: words(response), ", "tag: {n: source, "]
)
def test_a_key_of_the_step_among_the_parameters(plan, operator, key):
    with pytest.raises(RecipeError) as caught:
        plan(f"  - {operator}{key}: source == 'a'}}\n")
    assert [(p.code, p.help) for p in caught.value.problems] == [
        ("R301", f"`{key}:` belongs to the step: put it beside the operator")
    ]


# -- requires, secrets


@pytest.mark.parametrize(
    "wanted, code",
    [
        ("sftrecipe", None),
        ("sftrecipe>=0.1", None),
        ("sftrecipe>=99", "R133"),
        ("sftrecipe==0.0.1", "R133"),
        ("sftrecipe-nowhere", "R133"),
        ("'a package'", "R101"),
        ("'a<2'", "R101"),
    ],
)
def test_requires(codes, wanted, code):
    assert codes("  - filter.duplicates\n", f"requires: [{wanted}]\n") == ([code] if code else [])


def test_a_secret_travels_as_its_name(kitchen, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    kitchen.recipe(LOAD, head='models: {judge: {use: openai, model: m, api_key: "${env:SOME_KEY}"}}\n')
    with kitchen.session() as session:
        plan = session.plan()
    provider = plan.providers["judge"]
    assert provider.params["api_key"] == "${env:SOME_KEY}"
    assert "sk-very-secret" not in repr(provider) + repr(plan.recipe)


@pytest.mark.parametrize("key", ["sk-123", '"key-${params.p}"', '"${params.p}"'])
def test_a_secret_is_never_written_out(codes, key):
    assert codes(
        "  - filter.duplicates\n", f"params: {{p: abc}}\nmodels: {{judge: {{use: openai, model: m, api_key: {key}}}}}\n"
    ) == ["R129"]


# -- the whole file


@pytest.mark.parametrize(
    "text, code",
    [
        ("", "R101"), ("5", "R101"), ("[]", "R101"), ("recipe: 5\ngrammar: 1\nsteps: [filter.duplicates]", "R101"),
        ("recipe: x\ngrammar: 1\nsteps: []", "R101"), ("recipe: x\ngrammar: 1\nsteps: [filter.duplicates]\nparams: [1]", "R101"),
        ("recipe: x\ngrammar: 1\nsteps: [filter.duplicates]\nseed: one", "R101"), ("recipe: x\ngrammar: 1\nsteps: [filter.duplicates]\ntests: {a: 1}", "R101"),
        ("recipe: x\ngrammar: 1\nsteps: [filter.duplicates]\nvariants: {a: [1]}", "R101"), ("recipe: x\ngrammar: '1'\nsteps: [filter.duplicates]", "R113"),
        ("recipe: x\ngrammar: 1\nsteps: [5]", "R104"), ("recipe: x\ngrammar: 1\nsteps: [null]", "R104"), ("recipe: x\ngrammar: 1\nsteps: [{}]", "R104"),
        ("recipe: x\ngrammar: 1\nsteps: [{filter.Dup: 1}]", "R201"), ("recipe: x\ngrammar: 1\nsteps: [{filter.: 1}]", "R201"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe(kitchen, text, code):
    (kitchen.folder / "recipe.yaml").write_text(text)
    with kitchen.session() as session, pytest.raises(RecipeError) as caught:
        session.plan()
    assert {p.code for p in caught.value.problems} == {code}


def test_a_trial_run_has_an_output_of_its_own(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(50))
    kitchen.recipe(LOAD + "  - write: out.jsonl\n")
    small = kitchen.run(options=Options(out=kitchen.folder, limit=5))
    kitchen.run(options=Options(out=kitchen.folder, limit=20))
    five, twenty = kitchen.read("out.limit-5.jsonl"), kitchen.read("out.limit-20.jsonl")
    assert small.counts[0].codes == {"limit": 45}
    assert not (kitchen.folder / "out.jsonl").exists()
    assert {r["messages"][0]["content"] for r in five} <= {r["messages"][0]["content"] for r in twenty}


@pytest.mark.parametrize(
    "value", ["'Bearer ${env:SOME_KEY}'", "'${env:}'", "'${env: SOME_KEY }'", "'${env:A}${env:B}'", "sk-1"]
)
def test_a_secret_is_one_variable_of_the_environment(codes, value):
    head = f"models: {{m: {{use: openai, model: x, api_key: {value}}}}}\n"
    assert codes("  - answer.chat: {model: m}\n", head) == ["R129"]
