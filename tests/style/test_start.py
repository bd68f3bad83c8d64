"""What a command imports: nothing that takes long, until it is needed. (How long it takes is for benchmarks, not for tests.)"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.style.source import core, plugins

HEAVY = (
    "torch",
    "datasets",
    "transformers",
    "sentence_transformers",
    "sklearn",
    "scipy",
    "aiohttp",
    "pandas",
    "tokenizers",
)
COLUMNS = ("polars", "pyarrow", "numpy")

RECIPE = """recipe: start
grammar: 1
params: {least: 5}
models: {encoder: {use: tfidf}, judge: {use: openai, model: m, api_key: "${env:KEY}"}, tok: {use: tokenizer, model: tiny}}
steps:
  - load: {path: data/*.jsonl, license: MIT}
  - filter: words(response) >= params.least and not contains(lower(response), "sorry")
  - filter.near_duplicates: {threshold: 0.8}
  - filter.language: {languages: [en]}
  - score.quality: {model: judge}
  - tag.embedding: {model: encoder}
  - select.diverse: {size: 100, by: quality, max_similarity: 0.9}
  - mix: {by: source, parts: {a: {rows: 3}}}
  - format.messages
  - write: out
  - pack.bfd: {length: 512, tokenizer: tok}
  - write: packs
"""


def modules_after(folder, *args) -> set[str]:
    code = (
        f"import sys, json\nsys.argv = ['sftrecipe', *{list(args)!r}]\nfrom sftrecipe.cli import main\ntry:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\nprint(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "args", [["--help"], ["ops"], ["plugins"], ["run", "--help"], ["explain", "R401"]], ids=" ".join
)
def test_looking_imports_no_library_that_moves_data(tmp_path, args):
    found = modules_after(tmp_path, *args)
    assert found & {*HEAVY, *COLUMNS} == set()
    assert not {m for m in found if m.startswith("sftrecipe_")}


def test_a_check_imports_no_heavy_library(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    found = modules_after(tmp_path, "check", "recipe.yaml")
    assert found & {*HEAVY, *COLUMNS} == set()


def test_no_module_of_ours_uses_a_library_of_columns_when_it_is_imported(tmp_path):
    """`from sftrecipe.lazy import np` at the top is no use of it; a table made at the top would be."""
    names = [m.name for m in [*core(), *plugins()] if not m.name.endswith("__main__")]
    code = (
        "import importlib, sys\n"
        f"for name in {COLUMNS!r}: sys.modules[name] = None\n"
        f"for name in {names!r}:\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error: print(name, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""


def test_importing_the_package_imports_nothing(tmp_path):
    code = "import sys, sftrecipe\nprint([m for m in sys.modules if m.startswith('sftrecipe.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_python_m_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "sftrecipe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sftrecipe ")
