"""How the source looks: files and functions that can be read, public names that are declared, nothing printed behind one's back."""

from __future__ import annotations

import ast
import statistics

import pytest

from tests.style.source import ROOT, core, functions, plugins

EVERY = [*core(), *plugins()]
MAX_FILE, MAX_FUNCTION = 400, 80


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_a_file_can_be_read_at_one_sitting(module):
    assert len(module.text.splitlines()) <= MAX_FILE


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_a_function_fits_on_a_screen(module):
    assert [f"{name}: {lines}" for name, lines in functions(module) if lines > MAX_FUNCTION] == []


def test_most_are_much_shorter():
    files = [len(m.text.splitlines()) for m in EVERY]
    lengths = [lines for m in EVERY for _, lines in functions(m)]
    assert statistics.median(files) <= 160
    assert statistics.median(lengths) <= 10
    assert sum(n > 50 for n in lengths) < 0.02 * len(lengths)


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_a_public_module_declares_its_names(module):
    if any(part.startswith("_") and part != "__main__" for part in module.name.split(".")):
        return
    tree = module.tree
    defined = [
        n.name
        for n in tree.body
        if isinstance(n, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not n.name.startswith("_")
    ]
    declared = [
        n for n in tree.body if isinstance(n, (ast.Assign, ast.AnnAssign)) and "__all__" in ast.unparse(n).split("=")[0]
    ]
    if defined:
        assert declared, f"no __all__, but {defined[:3]}"
        [names] = declared
        listed = ast.literal_eval(names.value)
        assert len(listed) == len(set(listed))


@pytest.mark.parametrize("module", EVERY, ids=str)
def test_every_public_thing_is_documented(module):
    assert ast.get_docstring(module.tree), "no docstring"
    bare = []
    for node in module.tree.body:
        if (
            isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ):
            bare.append(node.name)
    listed = _listed(module.tree)
    assert [n for n in bare if n in listed] == []


def _listed(tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


@pytest.mark.parametrize("module", [m for m in EVERY if not m.name.startswith("sftrecipe.cli")], ids=str)
def test_only_the_command_line_prints(module):
    calls = [
        n.lineno
        for n in ast.walk(module.tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "print"
    ]
    assert calls == []


BROAD = {
    "sftrecipe.registry": 2,  # importing a plugin or a one-off file
    "sftrecipe.hooks": 1,  # observers
    "sftrecipe.plan.resolve": 1,  # an operator that is made and checks itself
    "sftrecipe.plan.flow": 1,  # an operator that tells its columns
    "sftrecipe.run.batch": 1,  # an operator over a batch
    "sftrecipe.run.streaming": 1,  # an operator over a row, asynchronously
    "sftrecipe.run.kinds": 1,  # a whole stage: what no check foresaw
    "sftrecipe.run.loading": 1,  # an operator that reads
    "sftrecipe.models.pull": 1,  # carried over to the thread that asked
}
"""Where anything may be raised, since somebody else's code runs: the border to plugins."""


def test_everything_is_caught_at_the_border_to_plugins_only():
    found = {}
    for module in core():
        broad = [
            n
            for n in ast.walk(module.tree)
            if isinstance(n, ast.ExceptHandler) and _is_broad(n) and not _raises_again(n)
        ]
        if broad:
            found[module.name] = len(broad)
    assert found == BROAD


def _is_broad(node):
    names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return node.type is None or any(isinstance(n, ast.Name) and n.id in ("Exception", "BaseException") for n in names)


def _raises_again(node):
    return any(isinstance(n, ast.Raise) and n.exc is None for n in ast.walk(node))


def test_the_root_hands_out_what_it_says():
    import sftrecipe

    assert all(getattr(sftrecipe, name) is not None for name in sftrecipe.__all__)
    plain = [n for n in sftrecipe.__all__ if not n.startswith("__")]
    assert plain == sorted(plain)


def test_every_entry_point_of_ours_is_at_its_place():
    """A file bears its operator's name, or that of the family it belongs to; and every name in pyproject.toml can be loaded."""
    from sftrecipe.registry import Registry

    for entry in Registry().entries():
        if entry.distribution == "sftrecipe":
            assert entry.load() is not None
            assert entry.point is not None
            module = entry.point.module
            assert (ROOT / "plugins" / module.replace(".", "/")).with_suffix(".py").exists() or module.startswith(
                "sftrecipe."
            ), entry.full
