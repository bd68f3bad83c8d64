"""The pure parts: intervals, stopping, final answers, elimination rules, similarity, shares, files for people."""

from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sftrecipe.errors import RowError, StepError
from sftrecipe.models.asking import question, with_answer, with_query
from sftrecipe_generate.best_of import best_and_worst, pick
from sftrecipe_generate.code_interview import shares
from sftrecipe_generate.edits import Edit, base_of, batch_of, context_of, given_bytes, read_edits, status_of
from sftrecipe_generate.finals import agreement, final_answer, normal
from sftrecipe_generate.magpie import first_turn
from sftrecipe_generate.operations import DEPTH, choose, unwrapped, weights_of
from sftrecipe_generate.pass_rate import Rate, by_share, sample_until, settled, wilson
from sftrecipe_generate.rules import answer_fault, child_fault, words
from sftrecipe_generate.self_instruct import drawn, joint_license, query_fault
from sftrecipe_generate.similarity import Gate, lcs, rouge_l, tokens

REWARDS = json.loads((Path(__file__).parents[1] / "data" / "generate" / "reward_vectors.json").read_text())
BAND = (0.25, 0.75)


# -- intervals


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 0.99))
def test_wilson_holds_the_share_within_zero_and_one(passed, more, confidence):
    n = passed + more
    low, high = wilson(passed, n, confidence)
    assert 0 <= low <= high <= 1
    if n:
        assert low - 1e-12 <= passed / n <= high + 1e-12
        mirrored = wilson(more, n, confidence)
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))
        wider = wilson(passed, n, min(0.995, confidence + 0.005))
        assert wider[0] <= low + 1e-12
        assert wider[1] >= high - 1e-12


def test_wilson_by_hand():
    # z = 1.96: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) with p = 0.8, n = 10
    z2 = 1.959963984540054**2
    half = math.sqrt(z2) * math.sqrt(0.8 * 0.2 / 10 + z2 / 400)
    wanted = ((0.8 + z2 / 20 - half) / (1 + z2 / 10), (0.8 + z2 / 20 + half) / (1 + z2 / 10))
    assert wilson(8, 10, 0.95) == pytest.approx(wanted)
    assert wilson(8, 10, 0.95) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0, 0.8) == (0.0, 1.0)


@given(st.integers(0, 40), st.integers(1, 40), st.floats(0.05, 0.45), st.floats(0.55, 0.95))
def test_a_verdict_is_one_of_three_and_the_interval_has_the_first_word(passed, more, low, high):
    rate = Rate.of(passed, passed + more, 0.8)
    verdict = by_share(rate, (low, high))
    assert verdict in ("easy", "band", "hard")
    if settled(rate, (low, high)):
        assert verdict == settled(rate, (low, high))
    if verdict == "easy" and settled(rate, (low, high)) is None:
        assert rate.share > high


def draw_with(answers):
    drawn_so_far = []

    async def draw(first, count):
        assert first == len(drawn_so_far)
        drawn_so_far.extend(answers[first : first + count])

    return draw, lambda: sum(drawn_so_far)


@pytest.mark.parametrize(
    ("answers", "n", "verdict"),
    [([True] * 16, 8, "easy"), ([False] * 16, 8, "hard"), ([True, False] * 8, 8, "band"), ([True, True, True, False] * 4, 16, "band")],
)
def test_sampling_stops_as_soon_as_the_band_settles_it(answers, n, verdict):
    draw, passed = draw_with(answers)
    rate = asyncio.run(sample_until(draw, passed, n=4, max_n=16, band=BAND, confidence=0.8))
    assert (rate.n, by_share(rate, BAND)) == (n, verdict)


def test_without_a_band_all_samples_are_drawn_and_never_more():
    draw, passed = draw_with([True] * 10)
    rate = asyncio.run(sample_until(draw, passed, n=4, max_n=10, band=None, confidence=0.8))
    assert (rate.passed, rate.n) == (10, 10)


