"""For tests of whole-data filters: a context, a way to run `choose`, and families of similar texts."""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sftrecipe.testing.memory import MemoryDataset
from sftrecipe.verbs import Choice

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "lo", "mi")]


class FakeContext:
    """What an operator may ask of its run; notes are kept."""

    seed = 0

    def __init__(self, scratch: Path | None = None) -> None:
        self.folder, self.notes = scratch, []
        self.log = logging.getLogger("sftrecipe.step.test")

    @property
    def scratch(self) -> Path:
        assert self.folder is not None
        return self.folder

    def note(self, row_id: str, code: str, **facts: Any) -> None:
        self.notes.append((row_id, code, facts))

    def progress(self, done: int, of: int) -> None:
        assert 0 <= done <= of


def choose(operator: Any, frame: pl.DataFrame, shards: int = 1) -> tuple[list[int], dict[int, tuple[int, float]]]:
    """(kept rows, {dropped row: (other, value)}) of a filter over `frame`, whose `text` column is compared."""
    operator.by = pl.col("text")
    with tempfile.TemporaryDirectory() as folder:
        operator.context = FakeContext(Path(folder))
        choice = operator.choose(MemoryDataset(frame, shards))
    return story(choice, frame.height)


def story(choice: Choice, rows: int) -> tuple[list[int], dict[int, tuple[int, float]]]:
    """A choice as plain values; every row is in it once."""
    kept, dropped = np.asarray(choice.kept).tolist(), {}
    for part in choice.dropped:
        others = np.full(len(part.rows), -1) if part.other is None else part.other
        values = np.full(len(part.rows), np.nan) if part.value is None else part.value
        dropped |= {int(r): (int(o), float(v)) for r, o, v in zip(part.rows, others, values, strict=True)}
    assert sorted([*kept, *dropped]) == list(range(rows))
    assert kept == sorted(kept)
    return kept, dropped


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def families(
    seed: int, count: int, copies: int = 3, words: tuple[int, int] = (3, 120), rate: float = 0.02
) -> list[str]:
    """Texts, each followed somewhere by copies with a share of their words replaced; in a random order."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        base = sentence(rng, rng.randint(*words))
        texts.append(base)
        for _ in range(rng.randint(0, copies)):
            texts.append(
                " ".join(rng.choice(WORDS) if rng.random() < rate * rng.randint(0, 4) else w for w in base.split())
            )
    rng.shuffle(texts)
    return texts


def shingle_set(text: str, n: int) -> frozenset[tuple[str, ...]]:
    """The definition, for texts in scripts with spaces."""
    words = text.lower().split()
    return (
        frozenset([tuple(words)])
        if 0 < len(words) < n
        else frozenset(zip(*(words[i:] for i in range(n)), strict=False))
    )


def jaccard(a: frozenset[Any], b: frozenset[Any]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def components(rows: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The smallest row of each row's group, by plain depth-first search."""
    near: Mapping[int, set[int]] = {r: set() for r in range(rows)}
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    label = [-1] * rows
    for first in range(rows):
        todo = [first] if label[first] < 0 else []
        while todo:
            row = todo.pop()
            if label[row] < 0:
                label[row] = first
                todo += near[row]
    return label
