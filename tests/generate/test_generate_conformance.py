"""The conformance kit over every operator that asks models: their laws, batches, nulls and odd text, on scripted models."""

from __future__ import annotations

from sftrecipe.testing.conformance import Example, conformance

TALK = [
    {"query": "Name three rivers.", "response": "Nile, Rhine, Indus.", "gold": "3", "id": "a"},
    {"query": "What is 2 + 2?", "response": "#### 4", "gold": "4", "id": "b"},
    {"query": "Sort this list: 3, 1, 2.", "response": "1, 2, 3", "gold": "1, 2, 3", "id": "c"},
]
SAMPLES = {
    "text": "#### 4", "reasoning": None, "model": "m", "parent": None, "finish_reason": "stop", "tokens": 2,
    "passed": True, "score": 1.0, "verdict": None,
}  # fmt: skip
CHOICES = [{**row, "candidates": [SAMPLES, {**SAMPLES, "text": "no", "score": 2.0, "passed": False}]} for row in TALK]
FILLED = {"model": {"use": "script", "behaviour": "schema"}}
SAID = {"model": {"use": "script", "default": "Name three rivers of Asia, and say where they end."}}
DIGITS = {"model": {"use": "script", "behaviour": "score"}}
REWARD = {"model": {"use": "script", "scores": [{"match": "", "score": 1.5}]}}


def asks(models, /, rows=TALK, **params):
    return Example(rows, {**{name: name for name in models}, **params}, models)


EXAMPLES = {
    "tag.instag": asks(FILLED, explanations="why"),
    "tag.judge": asks(FILLED, labels=["one", "two"]),
    "score.judge": asks(FILLED, rubric="Is it right?"),
    "score.complexity": asks(DIGITS),
    "score.quality": asks(DIGITS),
    "score.token_expectation": asks(DIGITS, prompt="Rate {{response}}."),
    "score.select_it": asks(DIGITS),
    "score.reward": asks(REWARD),
    "score.joint": asks(FILLED, by="id"),
    "score.pass_rate": asks(SAID, gold="gold", n=2),
    "evolve.instruct": asks(SAID, rounds=2, answer=True),
    "evolve.expand": asks(SAID, n=2),
    "evolve.self_instruct": asks(FILLED, size=2, per_round=2, max_rounds=1),
    "evolve.code_interview": asks(FILLED, n=3),
    "evolve.adaptive": asks({**SAID, "target": SAID["model"]}, gold="gold", attempts=1),
    "evolve.candidates": Example(CHOICES, {"keep": "passed"}, columns={"candidates": "candidates"}),
    "answer.chat": asks(SAID),
    "answer.best_of": Example(CHOICES, {"by": "score", "worst": "rejected"}, columns={"candidates": "candidates"}),
}

test_operators_that_ask = conformance("sftrecipe", EXAMPLES, complete=False)
