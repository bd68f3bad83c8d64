"""The local engine: processes that are started before they are needed, and the way out of the command line."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from sftrecipe.engines.local import LocalEngine
from sftrecipe.run.interpreter import Options
from tests.conftest import chat

STEPS = "  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n"


class Recorder(LocalEngine):
    """A local engine that notes what it is told to have ready."""

    def __init__(self) -> None:
        super().__init__(2)
        self.warmed: list[list[str]] = []

    def warm(self, modules):
        self.warmed.append(list(modules))
        super().warm(modules)


def warmed(kitchen, **options):
    with kitchen.session(options=Options(out=kitchen.folder, **options)) as session:
        engine = session._engine = Recorder()
        session.run()
    return engine.warmed


def test_a_large_load_has_processes_started_before_it_is_hashed(kitchen):
    kitchen.rows("rows.jsonl", [chat(f"question {n}", "answer") for n in range(50)])
    kitchen.recipe(STEPS)
    assert warmed(kitchen) == []  # the file is small
    kitchen.recipe(STEPS.replace("MIT", "Apache-2.0"))
    [modules] = warmed(kitchen, pool_bytes=100)
    assert "sftrecipe_io.load_auto" in modules
    assert warmed(kitchen, pool_bytes=100) == []  # it is in the store


def test_what_is_started_does_the_jobs(kitchen):
    engine = LocalEngine(3)
    try:
        engine.warm(["json"])
        assert len(engine._pool._processes) == 2
        assert sorted(engine.map(abs, [-1, 2, -3], heavy=True, here=True)) == [(0, 1), (1, 2), (2, 3)]
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        ("print('told')", 0, "told", ""),
        ("print('told'); sys.exit(3)", 3, "told", ""),
        ("sys.exit('words')", 1, "", "words"),
        ("sys.exit()", 0, "", ""),
        ("raise ValueError('odd')", 1, "", "ValueError: odd"),
        ("raise KeyboardInterrupt", -2, "", "KeyboardInterrupt"),
        ("import atexit; atexit.register(print, 'last')", 0, "last", ""),
    ],
)
def test_the_short_way_out_keeps_code_and_words(body, code, out, err):
    script = f"import sys\nimport sftrecipe.cli as cli\ndef main():\n    {body}\ncli.main = main\ncli.script()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stdout.strip() == out
    assert err in done.stderr


DRIVER = """
import time
from sftrecipe.engines.local import LocalEngine
if __name__ == "__main__":
    engine = LocalEngine(2)
    print("ready", [n for n, _ in engine.map(time.sleep, [0.1], heavy=True)], flush=True)
    for _ in engine.map(time.sleep, [60], heavy=True): pass
"""


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    with subprocess.Popen([sys.executable, "driver.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        assert driver.stdout.readline() == "ready [0]\n"
        children = psutil.Process(driver.pid).children(recursive=True)
        assert len(children) >= 2  # the worker, and what tracks its semaphores
        driver.kill()
        assert psutil.wait_procs(children, timeout=30)[1] == []
