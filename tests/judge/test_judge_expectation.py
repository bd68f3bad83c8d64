"""Scores read off log-probabilities, against the authors' figures (tests/data/judge) and by hand."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftrecipe.errors import RowError, StepError
from sftrecipe.ledger import Counts
from sftrecipe.models import Reply
from sftrecipe.testing.live import FakeChat, live, row_of
from sftrecipe_judge.complexity import Complexity
from sftrecipe_judge.quality import Quality
from sftrecipe_judge.select_it import SelectIt, sentence_level, token_level
from sftrecipe_judge.token_expectation import TokenExpectation, expectation, first_token, unseen_shift

DATA = Path(__file__).parents[1] / "data" / "judge"
DEITA = json.loads((DATA / "deita_scorer.json").read_text())
SELECT_IT = json.loads((DATA / "selectit.json").read_text())
ONE_TO_SIX = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
finite = st.floats(-20, 20)


def told(**tops):
    """A reply whose first token has these log-probabilities (keys may be quoted by a leading `t`)."""
    steps = ({k.removeprefix("t"): v for k, v in tops.items()},)
    return Reply("x", logprobs=steps)


def digits(*weights):
    return Reply("1", logprobs=({str(i): math.log(w) for i, w in enumerate(weights, 1) if w},))


def ask(op, row):
    return asyncio.run(op.score_row(row))


@pytest.mark.parametrize("case", DEITA, ids=lambda c: c["instruction"])
def test_expectation_is_the_authors(case):
    assert expectation(case["logits_of_1_to_6"], ONE_TO_SIX) == pytest.approx(case["complexity"], abs=1e-5)


@pytest.mark.parametrize("case", DEITA[:6], ids=lambda c: c["instruction"])
def test_the_operators_give_the_authors_score(case):
    logits = np.array(case["logits_of_1_to_6"])
    logprobs = logits - np.log(np.exp(logits).sum()) - 0.25  # some mass lies on other tokens
    reply = Reply("3", logprobs=({**{str(k): float(p) for k, p in enumerate(logprobs, 1)}, "The": -1.5},))
    model = FakeChat(lambda asked: reply)
    row = row_of(case["instruction"], case["response"])
    assert ask(live(Complexity(model="m"), model=model), row)["complexity"] == pytest.approx(case["complexity"], abs=1e-5)
    assert ask(live(Quality(model="m"), model=model), row)["quality"] == pytest.approx(case["quality"], abs=1e-5)
    assert case["response"] not in model.asked[0].last
    assert case["response"] in model.asked[1].last
    assert all(asked.sampling["logprobs"] == 20 for asked in model.asked)


@given(st.lists(finite, min_size=2, max_size=9), finite)
def test_expectation_lies_within_the_values_and_ignores_a_shift(logits, shift):
    values = list(range(1, len(logits) + 1))
    found = expectation(logits, values)
    assert 1 - 1e-9 <= found <= len(logits) + 1e-9
    assert expectation([x + shift for x in logits], values) == pytest.approx(found, abs=1e-6)


@given(st.lists(finite, min_size=3, max_size=6), st.integers(0, 5))
def test_leaving_a_small_digit_out_moves_the_score_less_than_told(logits, which):
    logprobs = np.array(logits) - np.log(np.exp(logits).sum())
    drop = int(np.argmin(logprobs))
    values = list(range(1, len(logits) + 1))
    seen = [-math.inf if i == drop else float(p) for i, p in enumerate(logprobs)]
    least = float(min(p for p in seen if p > -math.inf))
    shift = unseen_shift(seen, least, values)
    assert abs(expectation(seen, values) - expectation(list(logprobs), values)) <= shift + 1e-9


def test_spellings_of_a_digit_count_together_and_blanks_are_skipped():
    steps = [{"\n": -0.1, "1": -3.0}, {" 2": math.log(0.3), "2": math.log(0.2), "\u25812": math.log(0.1), "3": math.log(0.4)}]
    found, least = first_token(steps, ["1", "2", "3"])
    assert found[0] == -math.inf
    assert found[1] == pytest.approx(math.log(0.6))
    assert found[2] == pytest.approx(math.log(0.4))
    assert least == pytest.approx(math.log(0.1))


def test_no_step_at_all_is_no_probability():
    assert first_token([], ["1"]) == ([-math.inf], 0.0)
    assert unseen_shift([-math.inf, -math.inf], 0.0, [1, 2]) == math.inf


@pytest.mark.parametrize(
    "reply",
    [Reply("4"), told(Sure=-0.1, Well=-3.0), digits(0.5, 0.5)],
    ids=["no log-probabilities", "no digit among them", "four digits missing that may weigh much"],
)
def test_a_row_without_probabilities_fails_by_name(reply):
    op = live(Complexity(model="m"), model=FakeChat(lambda _: reply))
    with pytest.raises(RowError, match="no_digit_probability"):
        ask(op, row_of("q"))


def test_digits_that_are_not_told_but_cannot_matter_are_taken_as_none():
    tops = {"1": math.log(0.6), "2": math.log(0.39999), "x": math.log(1e-6)}
    op = live(Complexity(model="m"), model=FakeChat(lambda _: Reply("1", logprobs=(tops,))))
    assert ask(op, row_of("q"))["complexity"] == pytest.approx(1.4, abs=1e-4)


def test_a_fallback_is_used_noted_and_counted():
    op = live(Complexity(model="m", fallback=3.0), model=FakeChat(lambda _: Reply("4")))
    assert ask(op, row_of("q")) == {"complexity": 3.0}
    assert [code for _, code, _ in op.context.notes] == ["fallback"]


@pytest.mark.parametrize(("nulls", "notes", "fails"), [(5, 0, False), (6, 0, True), (3, 3, True), (0, 5, False)])
def test_too_many_fallbacks_fail_the_step(nulls, notes, fails):
    op = Complexity(model="m", max_fallback=0.05)
    figures = vars(Counts("s", rows_in=100, nulls={"no_digit_probability": nulls}, notes={"fallback": notes}))
    if fails:
        with pytest.raises(StepError, match="6 of 100 rows") as error:
            op.review(figures)
        assert error.value.code == "R643"
    else:
        op.review(figures)


@pytest.mark.parametrize(("turns", "score"), [("mean", 2.0), ("sum", 6.0), ("max", 3.0), ("first", 1.0), ("last", 2.0)])
def test_turns_are_scored_alone_and_joined(turns, score):
    weights = {"a": (1, 0), "b": (0, 0, 1), "c": (0, 1)}

    def answer(asked):
        letter = next(x for x in "abc" if f"\n{x}\n" in asked.last)
        tops = {str(i): (math.log(w) if w else -30.0) for i, w in enumerate((*weights[letter], 0, 0, 0, 0, 0)[:6], 1)}
        return Reply("1", logprobs=(tops,))

    model = FakeChat(answer)
    op = live(Complexity(model="m", turns=turns), model=model)
    row = row_of(None)
    row["messages"] = [
        {"role": role, "content": text}
        for role, text in [("system", "s"), ("user", "a"), ("assistant", "A"), ("user", "b"), ("assistant", "B"), ("user", "c")]
    ]
    assert ask(op, row)["complexity"] == pytest.approx(score, abs=1e-6)
    assert len(model.asked) == (1 if turns in ("first", "last") else 3)


def test_turns_without_an_answer_have_no_quality():
    op = live(Quality(model="m"), model=FakeChat(lambda _: digits(1)))
    with pytest.raises(RowError, match="no_turns"):
        ask(op, row_of("question alone"))


def test_tokens_and_values_of_ones_own():
    tops = {"yes": math.log(0.75), "no": math.log(0.25)}
    op = live(
        TokenExpectation(model="m", prompt="Is it so? {{query}}", tokens=["no", "yes"], values=[0.0, 1.0], into="sure"),
        model=FakeChat(lambda _: Reply("yes", logprobs=(tops,))),
    )
    assert ask(op, row_of("q"))["sure"] == pytest.approx(0.75)
    assert list(TokenExpectation(model="m", prompt="p", tokens=["a", "a "]).check())
    assert list(TokenExpectation(model="m", prompt="p", values=[1.0]).check())


@pytest.mark.parametrize("level", ["token", "sentence"])
def test_select_it_is_the_authors_with_softmax_twice(level):
    case = SELECT_IT[level]
    rows = np.array(case["prob_of_1_to_5"]).reshape(25, -1, 5)
    for probabilities, wanted in zip(rows, case["score"], strict=True):
        scores = token_level(probabilities, twice=True)
        found = scores[0] if level == "token" else sentence_level(scores, case["alpha"])
        assert found == pytest.approx(wanted, abs=1e-5)


def test_softmax_twice_squeezes_and_once_does_not():
    certain = np.array([[0.0, 0.0, 0.0, 0.0, 1.0]])
    assert token_level(certain)[0] == pytest.approx(5.0)
    assert token_level(certain, twice=True)[0] == pytest.approx(5 * (math.e - 1) / (math.e + 4))


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=9))
def test_a_rating_is_never_above_its_digit_nor_below_zero(weights):
    p = np.array([weights])
    score = token_level(p)[0]
    assert 0 <= score <= p.argmax() + 1 + 1e-9


@settings(max_examples=25)
@given(st.lists(st.permutations([1, 2, 3, 5, 9]), min_size=2, max_size=4), st.floats(0, 1))  # no ties of the best digit
def test_select_it_asks_every_wording_and_joins_them(rows, alpha):
    table = np.array(rows) / 20
    prompts = [f"wording {j}: {{{{query}}}} {{{{response}}}}" for j in range(len(rows))]

    def answer(asked):
        at = int(asked.last.split(":")[0].split()[1])
        return Reply("1", logprobs=({str(k): math.log(p) for k, p in enumerate(table[at], 1)},))

    op = live(SelectIt(model="m", prompts=prompts, alpha=alpha), model=FakeChat(answer))
    wanted = sentence_level(token_level(table), alpha)
    assert ask(op, row_of("q", "a"))["select_it"] == pytest.approx(wanted)


def test_select_it_fails_rows_that_it_cannot_rate():
    op = live(SelectIt(model="m"), model=FakeChat(lambda _: Reply("4")))
    with pytest.raises(RowError, match="no_digit_probability"):
        ask(op, row_of("q", "a"))
    with pytest.raises(RowError, match="no_response"):
        ask(op, row_of("q"))
