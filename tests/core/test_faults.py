"""What must not go wrong when things go wrong: plugins that break the law, a damaged store, full disks, two runs at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from sftrecipe.errors import RecipeError, StepError
from sftrecipe.run.interpreter import Options

BAD_PLUGIN = '''
from sftrecipe import Filter, Mix, Score, Select, Tag, Choice, Evolve, Evolved, Child, RowError, Param, Measure, Pack
import polars as pl
import numpy as np

class Raises(Score):
    reads = ("query",)
    writes = {"n": "float"}
    def score_row(self, row):
        if row["query"] == "q7":
            raise ZeroDivisionError("seven")
        return {"n": 1.0}

class Fails(Score):
    reads = ("query",)
    writes = {"n": "float"}
    def score_row(self, row):
        if row["query"] == "q7":
            raise RowError("seven", "I do not like it")
        return 1.0

class Nothing(Tag):
    writes = {"t": "text"}
    def tag(self, rows):
        return None

class Fewer(Score):
    writes = {"n": "float"}
    def score(self, rows):
        return {"n": [1.0] * (len(rows) - 1)}

class Undeclared(Tag):
    writes = {"t": "text"}
    def tag(self, rows):
        return {"t": ["x"] * len(rows), "u": ["y"] * len(rows)}

class Missing(Tag):
    writes = {"t": "text", "u": "text"}
    def tag(self, rows):
        return {"t": ["x"] * len(rows)}

class WrongType(Score):
    writes = {"n": "float"}
    def score(self, rows):
        return {"n": ["many"] * len(rows)}

class NotFinite(Score):
    writes = {"n": "float"}
    def score(self, rows):
        return {"n": [float("nan"), float("inf")] + [1.0] * (len(rows) - 2)}

class Sneaky(Score):
    writes = {"n": "float"}
    def score(self, rows):
        return {"n": rows["extra"].str.len_chars()}

class Mutates(Tag):
    reads = ("query",)
    writes = {"t": "text"}
    def tag(self, rows):
        frame = rows.frame
        frame.insert_column(0, pl.Series("query2", ["x"] * len(frame)))
        frame[0, "query"] = "changed"
        return {"t": frame["query"]}

class Twice(Select):
    def choose(self, data):
        return Choice(np.array([0, 0, 1]))

class Beyond(Filter):
    def choose(self, data):
        return Choice(np.array([10**6]))

class Foreign(Select):
    def choose(self, data):
        return [0, 1]

class Borders(Score):
    from sftrecipe import Expr
    text: Expr = Param("query")
    writes = {"n": "float"}
    def score(self, rows):
        return {"n": pl.col("id").rank()}

class Dies(Score):
    reads = ("query",)
    writes = {"n": "float"}
    heavy = True
    def score_row(self, row):
        import os
        os._exit(9)

class NoForm(Tag):
    writes = {"t": "text"}

class Strange(Filter):
    def keep_row(self, row):
        return 3.5
'''


@pytest.fixture
def lawless(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat(f"q{i}", f"answer {i}") for i in range(12)])
    (kitchen.folder / "bad.py").write_text(BAD_PLUGIN)

    def run(operator, extra="", **options):
        kitchen.recipe(f"  - load: {{path: rows.jsonl, license: MIT}}\n  - {operator}:\n{extra}  - write: out.jsonl\n")
        return kitchen.run(plugins=[kitchen.folder / "bad.py"], **options)

    return run


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        ("score.bad.raises", "raised ZeroDivisionError: seven"),
        ("tag.bad.nothing", "a mapping of columns is needed"),
        ("score.bad.fewer", "gave 11 values of `n` for 12 rows"),
        ("tag.bad.undeclared", "wrote column `u`, which it did not declare"),
        ("tag.bad.missing", "did not write column `u`"),
        ("score.bad.wrong_type", "for the score `n`"),
        ("score.bad.sneaky", 'raised ColumnNotFoundError'),
        ("select.bad.twice", "chose rows that are not there, or one twice"),
        ("filter.bad.beyond", "chose rows that are not there, or one twice"),
        ("select.bad.foreign", "a Choice is needed"),
        ("tag.bad.no_form", "writes neither"),
        ("filter.bad.strange", "True, False or a code is needed"),
    ],
)
def test_a_plugin_that_breaks_the_law_is_named(lawless, operator, words):
    with pytest.raises(StepError) as error:
        lawless(operator)
    assert words in str(error.value)
    assert f"`{operator}` (--plugin bad.py)" in str(error.value)
    assert error.value.code == "P010"


def test_the_row_that_made_a_plugin_raise_is_named(lawless, kitchen):
    with pytest.raises(StepError, match=r"row [0-9a-f]{16}"):
        lawless("score.bad.raises")


@pytest.mark.parametrize(("policy", "rows", "nulls"), [("null", 12, 1), ("drop", 11, 0)])
def test_on_error_says_what_becomes_of_a_row_that_fails(lawless, kitchen, policy, rows, nulls):
    for operator in ("score.bad.fails", "score.bad.raises"):
        outcome = lawless(operator, f"    on_error: {policy}\n")
        out = kitchen.read("out.jsonl")
        assert len(out) == rows
        assert sum(r["n"] is None for r in out) == nulls
        count = outcome.counts[1]
        assert (count.failed, count.rows_out) == (12 - rows, rows)


def test_a_row_error_alone_leaves_a_null(lawless, kitchen):
    outcome = lawless("score.bad.fails")
    assert outcome.counts[1].nulls == {"seven": 1}


def test_on_error_stop(lawless):
    with pytest.raises(StepError, match="I do not like it"):
        lawless("score.bad.fails", "    on_error: stop\n")


def test_scores_are_finite_or_null(lawless, kitchen):
    lawless("score.bad.not_finite")
    assert [r["n"] for r in kitchen.read("out.jsonl")] == [None, None] + [1.0] * 10


def test_a_plugin_cannot_change_rows(lawless, kitchen):
    lawless("tag.bad.mutates")
    assert [r["messages"][0]["content"] for r in kitchen.read("out.jsonl")] == [f"q{i}" for i in range(12)]


def test_results_that_hang_on_batch_borders_are_refused(lawless):
    with pytest.raises(StepError, match="cut in two") as error:
        lawless("score.bad.borders")
    assert error.value.code == "R640"


def test_a_worker_that_dies_is_told(lawless, kitchen):
    options = Options(pool_rows=0, pool_bytes=0, out=kitchen.folder)
    with pytest.raises(StepError, match="a worker process died"):
        lawless("score.bad.dies", options=options, workers=2)


def test_a_script_without_a_guard_is_told_and_does_not_hang(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(400))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    script = kitchen.folder / "unguarded.py"
    script.write_text(
        "from sftrecipe.run.interpreter import Options\n"
        "from sftrecipe.session import Session\n"
        "options = Options(pool_bytes=0, shard_bytes=4_000)\n"
        "with Session('recipe.yaml', workers=2, options=options) as session:\n"
        "    session.run()\n"
    )
    done = subprocess.run([sys.executable, script], cwd=kitchen.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode
    assert "must stand under `if __name__ == '__main__':`" in done.stderr
    assert "a worker process died" in done.stderr


def stored_files(kitchen):
    return sorted(p for p in (kitchen.folder / ".sftrecipe/objects").rglob("*.parquet") if re.search(r"-\d+-\d+\.rows", p.name))


@pytest.mark.parametrize("damage", ["cut", "flip", "swap", "link", "gone"])
def test_a_damaged_store_is_noticed_and_mended(kitchen, numbered, damage):
    from sftrecipe import store as module

    kitchen.rows("rows.jsonl", numbered(60))
    steps = "  - load: {path: rows.jsonl, license: MIT}\n  - score: {n: len(response)}\n  - filter: n > %d\n  - write: out.jsonl\n"
    kitchen.recipe(steps % 5)
    kitchen.run()
    module._verified.clear()
    victim = stored_files(kitchen)[0]
    data = victim.read_bytes()
    if damage == "cut":
        victim.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        victim.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    elif damage == "swap":
        other = next(p for p in sorted(victim.parent.parent.rglob("*.rows.parquet")) if p != victim)
        victim.write_bytes(other.read_bytes())
    elif damage == "link":
        shutil.move(victim, victim.with_suffix(".moved"))
        victim.symlink_to(victim.with_suffix(".moved"))
    else:
        victim.unlink()
    kitchen.recipe(steps % 6)
    outcome = kitchen.run()
    assert len(kitchen.read("out.jsonl")) == 60
    assert outcome.evicted


def test_a_torn_manifest_counts_as_none(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(20))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.run()
    for path in (kitchen.folder / ".sftrecipe/objects").rglob("manifest.json"):
        path.write_bytes(path.read_bytes()[:-40])
    assert len(kitchen.run().outputs) == 1


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root to mount a small disk")
def test_a_full_disk_is_told_and_nothing_is_lost(kitchen, numbered):
    small = kitchen.folder / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        kitchen.rows("rows.jsonl", numbered(4000))
        kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: small/out.jsonl\n")
        (small / "out.jsonl").write_text("old\n")
        with pytest.raises(StepError, match="No space left") as error:
            kitchen.run(options=Options(overwrite=True, out=kitchen.folder))
        assert error.value.code == "R663"
        assert (small / "out.jsonl").read_text() == "old\n"
        assert [p.name for p in small.iterdir()] == ["out.jsonl"]
        with pytest.raises(StepError, match="No space left"):
            kitchen.run(store=small / "store", options=Options(overwrite=True, out=kitchen.folder))
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_store_that_cannot_be_written_is_told_first(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(10))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    (kitchen.folder / "file").write_text("")
    with pytest.raises(StepError) as error:
        kitchen.run(store=kitchen.folder / "file" / "store")
    assert error.value.code == "R660"


SLOW = """
from sftrecipe import Score
class Slow(Score):
    reads = ("query",)
    writes = {"n": "float"}
    def score_row(self, row):
        import time
        time.sleep(0.02)
        return 1.0
