"""How a run ends before its end: signals, once and twice; a driver or a worker that is killed. Nobody lingers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SLEEPY = """
import os, time
from pathlib import Path
from sftrecipe import Score, Param

class Slow(Score):
    \"\"\"Takes its time, and says who does.\"\"\"
    reads = ("query",)
    writes = {"n": "float"}
    heavy = True
    seconds: float = Param(0.05)

    def score_row(self, row):
        Path(f"worker-{os.getpid()}").touch()
        time.sleep(self.seconds)
        return 1.0
"""

SCRIPT = """
if __name__ == "__main__":
    from pathlib import Path
    from sftrecipe.cli.running import run_recipe
    from sftrecipe.run.interpreter import Options
    from sftrecipe.session import Session

    options = Options(pool_rows=0, pool_bytes=POOL, shard_bytes=2_000)
    run_recipe(Session("recipe.yaml", plugins=[Path("slow.py")], workers=2, options=options), False)
"""


def begin(kitchen, numbered, seconds=0.05, rows=120):
    kitchen.rows("rows.jsonl", numbered(rows))
    (kitchen.folder / "slow.py").write_text(SLEEPY)
    (kitchen.folder / "script.py").write_text(SCRIPT.replace("POOL", "0"))
    kitchen.recipe(f"  - load: {{path: rows.jsonl, license: MIT}}\n  - score.slow.slow: {{seconds: {seconds}}}\n  - write: out.jsonl\n")
    return again(kitchen)


def again(kitchen):
    return subprocess.Popen([sys.executable, "script.py"], cwd=kitchen.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(kitchen, process, wanted=2):
    """The worker processes, once they are at work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = [int(p.name.split("-")[1]) for p in kitchen.folder.glob("worker-*")]
        if len(found) >= wanted:
            return found
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def gone(pids, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(os.path.exists(f"/proc/{p}") for p in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_workers_end_with_a_driver_that_was_killed(kitchen, numbered):
    process = begin(kitchen, numbered)
    found = workers(kitchen, process)
    process.kill()
    process.communicate(timeout=60)
    assert gone(found)
    (process := again(kitchen)).communicate(timeout=120)
    assert process.returncode == 0
    assert len(kitchen.read("out.jsonl")) == 120


def test_a_worker_that_was_killed_is_told_and_the_next_run_goes_on(kitchen, numbered):
    process = begin(kitchen, numbered)
    os.kill(workers(kitchen, process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode
    assert "a worker process died" in err
    process = again(kitchen)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(kitchen.read("out.jsonl")) == 120


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_stops_in_good_order(kitchen, numbered, name):
    process = begin(kitchen, numbered)
    found = workers(kitchen, process)
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "once more to stop at once" in err
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    assert gone(found)


def test_the_second_signal_stops_at_once(kitchen, numbered):
    process = begin(kitchen, numbered, seconds=30, rows=10)
    found = workers(kitchen, process, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # a row takes half a minute
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert gone(found, 5)


def test_what_is_ignored_stays_ignored(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(10))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    from sftrecipe.cli.running import _Stops

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _Stops():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_output_stream_that_breaks_is_told_by_the_exit_code(kitchen, numbered):
    kitchen.rows("rows.jsonl", numbered(300))
    kitchen.recipe("  - load: {path: rows.jsonl, license: MIT}\n  - write: out.jsonl\n")
    kitchen.cli("run", "recipe.yaml", check=0)
    program = f"{sys.executable} -c 'from sftrecipe.cli import main; main()'"
    for command, code in ((f"{program} head recipe.yaml load.auto -n 300 | head -n 1", 141), (f"{program} run recipe.yaml > /dev/full", 3)):
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=kitchen.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
