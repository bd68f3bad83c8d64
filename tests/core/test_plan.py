"""`sftrecipe plan`: what runs together, what is stored, and why the rest is not."""

from __future__ import annotations

import pytest

from sftrecipe.plan import make_stages
from sftrecipe.plan.keys import changed, step_seed

STEPS = """  - load: {path: rows.jsonl, license: MIT}
  - id: long
    filter.length: {words: [3, 90]}
  - id: sized
    score: {size: words(response)}
  - id: some
    select.random: ${params.size}
  - write: out.jsonl
"""
HEAD = "params: {size: 5}\n"


@pytest.fixture
def ran(kitchen, numbered, cli):
    kitchen.rows("rows.jsonl", numbered(40))
    kitchen.recipe(STEPS, head=HEAD)
    assert cli("run", "recipe.yaml", "-q")[0] == 0
    return kitchen


def states(text: str) -> dict[str, str]:
    """step -> state, of the printed table."""
    found, state = {}, ""
    for line in text.splitlines()[3:]:
        cells = [c.strip() for c in line.replace("   ", "  ").split("  ") if c.strip()]
        if not cells:
            continue
        if cells[0].isdigit():
            state = cells[-1]
            cells = cells[1:]
        found[cells[0]] = state
    return found


def test_before_the_first_run_everything_is_to_run(kitchen, numbered, cli):
    kitchen.rows("rows.jsonl", numbered(4))
    kitchen.recipe(STEPS, head=HEAD)
    found = states(cli("plan", "recipe.yaml")[1])
    assert found["load.auto"] == "to run: first run"
    assert found["long"] == "to run, after `load.auto`"


def test_after_a_run_everything_is_stored(ran, cli):
    code, out, err = cli("plan", "recipe.yaml")
    assert set(states(out).values()) == {"stored"}
    assert list(states(out)) == ["load.auto", "long", "sized", "some", "write.auto"]
    assert "40" in out  # the rows of each step


def test_a_parameter_that_changed_is_named_with_both_values(ran, cli):
    found = states(cli("plan", "recipe.yaml", "-p", "size=6")[1])
    assert found["long"] == found["sized"] == "stored"
    assert found["some"] == "to run: some: parameter `size` changed: 5 -> 6"
    assert found["write.auto"] == "stored if `some` comes out the same"


def test_an_input_that_changed_is_named(ran, numbered, cli):
    ran.rows("rows.jsonl", numbered(41))
    found = states(cli("plan", "recipe.yaml")[1])
    assert found["load.auto"] == "to run: load.auto: input `rows:rows.jsonl` changed"
    assert found["long"] == "stored if `load.auto` comes out the same"


def test_files_of_one_name_in_several_folders_are_inputs_of_their_own(kitchen, numbered, cli):
    for folder in ("a", "b"):
        kitchen.rows(f"data/{folder}/train.jsonl", numbered(4))
    kitchen.recipe("  - load: {path: data/*/train.jsonl, license: MIT}\n  - write: out.jsonl\n")
    assert cli("run", "recipe.yaml", "-q")[0] == 0
    kitchen.rows("data/b/train.jsonl", numbered(5))
    assert states(cli("plan", "recipe.yaml")[1])["load.auto"] == (
        "to run: load.auto: input `train:train.jsonl~2` changed"
    )
    assert cli("run", "recipe.yaml", "-q")[0] == 0
    assert len((kitchen.folder / "out.jsonl").read_text().splitlines()) == 9


def test_a_file_that_a_step_names_is_an_input_too(kitchen, numbered, cli):
    kitchen.rows("rows.jsonl", numbered(4))
    (kitchen.folder / "words.txt").write_text("figure\n")
    kitchen.recipe(
        "  - load: {path: rows.jsonl, license: MIT}\n  - filter.patterns: {words: {file: words.txt}}\n  - write: out.jsonl\n"
    )
    cli("run", "recipe.yaml", "-q")
    (kitchen.folder / "words.txt").write_text("diagram\n")
    assert (
        "parameter `words` changed: ['figure'] -> ['diagram']"
        in states(cli("plan", "recipe.yaml")[1])["filter.patterns"]
    )


def test_a_new_version_of_an_operator_is_named(ran, cli, monkeypatch):
    from sftrecipe.registry import Registry

    monkeypatch.setattr(Registry().operator("filter.length"), "version", 99)
    assert states(cli("plan", "recipe.yaml")[1])["long"].startswith("to run: long: version changed:")


def test_a_seed_changes_what_draws(ran, cli):
    found = states(cli("plan", "recipe.yaml", "-p", "seed=1")[1])
    assert found["load.auto"].startswith("to run: load.auto: seed changed:")
    assert (
        found["some"] == "stored if `sized` comes out the same"
    )  # its own seed differs, but its rows are not known yet


