"""Answers: who is asked what, which sample wins, and which rows fail how."""

from __future__ import annotations

import asyncio

import pytest

from sftrecipe.errors import RowError, StepError
from sftrecipe.models import Reply
from sftrecipe.rows import message
from sftrecipe.testing.live import FakeChat, FakeReward, live, row_of
from sftrecipe.verbs import Filter, Score
from sftrecipe_clean.where import Where
from sftrecipe_generate.best_of import BestOf
from sftrecipe_generate.chat import AnswerChat
from sftrecipe_generate.pass_rate import PassRate
from sftrecipe_generate.verifying import Verifier, verdict_of
from sftrecipe_judge.judge import ScoreJudge

MESSAGES = {"messages": "messages"}


def answer(op, row):
    return asyncio.run(op.answer_row(row))


def numbered(asked):
    return f"answer {asked.sample}"


# -- answer.chat


def test_the_conversation_is_asked_without_its_answer():
    model = FakeChat(numbered)
    row = row_of("b", "old")
    row["messages"] = [message("system", "s"), message("user", "a"), message("assistant", "A"), *row["messages"]]
    op = live(AnswerChat(model="m"), MESSAGES, model=model)
    assert answer(op, row)["text"] == "answer 0"
    assert [m["content"] for m in model.asked[0].messages] == ["s", "a", "A", "b"]
    assert model.asked[0].sampling == {}


def test_a_system_text_and_a_prompt_of_ones_own():
    model = FakeChat(numbered)
    op = live(
        AnswerChat(model="m", system="You know {{source}}.", prompt="Tests for: {{query}}", into="tests", temperature=0, sampling={"top_k": 5}),
        {"source": "text", **MESSAGES}, model=model,
    )  # fmt: skip
    assert answer(op, row_of("q", source="maths")) == {"tests": "answer 0"}
    assert [m["content"] for m in model.asked[0].messages] == ["You know maths.", "Tests for: q"]
    assert model.asked[0].sampling == {"temperature": 0, "top_k": 5}
    flow = op.flow(MESSAGES)
    assert (dict(flow.writes), tuple(flow.rewrites)) == ({"tests": "text"}, ())
    assert set(flow.reads) == {"source", "query"}


@pytest.mark.parametrize(
    ("params", "writes", "rewrites"),
    [({}, {"messages": "messages"}, ("response",)), ({"n": 2}, {"candidates": "candidates"}, ()), ({"into": "x"}, {"x": "text"}, ())],
)
def test_where_answers_go(params, writes, rewrites):
    flow = AnswerChat(model="m", **params).flow(MESSAGES)
    assert (dict(flow.writes), tuple(flow.rewrites)) == (writes, rewrites)
    assert "messages" in flow.reads


def test_several_answers_are_candidates():
    model = FakeChat(lambda asked: Reply(f"answer {asked.sample}", "length" if asked.sample else "stop", reasoning="hm", tokens_out=3), "big")
    op = live(AnswerChat(model="m", n=2), MESSAGES, model=model)
    found = answer(op, row_of("q"))
    assert [(c["text"], c["finish_reason"], c["model"], c["passed"], c["tokens"]) for c in found] == [
        ("answer 0", "stop", "big", None, 3),
        ("answer 1", "length", "big", None, 3),
    ]


@pytest.mark.parametrize(
    ("reply", "code"),
    [(Reply("half an", "length"), "truncated"), (Reply(" ", refusal="I will not"), "empty"), (RowError("content_filter"), "content_filter")],
)
def test_answers_that_are_none_fail_the_row(reply, code):
    with pytest.raises(RowError, match=code):
        answer(live(AnswerChat(model="m"), MESSAGES, model=FakeChat(lambda _: reply)), row_of("q"))


def test_reasoning_and_tool_calls_come_along():
    reply = Reply("", reasoning="thought", tool_calls='[{"id": "1"}]')
    op = live(AnswerChat(model="m"), MESSAGES, model=FakeChat(lambda _: reply))
    assert answer(op, row_of("q")) == {"text": "", "reasoning": "thought", "tool_calls": '[{"id": "1"}]'}


def test_teachers_by_tag():
    models = {"math": FakeChat(lambda _: "by math"), "7": FakeChat(lambda _: "by seven")}
    op = live(AnswerChat(by="tag", models={"math": "a", "7": "b"}), MESSAGES, models=models)
    assert answer(op, row_of("q", tag="math"))["text"] == "by math"
    assert answer(op, row_of("q", tag=7))["text"] == "by seven"
    with pytest.raises(RowError, match="no_teacher"):
        answer(op, row_of("q", tag="law"))
    op = live(AnswerChat(model="c", by="tag", models={"math": "a"}), MESSAGES, models=models, model=FakeChat(lambda _: "by default"))
    assert answer(op, row_of("q", tag=None))["text"] == "by default"


