"""Judging steps through the interpreter, on scripted models and on the scripted server."""

from __future__ import annotations

import json
import math

import pytest

from sftrecipe.errors import StepError
from tests.conftest import chat

LOAD = "  - load: {path: rows.jsonl, license: MIT, id: name}\n"


def rows(kitchen, n=8):
    kitchen.rows("rows.jsonl", [{**chat(f"Question {i} on {'sums' if i % 2 else 'songs'}", f"Answer {i}"), "name": f"r{i}"} for i in range(n)])


def head(**models):
    return "models: " + json.dumps(models) + "\n"


def lines(*replies):
    return {"use": "script", "replies": [dict(zip(("match", "reply"), r, strict=False)) | (r[2] if len(r) > 2 else {}) for r in replies]}


def test_tags_labels_and_scores_side_by_side(kitchen):
    rows(kitchen, 4)
    judge = lines(
        ('{"tags"', {"tags": [{"tag": "Adding up", "explanation": "it sums"}]}),
        ('"label": "..."', {"reason": "r", "label": None}, {"regex": "songs"}),
        ('"label": "..."', {"reason": "r", "label": "maths"}),
        ('"score": number', {"reason": "clear", "score": 4}),
    )
    kitchen.rows("labels.txt", [])
    (kitchen.folder / "labels.txt").write_text("maths\nmusic\n")
    (kitchen.folder / "rubric.txt").write_text("Be strict about {{domain}}.")
    kitchen.recipe(
        LOAD
        + "  - tag.instag: {model: judge, explanations: why}\n"
        + "  - tag.judge: {model: judge, labels: {file: labels.txt}, into: domain}\n"
        + "  - score.judge: {model: judge, rubric: {file: rubric.txt}, into: helpful}\n"
        + "    where: domain == 'maths'\n"
        + "  - write: {path: out.jsonl, columns: [id, tags, why, domain, helpful]}\n",
        head=head(judge=judge),
    )
    done = kitchen.run()
    found = kitchen.read("out.jsonl")
    assert [r["domain"] for r in found] == [None, "maths", None, "maths"]
    assert [r["helpful"] for r in found] == [None, 4.0, None, 4.0]
    assert found[0]["tags"] == ["Adding up"]
    why = found[0]["why"]
    assert (json.loads(why) if isinstance(why, str) else why) == {"Adding up": "it sums"}
    notes = {c.step: c.notes for c in done.counts}
    assert notes["tag.judge"] == {"no_label": 2}
    assert notes["score.judge"] == {"judged": 2}


def test_a_wrong_answer_is_asked_for_again_once_and_then_costs_its_row(kitchen):
    rows(kitchen, 3)
    judge = lines(
        ("cannot be used", {"reason": "mended", "score": 2}, {"regex": "."}),
        ("Answer 1\n", "nonsense"),
        ("Answer 2\n", {"reason": "too much", "score": 9}),
        ("Answer 0\n", {"reason": "fine", "score": 5}),
    )
    recipe = LOAD + "  - id: s\n    score.judge: {model: judge, rubric: r}\n  - write: {path: out.jsonl, columns: [id, score]}\n"
    kitchen.recipe(recipe, head=head(judge=judge))
    kitchen.run()
    assert [r["score"] for r in kitchen.read("out.jsonl")] == [5.0, 2.0, 2.0]
    judge["replies"][0]["reply"] = "still nonsense"
    kitchen.recipe(recipe, head=head(judge=judge))
    done = kitchen.run()
    assert [r["score"] for r in kitchen.read("out.jsonl")] == [5.0, None, None]
    assert done.results["s"].counts()[0].nulls == {"invalid_json": 2}


