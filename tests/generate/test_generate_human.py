"""The loop with people: what goes out, what comes in, and that nothing is overwritten."""

from __future__ import annotations

import json

import pytest

from sftrecipe.errors import StepError
from sftrecipe.run.interpreter import Options
from tests.conftest import chat

STEPS = """
  - load: {path: drafts.jsonl, license: MIT, id: name}
  - id: edited
    answer.human: {give: out/to_edit.%s, take: edited.%s, into: status}
  - write: {path: done.jsonl, columns: [id, messages, status]}
"""


def drafts(kitchen, *answers):
    kitchen.rows("drafts.jsonl", [{**chat(f"q{i}", text), "name": f"row{i}"} for i, text in enumerate(answers)])


def given(kitchen, name="out/to_edit.jsonl"):
    return kitchen.read(name)


def bring(kitchen, rows):
    kitchen.rows("edited.jsonl", rows)


def outcome(kitchen):
    kitchen.run()
    return {r["id"]: (r["status"], r["messages"][-1]["content"]) for r in kitchen.read("done.jsonl")}


@pytest.fixture
def waiting(kitchen):
    """Four drafts, given to people."""
    drafts(kitchen, "a", "b", "c", "d")
    kitchen.recipe(STEPS % ("jsonl", "jsonl"))
    found = kitchen.run().waiting
    assert list(found) == ["edited"]
    assert "4 answers" in found["edited"]
    return kitchen


def test_the_command_line_waits_with_code_5_and_goes_on(waiting):
    done = waiting.cli("run", "recipe.yaml", check=5)
    assert "edited.jsonl" in done.stdout + done.stderr
    bring(waiting, given(waiting))
    waiting.cli("run", "recipe.yaml", check=0)
    assert [r["status"] for r in waiting.read("done.jsonl")] == ["accepted"] * 4


def test_edits_come_in_and_deleted_rows_are_rejected(waiting):
    rows = given(waiting)
    assert [r["id"] for r in rows] == ["row0", "row1", "row2", "row3"]
    rows[0]["response"] = "better"
    rows[1]["status"] = "rejected"
    bring(waiting, [rows[1], rows[0], rows[3]])
    assert outcome(waiting) == {"row0": ("edited", "better"), "row1": ("rejected", "b"), "row2": ("rejected", "c"), "row3": ("accepted", "d")}


def test_a_changed_base_is_a_conflict_and_never_an_overwrite(waiting):
    rows = given(waiting)
    rows[0]["response"] = rows[1]["response"] = "better"
    bring(waiting, rows)
    drafts(waiting, "a", "b changed meanwhile", "c", "d")
    done = waiting.run()
    assert done.results["edited"].counts()[0].nulls == {"conflict": 1}
    assert outcome(waiting) == {"row0": ("edited", "better"), "row1": (None, "b changed meanwhile"), "row2": ("accepted", "c"), "row3": ("accepted", "d")}


def test_a_conflict_can_drop_the_row_or_stop_the_run(waiting):
    rows = given(waiting)
    rows[2]["base"] = "0" * 16
    bring(waiting, rows)
    steps = STEPS % ("jsonl", "jsonl")
    waiting.recipe(steps.replace("into: status}", "into: status}\n    on_error: drop"))
    assert set(outcome(waiting)) == {"row0", "row1", "row3"}
    waiting.recipe(steps.replace("into: status}", "into: status}\n    on_error: stop"))
    with pytest.raises(StepError, match="conflict"):
        waiting.run()


def test_rows_that_came_up_since_are_neither_rejected_nor_accepted(waiting):
    bring(waiting, given(waiting)[:2])
    drafts(waiting, "a", "b", "c", "d", "e")
    assert outcome(waiting)["row4"] == (None, "e")
    assert waiting.run().results["edited"].counts()[0].nulls == {"not_taken": 3}


def test_a_question_that_people_changed_is_not_taken(waiting):
    rows = given(waiting)
    rows[0] |= {"query": "another question", "response": "better"}
    bring(waiting, rows)
    assert outcome(waiting)["row0"] == (None, "a")
    assert waiting.run().results["edited"].counts()[0].nulls == {"query_edited": 1}


