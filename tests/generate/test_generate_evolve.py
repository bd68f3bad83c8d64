"""Evolution: which children become rows, which rule each other one meets, and that nothing hangs on order or chance."""

from __future__ import annotations

import asyncio
import random

import polars as pl
import pytest

from sftrecipe.errors import RowError
from sftrecipe.models import Reply
from sftrecipe.rows import message
from sftrecipe.testing.live import FakeChat, live, row_of
from sftrecipe.testing.memory import MemoryDataset
from sftrecipe_generate.adaptive import Adaptive
from sftrecipe_generate.candidates import Candidates
from sftrecipe_generate.code_interview import CodeInterview
from sftrecipe_generate.expand import Expand
from sftrecipe_generate.instruct import Instruct
from sftrecipe_generate.operations import DEPTH
from sftrecipe_generate.self_instruct import SelfInstruct

LONG = "This answer has more than enough words to be one. " * 3


def request_in(asked):
    """The question inside a rewriting prompt."""
    return asked.last.split("----- request\n", 1)[1].split("\n----- end of request", 1)[0]


def rewriter(change=lambda text: text + " Name one exception."):
    def answer(asked):
        return change(request_in(asked)) if "----- request" in asked.last else LONG

    return FakeChat(answer)


def evolve(op, row):
    return asyncio.run(op.evolve_row(row))


def texts(evolved):
    return [c.messages[-1]["content"] for c in evolved.children if c.eliminated is None]


# -- evolve.instruct


def test_each_round_goes_on_from_the_last_child():
    op = live(Instruct(model="m", rounds=3), seed=1, model=rewriter())
    evolved = evolve(op, row_of("Name three rivers."))
    assert texts(evolved) == ["Name three rivers." + " Name one exception." * k for k in (1, 2, 3)]
    assert [c.columns["depth"] for c in evolved.children] == [1, 2, 3]
    assert {c.columns["root"] for c in evolved.children} == {"r0"}
    assert evolved.parent == "stay"
    assert all(len(c.messages) == 1 for c in evolved.children)


def test_an_eliminated_child_leaves_the_next_round_its_parent():
    said = iter(["Name three rivers!", "Name three long rivers.", RowError("content_filter", "no"), "Name three long rivers of Asia."])
    op = live(Instruct(model="m", rounds=4), model=FakeChat(lambda _: next(said)))
    evolved = evolve(op, row_of("Name three rivers."))
    assert [c.eliminated for c in evolved.children] == ["same_as_parent", None, "content_filter", None]
    assert texts(evolved) == ["Name three long rivers.", "Name three long rivers of Asia."]
    assert [c.columns["depth"] for c in evolved.children if c.eliminated is None] == [1, 2]
    assert "Name three long rivers." in op.model.asked[3].last


def test_a_cut_rewriting_is_no_child():
    op = live(Instruct(model="m"), model=FakeChat(lambda _: Reply("Name three rivers and", "length")))
    assert [c.eliminated for c in evolve(op, row_of("Name three rivers.")).children] == ["truncated"]


@pytest.mark.parametrize(("same", "code"), [(True, "no_gain"), (False, None)])
def test_a_judge_may_find_no_gain(same, code):
    judge = FakeChat(lambda _: {"reason": "r", "same": same})
    op = live(Instruct(model="m", judge="j"), model=rewriter(), judge=judge)
    assert [c.eliminated for c in evolve(op, row_of("Name three rivers.")).children] == [code]
    assert "Name three rivers. Name one exception." in judge.asked[0].last


