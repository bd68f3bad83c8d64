"""Names to operators: collisions, broken plugins, owners, one-off files; and nothing imported that nobody named."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sftrecipe.errors import RecipeError, UsageError
from sftrecipe.registry import Registry, full_name
from tests.conftest import chat
from tests.core.fake_distributions import Shelf

SHORT = """
from sftrecipe import Filter, Param

class Short(Filter):
    '''Keep rows that are not short.'''
    reads = ("response",)
    words: int = Param(2, ge=1, doc="Fewest words kept.", positional=True)

    def keep_row(self, row):
        return len((row["response"] or "").split()) >= self.words
"""


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    yield Shelf(tmp_path / "shelf", monkeypatch)
    Shelf.forget()


def code_of(call, *args):
    with pytest.raises(RecipeError) as caught:
        call(*args)
    [problem] = caught.value.problems
    return problem


def test_an_outside_operator_is_found_and_says_where_it_is_from(shelf):
    shelf.put("sftrecipe-acme", {"filter": {"acme.short": "sftrecipe_acme:Short"}}, SHORT)
    registry = Registry()
    entry = registry.entry("filter", "acme.short")
    assert (entry.full, entry.origin) == ("filter.acme.short", "sftrecipe-acme 1.0")
    assert "sftrecipe_acme" not in sys.modules  # named, not imported
    assert registry.operator("filter.acme.short").__name__ == "Short"
    assert "sftrecipe_acme" in sys.modules


def test_two_distributions_with_one_name(shelf):
    shelf.put("sftrecipe-acme", {"filter": {"acme.short": "sftrecipe_acme:Short"}}, SHORT)
    shelf.put("acme-fork", {"filter": {"acme.short": "acme_fork:Short"}}, SHORT, version="2.0")
    problem = code_of(Registry().entry, "filter", "acme.short")
    assert problem.code == "P001"
    assert "sftrecipe-acme 1.0" in problem.message
    assert "acme-fork 2.0" in problem.message


def test_a_name_of_ours_claimed_by_another(shelf):
    shelf.put("sneaky", {"filter": {"length": "sneaky:Short"}}, SHORT)
    assert code_of(Registry().entry, "filter", "length").code == "P001"


def test_one_distribution_listed_twice_is_one(shelf, tmp_path, monkeypatch):
    shelf.put("sftrecipe-acme", {"filter": {"acme.short": "sftrecipe_acme:Short"}}, SHORT)
    again = Shelf(tmp_path / "again", monkeypatch)
    again.put("sftrecipe-acme", {"filter": {"acme.short": "sftrecipe_acme:Short"}}, SHORT)
    assert Registry().entry("filter", "acme.short").origin == "sftrecipe-acme 1.0"


@pytest.mark.parametrize(
    "code, said",
    [
        (
            "import no_such_module_at_all\n",
            "ModuleNotFoundError: No module named 'no_such_module_at_all' (broken.py:1)",
        ),
        ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero (broken.py:2)"),
        ("def f(:\n", "SyntaxError"),
        ("pass\n", "AttributeError"),
    ],
)
def test_a_broken_plugin_is_named(shelf, code, said):
    shelf.put("broken", {"score": {"broken.it": "broken:It"}}, code)
    problem = code_of(Registry().operator, "score.broken.it")
    assert problem.code == "P002"
    assert "plugin broken 1.0" in problem.message
    assert said in problem.message


def test_a_broken_plugin_hurts_nobody_else(shelf, kitchen):
    shelf.put(
        "broken",
        {"score": {"broken.it": "broken:It"}, "function": {"brokenly": "broken:F"}, "hook": {"broken": "broken:H"}},
        "1 / 0\n",
    )
    kitchen.rows("rows.jsonl", [chat("q", "a b")])
    kitchen.recipe(
        "  - load: {path: rows.jsonl, license: MIT}\n  - filter: words(response) > 1\n  - write: out.jsonl\n"
    )
    kitchen.run()
    assert len(kitchen.read("out.jsonl")) == 1
    assert "score.broken.it" in [e.full for e in Registry().operators()]
    assert "broken" not in sys.modules


def test_a_broken_function_is_told_where_it_is_called(shelf, kitchen):
    shelf.put("broken", {"function": {"brokenly": "broken:F"}}, "1 / 0\n")
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter: brokenly(response) > 1\n")
    with kitchen.session() as session, pytest.raises(RecipeError) as caught:
        session.plan()
    [problem] = caught.value.problems
    assert (problem.code, problem.span.line) == ("P002", 5)


def test_two_functions_with_one_name(shelf, kitchen):
    shelf.put("twice", {"function": {"words": "twice:F"}}, "F = 1\n")
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter: words(response) > 1\n")
    with kitchen.session() as session, pytest.raises(RecipeError) as caught:
        session.plan()
    assert [p.code for p in caught.value.problems] == ["P001"]


def test_a_foreign_name_has_an_owner(shelf):
    shelf.put("sftrecipe-acme", {"filter": {"short": "sftrecipe_acme:Short"}}, SHORT)
    problem = code_of(Registry().entry, "filter", "short")
    assert problem.code == "P005"
    assert problem.help == "its author should call it `filter.acme.short`"


@pytest.mark.parametrize("value", ["sftrecipe_acme:Short", "sftrecipe_acme:NUMBER", "sftrecipe_acme:function"])
def test_an_entry_point_that_names_the_wrong_thing(shelf, value):
    shelf.put("sftrecipe-acme", {"score": {"acme.short": value}}, SHORT + "\nNUMBER = 5\ndef function(): pass\n")
    problem = code_of(Registry().operator, "score.acme.short")
    assert problem.code == "P003"
    assert "sftrecipe-acme 1.0 is no Score" in problem.message


def test_problems_of_plugins_stand_at_their_place_in_the_recipe(shelf, kitchen):
    shelf.put(
        "sftrecipe-acme",
        {
            "filter": {"acme.short": "sftrecipe_acme:Short", "other": "sftrecipe_acme:Short"},
            "score": {"acme.short": "sftrecipe_acme:Short"},
        },
        SHORT,
    )
    shelf.put("acme-fork", {"filter": {"acme.short": "acme_fork:Short"}}, SHORT)
    shelf.put("broken", {"tag": {"broken.it": "broken:It"}}, "1 / 0\n")
    kitchen.recipe(
        "  - load: a.jsonl\n  - filter.acme.short: 3\n  - filter.other: 3\n  - score.acme.short:\n  - tag.broken.it:\n"
    )
    with kitchen.session() as session, pytest.raises(RecipeError) as caught:
        session.plan()
    assert [(p.code, p.span.line) for p in caught.value.problems] == [
        ("P001", 5),
        ("P005", 6),
        ("P003", 7),
        ("P002", 8),
    ]


# -- one-off files


def test_a_file_brings_its_operators(kitchen):
    (kitchen.folder / "mine.py").write_text(SHORT + "\nclass VeryShort(Short):\n    '''A subclass.'''\n")
    names = [e.full for e in Registry((kitchen.folder / "mine.py",)).operators() if e.distribution == "command line"]
    assert names == ["filter.mine.short", "filter.mine.very_short"]
    kitchen.rows("rows.jsonl", [chat("q", "a b"), chat("q", "a")])
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter.mine.short: 2\n  - write: out.jsonl\n")
    kitchen.run(plugins=[kitchen.folder / "mine.py"])
    assert len(kitchen.read("out.jsonl")) == 1


def test_a_recipe_alone_loads_no_code(kitchen):
    (kitchen.folder / "mine.py").write_text("raise SystemExit('ran')\n")
    kitchen.recipe("  - load: a.jsonl\n  - filter.mine.short: 2\n")
    with kitchen.session() as session, pytest.raises(RecipeError) as caught:
        session.plan()
    assert [p.code for p in caught.value.problems] == ["R202"]


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "there is no such file"),
        ("1 / 0\n", "cannot be imported: ZeroDivisionError"),
        ("def f(:\n", "SyntaxError"),
    ],
)
def test_a_file_that_does_not_load(kitchen, text, said):
    path = kitchen.folder / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        Registry((path,))


# -- names


@pytest.mark.parametrize(
    "word, full",
    [
        ("filter", "filter.where"),
        ("load", "load.auto"),
        ("mix", "mix.parts"),
        ("score.length", "score.length"),
        ("measure", "measure"),
    ],
)
def test_what_a_bare_verb_means(word, full):
    assert full_name(word) == full


@pytest.mark.parametrize(
    "group, name, near",
    [
        ("score", "lenght", "`score.length`"),
        ("select", "kcentre", "`select.kcenter`"),
        ("filter", "expr", "`tag.expr`"),
        ("filter", "toxicity", "`sftrecipe ops filter`"),
        ("model", "opnai", "`openai`"),
    ],
)
def test_an_unknown_name_is_guessed(group, name, near):
    assert near in code_of(Registry().entry, group, name).help


@pytest.mark.parametrize(
    "group, name, said",
    [
        ("engine", "loacl", "unknown engine `loacl`: did you mean `local`?"),
        ("hook", "wandb", "unknown observer `wandb`"),
    ],
)
def test_what_is_named_on_the_command_line_is_a_usage_error(group, name, said):
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        Registry().entry(group, name)


def test_every_operator_of_ours_loads_and_is_of_its_verb():
    registry = Registry()
    ours = [e for e in registry.operators() if e.distribution == "sftrecipe"]
    assert len(ours) > 35
    for entry in ours:
        assert registry.operator(entry.full).__doc__, entry.full


def test_listing_imports_no_plugin():
    code = "import sys\nfrom sftrecipe.registry import Registry\nassert len(Registry().entries()) > 50\nprint([m for m in sys.modules if m.startswith('sftrecipe_')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_recipe_imports_what_it_names_and_no_more(kitchen):
    kitchen.recipe("  - load: a.jsonl\n  - filter.length: {words: [1, 9]}\n  - write: out.jsonl\n")
    code = f"import sys\nfrom sftrecipe.session import Session\nSession({str(kitchen.folder / 'recipe.yaml')!r}).plan()\n" \
        "print(sorted({m.split('.')[0] for m in sys.modules if m.startswith('sftrecipe_')}))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sftrecipe_clean', 'sftrecipe_io']"


WRONG = """
from sftrecipe import Filter, Function, Param, Provider

