"""What became of a row: `trace` tells its story, `head` shows the rows of a step, dropped ones too."""

from __future__ import annotations

import json

import pytest

from tests.conftest import chat

RECIPE = """  - id: pool
    load: {path: rows.jsonl, license: MIT, max_bad: 50%}
  - id: long
    filter.length: {words: [2, 90]}
  - id: unique
    filter.duplicates:
  - id: sized
    score: {size: words(response)}
  - id: best
    select.top: {size: 2, by: size}
  - mix: {by: source, parts: {rows: {repeat: 2}}}
  - write: out.jsonl
"""


@pytest.fixture
def ran(kitchen, cli):
    rows = [
        chat("the sun", "one two three"),
        chat("the moon", "one"),
        chat("the sun", "one two three"),
        chat("the stars", "one two"),
        chat("a planet", "a b c d"),
    ]
    kitchen.rows("rows.jsonl", rows)
    with (kitchen.folder / "rows.jsonl").open("a") as file:
        file.write("{broken\n")
    kitchen.recipe(RECIPE)
    assert cli("run", "recipe.yaml", "-q")[0] == 0
    return kitchen


def ids(cli, step):
    code, out, err = cli("head", "recipe.yaml", step, "-n", "20", "--json")
    assert code == 0, err
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_a_row_that_came_through(ran, cli):
    code, out, err = cli("trace", "recipe.yaml", "a planet")
    lines = [line.strip() for line in out.splitlines()]
    assert code == 0
    assert lines[0].startswith("row ")
    assert lines[1] == "pool: loaded from rows, MIT"
    assert lines[2].startswith("long: kept")
    assert lines[3].startswith("unique: kept")
    assert lines[4] == "sized: kept size = 4"
    assert lines[5] == "best: kept rank = 0"
    assert lines[6].startswith("mix.parts: kept")
    assert lines[7].startswith("write.auto: kept")


def test_a_row_that_was_dropped_and_why(ran, cli):
    out = cli("trace", "recipe.yaml", "the moon")[1]
    assert "long: dropped too_short (1)" in out
    assert "best" not in out


def test_a_row_that_another_row_cost_its_place(ran, cli):
    kept, dropped = ids(cli, "unique"), ids(cli, "unique.dropped")
    assert len(dropped) == 1
    out = cli("trace", "recipe.yaml", dropped[0])[1]
    assert "unique: dropped duplicate" in out
    assert f"because of row {kept[0]}" in out


def test_a_row_that_was_not_chosen(ran, cli):
    assert "best: dropped not_chosen" in cli("trace", "recipe.yaml", "the stars")[1]


def test_a_text_that_several_rows_hold(ran, cli):
    code, out, err = cli("trace", "recipe.yaml", "the sun")
    assert code == 2
    assert out.startswith("2 rows hold this; name one by its id:")
    for id in (line.split()[0] for line in out.splitlines()[1:]):
        assert cli("trace", "recipe.yaml", id)[0] == 0


def test_the_start_of_an_id_is_enough(ran, cli):
    id = ids(cli, "best")[0]
    assert cli("trace", "recipe.yaml", id[:10])[1].startswith(f"row {id}")


def test_a_repeat_has_a_story_of_its_own(ran, cli):
    copy = next(i for i in ids(cli, "mix.parts") if i.endswith("~2"))
    out = cli("trace", "recipe.yaml", copy)[1]
    assert "mix.parts: drawn" in out
    assert "write.auto: kept" in out


def test_a_text_that_nobody_holds(ran, cli):
    code, out, err = cli("trace", "recipe.yaml", "no such words")
    assert code == 2
    assert "no row has the id `no such words` or holds this text" in err


def test_steps_that_have_not_run_say_so(ran, cli):
    (ran.folder / "recipe.yaml").write_text((ran.folder / "recipe.yaml").read_text().replace("size: 2", "size: 1"))
    assert "best: not run" in cli("trace", "recipe.yaml", "a planet")[1]


def test_head_shows_rows_as_people_read_them(ran, cli):
    code, out, err = cli("head", "recipe.yaml", "best", "-n", "1")
    assert code == 0
    assert "user: the sun" in out
    assert "size 3" in out
    assert out.count("----") > 0