@pytest.mark.parametrize(("answer", "code"), [(LONG, None), ("Sorry, no.", "refusal_short"), ("...", "only_punctuation"), (Reply("cut", "length"), "truncated")])
def test_children_get_answers_and_lose_their_place_by_them(answer, code):
    teacher = FakeChat(lambda _: answer)
    op = live(Instruct(model="m", answer=True, teacher="t"), model=rewriter(), teacher=teacher)
    child = evolve(op, row_of("Name three rivers.", "Nile")).children[0]
    if code == "truncated":
        code = None if child.eliminated is None else "truncated"
        assert child.eliminated == "truncated"
    assert child.eliminated == code
    assert teacher.asked[0].last == "Name three rivers. Name one exception."
    assert teacher.asked[0].sampling["temperature"] == 0.7
    if code is None:
        assert [m["role"] for m in child.messages] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("parents", "kept", "fate"),
    [("keep", True, ("stay", "")), ("keep", False, ("stay", "")), ("drop", True, ("leave", "replaced")),
     ("drop", False, ("leave", "no_child")), ("replace", True, ("leave", "replaced")), ("replace", False, ("stay", ""))],
)  # fmt: skip
def test_what_becomes_of_parents(parents, kept, fate):
    model = rewriter() if kept else rewriter(lambda text: text)
    op = live(Instruct(model="m", parents=parents), model=model)
    evolved = evolve(op, row_of("Name three rivers."))
    assert (evolved.parent, evolved.why) == fate


def test_draws_hang_on_the_row_and_the_seed_alone():
    rows = [row_of(f"Question {i}?", id=f"r{i}") for i in range(40)]

    def operations(order, seed=7):
        op = live(Instruct(model="m", rounds=2), seed=seed, model=rewriter())
        found = {row["id"]: [c.columns["operation"] for c in evolve(op, row).children] for row in order}
        return dict(sorted(found.items()))

    first = operations(rows)
    assert operations(random.Random(2).sample(rows, 40)) == first
    assert operations(rows, seed=8) != first
    assert {op for ops in first.values() for op in ops} == {*DEPTH, "breadth"}


def test_operations_and_words_of_ones_own():
    methods = {"misdirect": "Show wrong code on purpose."}
    op = live(Instruct(model="m", operations={"misdirect": 1}, methods=methods, words=7), model=rewriter())
    evolve(op, row_of("Write a sort."))
    assert "Show wrong code on purpose." in op.model.asked[0].last
    assert "about 7 words" in op.model.asked[0].last
    assert list(Instruct(model="m", operations={"nope": 1}).check())
    assert list(Instruct(model="m", teacher="t").check())


def test_evolution_goes_on_over_steps():
    op = live(Instruct(model="m"), model=rewriter())
    child = evolve(op, row_of("Name three rivers.", id="r9", operation="deepen", depth=2, root="r1")).children[0]
    assert (child.columns["depth"], child.columns["root"]) == (3, "r1")
    assert op.flow({"messages": "messages", "root": "text"}).reads == ("messages", "query", "root")


def test_the_last_question_of_a_conversation_evolves():
    row = row_of("b", "B")
    row["messages"] = [message("system", "s"), message("user", "a"), message("assistant", "A"), *row["messages"]]
    op = live(Instruct(model="m"), model=rewriter(lambda _: "A harder b, and why?"))
    child = evolve(op, row).children[0]
    assert [m["content"] for m in child.messages] == ["s", "a", "A", "A harder b, and why?"]


def test_a_row_without_a_question_fails():
    with pytest.raises(RowError, match="no_query"):
        evolve(live(Instruct(model="m"), model=rewriter()), row_of(None, "answer"))


# -- evolve.adaptive


class World:
    """A target whose chance to answer rightly falls with the number of conditions in a question, and a rewriter that adds
    one (or takes one away)."""

    def __init__(self, chance, step=1):
        self.chance, self.step = chance, step
        self.target = FakeChat(self._answer, "target")
        self.writer = FakeChat(self._write, "writer")

    def level(self, text):
        return text.count("Condition")

    def _answer(self, asked):
        question = asked.messages[0]["content"]
        right = (asked.sample * 0.6180339887 + 0.3) % 1 < self.chance(self.level(question))  # spread evenly, no luck
        return "#### right" if right else f"#### wrong {asked.sample}"

    def _write(self, asked):
        if "----- request" not in asked.last:
            return "#### right"
        text = request_in(asked)
        if "easier" in asked.last:
            return text.rsplit(" Condition", 1)[0]
        return text + " Condition and more of it." * self.step


def adaptive(world, **params):
    given = {"gold": "gold", "model": "w", "target": "t", "attempts": 4, "max_n": 16, **params}
    return live(Adaptive(**given), {"gold": "text"}, seed=3, model=world.writer, target=world.target)


