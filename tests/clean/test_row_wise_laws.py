"""Laws of the row-wise filters, tags and scores: no batch borders, no state, a schema that is JSON, parameters that pickle."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sftrecipe import message
from sftrecipe.params import schema
from sftrecipe.rows import Rows
from sftrecipe.types import Type, parse_type
from sftrecipe.verbs import Filter
from sftrecipe_clean.characters import Characters
from sftrecipe_clean.language import Language, TagLanguage
from sftrecipe_clean.length import Length, ScoreLength
from sftrecipe_clean.license import License
from sftrecipe_clean.patterns import Patterns, TagPatterns
from sftrecipe_clean.repetition import Repetition
from sftrecipe_clean.structure import Structure

DATA = Path(__file__).parents[1] / "data" / "clean" / "texts.jsonl"
REAL = [json.loads(line)["text"] for line in DATA.read_text("utf-8").splitlines()]
ODD = ["", None, "   ", "\x1c\x1d", "A\xa0B", "İSTANBUL ΣΑΣ", "word " * 400, "I am ChatGPT. " * 30, "😀" * 50, "a\n\n" * 30, "```\nx", "\x00", "e\u0301" * 9]
TEXTS = [text for pair in zip(REAL, (ODD * 9)[: len(REAL)], strict=True) for text in pair]
FRAME = pl.DataFrame(
    {
        "response": pl.Series(TEXTS, dtype=pl.String),
        "messages": pl.Series(
            [None if text == "" else [message("user", "q"), message("assistant", text)] for text in TEXTS], dtype=Type("messages").dtype()
        ),
        "license": pl.Series([("MIT", "GPL-3.0", None)[i % 3] for i in range(len(TEXTS))], dtype=pl.String),
    }
)

OPERATORS = [
    Characters(max_digits=0.3, max_non_ascii=0.5, max_cjk=0.05),
    Repetition(),
    Repetition(n=3, max_count=2),
    Repetition(method="paragraph"),
    Repetition(method="sentence"),
    Repetition(method="suffix"),
    Length(words=[3, 50], chars=[None, 300], turns=1),
    ScoreLength(),
    ScoreLength(unit="turns"),
    Structure(code_fences="closed", boxed="one", ends="punctuation", max_turns=1),
    Patterns(packs=["identity", "refusal", "cutoff", "disclaimer"], words=["tomato"], regex=[r"\d{3}"]),
    TagPatterns(packs=["identity"], roles=["assistant"]),
    License(allow=["MIT"]),
    Language(languages=["en"], min_confidence=0.5, unknown="drop", max_cjk=0.05),
    TagLanguage(confidence="sure"),
]
IDS = [f"{type(o).__name__}{i}" for i, o in enumerate(OPERATORS)]


def live(operator):
    made = pickle.loads(pickle.dumps(operator))
    made.text = pl.col("response")
    return made


def results(operator, rows):
    """Everything that the operator hands back, by name, as lists."""
    form = {"filter": "keep", "tag": "tag", "score": "score"}[operator.verb]
    given = getattr(operator, form)(rows)
    return {name: as_list(item[0] if isinstance(item, tuple) else item) for name, item in given.items()}


def as_list(item):
    return item.tolist() if isinstance(item, np.ndarray) else item.to_list()


@pytest.mark.parametrize("operator", OPERATORS, ids=IDS)
def test_batch_borders_do_not_show(operator):
    whole = results(live(operator), Rows(FRAME))
    for size in (1, 7, 64):
        parts = [results(live(operator), Rows(FRAME.slice(at, size))) for at in range(0, FRAME.height, size)]
        assert {name: [value for part in parts for value in part[name]] for name in whole} == whole


@pytest.mark.parametrize("operator", OPERATORS, ids=IDS)
def test_an_operator_keeps_nothing_between_batches(operator):
    one = live(operator)
    first = results(one, Rows(FRAME))
    results(one, Rows(FRAME.reverse()))
    assert results(one, Rows(FRAME)) == first


@pytest.mark.parametrize("operator", OPERATORS, ids=IDS)
def test_work_shared_before_a_filter_serves_after_it(operator):
    rows = Rows(FRAME)
    for other in OPERATORS:  # fills the shared results of the batch
        results(live(other), rows)
    mask = pl.Series([i % 3 != 1 for i in range(FRAME.height)])
    assert results(live(operator), rows.keep(mask)) == results(live(operator), Rows(FRAME.filter(mask)))


@pytest.mark.parametrize("operator", OPERATORS, ids=IDS)
def test_an_empty_batch(operator):
    assert all(value == [] for value in results(live(operator), Rows(FRAME.clear())).values())


@pytest.mark.parametrize("operator", OPERATORS, ids=IDS)
def test_some_rows_stay_and_some_go(operator):
    if isinstance(operator, Filter) and operator.params.get("method") not in ("sentence", "paragraph"):
        gone = [not all(values) for values in zip(*results(live(operator), Rows(FRAME)).values(), strict=True)]
        assert 0 < sum(gone) < len(gone) or isinstance(operator, Structure)
    assert list(operator.check()) == []


@pytest.mark.parametrize("operator", OPERATORS, ids=IDS)
def test_schema_and_types(operator):
    assert json.loads(json.dumps(schema(type(operator))))["additionalProperties"] is False
    flow = operator.flow({"messages": "messages", "license": "text"})
    assert set(flow.reads) <= {"messages", "license", "response"}
    if operator.verb != "filter":
        form = {"tag": "tag", "score": "score"}[operator.verb]
        made = getattr(live(operator), form)(Rows(FRAME))
        assert {name: column.dtype for name, column in made.items()} == {name: parse_type(word).dtype() for name, word in flow.writes.items()}
