"""The conformance kit over our own operators, and on operators that break each of its rules."""

from __future__ import annotations

import pytest

from sftrecipe.registry import Registry
from sftrecipe.testing.conformance import CHECKS, Example, conformance
from tests.conftest import chat

TALK = [
    {
        "query": "What is the capital of France, and why?",
        "response": "Paris is the capital of France. It has been so for long.",
    },
    {"query": "Add 2 and 3.", "response": "5"},
    {
        "query": "What is the capital of France, and why?",
        "response": "Paris is the capital of France. It has been so for long.",
    },
    {"query": "Wer bist du?", "response": "Ich bin ein Sprachmodell von OpenAI und kann dabei leider nicht helfen."},
    {"query": "Say it three times.", "response": "again and again and again and again and again and again"},
]
TAGGED = [
    {"query": f"q{n}", "response": "a " * n, "tags": tags}
    for n, tags in enumerate([["math"], ["math", "code"], [], ["Math "], ["chat"]], 1)
]
VECTORS = [
    {"query": f"q{n}", "response": "a " * n, "embedding": v, "quality": float(n)}
    for n, v in enumerate([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]], 1)
]
TFIDF = {"model": {"use": "tfidf"}}

EXAMPLES = {
    "filter.answer_style": TALK,
    "filter.characters": Example(TALK, {"max_digits": "30%"}),
    "filter.duplicates": TALK,
    "filter.language": Example(TALK, {"languages": ["en"]}),
    "filter.length": Example(TALK, {"words": [2, 40]}),
    "filter.license": Example(
        [{**r, "license": ("MIT", "GPL-3.0-only")[n % 2]} for n, r in enumerate(TALK)], {"allow": ["MIT"]}
    ),
    "filter.near_duplicates": TALK,
    "filter.patterns": Example(TALK, {"packs": ["identity"]}),
    "filter.repetition": TALK,
    "filter.structure": TALK,
    "filter.where": Example(TALK, "words(response) > 3"),
    "score.expr": Example(TALK, {"size": "words(response) + 1"}),
    "score.length": TALK,
    "tag.expr": Example(TALK, {"small": "lower(response)"}),
    "tag.language": TALK,
    "tag.patterns": Example(TALK, {"packs": ["identity"]}),
    "tag.embedding": Example(TALK, models=TFIDF),
    "tag.normalize": Example(TAGGED, {"min_count": 1}),
    "select.random": Example(TALK, 2),
    "select.longest": Example(TALK, 2),
    "select.top": Example(VECTORS, {"size": 2, "by": "quality"}),
    "select.quota": Example(VECTORS, {"size": 2, "by": "source"}),
    "select.kcenter": Example(VECTORS, {"size": 2}, columns={"embedding": "vector"}),
    "select.facility": Example(VECTORS, {"size": 2}, columns={"embedding": "vector"}),
    "select.diverse": Example(VECTORS, {"size": 2, "by": "quality"}, columns={"embedding": "vector"}),
    "select.instag": Example(TAGGED, {"size": 2}),
    "format.alpaca": TALK,
    "format.messages": TALK,
    "format.prompt_completion": TALK,
    "format.sharegpt": TALK,
    "format.template": Example(TALK, "chatml"),
}

test_ours = conformance("sftrecipe", EXAMPLES, complete=False)


def test_every_filter_score_and_tag_that_asks_no_model_has_an_example():
    from sftrecipe.params import specs

    registry = Registry()
    asks = {
        e.full
        for e in registry.operators()
        if any(s.kind in ("model", "dataset") for s in specs(registry.operator(e.full)).values())
    }
    wanted = {
        e.full for e in registry.operators() if e.distribution == "sftrecipe" and e.group in ("filter", "score", "tag")
    } - asks
    assert wanted <= set(EXAMPLES)


# -- the kit itself