FALLING = World(lambda level: [1.0, 1.0, 0.5, 0.0, 0.0, 0.0][min(level, 5)])
EASY, INSIDE, HARD = "Plain question?", "Question? Condition. Condition.", "Q? Condition. Condition. Condition."


def test_an_easy_row_climbs_into_the_band_and_is_measurably_harder():
    op = adaptive(FALLING)
    evolved = evolve(op, row_of(EASY, gold="right"))
    kept = [c for c in evolved.children if c.eliminated is None]
    assert len(kept) == 1
    assert [c.eliminated for c in evolved.children if c.eliminated] == ["still_easy"]
    assert FALLING.level(kept[0].messages[0]["content"]) == 2
    assert kept[0].columns["gold"] == "right"
    assert kept[0].messages[-1]["content"] == "#### right"
    assert 0.25 <= kept[0].columns["pass_rate"] <= 0.75
    assert (evolved.parent, evolved.why) == ("leave", "replaced")
    codes = [code for _, code, _ in op.context.notes]
    assert codes == ["too_easy", "probed", "probed"]
    parent, child = op.context.notes[0][2], op.context.notes[2][2]
    assert child["high"] < parent["low"]


def test_a_row_in_the_band_is_left_alone_and_costs_its_probe_only():
    world = World(FALLING.chance)
    op = adaptive(world)
    assert evolve(op, row_of(INSIDE, gold="right")).children == ()
    assert world.writer.asked == []
    assert [code for _, code, _ in op.context.notes] == ["in_band"]


@pytest.mark.parametrize(("hard", "parent", "why"), [("keep", "stay", ""), ("drop", "leave", "too_hard")])
def test_a_hard_row_stays_or_leaves(hard, parent, why):
    op = adaptive(World(FALLING.chance), hard=hard)
    evolved = evolve(op, row_of(HARD, gold="right"))
    assert (list(evolved.children), evolved.parent, evolved.why) == ([], parent, why)
    assert op.context.notes[0][1] == "too_hard"


def test_a_hard_row_is_simplified_into_the_band():
    op = adaptive(World(FALLING.chance), hard="simplify")
    evolved = evolve(op, row_of(HARD, gold="right"))
    kept = [c for c in evolved.children if c.eliminated is None]
    assert [FALLING.level(c.messages[0]["content"]) for c in kept] == [2]
    assert kept[0].columns["operation"] == "simplify"


def test_a_child_above_the_band_is_never_kept_and_words_are_halved():
    world = World(lambda level: 1.0 if level == 0 else 0.0)
    op = adaptive(world, words=20)
    evolved = evolve(op, row_of(EASY, gold="right"))
    assert [c.eliminated for c in evolved.children] == ["too_hard"] * 4
    assert evolved.parent == "stay"
    assert op.context.notes[-1][1] == "not_moved"
    rewritings = [a.last for a in world.writer.asked if "----- request" in a.last]
    assert [int(t.split("Add about ")[1].split()[0]) for t in rewritings] == [20, 10, 5, 2]


def test_a_child_that_the_teacher_cannot_agree_on_is_ill_posed():
    world = World(FALLING.chance)
    teacher = FakeChat(lambda asked: f"#### {asked.sample % 4}")
    op = live(
        Adaptive(gold="gold", model="w", target="t", teacher="x", attempts=2), {"gold": "text"},
        model=world.writer, target=world.target, teacher=teacher,
    )  # fmt: skip
    evolved = evolve(op, row_of(EASY, gold="right"))
    assert [c.eliminated for c in evolved.children] == ["ill_posed", "ill_posed"]


def test_agreement_stands_in_where_nothing_says_what_is_right():
    world = World(FALLING.chance)
    op = live(Adaptive(model="w", target="t"), model=world.writer, target=world.target)
    kept = [c for c in evolve(op, row_of(EASY)).children if c.eliminated is None]
    assert len(kept) == 1
    assert len(kept[0].messages) == 1
    assert "gold" not in kept[0].columns


def test_probing_stops_early_and_ends_at_the_most():
    world = World(lambda level: 1.0)
    evolve(adaptive(world, attempts=1, max_depth=1), row_of(EASY, gold="right"))
    assert len([a for a in world.target.asked if a.messages[0]["content"] == EASY]) == 8


