"""The command line: exit codes, formats, and what is said to people who misspell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import chat

GOOD = "  - load: {path: rows.jsonl, license: MIT}\n  - id: long\n    filter.length: {words: [2, 100]}\n  - write: out.jsonl\n"
WAITS = """
from sftrecipe import Measure, Pending, Filter, StepError, Param
import pathlib, time

class People(Measure):
    def measure(self, inputs):
        raise Pending("is waiting for answers.jsonl")

class Fails(Measure):
    def measure(self, inputs):
        raise StepError("the moon is in the wrong house", help="wait a week")

class Slow(Filter):
    reads = ("query",)
    mark: str = Param("", doc="A file to touch.")
    def keep(self, rows):
        pathlib.Path(self.mark).touch()
        time.sleep(60)
        return rows["query"].is_not_null()
"""


@pytest.fixture(autouse=True)
def rows(kitchen):
    kitchen.rows("rows.jsonl", [chat(f"q{i}", "one two three" if i % 2 else "one") for i in range(6)])
    (kitchen.folder / "ops.py").write_text(WAITS)


def test_0_a_run_that_is_well(cli, kitchen):
    kitchen.recipe(GOOD)
    code, out, err = cli("run", "recipe.yaml")
    assert (code, err) == (0, "")
    assert "wrote out.jsonl: 3 rows" in out
    assert "too_short 3" in out  # the funnel tells why the others went


def test_0_check_says_so(cli, kitchen):
    kitchen.recipe(GOOD)
    assert cli("check", "recipe.yaml") == (0, "recipe.yaml: 3 steps, no errors\n", "")


def test_0_a_warning_stops_nothing(cli, kitchen):
    kitchen.recipe(GOOD, head="params: {size: 1}\n")
    code, out, err = cli("check", "recipe.yaml")
    assert code == 0
    assert "warning[R131]" in err


@pytest.mark.parametrize("command", ["check", "run", "plan", "show", "graph", "test"])
def test_1_a_recipe_that_is_wrong(cli, kitchen, command):
    kitchen.recipe(GOOD.replace("words", "wrods"))
    code, out, err = cli(command, "recipe.yaml")
    assert code == 1
    assert "error[R301]" in err
    assert "did you mean `words`?" in err
    assert not (kitchen.folder / "out.jsonl").exists()


def test_1_all_files_are_checked(cli, kitchen):
    kitchen.recipe(GOOD.replace("words", "wrods"), name="a.yaml")
    kitchen.recipe(GOOD, name="b.yaml")
    kitchen.recipe(GOOD.replace("load", "laod"), name="c.yaml")
    code, out, err = cli("check", "a.yaml", "b.yaml", "c.yaml")
    assert code == 1
    assert "b.yaml: 3 steps, no errors" in out
    assert "a.yaml:" in err
    assert "c.yaml:" in err


USAGE = {
    "a recipe that is not there": (["run", "recip.yaml"], "did you mean `recipe.yaml`?"),
    "--to": (["run", "recipe.yaml", "--to", "lnog"], "did you mean `long`?"),
    "--engine": (["run", "recipe.yaml", "--engine", "loacl"], "did you mean `local`?"),
    "--with": (["run", "recipe.yaml", "--with", "wandb"], "unknown observer `wandb`"),
    "--requests": (["run", "recipe.yaml", "--requests", "onyl"], "did you mean `only`?"),
    "--format": (["check", "recipe.yaml", "--format", "jsno"], "did you mean `json`?"),
    "--plugin": (["check", "recipe.yaml", "--plugin", "nowhere.py"], "there is no such file"),
    "head": (["head", "recipe.yaml", "lnog"], "did you mean `long`?"),
    "ops": (["ops", "fliter"], "did you mean `filter`?"),
    "explain an operator": (["explain", "filter.lenght"], "did you mean `filter.length`?"),
    "explain a code": (["explain", "R999"], "nothing is called `R999`"),
    "head of a step that has not run": (["head", "recipe.yaml", "long"], "has not run yet"),
    "trace before a run": (["trace", "recipe.yaml", "one two"], "run it first"),
}


@pytest.mark.parametrize("args, said", USAGE.values(), ids=USAGE)
def test_2_a_command_that_is_wrong(cli, kitchen, args, said):
    kitchen.recipe(GOOD)
    code, out, err = cli(*args)
    assert code == 2
    assert said in err


def test_2_an_unknown_option(cli):
    code, out, err = cli("run", "recipe.yaml", "--limt", "3")
    assert code == 2
    assert "--limit" in err


def test_3_a_step_that_failed(cli, kitchen):
    kitchen.recipe(GOOD + "  - measure.ops.fails:\n")
    code, out, err = cli("run", "recipe.yaml", "--plugin", "ops.py")
    assert code == 3
    assert "error[R600] in step `measure.ops.fails`: the moon is in the wrong house" in err
    assert "= help: wait a week" in err
    assert "run again to go on" in err


def test_3_a_test_that_failed(cli, kitchen):
    kitchen.recipe(
        GOOD + "tests:\n  - {name: one word, step: long, given: [{response: one}], expect: [{response: one}]}\n"
    )
    code, out, err = cli("test", "recipe.yaml")
    assert code == 3
    assert "FAILED recipe.yaml: one word" in out
    assert "expected 1 rows, got 0" in out


def test_5_the_world_must_act(cli, kitchen):
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - measure.ops.people:\n  - write: out.jsonl\n")
    code, out, err = cli("run", "recipe.yaml", "--plugin", "ops.py")
    assert code == 5
    assert "measure.ops.people is waiting for answers.jsonl" in out
    assert "run again when it is there" in out


def test_130_an_interrupt_says_how_to_go_on(kitchen):
    kitchen.rows("rows.jsonl", [chat("a", "b")])
    (kitchen.folder / "ops.py").write_text(WAITS)
    mark = kitchen.folder / "mark"
    kitchen.recipe(
        f"  - load: {{path: rows.jsonl, license: MIT}}\n  - filter.ops.slow: {{mark: {mark}}}\n  - write: out.jsonl\n"
    )
    command = [
        sys.executable,
        "-c",
        "from sftrecipe.cli import script; script()",
        "run",
        "recipe.yaml",
        "--plugin",
        "ops.py",
    ]
    with subprocess.Popen(
        command, cwd=kitchen.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    assert not (kitchen.folder / "out.jsonl").exists()


# -- formats


def test_problems_as_json(cli, kitchen):
    kitchen.recipe(GOOD.replace("words", "wrods"))
    code, out, err = cli("check", "recipe.yaml", "--format", "json")
    [problem] = json.loads(out)
    assert (code, err) == (1, "")
    assert problem == {
        "code": "R301", "severity": "error", "message": "`filter.length` has no parameter `wrods`", "note": "",
        "help": "did you mean `words`?", "file": "recipe.yaml", "line": 6, "column": 21, "end": 26,
    }  # fmt: skip


def test_no_problems_as_json(cli, kitchen):
    kitchen.recipe(GOOD)
    assert cli("check", "recipe.yaml", "--format", "json") == (0, "[]\n", "")


def test_problems_as_annotations(cli, kitchen):
    kitchen.recipe(
        GOOD.replace("words: [2, 100]", "words: 100%") + "# 100%\n", head="params: {size: 1}\n", name="a,b.yaml"
    )
    code, out, err = cli("check", "a,b.yaml", "--format", "github")
    assert (code, err) == (1, "")
    assert out.startswith(
        "::error file=a%2Cb.yaml,line=7,col=28::[R302] `filter.length`: `words` must be a whole number or a list, not `100%25`"
    )
    assert len(out.splitlines()) == 1


def test_data_cannot_drive_the_terminal(cli, kitchen):
    kitchen.rows("rows.jsonl", [chat("a\x1b[31mred", "b\x07 c\x1b]0;title\x07")])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    assert cli("run", "recipe.yaml", "-q")[0] == 0
    code, out, err = cli("head", "recipe.yaml", "load.auto")
    assert code == 0
    assert "red" in out
    assert "\x1b" not in out
    assert "\x07" not in out


# -- looking


def test_ops_lists_without_importing(cli):
    code, out, err = cli("ops", "filter")
    assert code == 0
    assert out.startswith("filter ")
    assert "filter.length" in out


def test_explain_a_code_and_an_operator_and_a_verb(cli):
    assert cli("explain", "r401")[1].startswith("# R401: ")
    page = cli("explain", "score.length")[1]
    assert "`score.length`" in page or "score.length" in page
    assert "- writes:" in page
    assert cli("explain", "tfidf")[1].startswith("## model provider `tfidf`")
    assert cli("explain", "filter")[1].startswith("## filter.where")  # what the bare verb means
    assert "Rows pass untouched" in cli("explain", "measure")[1]
    assert "## filter.length" in cli("explain", "filter.length")[1]


def test_show_leaves_nothing_to_resolve(cli, kitchen):
    kitchen.recipe(
        "  - load: {path: rows.jsonl}\n  - select.random: ${params.size}\n  - write: out.jsonl\n",
        head="params: {size: 2}\n",
    )
    code, out, err = cli("show", "recipe.yaml")
    assert code == 0
    assert "${" not in out
    assert "select.random:" in out
    assert "size: 2" in out


def test_graph_names_ports(cli, kitchen):
    kitchen.recipe(GOOD + "  - from: long.dropped\n    write: rest.jsonl\n")
    code, out, err = cli("graph", "recipe.yaml")
    assert code == 0
    assert out.startswith("flowchart TD")
    assert "s1 -- dropped --> s3" in out


def test_plugins_names_ours(cli):
    assert cli("plugins")[1].startswith("sftrecipe ")


def test_explain_knows_functions_too(cli):
    code, out, _ = cli("explain", "contains")
    assert code == 0
    assert out.startswith("## contains(text, needle...)\n\n")
    assert "did you mean `contains`?" in cli("explain", "contians")[2]