# -- final answers


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so it is 7\n#### 1,234.50", "1234.5"),
        ("Thus \\boxed{\\frac{1}{2}}.", "\\frac 1 2"),
        ("We get 3, no, 4.\nThe answer is: **42**.", "42"),
        ("Answer: \u22125", "-5"),
        ("First line\nthe Last  line.", "the last line"),
        ("#### 3\nmore\n#### 4", "4"),
        ("$x = 0.50$", "x = 0.50"),
        ("", None),
        (None, None),
        ("007", "7"),
        ("1e5", "1e5"),
    ],
)
def test_final_answers(text, answer):
    assert final_answer(text) == answer


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6))
def test_numbers_are_equal_however_they_are_written(value):
    assert normal(f"{value:,}") == normal(f"{value}") == normal(f" ${value}0. ")


def test_agreement_takes_the_first_of_equals():
    assert agreement(["b", "a", None, "a", "b"]) == ("b", 2)
    assert agreement([None]) == (None, 0)


# -- rules


@pytest.mark.parametrize(
    ("child", "parent", "code"),
    [
        ("Name three rivers and say why.", "Name three rivers.", None),
        ("name three RIVERS!", "Name three rivers.", "same_as_parent"),
        ("...!?", "Name three rivers.", "only_punctuation"),
        ("and then the who", "Name three rivers.", "only_punctuation"),
        ("", "Name three rivers.", "only_punctuation"),
        ("#Rewritten Prompt#: Name four rivers", "Name three rivers.", "copied_prompt_words"),
        ("Improve on the given prompt about rivers", "Explain the given prompt", None),
        ("As an AI, I would name the Nile", "Name three rivers.", "assistant_talk"),
        ("I'm sorry, rivers are not my subject", "Name three rivers.", "apology"),
        ("\u8bf7\u5217\u51fa\u4e09\u6761\u6cb3\u6d41", "Name three rivers.", None),
    ],
)
def test_each_rule_takes_its_child(child, parent, code):
    assert child_fault(child, parent) == code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Sorry, I cannot do that.", "refusal_short"),
        ("He was sorry. " + "word " * 80, None),
        ("-- the of and .", "only_punctuation"),
        ("Nile, Rhine, Indus", None),
    ],
)
def test_rules_for_answers(answer, code):
    assert answer_fault(answer) == code


@given(st.text(max_size=80))
def test_a_text_never_is_a_gain_over_itself(text):
    assert child_fault(text, text) is not None


def test_words_of_any_script():
    assert words("don't stop, 3 times") == 4
    assert words("\u4f60\u597d world") == 3


# -- similarity

WORDS = st.lists(st.sampled_from("abcd"), max_size=14)


@given(WORDS, WORDS)
@example(["a"], [])
def test_lcs_is_the_textbook_one_and_symmetric(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i, j] = table[i - 1, j - 1] + 1 if x == y else max(table[i - 1, j], table[i, j - 1])
    assert lcs(a, b) == lcs(b, a) == table[len(a), len(b)]
    assert rouge_l(a, b) == rouge_l(b, a)
    assert rouge_l(a, a) == (1.0 if a else 0.0)


@given(st.lists(st.text("ab c", min_size=1, max_size=12), max_size=8), st.text("ab c", max_size=12), st.floats(0.3, 1))
def test_the_gate_finds_what_a_plain_search_finds(known, text, threshold):
    gate = Gate(threshold)
    for one in known:
        gate.add(one)
    plainly = [rouge_l(tokens(text), tokens(one)) for one in known]
    above = [i for i, f in enumerate(plainly) if 2 * lcs(tokens(text), tokens(known[i])) > threshold * (len(tokens(text)) + len(tokens(known[i])))]
    value, at = gate.nearest(text)
    assert at == (above[0] if above else -1)
    assert value == (plainly[above[0]] if above else 0.0)