class Text(Filter):
    "Reads a text by mistake."
    reads = ("response")
    def keep_row(self, row): return True

class Annotation(Filter):
    "Names a type that there is not."
    words: "NoSuchType" = Param(1)
    def keep_row(self, row): return True

class Untyped(Filter):
    "Forgets the type."
    words = Param(1)
    def keep_row(self, row): return True

class Named(Filter):
    "Takes a name that is taken."
    state: int = Param(1)
    def keep_row(self, row): return True

class Twice(Filter):
    "Two positional parameters."
    a: int = Param(1, positional=True)
    b: int = Param(1, positional=True)
    def keep_row(self, row): return True

def function(row):
    return True

class Bare(Filter):
    "Does not call its base."
    def __init__(self, **given): pass
    def keep_row(self, row): return True

class Tuple(Filter):
    "Gives reads and writes, the short way."
    def flow(self, columns): return ("query",), {}
    def keep_row(self, row): return bool(row["query"])

class Lost(Filter):
    "Breaks in flow."
    def flow(self, columns): return {}["nothing"]
    def keep_row(self, row): return True

class Talks(Filter):
    "One complaint."
    def check(self): return "never right"
    def keep_row(self, row): return True
"""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("Text", "P003 `filter.wrong.it` of wrong 1.0 has `reads = 'response'`; a tuple is meant: `reads = ('response',)`"),
        ("Annotation", "P003 `filter.wrong.it` of wrong 1.0 has parameters that cannot be read: NameError"),
        ("Untyped", "P003 `filter.wrong.it` of wrong 1.0 declares `words` without a type: write `words: int = Param(...)`"),
        ("Named", "P003 `filter.wrong.it` of wrong 1.0 has a parameter `state`, which every operator has for something else"),
        ("Twice", "P003 `filter.wrong.it` of wrong 1.0 has more than one positional parameter"),
        ("function", "P003 `filter.wrong.it` of wrong 1.0 is no Filter: its entry point gives the function `function`"),
        ("Provider", "P003 `filter.wrong.it` of wrong 1.0 is no Filter: its entry point gives the class `Provider`"),
        ("Bare", "P010 `filter.wrong.it` (wrong 1.0) raised TypeError when it was checked: its `__init__` does not call"),
        ("Lost", "P010 `filter.wrong.it` (wrong 1.0) raised KeyError when it was checked: 'nothing' (wrong.py:"),
        ("Talks", "R306 `filter.wrong.it`: never right"),
        ("Tuple", ""),
    ],
)
def test_a_wrong_operator_is_told_before_the_run(shelf, kitchen, value, said):
    shelf.put("wrong", {"filter": {"wrong.it": f"wrong:{value}"}}, WRONG)
    kitchen.rows("rows.jsonl", [{"query": "q", "response": "r"}])
    path = kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - filter.wrong.it:\n")
    with kitchen.session(path) as session:
        try:
            session.plan()
            found = ""
        except RecipeError as error:
            assert len(error.problems) == 1
            found = f"{error.problems[0].code} {error.problems[0].message}"
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_plugin_that_ends_the_process_is_told(shelf):
    shelf.put("leaves", {"filter": {"leaves.it": "leaves:It"}}, "import sys\nsys.exit(3)\n")
    with pytest.raises(RecipeError, match=r"SystemExit: 3 \(leaves.py:2\)"):
        Registry().operator("filter.leaves.it")


def test_a_syntax_error_says_where_once(shelf):
    shelf.put("torn", {"filter": {"torn.it": "torn:It"}}, "class It(\n")
    with pytest.raises(RecipeError, match=r"SyntaxError: .* \(torn.py, line 1\) \(reinstall"):
        Registry().operator("filter.torn.it")


@pytest.mark.parametrize(
    ("group", "said"),
    [("model", "is no Provider"), ("function", "is no Function"), ("engine", "is no engine: the function `f` has no `map`")],
)
def test_what_is_no_operator_is_checked_too(shelf, group, said):
    shelf.put("odd", {group: {"odd": "odd:f"}}, "def f(): pass\n")
    with pytest.raises(RecipeError, match=said):
        Registry().take(group, "odd")
