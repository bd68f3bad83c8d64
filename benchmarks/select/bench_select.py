"""CPU time and memory of the selectors, beside loops in the style of the authors' code, in one run.

    python benchmarks/select/bench_select.py                    # 20,000 rows against the originals, then growth to 200,000
    python benchmarks/select/bench_select.py --rows 5000 --size 500 --growth 5000 10000

Every measurement is a process of its own with one thread for linear algebra; CPU seconds and peak memory are that process's, from
after the pool stands to the answer. The pool is 384 wide, float32, memory-mapped, in clumps (rows / 3.3 clumps), as data sets are.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import resource  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402

LIMIT = 0.9
FIRST = 100


def make_pool(folder: Path, rows: int, width: int, seed: int = 0) -> None:
    """Writes vectors.npy (float32 [rows, width]) and columns.parquet (id, score, tags) into `folder`."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, int(rows / 3.3)), width)).astype(np.float32)
    out = np.lib.format.open_memmap(folder / "vectors.npy", mode="w+", dtype=np.float32, shape=(rows, width))
    for start in range(0, rows, 8192):
        part = min(8192, rows - start)
        x = centres[rng.integers(0, len(centres), part)] + 0.1 * rng.standard_normal((part, width), dtype=np.float32)
        out[start : start + part] = x / np.linalg.norm(x, axis=1, keepdims=True)
    out.flush()
    weight = 1 / np.arange(1, 4501)
    tags = rng.choice(4500, size=(rows, 5), p=weight / weight.sum())
    many = rng.integers(1, 6, rows)
    lists = [[f"tag{t}" for t in row[:k]] for row, k in zip(tags.tolist(), many.tolist(), strict=True)]
    ids = [f"{i:016x}" for i in rng.permutation(rows).tolist()]
    pl.DataFrame({"id": ids, "score": rng.random(rows), "tags": lists}).write_parquet(folder / "columns.parquet")