def test_head_takes_as_many_as_it_is_told(ran, cli):
    assert [len(cli("head", "recipe.yaml", "pool", "-n", str(n), "--json")[1].splitlines()) for n in (1, 3, 99)] == [
        1,
        3,
        5,
    ]


def test_head_of_the_dropped_tells_why(ran, cli):
    code, out, err = cli("head", "recipe.yaml", "long.dropped", "--json")
    [row] = [json.loads(line) for line in out.splitlines()]
    assert row["code"] == "too_short"
    assert row["messages"][1]["content"] == "one"


def test_head_of_the_not_drawn(kitchen, cli):
    kitchen.rows("rows.jsonl", [chat(f"q{i}", "a") for i in range(4)])
    kitchen.recipe(
        "  - load: {path: rows.jsonl, license: MIT}\n  - id: mixed\n    mix: {by: source, parts: {rows: {rows: 1}}}\n  - write: out.jsonl\n"
    )
    cli("run", "recipe.yaml", "-q")
    rows = [json.loads(line) for line in cli("head", "recipe.yaml", "mixed.dropped", "--json")[1].splitlines()]
    assert [r["code"] for r in rows] == ["not_drawn"] * 3


def test_head_of_the_quarantined_shows_the_place(ran, cli):
    code, out, err = cli("head", "recipe.yaml", "pool.quarantined", "--json")
    [row] = [json.loads(line) for line in out.splitlines()]
    assert row["line"] == 6
    assert row["reason"].startswith("bad_json")
    assert row["raw"] == "{broken"


@pytest.mark.parametrize("step, said", [("bset", "did you mean `best`?"), ("best.lost", "has no port `lost`")])
def test_head_of_what_is_not_there(ran, cli, step, said):
    code, out, err = cli("head", "recipe.yaml", step)
    assert code == 2
    assert said in err


def test_head_of_nothing(ran, cli):
    code, out, err = cli("head", "recipe.yaml", "sized.dropped")
    assert (code, out) == (0, "no rows in sized.dropped\n") or code == 2


def test_the_ledger_of_a_null(kitchen, cli):
    (kitchen.folder / "ops.py").write_text(
        "from sftrecipe import Score, RowError\nclass Some(Score):\n    reads = ('query',)\n    writes = {'n': 'float'}\n"
        "    def score_row(self, row):\n        if row['query'] == 'q1':\n            raise RowError('no_number', 'it has none')\n        return 1.0\n"
    )
    kitchen.rows("rows.jsonl", [chat(f"q{i}", "a") for i in range(3)])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - score.ops.some:\n  - write: out.jsonl\n")
    assert "1 without a value: no_number" in cli("run", "recipe.yaml", "--plugin", "ops.py")[1]
    assert (
        "score.ops.some: left without a value no_number" in cli("trace", "recipe.yaml", "q1", "--plugin", "ops.py")[1]
    )


def test_head_of_an_artefact(kitchen, cli):
    kitchen.rows("rows.jsonl", [chat("a", "b"), chat("a", "b"), chat("c", "d")])
    kitchen.recipe("""
  - load: {path: rows.jsonl, license: MIT}
  - id: dd
    filter.duplicates:
  - id: mixed
    mix: {by: source, parts: {rows: {rows: 1, repeat: 3}}}
  - write: out.jsonl
""")
    cli("run", "recipe.yaml")
    assert json.loads(cli("head", "recipe.yaml", "dd.report", "--json")[1])["dropped"] == 1
    assert "max_repeat" in cli("head", "recipe.yaml", "mixed.shares")[1]
    code, _, err = cli("head", "recipe.yaml", "dd.reports")
    assert code == 2
    assert "artefacts: report" in err
    assert "code not_drawn" in (shown := cli("head", "recipe.yaml", "mixed.dropped")[1])
    assert "user: " in shown  # the row, not its number alone
    copy = next(r["id"] for r in kitchen.read("out.jsonl") if "~" in r["id"])
    assert f"mixed: drawn a copy of {copy.partition('~')[0]}" in cli("trace", "recipe.yaml", copy)[1]