@pytest.mark.parametrize(
    "params",
    [{}, {"models": {"a": "m"}}, {"model": "m", "by": "t"}, {"model": "m", "n": 2, "into": "x"}, {"model": "m", "at_least": 3}],
)
def test_parameters_that_cannot_work(params):
    assert list(AnswerChat(**params).check())


class Ends(Filter):
    """Keeps answers that end in 2 or 3."""

    reads = ("response",)

    def keep_row(self, row):
        return row["response"][-1] in "23" or "bad_end"


def until(verifier, model=None, **params):
    columns = {**MESSAGES, "gold": "text", "candidates": "candidates"}
    op = AnswerChat(model="m", until=verifier, **params)
    return live(op, columns, model=model or FakeChat(numbered), until=live(verifier, {"gold": "text", **MESSAGES}))


def test_samples_are_drawn_until_one_passes():
    op = until(Ends())
    assert answer(op, row_of("q"))["text"] == "answer 2"
    assert [a.sample for a in op.model.asked] == [0, 1, 2]
    assert op.context.notes == [("r0", "tried", {"samples": 3, "passed": 1})]


def test_samples_are_drawn_until_n_pass_or_there_are_enough():
    found = answer(until(Ends(), n=2), row_of("q"))
    assert [(c["text"][-1], c["passed"]) for c in found] == [("0", False), ("1", False), ("2", True), ("3", True)]
    found = answer(until(Ends(), n=2, max_attempts=3), row_of("q"))
    assert [c["passed"] for c in found] == [False, False, True]


def test_a_row_that_never_passes_fails_by_name():
    with pytest.raises(RowError, match="never_passed: none of 2"):
        answer(until(Ends(), max_attempts=2), row_of("q"))


def test_a_cut_answer_does_not_pass():
    model = FakeChat(lambda asked: Reply("answer 2", "length") if asked.sample == 0 else "answer 3")
    assert answer(until(Ends(), model), row_of("q"))["text"] == "answer 3"


# -- verifiers


class Says(Score):
    """A score that gives what it was told."""

    def __init__(self, value=None, writes=("passed",)):
        super().__init__()
        self.name, self.value = "score.says", value
        self.columns = writes

    def flow(self, columns):
        from sftrecipe.operators import Flow

        return Flow(("response", "gold"), dict.fromkeys(self.columns, "float"))

    async def score_row(self, row):
        return {name: self.value(row) if callable(self.value) else self.value for name in self.columns}


def passes(operator, row, text, **more):
    return asyncio.run(Verifier(operator, {"gold": "text", **MESSAGES}, **more).passes(row, text))


def test_an_expression_verifies_one_answer():
    op = live(Where(condition="contains(response, gold)"), {"gold": "text", **MESSAGES})
    row = row_of("q", "old", gold="42")
    assert passes(op, row, "it is 42")
    assert not passes(op, row, "it is 41")
    assert not passes(op, row_of("q", gold=None), "42")


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(True, None, True), (False, None, False), (None, None, False), (1.0, None, True), (0, None, False), (4.5, 4, True), (3.0, 4, False)],
)
def test_what_a_score_says(value, at_least, verdict):
    assert verdict_of(value, at_least, "score.x") is verdict
    assert passes(Says(value), row_of("q"), "a", at_least=at_least) is verdict


def test_a_number_that_says_neither_is_asked_about():
    with pytest.raises(StepError, match="neither passed nor failed") as error:
        passes(Says(3.0), row_of("q"), "a")
    assert "at_least" in error.value.help
    with pytest.raises(StepError, match="none of them says"):
        Verifier(Says(1, ("x", "y")), MESSAGES)


def test_a_judge_verifies_with_a_border():
    judge = live(ScoreJudge(model="m", rubric="r"), MESSAGES, model=FakeChat(lambda a: {"reason": "r", "score": 5 if "\ngood\n" in a.last else 2}))
    assert passes(judge, row_of("q", "old"), "good", at_least=4)
    assert not passes(judge, row_of("q", "old"), "bad", at_least=4)


def test_the_verifier_sees_the_answer_in_place_of_the_old_one():
    seen = []
    passes(Says(lambda row: seen.append((row["response"], row["gold"])) or True), row_of("q", "old", gold="g"), "new")
    assert seen == [("new", "g")]


# -- score.pass_rate


def rate(op, row):
    return asyncio.run(op.score_row(row))