def test_the_gate_reads_texts_without_blanks():
    gate = Gate(0.7)
    gate.add("\u8bf7\u5199\u4e00\u9996\u5173\u4e8e\u6625\u5929\u7684\u8bd7")
    assert gate.nearest("\u8bf7\u5199\u4e00\u9996\u5173\u4e8e\u79cb\u5929\u7684\u8bd7")[1] == 0
    assert gate.nearest("\u4eca\u5929\u661f\u671f\u51e0")[1] == -1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Sort it now", "too_short"),
        ("word " * 151, "too_long"),
        ("Draw a picture of the sea", "needs_media"),
        ("- list three large rivers", "starts_oddly"),
        ('"To be or not to be" is from what?', None),
        ("What is profiled in this code?", None),
        ("\u00bfCu\u00e1l es la capital de Per\u00fa?", None),
    ],
)
def test_rules_for_new_questions(text, code):
    assert query_fault(text) == code


@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 8), st.integers(0, 4))
def test_a_request_shows_each_example_once(seeds, made, human, machine):
    ours, theirs = drawn(np.random.default_rng(3), seeds, made, human, machine)
    assert len(ours) == len(set(ours)) == min(human, seeds)
    assert len(theirs) == len(set(theirs)) == min(machine, made)
    assert not ours or max(ours) < seeds


@pytest.mark.parametrize(
    ("licenses", "joint"),
    [(["MIT"], "MIT"), (["MIT", "Apache-2.0", "MIT"], "Apache-2.0 AND MIT"), (["MIT", None], None), ([], None), (["A OR B", "MIT"], "(A OR B) AND MIT")],
)
def test_licences_join(licenses, joint):
    assert joint_license(licenses) == joint


# -- operations


def test_operations_are_drawn_by_weight():
    weights = weights_of({"deepen": 3, "breadth": 1, "reasoning": 0}, {})
    rng = np.random.default_rng(1)
    found = [choose(rng, weights) for _ in range(4000)]
    assert set(found) == {"deepen", "breadth"}
    assert found.count("deepen") / 4000 == pytest.approx(0.75, abs=0.03)
    assert len(DEPTH) == 5


@pytest.mark.parametrize("operations", [{"deeper": 1}, {"deepen": 0}, {"deepen": -1}, {}])
def test_operations_that_are_none(operations):
    with pytest.raises(ValueError, match="operation"):
        weights_of(operations, {})


@pytest.mark.parametrize(("text", "bare"), [('"a b"', "a b"), ('"a" and "b"', '"a" and "b"'), ("```\na\n```", "a"), ('"', '"'), ("a", "a")])
def test_quotes_around_a_whole_text_go(text, bare):
    assert unwrapped(text, ("```", '"""', '"')) == bare


# -- best of n


@pytest.mark.parametrize("case", REWARDS, ids=lambda c: c["uuid"][:8])
def test_best_and_worst_of_stored_rewards(case):
    scores = [r["score"] for r in case["rewards"]]
    best, worst, margin = best_and_worst(scores)
    assert scores[best] == max(scores)
    assert scores[worst] == min(scores)
    assert margin == max(scores) - min(scores)


BEST = {"8cabba98": (3, 1, 0.00927734375), "d668c3c7": (2, 3, 0.00732421875), "df1d3e99": (4, 2, 0.0224609375),
        "8c617c92": (0, 3, 0.02734375), "9dd10bcf": (2, 0, 0.0322265625)}  # fmt: skip


def test_best_and_worst_by_number():
    assert {c["uuid"][:8]: best_and_worst([r["score"] for r in c["rewards"]]) for c in REWARDS} == BEST


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=9))
def test_of_equal_scores_the_first_counts(scores):
    best, worst, margin = best_and_worst(scores)
    assert best == scores.index(max(scores))
    assert worst == scores.index(min(scores))
    assert margin >= 0


