"""Observers: told of everything, able to stop nothing, there only when they are asked for."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sftrecipe.errors import StepError
from sftrecipe.hooks import Observers, RunEvent, StepEvent, hookimpl
from tests.conftest import chat
from tests.core.fake_distributions import Shelf

STEPS = "  - load: {path: rows.jsonl, license: MIT}\n  - id: long\n    filter.length: {words: [2, 9]}\n  - write: out.jsonl\n"

WATCHER = """
import json, pathlib
from sftrecipe import hookimpl

class Watcher:
    @hookimpl
    def run_started(self, event): self._log("run_started", event.recipe, list(event.steps))
    @hookimpl
    def step_started(self, event): self._log("step_started", event.step)
    @hookimpl
    def step_finished(self, event): self._log("step_finished", event.step, event.counts["rows_in"], event.counts["rows_out"], event.cached)
    @hookimpl
    def run_finished(self, event): self._log("run_finished", event.error, [o["rows"] for o in event.outputs], dict(event.waiting))
    @hookimpl
    def report_section(self, counts): return f"watched {len(counts)} steps"
    @hookimpl
    def commands(self, app):
        @app.command("watch")
        def watch(): print("watching")
    def _log(self, *words):
        with pathlib.Path("log.jsonl").open("a") as file: file.write(json.dumps(words) + "\\n")
"""
RAISES = """
from sftrecipe import hookimpl

class Raises:
    @hookimpl
    def run_started(self, event): raise RuntimeError("no disk")
    @hookimpl
    def step_finished(self, event): raise KeyError("counts")
    @hookimpl
    def report_section(self, event, counts): raise ValueError("no words")
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch, kitchen):
    kitchen.rows("rows.jsonl", [chat("q1", "one"), chat("q2", "one two")])
    kitchen.recipe(STEPS)
    shelf = Shelf(tmp_path / "shelf", monkeypatch)
    shelf.put("watcher", {"hook": {"watch": "watcher:Watcher"}}, WATCHER)
    shelf.put("raises", {"hook": {"raises": "raises:Raises"}}, RAISES)
    yield shelf
    Shelf.forget()


def log(kitchen):
    return [json.loads(line) for line in (kitchen.folder / "log.jsonl").read_text().splitlines()]


def test_an_observer_sees_the_whole_run(shelf, kitchen, cli):
    code, out, err = cli("run", "recipe.yaml", "--with", "watch")
    assert (code, err) == (0, "")
    assert log(kitchen) == [
        ["run_started", "test", ["load.auto", "long", "write.auto"]],
        ["step_started", "load.auto"], ["step_finished", "load.auto", 2, 2, False],
        ["step_started", "long"], ["step_finished", "long", 2, 1, False],
        ["step_started", "write.auto"], ["step_finished", "write.auto", 1, 1, False],
        ["run_finished", "", [1], {}],
    ]  # fmt: skip
    assert "watched 3 steps" in out


def test_what_was_stored_is_told_as_such(shelf, kitchen, cli):
    cli("run", "recipe.yaml", "-q")
    cli("run", "recipe.yaml", "-q", "--with", "watch")
    assert [line[-1] for line in log(kitchen) if line[0] == "step_finished"] == [True, True, True]


def test_being_installed_switches_nothing_on(shelf, kitchen, cli):
    assert cli("run", "recipe.yaml")[0] == 0
    assert not (kitchen.folder / "log.jsonl").exists()


def test_the_project_may_switch_it_on(shelf, kitchen, cli):
    (kitchen.folder / "pyproject.toml").write_text('[tool.sftrecipe]\nwith = ["watch"]\n')
    code, out, err = cli("run", "recipe.yaml")
    assert "watched 3 steps" in out
    assert len(log(kitchen)) == 8


def test_an_observer_that_raises_is_a_warning(shelf, kitchen, caplog, cli):
    code, out, err = cli("run", "recipe.yaml", "--with", "raises", "--with", "watch")
    assert code == 0
    assert (kitchen.folder / "out.jsonl").exists()
    assert len(log(kitchen)) == 8  # the other one goes on
    told = [r.getMessage() for r in caplog.records]
    assert "observer `raises` failed in run_started: RuntimeError: no disk" in told
    assert told.count("observer `raises` failed in step_finished: KeyError: 'counts'") == 3
    assert "observer `raises` failed in report_section: ValueError: no words" in told


def test_a_run_that_fails_is_told_too(shelf, kitchen):
    kitchen.recipe(STEPS.replace("words: [2, 9]", "words: [2, 9]}\n    expect: dropped < 1\n    x-none: {a: b"))
    with kitchen.session(observers=["watch"]) as session, pytest.MonkeyPatch.context() as patch:
        patch.chdir(kitchen.folder)
        with pytest.raises(StepError):
            session.run()
    kind, error, outputs, waiting = log(kitchen)[-1]
    assert kind == "run_finished"
    assert error.startswith("StepError: `long` was expected to have dropped < 1")
    assert (outputs, waiting) == ([], {})


def test_events_cannot_be_changed():
    event = StepEvent("a", "filter.where", "x 1", {}, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.step = "b"
    run = RunEvent("r", "f", 0, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.error = "b"


def test_an_object_and_a_class_and_part_of_the_arguments():
    seen = []

    class OnlyCounts:
        @hookimpl
        def report_section(self, counts):
            seen.append(counts)
            return "a line"

    for plugin in (OnlyCounts, OnlyCounts()):
        assert Observers({"it": plugin}).call("report_section", event=RunEvent("r", "f", 0, ()), counts=[1]) == [
            "a line"
        ]
    assert seen == [[1], [1]]


def test_a_hook_that_there_is_not_is_refused():
    import pluggy

    class Wrong:
        @hookimpl
        def step_finished(self, events):
            pass

    with pytest.raises(pluggy.PluginValidationError, match="events"):
        Observers({"wrong": Wrong})


def test_nobody_watching_costs_nothing():
    assert Observers().call("run_started", event=None) == []


def test_what_is_wrong_with_an_observer_is_told_before_the_run(shelf, kitchen, cli):
    shelf.put("odd", {"hook": {"odd": "odd:Odd"}}, "from sftrecipe import hookimpl\nclass Odd:\n    @hookimpl\n    def run_finish(self, event): pass\n")
    code, _, err = cli("run", "recipe.yaml", "--with", "odd")
    assert code == 1
    assert "run_finish" in err
    assert "the hooks are run_started, step_started, step_finished, run_finished, report_section, commands" in err


def test_an_observer_that_cannot_be_made_is_a_warning(shelf, kitchen, cli, caplog):
    shelf.put("sad", {"hook": {"sad": "sad:Sad"}}, "class Sad:\n    def __init__(self): raise OSError('no network')\n")
    code, _, _ = cli("run", "recipe.yaml", "--with", "sad")
    assert code == 0
    assert "observer `sad` cannot be made: OSError: no network" in caplog.text
