"""The recipes that ask models: checked, tested and run offline, as a reader would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftrecipe.run.casework import run_tests
from sftrecipe.run.interpreter import Options
from sftrecipe.session import Session

RECIPES = Path(__file__).parents[2] / "recipes"
SCRIPTS = ("seeds", "problems", "evolver", "teacher", "target", "adaptive_writer", "author", "tagger", "samples", "verdicts", "joint")
OUTCOMES = {
    "instag": ("tagged", {"rows_in": 354, "rows_out": 354}, 40),
    "deita-judge": ("quality", {"rows_in": 193, "rows_out": 193}, 40),
    "deita-scorer": ("joint", {"rows_in": 30, "rows_out": 30, "nulls": {}}, 30),
    "wizardlm": ("evolved", {"rows_in": 12, "born": 16, "rows_out": 28}, 28),
    "wizardlm-adaptive": ("grown", {"rows_in": 6, "born": 4, "codes": {"replaced": 4}}, 6),
    "self-instruct": ("made", {"rows_in": 12, "born": 20, "codes": {"replaced": 12}}, 20),
    "teacher": ("best", {"rows_in": 339, "rows_out": 339, "codes": {}}, 339),
}


def session(name, folder, variant="offline"):
    return Session(RECIPES / f"{name}.yaml", variant=variant, store=folder / "store", options=Options(out=folder))


@pytest.mark.parametrize("name", OUTCOMES)
def test_runs_offline_and_again_for_nothing(name, tmp_path):
    step, figures, rows = OUTCOMES[name]
    with session(name, tmp_path) as opened:
        outcome = opened.run()
        counts = vars(next(c for c in outcome.counts if c.step == step))
        assert {k: counts[k] for k in figures} == figures
        assert len((tmp_path / f"out/{name}.jsonl").read_text().splitlines()) == rows
    with session(name, tmp_path) as opened:
        assert all(r.cached for r in opened.run().results.values())


@pytest.mark.parametrize("name", OUTCOMES)
def test_its_own_tests_pass(name, tmp_path):
    opened = session(name, tmp_path, variant="")
    text = (RECIPES / f"{name}.yaml").read_text()
    if "sentence-transformers" in text:
        pytest.importorskip("sentence_transformers")
    results = list(run_tests(opened))
    assert results
    assert [r.detail for r in results] == [""] * len(results)


@pytest.mark.parametrize("name", OUTCOMES)
def test_its_header_says_what_is_exact_and_what_is_not(name):
    head = (RECIPES / f"{name}.yaml").read_text().split("recipe: ")[0]
    words = ("Method", "Limits", "Offline") if name == "wizardlm-adaptive" else ("Exact", "Approximated", "Offline")
    assert all(f"# {word}" in head for word in words)
    assert all(len(line) <= 130 for line in head.splitlines())


def test_scripted_replies_are_small_and_read_back():
    files = [RECIPES / "data" / f"{name}.jsonl" for name in SCRIPTS]
    assert sum(f.stat().st_size for f in files) <= 60_000
    assert all(json.loads(line) for f in files for line in f.read_text(encoding="utf-8").splitlines())
