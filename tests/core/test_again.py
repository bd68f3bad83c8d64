"""Rows that failed leave a step partial: the next run does them again, them alone, and ends where a run without failures ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftrecipe.run.interpreter import Options

FLAKY = '''
from pathlib import Path
from sftrecipe import Filter, RowError, Score, Tag

HERE = Path(FOLDER)

def asked(row, who):
    with (HERE / f"{who}.txt").open("a") as file:
        file.write(row["query"] + "\\n")
    if row["query"].endswith(("3?", "7?")) and not (HERE / "well").exists():
        raise RowError("down", "try later")

class Count(Score):
    """Letters."""
    reads = ("query",)
    writes = {"letters": "float"}
    def score_row(self, row):
        asked(row, "score")
        return None if row["query"].endswith("1?") else float(len(row["query"]))

class Later(Score):
    """Letters, asked one by one."""
    reads = ("query",)
    writes = {"letters": "float"}
    async def score_row(self, row):
        asked(row, "score")
        return float(len(row["query"]))

class Odd(Filter):
    """Rows whose number is odd."""
    reads = ("query",)
    def keep_row(self, row):
        asked(row, "filter")
        return row["query"][-2] in "13579"
'''

STEPS = """
  - load: {{path: rows.jsonl, license: MIT}}
  - filter: not contains(query, "5")
  - id: it
    {step}:
    on_error: {policy}
  - tag: {{start: upper(query)}}
  - filter: letters == letters or true
  - write: {{path: out.jsonl, columns: [id, query, start]}}
"""


@pytest.fixture
def flaky(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat(f"Is this number {i}?", "yes") for i in range(60)])
    (kitchen.folder / "flaky.py").write_text(FLAKY.replace("FOLDER", repr(str(kitchen.folder))))

    def run(step, policy="'null'", **options):
        steps = STEPS.format(step=step, policy=policy)
        if "odd" in step:
            steps = steps.replace("  - filter: letters == letters or true\n", "")
        kitchen.recipe(steps)
        settings = Options(shard_bytes=options.pop("shard_bytes", 16 << 20), out=kitchen.folder)
        return kitchen.run(plugins=[kitchen.folder / "flaky.py"], options=settings, **options)

    return run


def calls(folder: Path, who: str) -> list[str]:
    path = folder / f"{who}.txt"
    found = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("shard_bytes", [16 << 20, 600])
@pytest.mark.parametrize("step, who", [("score.flaky.count", "score"), ("score.flaky.later", "score"), ("filter.flaky.odd", "filter")])
@pytest.mark.parametrize("policy", ["'null'", "drop"])
def test_rows_that_failed_are_done_again_alone(kitchen, flaky, step, who, policy, shard_bytes):
    outcome = flaky(step, policy, shard_bytes=shard_bytes)
    failed = [q for q in calls(kitchen.folder, who) if q.endswith(("3?", "7?"))]
    assert len(failed) == 10
    count = next(c for c in outcome.counts if c.step == "it")
    assert count.failed == (10 if policy == "drop" else 0)

    flaky(step, policy, shard_bytes=shard_bytes)  # they fail again
    assert sorted(calls(kitchen.folder, who)) == sorted(failed)
    (kitchen.folder / "well").touch()
    outcome = flaky(step, policy, shard_bytes=shard_bytes)
    assert sorted(calls(kitchen.folder, who)) == sorted(failed)
    flaky(step, policy, shard_bytes=shard_bytes)
    assert calls(kitchen.folder, who) == []  # now it is whole

    mended = (kitchen.folder / "out.jsonl").read_bytes()
    fresh = flaky(step, policy, shard_bytes=shard_bytes, store=kitchen.folder / "fresh")
    assert (kitchen.folder / "out.jsonl").read_bytes() == mended
    assert [vars(c) for c in outcome.counts] == [vars(c) for c in fresh.counts]


def test_what_comes_after_runs_again_only_if_something_changed(kitchen, flaky):
    flaky("score.flaky.count")
    outcome = flaky("score.flaky.count")
    assert {i: outcome.results[i].cached for i in ("load.auto", "it", "write.auto")} == {"load.auto": True, "it": False, "write.auto": True}


def test_plan_and_head_speak_of_a_partial_step(kitchen, flaky):
    flaky("score.flaky.count")
    shown = kitchen.cli("plan", "recipe.yaml", "--plugin", "flaky.py", check=0).stdout
    assert "stored, but for 10 rows that failed: they are tried again" in shown
    shown = kitchen.cli("head", "recipe.yaml", "it", "--plugin", "flaky.py", check=0).stdout
    assert "letters" in shown
    done = kitchen.cli("run", "recipe.yaml", "--plugin", "flaky.py", check=0)
    assert "10 rows that failed are tried again" in done.stderr


def test_what_cannot_be_formatted_is_not_tried_again(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat("a", "b"), {"messages": [{"role": "user", "content": "no answer"}]}])
    kitchen.recipe("  - load: {path: rows.jsonl, schema: messages, license: MIT}\n  - format.alpaca:\n  - write: out.jsonl\n")
    assert kitchen.run().counts[1].failed == 1
    assert all(r.cached for r in kitchen.run().results.values())


def test_undefined_scores_are_counted_and_told(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat("a", "b" * n) for n in range(1, 5)])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - id: s\n    score: {n: 1 / (len(response) - 1), m: len(response)}\n  - write: out.jsonl\n")
    outcome = kitchen.run()
    assert outcome.counts[1].undefined == {"n": 1}
    assert "1 without n" in kitchen.cli("run", "recipe.yaml", check=0).stdout
    assert all(r.cached for r in kitchen.run().results.values())


def test_rows_that_an_evolve_step_replaced_are_its_dropped_rows(kitchen):
    from tests.conftest import chat

    kitchen.rows("rows.jsonl", [chat(f"q{i}", "a") for i in range(6)])
    (kitchen.folder / "ev.py").write_text('''
from sftrecipe import Child, Evolve, Evolved

class Twice(Evolve):
    """Two children for the second row, which leaves."""
    reads = ("query",)
    def evolve_row(self, row):
        made = [Child([{"role": "user", "content": f"{row['query']} {n}"}]) for n in range(2)]
        return Evolved(made, "leave") if row["query"] in ("q1", "q4") else Evolved([])
''')
    kitchen.recipe("""
  - load: {path: rows.jsonl, license: MIT}
  - id: ev
    evolve.ev.twice:
  - write: {path: out.jsonl, columns: [query]}
  - from: ev.dropped
    write: {path: gone.jsonl, columns: [query]}
""")
    for size in (16 << 20, 150):
        kitchen.run(plugins=[kitchen.folder / "ev.py"], options=Options(shard_bytes=size, out=kitchen.folder), store=kitchen.folder / f"s{size}")
        assert [r["query"] for r in kitchen.read("gone.jsonl")] == ["q1", "q4"]
        assert [r["query"] for r in kitchen.read("out.jsonl")] == ["q0", "q1 0", "q1 1", "q2", "q3", "q4 0", "q4 1", "q5"]