def test_adaptive_does_not_hang_on_the_order_of_rows():
    rows = [row_of(f"Question {i}?", gold="right", id=f"r{i}") for i in range(6)]

    def outcome(order):
        op = adaptive(World(FALLING.chance))
        found = {row["id"]: [(c.eliminated, c.messages[0]["content"], c.columns) for c in evolve(op, row).children] for row in order}
        return dict(sorted(found.items()))

    assert outcome(rows) == outcome(rows[::-1])


def test_adaptive_parameters_that_cannot_work():
    base = {"model": "w", "target": "t"}
    assert list(Adaptive(**base, band=[0.8, 0.2]).check())
    assert list(Adaptive(**base, n=8, max_n=4).check())
    assert list(Adaptive(**base, operations={"breadth": 1}).check())
    assert list(Adaptive(**base).check()) == []


# -- evolve.self_instruct

SEEDS = pl.DataFrame(
    {
        "id": [f"s{i}" for i in range(8)],
        "license": ["MIT"] * 4 + ["Apache-2.0"] * 4,
        "source": ["one"] * 8,
        "messages": [[message("user", f"Seed {w} asks about {w} today?")] for w in ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]],
    }
)
WORDS = [f"{a}{b}" for a in ["amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "jetty"] for b in ["bird", "fish", "moss", "rock", "tree", "wind"]]


def inventor(seconds=None):
    """A model whose questions hang on the request alone, answered in an order drawn for the run."""

    async def chat(messages, *, n=1, first=0, schema=None, **_):
        rng = random.Random(f"{messages[-1]['content']}/{first}")
        if seconds is not None:
            await asyncio.sleep(seconds.random() / 200)
        found = [f"Explain {' '.join(rng.sample(WORDS, rng.randint(3, 6)))}" for _ in range(5)]
        found.append(f"Explain {WORDS[0]} {WORDS[1]} {WORDS[2]} {rng.choice(WORDS)}")
        return [Reply("", parsed={"requests": ["Too short", "Show a picture of the sea now", *found]})]

    model = FakeChat(lambda _: None)
    model.chat = chat
    return model


def instructed(model, **params):
    op = live(SelfInstruct(model="m", size=20, per_round=4, count=8, **params), {"messages": "messages"}, seed=5, model=model)
    return op, asyncio.run(op.evolve(MemoryDataset(SEEDS)))


def test_questions_are_made_until_there_are_enough():
    _, children = instructed(inventor())
    born = [c for c in children if c.eliminated is None]
    codes = {c.eliminated for c in children if c.eliminated}
    assert len(born) == 20
    assert {"too_short", "needs_media", "too_similar"} <= codes
    assert all(len(c.messages) == 1 for c in born)
    assert all(set(c.parents) <= set(SEEDS["id"]) for c in born)
    assert {c.columns["license"] for c in born} <= {"MIT", "Apache-2.0", "Apache-2.0 AND MIT"}


def test_no_question_is_like_another_or_like_a_seed():
    from sftrecipe_generate.similarity import rouge_l, tokens

    _, children = instructed(inventor(), max_similarity=0.6)
    known = [m[0]["content"] for m in SEEDS["messages"].to_list()]
    for child in (c for c in children if c.eliminated is None):
        text = child.messages[0]["content"]
        assert all(rouge_l(tokens(text), tokens(other)) <= 0.6 for other in known)
        known.append(text)


def test_the_order_of_completion_does_not_matter():
    plain = [(c.messages, c.eliminated) for c in instructed(inventor())[1]]
    for seed in range(3):
        assert [(c.messages, c.eliminated) for c in instructed(inventor(random.Random(seed)))[1]] == plain


def test_a_failed_request_costs_itself_and_too_few_are_told(caplog):
    model = FakeChat(lambda asked: RowError("invalid_json", "no") if asked.sample == 1 else {"requests": ["What is the tallest tree in town?"]})
    _, children = instructed(model, max_rounds=2)
    assert [c.eliminated for c in children].count("invalid_json") == 2
    assert sum(c.eliminated is None for c in children) == 1
    assert "1 of 20 questions were made" in caplog.text


def test_rounds_show_what_earlier_rounds_made():
    model = inventor()
    asked = []
    plain = model.chat

    async def chat(messages, **more):
        asked.append(messages[-1]["content"])
        return await plain(messages, **more)

    model.chat = chat
    instructed(model)
    assert not any("Explain" in text for text in asked[:4])
    assert all("Explain" in text for text in asked[4:])
    assert asked[0].count("\n") > asked[0].count("Seed") >= 6


def test_no_seeds_make_nothing():
    op = live(SelfInstruct(model="m", size=3), {"messages": "messages"}, model=inventor())
    assert asyncio.run(op.evolve(MemoryDataset(SEEDS.head(0)))) == []


# -- evolve.expand, evolve.code_interview, evolve.candidates


def test_children_by_a_prompt_of_ones_own():
    said = ["Why is that?", "why is that", "", "How so?", "Question one?"]
    model = FakeChat(lambda asked: said[asked.sample])
    op = live(Expand(model="m", n=5, prompt="Ask on: {{query}} / {{response}}", parents="replace"), model=model)
    evolved = evolve(op, row_of("Question one?", "Answer one."))
    assert [c.eliminated for c in evolved.children] == [None, "duplicate", "empty", None, "same_as_parent"]
    assert texts(evolved) == ["Why is that?", "How so?"]
    assert evolved.why == "replaced"
    assert model.asked[0].last == "Ask on: Question one? / Answer one."
    with pytest.raises(RowError, match="no_response"):
        evolve(op, row_of("Question one?"))


TOPICS = pl.DataFrame({"id": ["t0", "t1", "t2"], "query": ["graphs", None, "strings"], "source": "s", "license": ["MIT", "MIT", None], "tools": None})


def interviewed(answer, n=5, **params):
    op = live(CodeInterview(model="m", n=n, count=2, **params), model=FakeChat(answer))
    return op, asyncio.run(op.evolve(MemoryDataset(TOPICS)))


def test_questions_are_shared_out_over_subjects():
    op, children = interviewed(lambda asked: {"questions": [f"{asked.last.split(':')[1].split()[0]} {asked.sample} {k}" for k in range(2)]})
    born = [c for c in children if c.eliminated is None]
    assert [c.parents[0] for c in born] == ["t0"] * 3 + ["t2"] * 2
    assert [c.eliminated for c in children if c.eliminated] == ["over_size"]
    assert born[0].columns == {"source": "s", "license": "MIT", "tools": None}
    assert "Write 2 programming questions" in op.model.asked[0].last
    assert any("Write 1 programming questions" in a.last for a in op.model.asked)


def test_a_subject_is_asked_again_for_what_is_missing(caplog):
    _, children = interviewed(lambda asked: {"questions": ["same", "Same!"]} if asked.sample < 2 else RowError("server_error"), attempts=2)
    assert [c.eliminated for c in children].count("server_error") == 1
    assert sum(c.eliminated is None for c in children) == 2
    assert "2 of 5 questions were made" in caplog.text


def candidate(text, passed=None, score=None):
    return {"text": text, "reasoning": "why", "model": "m", "parent": None, "finish_reason": "stop", "tokens": 1,
            "passed": passed, "score": score, "verdict": None}  # fmt: skip


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({}, ["A", "a!", "B"]),
        ({"distinct": True}, ["A", "B"]),
        ({"keep": "candidates.passed"}, ["A", "a!"]),
        ({"keep": "score"}, ["a!", "B"]),
    ],
)
def test_candidates_become_rows(params, kept):
    found = [candidate("A", True, 0.0), candidate("a!", True, 2.0), candidate("B", False, 1.0), candidate(" ", True, 1.0)]
    op = live(Candidates(**params), {"candidates": "candidates"})
    evolved = op.evolve_row(row_of("q", "old", candidates=found))
    assert texts(evolved) == kept
    assert evolved.why == "replaced"
    assert all(c.inherit and c.messages[0]["content"] == "q" for c in evolved.children)
    assert evolved.children[0].messages[-1]["reasoning"] == "why"


def test_candidates_that_are_none():
    op = live(Candidates(), {"candidates": "candidates"})
    assert op.evolve_row(row_of("q", candidates=None)).why == "no_child"
    assert list(Candidates(keep="candidates.pased").check())
