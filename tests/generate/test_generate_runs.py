"""Evolution and answers through the interpreter: scripted models and the scripted server, kills, and what is paid for."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

pytest.importorskip("aiohttp")

from sftrecipe.errors import RecipeError, StepError
from sftrecipe.run.interpreter import Options
from sftrecipe.testing.server import ScriptedServer
from tests.conftest import chat

LOAD = "  - load: {path: rows.jsonl, license: MIT, id: name, columns: {gold: gold, tag: tag}}\n"


def questions(kitchen, n=6):
    rows = [{**chat(f"Question number {i}?", "old"), "name": f"r{i}", "gold": str(i), "tag": "math" if i % 2 else "law"} for i in range(n)]
    kitchen.rows("rows.jsonl", rows)


def head(**models):
    return "models: " + json.dumps(models) + "\n"


def script(*replies, **more):
    return {"use": "script", "replies": [{"match": m, "reply": r} for m, r in replies], **more}


def last_texts(rows):
    return {r["id"]: r["messages"][-1]["content"] for r in rows}


def test_teachers_by_tag_and_what_was_computed_from_old_answers_is_stale(kitchen):
    questions(kitchen)
    models = head(a={"use": "script", "default": "by a"}, b={"use": "script", "default": "by b"})
    steps = LOAD + "  - answer: {model: b, by: tag, models: {math: a}}\n  - write: {path: out.jsonl, columns: [id, messages]}\n"
    kitchen.recipe(steps, head=models)
    kitchen.run()
    assert last_texts(kitchen.read("out.jsonl")) == {f"r{i}": "by a" if i % 2 else "by b" for i in range(6)}
    manifest = json.loads((kitchen.folder / "out.manifest.json").read_text())
    assert set(manifest["models"]) == {"a", "b"}
    stale = LOAD + "  - score: {size: len(response)}\n  - score: {asked: len(query)}\n  - answer: {model: b}\n  - filter: %s > 1\n  - write: out2.jsonl\n"
    kitchen.recipe(stale % "asked", head=models)
    kitchen.run()
    kitchen.recipe(stale % "size", head=models)
    with pytest.raises(RecipeError, match="R403"):
        kitchen.run()


def test_a_teacher_that_changes_runs_again_and_an_unknown_one_is_named(kitchen):
    questions(kitchen, 2)
    steps = LOAD + "  - id: said\n    answer: {by: tag, models: {math: a, law: a}}\n"
    kitchen.recipe(steps, head=head(a={"use": "script", "default": "one"}))
    kitchen.run()
    assert kitchen.run().results["said"].cached
    kitchen.recipe(steps, head=head(a={"use": "script", "default": "two"}))
    assert not kitchen.run().results["said"].cached
    kitchen.recipe(steps.replace("law: a", "law: aa"), head=head(a={"use": "script", "default": "two"}))
    with pytest.raises(RecipeError, match="unknown model `aa`"):
        kitchen.run()


def test_answers_that_fail_leave_no_old_answer_behind(kitchen):
    questions(kitchen, 3)
    model = {"use": "script", "default": "new", "replies": [{"match": "number 1", "reply": "half", "finish_reason": "length"}]}
    steps = LOAD + "  - id: said\n    answer: {model: m}\n%s  - write: {path: out.jsonl, columns: [id, messages]}\n"
    kitchen.recipe(steps % "", head=head(m=model))
    done = kitchen.run()
    assert done.results["said"].counts()[0].nulls == {"truncated": 1}
    assert last_texts(kitchen.read("out.jsonl")) == {"r0": "new", "r1": "Question number 1?", "r2": "new"}
    kitchen.recipe(steps % "    on_error: drop\n", head=head(m=model))
    kitchen.run()
    assert last_texts(kitchen.read("out.jsonl")) == {"r0": "new", "r2": "new"}


def test_until_an_expression_holds(kitchen):
    questions(kitchen, 3)
    model = {"use": "script", "replies": [{"match": "number", "reply": ["it is 0", "it is 1", "no idea"]}]}
    steps = LOAD + (
        "  - id: said\n    answer: {model: m, until: {filter.where: 'contains(response, gold)'}, max_attempts: 3}\n"
        "  - write: {path: out.jsonl, columns: [id, messages]}\n"
    )
    kitchen.recipe(steps, head=head(m=model))
    done = kitchen.run()
    assert last_texts(kitchen.read("out.jsonl")) == {"r0": "it is 0", "r1": "it is 1", "r2": "Question number 2?"}
    counts = done.results["said"].counts()[0]
    assert counts.nulls == {"never_passed": 1}
    assert counts.notes == {"tried": 1}


def test_a_verifier_reads_columns_that_must_be_there(kitchen):
    questions(kitchen, 1)
    steps = LOAD + "  - answer: {model: m, until: {filter.where: 'contains(response, golden)'}}\n"
    kitchen.recipe(steps, head=head(m={"use": "script", "default": "x"}))
    with pytest.raises(RecipeError, match="golden"):
        kitchen.run()
    kitchen.recipe(LOAD + "  - answer: {model: m, until: tag.expr}\n", head=head(m={"use": "script", "default": "x"}))
    with pytest.raises(RecipeError):
        kitchen.run()


def test_samples_rewards_choice_and_rows_of_candidates(kitchen):
    questions(kitchen, 2)
    m = {"use": "script", "replies": [{"match": "number", "reply": ["#### 0", "#### 1", "longer #### 1"]}]}
    rm = {"use": "script", "scores": [{"match": "longer", "score": 2.0}, {"match": "####", "score": 1.0}]}
    steps = LOAD + (
        "  - answer.chat: {model: m, n: 3}\n"
        "  - score.reward: rm\n"
        "  - id: best\n    answer.best_of: {by: score, worst: rejected}\n"
        "  - write: {path: best.jsonl, columns: [id, messages, rejected]}\n"
        "  - id: rows\n    from: score.reward\n    evolve.candidates: {keep: score}\n"
        "  - write: {path: rows.out.jsonl, columns: [id, messages, gold, candidate, parents]}\n"
    ).replace("  - score.reward: rm", "  - id: score.reward\n    score.reward: rm").replace("id: score.reward", "id: scored").replace("from: score.reward", "from: scored")
    kitchen.recipe(steps, head=head(m=m, rm=rm))
    kitchen.run()
    assert last_texts(kitchen.read("best.jsonl")) == {"r0": "longer #### 1", "r1": "longer #### 1"}
    assert {r["rejected"] for r in kitchen.read("best.jsonl")} == {"#### 0"}
    rows = kitchen.read("rows.out.jsonl")
    assert [(r["candidate"], r["gold"], r["parents"]) for r in rows] == [(k, g, [f"r{g}"]) for g in "01" for k in range(3)]
    assert len({r["id"] for r in rows}) == 6


def test_evolution_is_the_same_for_any_shards_and_traces_its_family(kitchen):
    questions(kitchen, 30)
    model = {"use": "script", "behaviour": "echo"}
    steps = LOAD + (
        "  - id: born\n    evolve: {model: m, prompt: 'A child of {{query}} {{gold}}', n: 2}\n"
        "  - write: {path: out.jsonl, columns: [id, messages, parents]}\n"
    )
    kitchen.recipe(steps, head=head(m=model))
    seen = set()
    for shards in (1, 5):
        options = Options(shard_bytes=(kitchen.folder / "rows.jsonl").stat().st_size // shards, out=kitchen.folder)
        done = kitchen.run(options=options, store=kitchen.folder / f"store{shards}")
        seen.add((kitchen.folder / "out.jsonl").read_bytes())
    assert len(seen) == 1
    counts = done.results["born"].counts()[0]
    assert (counts.rows_in, counts.born, counts.rows_out) == (30, 30, 60)
    assert counts.notes == {"eliminated_duplicate": 30}
    rows = kitchen.read("out.jsonl")
    assert rows[1]["parents"] == ["r0"]
    assert rows[1]["messages"] == [{"role": "user", "content": "A child of Question number 0? 0"}]
    told = kitchen.cli("trace", "recipe.yaml", rows[1]["id"], "--store", str(kitchen.folder / "store5"), check=0).stdout
    assert "from r0" in told


def test_adaptive_evolution_from_a_recipe(kitchen):
    kitchen.rows("rows.jsonl", [{**chat(f"{w} question?", "old"), "name": w, "gold": "1", "tag": "x"} for w in ("easy", "fitting", "hard")])
    half = ["#### 1", "no", "no", "#### 1"] * 4
    target = script(("easy question? More.", half), ("easy question?", "#### 1"), ("fitting", half), ("hard", "no"))
    writer = script(("----- request\neasy question?", "easy question? More."), ("easy question? More.", "#### 1"))
    steps = LOAD + (
        "  - id: grown\n    evolve.adaptive: {model: writer, target: target, gold: gold, hard: drop}\n"
        "  - write: {path: out.jsonl, columns: [id, messages, gold, depth, pass_rate]}\n"
    )
    kitchen.recipe(steps, head=head(target=target, writer=writer))
    done = kitchen.run()
    counts = done.results["grown"].counts()[0]
    assert counts.codes == {"replaced": 1, "too_hard": 1}
    assert counts.notes == {"in_band": 1, "probed": 1, "too_easy": 1, "too_hard": 1}
    rows = kitchen.read("out.jsonl")
    assert [r["messages"][0]["content"] for r in rows] == ["easy question? More.", "fitting question?"]
    assert rows[0]["gold"] == "1" and rows[0]["depth"] == 1 and rows[0]["pass_rate"] == 0.5
    assert rows[1]["messages"][-1]["content"] == "old"


def test_self_instruct_and_interviews_from_a_recipe(kitchen):
    questions(kitchen, 3)
    model = {"use": "script", "replies": [
        {"match": "{\"requests\"", "reply": [{"requests": ["Compare two kinds of tea for me", "x"]}, {"requests": ["Plan a quiet week in the mountains"]}]},
        {"match": "{\"questions\"", "reply": [{"questions": ["Reverse a list", "Reverse a list"]}, {"questions": ["Merge two lists"]}]},
    ]}  # fmt: skip
    steps = LOAD + (
        "  - id: new\n    evolve.self_instruct: {model: m, size: 2, per_round: 2, parents: drop}\n"
        "  - id: coded\n    evolve.code_interview: {model: m, n: 3, attempts: 2}\n"
        "  - write: {path: out.jsonl, columns: [id, messages, parents, license]}\n"
    )
    kitchen.recipe(steps, head=head(m=model))
    done = kitchen.run()
    new, coded = done.results["new"].counts()[0], done.results["coded"].counts()[0]
    assert (new.rows_in, new.born, new.rows_out, new.codes) == (3, 2, 2, {"replaced": 3})
    assert new.notes == {"eliminated_too_short": 1}
    assert (coded.born, coded.notes) == (3, {"eliminated_duplicate": 1, "eliminated_over_size": 1})
    rows = kitchen.read("out.jsonl")
    assert [r["messages"][0]["content"] for r in rows] == ["Reverse a list", "Merge two lists", "Reverse a list"]
    assert {r["license"] for r in rows} == {"MIT"}


def test_magpie_asks_for_raw_continuations(kitchen):
    with ScriptedServer(replies={"<|im_start|>user": [f"What is {i}?<|im_end|>" for i in range(9)]}) as server:
        model = {"use": "openai", "model": "qwen", "base_url": server.url}
        steps = (
            "  - id: made\n    load.magpie: {model: m, size: 30, license: Apache-2.0, max_bad: 0.5}\n"
            "  - filter.duplicates:\n  - write: {path: out.jsonl, columns: [messages, source, license]}\n"
        )
        kitchen.recipe(steps, head=head(m=model))
        done = kitchen.run()
        first = server.stats()["requests"]
        assert first == 30
        kitchen.recipe(steps.replace("size: 30", "size: 40"), head=head(m=model))
        kitchen.run()
        assert server.stats()["requests"] == 40
    rows = kitchen.read("out.jsonl")
    assert len(rows) == 1  # the server's answer hangs on the request, and all requests are the same
    assert rows[0]["messages"][0]["content"] in {f"What is {i}?" for i in range(9)} and len(rows[0]["messages"]) == 1
    assert {(r["source"], r["license"]) for r in rows} == {("magpie", "Apache-2.0")}
    assert done.results["made"].counts()[0].rows_in == 30


def test_magpie_quarantines_what_is_no_question_and_stops_at_too_much(kitchen):
    model = {"use": "script", "replies": [{"match": "user", "reply": ["Why?", "List:", ""]}]}
    steps = "  - id: made\n    load.magpie: {model: m, size: 9, max_bad: %s}\n  - write: {path: bad.jsonl, columns: [reason, line]}\n    from: made.quarantined\n"
    kitchen.recipe(steps % "0.8", head=head(m=model))
    done = kitchen.run()
    assert done.results["made"].counts()[0].codes == {"unfinished": 3, "empty": 3}
    assert kitchen.read("bad.jsonl")[:2] == [{"reason": "unfinished", "line": 2}, {"reason": "empty", "line": 3}]
    kitchen.recipe(steps % "0.5", head=head(m=model))
    with pytest.raises(StepError, match="6 of 9 rows"):
        kitchen.run()


def test_costs_are_estimated_before_anything_is_sent(kitchen):
    questions(kitchen, 10)
    with ScriptedServer() as server:
        model = {"use": "openai", "model": "m", "base_url": server.url, "price": {"input": 1, "output": 2}}
        steps = LOAD + (
            "  - evolve.instruct: {model: m, rounds: 2, judge: m, answer: true}\n"
            "  - score.pass_rate: {model: m, agreement: true, n: 4, max_n: 8}\n  - tag.instag: m\n  - answer: {model: m, n: 3}\n"
        )
        kitchen.recipe(steps.replace("  - load", "  - id: pool\n    load"), head=head(m=model))
        kitchen.run(options=Options(to="pool", out=kitchen.folder))
        said = kitchen.cli("plan", "recipe.yaml", "--estimate", check=0).stdout
        assert server.stats()["requests"] == 0
    for step in ("evolve.instruct", "score.pass_rate", "tag.instag", "answer.chat"):
        assert step in said
    assert "20 (20 to 20) calls" in said


KILLED = LOAD + (
    "  - answer.chat: {model: m, n: 3, temperature: 1, max_tokens: 30}\n"
    "  - answer.best_of: {by: majority, take: longest}\n  - write: {path: out.jsonl, columns: [id, messages]}\n"
)


def start(kitchen):
    command = [sys.executable, "-c", "from sftrecipe.cli import script; script()", "run", "recipe.yaml"]
    return subprocess.Popen(command, cwd=kitchen.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)


def recorded(kitchen):
    path = kitchen.folder / ".sftrecipe/requests.sqlite"
    if not path.exists():
        return 0
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT count(*) FROM answers").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        db.close()


def test_killed_in_the_middle_no_answer_is_paid_twice(kitchen):
    questions(kitchen, 60)
    limit = 8
    with ScriptedServer(latency=0.02, max_seconds=120) as server:
        kitchen.recipe(KILLED, head=head(m={"use": "openai", "model": "m", "base_url": server.url, "concurrency": limit}))
        process = start(kitchen)
        while recorded(kitchen) < 60 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        before = recorded(kitchen)
        assert 60 <= before < 180
        out, _ = start(kitchen).communicate(timeout=120)
        stats = server.stats()
        assert stats["distinct"] <= 60 and stats["requests"] <= 180 + limit, out
        assert recorded(kitchen) == 180
        wanted = (kitchen.folder / "out.jsonl").read_bytes()
        kitchen.run(store=kitchen.folder / "other")
        assert (kitchen.folder / "out.jsonl").read_bytes() == wanted
