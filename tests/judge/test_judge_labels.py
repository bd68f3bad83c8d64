"""Tags, labels and scores in words: what is asked, what is made of the answers, and which rows fail how."""

from __future__ import annotations

import asyncio
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftrecipe.errors import RowError
from sftrecipe.testing.live import FakeChat, FakeReward, live, row_of
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_judge.asking import pairs
from sftrecipe_judge.instag import InsTag, clean_tags
from sftrecipe_judge.joint import Joint, groups_of, joint_schema, listed
from sftrecipe_judge.judge import ScoreJudge, TagJudge, label_schema, plurality
from sftrecipe_judge.reward import ScoreReward

CANDIDATES = {"candidates": "candidates", "messages": "messages"}


def candidate(text, **more):
    return {"text": text, "reasoning": None, "model": "m", "finish_reason": "stop", "passed": None, "score": None, "verdict": None, **more}


def test_tags_with_explanations():
    said = {"tags": [{"tag": "unit  conversion", "explanation": "miles to\nkm"}, {"tag": " ", "explanation": "x"}]}
    said["tags"].append({"tag": "Unit Conversion", "explanation": "again"})
    model = FakeChat(lambda _: said)
    op = live(InsTag(model="m", explanations="why"), model=model)
    found = asyncio.run(op.tag_row(row_of("How many km are 5 miles?")))
    assert found["tags"] == ["unit conversion"]
    assert json.loads(found["why"]) == {"unit conversion": "miles to km"}
    assert "How many km are 5 miles?" in model.asked[0].last
    assert model.asked[0].sampling["schema"]["properties"]["tags"]["type"] == "array"


def test_no_tags_is_an_answer_and_no_question_is_none():
    op = live(InsTag(model="m"), model=FakeChat(lambda _: {"tags": []}))
    assert asyncio.run(op.tag_row(row_of("hm"))) == {"tags": []}
    with pytest.raises(RowError, match="no_query"):
        asyncio.run(op.tag_row(row_of("  ")))


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=12), st.integers(1, 5))
def test_clean_tags_are_few_and_differ(given_tags, most):
    found = clean_tags([{"tag": t, "explanation": e} for t, e in given_tags], most)
    assert len(found) <= most
    assert len({t.casefold() for t in found}) == len(found)
    assert all(t and t == " ".join(t.split()) for t in found)


@pytest.mark.parametrize(
    ("votes", "label", "count"),
    [
        (["a", "b", "a"], "a", 2),
        (["a", "b"], None, 1),
        ([None, None], None, 0),
        ([None, "b"], "b", 1),
        (["c", "b", "b", "c", "a"], None, 2),
    ],
)
def test_plurality(votes, label, count):
    assert plurality(votes) == (label, count)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=9))
def test_plurality_does_not_hang_on_the_order_of_votes(votes):
    assert plurality(votes) == plurality(sorted(votes, key=str))


def judge(votes, answers, **params):
    said = iter(answers)
    model = FakeChat(lambda _: {"reason": "because", "label": next(said)})
    given_params = {"labels": ["math", "code"], "votes": votes, "temperature": 1.0, "into": "domain", **params}
    return live(TagJudge(model="m", **given_params), model=model), model


def test_a_label_by_votes():
    op, model = judge(3, ["code", "math", "code"], rubric="code is {{source}}")
    assert asyncio.run(op.tag_row(row_of("q", "a", source="python"))) == {"domain": "code"}
    assert "math, code" in model.asked[0].last
    assert "code is python" in model.asked[0].last
    assert op.context.notes == [("r0", "voted", {"label": "code", "votes": 2, "of": 3})]


def test_a_row_without_a_label_is_null_and_told():
    op, _ = judge(1, [None])
    assert asyncio.run(op.tag_row(row_of("q", "a"))) == {"domain": None}
    assert op.context.notes == [("r0", "no_label", {"reason": "because"})]
    op, _ = judge(2, ["math", "code"])
    assert asyncio.run(op.tag_row(row_of("q", "a"))) == {"domain": None}
    assert op.context.notes[0][1] == "tied"


def test_label_parameters_that_cannot_work():
    assert list(TagJudge(model="m", labels=["a", "a"]).check())
    assert list(TagJudge(model="m", labels=["a"]).check())
    assert list(TagJudge(model="m", labels=["a", "b"], votes=3).check())
    assert label_schema(["a", "b"])["properties"]["label"]["enum"] == ["a", "b", None]


def test_a_score_is_the_mean_of_votes_and_its_reasons_are_told():
    said = iter([{"reason": "good", "score": 5}, {"reason": "meh", "score": 2}])
    model = FakeChat(lambda _: next(said))
    op = live(ScoreJudge(model="m", rubric="Clarity of {{source}}.", votes=2, temperature=1.0, into="clear"), model=model)
    assert asyncio.run(op.score_row(row_of("q", "a", source="x"))) == {"clear": 3.5}
    assert op.context.notes == [("r0", "judged", {"score": 3.5, "reasons": ["good", "meh"]})]
    assert "Clarity of x." in model.asked[0].last
    assert model.asked[0].sampling["schema"]["properties"]["score"]["maximum"] == 5
    assert list(ScoreJudge(model="m", rubric="r", scale=[5, 1]).check())


