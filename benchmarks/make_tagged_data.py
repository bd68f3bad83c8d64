"""Makes recipes/data/tagged.jsonl and NOTICE-tagged.md: 120 short rows with free tags, for recipes that choose by tags.

    python benchmarks/make_tagged_data.py SHARED recipes/data

SHARED is a folder with general/self_instruct_seed_tasks.jsonl, math/gsm8k_train.jsonl.gz and code/mbpp.jsonl.gz. The
tags are no model's work: a concept is a regular expression over the row, and which of its spellings a row gets hangs on
the row's hash, so that there is something to normalise. Rows about persons, groups or insults are left out.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LEFT_OUT = re.compile(
    r"address|all (asians|germans)|belly|behavior|disease|email|ethical|gender|germans|joke|lawyer|muslim|passive"
    r"|personality|religio|redhead|retire|ssn|stereotype|syllogism|toxic|wonder",
    re.IGNORECASE,
)
ANSWERED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"<<[^>]+>>", ("word problem", "Word Problems", "word-problem")),
    (r"<<[^>]+>>", ("arithmetic", "Arithmetic")),
    (r"def \w+\(", ("programming", "Programming", "program")),
    (r"def \w+\(", ("Python", "python")),
)
ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\$\d|\b(dollars?|costs?|prices?|budget|money)\b", ("money", "Money")),
    (r"\b(hours?|minutes?|days?|weeks?|months?|years?)\b", ("time", "Time")),
    (r"\d%|\b(percent|half|thirds?|quarters?|twice|fractions?)\b", ("fractions", "Fraction")),
    (r"\b(javascript|regular expression)\b", ("programming", "Programming", "program")),
    (r"\b(lists?|arrays?|tuples?)\b", ("list processing", "List-processing")),
    (r"\b(strings?|characters?)\b", ("string manipulation", "String manipulations")),
    (r"\b(sort|largest|smallest|oldest|rank|maximum|minimum)\b", ("sorting", "Sorting")),
    (r"\b(equation|solve|perfect numbers|subsets)\b", ("equation solving", "Equation-solving")),
    (r"\b(write|create|compose|make up|design|rewrite)\b (?!.*\b(function|program|script)\b)", ("writing", "Writing")),
    (r"\b(haiku|story|proverb|folksy|metaphor|slogan)\b", ("creative writing", "Creative writings")),
    (r"\b(recipe|cocktails?|snacks?|dishes|food|ice cream|meal|eating)\b", ("food", "Foods")),
    (r"\b(city|country|countries|paris|italy|trip|mount|located|hq)\b", ("geography", "Geography")),
    (
        r"\b(translate|synonyms?|adjectives?|sentences?|words?|spelling|phrase)\b",
        ("language", "languages", "Language!"),
    ),
    (r"\b(classify|identify|verify|tell (me )?(if|whether)|decide|yes or no)\b", ("classification", "Classifications")),
    (r"\b(explain|why|reasoning)\b", ("explanation", "explanations")),
    (r"\b(suggest|advice|plans?|planning|things)\b", ("planning", "plan")),
    (r"\b(converting|measurement|celsius|ft|km/hr)\b", ("unit conversion", "Unit Conversions")),
    (r"\b(when did|which|who|factual\w*)\b", ("question answering", "Question Answering")),
)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, packed or not."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def row(instruction: str, input: str, response: str, origin: str, license: str) -> dict[str, Any]:
    """One row with its tags."""
    asked = f"{instruction} {input}"
    number = int.from_bytes(hashlib.sha256(f"{asked} {response}".encode()).digest()[:4], "big")
    hits = [names for words, names in ANSWERED if re.search(words, response)]
    hits += [names for words, names in ASKED if re.search(words, asked, re.IGNORECASE)]
    found = [names[number % len(names)] for names in hits]
    made = {"instruction": instruction, "input": input, "response": response}
    return made | {"origin": origin, "license": license, "tags": found}


def seeds(shared: Path) -> Iterator[dict[str, Any]]:
    """Human-written tasks."""
    for task in read(shared / "general/self_instruct_seed_tasks.jsonl"):
        one = task["instances"][0]
        if not LEFT_OUT.search(task["instruction"] + one["input"] + one["output"]):
            yield row(task["instruction"], one["input"], one["output"], "self_instruct", "Apache-2.0")


def problems(shared: Path) -> Iterator[dict[str, Any]]:
    """Primary-school word problems."""
    for task in read(shared / "math/gsm8k_train.jsonl.gz"):
        yield row(task["question"], "", task["answer"], "gsm8k", "MIT")


def functions(shared: Path) -> Iterator[dict[str, Any]]:
    """Small Python functions."""
    for task in read(shared / "code/mbpp.jsonl.gz"):
        yield row(task["text"], "", task["code"].replace("\r\n", "\n"), "mbpp", "CC-BY-4.0")


NOTICE = """# Where the rows of tagged.jsonl come from

Made by `benchmarks/make_tagged_data.py`. Each row names its `origin` and `license`. Line ends are \\n, keys are renamed to the
alpaca schema, otherwise the texts are unchanged. They are data of others and may be wrong.

**The tags are ours and no model's work**: regular expressions over the row, in spellings that vary by the row's hash.

| rows | from (repository:path @ commit) | licence | what was taken |
|---|---|---|---|
| 58 | yizhongw/self-instruct:data/seed_tasks.jsonl @ 0b26ccaa4159 | Apache-2.0 | short tasks that are about no person or group |
| 34 | openai/grade-school-math:grade_school_math/data/train.jsonl @ 3101c7d50724 | MIT | short problems |
| 28 | OckBench/OckBench:data/mbpp.jsonl @ b72752a0ba59 (Google Research, MBPP) | CC-BY-4.0 | short functions, without tests |
"""


def main(shared: Path, target: Path) -> None:
    """Writes both files: of each source the first rows of fair length."""
    rows: list[dict[str, Any]] = []
    for source, count, most in ((seeds, 58, 480), (problems, 34, 390), (functions, 28, 390)):
        fair = (r for r in source(shared) if len(json.dumps(r, ensure_ascii=False).encode()) <= most)
        rows += [r for r, _ in zip(fair, range(count), strict=False)]
    if len(rows) != 120:
        raise SystemExit(f"{len(rows)} rows instead of 120")
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    (target / "tagged.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (target / "NOTICE-tagged.md").write_text(NOTICE, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
