"""What an operator may know of its run: a seed, a scratch folder, a log, and a way to leave notes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftrecipe.lazy import np

__all__ = ["RunContext"]


@dataclass
class RunContext:
    """The `Context` of a step. `notes` holds (row id, code, facts) until the ledger takes them."""

    step: str
    seed: int
    folder: Path
    formatted: tuple[str, ...] = ()
    recipe: str = ""
    plan: Any = None
    columns: Mapping[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    on_progress: Callable[[int, int], None] | None = None

    @property
    def scratch(self) -> Path:
        """A folder of the step's own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    @property
    def log(self) -> logging.Logger:
        """The step's logger; warnings reach the terminal."""
        return logging.getLogger(f"sftrecipe.step.{self.step}")

    def random(self, row_id: str, use: str = "") -> np.random.Generator:
        """Randomness that depends on the seed, the row and `use` alone."""
        digest = hashlib.blake2b(f"{self.seed}/{row_id}/{use}".encode(), digest_size=16).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "big")))

    def note(self, row_id: str, code: str, **facts: Any) -> None:
        """An event in the row's story."""
        self.notes.append((row_id, code, facts))

    def progress(self, done: int, of: int) -> None:
        """How far a whole-data step has come."""
        if self.on_progress:
            self.on_progress(done, of)