def test_candidates_are_judged_one_by_one():
    model = FakeChat(lambda asked: {"reason": "r", "score": 4 if "\ngood\n" in asked.last else 1})
    op = live(ScoreJudge(model="m", rubric="r"), CANDIDATES, model=model)
    row = row_of("q", candidates=[candidate("good"), candidate("bad")])
    found = asyncio.run(op.score_row(row))["candidates"]
    assert [c["score"] for c in found] == [4.0, 1.0]
    assert [c["verdict"] for c in found] == ["r", "r"]
    assert row["candidates"][0]["score"] is None
    assert asyncio.run(op.score_row(row_of("q", candidates=None))) == {"candidates": None}
    assert op.flow({"candidates": "candidates", "messages": "messages"}).writes == {"candidates": "candidates"}
    assert op.flow({"messages": "messages"}).writes == {"score": "float"}


def test_rewards_of_answers_and_of_candidates():
    op = live(ScoreReward(model="m"), model=FakeReward(len))
    assert asyncio.run(op.score_row(row_of("q", "four"))) == {"reward": 4.0}
    with pytest.raises(RowError, match="no_response"):
        asyncio.run(op.score_row(row_of("q")))
    op = live(ScoreReward(model="m"), CANDIDATES, model=FakeReward(len))
    found = asyncio.run(op.score_row(row_of("q", "old", candidates=[candidate("a"), candidate("abc")])))
    assert [c["score"] for c in found["candidates"]] == [1.0, 3.0]


def test_pairs_of_a_conversation():
    turns = [("system", "s"), ("assistant", "hello"), ("user", "a"), ("user", "b"), ("assistant", "B"), ("assistant", "more"), ("user", "c")]
    messages = [{"role": r, "content": t} for r, t in turns]
    assert pairs(messages) == [("a", None), ("b", "B"), ("c", None)]
    assert pairs(None) == []


VARIANTS = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "root": [None, "a", "a", None, "d"],
        "text": ["easy one", "harder one here", "the very hardest one of them", "alone", "alone two"],
    }
)


def joint(answer, **params):
    model = FakeChat(answer)
    op = live(Joint(model="m", text="text", **params), {"root": "text", "text": "text"}, seed=4, model=model)
    return op, model


def scores_by_length(asked):
    shown = [part.split("\n", 1)[1].strip() for part in asked.last.split("----- variant ")[1:]]
    shown = [t.split("\n-----")[0].strip() for t in shown]
    ranked = sorted(shown, key=len)
    return {"scores": {str(n): ranked.index(t) + 1 for n, t in enumerate(shown, 1)}}


@pytest.mark.parametrize("shards", [1, 3])
def test_variants_are_scored_together_whatever_their_order(shards):
    op, model = joint(scores_by_length)
    state = op.fit(MemoryDataset(VARIANTS, shards))
    assert dict(zip(state["scores"]["id"], state["scores"]["score"], strict=True)) == {"a": 1, "b": 2, "c": 3, "d": 1, "e": 2}
    assert len(model.asked) == 2
    later = live(Joint(model="m"), {"root": "text"}, state=state)
    assert later.score_row({"id": "c"}) == {"score": 3.0}


def test_variants_are_shown_in_an_order_drawn_for_the_group():
    orders = set()
    for seed in range(12):
        op = live(Joint(model="m", text="text"), {"root": "text", "text": "text"}, seed=seed, model=FakeChat(scores_by_length))
        op.fit(MemoryDataset(VARIANTS.head(3)))
        asked = op.model.asked[0].last
        orders.add(tuple(sorted(VARIANTS["text"].head(3), key=asked.index)))
    assert len(orders) > 2


def test_a_group_that_fails_costs_that_group_only():
    def answer(asked):
        return RowError("refused", "no") if "alone" in asked.last else scores_by_length(asked)

    op, _ = joint(answer)
    rows = VARIANTS.vstack(VARIANTS.head(1).with_columns(id=pl.lit("f"), root=pl.lit("f"), text=pl.lit(" ")))
    state = op.fit(MemoryDataset(rows))
    later = live(Joint(model="m"), {"root": "text"}, state=state)
    assert later.score_row({"id": "a"}) == {"score": 1.0}
    for id, code in [("d", "refused"), ("e", "refused"), ("f", "no_text")]:
        with pytest.raises(RowError, match=code):
            later.score_row({"id": id})


def test_groups_and_lists():
    assert groups_of(["x", None, "x", None, "#1"]) == {"=x": [0, 2], "#1": [1], "#3": [3], "=#1": [4]}
    assert listed(["one", "two"]).count("variant") == 2
    assert joint_schema(3, 1, 6)["properties"]["scores"]["required"] == ["1", "2", "3"]
