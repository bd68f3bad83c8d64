"""kill -9 in the middle, and the same command again: nothing that was answered is asked for twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from sftrecipe.testing.server import ScriptedServer

DRIVER = Path(__file__).parent / "models_kill_driver.py"
CONCURRENCY = 16


def start(server, folder, rows):
    command = [sys.executable, str(DRIVER), server.url, str(folder), str(rows), str(CONCURRENCY), str(folder / "out.json")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)


def finish(server, folder, rows):
    process = start(server, folder, rows)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    return json.loads((folder / "out.json").read_text())


def kill_when(process, ready):
    while not ready() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def recorded(folder):
    if not (folder / "requests.sqlite").exists():
        return 0
    db = sqlite3.connect(folder / "requests.sqlite")
    try:
        return db.execute("SELECT count(*) FROM answers").fetchone()[0]
    finally:
        db.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    with ScriptedServer(latency=0.01) as server:
        return finish(server, folder, 150)


def test_killed_at_half_it_repeats_at_most_what_was_in_flight(tmp_path, undisturbed):
    rows = 150
    with ScriptedServer(latency=0.03, jitter=0.01) as server:
        kill_when(start(server, tmp_path, rows), lambda: server.stats()["requests"] >= rows)
        sent = server.stats()["requests"]
        assert rows <= sent < 2 * rows
        kept = recorded(tmp_path)
        assert kept >= sent - CONCURRENCY
        assert finish(server, tmp_path, rows) == undisturbed
        assert server.stats()["requests"] - sent == 2 * rows - kept
        assert server.stats()["requests"] <= 2 * rows + CONCURRENCY


def test_twenty_kills_at_random_moments_pay_nothing_twice(tmp_path, undisturbed):
    rows, drawn = 150, random.Random(7)
    kills = extra = 0
    with ScriptedServer(latency=0.12, jitter=0.05) as server:
        while kills < 20:
            before = server.stats()["requests"]
            kept_before = recorded(tmp_path)
            process = start(server, tmp_path, rows)
            target = before + drawn.randint(1, 25)
            kill_when(process, lambda target=target: server.stats()["requests"] >= target)
            time.sleep(drawn.random() * 0.01)
            kills += 1
            kept = recorded(tmp_path)
            sent = server.stats()["requests"] - before
            assert kept >= kept_before, "an answer that was recorded is gone"
            assert sent - (kept - kept_before) <= CONCURRENCY, "more was lost than was in flight"
            extra += sent - (kept - kept_before)
        before, kept = server.stats()["requests"], recorded(tmp_path)
        assert kept < 2 * rows, "the kills came too late to mean anything"
        assert finish(server, tmp_path, rows) == undisturbed
        assert server.stats()["requests"] - before == 2 * rows - kept, "something that was recorded was asked for again"
    assert 0 < extra <= 20 * CONCURRENCY


def test_an_interrupt_keeps_what_was_answered(tmp_path, undisturbed):
    rows = 150
    with ScriptedServer(latency=0.03) as server:
        process = start(server, tmp_path, rows)
        while server.stats()["answered"] < 60:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert process.returncode not in (0, -signal.SIGKILL)
        assert "KeyboardInterrupt" in out
        assert "never" not in out and "destroyed" not in out, out
        assert recorded(tmp_path) >= 60 - CONCURRENCY
        assert finish(server, tmp_path, rows) == undisturbed


def test_two_runs_share_a_record(tmp_path, undisturbed):
    with ScriptedServer(latency=0.02) as server:
        first, second = start(server, tmp_path, 150), start(server, tmp_path, 150)
        outs = [process.communicate(timeout=120)[0] for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), outs
        assert json.loads((tmp_path / "out.json").read_text()) == undisturbed
        assert server.stats()["requests"] <= 600
        assert recorded(tmp_path) == 300
