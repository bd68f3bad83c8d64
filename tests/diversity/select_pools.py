"""Pools, operators ready to run, and slow float64 references for the tests of `select.*`."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from sftrecipe import Choice
from sftrecipe.testing.memory import MemoryDataset

ORACLES = Path(__file__).parent.parent / "data" / "selection"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(ORACLES / name) as file:
        return {k: file[k] for k in file.files}


def document(name: str) -> Any:
    return json.loads((ORACLES / name).read_text())


def ready(cls: type, seed: int = 7, **params: Any) -> Any:
    """An operator as the runtime would hand it over; column names stand for expressions."""
    made = cls(**params)
    made.context = SimpleNamespace(seed=seed, log=logging.getLogger("test"))
    return made


def frame_of(vectors: np.ndarray, **columns: Any) -> pl.DataFrame:
    """Rows with ids whose order is not that of the rows."""
    n = len(vectors)
    ids = [f"{(i * 7919 + 13) % 10007:05d}" for i in range(n)]
    embedding = pl.Series(vectors.astype(np.float32).tolist(), dtype=pl.List(pl.Float32))
    return pl.DataFrame({"id": ids, "embedding": embedding, **columns})


def clumped(n: int, d: int, seed: int = 0, clumps: int = 0, noise: float = 0.2) -> np.ndarray:
    """Unit vectors in clumps: float32 [n, d]."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clumps or max(1, n // 4), d))
    x = centres[rng.integers(0, len(centres), n)] + noise * rng.normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def with_ties(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Vectors full of exact ties: copies, orthogonal rows, mirror images."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, size=(n, d)).astype(np.float32)
    x[np.abs(x).sum(axis=1) == 0, 0] = 1
    x[n // 2 :: 3] = x[: len(x[n // 2 :: 3])]
    return x


def ids_of(frame: pl.DataFrame, choice: Choice) -> list[str]:
    return frame["id"].gather(choice.kept.astype(np.uint32)).to_list()


def story(frame: pl.DataFrame, choice: Choice) -> dict[str, tuple[str, str | None, float | None]]:
    """id -> (code, id of the other row, figure) of the rows that went."""
    out: dict[str, tuple[str, str | None, float | None]] = {}
    ids = frame["id"].to_list()
    for drop in choice.dropped:
        for at, row in enumerate(drop.rows.tolist()):
            other = -1 if drop.other is None else int(drop.other[at])
            figure = None if drop.value is None or np.isnan(drop.value[at]) else round(float(drop.value[at]), 6)
            assert ids[row] not in out, "one row, two reasons"
            out[ids[row]] = (drop.code, ids[other] if other >= 0 else None, figure)
    return out


def choose(operator: Any, frame: pl.DataFrame, shards: int = 1) -> Choice:
    return operator.choose(MemoryDataset(frame, shards))


def slow_k_center(x: np.ndarray, start: list[int], count: int, tie: np.ndarray) -> list[int]:
    """float64, every distance anew."""
    y = x.astype(np.float64)
    chosen = list(start)
    for _ in range(count):
        gaps = np.min([((y - y[c]) ** 2).sum(axis=1) for c in chosen], axis=0)
        gaps[chosen] = -1
        level = np.flatnonzero(gaps >= gaps.max() - 1e-12 * (y**2).sum(axis=1).max())
        chosen.append(int(level[tie[level].argmin()]))
    return chosen


def slow_diverse(x: np.ndarray, order: np.ndarray, limit: float) -> list[int]:
    """float64, one row at a time."""
    y = x.astype(np.float64)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    kept: list[int] = []
    for row in order.tolist():
        if not kept or (y[kept] @ y[row]).max() <= limit + 1e-12:
            kept.append(row)
    return kept


def slow_facility(similar: np.ndarray, bonus: np.ndarray, weight: float, count: int, tie: np.ndarray) -> list[int]:
    """float64, every gain anew."""
    cover, chosen = np.zeros(len(similar)), []
    for _ in range(count):
        gains = weight * np.maximum(similar - cover, 0).sum(axis=1) + bonus
        gains[chosen] = -np.inf
        level = np.flatnonzero(gains >= gains.max() - 1e-9)
        chosen.append(int(level[tie[level].argmin()]))
        cover = np.maximum(cover, similar[chosen[-1]])
    return chosen


def subsets(n: int, k: int) -> list[list[int]]:
    return [list(s) for s in itertools.combinations(range(n), k)]
