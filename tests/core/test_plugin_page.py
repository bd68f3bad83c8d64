"""The examples of docs/plugins.md do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from sftrecipe.params import specs
from sftrecipe.run.bind import functions
from sftrecipe.verbs import VERBS
from tests.conftest import chat
from tests.core.fake_distributions import Shelf

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_the_first_operator_runs_as_it_stands(kitchen):
    (kitchen.folder / "my_ops.py").write_text(CODE[0])
    kitchen.rows("rows.jsonl", [chat("q", "one"), chat("q", "one two three")])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter.my_ops.short: 2\n  - write: out.jsonl\n")
    kitchen.cli("run", "recipe.yaml", "--plugin", "my_ops.py", check=0)
    assert len(kitchen.read("out.jsonl")) == 1


def test_the_function_the_provider_and_the_observer_run_as_they_stand(kitchen, tmp_path, monkeypatch, capsys):
    shelf = Shelf(tmp_path / "shelf", monkeypatch)
    points = {
        "function": {"acme_vowels": "acme_page:VOWELS"},
        "model": {"parrot": "acme_page:Parrot"},
        "hook": {"acme": "acme_page:Watcher"},
    }
    shelf.put("acme-page", points, CODE[1])
    kitchen.rows("rows.jsonl", [chat("hello", "a")])
    kitchen.recipe(
        "  - load: {path: rows.jsonl, license: MIT}\n  - answer.chat: bird\n  - score: {n: acme_vowels(response)}\n"
        "  - write: {path: out.jsonl, columns: [response, n]}\n",
        head="models: {bird: {use: parrot}}\n",
    )
    functions.cache_clear()  # looked up once a process
    kitchen.run(observers=("acme",))
    functions.cache_clear()
    Shelf.forget()
    assert kitchen.read("out.jsonl") == [{"response": "indeed, hello", "n": 5}]
    assert "answer.chat 1" in capsys.readouterr().out


def test_every_form_of_every_verb_is_on_the_page():
    for cls in VERBS.values():
        forms = [n for n, v in vars(cls).items() if callable(v) and not n.startswith("_") and n not in ("flow",)]
        assert all(f"`{n}" in PAGE for n in forms), cls
        assert all(f"`{n}`" in PAGE for n in specs(cls))