def test_what_came_out_the_same_runs_nothing_downstream(ran, cli):
    text = (ran.folder / "recipe.yaml").read_text()
    (ran.folder / "recipe.yaml").write_text(text.replace("words: [3, 90]", "words: [3, 91]"))
    before = sorted(p.name for p in (ran.folder / ".sftrecipe" / "objects").iterdir())
    assert states(cli("plan", "recipe.yaml")[1])["some"] == "stored if `sized` comes out the same"
    cli("run", "recipe.yaml", "-q")
    after = sorted(p.name for p in (ran.folder / ".sftrecipe" / "objects").iterdir())
    assert len(after) == len(before) + 1  # the filter alone: its rows are the same
    assert set(states(cli("plan", "recipe.yaml")[1]).values()) == {"stored"}


def test_a_store_that_is_gone_is_told_apart_from_a_first_run(ran, cli):
    import shutil

    shutil.rmtree(ran.folder / ".sftrecipe" / "objects")
    assert states(cli("plan", "recipe.yaml")[1])["load.auto"] == "to run: not in the store"


def test_an_edit_upstream_rolls_no_dice_anew(kitchen):
    kitchen.recipe(STEPS, head=HEAD)
    with kitchen.session() as session:
        one = step_seed(0, session.plan().nodes["some"])
    kitchen.recipe(STEPS.replace("  - id: sized\n    score: {size: words(response)}\n", ""), head=HEAD)
    with kitchen.session() as session:
        plan = session.plan()
        assert step_seed(0, plan.nodes["some"]) == one
        assert step_seed(1, plan.nodes["some"]) != one


def test_a_step_may_have_a_seed_of_its_own(kitchen):
    kitchen.recipe(STEPS.replace("${params.size}", "3\n    seed: 17"), head=HEAD.replace("size: 5", "other: 1"))
    with kitchen.session() as session:
        assert step_seed(99, session.plan().nodes["some"]) == 17


@pytest.mark.parametrize(
    "old, new, words",
    [
        (None, {}, "first run"),
        ({"params": {"a": 1}}, {"params": {"a": 2}}, "parameter `a` changed: 1 -> 2"),
        ({"params": {}}, {"params": {"a": 2}}, "parameter `a` changed: None -> 2"),
        ({"version": 1}, {"version": 2}, "version changed: 1 -> 2"),
        ({"files": {"f": "x"}}, {"files": {"f": "y"}}, "file `f` changed"),
        ({"models": {"m": {"name": "a"}}}, {"models": {"m": {"name": "b"}}}, "model `m` changed"),
        ({"inputs": {"rows": "x"}}, {"inputs": {"rows": "y"}}, "input `rows` changed"),
        ({"version": 1}, {"version": 1}, "a stored file is gone"),
    ],
)
def test_what_changed_in_words(old, new, words):
    assert changed(old, new) == words


def stages_of(kitchen, steps, only=None, head=""):
    kitchen.recipe(steps, head=head)
    with kitchen.session() as session:
        return [(s.kind, [n.id for n in s.nodes]) for s in make_stages(session.plan(), only)]


def test_steps_that_need_no_other_rows_share_a_stage(kitchen):
    assert stages_of(kitchen, STEPS, head=HEAD) == [
        ("load", ["load.auto"]), ("rows", ["long", "sized"]), ("whole", ["some"]), ("whole", ["write.auto"]),
    ]  # fmt: skip


def test_a_stage_ends_where_somebody_looks(kitchen):
    steps = "  - load: rows.jsonl\n  - id: a\n    filter: words(query) > 1\n  - id: b\n    filter: words(query) > 2\n  - from: a.dropped\n    write: out.jsonl\n"
    assert stages_of(kitchen, steps)[1:3] == [("rows", ["a"]), ("rows", ["b"])]
    one = "  - load: rows.jsonl\n  - id: a\n    filter: words(query) > 1\n  - id: b\n    filter: words(query) > 2\n"
    assert stages_of(kitchen, one)[1:] == [("rows", ["a", "b"])]
    assert stages_of(kitchen, one, only=["a"])[1:] == [("rows", ["a"])]


def test_only_what_a_step_needs(kitchen):
    steps = "  - {id: x, load: x.jsonl}\n  - {id: y, load: y.jsonl}\n  - {id: a, from: x, filter: words(query) > 1}\n  - {id: b, from: y, filter: words(query) > 1}\n"
    assert stages_of(kitchen, steps, only=["a"]) == [("load", ["x"]), ("rows", ["a"])]


def test_to_runs_a_step_and_what_it_needs(kitchen, numbered, cli):
    kitchen.rows("rows.jsonl", numbered(10))
    kitchen.recipe(STEPS, head=HEAD)
    code, out, err = cli("run", "recipe.yaml", "--to", "long")
    assert code == 0
    assert "sized" not in out
    assert not (kitchen.folder / "out.jsonl").exists()
    assert states(cli("plan", "recipe.yaml")[1])["load.auto"] == "stored"