BROKEN = '''
from sftrecipe import Expr, Filter, Param, Score, Select, Tag, Choice, Into
import itertools
import numpy as np
import polars as pl

class Heavy(Filter):
    """Imports too much."""
    reads = ("response",)
    def keep_row(self, row): return True

class Silent(Filter):
    reads = ("response",)
    words: int = Param(2)
    def keep_row(self, row): return True

class Badly(Filter):
    """Has a default that it would refuse."""
    reads = ("response",)
    words: int = Param("two", doc="Words.")
    def keep_row(self, row): return True

class Peeks(Filter):
    """Reads what it does not declare."""
    reads = ("response",)
    def keep_row(self, row): return len(row["query"]) > 1

class Writes(Tag):
    """Writes what it does not declare."""
    writes = {"a": "text"}
    def tag(self, rows): return {"a": ["x"] * len(rows), "b": ["y"] * len(rows)}

class Changes(Tag):
    """Changes its input."""
    reads = ("response",)
    writes = {"a": "text"}
    def tag(self, rows):
        rows.frame.insert_column(0, pl.Series("z", [1] * len(rows)))
        return {"a": ["x"] * len(rows)}

class Mutates(Tag):
    """Changes the row that it is given."""
    reads = ("messages",)
    writes = {"a": "text"}
    def tag_row(self, row):
        row["messages"].append(None)
        return {"a": "x"}

class Drifts(Score):
    """Counts its calls."""
    reads = ("response",)
    writes = {"n": "float"}
    calls = itertools.count()
    def score(self, rows): return {"n": [float(next(self.calls))] * len(rows)}

class Means(Score):
    """Looks at the whole batch."""
    reads = ("response",)
    writes = {"n": "float"}
    def score(self, rows): return {"n": [float(len(rows))] * len(rows)}

class Firsts(Select):
    """Needs at least one row."""
    reads = ("response",)
    def choose(self, data):
        return Choice(np.array([int(np.argmax(data.frame("response")["response"].str.len_chars().to_numpy()))]))

class Fragile(Filter):
    """Does not think of nulls."""
    reads = ("response",)
    def keep_row(self, row): return len(row["response"]) > 1 or "Too Short"

class Shouts(Filter):
    """Has a code that is no word."""
    reads = ("response",)
    def keep_row(self, row): return "Too Short!"
'''
HEAVY = "import sklearn\nfrom broken_acme import Heavy\n"
NAMES = ["Silent", "Badly", "Peeks", "Writes", "Changes", "Mutates", "Drifts", "Means", "Firsts", "Fragile", "Shouts"]
VERB = {"Writes": "tag", "Changes": "tag", "Mutates": "tag", "Drifts": "score", "Means": "score", "Firsts": "select"}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    from tests.core.fake_distributions import Shelf

    shelf = Shelf(tmp_path / "shelf", monkeypatch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shelf"))
    points: dict[str, dict[str, str]] = {"filter": {"broken.heavy": "broken_heavy:Heavy"}}
    for name in NAMES:
        points.setdefault(VERB.get(name, "filter"), {})[f"broken.{name.lower()}"] = f"broken_acme:{name}"
    shelf.put("broken-acme", points, BROKEN)
    (shelf.folder / "broken_heavy.py").write_text(HEAVY)
    yield "broken"
    Shelf.forget()


EXPECTED = {
    "filter.broken.heavy": {"light import"},
    "filter.broken.silent": {"documented"},
    "filter.broken.badly": {"schema"},
    "filter.broken.peeks": {"example", "law", "input untouched", "same again", "batches", "nulls and odd text"},
    "tag.broken.writes": {"example", "law", "same again", "batches", "nulls and odd text"},
    "tag.broken.changes": {"input untouched"},
    "tag.broken.mutates": {"input untouched"},
    "score.broken.drifts": {"same again", "batches"},
    "score.broken.means": {"batches"},
    "select.broken.firsts": {"no rows"},
    "filter.broken.fragile": {"nulls and odd text"},
    "filter.broken.shouts": {"law"},
}


def test_each_rule_is_noticed_when_it_is_broken(broken):
    examples = {full: [chat("one two", "three four"), chat("five", "six seven eight")] for full in EXPECTED}
    cases = {p.id: p.values[0] for p in marks_of(conformance(broken, examples))}
    test = conformance(broken, examples)
    failed: dict[str, set[str]] = {full: set() for full in EXPECTED}
    for case in cases:
        full, check = case.split(": ")
        try:
            test(case)
        except Exception:  # noqa: BLE001  (whatever a check raises is its verdict)
            failed[full].add(check)
    assert failed == EXPECTED


def marks_of(test):
    [mark] = [m for m in test.pytestmark if m.name == "parametrize"]
    return mark.args[1]


def test_an_operator_without_an_example_fails(broken):
    test = conformance(broken, {})
    with pytest.raises(pytest.fail.Exception, match="give `filter.broken.silent` an example"):
        test("filter.broken.silent: example")


def test_an_expected_failure_is_marked_strictly(broken):
    marked = marks_of(conformance(broken, {}, {"filter.broken.silent: documented": "it is a secret"}))
    [param] = [p for p in marked if p.id == "filter.broken.silent: documented"]
    assert (param.marks[0].name, param.marks[0].kwargs) == ("xfail", {"reason": "it is a secret", "strict": True})


@pytest.mark.parametrize(
    "owner, examples, failures, said",
    [
        ("nobody", {}, {}, "no operator of `nobody` is installed"),
        ("broken", {"filter.broken.nothing": []}, {}, "filter.broken.nothing"),
        ("broken", {}, {"filter.broken.silent: dancing": "x"}, "dancing"),
    ],
)
def test_names_that_there_are_not(broken, owner, examples, failures, said):
    with pytest.raises(ValueError, match=said):
        conformance(owner, examples, failures)


def test_every_check_has_a_docstring():
    assert all(check.__doc__ for check, _ in CHECKS.values())
