"""kill -9 at random moments, resumed each time: the same bytes come out, and the ledger balances."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from tests.conftest import chat

KILLS = int(os.environ.get("SFTRECIPE_KILLS", "50"))

STEPS = """
  - id: evals
    load: {path: evals.jsonl, role: eval}
  - load: {path: rows.jsonl, schema: messages, license: MIT}
  - filter.length: {words: [5, 60]}
  - score: {size: len(response)}
  - filter.duplicates:
  - filter.near_duplicates: {threshold: 0.8}
  - tag: {start: lower(query)}
  - id: chosen
    select.top: {size: 900, by: size}
  - mix: {by: source, parts: {rows: {fraction: 0.9}}}
  - format.messages
  - write: out.jsonl
  - write: folder
"""


def start(folder):
    command = [sys.executable, "-c", "from sftrecipe.cli import script; script()", "run", "recipe.yaml", "--shard-mb", "1"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def outputs(folder):
    names = [folder / "out.jsonl", folder / "out.manifest.json", *sorted((folder / "folder").rglob("*"))]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in names if p.is_file()}


def test_killed_at_random_moments_and_resumed(kitchen):
    rng = random.Random(20261122)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau"]
    rows = [chat(f"Question {i} about {rng.choice(words)}", " ".join(rng.choices(words, k=rng.randint(3, 70)))) for i in range(4000)]
    kitchen.rows("rows.jsonl", [*rows, *rows[:300]])
    kitchen.rows("evals.jsonl", [chat("Question 17 about alpha beta gamma delta", "none")])
    kitchen.recipe(STEPS)
    first = start(kitchen.folder)
    began = time.monotonic()
    text, _ = first.communicate(timeout=300)
    assert first.returncode == 0, text
    whole = time.monotonic() - began
    wanted = outputs(kitchen.folder)
    assert len(wanted) >= 5
    kills = finished = 0
    fresh = True
    while kills < KILLS:
        if fresh:
            for name in (".sftrecipe", "folder"):
                shutil.rmtree(kitchen.folder / name, ignore_errors=True)
            for name in ("out.jsonl", "out.manifest.json"):
                (kitchen.folder / name).unlink(missing_ok=True)
        process = start(kitchen.folder)
        try:
            text, _ = process.communicate(timeout=rng.uniform(0.3, 1.1) * whole)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            fresh = False
            continue
        assert process.returncode == 0, text
        assert outputs(kitchen.folder) == wanted
        finished += 1
        fresh = True
    process = start(kitchen.folder)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert outputs(kitchen.folder) == wanted
    assert not [p for p in kitchen.folder.iterdir() if p.name.startswith(".sftrecipe-")]