def test_deita_scores_from_a_server_that_tells_probabilities(kitchen):
    pytest.importorskip("aiohttp")
    from sftrecipe.testing.server import ScriptedServer

    rows(kitchen, 6)
    with ScriptedServer() as server:
        kitchen.recipe(
            LOAD
            + "  - score.complexity: judge\n  - score.quality: judge\n  - score.select_it: judge\n"
            + "  - score: {evol: complexity * quality}\n"
            + "  - write: {path: out.jsonl, columns: [complexity, quality, select_it, evol]}\n",
            head=head(judge={"use": "openai", "model": "m", "base_url": server.url}),
        )
        kitchen.run()
        assert server.stats()["requests"] == 6 * 7
    for row in kitchen.read("out.jsonl"):
        assert 1 <= row["complexity"] <= 6
        assert 1 <= row["quality"] <= 6
        assert 0 <= row["select_it"] <= 5
        assert row["evol"] == pytest.approx(row["complexity"] * row["quality"])


def test_a_model_that_tells_no_probabilities_fails_the_step_and_costs_nothing_again(kitchen):
    rows(kitchen)
    told = {"logprobs": [{str(k): math.log(1 / 6) for k in range(1, 7)}]}
    some = lines(("Question 3", "4"), ("Question", "4", told))
    steps = LOAD + "  - id: c\n    score.complexity: {model: judge%s}\n  - write: {path: out.jsonl, columns: [id, complexity]}\n"
    kitchen.recipe(steps % "", head=head(judge=some))
    for _ in range(2):
        with pytest.raises(StepError, match="1 of 8 rows have no probabilities") as error:
            kitchen.run()
        assert error.value.code == "R643"
    assert not (kitchen.folder / "out.jsonl").exists()
    kitchen.recipe(steps % ", max_fallback: 0.2", head=head(judge=some))
    done = kitchen.run()
    assert [r["complexity"] for r in kitchen.read("out.jsonl")] == [None if i == 3 else 3.5 for i in range(8)]
    assert done.results["c"].counts()[0].nulls == {"no_digit_probability": 1}
    assert done.results["c"].table.columns["complexity"] == "float"


def test_joint_scores_of_evolved_questions(kitchen):
    rows(kitchen, 2)
    writer = lines(("Question 0 on songs, and more", "Question 0 on songs, and more, and yet more"), ("Question 0 on songs", "Question 0 on songs, and more"), ("Question 1 on sums", "Question 1 on sums, and why"))
    judge = lines(
        ("There are 3", {"scores": {"1": 1, "2": 4, "3": 6}}),
        ("There are 2", {"scores": {"1": 2}}),
        ("cannot be used", {"scores": {"1": 2, "3": 2}}),
    )
    kitchen.recipe(
        LOAD
        + "  - evolve.instruct: {model: writer, rounds: 2, operations: {deepen: 1}}\n"
        + "  - id: joint\n    score.joint: {model: judge, into: complexity, prompt: 'There are {{count}}: {{variants}}'}\n"
        + "  - write: {path: out.jsonl, columns: [id, root, complexity]}\n",
        head=head(writer=writer, judge=judge),
    )
    done = kitchen.run()
    found = kitchen.read("out.jsonl")
    assert [r["root"] for r in found] == [None, "r0", "r0", None, "r1"]
    assert sorted(r["complexity"] for r in found[:3]) == [1.0, 4.0, 6.0]
    assert [r["complexity"] for r in found[3:]] == [None, None]
    assert done.results["joint"].counts()[0].nulls == {"invalid_json": 2}
    assert "joint.scores" in done.artefacts


def test_prompts_and_labels_that_cannot_work_are_found_before_the_run(kitchen):
    rows(kitchen, 1)
    kitchen.recipe(
        LOAD
        + "  - tag.judge: {model: judge, labels: [one]}\n"
        + "  - score.token_expectation: {model: judge, prompt: p, values: [1]}\n",
        head=head(judge={"use": "script", "default": "x"}),
    )
    done = kitchen.cli("check", "recipe.yaml", check=1)
    said = done.stdout + done.stderr
    assert "at least two labels" in said
    assert "1 entries for 6 tokens" in said
    kitchen.recipe(LOAD + "  - score.judge: {model: judge, rubric: '{{responce}}'}\n", head=head(judge={"use": "script", "default": "x"}))
    done = kitchen.cli("check", "recipe.yaml", check=1)
    assert "did you mean `response`" in done.stdout + done.stderr
