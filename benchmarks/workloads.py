"""W1 and W2 beside hand-written scripts, in turn, in one run: CPU, wall and memory as ratios.

    python benchmarks/workloads.py CORPUS.jsonl [--runs 3] [--only w1|w2]

CORPUS: made by make_corpus.py (see its docstring). The rivals need `xxhash` and, for W2, `rensa`. Ours starts with an empty store every time, so its
figures hold start-up, ids, the store, the ledger and the manifest. CPU is that of the whole process tree, memory the peak of its summed PSS.
"""

from __future__ import annotations

import argparse
import glob
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent


def tree(pid: int) -> list[int]:
    found, todo = [], [pid]
    while todo:
        p = todo.pop()
        found.append(p)
        for path in glob.glob(f"/proc/{p}/task/*/children"):
            try:
                todo += [int(x) for x in Path(path).read_text().split()]
            except OSError:
                pass
    return found


def pss(pid: int) -> float:
    total = 0
    for p in tree(pid):
        try:
            total += next(int(x.split()[1]) for x in Path(f"/proc/{p}/smaps_rollup").read_text().splitlines() if x.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024


def measure(commands: list[list[str]], env: dict[str, str], folder: Path) -> tuple[float, float, float]:
    """CPU seconds, wall seconds, peak MB of commands run one after the other."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, peak = time.monotonic(), 0.0
    for command in commands:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        stop = threading.Event()
        seen = [0.0]

        def sample(pid: int = process.pid, stop: threading.Event = stop, seen: list[float] = seen) -> None:
            while not stop.is_set():
                seen[0] = max(seen[0], pss(pid))
                stop.wait(0.1)

        watcher = threading.Thread(target=sample)
        watcher.start()
        _, err = process.communicate()
        stop.set()
        watcher.join()
        peak = max(peak, seen[0])
        if process.returncode:
            sys.exit(f"{command}: {err.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began, peak


def rows(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def compare(name: str, ours: list[list[str]], rival: list[list[str]], folder: Path, runs: int, outputs: tuple[str, str]) -> None:
    env = {**os.environ, "PYTHONPATH": str(HERE / "rivals")}
    figures: dict[str, list[tuple[float, float, float]]] = {"ours": [], "rival": []}
    for _ in range(runs):
        for label, commands in (("ours", ours), ("rival", rival)):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            figures[label].append(measure(commands, env, folder))
            kept = rows(folder / outputs[label == "rival"])
            if len(figures[label]) == 1:
                print(f"{name} {label}: {kept:,} rows kept")
    for at, word in enumerate(("CPU s", "wall s", "peak MB")):
        a = statistics.median(f[at] for f in figures["ours"])
        b = statistics.median(f[at] for f in figures["rival"])
        print(f"{name} {word:8} ours {a:9.2f}   rival {b:9.2f}   ratio {a / b:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=["w1", "w2"])
    given = parser.parse_args()
    corpus = str(given.corpus.absolute())
    python = sys.executable
    tool = [python, "-c", "from sftrecipe.cli import script; script()", "run", "-q"]

    def ours(name: str) -> list[list[str]]:
        return [[*tool, str(HERE / "recipes" / f"{name}.yaml"), "-p", f"path={corpus}", "-p", f"out=out/{name}.jsonl"]]

    polars = [python, str(HERE / "rivals/hand_polars.py"), corpus, "polars.jsonl"]
    minhash = [python, str(HERE / "rivals/hand_minhash.py"), "polars.jsonl", "near.jsonl", "rensa"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.only != "w2":
            compare("W1", ours("w1"), [polars], folder, given.runs, ("out/w1.jsonl", "polars.jsonl"))
        if given.only != "w1":
            compare("W2", ours("w2"), [polars, minhash], folder, given.runs, ("out/w2.jsonl", "near.jsonl"))


if __name__ == "__main__":
    main()
