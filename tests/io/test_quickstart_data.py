"""The samples that ship: small, with the faults in them that the quick start finds."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

DATA = Path(__file__).parents[2] / "recipes" / "data"


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def test_the_samples_are_small_and_attributed() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= 300_000
    notice = (DATA / "NOTICE.md").read_text(encoding="utf-8")
    for name in ("general.jsonl", "math.jsonl", "chat.jsonl", "evals.jsonl"):
        assert f"| {name} ({len(read(name))}) |" in notice
    assert "NC" not in notice


def test_general_holds_duplicates_and_identity_rows() -> None:
    rows = read("general.jsonl")
    counts = Counter(json.dumps(row) for row in rows)
    assert sum(count - 1 for count in counts.values()) == 10
    assert sum("OpenAI" in row["response"] for row in rows) >= 3
    assert all(set(row) == {"instruction", "input", "response"} for row in rows)
    firsts = {row["response"] for row in rows}
    assert (
        sum(
            row["response"].removesuffix(" I hope this helps.") in firsts
            for row in rows
            if row["response"].endswith("helps.")
        )
        == 5
    )


def test_three_evaluation_questions_leak() -> None:
    asked = {row["question"] for row in read("evals.jsonl")}
    assert sum(row["question"] in asked for row in read("math.jsonl")) == 2
    assert sum(row["instruction"] in asked for row in read("general.jsonl")) == 1


def test_chat_has_many_turns_and_tools() -> None:
    rows = read("chat.jsonl")
    assert all(len(row["conversations"]) >= 2 for row in rows)
    assert sum("tools" in row for row in rows) == 22