class Mapped:
    """The part of a Dataset that selectors use, over files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __len__(self) -> int:
        return len(self.matrix(""))

    @property
    def columns(self) -> dict[str, str]:
        return {"id": "text", "score": "float", "tags": "list[text]", "embedding": "vector"}

    def frame(self, *columns: str) -> pl.DataFrame:
        return pl.read_parquet(self._folder / "columns.parquet", columns=list(columns))

    def matrix(self, column: str) -> np.ndarray:
        return np.asarray(np.load(self._folder / "vectors.npy", mmap_mode="r"))


def selectors() -> dict[str, Callable[[int], Any]]:
    """The operators under test, by name: size -> operator."""
    from sftrecipe_diversity.clusters import Clusters
    from sftrecipe_diversity.diverse import Diverse
    from sftrecipe_diversity.facility import Facility
    from sftrecipe_diversity.instag import InsTag
    from sftrecipe_diversity.kcenter import KCenter
    from sftrecipe_diversity.mig import Mig
    from sftrecipe_diversity.random import Random

    return {
        "diverse": lambda size: Diverse(size=size, by="score", max_similarity=LIMIT),
        "diverse-all": lambda size: Diverse(by="score", max_similarity=LIMIT),
        "kcenter": lambda size: KCenter(size=size + FIRST, first=FIRST),
        "facility": lambda size: Facility(size=size),
        "clusters": lambda size: Clusters(size=size, by="score", clusters=100),
        "mig": lambda size: Mig(size=size, by="score"),
        "instag": lambda size: InsTag(size=size),
        "random": lambda size: Random(size=size),
    }


def ours(folder: Path, name: str, size: int) -> np.ndarray:
    """One selector through its operator."""
    made = selectors()[name](size)
    made.context = SimpleNamespace(seed=1, log=logging.getLogger("bench"))
    return np.asarray(made.choose(Mapped(folder)).kept)


def original_diverse(folder: Path, size: int | None) -> np.ndarray:
    """A row at a time: gather, cast and normalise all kept rows, then compare (our own loop, in the style of Deita's filter)."""
    data = Mapped(folder)
    frame = data.frame("id", "score")
    order = np.lexsort((frame["id"].to_numpy(), -frame["score"].to_numpy()))
    vectors = data.matrix("embedding").astype(np.float64)[order]
    kept = [0]
    for row in range(1, len(vectors)):
        held = vectors[kept].astype(np.float32)
        one = vectors[row : row + 1].astype(np.float32)
        held = held / np.linalg.norm(held, axis=1)[:, None]
        one = one / np.linalg.norm(one, axis=1)[:, None]
        held = held / np.linalg.norm(held, axis=1)[:, None]
        one = one / np.linalg.norm(one, axis=1)[:, None]
        if not (one @ held.T > LIMIT).any():
            kept.append(row)
        if size is not None and len(kept) >= size:
            break
    return np.asarray(order[kept])


def original_kcenter(folder: Path, size: int) -> np.ndarray:
    """The full distance matrix, and a table rows x chosen that is copied at each pick (our own loop, in the style of DiverseEvol)."""
    from sftrecipe_diversity.draws import uniform

    data = Mapped(folder)
    x = np.array(data.matrix("embedding"))
    order = np.argsort(uniform(1, data.frame("id")["id"], "init"), kind="stable")
    gaps = x @ x.T
    square = gaps.diagonal().copy()
    gaps *= -2
    gaps += square[:, None]
    gaps += square
    np.maximum(gaps, 0, out=gaps)
    np.sqrt(gaps, out=gaps)
    chosen = np.zeros(len(x), dtype=bool)
    chosen[order[:FIRST]] = True
    added = order[:FIRST].tolist()
    table = gaps[~chosen][:, chosen]
    for _ in range(size):
        far = int(table.min(axis=1).argmax())
        row = int(np.flatnonzero(~chosen)[far])
        chosen[row] = True
        added.append(row)
        left = np.ones(len(table), dtype=bool)
        left[far] = False
        table = np.concatenate([table[left], gaps[~chosen, row][:, None]], axis=1)
    return np.array(added)


def task(folder: Path, name: str, size: int) -> dict[str, Any]:
    """Runs one measurement in this process."""
    kind, _, which = name.partition(":")
    selectors()  # imports are no part of the figures
    np.ones((64, 64), dtype=np.float32) @ np.ones((64, 64), dtype=np.float32)
    pl.DataFrame({"a": ["b", "a"]}).select(pl.col("a").arg_sort())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    if kind == "ours":
        kept = ours(folder, which, size)
    elif which == "kcenter":
        kept = original_kcenter(folder, size)
    else:
        kept = original_diverse(folder, None if which == "diverse-all" else size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "name": name,
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": peak / 1024,
        "grown_mb": (peak - before) / 1024,
        "kept": kept.tolist(),
    }


def measure(folder: Path, name: str, size: int) -> dict[str, Any]:
    """Runs one measurement in a process of its own."""
    command = [sys.executable, __file__, "--task", name, "--folder", str(folder), "--size", str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def say(text: str) -> None:
    """One line of the report."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def line(rows: int, found: dict[str, Any]) -> str:
    """A measurement as a row of the table."""
    return f"{rows:>8,} {found['name']:<22} {found['cpu_s']:>9.2f} {found['wall_s']:>9.2f} {found['peak_mb']:>9.0f} {len(found['kept']):>7,}"


HEAD = f"{'rows':>8} {'selector':<22} {'cpu s':>9} {'wall s':>9} {'peak MB':>9} {'kept':>7}"


def against_originals(args: argparse.Namespace, out: list[dict[str, Any]]) -> None:
    """The table of ratios at --rows."""
    say(
        f"against loops in the style of the originals: {args.rows:,} rows, {args.width} wide, {args.size:,} chosen\n{HEAD}"
    )
    with tempfile.TemporaryDirectory(dir=args.tmp) as name:
        folder = Path(name)
        make_pool(folder, args.rows, args.width)
        for which in args.compare:
            new, old = measure(folder, f"ours:{which}", args.size), measure(folder, f"original:{which}", args.size)
            say(line(args.rows, new))
            say(line(args.rows, old))
            same = set(new["kept"]) == set(old["kept"])
            say(
                f"{'':>8} {which}: {old['cpu_s'] / new['cpu_s']:.0f} times less CPU, the same rows: {'yes' if same else 'no'}"
            )
            out += [{**f, "rows": args.rows, "kept": len(f["kept"])} for f in (new, old)]


def growth(args: argparse.Namespace, out: list[dict[str, Any]]) -> None:
    """The table of growth with the number of rows."""
    say(f"\ngrowth, {args.size:,} chosen\n{HEAD}")
    for rows in args.growth:
        with tempfile.TemporaryDirectory(dir=args.tmp) as name:
            folder = Path(name)
            make_pool(folder, rows, args.width)
            for which in args.selectors:
                found = measure(folder, f"ours:{which}", args.size)
                say(line(rows, found))
                out.append({**found, "rows": rows, "kept": len(found["kept"])})


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--size", type=int, default=2000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--compare", nargs="*", default=["diverse", "diverse-all", "kcenter"])
    parser.add_argument("--growth", type=int, nargs="*", default=[20000, 50000, 100000, 200000])
    parser.add_argument(
        "--selectors",
        nargs="*",
        default=["random", "diverse", "diverse-all", "kcenter", "clusters", "mig", "instag", "facility"],
    )
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--tmp", help="folder for the pools")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        say(json.dumps(task(args.folder, args.task, args.size)))
        return
    out: list[dict[str, Any]] = []
    if args.compare:
        against_originals(args, out)
    if args.growth:
        growth(args, out)
    if args.out:
        args.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