def test_pass_rate_against_a_column():
    model = FakeChat(lambda asked: f"#### {'1,000' if asked.sample % 4 else 'no'}")
    op = live(PassRate(model="m", gold="gold", n=8, into="small"), {"gold": "text", **MESSAGES}, model=model)
    found = rate(op, row_of("q", "old", gold="1000"))
    assert found["small"] == 0.75
    assert found["small_n"] == 8
    assert found["small_low"] < 0.75 < found["small_high"]
    assert [m["content"] for m in model.asked[0].messages] == ["q"]
    with pytest.raises(RowError, match="no_gold"):
        rate(op, row_of("q", gold=" "))
    assert set(op.flow(MESSAGES).writes) == set(found)


def test_pass_rate_by_a_verifier_and_by_agreement():
    op = live(PassRate(model="m", verify=Ends(), n=4), MESSAGES, model=FakeChat(numbered), verify=live(Ends(), MESSAGES))
    assert rate(op, row_of("q"))["pass_rate"] == 0.5
    op = live(PassRate(model="m", agreement=True, n=4), MESSAGES, model=FakeChat(lambda a: f"#### {a.sample // 3}"))
    assert rate(op, row_of("q"))["pass_rate"] == 0.75


def test_pass_rate_stops_early_and_a_cut_answer_does_not_pass():
    op = live(PassRate(model="m", gold="gold", n=4, max_n=16, band=[0.25, 0.75]), {"gold": "text", **MESSAGES}, model=FakeChat(lambda _: "#### 1"))
    assert rate(op, row_of("q", gold="1"))["pass_rate_n"] == 8
    op = live(PassRate(model="m", gold="gold", n=4), {"gold": "text", **MESSAGES}, model=FakeChat(lambda _: Reply("#### 1", "length")))
    assert rate(op, row_of("q", gold="1"))["pass_rate"] == 0.0


@pytest.mark.parametrize("params", [{}, {"gold": "g", "agreement": True}, {"agreement": True, "band": [1, 0]}, {"agreement": True, "n": 4, "max_n": 2}])
def test_pass_rate_parameters_that_cannot_work(params):
    assert list(PassRate(model="m", **params).check())


# -- answer.best_of


def candidate(text, passed=None, score=None, finish_reason="stop"):
    return {"text": text, "reasoning": None, "finish_reason": finish_reason, "passed": passed, "score": score}


FOUND = [
    candidate("#### 3 short", True, 1.0),
    candidate("a long way to go\n#### 4", False, 5.0),
    candidate("#### 4", True, 5.0),
    candidate("#### cut", True, 9.0, "length"),
    candidate("  ", True, 9.0),
]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({}, "#### 3 short"),
        ({"by": "passed", "take": "shortest"}, "#### 4"),
        ({"by": "score"}, "a long way to go\n#### 4"),
        ({"by": "score", "take": "min"}, "#### 3 short"),
        ({"by": "score", "take": "shortest"}, "#### 4"),
        ({"by": "score", "passed": True}, "#### 4"),
        ({"by": "majority"}, "a long way to go\n#### 4"),
        ({"by": "majority", "take": "shortest"}, "#### 4"),
    ],
)
def test_one_candidate_becomes_the_answer(params, text):
    op = live(BestOf(**params), {"candidates": "candidates"})
    assert answer(op, row_of("q", "old", candidates=FOUND))["text"] == text
    assert op.context.notes[0][1] == "chosen"


def test_rewards_asked_for_on_the_way_and_the_worst_kept():
    op = live(BestOf(by="reward", model="rm", worst="rejected"), {"candidates": "candidates"}, model=FakeReward(len))
    found = answer(op, row_of("q", "old", candidates=FOUND))
    assert found["text"] == "a long way to go\n#### 4"
    assert found["columns"] == {"rejected": "#### 4"}


@pytest.mark.parametrize(
    ("params", "candidates", "code"),
    [
        ({}, None, "no_candidates"),
        ({}, FOUND[3:], "no_candidates"),
        ({}, FOUND[1:2], "none_passed"),
        ({"by": "score"}, [candidate("a"), candidate("b", score=1.0)], "no_score"),
        ({"by": "score", "min_margin": 5.0}, FOUND, "small_margin"),
    ],
)
def test_rows_without_a_choice_fail_by_name(params, candidates, code):
    with pytest.raises(RowError, match=code):
        answer(live(BestOf(**params), {"candidates": "candidates"}), row_of("q", candidates=candidates))


def test_a_random_choice_hangs_on_the_row():
    rows = [row_of("q", id=f"r{i}", candidates=FOUND) for i in range(30)]
    found = [[answer(live(BestOf(by="majority", take="random"), {}, seed=3), row)["text"] for row in rows] for _ in range(2)]
    assert found[0] == found[1]
    assert len(set(found[0])) == 2


@pytest.mark.parametrize("params", [{"by": "reward"}, {"by": "passed", "take": "max"}, {"by": "majority", "worst": "x"}, {"by": "score", "model": "m"}])
def test_best_of_parameters_that_cannot_work(params):
    assert list(BestOf(**params).check())