@pytest.mark.parametrize(("take", "at"), [("first", 1), ("shortest", 3), ("longest", 1), ("random", 2)])
def test_pick_among_equals(take, at):
    assert pick(["xxxxx", "bbbb", "ccc", "dd"], [1, 2, 3], take, 0.5) == at


@given(st.integers(0, 500), st.integers(1, 40))
def test_shares_add_up_and_differ_by_one(n, rows):
    found = shares(n, rows)
    assert sum(found) == n
    assert max(found) - min(found) <= 1
    assert found == sorted(found, reverse=True)


def test_a_turn_ends_where_the_template_ends_it():
    assert first_turn("What is 2+2?<|im_end|>\n<|im_start|>assistant", ["<|im_start|>", "<|im_end|>"]) == "What is 2+2?"


# -- conversations


def turns(*texts):
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(texts)]


def test_conversations_are_cut_where_they_must_be():
    assert [m["content"] for m in question(turns("a", "A", "b", "B"))] == ["a", "A", "b"]
    assert [m["role"] for m in question([{"role": "system", "content": "old"}, *turns("a", "A")], "new")] == ["system", "user"]
    assert [m["content"] for m in with_answer(turns("a", "A"), "new")] == ["a", "new"]
    assert [m["content"] for m in with_query(turns("a", "A", "b", "B"), "new")] == ["a", "A", "new"]
    for none in (None, [], [{"role": "assistant", "content": "A"}], turns(" ")):
        with pytest.raises(RowError, match="no_query"):
            question(none)


# -- files for people

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40)


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from([".jsonl", ".csv"]))
@example([("=1+1", "'=x"), ("-", "@a\n\"b\",c")], ".csv")
def test_what_goes_out_comes_back(tmp_path_factory, rows, suffix):
    path = tmp_path_factory.mktemp("edits") / f"e{suffix}"
    given_rows = [{"id": f"r{i}", "base": "b", "batch": "x", "query": q, "response": a} for i, (q, a) in enumerate(rows)]
    path.write_bytes(given_bytes(given_rows, suffix))
    back = read_edits(path)
    assert [(back[f"r{i}"].query, back[f"r{i}"].response) for i in range(len(rows))] == rows


def test_a_spreadsheet_runs_nothing():
    text = given_bytes([{"id": "r", "base": "b", "batch": "x", "query": "=HYPERLINK(1)", "response": "+1"}], ".csv").decode("utf-8-sig")
    assert "'=HYPERLINK(1)" in text
    assert ",'+1," in text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "a", "response": "x"}\n{"id": "a", "response": "y"}', "line 1 too"),
        ('{"id": "a"}', "needs `id` and `response`"),
        ('{"id": "a", "response": "x", "status": "fine"}', "`fine` is unknown"),
        ("{broken", "not JSON"),
        ("[1]", "needs `id` and `response`"),
    ],
)
def test_edits_that_cannot_be_read_are_named(tmp_path, lines, message):
    path = tmp_path / "e.jsonl"
    path.write_text(lines)
    with pytest.raises(StepError, match=message) as error:
        read_edits(path)
    assert error.value.code == "R645"


@pytest.mark.parametrize(
    ("said", "response", "status"),
    [("", "old", "accepted"), ("", "new", "edited"), ("rejected", "new", "rejected"), ("", "  ", "rejected"), ("accepted", "new", "edited"), ("edited", "old", "accepted"), ("", "old\r\n", "accepted")],
)
def test_a_status_follows_from_what_people_did(said, response, status):
    assert status_of(Edit("r", "b", "x", "q", response, said, 1), "old") == status


def test_bases_and_batches():
    rows = [f"r{i}" for i in range(9)]
    assert batch_of(rows) == batch_of(random.Random(1).sample(rows, 9)) != batch_of(rows[:8])
    assert base_of(turns("a", "A")) != base_of(turns("a", "B"))
    assert base_of(turns("a", "A")) != base_of(turns("aA"))
    assert context_of(turns("a", "A", "b", "B")) == "user: a\n\nassistant: A"