"""


def start(kitchen, *args, **env):
    command = [sys.executable, "-c", "from sftrecipe.cli import script; script()", *args]
    merged = {**os.environ, "NO_COLOR": "1", **env}
    return subprocess.Popen(command, cwd=kitchen.folder, env=merged, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def slow_recipe(kitchen, numbered, rows=150):
    kitchen.rows("rows.jsonl", numbered(rows))
    (kitchen.folder / "slow.py").write_text(textwrap.dedent(SLOW))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - score.slow.slow:\n  - write: out.jsonl\n")
    return ("run", "recipe.yaml", "--plugin", "slow.py")


def test_two_runs_share_one_store(kitchen, numbered):
    args = slow_recipe(kitchen, numbered, 60)
    both = [start(kitchen, *args) for _ in range(2)]
    ends = [p.communicate(timeout=120) for p in both]
    codes = [p.returncode for p in both]
    # one computes, the other waits for it; or they meet at the output, and the second says who holds it
    assert 0 in codes
    assert all(c == 0 or "is being written by process" in err for c, (_, err) in zip(codes, ends, strict=True)), ends
    assert len(kitchen.read("out.jsonl")) == 60


def test_an_output_held_by_another_run_is_refused(kitchen, numbered):
    from sftrecipe.store import Store

    kitchen.rows("rows.jsonl", numbered(10))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    store = Store(kitchen.folder / ".sftrecipe")
    store.open()
    with store.claim(kitchen.folder / "out.jsonl"), pytest.raises(StepError, match=f"being written by process {os.getpid()} on "):
        kitchen.run()
    kitchen.run()


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_interrupted_and_resumed(kitchen, numbered, signal_name):
    import signal

    args = slow_recipe(kitchen, numbered)
    process = start(kitchen, *args)
    deadline = time.monotonic() + 60
    while not list(kitchen.folder.glob(".sftrecipe/objects/*/split.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(getattr(signal, signal_name))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    kitchen.cli(*args, check=0)
    assert len(kitchen.read("out.jsonl")) == 150


@pytest.mark.parametrize("env", [{"LANG": "C", "LC_ALL": "C"}, {"TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "7"}, {"POLARS_MAX_THREADS": "8"}, {"PYTHONUTF8": "0"}])
def test_same_bytes_in_any_environment(kitchen, numbered, env):
    rows = [*numbered(40), {"messages": [{"role": "user", "content": "Größe? 大小"}, {"role": "assistant", "content": "naïve ✓"}]}]
    kitchen.rows("rows.jsonl", rows)
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter.duplicates:\n  - id: s\n    select.random: 20\n  - write: out.jsonl\n")
    kitchen.cli("run", "recipe.yaml", check=0)
    before = (kitchen.folder / "out.jsonl").read_bytes()
    kitchen.cli("run", "recipe.yaml", "--store", "other", env=env, check=0)
    assert (kitchen.folder / "out.jsonl").read_bytes() == before


def test_no_terminal_no_colour_no_control_characters(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat("\x1b[31mred\x1b[0m \x07bell", "fine")])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.cli("run", "recipe.yaml", check=0)
    shown = kitchen.cli("head", "recipe.yaml", "load.auto", check=0)
    assert "\x1b" not in shown.stdout
    assert "\x07" not in shown.stdout


def test_a_reader_that_goes_away_is_no_traceback(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(300))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.cli("run", "recipe.yaml", check=0)
    command = f"{sys.executable} -c 'from sftrecipe.cli import script; script()' head recipe.yaml load.auto -n 300 | head -n 1"
    done = subprocess.run(command, shell=True, cwd=kitchen.folder, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
    assert "Traceback" not in done.stderr


def test_a_recipe_without_a_load_does_not_run(kitchen):
    kitchen.recipe("  - filter: len(query) > 1\n  - write: out.jsonl\n")
    with pytest.raises(RecipeError, match="there is no step above"):
        kitchen.run()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs root to mount a small disk")
def test_a_store_or_an_output_on_a_disk_that_is_full_or_cannot_be_written(kitchen, numbered):
    small = kitchen.folder / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        kitchen.rows("rows.jsonl", numbered(4000))
        kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: small/out.jsonl\n")
        done = kitchen.cli("run", "recipe.yaml", "--store", "small/store", check=3)
        assert "error[R663]" in done.stderr
        assert "No space left" in done.stderr
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        done = kitchen.cli("run", "recipe.yaml", "--store", "small/store", "-p", "steps.1.write=out.jsonl")
        assert done.returncode
        assert "Traceback" not in done.stderr
        done = kitchen.cli("run", "recipe.yaml", check=3)
        assert "error[R665] in step `write.auto`: cannot write below small" in done.stderr
        assert not (kitchen.folder / ".sftrecipe").exists()  # told before anything was computed
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize("target", ["in", "in/rows.jsonl", ".", "in/{source}.jsonl"])
def test_an_output_never_replaces_an_input(kitchen, numbered, target, monkeypatch):
    monkeypatch.chdir(kitchen.folder)
    kitchen.rows("in/rows.jsonl", numbered(10))
    before = (kitchen.folder / "in/rows.jsonl").read_bytes()
    kitchen.recipe(f"  - load: {{path: in/rows.jsonl, license: MIT}}\n  - write: '{target}'\n")
    with pytest.raises(StepError, match="what this recipe reads|the folder that this runs in") as error:
        kitchen.run(options=Options(overwrite=True, out=kitchen.folder))
    assert error.value.code == "R664"
    assert (kitchen.folder / "in/rows.jsonl").read_bytes() == before


def test_a_foreign_output_is_told_before_anything_is_computed(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(10))
    (kitchen.folder / "out.jsonl").write_text("mine")
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    with pytest.raises(StepError, match="not written by sftrecipe"):
        kitchen.run()
    assert not (kitchen.folder / ".sftrecipe").exists()
