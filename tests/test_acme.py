"""An outside package: built as a wheel, installed beside us, used by its names. Nothing in sftrecipe knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Kitchen, chat

ACME = Path(__file__).parent / "acme"
ROWS = [
    chat("What is the moon?", "a rock that goes round"),
    chat("Tell me of the sun.", "it is a hot ball"),
    chat("Why? How? When?", "nobody knows"),
    chat("Is it? Really?", "yes it is so"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the built package in it, as pip puts it into site-packages."""
    base = tmp_path_factory.mktemp("acme")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # the build copies: nothing may be written into the repository
    source = base / "source"
    subprocess.run(["cp", "-r", str(ACME), str(source)], check=True)
    subprocess.run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(base / "wheels"), str(source)],
        check=True,
        timeout=120,
    )
    [wheel] = (base / "wheels").glob("*.whl")
    assert wheel.name == "sftrecipe_acme-0.2.0-py3-none-any.whl"
    target = base / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=120)
    return target


@pytest.fixture
def shop(installed, kitchen, monkeypatch):
    """The kitchen with acme installed, its recipe and rows."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("ACME_LOG", str(kitchen.folder / "acme.log"))
    kitchen.rows("rows.jsonl", ROWS)
    (kitchen.folder / "acme.yaml").write_text((ACME / "recipes" / "acme.yaml").read_text())
    return kitchen


def log(shop: Kitchen) -> list[dict[str, object]]:
    return [json.loads(line) for line in (shop.folder / "acme.log").read_text().splitlines()]


def test_a_recipe_runs_with_it(shop):
    done = shop.cli("run", "acme.yaml", "--with", "acme", check=0)
    kept = [r["messages"][0]["content"] for r in shop.read("out.jsonl")]
    assert kept == ["What is the moon?", "Is it? Really?"]
    assert "short 1" in done.stdout  # its reason code, in the funnel
    assert "acme saw 6 steps" in done.stdout
    manifest = json.loads((shop.folder / "out.manifest.json").read_text())
    plugins = {s["operator"]: (s["plugin"], s["plugin_version"]) for s in manifest["steps"]}
    assert plugins["filter.acme.short"] == plugins["score.acme.questions"] == ("sftrecipe-acme", "0.2.0")
    kinds = [e["kind"] for e in log(shop)]
    assert kinds == ["run_started", *["step_finished"] * 6, "run_finished"]
    assert log(shop)[0]["steps"][1:3] == ["filter.acme.short", "score.acme.questions"]
    assert [e["rows_out"] for e in log(shop)[1:-1]] == [4, 3, 3, 2, 2, 2]
    assert log(shop)[-1] == {"kind": "run_finished", "error": "", "outputs": 1}


def test_it_is_not_there_unless_it_is_asked_for(shop):
    done = shop.cli("run", "acme.yaml", check=0)
    assert "acme saw" not in done.stdout
    assert not (shop.folder / "acme.log").exists()
    assert "acme" not in shop.cli("--help", check=0).stdout


def test_the_project_switches_it_on_with_its_command(shop):
    (shop.folder / "pyproject.toml").write_text('[tool.sftrecipe]\nwith = ["acme"]\n')
    assert "acme" in shop.cli("--help", check=0).stdout
    assert shop.cli("acme", check=0).stdout == "hello from acme\n"
    assert "acme saw 6 steps" in shop.cli("run", "acme.yaml", check=0).stdout


def test_the_command_line_switches_it_on_with_its_command(shop):
    assert shop.cli("--with", "acme", "acme", check=0).stdout == "hello from acme\n"
    assert "acme saw 6 steps" in shop.cli("--with", "acme", "run", "acme.yaml", check=0).stdout
    assert "acme saw" not in shop.cli("run", "acme.yaml", check=0).stdout


def test_listing_names_it_and_imports_nothing_of_it(shop, installed):
    done = shop.cli("ops", "filter", check=0)
    assert "filter.acme.short (sftrecipe-acme 0.2.0)" in done.stdout
    code = "import sys\nsys.argv = ['sftrecipe', 'ops']\nfrom sftrecipe.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\nassert 'sftrecipe_acme' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], cwd=shop.folder, check=True, capture_output=True, timeout=60)
    assert "sftrecipe-acme 0.2.0: 3 names" in shop.cli("plugins", check=0).stdout


def test_explain_shows_its_page(shop):
    page = shop.cli("explain", "filter.acme.short", check=0).stdout
    assert page.startswith("## filter.acme.short\n\nKeep rows whose response has enough words.\n")
    assert "| `words` | int | `20` | Fewest words kept. (positional) |" in page
    assert "- reads: response" in page
    assert "- from: sftrecipe-acme 0.2.0, version 1 of the operator" in page


def test_its_parameters_are_checked_like_ours(shop):
    recipe = (shop.folder / "acme.yaml").read_text()
    (shop.folder / "bad.yaml").write_text(
        recipe.replace("filter.acme.short: 3", "filter.acme.shrot: 3").replace(
            "score.acme.questions", "score.acme.questions: {txet: query}"
        )
    )
    done = shop.cli("check", "bad.yaml", check=1)
    assert "did you mean `filter.acme.short`?" in done.stderr
    assert "did you mean `text`?" in done.stderr


def test_without_it_the_recipe_says_what_to_install(kitchen):
    (kitchen.folder / "acme.yaml").write_text((ACME / "recipes" / "acme.yaml").read_text())
    done = kitchen.cli("check", "acme.yaml", check=1)
    assert "the recipe requires `sftrecipe-acme>=0.2`, which is not installed" in done.stderr
    assert "pip install 'sftrecipe-acme>=0.2'" in done.stderr
    assert "unknown operator `filter.acme.short`" in done.stderr


def test_it_passes_the_conformance_kit(shop):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "--rootdir",
        str(shop.folder),
        str(ACME / "tests" / "test_conformance.py"),
    ]
    done = subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 passed" in done.stdout


def test_it_imports_nothing_of_ours_but_public_names():
    import ast

    import sftrecipe

    for path in (ACME / "sftrecipe_acme").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sftrecipe"):
                assert node.module == "sftrecipe", path.name
                assert {a.name for a in node.names} <= set(sftrecipe.__all__)