@pytest.mark.parametrize("rows", [[], [{"id": "nobody", "response": "x"}]])
def test_a_file_of_other_rows_stops_the_run(waiting, rows):
    bring(waiting, rows)
    with pytest.raises(StepError, match="none of the rows") as error:
        waiting.run()
    assert error.value.code == "R645"


def test_a_stray_row_is_a_warning(waiting, caplog):
    bring(waiting, [*given(waiting), {"id": "nobody", "response": "x"}])
    assert {s for s, _ in outcome(waiting).values()} == {"accepted"}
    assert "nobody" in caplog.text


def test_the_taken_file_is_part_of_the_key(waiting):
    rows = given(waiting)
    bring(waiting, rows)
    waiting.run()
    assert waiting.run().results["edited"].cached
    rows[0]["response"] = "better"
    bring(waiting, rows)
    done = waiting.run()
    assert not done.results["edited"].cached
    assert outcome(waiting)["row0"] == ("edited", "better")


def test_giving_again_changes_nothing_and_newer_rows_are_given_anew(waiting):
    path = waiting.folder / "out/to_edit.jsonl"
    before = path.read_bytes()
    waiting.run()
    assert path.read_bytes() == before
    drafts(waiting, "a", "b")
    waiting.run()
    assert [r["id"] for r in given(waiting)] == ["row0", "row1"]


def test_a_given_file_that_was_edited_in_place_is_left_alone(waiting):
    rows = given(waiting)
    rows[0]["response"] = "hours of work"
    waiting.rows("out/to_edit.jsonl", rows)
    drafts(waiting, "a", "b")
    waiting.run()
    assert given(waiting)[0]["response"] == "hours of work"
    assert [r["id"] for r in given(waiting, "out/to_edit.new.jsonl")] == ["row0", "row1"]


def test_where_gives_only_some_rows(kitchen):
    drafts(kitchen, "a", "b", "c")
    kitchen.recipe((STEPS % ("jsonl", "jsonl")).replace("into: status}", 'into: status}\n    where: response != "b"'))
    kitchen.run()
    rows = given(kitchen)
    assert [r["id"] for r in rows] == ["row0", "row2"]
    bring(kitchen, rows[:1])
    assert outcome(kitchen) == {"row0": ("accepted", "a"), "row1": (None, "b"), "row2": ("rejected", "c")}


def test_spreadsheets(kitchen):
    drafts(kitchen, "=1+1", "b")
    kitchen.recipe(STEPS % ("csv", "csv"))
    kitchen.run()
    text = (kitchen.folder / "out/to_edit.csv").read_text(encoding="utf-8-sig")
    assert "'=1+1" in text
    (kitchen.folder / "edited.csv").write_text(text.replace(",b,", ",better,").replace("\r\n", "\n"), encoding="utf-8")
    assert outcome(kitchen) == {"row0": ("accepted", "=1+1"), "row1": ("edited", "better")}


def test_steps_that_do_not_need_the_edits_are_done(kitchen):
    drafts(kitchen, "a", "b")
    steps = (STEPS % ("jsonl", "jsonl")).replace("  - load: ", "  - id: all\n    load: ")
    kitchen.recipe(steps + "  - from: all\n    write: {path: all.jsonl, columns: [id]}\n")
    assert list(kitchen.run().waiting) == ["edited"]
    assert len(kitchen.read("all.jsonl")) == 2
    assert not (kitchen.folder / "done.jsonl").exists()


def test_trial_runs_give_a_file_of_their_own(kitchen):
    drafts(kitchen, "a", "b", "c")
    kitchen.recipe(STEPS % ("jsonl", "jsonl"))
    kitchen.run(options=Options(limit=2, out=kitchen.folder))
    assert len(given(kitchen, "out/to_edit.limit-2.jsonl")) == 2
    assert not (kitchen.folder / "out/to_edit.jsonl").exists()


@pytest.mark.parametrize("step", ["{give: a.txt, take: b.jsonl}", "{give: a.jsonl, take: a.jsonl}"])
def test_files_that_cannot_work_are_found_before_the_run(kitchen, step):
    drafts(kitchen, "a")
    kitchen.recipe(f"  - load: {{path: drafts.jsonl}}\n  - answer.human: {step}\n")
    done = kitchen.cli("check", "recipe.yaml", check=1)
    assert "R306" in done.stdout + done.stderr


def test_what_is_given_holds_no_path(waiting):
    assert str(waiting.folder) not in json.dumps(given(waiting))
